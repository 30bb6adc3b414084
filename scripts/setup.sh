#!/usr/bin/env bash
# Summary: installs what is missing: system tools by apt or Homebrew, Python packages into .venv,
#          server jars into the run folder. All of it pinned; packages and jars only by hash. What
#          is in place is left alone, and then no network is needed.
# Usage: make setup     (with STACK=docker the image is built)
#        scripts/env.sh --bare scripts/setup.sh [--quiet | --notebook | --dbt]
#          --notebook   JupyterLab in .venv-notebook too
#          --dbt        dbt in .venv-dbt too, for the test of its recipe in docs/access.md
#          --image      only what a container needs (Dockerfile)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env
[ -z "${PIPELINE_INSTALLED:-}" ] || exit 0 # in a container: the image has it all
option=${1:-}
run_dir=$RUN_DIR shown=${RUN_DIR#"$PWD/"}
PATH=${PATH//"$PWD/.venv/bin:"/} # in make shell, too, the Python that .venv was made by
(
  umask 077
  mkdir -p "$run_dir"
) || die 1 "the run folder $shown cannot be made" "see above" "choose another: RUN_DIR=…"
if ! [ -w "$run_dir" ] || ! [ -x "$run_dir" ]; then
  owner=$(stat -c %U "$run_dir" 2> /dev/null || ls -ld "$run_dir")
  die 1 "the run folder $shown is not yours to write in" \
    "you are $(id -un 2> /dev/null || id -u), its owner is $owner" \
    "take it over: sudo chown -R $(id -u):$(id -g) $(quoted "$shown");
       or choose another: RUN_DIR=.run-2"
fi
if [ ! -f "$run_dir/run-folder" ]; then
  # make clean removes only folders with this mark, never one with other files in it.
  [ -z "$(ls -A "$run_dir")" ] || die 1 "RUN_DIR is $run_dir, which holds something already" \
    "a run folder is made by this project, or empty" \
    "choose another: RUN_DIR=.run-2"
  chmod 700 "$run_dir" # it holds customers' data
  echo "made by scripts/setup.sh; make clean removes this folder" > "$run_dir/run-folder"
  chmod u+x "$run_dir/run-folder"
  [ -x "$run_dir/run-folder" ] || {
    rm "$run_dir/run-folder"
    die 1 "the run folder $run_dir is on a file system that lets nothing be executed (noexec)" \
      "Kafka and Spark unpack programs there that read compressed messages" \
      "choose another: RUN_DIR=…"
  }
fi
[ "${STACK:-local}" != docker ] || exec scripts/containers.sh setup

mkdir -p "$run_dir/home"
export HOME=$run_dir/home # no tool finds settings there that were made for other work

say() { printf 'setup: %s\n' "$*" >&2; }

# needs MB WHAT: what is about to be put here, when there is room for it.
needs() {
  local free
  free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1000)}')
  [ "$free" -ge "$1" ] \
    || die 1 "the disk is too full for $2: $free MB are free, $1 MB are needed" \
      "$(df -Pk . | awk 'NR == 2 {print "it is " $1 ", mounted at " $6}')" \
      "make room there, or clone to another disk; then again: make setup$STACK_KNOBS"
}

# --- Java and the system's tools ---------------------------------------------------------------

# Spark 4 needs Java 17 or newer. Prints the JAVA_HOME of the first one that fits.
find_java() {
  local java settings version
  for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" \
    /usr/lib/jvm/*/bin/java /opt/homebrew/opt/openjdk*/bin/java /usr/local/opt/openjdk*/bin/java; do
    [ -x "$java" ] || continue
    settings=$("$java" -XshowSettings:properties -version 2>&1) || continue
    version=$(sed -nE 's/^ *java.specification.version = (1\.)?([0-9]*).*/\2/p' <<< "$settings")
    [ "$version" -ge 17 ] || continue
    sed -n 's/^ *java.home = //p' <<< "$settings"
    return
  done
  return 1
}

remembered=$(cat "$run_dir/java_home" 2> /dev/null || true)
# Found before, still works, and no other one is asked for.
[ "${JAVA_HOME:-$remembered}" = "$remembered" ] \
  && "$remembered/bin/java" -XX:TieredStopAtLevel=1 -version > /dev/null 2>&1 || remembered=''
