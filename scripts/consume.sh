#!/usr/bin/env bash
# Summary: shows the first messages of the topic, and their number, with the course's two tools.
# Usage: make consume [TOPIC=name]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

total=$(python -m pipeline.kafka.topics)
[ "$total" -gt 0 ] || die 1 "topic $TOPIC is empty, or not there" \
  "nothing was published to it on $KAFKA" \
  "type: make publish$FILE_KNOBS"
echo "the first 3 messages, the first 300 characters of each:"
run kcat -C -b "$KAFKA" -t "$TOPIC" -o beginning -c 3 -e -q \
  -f 'partition %p, offset %o, key %k, %S bytes: %s\n' \
  | python -m pipeline.text
echo "the first one by Kafka's own consumer:"
run kafka-console-consumer --bootstrap-server "$KAFKA" --topic "$TOPIC" --from-beginning \
  --max-messages 1 --timeout-ms 20000 2>&1 \
  | python -m pipeline.text
echo "their number (-q: without it kcat's end-of-topic line would be counted too):"
# A dot a message, for a message may hold line ends itself.
run kcat -C -b "$KAFKA" -t "$TOPIC" -o beginning -e -q -f '.\n' | wc -l
