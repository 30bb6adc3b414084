# shellcheck shell=bash
# Summary: the few functions that the shell scripts share. Sourced, never run.

[ -z "${TRACE:-}" ] || set -x

# die EXIT WHAT WHY NEXT: an error in three parts, to stderr.
die() {
  local exit_code=$1
  shift
  printf 'error: %s\n' "$1" >&2
  shift
  while [ $# -gt 0 ]; do
    printf '       %s\n' "$1" >&2
    shift
  done
  exit "$exit_code"
}

# quoted WORD…: the words as one could type them.
quoted() {
  local word shown=''
  for word in "$@"; do
    case $word in *[!A-Za-z0-9_./:=,@%+-]* | '') word="'${word//\'/\'\\\'\'}'" ;; esac
    shown+=${shown:+ }$word
  done
  printf '%s' "$shown"
}

# changed KNOB…: those that are not at their defaults, as one types them behind a make command.
changed() {
  local name makefile
  makefile=$(< Makefile)
  for name in "$@"; do
    [ -n "${!name+set}" ] || continue # run by hand
    [[ $makefile = *$'\n'"$name ?=${!name:+ ${!name}}"$'\n'* ]] \
      || printf ' %s=%s' "$name" "$(quoted "${!name}")"
  done
}

# For messages: what makes a make command mean this stack, this feed, this data file. (STACK_KNOBS:
# what env.sh has found, in a container that outside of it.)
of_stack() {
  local names='STACK CLUSTER CLIENT_CONF KAFKA HDFS SPARK_MASTER WAREHOUSE RUN_DIR'
  # shellcheck disable=SC2086
  printf '%s' "${STACK_KNOBS-$(changed $names)}"
}
of_feed() { printf '%s' "$(of_stack)" "$(changed TOPIC)"; }
of_file() { printf '%s' "$(of_feed)" "$(changed DATA)"; }

# run COMMAND…: shows the real command and runs it.
run() {
  printf '$ %s\n' "$(quoted "$@")" >&2
  "$@"
}

# without_secrets ADDRESS…: as they may be shown: no user and password, no token behind a question
# mark.
without_secrets() { sed -E 's#//[^/[:blank:]]*@#//…@#g; s#[?][^[:blank:]]*#?…#g' <<< "$*"; }

# help_from_header SCRIPT: prints the comment block at its top (that is what --help shows).
help_from_header() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$1"; }

# help_if_asked ARGUMENT…: prints it and exits, if the first argument is -h or --help.
help_if_asked() {
  case ${1:-} in
    -h | --help)
      help_from_header "$0"
      exit
      ;;
  esac
}

# Each script reads its knobs from the environment that scripts/lib/env.sh makes.
need_env() {
  [ -n "${PIPELINE_ENV:-}" ] || die 2 "${0##*/} was started without its environment" \
    "the knobs (KAFKA, HDFS, TOPIC, …) are set and checked by scripts/lib/env.sh" \
    "type: the Make target of the same name; or work inside make shell$(of_stack)"
}

# sha256 …: sha256sum, which a Mac has by another name.
sha256() { if command -v sha256sum > /dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# is_served: whether the server of make serve runs, by its pid file.
is_served() {
  local pid
  pid=$(cut -d ' ' -f 1 "$RUN_DIR/pids/serve" 2> /dev/null) && kill -0 "$pid" 2> /dev/null
}
