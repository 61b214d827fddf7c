"""JSON lines: an object a line, kept as it is or read into columns."""
