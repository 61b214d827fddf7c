"""Programs for those who work on sentstream."""
