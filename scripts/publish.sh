#!/usr/bin/env bash
# Summary: sends the file to the topic: one message an attempt, keyed by keen_id, by jq and kcat. A
#          record that cannot be read is named by its number; the rest is sent, and the exit is not
#          zero. A file that is there already, whole, is not sent again (FORCE=1: it is). What was
#          sent half is sent again from the start: landing knows duplicates.
# Usage: make publish [DATA=file] [TOPIC=name] [FORCE=1]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
help_if_asked "$@"
need_env

[ ! -d "$DATA" ] || die 1 "$DATA is a folder" \
  "what is published is one file" \
  "name it: make publish$(of_feed) DATA=$(quoted "${DATA%/}")/…"
[ -f "$DATA" ] || die 1 "there is no file $DATA" \
  "make data could not get it, or DATA names another" \
  "type: make data$STACK_KNOBS; or use synthetic data:
       make publish$STACK_KNOBS DATA=data/synthetic.json TOPIC=synthetic"
case $TOPIC in synthetic*) invented_feed=1 ;; *) invented_feed= ;; esac
if [ -f "$DATA.truth.json" ] && [ -z "$invented_feed" ]; then
  die 1 "$DATA is invented data, and $TOPIC is not a feed for such" \
    "$DATA.truth.json beside it says so; invented data never enter a feed with real data" \
    "use a feed whose name begins with synthetic:
       make publish$STACK_KNOBS$(changed DATA) TOPIC=synthetic"
elif [ ! -f "$DATA.truth.json" ] && [ -n "$invented_feed" ]; then
  die 1 "$TOPIC is a feed for invented data, and $DATA is none" \
    "feeds whose name begins with synthetic are for files that make data SYNTHETIC=… made" \
    "choose another name: make publish$STACK_KNOBS$(changed DATA) TOPIC=…"
fi
python scripts/lib/records.py --check "$DATA" || exit 1

if [ "$FORCE" != 1 ]; then
  state=$(python scripts/lib/file_in_topic.py)
  read -r state found sendable unsendable <<< "$state"
  case $state in
    whole)
      echo "nothing to publish: all $sendable messages of $DATA are in topic $TOPIC already" \
        "(FORCE=1 sends them again)"
      [ "$unsendable" = 0 ] \
        || echo "  $unsendable record(s) of it cannot be sent; to have them named:" \
          "make validate$(of_file)"
      exit
      ;;
    part)
      echo "$found of the $sendable messages of $DATA are in topic $TOPIC:" \
        "sending all of it again; landing knows duplicates"
      ;;
  esac
fi

records=(python scripts/lib/records.py "$DATA")
with_keys=(jq -r -f scripts/lib/keyed.jq)
send=(kcat -P -b "$KAFKA" -t "$TOPIC" -K '\t' -Z -X enable.idempotence=true -X acks=all)
before=$(python scripts/lib/topics.py)
echo "\$ $(quoted "${records[@]}") | $(quoted "${with_keys[@]}") | $(quoted "${send[@]}")" >&2
set +e
"${records[@]}" | "${with_keys[@]}" | "${send[@]}"
codes=("${PIPESTATUS[@]}")
set -e
after=$(python scripts/lib/topics.py)

echo "topic $TOPIC: $before messages before, $after after: $((after - before)) sent"
if [[ ${codes[*]} != [03]\ 0\ 0 ]]; then
  ended="the reader of the file ended with ${codes[0]}, jq with ${codes[1]}, kcat with ${codes[2]}"
  die 1 "not all of $DATA was sent: $ended" \
    "the messages of those that did not end with 0 are above; Kafka is at $KAFKA" \
    "mend what they say (a broker that does not answer: make status$STACK_KNOBS);
       then again: make publish$(of_file) (nothing is doubled by that)"
fi
[ "${codes[0]}" -eq 0 ] || die 1 "some records of $DATA were not sent; all others were" \
  "they are named above, by their numbers" \
  "mend them in the file, then: make publish$(of_file) (what is there already becomes a duplicate)"
