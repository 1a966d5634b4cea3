#!/usr/bin/env bash
# Placeholder until the members import.
