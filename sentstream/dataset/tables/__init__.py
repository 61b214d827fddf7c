"""Tables whose log says which files, and which rows of them, are theirs: one snapshot -> files to read."""
