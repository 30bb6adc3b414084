#!/usr/bin/env bash
# Summary: creates the topic if it is missing, and describes it.
# Usage: make topic [TOPIC=name] [PARTITIONS=1] [REPLICATION=1]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

# On a cluster with accounts an operator has created the topic; a publisher may not.
if [ -z "$CLIENT_CONF" ] \
  || [ -z "$(kafka-topics --list --topic "$TOPIC" --bootstrap-server "$KAFKA")" ]; then
  # retention.ms=-1: kept for ever. Kafka's default deletes records after seven days.
  # Kafka warns of each name that contains a _.
  run kafka-topics --create --if-not-exists --topic "$TOPIC" --partitions "$PARTITIONS" \
    --replication-factor "$REPLICATION" --config retention.ms=-1 --bootstrap-server "$KAFKA" 2>&1 \
    | { grep -v '^WARNING: Due to limitations in metric names' || true; } \
    || die 1 "topic $TOPIC could not be created" \
      "kafka-topics says why, above; PARTITIONS is $PARTITIONS, REPLICATION is $REPLICATION" \
      "REPLICATION is at most the number of brokers: make topic$FEED_KNOBS REPLICATION=1
       otherwise correct what it names"
fi
run kafka-topics --describe --topic "$TOPIC" --bootstrap-server "$KAFKA"
