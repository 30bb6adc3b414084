#!/usr/bin/env bash
# Summary: checks the knobs, derives addresses and paths from them, and runs a command with both.
#          Only this script knows where the stack is; all others see addresses and paths.
# Usage: scripts/lib/env.sh COMMAND [ARGUMENT…]     (the Makefile does; the knobs come from there)
#        scripts/lib/env.sh --check                 (the knobs only)
#        With STACK=docker the command runs in a container (containers.sh).
set -euo pipefail
[ -n "${OWN_ENVIRONMENT:-}${PIPELINE_INSTALLED:-}" ] \
  || exec "$(dirname -- "$0")/own_environment.sh" bash "$0" "$@"
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
. "$ROOT/scripts/lib/common.sh"
case ${1:-} in '' | -h | --help)
  help_from_header "$0"
  exit 2
  ;;
esac
# Not started by make, as in a container: the knobs' defaults still come from the Makefile.
if [ -z "${KNOB_ORIGINS:-}" ]; then
  while IFS= read -r -d '' knob; do export "${knob?}"; done < <(make -s -C "$ROOT" knobs)
fi

# origin_of KNOB: file (the default), command_line, environment, …
origin_of() { tr ' ' '\n' <<< "$KNOB_ORIGINS" | sed -n "s/^$1=//p"; }

# check KNOB REGEX MEANING: names a value that does not fit, and its origin, before anything runs.
check() {
  local name=$1 regex=$2 meaning=$3 value=${!1-} origin
  [[ $value =~ $regex ]] && return
  origin=$(origin_of "$name")
  case $origin in
    file) origin='the default' ;;
    command_line) origin='the make command line' ;;
    environment*) origin='the environment' ;;
  esac
  die 2 "$name is $(printf %q "$value")" \
    "it came from ${origin:-the environment}, and must be $meaning" \
    "type: make help (the knobs, each with its default)"
}
whole='^[1-9][0-9]{0,8}$' flag='^1?$'
LC_ALL=C
check STACK '^(local|docker|cluster)$' 'local, docker or cluster'
check TOPIC '^[a-z][a-z0-9_]{0,99}$' \
  'lower-case letters, digits and _, first a letter: a plain name in Kafka, HDFS and SQL alike'
check DATA '^[^~[:cntrl:]][^[:cntrl:]]*$' "a file's path"
check BACKUP '^([^~[:cntrl:]][^[:cntrl:]]*)?$' "a file's path"
check OUT '^([^~[:cntrl:]][^[:cntrl:]]*)?$' "a folder's path"
check FORMAT '^(parquet|csv|duckdb)$' 'parquet, csv or duckdb'
check TABLE '^(attempts|questions|options|messages)?$' 'a table, or nothing for all four'
check DATA_URL '^[^[:cntrl:]]*$' 'addresses with blanks between them'
check SYNTHETIC '^([1-9][0-9]{0,8})?$' 'a whole number, 1 to 999999999'
check SEED '^[0-9]{1,9}$' 'a whole number'
for name in PARTITIONS REPLICATION KILLS MESSAGES RUNS QUERY_LIMIT_S; do
  check "$name" "$whole" 'a whole number from 1'
done
check BASELINE '^([A-Za-z0-9][A-Za-z0-9._/-]{0,99})?$' 'a git commit, branch or tag'
for name in ANY_HASH FORCE SKIP_EXPIRED YES CLUSTER NOTEBOOK_CHECK REMOVE; do
  check "$name" "$flag" '1 or nothing'
done
port=':[1-9][0-9]{0,4}' host='[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?'
if [ "$STACK" = cluster ]; then
  check KAFKA "^$host$port(,$host$port)*\$" 'HOST:PORT, several with commas between them'
  check HDFS "^hdfs://$host($port)?\$" 'hdfs://HOST:PORT, or hdfs://NAME of a nameservice'
else
  local_only="(the $STACK stack listens on this machine only;"
  local_only+=" services that run elsewhere: STACK=cluster)"
  check KAFKA "^127\.0\.0\.1$port\$" "127.0.0.1:PORT $local_only"
  check HDFS "^hdfs://127\.0\.0\.1$port\$" "hdfs://127.0.0.1:PORT $local_only"
