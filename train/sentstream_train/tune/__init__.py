"""A search for settings on a budget."""
