"""Bytes of a message to the tweet's text, and labels to the bytes of a result."""
