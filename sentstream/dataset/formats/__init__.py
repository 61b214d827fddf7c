"""Read and write files as record batches, in all supported formats."""
