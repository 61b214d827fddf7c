"""What is in a labeled data set."""