missing=()
[ -n "$remembered" ] || find_java > /dev/null \
  || missing+=("java:Kafka, HDFS and Spark run on it (17 or newer)")
# need PROGRAM OPTION WHAT: among the missing ones when it is not here. One that is here has to run.
need() {
  local said
  command -v "$1" > /dev/null || {
    missing+=("$1:$3")
    return
  }
  said=$("$1" "$2" 2>&1) || die 1 "$1 does not run: $(tail -n 1 <<< "$said")" \
    "it is $(command -v "$1")" \
    "install it again (apt-get install --reinstall $1), or put one that runs first on the PATH"
}
need kcat -V 'publishes and consumes messages'
need jq --version 'takes the data file apart'
need curl --version 'gets the data file'
[ -d .venv ] || python3 -c 'import ensurepip, venv' 2> /dev/null \
  || missing+=("python3-venv:keeps the Python packages inside this folder")

if [ ${#missing[@]} -gt 0 ]; then
  packages=()
  say 'missing on this machine:'
  for entry in "${missing[@]}"; do
    printf '         %-13s %s\n' "${entry%%:*}" "${entry#*:}" >&2
    packages+=("${entry%%:*}")
  done
  if command -v brew > /dev/null; then
    packages=("${packages[@]/#java/openjdk@17}")
    run brew install "${packages[@]}"
  elif command -v apt-get > /dev/null; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
      command -v sudo > /dev/null || die 1 "cannot install: neither root nor sudo here" \
        "apt-get installs packages as root only" \
        "ask for what is named above: openjdk-17-jre-headless (or newer) kcat jq curl python3-venv"
      as_root=(sudo)
    fi
    run "${as_root[@]}" apt-get update -qq
    java_package=$(apt-cache --names-only search '^openjdk-(17|21)-jre-headless$' \
      | sort | head -n 1 | cut -d' ' -f1)
    packages=("${packages[@]/#java/${java_package:-default-jre-headless}}")
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
      apt-get install -y -qq --no-install-recommends "${packages[@]}")
    printf '$ %s\n' "$(quoted "${install[@]}")" >&2
    "${install[@]}" > "$run_dir/apt.log" 2>&1 \
      || {
        tail -n 20 "$run_dir/apt.log" >&2
        die 1 "apt-get could not install ${packages[*]}" \
          "its output: $run_dir/apt.log" \
          "install them by hand, then: make setup$STACK_KNOBS"
      }
  else
    die 1 "no apt-get and no Homebrew here" \
      "this script can install with those two only" \
      "install with your package manager: Java 17 or newer, and what is named above"
  fi
fi
if [ -z "$remembered" ]; then
  remembered=$(find_java) || die 1 "there is still no Java 17 or newer" \
    "looked at JAVA_HOME (${JAVA_HOME:-not set}), the PATH and /usr/lib/jvm" \
    "install one, or: make setup$STACK_KNOBS JAVA_HOME=/path/to/it"
  [ -z "${JAVA_HOME:-}" ] || [ "$JAVA_HOME" -ef "$remembered" ] \
    || say "JAVA_HOME=$JAVA_HOME is no Java 17 or newer; using $remembered"
  printf '%s\n' "$remembered" > "$run_dir/java_home"
fi

# --- one set-up at a time from here on ----------------------------------------------------------

# The lock is the system's own, held by an open file: the system frees it when the process ends.
exec 9> .setup.lock || die 1 "this folder cannot be written to: $PWD" \
  "set-up puts .venv here" \
  "give yourself the right, or clone to another place"
python3 - << 'PYTHON'
import fcntl, signal, sys
say = lambda *_: print("setup: another set-up is at work here; waiting for it", file=sys.stderr)
# Only when the wait is long: another command's look at what is in place takes a moment.
signal.signal(signal.SIGALRM, say)
signal.alarm(3)
fcntl.flock(9, fcntl.LOCK_EX)
PYTHON
cleanup=()
trap '[ ${#cleanup[@]} -eq 0 ] || rm -rf "${cleanup[@]}"' EXIT
trap 'exit 130' INT TERM

# --- Python packages ---------------------------------------------------------------------------

# environment FOLDER REQUIREMENTS MB: makes it from a lock file of conf/, unless it was made from
# the same, by this Python and at this place (it contains its own path, resolved).
environment() {
  local folder=$1 requirements=conf/$2 wanted version name value sources
  version=$(python3 --version)
  wanted=$(cat conf/requirements-build.txt "$requirements" | sha256 | cut -d' ' -f1)
  wanted+=" $version $(cd "$folder" 2> /dev/null && pwd -P || echo "$(pwd -P)/$folder")"
  [ "$(cat "$folder/made-from" 2> /dev/null)" != "$wanted" ] \
    || ! "$folder/bin/python" -c '' 2> /dev/null || return 0
  say "Python packages into $folder ($3 MB unpacked, one to two minutes)"
  needs $(($3 * 3 / 2)) "the Python packages"
  # The old one stays until the new one is whole: the stack that runs needs it to be stopped.
  [ ! -d "$folder" ] || { rm -rf "$folder.old" && mv "$folder" "$folder.old"; }
  # shellcheck disable=SC2064  # the folder is known now
  trap "rm -rf $folder; [ ! -d $folder.old ] || mv $folder.old $folder" EXIT
  python3 -m venv "$folder"
  # Of pip's settings, this machine's and the user's, only those that say where packages come from.
  sources='index-url|extra-index-url|find-links|trusted-host|cert|client-cert|proxy|timeout|retries'
  while read -r name value; do
    [ -n "${!name:-}" ] || export "$name=$value"
  done < <(HOME=${USER_HOME:-} "$folder/bin/pip" config list 2> /dev/null \
    | sed -nE "s/^(global|install)\.($sources)='(.*)'\$/\2 \3/p" \
    | sed -E 's/\\n/ /g; s/^timeout /default-timeout /' \
    | awk '{name = toupper($1); gsub(/-/, "_", name); $1 = "PIP_" name; print}')
  export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
  [ -z "${USER_HOME:-}" ] || export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$USER_HOME/.cache/pip}
  # The build tools first: pip would fetch unpinned ones for source archives (PySpark, PyHive).
  # shellcheck disable=SC2015  # die is meant for either failure
  run "$folder/bin/pip" install --quiet --require-hashes -r conf/requirements-build.txt \
    && run "$folder/bin/pip" install --quiet --require-hashes --no-build-isolation \
      -r "$requirements" \
    || die 1 "pip could not install the Python packages" \
      "its message is above; nothing half made is left" \
      "no connection: check the network, or set https_proxy; otherwise mend what pip says;
       then the same command again"
  printf '%s\n' "$wanted" > "$folder/made-from"
  trap '[ ${#cleanup[@]} -eq 0 ] || rm -rf "${cleanup[@]}"' EXIT
  rm -rf "$folder.old"
}

