"""Messages that cannot be scored: keep them, inspect them, replay them."""
