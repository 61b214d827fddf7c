"""CSV and TSV: every value is text, exactly as in the file."""
