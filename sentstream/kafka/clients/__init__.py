"""Two Kafka clients behind one interface, ``api``."""
