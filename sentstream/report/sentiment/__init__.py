"""The output of ``sentstream report``: an HTML page, tables for the terminal, and CSV."""
