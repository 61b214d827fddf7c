"""A trained model to a sealed bundle, with its parity and its card."""
