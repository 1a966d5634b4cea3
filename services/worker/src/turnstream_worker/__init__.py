"""Turnstream's worker."""
