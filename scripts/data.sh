#!/usr/bin/env bash
# Summary: gets the data file into DATA and checks its hash. When it cannot be had, says so and
#          makes data/synthetic.json instead: invented data of the same form, for a feed of its own.
# Usage: make data [DATA=file] [DATA_URL='address …'] [ANY_HASH=1]
#        make data SYNTHETIC=100000 [SEED=1] [DATA=file.json or file.jsonl]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env
umask "$USER_UMASK" # a data file is no secret of the pipeline: containers read it as another user

# The file of the assignment, known by this hash (9,315,053 bytes, 3,280 messages).
known=1f594df822bdb3ef11107c40fd9cf84ba02545364e672a625d58365a82897229
course_file=data/assessment-attempts-20180128-121051-nested.json
synthetic=data/synthetic.json

# shellcheck disable=SC2119
sha256_of() { sha256 < "$1" | cut -d' ' -f1; }

if [ -n "$SYNTHETIC" ]; then
  [ "$DATA" != "$course_file" ] || {
    DATA=$synthetic
    echo "invented data never take the real file's name: writing $DATA"
  }
  [ ! -e "$DATA" ] || [ -f "$DATA.truth.json" ] \
    || die 1 "$DATA is there, and was not made up by this" \
      "$DATA.truth.json is not beside it" \
      "name another file: make data$STACK_KNOBS SYNTHETIC=$SYNTHETIC DATA=…"
  run python -m pipeline.publishing.synthetic "$SYNTHETIC" "$SEED" "$DATA"
  exit
fi

# A folder of messages, for make validate.
if [ "${1:-}" = --if-missing ] && [ -d "$DATA" ]; then exit; fi
[ ! -d "$DATA" ] || die 1 "$DATA is a folder" "DATA names the file that is wanted" \
  "name a file in it: make data$STACK_KNOBS DATA=$(quoted "${DATA%/}")/assessments.json"
if [ -f "$DATA" ]; then
  if [ "${1:-}" = --if-missing ] && [ "$DATA" != "$course_file" ]; then exit; fi
  [ -f "$DATA.truth.json" ] || hash=$(sha256_of "$DATA")
  if [ -f "$DATA.truth.json" ]; then
    echo "$DATA is there (SYNTHETIC)"
  elif [ "$hash" = "$known" ]; then
    echo "$DATA is there, sha256 $known: the assignment's file"
  elif [ "$DATA" = "$course_file" ] && [ "$ANY_HASH" != 1 ]; then
    die 1 "$DATA is not the assignment's file" "its sha256 is $hash, known is $known" \
      "delete it, then: make data$STACK_KNOBS; or use it as it is: make data$STACK_KNOBS ANY_HASH=1"
  else
    echo "$DATA is there, used as it is (sha256 $hash)"
  fi
  exit
fi

if [ "$DATA" != "$course_file" ] && [[ " $KNOB_ORIGINS " = *" DATA_URL=default "* ]]; then
  die 1 "$DATA is not there" \
    "it was named as DATA" \
    "correct the name; or say where to get it:
       make data$STACK_KNOBS DATA=$(quoted "$DATA") DATA_URL=…"
fi
mkdir -p "$(dirname "$DATA")"
new=$DATA.$$.new
trap 'rm -f "$new"' EXIT
read -ra addresses <<< "$DATA_URL"
for address in "${addresses[@]}"; do
  shown=$(without_secrets "$address")
  get=(curl --fail --location --silent --show-error --connect-timeout 10
    --speed-limit 1000 --speed-time 60 --retry 2 --output "$new")
  printf '$ %s\n' "$(quoted "${get[@]}" "$shown")" >&2
  # By standard input: everybody on this machine can read the arguments of a process.
  address=${address//\\/\\\\}
  if ! printf 'url = "%s"\n' "${address//\"/\\\"}" | "${get[@]}" --globoff --config -; then
    echo "  not to be had from $shown" >&2
  elif hash=$(sha256_of "$new") && { [ "$hash" = "$known" ] || [ "$ANY_HASH" = 1 ]; }; then
    mv "$new" "$DATA"
    [ "$hash" != "$known" ] || hash+=": the assignment's file"
    echo "$DATA: $(wc -c < "$DATA") bytes, sha256 $hash"
    exit
  else
    printf '  %s gave another file: sha256 %s\n  (to take it all the same: ANY_HASH=1)\n' \
      "$shown" "$hash" >&2
  fi
done

cat >&2 << END

  THE REAL DATA COULD NOT BE HAD: no address in DATA_URL gave the assignment's file.
    its sha256:  $known
    have a copy? make all$FEED_KNOBS DATA=/path/to/the/copy.json
    an address?  make all$FEED_KNOBS DATA_URL=https://… (file:///path works too)
  Instead, $synthetic is made up: SYNTHETIC data of the same form, for the feed "synthetic"
  and never another.

END
if [ -f "$synthetic" ] && [ -f "$synthetic.truth.json" ]; then
  echo "$synthetic is there (SYNTHETIC)"
else
  run python -m pipeline.publishing.synthetic 3280 "$SEED" "$synthetic"
fi
