"""The interface on confluent-kafka (librdkafka): less CPU per record; needs the extra ``fast-kafka``."""
