"""The interface on kafka-python: pure Python, installed with sentstream."""
