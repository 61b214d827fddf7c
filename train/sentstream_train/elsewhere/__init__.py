"""Models trained elsewhere: reading the file, turning texts into ids as it did, converting it to a graph."""
