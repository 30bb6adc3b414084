#!/usr/bin/env bash
# Summary: checks the knobs, derives addresses and paths from them, and runs a command with it all.
#          This is the one place that knows where the stack is; scripts see only addresses and paths.
# Usage: scripts/env.sh COMMAND [ARGUMENT…]     (the Makefile does; the knobs come from there)
#        scripts/env.sh --check                 (the knobs only)
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/lib.sh"
case ${1:-} in ''|-h|--help) help_from_header "$0"; exit 2 ;; esac
[ -n "${KNOB_ORIGINS:-}" ] || die 2 "the knobs are not set" "their defaults stand in the Makefile" "type: make help"

# check KNOB REGEX MEANING: a value that does not fit is named with where it came from; nothing has run yet.
check() {
  local name=$1 regex=$2 meaning=$3 value=${!1-} origin
  [[ $value =~ $regex ]] && return
  origin=$(tr ' ' '\n' <<<"$KNOB_ORIGINS" | sed -n "s/^$name=//p")
  case $origin in file) origin='the default' ;; command_line) origin='the make command line' ;; environment*) origin='the environment' ;; esac
  die 2 "$name is $(printf %q "$value")" "it came from ${origin:-the environment}, and must be $meaning" "type: make help (the knobs, each with its default)"
}
whole='^[1-9][0-9]{0,8}$' flag='^1?$'
LC_ALL=C
check STACK '^local$' 'local'
check TOPIC '^[a-z][a-z0-9_]{0,99}$' 'lower-case letters, digits and _, first a letter: a plain name in Kafka, HDFS and SQL alike'
check DATA '^[^[:cntrl:]]+$' "a file's path"
check DATA_URL '^[^[:cntrl:]]*$' 'addresses with blanks between them'
check SYNTHETIC '^([1-9][0-9]{0,8})?$' 'a whole number, 1 to 999999999'
check SEED '^[0-9]{1,9}$' 'a whole number'
check PARTITIONS "$whole" 'a whole number from 1'
check REPLICATION "$whole" 'a whole number from 1'
for name in ANY_HASH FORCE YES; do check "$name" "$flag" '1 or nothing'; done
check KAFKA '^127\.0\.0\.1:[1-9][0-9]{0,4}$' '127.0.0.1:PORT (the local stack listens on this machine only)'
check HDFS '^hdfs://127\.0\.0\.1:[1-9][0-9]{0,4}$' 'hdfs://127.0.0.1:PORT (the local stack listens on this machine only)'
check SPARK_MASTER '^[][A-Za-z0-9:/.,*_-]+$' 'local[*], spark://HOST:PORT, yarn or k8s://HOST:PORT'
check WAREHOUSE '^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$' 'an absolute path of letters, digits, . _ -'
check RUN_DIR '^[A-Za-z0-9_./+@=-]+$' 'a path of letters, digits and . _ / + @ = -'
unset LC_ALL

# A path that a Java class path or an HDFS URI cannot hold would fail later and less clearly.
[[ $ROOT =~ ^[A-Za-z0-9_./+@=-]+$ ]] || die 2 "this project lies in $(printf %q "$ROOT")" \
  "Java class paths cannot hold blanks and signs" "move it to a path of letters, digits and . _ -"

[ "$1" != --check ] || exit 0

cd "$ROOT"
[[ $RUN_DIR = /* ]] || RUN_DIR=$ROOT/${RUN_DIR#./}
export RUN_DIR ROOT PIPELINE_ENV=1

# Ports: Kafka's controller and HDFS's further servers follow the two that the knobs name.
export KAFKA_PORT=${KAFKA##*:} HDFS_PORT=${HDFS##*:}
export CONTROLLER_PORT=$((KAFKA_PORT + 1)) NAMENODE_HTTP_PORT=$((HDFS_PORT + 1))
export DATANODE_PORT=$((HDFS_PORT + 2)) DATANODE_HTTP_PORT=$((HDFS_PORT + 3)) DATANODE_IPC_PORT=$((HDFS_PORT + 4))
for port in "$CONTROLLER_PORT" "$DATANODE_IPC_PORT"; do
  [ "$port" -le 65535 ] || die 2 "port $port does not exist" "KAFKA and HDFS name a port, and the ports after it are used too" "choose lower ones"
done

# Java was found or installed by setup.
[ ! -f "$RUN_DIR/java_home" ] || JAVA_HOME=$(<"$RUN_DIR/java_home")
export JAVA_HOME=${JAVA_HOME-}
export PATH=$ROOT/scripts/bin:$ROOT/.venv/bin${JAVA_HOME:+:$JAVA_HOME/bin}:$PATH

# One language, one zone: what the tools print does not depend on the machine.
export LANG=C.UTF-8 TZ=UTC PYTHONUTF8=1 PYTHONDONTWRITEBYTECODE=1
export PYSPARK_PYTHON=$ROOT/.venv/bin/python PYSPARK_DRIVER_PYTHON=$ROOT/.venv/bin/python
unset SPARK_HOME HADOOP_HOME PYTHONPATH PYTHONSTARTUP
export HADOOP_CONF_DIR=$RUN_DIR/conf/hadoop SPARK_CONF_DIR=$RUN_DIR/conf/spark
# Without it Spark picks some interface of the machine.
export SPARK_LOCAL_IP=127.0.0.1 SPARK_BIND=127.0.0.1

umask 077 # the run folder holds customers' data
mkdir -p "$RUN_DIR/logs" "$RUN_DIR/conf"/{kafka,hadoop,spark}
jars=("$RUN_DIR"/jars/spark/*.jar)
# shellcheck disable=SC2034  # used by name below
SPARK_JARS=$(IFS=,; echo "${jars[*]}")

# Fills in @NAME@ in each file of conf/; a file is replaced as a whole, and only when it changed.
for template in conf/{kafka,hadoop,spark}/*; do
  rendered=$(<"$template")
  for name in RUN_DIR HDFS WAREHOUSE SPARK_MASTER SPARK_BIND SPARK_JARS KAFKA_PORT CONTROLLER_PORT \
              NAMENODE_HTTP_PORT DATANODE_PORT DATANODE_HTTP_PORT DATANODE_IPC_PORT; do
    rendered=${rendered//"@$name@"/${!name}}
  done
  target=$RUN_DIR/$template
  if [ ! -f "$target" ] || [ "$rendered" != "$(<"$target")" ]; then
    printf '%s\n' "$rendered" > "$target.$$" && mv "$target.$$" "$target"
  fi
done

exec "$@"
