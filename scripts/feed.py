"""Where a feed stands: its topic in Kafka, its tables in HDFS, and errors said so that people can act.

Other scripts import this; as a script it prints the number of records that were ever sent to the topic:
    scripts/env.sh python scripts/feed.py

Needs no JVM: Kafka is asked through kafka-python, HDFS through hdfs-native, the tables through deltalake.
"""
import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import sys
import time
import traceback

import deltalake
import hdfs_native
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

import kafka_client
import message
import records as data_file
from printable import printable

KAFKA, HDFS, TOPIC, WAREHOUSE, RUN_DIR = (os.environ[name] for name in ("KAFKA", "HDFS", "TOPIC", "WAREHOUSE", "RUN_DIR"))
SERVER_ANSWERS_WITHIN_S = 10
SILENCE_LIMIT_S = 60
BROKER_CHANGE_S = 30
TOPIC_ID = "kafka.topic.id"  # the ledger's table property: which topic of this name it belongs to
EXPIRED = "kafka.expired"  # the ledger's table property: offsets that were gone before they were landed, {partition: [[from, to], …]} as JSON


class Failure(Exception):
    """A foreseeable fault: what is wrong, why, and what to type next."""

    def __init__(self, what, why, then):
        super().__init__(what)
        self.what, self.why, self.then = what, why, then


def log_path():
    return os.path.join(RUN_DIR, "logs", os.path.basename(sys.argv[0]).removesuffix(".py") + ".log")


def log_trace():
    """The trace of the exception at hand, to the script's log. A full disk must not hide the fault itself."""
    with contextlib.suppress(OSError), open(log_path(), "a") as file:
        traceback.print_exc(file=file)


def cause(error):
    """What an exception comes down to, in one line: Java's last cause, or what ends the trace of a Python worker, where there is one."""
    text = str(error).strip().replace("\\n", "\n")  # hdfs-native hands Java's trace on as one line
    text = re.sub(r"\x1b\[[\d;]*m|↳ ?", "", text)  # and colours its own words
    # hdfs-native names a DataNode by all that is known of it, in a thousand characters: its address is enough.
    text = re.sub(r'DatanodeInfoProto \{ id: DatanodeIdProto \{ ip_addr: \\?"(.*?)\\?".*?xfer_port: (\d+).*?num_blocks: \w+(?:\(\d+\))? \}', r"\1:\2", text)
    causes = re.findall(r"^Caused by: (.*)", text, re.MULTILINE) or re.findall(r"Reason: (.+)", text)  # the latter: Spark, of a batch
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("at ")] or [""]
    if "Generic" in lines[0]:  # delta-rs says what it is in the lines that follow
        lines = [": ".join(lines[:3])]
    line = causes[-1] if causes else lines[-1] if "Traceback (most recent call last):" in text else f"{type(error).__name__}: {lines[0]}"
    return re.sub(r"[\x00-\x1f\x7f]", " ", line)[:300]


FULL_DISK = "No space left|quota exceeded|could only be written to|NotEnoughReplicas|low on available disk space|Resources are low"
SERVER_GONE = "[Cc]onnection|RPC error|UnknownHost|SafeMode|DataNode|NameNode|not find a leader|LEADER_NOT_AVAILABLE"


