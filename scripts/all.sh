#!/usr/bin/env bash
# Summary: the whole pipeline in order, with the seconds of each step; leaves the stack up.
# Usage: make all [KNOB=value …]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac
need_env

times=''
step() {
  local name=$1 begin; shift
  begin=$(date +%s.%N)
  printf '\n--- %s: %s\n' "$name" "$(quoted "$@")"
  "$@"
  times+=$(printf '%s %.1f' "$name" "$(echo "$(date +%s.%N) $begin" | awk '{print $1 - $2}')")$'\n'
}

step up python scripts/stack.py up
step data scripts/data.sh
if [ ! -f "$DATA" ]; then
  # The real file could not be had (data.sh has said so): invented data go into a feed of their own.
  export DATA=data/synthetic.json TOPIC=synthetic
fi
# What data.sh made up before stays invented when its file is named.
if [ -f "$DATA.truth.json" ] && [[ $TOPIC != synthetic* ]]; then export TOPIC=synthetic; fi
step topic scripts/topic.sh
before=$(python scripts/feed.py)
step publish scripts/publish.sh
step land python scripts/land.py
after=$(python scripts/feed.py)
step verify python scripts/verify.py
step list scripts/list.sh
step query python scripts/query.py

printf '\n--- seconds\n'
awk '{ printf "  %-9s %6.1f\n", $1, $2; sum += $2 } END { printf "  %-9s %6.1f\n", "together", sum }' <<<"${times%$'\n'}"
printf '\n'
[ "$before" != "$after" ] || echo "Nothing was new: the file was published and landed before, and nothing was changed."
knob=''; [ "$TOPIC" = assessments ] || knob=" TOPIC=$TOPIC"
cat <<END
The stack runs on. To go on:
  make sql$knob        SELECT * FROM $TOPIC.attempts LIMIT 5;
  make pyspark$knob    spark.table("$TOPIC.questions").show()
  make shell$knob      kafka-topics, kcat, hadoop fs, …
  make status     what runs, and what is landed
  make down       stop it; the data stay
END
