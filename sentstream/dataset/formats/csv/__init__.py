"""CSV and TSV: every value a text, as it stands there."""
