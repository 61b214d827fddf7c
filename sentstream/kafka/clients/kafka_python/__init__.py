"""The interface on kafka-python: pure Python, always installed with sentstream."""
