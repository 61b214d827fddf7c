"""A file's bytes -> record batches, and back."""
