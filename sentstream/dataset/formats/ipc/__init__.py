"""Arrow IPC, as a file (Feather V2) and as a stream."""
