"""What a person sees while ``sentstream consume`` runs: a live view on a terminal, log lines elsewhere."""
