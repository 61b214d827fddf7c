"""``sentstream produce``: send the rows of files to a topic."""
