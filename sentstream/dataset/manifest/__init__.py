"""What is done of a data set, and the proof of it: resume, shards, verify."""
