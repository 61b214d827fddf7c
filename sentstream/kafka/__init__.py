"""A topic in, a topic or Parquet out, each record's result once."""
