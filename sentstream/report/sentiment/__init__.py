"""What ``sentstream report`` shows of an analysis: a page, tables for the terminal, and CSV."""
