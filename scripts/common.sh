# shellcheck shell=bash
# Summary: the few functions that the shell scripts share. Sourced, never run.

[ -z "${TRACE:-}" ] || set -x

# die EXIT WHAT WHY NEXT: an error in three parts, to stderr.
die() {
  printf 'error: %s\n       %s\n       %s\n' "${@:2}" >&2
  exit "$1"
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

# run COMMAND…: shows the real command and runs it.
run() {
  printf '$ %s\n' "$(quoted "$@")" >&2
  "$@"
}

# without_secrets ADDRESS…: as they may be shown: no user and password, no token behind a question
# mark.
without_secrets() { sed -E 's#//[^/[:blank:]]*@#//…@#g; s#[?][^[:blank:]]*#?…#g' <<< "$*"; }

# help_if_asked ARGUMENT…: if the first one is -h or --help, prints the comment block at the top of
# the script, and exits.
help_if_asked() {
  case ${1:-} in
    -h | --help)
      sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"
      exit
      ;;
  esac
}

# Each script reads its knobs from the environment that scripts/env.sh makes. For messages it has
# what makes a make command mean this stack (STACK_KNOBS), this feed (FEED_KNOBS) or this data file
# (FILE_KNOBS).
need_env() {
  [ -n "${PIPELINE_ENV:-}" ] || die 2 "${0##*/} was started without its environment" \
    "the knobs (KAFKA, HDFS, TOPIC, …) are set and checked by scripts/env.sh" \
    "type: the Make target of the same name; or work inside make shell${STACK_KNOBS-}"
}

# sha256 …: sha256sum, which a Mac has by another name.
sha256() { if command -v sha256sum > /dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# is_served: whether the server of make serve runs, by its pid file.
is_served() {
  local pid
  pid=$(cut -d ' ' -f 1 "$RUN_DIR/pids/serve" 2> /dev/null) && kill -0 "$pid" 2> /dev/null
}

# read_pip_settings FOLDER: of pip's settings, this machine's and the user's, only those that say
# where packages come from, for pip and for uv, which does not read them itself.
read_pip_settings() {
  local name value sources link
  sources='index-url|extra-index-url|find-links|trusted-host|cert|client-cert|proxy|timeout|retries'
  while read -r name value; do
    [ -n "${!name:-}" ] || export "$name=$value"
  done < <(HOME=${USER_HOME:-} "$1/bin/pip" config list 2> /dev/null \
    | sed -nE "s/^(global|install)\.($sources)='(.*)'\$/\2 \3/p" \
    | sed -E 's/\\n/ /g; s/^timeout /default-timeout /' \
    | awk '{name = toupper($1); gsub(/-/, "_", name); $1 = "PIP_" name; print}')
  export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
  [ -z "${USER_HOME:-}" ] || export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$USER_HOME/.cache/pip}
  export UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
  # Of several indexes any may have the file; the hash says which file it is.
  export UV_INDEX_STRATEGY=unsafe-best-match
  while read -r name value; do
    [ -z "$value" ] || export "$name=$value"
  done << END
UV_DEFAULT_INDEX ${PIP_INDEX_URL:-}
UV_INDEX ${PIP_EXTRA_INDEX_URL:-}
UV_INSECURE_HOST ${PIP_TRUSTED_HOST:-}
UV_HTTP_TIMEOUT ${PIP_DEFAULT_TIMEOUT:-}
UV_HTTP_RETRIES ${PIP_RETRIES:-}
SSL_CERT_FILE ${PIP_CERT:-}
SSL_CLIENT_CERT ${PIP_CLIENT_CERT:-}
ALL_PROXY ${PIP_PROXY:-}
END
  for link in ${PIP_FIND_LINKS:-}; do # pip leaves out a folder that is not there
    case $link in *://*) ;; *) [ -e "$link" ] || continue ;; esac
    export UV_FIND_LINKS=${UV_FIND_LINKS:+$UV_FIND_LINKS,}$link
  done
}