fi
cores='([1-9][0-9]*|\*)(,[1-9][0-9]*)?'
check SPARK_MASTER "^(local(\[$cores\])?|yarn|(spark|k8s)://[A-Za-z0-9:/.,_-]+)\$" \
  'local[*], spark://HOST:PORT, yarn or k8s://HOST:PORT'
check WAREHOUSE '^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$' 'an absolute path of letters, digits, . _ -'
path='[A-Za-z0-9_./+@=-]*'
check CLIENT_CONF "^([A-Za-z0-9_./]$path)?\$" \
  'a folder: a path of letters, digits and . _ / + @ = -'
check RUN_DIR "^[A-Za-z0-9_./]$path\$" 'a path of letters, digits and . _ / + @ = -'
unset LC_ALL

# A path that a Java class path or an HDFS URI cannot hold would fail later and less clearly.
[[ $ROOT =~ ^[A-Za-z0-9_./+@=-]+$ ]] || die 2 "this project lies in $(printf %q "$ROOT")" \
  "Java class paths cannot hold blanks and signs" "move it to a path of letters, digits and . _ -"

cd "$ROOT"
RUN_DIR=${RUN_DIR#"$ROOT/"}
STACK_KNOBS=$(of_stack)
export STACK_KNOBS

if [ "$STACK" != docker ] && [ -z "${PIPELINE_INSTALLED:-}" ] && ! id -un > /dev/null 2>&1; then
  die 2 "the user number $(id -u) has no name on this machine" \
    "Hadoop and Spark ask the system for it, and stop without one" \
    "give it one, as root: useradd --uid $(id -u) --no-create-home pipeline
       in a container: run it as a user that its image knows"
fi
if [ "$CLUSTER" = 1 ]; then
  [ "$STACK" = docker ] || die 2 "CLUSTER is 1, and STACK is $STACK" \
    "the cluster is one of containers" "type: make all STACK=docker CLUSTER=1"
  # Three brokers: by default three copies, and a partition for each.
  for name in PARTITIONS REPLICATION; do [ "$(origin_of $name)" != file ] || export $name=3; done
  [ "$(origin_of SPARK_MASTER)" != file ] || export SPARK_MASTER=spark://spark-master:7077
fi
if [ -n "$CLIENT_CONF" ]; then
  folder=$(cd "$CLIENT_CONF" 2> /dev/null && pwd) \
    || die 2 "there is no folder CLIENT_CONF=$CLIENT_CONF that you may enter" \
      "it should hold client.properties, core-site.xml, hdfs-site.xml or spark-defaults.conf" \
      "correct the name, or its rights"
  CLIENT_CONF=$folder
  [ "$STACK" = cluster ] || die 2 "CLIENT_CONF is set, and STACK is $STACK" \
    "only services of somebody else need such settings" "type: make … STACK=cluster"
fi
export CLIENT_CONF

[ "$1" != --check ] || exit 0

[ ! -d "$BACKUP" ] || die 2 "BACKUP is $BACKUP, a folder" \
  "it names the file that backup writes and restore reads" \
  "type: BACKUP=$(quoted "${BACKUP%/}/$TOPIC.tar")"
[[ $RUN_DIR = /* ]] || RUN_DIR=$ROOT/${RUN_DIR#./}
export RUN_DIR ROOT

# --- where the stack is ---------------------------------------------------------------------------

if [ "$STACK" != cluster ]; then
  # The ports of Kafka's controller and of HDFS's other servers follow the two that the knobs name.
  export KAFKA_PORT=${KAFKA##*:} HDFS_PORT=${HDFS##*:}
  export CONTROLLER_PORT=$((KAFKA_PORT + 1)) NAMENODE_HTTP_PORT=$((HDFS_PORT + 1))
  export DATANODE_PORT=$((HDFS_PORT + 2)) DATANODE_HTTP_PORT=$((HDFS_PORT + 3))
  export DATANODE_IPC_PORT=$((HDFS_PORT + 4))
  # The server of make serve: the usual ports of Spark Connect and of HiveServer2.
  [ "$HDFS_PORT" = 8020 ] || export CONNECT_PORT=$((HDFS_PORT + 5)) JDBC_PORT=$((HDFS_PORT + 6))
  for port in "$CONTROLLER_PORT" "$DATANODE_IPC_PORT" "${JDBC_PORT:-1}"; do
    [ "$port" -le 65535 ] || die 2 "port $port does not exist" \
      "KAFKA and HDFS name a port, and the ports after it are used too" "choose lower ones"
  done
fi
export CONNECT_PORT=${CONNECT_PORT:-15002} JDBC_PORT=${JDBC_PORT:-10000}
export SERVE_BIND=${SERVE_BIND:-127.0.0.1}
case $STACK in
  local) # processes of this machine, reachable from nowhere else
    # it belongs to another cluster; here the user who starts the servers owns them
    unset HADOOP_USER_NAME
    # Hadoop resolves this machine's own name. Where no name service knows it (a laptop without a
    # network), a hosts file of ours does.
    if command -v getent > /dev/null && ! timeout 5 getent ahosts "$HOSTNAME" > /dev/null; then
      export HOSTS_FILE=$RUN_DIR/conf/hosts
    fi
    export KAFKA_NODE_ID=1 KAFKA_CONTROLLERS=127.0.0.1:$CONTROLLER_PORT
    export KAFKA_COPIES=1 KAFKA_MIN_COPIES=1
    export KAFKA_LISTENERS=INSIDE://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
    export KAFKA_ADVERTISED=$KAFKA_LISTENERS
    export HDFS_BIND=127.0.0.1 DATANODE_HOSTNAME=127.0.0.1 HDFS_COPIES=1
    ;;
  docker) # the command runs in a container, where the stack is a cluster with addresses of its own
    exec scripts/lib/containers.sh "$@"
    ;;
  cluster)
    # servers in containers have their settings from docker-compose.yml; clients need none
    export HDFS_COPIES=${HDFS_COPIES:-3} # HDFS's own default
    # A container can run under any user number, and Hadoop needs a name for it.
    if [ -n "${PIPELINE_INSTALLED:-}" ] && ! id -un > /dev/null 2>&1; then
      echo "w205:x:$(id -u):0::$HOME:/bin/bash" >> /etc/passwd
    fi
    ;;
esac
export PIPELINE_ENV=1

# --- what set-up installed: here, or in the image -------------------------------------------------

export VENV=${PIPELINE_INSTALLED:-$ROOT}/.venv JARS=$RUN_DIR/jars
[ -z "${PIPELINE_INSTALLED:-}" ] || JARS=$PIPELINE_INSTALLED/.run/jars
[ ! -f "$JARS/../java_home" ] || JAVA_HOME=$(< "$JARS/../java_home")
export JAVA_HOME=${JAVA_HOME-} PYTHONPATH=$ROOT/scripts/lib
export PATH=$ROOT/scripts/bin:$VENV/bin${JAVA_HOME:+:$JAVA_HOME/bin}:$PATH

# One language, one zone: what the tools print does not depend on the machine.
export LANG=C.UTF-8 TZ=UTC PYTHONUTF8=1 PYTHONDONTWRITEBYTECODE=1
# Freed memory can be used again by every thread and library, not only by the one that freed it.
export MALLOC_ARENA_MAX=2 ARROW_DEFAULT_MEMORY_POOL=system
unset JAVA_TOOL_OPTIONS # only set-up needs it
# Spark opens more files than some systems allow at first (a Mac: 256).
[[ $(ulimit -n) =~ ^([0-9]{5,}|unlimited)$ ]] || ulimit -S -n 10000 2> /dev/null || true
# A folder for each cluster and account: commands for two of them, and the stack's, may run at once.
CONF_DIR=$RUN_DIR/conf account="$KAFKA $HDFS $SPARK_MASTER $CLIENT_CONF"
[ "$STACK${PIPELINE_INSTALLED:-}" != cluster ] || CONF_DIR+=/$(cksum <<< "$account" | tr ' ' -)
export CONF_DIR HADOOP_CONF_DIR=$CONF_DIR/hadoop
# Spark's settings are passed as files. SPARK_CONF_DIR would put their folder on the class path, and
# the JVM accepts no class archive (scripts/lib/archives.py) if the class path contains a folder.
export SPARK_SETTINGS=$CONF_DIR/spark/spark-defaults.conf
export PYSPARK_SUBMIT_ARGS="--properties-file $SPARK_SETTINGS pyspark-shell"
SPARK_SUBMIT_OPTS=-Dlog4j2.configurationFile=$CONF_DIR/spark/log4j2.properties
if [ -n "${CLASS_LISTS:-}" ]; then # see scripts/lib/classes.sh
  SPARK_SUBMIT_OPTS+=" -XX:DumpLoadedClassList=$CLASS_LISTS/spark.$$"
elif [ -f "$JARS/spark.jsa" ]; then
  SPARK_SUBMIT_OPTS+=" -XX:SharedArchiveFile=$JARS/spark.jsa -Xlog:cds*=off"
fi
export PYSPARK_DRIVER_PYTHON=$VENV/bin/python
if [[ $SPARK_MASTER = local* ]]; then
  export PYSPARK_PYTHON=$VENV/bin/python
  # By default Spark picks any interface of the machine.
  export SPARK_LOCAL_IP=127.0.0.1 SPARK_BIND=127.0.0.1
else
  # Executors on other machines have a Python of their own, and must reach this machine's driver.
  export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$VENV/bin/python} SPARK_BIND=0.0.0.0
fi

# --- the run folder -------------------------------------------------------------------------------

if [ -z "${PIPELINE_INSTALLED:-}" ] && [ ! -f "$RUN_DIR/run-folder" ]; then
  die 2 "there is no run folder $RUN_DIR" "set-up makes it, and has not run yet" \
    "type: make setup$STACK_KNOBS"
fi
umask 077 # it holds customers' data
mkdir -p "$RUN_DIR/logs" "$CONF_DIR"/{kafka,hadoop,spark}
if [ -z "${PIPELINE_INSTALLED:-}" ]; then # (a container has a home and a /tmp of its own)
  # Tools find no settings in this home folder. Interactive shells keep their history in the user's.
  mkdir -p "$RUN_DIR/home"
  case $1 in
    pyspark | spark-sql | scripts/shell.sh) [ ! -w "${USER_HOME:-/nowhere}" ] || HOME=$USER_HOME ;;
  esac
  export HOME=${HOME:-$RUN_DIR/home}
  # Spark and Java spill and unpack into the run folder, by the command's pid. What killed commands
  # left is deleted here. On a full disk the system's /tmp is used.
  for left in "$RUN_DIR"/tmp/*; do
    kill -0 "${left##*/}" 2> /dev/null || [ -d "/proc/${left##*/}" ] || rm -rf "$left"
  done
  if mkdir -p "$RUN_DIR/tmp/$$" 2> /dev/null; then
    export SPARK_LOCAL_DIRS=$RUN_DIR/tmp/$$
    SPARK_SUBMIT_OPTS+=" -Djava.io.tmpdir=$RUN_DIR/tmp/$$"
  fi
fi
# The libraries in C read the variable, Java does not.
[ -z "${KRB5_CONFIG:-}" ] || SPARK_SUBMIT_OPTS+=" -Djava.security.krb5.conf=$KRB5_CONFIG"
[ -z "${HOSTS_FILE:-}" ] || SPARK_SUBMIT_OPTS+=" -Djdk.net.hosts.file=$HOSTS_FILE"
# The launcher is the JVM that works out the driver's command.
export SPARK_SUBMIT_OPTS SPARK_LAUNCHER_OPTS='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'

# --- configuration files --------------------------------------------------------------------------

joined() { # SEPARATOR WORD…
  local IFS=$1
  shift
  echo "$*"
}
# The driver has the connectors on its class path; executors in other processes fetch them from it.
# shellcheck disable=SC2034  # used by name below
SPARK_CLASSPATH=$(joined : "$JARS"/spark/*.jar) SPARK_JARS='' SPARK_WAREHOUSE=$HDFS$WAREHOUSE/_spark
# It stays empty, and who only reads may not make it among the feeds.
[ -z "$CLIENT_CONF" ] || export SPARK_WAREHOUSE=file:$RUN_DIR/tmp
# shellcheck disable=SC2034
[[ $SPARK_MASTER = local* ]] || SPARK_JARS=$(joined , "$JARS"/spark/*.jar)
names="RUN_DIR HDFS WAREHOUSE SPARK_WAREHOUSE SPARK_MASTER SPARK_BIND SPARK_CLASSPATH SPARK_JARS
  KAFKA_NODE_ID KAFKA_LISTENERS KAFKA_ADVERTISED KAFKA_CONTROLLERS KAFKA_COPIES KAFKA_MIN_COPIES
  HDFS_BIND HDFS_COPIES NAMENODE_HTTP_PORT
  DATANODE_HOSTNAME DATANODE_PORT DATANODE_HTTP_PORT DATANODE_IPC_PORT"

# write FILE TEXT: replaces the whole file, and only if it changed.
write() {
  [ -f "$1" ] && [ "$2" = "$(< "$1")" ] || { printf '%s\n' "$2" > "$1.$$" && mv "$1.$$" "$1"; }
}
[ -z "${HOSTS_FILE:-}" ] || write "$HOSTS_FILE" "127.0.0.1 localhost $HOSTNAME"
# Fills in @NAME@ in each file of conf/. CLIENT_CONF has the settings of somebody else's cluster as
# the standard files: Hadoop's replace ours, Spark's follow ours and take precedence.
for template in conf/{kafka,hadoop,spark}/*; do
  rendered=$(< "$template")
  for name in $names; do rendered=${rendered//"@$name@"/${!name-}}; done
  # On YARN Hadoop's settings travel with the job, to where Spark's Python workers do not look.
  [[ $SPARK_MASTER,$template != yarn,conf/spark/*.conf ]] \
    || rendered+=$'\nspark.executorEnv.HADOOP_CONF_DIR  __spark_conf__/__hadoop_conf__'
  given=${CLIENT_CONF:+$CLIENT_CONF/${template##*/}}
  if [ -f "$given" ]; then
    case $template in
      conf/hadoop/*) rendered=$(< "$given") ;;
      conf/spark/*.conf) rendered+=$'\n'$(< "$given") ;;
    esac
  fi
  write "$CONF_DIR/${template#conf/}" "$rendered"
done
unset KAFKA_CLIENT_PROPERTIES KCAT_CONFIG
if [ -f "${CLIENT_CONF:+$CLIENT_CONF/client.properties}" ]; then
  export KAFKA_CLIENT_PROPERTIES=$CLIENT_CONF/client.properties
  export KCAT_CONFIG=$CONF_DIR/kafka/kcat.conf
  kcat_conf=$(python scripts/lib/kafka_client.py) || exit
  write "$KCAT_CONFIG" "$kcat_conf"
fi
[ ! -f "${CLIENT_CONF:+$CLIENT_CONF/kcat.conf}" ] || export KCAT_CONFIG=$CLIENT_CONF/kcat.conf

# Kerberos: a keytab that spark-defaults.conf names is for all clients; without one, the ticket of
# kinit is. Each command has its own ticket. GSSAPI gets a new one before it ends, by the keytab.
setting() { sed -n "s/^spark\.kerberos\.$1[[:space:]=]\{1,\}//p" "$SPARK_SETTINGS" | tail -n 1; }
if [ -n "$CLIENT_CONF" ] && keytab=$(setting keytab) && [ -n "$keytab" ]; then
  principal=$(setting principal)
  export KRB5CCNAME=$RUN_DIR/tmp/$$/ticket KRB5_CLIENT_KTNAME=$keytab
  command -v kinit > /dev/null || die 2 "there is no kinit, and $SPARK_SETTINGS names a keytab" \
    "it is the program that gets a ticket of Kerberos" "Debian: apt-get install krb5-user"
  settings=conf/krb5.conf:${KRB5_CONFIG:-/etc/krb5.conf}
  refused=$(KRB5_CONFIG=$settings kinit -k -t "$keytab" "$principal" 2>&1) \
    || die 2 "Kerberos gives $principal no ticket for the keytab $keytab" "$refused" \
      "mend what it says: this machine's clock, or $CLIENT_CONF/spark-defaults.conf"
fi

exec "$@"
