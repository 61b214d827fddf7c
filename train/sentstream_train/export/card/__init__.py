"""The model card: its text, its figures, and the sections that people wrote."""
