"""Failures inside a batch, repeated records, expired records and a recreated topic."""

import contextlib
import pathlib
import re
import subprocess
import time

import psutil
import pytest
from kafka import KafkaAdminClient, TopicPartition

from faults_feeds import LIMIT_S, key_of, say, synthetic_feed, tables_of
from faults_landings import TRIES, Landing, kill_landing
from faults_reader import Reader
from stacks import ROOT, clean_environment, wait_until

pytestmark = pytest.mark.thorough


def kept_aside(feed):
    """Moves the feed's tables aside with the command that the message names (as documented)."""
    said = feed.stack.make("land", ok=False, TOPIC=feed.topic)
    command = re.search(r"hadoop fs -mv \S+ \S+?(?=;|\n)", said)[0]
    subprocess.run(
        feed.stack.command("shell"),
        input=command + "\n",
        cwd=ROOT,
        env=clean_environment(),
        text=True,
        check=True,
        capture_output=True,
        timeout=LIMIT_S,
    )


def wait_until_idle(process):
    """Waits until the process uses hardly any CPU for a second."""
    limit, used = time.monotonic() + 60, -1
    while (now := sum(process.cpu_times()[:2])) > used + 0.1:
        assert time.monotonic() < limit, f"still busy: {process}"
        used = now
        time.sleep(1)


@pytest.mark.timeout(1800)
def test_what_went_wrong_inside_a_batch_is_named(stack, tmp_path):
    """The DataNode dies before the workers write the first file of a batch.

    Spark reports this as a Python traceback only; the message must still name the root cause.
    """
    feed = synthetic_feed(stack, tmp_path, "batch")
    for _ in range(TRIES):
        feed.publish()
        landing = Landing(feed)
        assert landing.wait_for("reading")
        landing.python.suspend()
        wait_until_idle(landing.jvm)  # it has read its plan back, and waits for Python
        datanode = psutil.Process(stack.service_pids()["datanode"])
        datanode.kill()
        psutil.wait_procs([datanode], timeout=60)
        landing.python.resume()
        said = landing.wait()
        stack.make("up")
        if "landing was interrupted" in said:
            break
    cause = r"(All DataNodes failed: \[127\.0\.0\.1:\d+\]|Connection refused)"
    assert re.search(f"^error: landing was interrupted: .*{cause}", said, re.MULTILINE), said
    assert "make status" in said
    stack.run("land", TOPIC=feed.topic)
    feed.check()


@pytest.mark.timeout(1800)
def test_the_same_event_again_in_every_way_and_two_landings_at_once(stack, tmp_path):
    feed = synthetic_feed(stack, tmp_path, "again", partitions=3)
    landed = []  # {partition: end} at each batch
    stack.run("land", TOPIC=feed.topic)  # creates the tables

    def publish():
        first = feed.next_messages(20)
        feed.send(first + first[:5])  # the same messages later in the same batch
        for partition in ("1", "2"):  # in other partitions
            feed.send(first[5:9], "-p", partition)
        landed.append(feed.ends())
        return first

    with Reader(stack, feed.topic) as reader:
        first = kill_landing(feed, "options", publish, before="messages/_delta_log")
        feed.send(first)  # in a later batch of the run, which first repeats the interrupted one
        both = [Landing(feed), Landing(feed)]
        said = [landing.wait() for landing in both]
        assert sorted(landing.process.returncode == 0 for landing in both) == [False, True], said
        refusal = f"error: feed {feed.topic} is being written already"
        assert sum(refusal in text and "land.py, pid" in text for text in said) == 1, said
        batches = [re.findall(r"^ +\d+  \d+: \d+-", text, re.MULTILINE) for text in said]
        assert sum(map(len, batches)) == 2
        landed.append(feed.ends())
        # In another run: two publishers of one file at once, its last line truncated; then the
        # complete file.
        messages = [m for m in first if key_of(m)]
        messages += [m for m in feed.next_messages(20) if key_of(m)]
        path = tmp_path / "again-file.jsonl"
        pathlib.Path(f"{path}.truth.json").write_text("{}")
        path.write_bytes(b"\n".join(messages)[:-30])
        publishers = [
            subprocess.Popen(
                stack.command("publish", TOPIC=feed.topic, DATA=path, FORCE=1),
                cwd=ROOT,
                env=clean_environment(),
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for _ in range(2)
        ]
        for publisher in publishers:
            output = publisher.communicate(timeout=LIMIT_S)[0]
            assert f"record {len(messages)}: it is not JSON" in output
            assert publisher.returncode != 0
        path.write_bytes(b"\n".join(messages) + b"\n")
        stack.run("publish", TOPIC=feed.topic, DATA=path)
        feed.sent += messages * 3
        feed.sent.remove(messages[-1])
        feed.sent.remove(messages[-1])
        stack.run("land", TOPIC=feed.topic)
    reader.check()
    records, accepted = feed.check(
        order=lambda r: (
            next((n for n, ends in enumerate(landed) if r.offset < ends[r.partition]), len(landed)),
            r.timestamp,
            r.partition,
            r.offset,
        )
    )
    say(
        f"  {records} records, {accepted} attempts: every repeat is known as one, "
        "in each of the seven ways"
    )


@pytest.mark.timeout(1800)
def test_records_gone_before_they_were_landed_and_a_recreated_topic(stack, tmp_path):
    feed = synthetic_feed(stack, tmp_path, "gone")
    feed.publish(20)
    stack.run("land", TOPIC=feed.topic)

    def publish():
        # All offsets below are landed, also after a landing whose kill came too late.
        end = feed.ends()[0]
        feed.publish(20)
        return end

    with Reader(stack, feed.topic) as reader:
        end = kill_landing(feed, "attempts", publish, before="messages/_delta_log")
        # A part of the interrupted batch is lost.
        records = feed.records()
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=stack.kafka)) as admin:
            admin.delete_records({TopicPartition(feed.topic, 0): end + 10})
        before = tables_of(feed)
        said = stack.run("land", ok=False, TOPIC=feed.topic)
        assert f"partition 0: offsets {end} to {end + 9}, 10 records" in said
        assert "SKIP_EXPIRED=1" in said
        assert tables_of(feed) == before
        said = stack.run("land", TOPIC=feed.topic, SKIP_EXPIRED=1)
        assert f"skipped, since they are gone: partition 0, offsets {end} to {end + 9}" in said
    reader.check()
    assert "nothing new" in stack.run("land", TOPIC=feed.topic)
    assert f"offsets {end} to {end + 9}" in stack.run("verify", TOPIC=feed.topic, DATA="none")
    feed.check(records=[record for record in records if not end <= record.offset < end + 10])

    # Deleted and recreated, first with fewer and then with more records than were landed: landing
    # stops until the user decides.
    before = tables_of(feed)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=stack.kafka)) as admin:
        admin.delete_topics([feed.topic])
        wait_until(lambda: feed.topic not in admin.list_topics(), lambda: "it is still there")
    stack.run("topic", TOPIC=feed.topic)
    feed.sent, feed.good = [], []
    for count in (5, 60):
        feed.publish(count)
        assert "it was deleted and recreated" in stack.run("land", ok=False, TOPIC=feed.topic)
    assert tables_of(feed) == before
    kept_aside(feed)
    stack.run("land", TOPIC=feed.topic)
    feed.check()
