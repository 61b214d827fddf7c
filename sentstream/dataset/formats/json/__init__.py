"""JSON lines: one object per line, copied verbatim or read into columns."""
