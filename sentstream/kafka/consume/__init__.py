"""``sentstream consume``: score a topic into a topic or Parquet files."""
