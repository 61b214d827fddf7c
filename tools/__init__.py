"""Programs for developers of sentstream."""
