#!/usr/bin/env bash
# Summary: sends the file to the topic: one message an attempt, keyed by keen_id, by jq and kcat.
#          A file that is there already, whole, is not sent again (FORCE=1: it is). What was sent half is
#          sent again from the start: landing knows duplicates.
# Usage: make publish [DATA=file] [TOPIC=name] [FORCE=1]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac
need_env

[ -f "$DATA" ] || die 1 "there is no file $DATA" "make data could not get it, or DATA names another" \
  "type: make data; or use the synthetic data in their own feed: make publish DATA=data/synthetic.json TOPIC=synthetic"
if [ -f "$DATA.truth.json" ] && [[ $TOPIC != synthetic* ]]; then
  die 1 "$DATA is invented data, and $TOPIC is no feed for such" "$DATA.truth.json beside it says so; invented data never enter a feed with real data" \
    "use a feed whose name begins with synthetic: make publish DATA=$DATA TOPIC=synthetic"
fi

if [ "$FORCE" != 1 ]; then
  state=$(python scripts/file_in_topic.py)
  case $state in
    whole*) echo "nothing to publish: all ${state##* } messages of $DATA are in topic $TOPIC already (FORCE=1 sends them again)"; exit ;;
    part*) read -r _ found total <<<"$state"
           echo "$found of the $total messages of $DATA are in topic $TOPIC: sending all of it again; landing knows duplicates" ;;
  esac
fi

work=$(mktemp -d "$RUN_DIR/publish.XXXXXX")
trap 'rm -rf "$work"' EXIT

# One record a line. A line is sent byte for byte; elements of an array are written anew by jq, as the course does.
bytes=$(wc -c < "$DATA")
read_file=(cat "$DATA")
# A large file takes a while: dd shows how far it is.
[ "$bytes" -lt 100000000 ] || read_file=(dd "if=$DATA" bs=1M status=progress)
first=$(tr -d ' \t\r\n' < "$DATA" 2>/dev/null | head -c 1 || true)
split=(cat)
if [ "$first" = '[' ]; then
  split=(jq -c '.[]')
  if [ "$bytes" -ge 200000000 ]; then
    # jq holds a whole array in memory, seven times its size; its streaming form does not, at 3 MB/s.
    echo "$DATA is a JSON array of $((bytes / 1000000)) MB: streaming it takes about $((bytes / 180000000 + 1)) minutes (one object a line would take a twentieth)"
    split=(jq -cn --stream 'fromstream(1|truncate_stream(inputs))')
  fi
fi
ends() { python scripts/feed.py | awk '{print $2}'; }
before=$(ends)
with_keys=(jq -Rr -f scripts/keyed.jq)
send=(kcat -P -b "$KAFKA" -t "$TOPIC" -K '\t' -Z -X enable.idempotence=true -X acks=all)
echo "\$ $(quoted "${read_file[@]}") | $(quoted "${split[@]}") | $(quoted "${with_keys[@]}") | $(quoted "${send[@]}")" >&2
status=0
"${read_file[@]}" \
  | { "${split[@]}" 2> "$work/split" || echo $? > "$work/split.status"; } \
  | { "${with_keys[@]}" 2> "$work/refused" || true; } \
  | "${send[@]}" || status=$?
after=$(ends)

echo "topic $TOPIC: $before messages before, $after after: $((after - before)) sent"
if [ -s "$work/refused" ]; then
  sed -nE 's/^jq: error \(at [^:]*:([0-9]+)\)( \(not a string\))?: /  record \1: /p' "$work/refused" | head -n 20 >&2
  die 1 "$(grep -c '^jq: error' "$work/refused") record(s) of $DATA were not sent, the first are named above; the others were" \
    "jq could not read them" "mend them in the file, then: make publish (what is there already becomes a duplicate, nothing more)"
fi
if [ -s "$work/split.status" ]; then
  die 1 "the array in $DATA cannot be read to its end: element $((after - before + 1)) or what follows it" "$(head -c 300 "$work/split")" \
    "mend the file; or give it one object a line, then only the broken line is left out"
fi
[ "$status" -eq 0 ] || die 1 "kcat could not send all of it (exit $status)" "its message is above; Kafka is at $KAFKA" "look: make status; then again: make publish (nothing is doubled by that)"
