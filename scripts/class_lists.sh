#!/usr/bin/env bash
# Summary: records which classes the JVMs load, into conf/classes/, for the class archives
#          (stack/class_archives.py). A stale list costs speed only.
# Usage: scripts/class_lists.sh     (after a version changed in conf/; about three minutes,
#        on a stack of its own in .run-classes)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"

export RUN_DIR=.run-classes KAFKA=127.0.0.1:27092 HDFS=hdfs://127.0.0.1:27020 TOPIC=classes
scripts/env.sh --bare scripts/setup.sh --quiet
CLASS_LISTS=$(mktemp -d)
export CLASS_LISTS
trap 'make down; make clean YES=1; rm -rf "$CLASS_LISTS"' EXIT
make up
make topic
seq 1000 | scripts/env.sh kafka-console-producer --topic classes --bootstrap-server "$KAFKA"
scripts/env.sh kafka-console-consumer --topic classes --from-beginning --max-messages 5 \
  --bootstrap-server "$KAFKA"
scripts/env.sh hadoop fs -put Makefile /
scripts/env.sh hadoop fs -cat /Makefile > /dev/null
scripts/env.sh hadoop fs -ls /
scripts/env.sh hadoop fs -du /
scripts/env.sh hdfs dfsadmin -report > /dev/null
scripts/env.sh python -m pipeline.stack.class_lists
scripts/env.sh "$PWD/.venv/bin/spark-sql" -e 'SHOW DATABASES' \
  --properties-file "$RUN_DIR/conf/spark/spark-defaults.conf"
CLASS_LISTS="" make land
CLASS_LISTS="" make serve
echo 'SELECT count(*) FROM attempts;' | make sql
make down
mkdir -p conf/classes
made_at_run_time='[$]Proxy|[$][$]Lambda|LambdaForm|GeneratedMethodAccessor'
made_at_run_time+='|GeneratedConstructorAccessor|^jdk/proxy|^com/sun/proxy'
for kind in kafka hdfs spark beeline; do
  cat "$CLASS_LISTS/$kind".* | sed '/^[#@]/d; /source:/d; s/ .*//' | grep -vE "$made_at_run_time" \
    | LC_ALL=C sort -u | gzip -9n > "conf/classes/$kind.txt.gz"
done
