#!/usr/bin/env bash
# Summary: an interactive bash with the stack's tools on its path.
# Usage: make shell
set -euo pipefail
cat << END
kafka-topics, kafka-console-consumer, kafka-acls, kafka-configs, kcat (kafkacat), jq, hadoop fs,
hdfs dfsadmin, pyspark, spark-sql, spark-submit
KAFKA=$KAFKA  HDFS=$HDFS  TOPIC=$TOPIC  DATA=$DATA      to leave: exit
END
unset KNOB_ORIGINS # of the make that started this; one started in here has its own
exec bash --noprofile --norc
