#!/usr/bin/env bash
# Summary: creates the topic if it is missing, and describes it.
# Usage: make topic [TOPIC=name] [PARTITIONS=1] [REPLICATION=1]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac
need_env

# retention.ms=-1: kept for ever. Kafka's default deletes records after seven days.
run kafka-topics --create --if-not-exists --topic "$TOPIC" --partitions "$PARTITIONS" --replication-factor "$REPLICATION" \
  --config retention.ms=-1 --bootstrap-server "$KAFKA" 2>&1 |
  { grep -v '^WARNING: Due to limitations in metric names' || true; } # Kafka warns of each name with a _
run kafka-topics --describe --topic "$TOPIC" --bootstrap-server "$KAFKA"
