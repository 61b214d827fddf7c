"""Standard streams, signals and what is shown on a terminal."""
