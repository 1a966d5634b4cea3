"""All of Turnstream on one machine."""
