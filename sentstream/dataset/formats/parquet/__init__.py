"""Parquet by whatever writer, in bounded memory, and Parquet that every reader opens."""
