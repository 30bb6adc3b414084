"""A backup is restored in an empty stack, after an interrupted restore, and where it was made."""

import copy
import os
import re
import signal
import subprocess
import time

import hdfs_native
import pytest

from faults_feeds import LIMIT_S, synthetic_feed
from faults_landings import kill_landing
from oracle import by
from stacks import ROOT, clean_environment, started

pytestmark = pytest.mark.thorough


def ledger_of(stack, topic):
    return by(stack.table(topic, "messages"), "kafka_partition", "kafka_offset")


def damaged_copies(file):
    """Yields two damaged copies, with one byte of a table's file or of a landed offset changed."""
    content = file.read_bytes()
    digit = re.search(rb'"landed": \{\s+"\d+": (\d)', content).start(1)
    for number, place in enumerate((len(content) // 2, digit)):
        path = file.with_name(f"damaged-{number}.tar")
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        yield path


@pytest.mark.timeout(1800)
def test_a_feed_backed_up_is_restored_in_an_empty_stack_and_where_it_was(stack, tmp_path):
    feed = synthetic_feed(stack, tmp_path, "kept", partitions=3)
    topic = feed.topic
    feed.publish(30)
    stack.run("land", TOPIC=topic)

    def publish():
        landed = len(feed.sent)
        feed.publish(20)
        return landed

    # The backup contains an interrupted batch.
    landed = kill_landing(feed, "questions", publish, before="messages/_delta_log")
    file = tmp_path / "kept.tar"
    said = stack.run("backup", TOPIC=topic, BACKUP=file)
    assert f"{len(feed.sent) - landed} records of topic {topic} are not landed yet" in said
    ledger = ledger_of(stack, topic)
    damaged = list(damaged_copies(file))

    with started(".run-empty") as empty:
        moved = copy.copy(feed)
        moved.stack, moved.sent = empty, feed.sent[:landed]
        for each in damaged:
            said = empty.make("restore", ok=False, TOPIC=topic, BACKUP=each)
            assert "is damaged; nothing was restored" in said
        interrupted = subprocess.Popen(
            empty.command("restore", TOPIC=topic, BACKUP=file),
            cwd=ROOT,
            env=clean_environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client, limit = hdfs_native.Client(empty.hdfs), time.monotonic() + LIMIT_S
        while not any(
            each.path.endswith(f"_restore_{topic}") for each in client.list_status("/warehouse")
        ):
            assert interrupted.poll() is None and time.monotonic() < limit
        os.killpg(interrupted.pid, signal.SIGKILL)
        interrupted.wait()
        empty.make("restore", TOPIC=topic, BACKUP=file)
        assert "is there already" in empty.make("restore", ok=False, TOPIC=topic, BACKUP=file)
        # The publisher must send again what was not landed; some repeats come with it.
        moved.send(feed.sent[landed:] + feed.sent[:5])
        empty.make("land", TOPIC=topic)
        moved.check()
        assert ledger_of(empty, topic) != ledger
        restored = [row for row in ledger_of(empty, topic) if row in ledger]
        assert restored == ledger  # including all times
        empty.make("down")
        empty.make("up")
        assert "nothing new" in empty.make("land", TOPIC=topic)

    # HDFS is lost, Kafka is not: landing continues from the state of the backup.
    hdfs_native.Client(stack.hdfs).delete(f"/warehouse/{topic}", recursive=True)
    said = stack.run("restore", TOPIC=topic, BACKUP=file)
    assert "is the one that the feed was landed from" in said
    stack.run("land", TOPIC=topic)
    feed.check()
