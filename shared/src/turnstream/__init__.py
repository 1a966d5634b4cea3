"""The words and the map of Turnstream."""
