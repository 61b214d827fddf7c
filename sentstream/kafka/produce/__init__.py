"""``sentstream produce``: the rows of files to a topic."""
