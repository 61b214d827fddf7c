"""Progress of ``sentstream consume``: a live view on a terminal, log lines elsewhere."""