lock_file=requirements.txt
[ "$option" != --image ] || lock_file='requirements-run.txt'
environment .venv $lock_file 1100
[ "$option" != --notebook ] || environment .venv-notebook requirements-notebook.txt 800
[ "$option" != --dbt ] || environment .venv-dbt requirements-dbt.txt 150

# --- server jars -------------------------------------------------------------------------------

# Each folder of jars as conf/jars.lock wants it, not one jar more.
jars_are_right() {
  (cd "$1" && sha256 -c --quiet --strict "$OLDPWD/conf/jars.lock" > /dev/null 2>&1 \
    && [ "$(find . -name '*.jar' | wc -l)" -eq "$(wc -l < "$OLDPWD/conf/jars.lock")" ])
}

if ! cmp -s conf/jars.lock "$run_dir/jars/jars.lock"; then
  new=$run_dir/jars.new
  rm -rf "$new"
  cleanup+=("$new")
  if [ "$run_dir" != "$PWD/.run" ] && cmp -s conf/jars.lock .run/jars/jars.lock; then
    cp -Rl .run/jars "$new" 2> /dev/null || {
      rm -rf "$new"
      cp -R .run/jars "$new"
    }
    rm -f "$new"/*.jsa "$new"/archives* # see below
  else
    say "server jars into $run_dir/jars (120 MB, about a minute)"
    mkdir -p "$new"
    needs 600 "the server jars"
    # Java knows no https_proxy.
    proxy=${https_proxy:-${HTTPS_PROXY:-}} java_proxy=()
    if [[ $proxy =~ ^([a-z]+://)?([^@/]*@)?([^:/@]+):([0-9]+)/?$ ]]; then
      java_proxy=("-Dhttps.proxyHost=${BASH_REMATCH[3]}" "-Dhttps.proxyPort=${BASH_REMATCH[4]}")
    fi
    "$remembered/bin/java" ${java_proxy[@]+"${java_proxy[@]}"} -Duser.home="$HOME" \
      -jar .venv/lib/python3*/site-packages/pyspark/jars/ivy-*.jar \
      -settings conf/ivysettings.xml -ivy conf/ivy.xml -cache "$run_dir/ivy" \
      -confs kafka hdfs spark -types jar bundle \
      -retrieve "$new/[conf]/[artifact]-[revision].[ext]" > "$run_dir/ivy.log" 2>&1 \
      || {
        grep -E 'unresolved|FAILED|WARN.*:' "$run_dir/ivy.log" | head -n 10 >&2
        die 1 "the server jars could not be had" \
          "Ivy's log: $run_dir/ivy.log; what it has is kept for the next try" \
          "no connection: check the network, or set https_proxy; otherwise mend what the log says;
       then again: make setup$STACK_KNOBS"
      }
    jars_are_right "$new" || {
      rm -rf "$run_dir/ivy"
      die 1 "a server jar is not the one that conf/jars.lock names" \
        "a broken download, or another file under the same name" \
        "try again: make setup$STACK_KNOBS (and tell the maintainers if it stays so)"
    }
    # NameNode and DataNode read the whole jar at each start, for parts of their web pages.
    # Uncompressed, it takes 90 MB more and three seconds less. (The image has to stay small.)
    [ "$option" = --image ] || python3 - "$new"/hdfs/*.jar << 'PYTHON'
import os, sys, zipfile
name = sys.argv[1]
with zipfile.ZipFile(name) as jar, zipfile.ZipFile(name + ".new", "w") as stored:
    for entry in jar.infolist():
        stored.writestr(zipfile.ZipInfo(entry.filename, entry.date_time), jar.read(entry))
os.replace(name + ".new", name)
PYTHON
  fi
  cp conf/jars.lock "$new/jars.lock"
  rm -rf "$run_dir/jars" "$run_dir/ivy"
  mv "$new" "$run_dir/jars"
fi

# --- class archives ----------------------------------------------------------------------------

# What the archives depend on. They are made in the background, at low priority: everything works
# without them, only slower.
archives_for=$(
  (cat conf/jars.lock conf/classes/* "$remembered/release" .venv/made-from 2> /dev/null || true) \
    | sha256 | cut -d' ' -f1
)
# archives_fit FOLDER: made for these jars by this Java, and not truncated since.
archives_fit() {
  local now
  now=$archives_for$'\n'$(cd "$1" && wc -c ./*.jsa 2> /dev/null) || true
  [ "$now" = "$(cat "$1/archives" 2> /dev/null)" ] && [ ! .venv/made-from -nt "$1/archives" ]
}
if [ "$option" != --image ] && ! archives_fit "$run_dir/jars"; then
  [ ! -f "$run_dir/jars/archives" ] || rm -f "$run_dir"/jars/*.jsa "$run_dir/jars/archives"
  if [ "$run_dir" != "$PWD/.run" ] && [ -d .run/jars ]; then
    # The jars are hard links to those of .run, so its archives are valid for them too.
    ! archives_fit .run/jars \
      || ln -f .run/jars/*.jsa .run/jars/archives "$run_dir/jars/" 2> /dev/null || true
  else
    mkdir -p "$run_dir/logs"
    STACK=local SPARK_MASTER='local[*]' CLIENT_CONF='' CLUSTER='' RUN_DIR=$run_dir \
      ARCHIVES_FOR=$archives_for nohup nice scripts/env.sh python -m pipeline.stack.class_archives \
      > "$run_dir/logs/archives.log" 2>&1 < /dev/null 9>&- &
  fi
fi

[ -n "$option" ] \
  || say "everything is in place (Java: $remembered; packages: .venv; jars: $run_dir/jars)"
