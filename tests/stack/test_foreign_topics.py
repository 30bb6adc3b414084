"""Topics that other programs wrote: each codec, large records, compaction, transactions."""

import contextlib
import copy
import json
import re
import subprocess
import time

import hdfs_native
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from messages import FIVE, LINES, VALUES, good
from oracle import by
from pipeline.errors import Failure
from pipeline.monitoring.verify import Reconciliation
from pipeline.tables import commits
from stacks import wait_until

pytestmark = pytest.mark.thorough


def test_a_topic_with_every_codec_is_landed_and_one_feeds_trouble_hides_no_other(stack, tmp_path):
    stack.run("topic", TOPIC="codecs")
    codecs = "none", "gzip", "snappy", "lz4", "zstd"
    for codec, value in zip(codecs, FIVE, strict=True):
        command = ["kcat", "-P", "-b", stack.kafka, "-t", "codecs", "-z", codec]
        subprocess.run(command, input=value, check=True)
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(LINES)
    assert "nothing to publish: all 5 messages" in stack.run("publish", TOPIC="codecs", DATA=lines)
    assert stack.make("consume", TOPIC="codecs").splitlines()[-1].strip() == "5"
    stack.run("land", TOPIC="codecs")
    landed = {row["keen_id"] for row in stack.table("codecs", "attempts")}
    assert landed == {value["keen_id"] for value in VALUES}
    assert "DIFFERS" not in stack.run("verify", TOPIC="codecs", DATA=lines)
    with KafkaProducer(bootstrap_servers=stack.kafka) as producer:
        producer.send("codecs", b"x").get(30)
    assert re.search(r"codecs +0 +6 +5 +1", stack.run("status"))


def test_large_records_are_landed_backed_up_and_restored_into_a_new_topic(stack, tmp_path):
    stack.run("topic", TOPIC="large")
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    settings = {"max.message.bytes": "10000000", "message.timestamp.type": "LogAppendTime"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "large", settings)])
    sequences = copy.deepcopy(VALUES[0]["sequences"])
    sequences["questions"] *= 4000
    del sequences["counts"]
    value = json.dumps(VALUES[0] | {"keen_id": "large", "sequences": sequences}).encode()
    assert len(value) > 2_000_000
    with KafkaProducer(bootstrap_servers=stack.kafka, max_request_size=20_000_000) as producer:
        for key, each in ((None, value), (b"\xff\xfe\0", FIVE[1]), (b"k", None)):
            producer.send("large", key=key, value=each, headers=[("h", b"\xff\0")]).get(60)
    stack.run("land", TOPIC="large")
    ledger = stack.table("large", "messages")
    stack.make("backup", TOPIC="large", BACKUP=tmp_path / "large.tar")
    admin.delete_topics(["large"])
    wait_until(lambda: "large" not in admin.list_topics(), lambda: "the topic is still there")
    hdfs = hdfs_native.Client(stack.hdfs)
    hdfs.delete("/warehouse/large", recursive=True)
    stack.make("restore", TOPIC="large", BACKUP=tmp_path / "large.tar")
    found = hdfs.list_status("/warehouse", recursive=True)
    folders = {each.permission for each in found if each.isdir and "/large" in each.path}
    assert folders == {0o755}  # the account of make serve may enter them
    described = stack.make("topic", TOPIC="large")
    assert all(f"{name}={setting}" in described for name, setting in settings.items())
    assert "nothing new" in stack.run("land", TOPIC="large")
    assert stack.table("large", "messages") == ledger and len(ledger) == 3
    admin.close()


def compacted(stack, name):
    """Creates a topic that Kafka compacts within seconds. Returns kcat on it, as a function."""
    configs = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "100",
        "delete.retention.ms": "0",
        "max.compaction.lag.ms": "100",
    }
    topic = {"num_partitions": 1, "replication_factor": 1, "configs": configs}
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.create_topics({name: topic}, wait_for_metadata=True)
    admin.close()

    def kcat(*arguments, keyed=b""):
        return subprocess.run(
            ["kcat", *arguments, "-b", stack.kafka, "-t", name, "-q"],
            input=keyed,
            check=True,
            capture_output=True,
        ).stdout

    return kcat


def wait_until_compacted(kcat, records):
    """Waits until the topic has only so many records."""
    wait_until(
        lambda: kcat("-C", "-e", "-f", ".").count(b".") <= records,
        lambda: "Kafka has not compacted the topic",
        120,
    )


