#!/usr/bin/env bash
# kafka_ready.sh [HOST [PORT]]: exit with 0 if a Kafka broker answers there and is registered with the controller.
#
# The health check of docker-compose.yml. Kafka's own scripts start a JVM each time, which takes seconds of CPU, and
# on a busy machine longer than a health check waits. This requests the metadata of no topics (Metadata, version 1)
# with tools that the image has, and checks the number of brokers in the response: none until the controller has
# registered the broker.
exec 3<> "/dev/tcp/${1:-localhost}/${2:-9092}" || exit 1
# length 14, API key 3, version 1, correlation 1, no client id, 0 topics
printf '\0\0\0\16\0\3\0\1\0\0\0\1\377\377\0\0\0\0' >&3 || exit 1
# The response: length, correlation, number of brokers (4 bytes each), the brokers.
mapfile -t bytes < <(timeout 4 head -c 12 <&3 | od -An -v -tu1 -w1)
[ "${#bytes[@]}" = 12 ] && [ $((bytes[8] << 24 | bytes[9] << 16 | bytes[10] << 8 | bytes[11])) -gt 0 ]
