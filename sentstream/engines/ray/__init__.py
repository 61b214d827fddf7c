"""Ray: an extra, which nothing loads unless it is asked for."""