def mend(error, what):
    """What to type after an exception whose root cause is `what`; None where the cause tells nothing."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) or re.search(FULL_DISK, what):
        return f"the disk is full, or nearly: free some space (df -h {RUN_DIR} shows how much there is)"
    if isinstance(error, KafkaError) or re.search(SERVER_GONE, what):
        return "check whether all servers run: make status"
    if "JVM ended" in what:
        return "if it was out of memory: stop other programs (Spark's driver needs 2 GB; free -m shows what is left)"
    return None


def interrupted(work, error, what, harmless, again):
    """The Failure of a landing or a reprocessing that an exception ended. Its trace goes to the log."""
    known = mend(error, what)
    return Failure(f"{work} was interrupted: {what}", f"{harmless}; the traces: {log_path()}, {RUN_DIR}/logs/spark.log",
                   f"{known}; then: {again}" if known else f"{again}; should it say the same again, please report it, with the end of the traces")


@contextlib.contextmanager
def report_failures():
    """Turns exceptions into a message of three lines and a non-zero exit; the trace goes to the log."""
    try:
        yield
    except (Failure, data_file.OtherShape) as failure:
        what, why, then = failure.what, failure.why, failure.then
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        log_trace()
        what = cause(error)
        why = f"the whole trace: {log_path()}; Spark's own log: {RUN_DIR}/logs/spark.log"
        then = mend(error, what) or "no cause of this is known: please report it, with the end of the trace"
        if isinstance(error, KafkaError):
            what = f"Kafka at {KAFKA} does not answer as it should ({what})"
    else:
        return
    # It may quote a message. tables.session leads sys.stderr to Spark's log.
    print(printable(f"error: {what}\n       {why}\n       {then}", keep="\n"), file=sys.__stderr__)
    sys.exit(1)


@contextlib.contextmanager
def the_only_one():
    """One process at a time that writes a feed: two landings would repeat each other's batches."""
    with open(os.path.join(RUN_DIR, f"writing-{TOPIC}.lock"), "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Failure(f"feed {TOPIC} is being written already", f"by {lock.read().strip() or 'a process whose name is not known'}", "wait until it is done, then again") from None
        lock.truncate(0)
        lock.write(f"{os.path.basename(sys.argv[0])}, pid {os.getpid()}")
        lock.flush()
        delete_interrupted_commits()
        yield


def delete_interrupted_commits():
    """Deletes the half-written commit files that a killed writer has left in the tables' logs. Until the lease on such a file
    expires, HDFS rejects a new file of the same name, and so the next commit."""
    client = hdfs()
    for table in message.TABLES:
        log = table_path(f"{table}/_delta_log").removeprefix(HDFS)
        for file in client.list_status(log) if exists(log) else ():
            if ".tmp." in file.path:
                client.delete(file.path)


def table_path(table, topic=None):
    """hdfs://…/<warehouse>/<topic>/<table>"""
    return f"{HDFS}{WAREHOUSE}/{topic or TOPIC}/{table}"


def kafka_admin(timeout_s=30):
    return KafkaAdminClient(bootstrap_servers=KAFKA, bootstrap_timeout_ms=timeout_s * 1000, request_timeout_ms=timeout_s * 1000, **kafka_client.for_python())


def hdfs():
    return hdfs_native.Client(HDFS)


def exists(path):
    """Whether there is such a file or folder; path with or without the file system's address."""
    try:
        hdfs().get_file_info(path.removeprefix(HDFS))
        return True
    except FileNotFoundError:
        return False


@functools.cache
def _consumer():
    # The broker checks each record's CRC when it comes in; a second check in Python would take most of the time.
    return KafkaConsumer(bootstrap_servers=KAFKA, enable_auto_commit=False, check_crcs=False, isolation_level="read_committed",
                         fetch_max_bytes=32 * 2**20, max_partition_fetch_bytes=8 * 2**20, **kafka_client.for_python())


def patiently(ask):
    """What ask() returns. Of several brokers one may just have died: until all have noticed, a question may still go to it."""
    limit = time.monotonic() + BROKER_CHANGE_S
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > limit:
                raise
            time.sleep(0.5)  # between two questions


def topics():
    """Names of all topics but Kafka's internal ones, sorted."""
    return sorted(name for name in patiently(_consumer().topics) if not name.startswith("__"))


def topic_id(topic=None):
    """The id Kafka gave the topic when it was created, as text; None when there is no such topic."""
    with contextlib.closing(kafka_admin()) as admin:
        for found in patiently(lambda: admin.describe_topics([topic or TOPIC])):
            if found["error_code"] == 0:
                return str(found["topic_id"])
    return None


def topic_settings(topic=None):
    """{name: value} of the topic's own settings, those that differ from the broker's."""
    topic = topic or TOPIC
    with contextlib.closing(kafka_admin()) as admin:
        found = patiently(lambda: admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
    return {name: setting["value"] for of_topic in found.values() for name, setting in of_topic.get(topic, {}).items()}


def _partitions(topic):
    topic = topic or TOPIC
    return [TopicPartition(topic, number) for number in sorted(patiently(lambda: _consumer().partitions_for_topic(topic)) or ())]


def end_offsets(topic=None):
    """{partition: offset after the last record}; empty when there is no such topic. What ends a transaction has an offset
    too, and is no record; nor is what was never committed."""
    begins = beginning_offsets(topic)
    found = {}
    for at, end in patiently(lambda: _consumer().end_offsets(_partitions(topic))).items():
        begin, span, last = begins[at.partition], 1, None
        while last is None and span < 10 * (end - begin):
            for last in _read(at, max(begin, end - span), end):
                pass
            span *= 10
        found[at.partition] = begin if last is None else last.offset + 1
    return found


def beginning_offsets(topic=None):
    """{partition: offset of the first record that is still kept}"""
    return {at.partition: offset for at, offset in patiently(lambda: _consumer().beginning_offsets(_partitions(topic))).items()}


def records():
    """Every record of the topic up to its end at the time of the call, a partition after the other."""
    for at, end in patiently(lambda: _consumer().end_offsets(_partitions(None))).items():
        yield from _read(at, None, end)


def _read(at, start, end):
    """The committed records of a partition from `start` (None: the first that is kept) to before `end`."""
    consumer = _consumer()
    consumer.assign([at])
    if start is None:
        consumer.seek_to_beginning(at)
    else:
        consumer.seek(at, start)
    silent_since = time.monotonic()
    while consumer.position(at) < end:
        for record in consumer.poll(timeout_ms=1000).get(at, ()):
            if record.offset < end:
                yield record
            silent_since = time.monotonic()
        if time.monotonic() - silent_since > SILENCE_LIMIT_S:
            raise Failure(f"Kafka at {KAFKA} stopped sending topic {at.topic}", f"nothing came for {SILENCE_LIMIT_S} s, at offset {consumer.position(at)} of {end} in partition {at.partition}", "make status; then again")


def open_table(table, topic=None):
    """The Delta table, or None when nothing was landed yet."""
    try:
        return deltalake.DeltaTable(table_path(table, topic))
    except TableNotFoundError:
        return None


def expired(ledger):
    """{partition: [[from, to], …]}: offsets below `to` that were gone from the topic before they were landed."""
    return {int(partition): spans for partition, spans in json.loads(ledger.metadata().configuration.get(EXPIRED, "{}")).items()}


def note_expired(gone):
    """Notes {partition: (from, to)} with the ledger, for good: landing stands behind them."""
    ledger = open_table("messages")
    known = expired(ledger)
    for partition, span in gone.items():
        known.setdefault(partition, []).append(list(span))
    ledger.alter.set_table_properties({EXPIRED: json.dumps(known)}, raise_if_not_exists=False)


def landed_offsets(topic=None):
    """{partition: offset after the last landed record, or after the last that was gone before it could be}, from the
    ledger, whose commit ends each batch; None when there is no ledger. Reads the statistics in the table's log, not the
    data, where they are there."""
    ledger = open_table("messages", topic)
    if ledger is None:
        return None
    landed = {partition: spans[-1][1] for partition, spans in expired(ledger).items()}
    mixed = set()
    for file in ledger.get_add_actions(flatten=True).to_struct_array().to_pylist():
        partition = file.get("min.kafka_partition")
        if partition is None or partition != file["max.kafka_partition"] or file["max.kafka_offset"] is None:
            mixed.add(file["path"])  # without statistics, or with several partitions in one file: its data tell
        else:
            landed[partition] = max(landed.get(partition, 0), file["max.kafka_offset"] + 1)
    for fragment in ledger.to_pyarrow_dataset().get_fragments() if mixed else ():
        if fragment.path.lstrip("/") in mixed:
            columns = fragment.to_table(columns=["kafka_partition", "kafka_offset"])
            for row in columns.group_by("kafka_partition").aggregate([("kafka_offset", "max")]).to_pylist():
                landed[row["kafka_partition"]] = max(landed.get(row["kafka_partition"], 0), row["kafka_offset_max"] + 1)
    return landed


if __name__ == "__main__":
    with report_failures():
        print(sum(end_offsets().values()))
