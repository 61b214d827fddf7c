"""``sentstream consume``: topic in, topic or Parquet out."""
