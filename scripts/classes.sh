#!/usr/bin/env bash
# Summary: records which classes the JVMs load, into conf/classes/, for scripts/archives.py. A stale list costs speed only.
# Usage: scripts/classes.sh     (after a version changed in conf/; a stack of its own in .run-classes, about three minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac

export RUN_DIR=.run-classes KAFKA=127.0.0.1:27092 HDFS=hdfs://127.0.0.1:27020 TOPIC=classes
scripts/setup.sh --quiet
CLASS_LISTS=$(mktemp -d)
export CLASS_LISTS
trap 'make down; make clean YES=1; rm -rf "$CLASS_LISTS"' EXIT
make up
make topic
seq 1000 | scripts/env.sh kafka-console-producer --topic classes --bootstrap-server "$KAFKA"
scripts/env.sh kafka-console-consumer --topic classes --from-beginning --max-messages 5 --bootstrap-server "$KAFKA"
scripts/env.sh hadoop fs -put Makefile /
scripts/env.sh hadoop fs -cat /Makefile >/dev/null
scripts/env.sh hadoop fs -ls /
scripts/env.sh hadoop fs -du /
scripts/env.sh hdfs dfsadmin -report >/dev/null
scripts/env.sh python scripts/classes.py
scripts/env.sh "$PWD/.venv/bin/spark-sql" --properties-file "$RUN_DIR/conf/spark/spark-defaults.conf" -e 'SHOW DATABASES'
make down
mkdir -p conf/classes
for kind in kafka hdfs spark; do
  # Only what has a name of its own: no lambdas, proxies and other classes made at run time.
  cat "$CLASS_LISTS/$kind".* | sed '/^[#@]/d; /source:/d; s/ .*//' | grep -vE '[$]Proxy|[$][$]Lambda|LambdaForm|GeneratedMethodAccessor|GeneratedConstructorAccessor|^jdk/proxy|^com/sun/proxy' |
    LC_ALL=C sort -u | gzip -9n > "conf/classes/$kind.txt.gz"
done
