"""Where results go, topic or Parquet, each once."""
