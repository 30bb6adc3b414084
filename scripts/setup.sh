#!/usr/bin/env bash
# Summary: installs what is missing: system tools by apt or Homebrew, Python packages into .venv by
#          uv, server jars into .jars, pinned by hash. From the jars it makes class archives, with
#          which JVMs start faster. What is in place is left alone, and then no network is needed.
#          Interrupted, it goes on where it stopped.
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

as_root=()
# apt PACKAGE…: installs them, and shows how much is fetched and what is installed.
apt() {
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends "$@")
  printf '$ %s\n' "$(quoted "${install[@]}")" >&2
  "${install[@]}" 2>&1 | tee -a "$run_dir/apt.log" \
    | { grep --line-buffered -E '^(Need to get|Setting up)' || true; } >&2 || {
    tail -n 20 "$run_dir/apt.log" >&2
    die 1 "apt-get could not install $*" \
      "its output: $run_dir/apt.log" \
      "install them by hand, then: make setup$STACK_KNOBS"
  }
}
# What set-up needs at once is installed at once, the rest while the packages are fetched.
install_tools=()
if [ ${#missing[@]} -gt 0 ]; then
  packages=()
  say 'missing on this machine:'
  for entry in "${missing[@]}"; do
    printf '         %-13s %s\n' "${entry%%:*}" "${entry#*:}" >&2
    packages+=("${entry%%:*}")
  done
  if command -v brew > /dev/null; then
    install_tools=(run brew install "${packages[@]/#java/openjdk@17}")
  elif command -v apt-get > /dev/null; then
    if [ "$(id -u)" -ne 0 ]; then
      command -v sudo > /dev/null || die 1 "cannot install: neither root nor sudo here" \
        "apt-get installs packages as root only" \
        "ask for what is named above: openjdk-17-jre-headless (or newer) kcat jq curl python3-venv"
      as_root=(sudo)
    fi
    rm -f "$run_dir/apt.log"
    run "${as_root[@]}" apt-get update -qq
    case ${packages[*]} in *python3-venv)
      unset 'packages[-1]'
      apt python3-venv ca-certificates
      ;;
    esac
    java_package=$(apt-cache --names-only search '^openjdk-(17|21)-jre-headless$' \
      | sort | head -n 1 | cut -d' ' -f1)
    packages=("${packages[@]/#java/${java_package:-default-jre-headless}}")
    [ ${#packages[@]} -eq 0 ] || install_tools=(apt "${packages[@]}")
  else
    die 1 "no apt-get and no Homebrew here" \
      "this script can install with those two only" \
      "install with your package manager: Java 17 or newer, and what is named above"
  fi
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
unfinished='' # the environment that is being made
tools=''      # the process that installs the system's tools
leave() {
  if [ -n "$unfinished" ]; then
    rm -rf "$unfinished"
    [ ! -d "$unfinished.old" ] || mv "$unfinished.old" "$unfinished"
  fi
  [ -z "$tools" ] || wait "$tools" || true # the system's package manager is not interrupted
  # shellcheck disable=SC2046  # one pid a word
  kill -KILL $(jobs -p) 2> /dev/null || true # what makes class archives
}
trap leave EXIT
trap 'exit 130' INT TERM

if [ ${#install_tools[@]} -gt 0 ]; then
  "${install_tools[@]}" &
  tools=$!
fi

# --- Python packages ---------------------------------------------------------------------------

# environment FOLDER REQUIREMENTS MB: makes it from a lock file of conf/, unless it was made from
# the same, by this Python and at this place (it contains its own path, resolved).
environment() {
  local folder=$1 requirements=conf/$2 wanted version begin=$SECONDS compile=()
  version=$(python3 --version)
  wanted=$(cat conf/requirements-build.txt "$requirements" | sha256 | cut -d' ' -f1)
  wanted+=" $version $(cd "$folder" 2> /dev/null && pwd -P || echo "$(pwd -P)/$folder")"
  [ "$(cat "$folder/made-from" 2> /dev/null)" != "$wanted" ] \
    || ! "$folder/bin/python" -c '' 2> /dev/null || return 0
  say "Python packages into $folder: $3 MB unpacked, kept in .venv.cache until all are there"
  needs $(($3 * 5 / 2)) "the Python packages"
  # The old one stays until the new one is whole: the stack that runs needs it to be stopped.
  if [ -f "$folder/made-from" ]; then
    rm -rf "$folder.old"
    mv "$folder" "$folder.old"
  fi
  rm -rf "$folder" # left by a set-up that was killed
  unfinished=$folder
  python3 -m venv "$folder"
  read_pip_settings "$folder"
  # On this disk, so that files are linked from it; kept for the next try when this one fails.
  export UV_CACHE_DIR=$PWD/.venv.cache
  # In a container nobody can write what Python compiles.
  [ "$option" != --image ] || compile=(--compile-bytecode)
  # uv, and the build tools of source archives (PySpark, PyHive), come by pip. PySpark's wheel is
  # not compressed, because its jars are. The lock file is whole: --no-deps saves reading metadata.
  # shellcheck disable=SC2015  # die is meant for either failure
  run "$folder/bin/pip" install --quiet --require-hashes -r conf/requirements-build.txt \
    && run "$folder/bin/uv" pip install --python "$folder/bin/python" --require-hashes --no-deps \
      --no-build-isolation --config-settings-package pyspark:--build-option=--compression=stored \
      ${compile[@]+"${compile[@]}"} -r "$requirements" 2>&1 \
    | { grep --line-buffered -v '^ [+] ' || true; } >&2 \
    || die 1 "the Python packages could not be installed" \
      "the message is above; what was fetched is kept in .venv.cache for the next try" \
      "no connection: check the network, or set https_proxy; otherwise mend what it says;
       then the same command again"
  printf '%s\n' "$wanted" > "$folder/made-from"
  unfinished=''
  rm -rf "$folder.old" .venv.cache
  say "Python packages: $((SECONDS - begin)) s"
}

lock_file=requirements.txt
[ "$option" != --image ] || lock_file='requirements-run.txt'
environment .venv $lock_file 1100
[ "$option" != --notebook ] || environment .venv-notebook requirements-notebook.txt 800
[ "$option" != --dbt ] || environment .venv-dbt requirements-dbt.txt 150

if [ -n "$tools" ]; then
  wait "$tools" || exit 1 # it said why
fi
if [ -z "$remembered" ]; then
  remembered=$(find_java) || die 1 "there is still no Java 17 or newer" \
    "looked at JAVA_HOME (${JAVA_HOME:-not set}), the PATH and /usr/lib/jvm" \
    "install one, or: make setup$STACK_KNOBS JAVA_HOME=/path/to/it"
  [ -z "${JAVA_HOME:-}" ] || [ "$JAVA_HOME" -ef "$remembered" ] \
    || say "JAVA_HOME=$JAVA_HOME is no Java 17 or newer; using $remembered"
  printf '%s\n' "$remembered" > "$run_dir/java_home"
fi

# --- server jars and class archives -------------------------------------------------------------

# All run folders of this checkout share both, in .jars.
# A line of conf/jars.lock: SHA-256  FOLDER/FILE  ORGANISATION:NAME:VERSION
# jars_are_right FOLDER…: each in .jars.new has its files of conf/jars.lock, not one jar more.
jars_are_right() {
  local folders lock
  folders=$(IFS='|' && echo "$*")
  lock=$(grep -E "  ($folders)/" conf/jars.lock)
  (cd .jars.new && cut -d' ' -f1-3 <<< "$lock" | sha256 -c --quiet --strict > /dev/null 2>&1 \
    && [ "$(find "$@" -name '*.jar' | wc -l)" -eq "$(wc -l <<< "$lock")" ])
}

# ivy FOLDER…: fetches their jars into .jars.new by the Ivy that PySpark ships. Because the lock
# file has every jar, no project description is read, and because it has the hashes, no other
# checksum.
ivy() {
  local proxy java_proxy=() count got attributes
  count=$(($(wc -l < conf/jars.lock))) got=$(find .jars -name '*.jar' | wc -l)
  # Java knows no https_proxy.
  proxy=${https_proxy:-${HTTPS_PROXY:-}}
  if [[ $proxy =~ ^([a-z]+://)?([^@/]*@)?([^:/@]+):([0-9]+)/?$ ]]; then
    java_proxy=("-Dhttps.proxyHost=${BASH_REMATCH[3]}" "-Dhttps.proxyPort=${BASH_REMATCH[4]}")
  fi
  {
    echo '<ivy-module version="2.0"><info organisation="tracking-user-activity" module="servers"/>'
    echo '<configurations>'
    echo '<conf name="kafka"/><conf name="hdfs"/><conf name="spark"/>'
    echo '</configurations><dependencies>'
    attributes='conf="\1->default" org="\2" name="\3" rev="\4" transitive="false"'
    sed -E "s#.*  ([a-z]+)/.*  (.*):(.*):(.*)#<dependency $attributes/>#" conf/jars.lock
    echo '</dependencies></ivy-module>'
  } > .jars.new/ivy.xml
  "$remembered/bin/java" ${java_proxy[@]+"${java_proxy[@]}"} -Duser.home="$HOME" \
    -Dread.poms=false -Divy.checksums= \
    -jar .venv/lib/python3*/site-packages/pyspark/jars/ivy-*.jar \
    -settings conf/ivysettings.xml -ivy .jars.new/ivy.xml -cache "$PWD/.jars.new/cache" \
    -confs "$@" -types jar bundle \
    -retrieve "$PWD/.jars.new/[conf]/[artifact]-[revision].[ext]" 2>&1 | tee "$run_dir/ivy.log" \
    | while read -r line; do
      case $line in *SUCCESSFUL*)
        got=$((got + 1))
        [ $((got % 20)) -ne 0 ] || printf ' %s of %s jars\n' "$got" "$count" >&2
        ;;
      esac
    done
}

# get_jars FOLDER…: puts their jars into .jars, unless they are there.
get_jars() {
  [ -z "$jars_in_place" ] || return 0
  mkdir -p .jars.new/cache # what an earlier try has fetched
  (cd .jars.new && rm -rf "$@")
  ivy "$@" || {
    grep -E 'FAILED|: not found|error at url' "$run_dir/ivy.log" | tail -n 5 >&2 || true
    die 1 "the server jars could not be had" \
      "Ivy's log: $run_dir/ivy.log; what was fetched is kept in .jars.new for the next try" \
      "no connection: check the network, or set https_proxy; otherwise mend what the log says;
       then again: make setup$STACK_KNOBS"
  }
  jars_are_right "$@" || {
    rm -rf .jars.new
    die 1 "a server jar is not the one that conf/jars.lock names" \
      "a broken download, or another file under the same name" \
      "try again: make setup$STACK_KNOBS (and tell the maintainers if it stays so)"
  }
  (cd .jars.new && mv "$@" ../.jars)
}

# An archive (AppCDS) holds the classes of a list in conf/classes/, parsed and verified for one
# class path. A JVM maps it instead of reading jars. A JVM that does not accept it (another Java,
# another jar) starts as it would without: an archive that cannot be made is only a note.
# start_archive KIND COMMAND…: starts to make KIND.jsa, for the class path of this command's JVM, by
# the process $archiving.
archiving=''
start_archive() {
  [ -z "$archives_in_place" ] || return 0
  local kind=$1 dump
  gzip -dc "conf/classes/$kind.txt.gz" > ".jars/$kind.classes"
  dump="-Xshare:dump -XX:SharedClassListFile=.jars/$kind.classes"
  dump+=" -XX:SharedArchiveFile=.jars/$kind.jsa.new"
  # No HADOOP_CONF_DIR: a class path with a folder cannot be archived. Each process up to the JVM
  # replaces the one before, so that `leave` can end it.
  STACK=local SPARK_MASTER='local[*]' CLIENT_CONF='' CLUSTER='' RUN_DIR=$run_dir scripts/env.sh \
    env -u HADOOP_CONF_DIR JAVA_TOOL_OPTS="$dump" SPARK_SUBMIT_OPTS="$dump" "${@:2}" \
    > "$run_dir/logs/archive-$kind.log" 2>&1 < /dev/null &
  archiving=$!
}

# end_archive KIND PROCESS: waits for it. Synced before it gets its name: Java does not check an
# archive's length, and crashes on a truncated one.
end_archive() {
  if wait "$2" && sync ".jars/$1.jsa.new"; then
    mv ".jars/$1.jsa.new" ".jars/$1.jsa"
  else
    rm -f ".jars/$1.jsa.new"
    say "no class archive for $1, which starts slower without; see $run_dir/logs/archive-$1.log"
  fi
  rm ".jars/$1.classes"
}

# archives_fit: made for these jars by this Java, and not truncated since.
archives_fit() {
  [ "$(archives_are)" = "$(cat .jars/archives 2> /dev/null)" ] \
    && [ ! .venv/made-from -nt .jars/archives ]
}
archives_are() {
  (cat conf/jars.lock conf/classes/* "$remembered/release" .venv/made-from 2> /dev/null || true) \
    | sha256 | cut -d' ' -f1
  (cd .jars && wc -c ./*.jsa 2> /dev/null) || true
}

# An older set-up left them in the run folder.
if [ ! -L "$run_dir/jars" ] && [ ! -e .jars ] \
  && cut -d' ' -f1-3 conf/jars.lock | cmp -s - "$run_dir/jars/jars.lock"; then
  cp conf/jars.lock "$run_dir/jars/jars.lock"
  mv "$run_dir/jars" .jars
fi
jars_in_place=1 archives_in_place=1 begin=$SECONDS
if ! cmp -s conf/jars.lock .jars/jars.lock; then
  jars_in_place=''
  say "server jars into .jars: $(($(wc -l < conf/jars.lock))) jars, 120 MB"
  needs 600 "the server jars"
  rm -f .jars/jars.lock # first: it says that all are there
  rm -rf .jars
  mkdir .jars
fi
if [ "$option" != --image ] && ! archives_fit; then
  archives_in_place=''
  rm -f .jars/*.jsa* .jars/archives
  mkdir -p "$run_dir/logs"
fi
if [ ! "$run_dir/jars" -ef .jars ]; then
  rm -rf "$run_dir/jars"
  ln -s "$PWD/.jars" "$run_dir/jars"
fi

get_jars spark
start_archive spark spark-submit pyspark-shell # takes longest, beside all that follows
spark=$archiving
get_jars kafka hdfs
if [ -z "$jars_in_place" ]; then
  # NameNode and DataNode read the whole jar at each start, for parts of their web pages.
  # Uncompressed, it takes 90 MB more and three seconds less. (The image has to stay small.)
  [ "$option" = --image ] || python3 - .jars/hdfs/*.jar << 'PYTHON'
import os, sys, zipfile
name = sys.argv[1]
with zipfile.ZipFile(name) as jar, zipfile.ZipFile(name + ".new", "w") as stored:
    for entry in jar.infolist():
        stored.writestr(zipfile.ZipInfo(entry.filename, entry.date_time), jar.read(entry))
os.replace(name + ".new", name)
PYTHON
  rm -rf .jars.new
  cp conf/jars.lock .jars/jars.lock
  say "server jars: $((SECONDS - begin)) s"
fi
if [ -z "$archives_in_place" ]; then
  begin=$SECONDS
  say "class archives, with which JVMs start faster: 460 MB in .jars"
  for kind in kafka hdfs beeline; do
    start_archive $kind java-tool $kind none
    end_archive $kind "$archiving"
  done
  end_archive spark "$spark"
  archives_are > .jars/archives
  say "class archives: $((SECONDS - begin)) s"
fi

[ -n "$option" ] || say "everything is in place after $SECONDS s" \
  "(Java: $remembered; packages: .venv; jars: .jars)"
