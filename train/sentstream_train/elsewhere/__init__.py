"""Models that were trained elsewhere: what is in the file, how texts became ids, the way to a graph."""
