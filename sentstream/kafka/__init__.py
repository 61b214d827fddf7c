"""Score a Kafka topic into another topic or Parquet files, each record exactly once."""
