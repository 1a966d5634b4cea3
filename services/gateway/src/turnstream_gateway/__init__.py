"""Turnstream's HTTP edge."""
