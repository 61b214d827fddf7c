"""Destinations for results, topic or Parquet; each result is written exactly once."""
