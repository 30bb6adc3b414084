"""Where a feed stands: its topic in Kafka, its tables in HDFS, and errors said so that people can act.

Other scripts import this; as a script it prints the number of records that were ever sent to the topic:
    scripts/env.sh python scripts/feed.py

Needs no JVM: Kafka is asked through kafka-python, HDFS through hdfs-native, the tables through deltalake.
"""
import contextlib
import functools
import os
import sys
import time
import traceback

import deltalake
import hdfs_native
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

KAFKA, HDFS, TOPIC, WAREHOUSE, RUN_DIR = (os.environ[name] for name in ("KAFKA", "HDFS", "TOPIC", "WAREHOUSE", "RUN_DIR"))
SERVER_ANSWERS_WITHIN_S = 10
SILENCE_LIMIT_S = 60
TOPIC_ID = "kafka.topic.id"  # the ledger's table property: which topic of this name it belongs to


class Failure(Exception):
    """A foreseeable fault: what is wrong, why, and what to type next."""

    def __init__(self, what, why, then):
        super().__init__(what)
        self.what, self.why, self.then = what, why, then


@contextlib.contextmanager
def report_failures():
    """Turns exceptions into a message of three lines and a non-zero exit; the trace goes to the log."""
    log = os.path.join(RUN_DIR, "logs", os.path.basename(sys.argv[0]).removesuffix(".py") + ".log")
    try:
        yield
    except Failure as failure:
        what, why, then = failure.what, failure.why, failure.then
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        with open(log, "a") as file:
            traceback.print_exc(file=file)
        first_line = (str(error).strip().splitlines() or [""])[0][:300]
        what = f"{type(error).__name__}: {first_line}"
        if isinstance(error, KafkaError):
            what = f"Kafka at {KAFKA} does not answer as it should ({what})"
        why, then = f"the whole trace: {log}; Spark's own log: {RUN_DIR}/logs/spark.log", "look whether all of the stack runs: make status"
    else:
        return
    print(f"error: {what}\n       {why}\n       {then}", file=sys.stderr)
    sys.exit(1)


def table_path(table, topic=None):
    """hdfs://…/<warehouse>/<topic>/<table>"""
    return f"{HDFS}{WAREHOUSE}/{topic or TOPIC}/{table}"


def kafka_admin(timeout_s=30):
    return KafkaAdminClient(bootstrap_servers=KAFKA, bootstrap_timeout_ms=timeout_s * 1000, request_timeout_ms=timeout_s * 1000)


def hdfs():
    return hdfs_native.Client(HDFS)


@functools.cache
def _consumer():
    # The broker checks each record's CRC when it comes in; a second check in Python would take most of the time.
    return KafkaConsumer(bootstrap_servers=KAFKA, enable_auto_commit=False, check_crcs=False,
                         fetch_max_bytes=32 * 2**20, max_partition_fetch_bytes=8 * 2**20)


def topics():
    """Names of all topics but Kafka's internal ones, sorted."""
    return sorted(name for name in _consumer().topics() if not name.startswith("__"))


def topic_id(topic=None):
    """The id Kafka gave the topic when it was created, as text; None when there is no such topic."""
    with contextlib.closing(kafka_admin()) as admin:
        for found in admin.describe_topics([topic or TOPIC]):
            if found["error_code"] == 0:
                return str(found["topic_id"])
    return None


def _partitions(topic):
    topic = topic or TOPIC
    return [TopicPartition(topic, number) for number in sorted(_consumer().partitions_for_topic(topic) or ())]


def end_offsets(topic=None):
    """{partition: offset that the next record will get}; empty when there is no such topic."""
    return {at.partition: offset for at, offset in _consumer().end_offsets(_partitions(topic)).items()}


def beginning_offsets(topic=None):
    """{partition: offset of the first record that is still kept}"""
    return {at.partition: offset for at, offset in _consumer().beginning_offsets(_partitions(topic)).items()}


def records():
    """Every record of the topic up to its end at the time of the call, a partition after the other."""
    consumer = _consumer()
    for at, end in consumer.end_offsets(_partitions(None)).items():
        consumer.assign([at])
        consumer.seek_to_beginning(at)
        silent_since = time.monotonic()
        while consumer.position(at) < end:
            for record in consumer.poll(timeout_ms=1000).get(at, ()):
                if record.offset < end:
                    yield record
                silent_since = time.monotonic()
            if time.monotonic() - silent_since > SILENCE_LIMIT_S:
                raise Failure(f"Kafka at {KAFKA} stopped sending topic {TOPIC}", f"nothing came for {SILENCE_LIMIT_S} s, at offset {consumer.position(at)} of {end} in partition {at.partition}", "make status; then again")


def open_table(table, topic=None):
    """The Delta table, or None when nothing was landed yet."""
    try:
        return deltalake.DeltaTable(table_path(table, topic))
    except TableNotFoundError:
        return None


def landed_offsets(topic=None):
    """{partition: offset after the last landed record}, from the ledger, whose commit ends each batch;
    None when there is no ledger. Reads the statistics in the table's log, not the data, where they are there."""
    ledger = open_table("messages", topic)
    if ledger is None:
        return None
    landed = {}
    for file in ledger.get_add_actions(flatten=True).to_struct_array().to_pylist():
        partition = file.get("min.kafka_partition")
        if partition is None or partition != file["max.kafka_partition"] or file["max.kafka_offset"] is None:
            # Rewritten by another tool, without statistics or with partitions mixed: the data tell.
            columns = ledger.to_pyarrow_table(columns=["kafka_partition", "kafka_offset"])
            return {row["kafka_partition"]: row["kafka_offset_max"] + 1
                    for row in columns.group_by("kafka_partition").aggregate([("kafka_offset", "max")]).to_pylist()}
        landed[partition] = max(landed.get(partition, 0), file["max.kafka_offset"] + 1)
    return landed


if __name__ == "__main__":
    with report_failures():
        print(sum(end_offsets().values()))