def test_a_batch_that_was_interrupted_before_kafka_compacted_its_records(stack, monkeypatch):
    kcat = compacted(stack, "compacted_later")
    kcat("-P", "-K", "\t", keyed=b"key\t" + FIVE[0])
    kcat("-P", "-K", "\t", keyed=b"other\t" + FIVE[1])
    append = commits.append

    def append_options(feed, tables, *batch):
        append(feed, {"options": tables["options"]}, *batch)
        raise Failure("stopped", "by the test", "again")

    with monkeypatch.context() as patched:
        patched.setattr(commits, "append", append_options)
        assert "stopped" in stack.run("land", ok=False, TOPIC="compacted_later")
    time.sleep(1)  # more than segment.ms
    kcat("-P", "-K", "\t", keyed=b"key\t" + FIVE[2])
    time.sleep(1)
    kcat("-P", "-K", "\t", keyed=b"third\t" + FIVE[3])  # closes the segment
    wait_until_compacted(kcat, 3)
    stack.run("land", TOPIC="compacted_later")
    for table in "attempts", "questions", "options":
        landed = {row["keen_id"] for row in stack.table("compacted_later", table)}
        assert landed == {VALUES[number]["keen_id"] for number in (1, 2, 3)}, table
    assert "DIFFERS" not in stack.run("verify", TOPIC="compacted_later", DATA="none")


def test_what_a_compacted_topic_has_dropped_is_a_note(stack):
    kcat = compacted(stack, "compacted")
    five = b"\n".join(b"%d\t%s" % (number, each) for number, each in enumerate(FIVE)) + b"\n"
    kcat("-P", "-K", "\t", keyed=five)
    stack.run("land", TOPIC="compacted")
    for _ in range(2):
        kcat("-P", "-K", "\t", keyed=five)
    time.sleep(1)  # more than segment.ms
    # Another record closes the segment. Kafka then drops each record that has a newer one with
    # its key: five that are landed, five that are not.
    kcat("-P", "-K", "\t", keyed=b"other\t" + FIVE[0])
    wait_until_compacted(kcat, 6)
    # Six are not landed yet.
    assert "DIFFERS" in stack.run("verify", ok=False, TOPIC="compacted", DATA="none")
    stack.run("land", TOPIC="compacted")
    output = stack.run("verify", TOPIC="compacted", DATA="none")
    assert "DIFFERS" not in output, output
    assert (
        "has dropped 5 records after they were landed (they are in the ledger), "
        "and 5 before (they are lost" in output
    ), output


def test_times_that_count_other_units_than_milliseconds(stack):
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    topic = {
        "num_partitions": 1,
        "replication_factor": 1,
        "configs": {"message.timestamp.after.max.ms": str(2**63 - 1)},
    }
    admin.create_topics({"microseconds": topic, "nanoseconds": topic}, wait_for_metadata=True)
    admin.close()
    now = time.time_ns()
    with KafkaProducer(bootstrap_servers=stack.kafka) as producer:
        producer.send("microseconds", FIVE[0], timestamp_ms=now // 1_000).get(30)
        producer.send("nanoseconds", FIVE[0], timestamp_ms=now).get(30)
    stack.run("land", TOPIC="microseconds")
    assert "DIFFERS" not in stack.run("verify", TOPIC="microseconds", DATA="none")
    assert len(stack.table("microseconds", "attempts")) == 1
    output = stack.run("land", ok=False, TOPIC="nanoseconds")
    assert "after the year 294246 (its producer does not count milliseconds)" in output
    # What is interrupted before its first commit leaves an empty ledger.
    stack.run("reprocess", TOPIC="nanoseconds")


def test_transactions_are_landed_when_they_are_committed(stack):
    """Transaction markers occupy offsets but are not records.

    Records of aborted and of open transactions are not landed.
    """
    stack.run("topic", TOPIC="transactions")
    producer, other = (
        KafkaProducer(
            bootstrap_servers=stack.kafka,
            transactional_id=name,
            acks="all",
            enable_idempotence=True,
        )
        for name in ("first", "other")
    )
    with contextlib.closing(producer), contextlib.closing(other):
        producer.init_transactions()
        other.init_transactions()

        def send(sender, *keen_ids):
            sender.begin_transaction()
            for keen_id in keen_ids:
                sender.send("transactions", good(keen_id=keen_id))
            sender.flush()

        send(producer, "first", "second")
        producer.commit_transaction()
        send(producer, "aborted", "aborted too")
        producer.abort_transaction()
        stack.run("land", TOPIC="transactions")
        assert "nothing new" in stack.run("land", TOPIC="transactions")
        send(other, "open")
        send(producer, "behind it")
        producer.commit_transaction()
        assert "nothing new" in stack.run("land", TOPIC="transactions")
        other.commit_transaction()
    stack.run("land", TOPIC="transactions")
    ledger = by(stack.table("transactions", "messages"), "kafka_offset")
    assert [row["keen_id"] for row in ledger] == ["first", "second", "open", "behind it"]
    checked = Reconciliation(stack.settings.feed("transactions"))
    stack.kcat("transactions", good(keen_id="published while verify reads"))
    assert all(check.left_number == check.right_number for check in checked.checks_of_topic())
    stack.run("land", TOPIC="transactions")
    assert "DIFFERS" not in stack.run("verify", TOPIC="transactions", DATA="none")
