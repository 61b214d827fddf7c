"""Inspection: the contents of a labeled data set."""
