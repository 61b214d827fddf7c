"""Decode the tweet's text from a message, and encode labels as a result message."""
