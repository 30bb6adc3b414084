#!/usr/bin/env bash
# Summary: lists the feeds in HDFS, and the files of this one with their sizes.
# Usage: make list [TOPIC=name]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

run hadoop fs -ls "$HDFS$WAREHOUSE" "$HDFS$WAREHOUSE/$TOPIC" \
  || die 1 "feed $TOPIC cannot be listed" \
    "the message of hadoop is above" \
    "no such file or directory: the feed was never landed here, type: make land$FEED_KNOBS;
       otherwise: make status$STACK_KNOBS"
echo "bytes, bytes with replicas, table:"
run hadoop fs -du "$HDFS$WAREHOUSE/$TOPIC"
