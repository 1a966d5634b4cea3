"""The fault harness: all kinds of turns while everything is broken in turn, and an audit of what came of it."""
