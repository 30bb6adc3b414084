#!/usr/bin/env bash
# Summary: what lies in HDFS: the feeds, and the files of this one with their sizes.
# Usage: make list [TOPIC=name]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac
need_env

run hadoop fs -ls "$HDFS$WAREHOUSE" "$HDFS$WAREHOUSE/$TOPIC" || die 1 "nothing lies there yet" "feed $TOPIC was never landed on $HDFS" "type: make land"
echo "bytes, bytes with replicas, table:"
run hadoop fs -du "$HDFS$WAREHOUSE/$TOPIC"
