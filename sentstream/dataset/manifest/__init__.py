"""The manifest: which work of a data set is done. Used to resume, for shards, and to verify."""
