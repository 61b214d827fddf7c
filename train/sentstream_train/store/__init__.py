"""Training runs on disk: save and open them."""
