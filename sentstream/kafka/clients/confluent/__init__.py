"""The interface on confluent-kafka (librdkafka): less CPU for each record, the extra ``fast-kafka``."""
