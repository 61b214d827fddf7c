"""Labeled files to training and validation rows, their vocabulary and their batches."""
