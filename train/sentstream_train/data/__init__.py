"""From labeled files to training and validation rows, a vocabulary and batches."""
