#!/usr/bin/env bash
# Summary: records which classes the JVMs of the pipeline load, into conf/classes/, for the class
#          archives (scripts/setup.sh). A stale list costs speed only.
# Usage: scripts/class_lists.sh     (after a version changed in conf/; about three minutes,
#        on a stack of its own in .run-classes)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"

export RUN_DIR=.run-classes KAFKA=127.0.0.1:27092 HDFS=hdfs://127.0.0.1:27020
scripts/env.sh --bare scripts/setup.sh --quiet
CLASS_LISTS=$(mktemp -d)
export CLASS_LISTS TOPIC=synthetic_classes DATA=$CLASS_LISTS/data.json
trap 'make down; make clean YES=1; rm -rf "$CLASS_LISTS"' EXIT
make all SYNTHETIC=1000
make consume
echo '{}' | scripts/env.sh kafka-console-producer --topic "$TOPIC" --bootstrap-server "$KAFKA"
scripts/env.sh hadoop fs -put Makefile /
scripts/env.sh hadoop fs -cat /Makefile > /dev/null
scripts/env.sh hdfs dfsadmin -report > /dev/null
echo 'SELECT count(*) FROM attempts;' | make sql
make serve query
echo 'SELECT count(*) FROM attempts;' | make sql
make down
# Made at run time, or in signed jars (Janino): such classes cannot be archived.
left_out='[$]Proxy|[$][$]Lambda|LambdaForm|GeneratedMethodAccessor|GeneratedConstructorAccessor'
left_out+='|^jdk/proxy|^com/sun/proxy|^pipeline/|^org/codehaus/(janino|commons/compiler)/'
for kind in kafka hdfs spark beeline; do
  cat "$CLASS_LISTS/$kind".* | sed '/^[#@]/d; /source:/d; s/ .*//' | grep -vE "$left_out" \
    | LC_ALL=C sort -u | gzip -9n > "conf/classes/$kind.txt.gz"
done
