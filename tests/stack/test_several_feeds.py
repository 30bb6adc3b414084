"""make land and make follow with TOPICS: several feeds in one process."""

import contextlib
import json
import pathlib
import re
import threading

import deltalake
import hdfs_native
import pytest
from kafka import KafkaAdminClient, TopicPartition

from following import Following
from messages import good
from oracle import check_tables
from pipeline import files
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.landing import rounds
from pipeline.monitoring import feed_state, prometheus
from pipeline.publishing import synthetic
from pipeline.tables import hdfs
from stacks import MESSAGES, TABLES, output_of, wait_until


def versions(stack, topic):
    """The versions of the feed's tables."""
    paths = [f"{stack.hdfs}/warehouse/{topic}/{table}" for table in TABLES]
    return [deltalake.DeltaTable(path).version() for path in paths]


def recreate(stack, topic):
    """Deletes the topic, and creates it again with one more record than it had."""
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.delete_topics([topic])
    wait_until(lambda: topic not in admin.list_topics(), lambda: "the topic is still there")
    admin.close()
    stack.run("topic", TOPIC=topic)
    stack.kcat(topic, good(), good(keen_id="second"))


@pytest.mark.thorough
def test_several_feeds_are_landed_and_the_trouble_of_some_is_their_own(stack, tmp_path):
    feeds = {}
    for seed, topic in enumerate(("synthetic_some", "synthetic_more"), start=31):
        path = tmp_path / f"{topic}.json"
        synthetic.write(MESSAGES, seed, str(path))
        lines = pathlib.Path(f"{path}.truth.rows.jsonl").read_text().splitlines()
        feeds[topic] = path, [json.loads(line) for line in lines]
        stack.run("publish", TOPIC=topic, DATA=path)
    for topic in ("several_held", "several_recreated"):
        stack.run("topic", TOPIC=topic)
        stack.kcat(topic, good())
    stack.run("land", TOPIC="several_recreated")
    before = versions(stack, "several_recreated")
    recreate(stack, "several_recreated")
    names = "several_recreated,synthetic_some,several_held,synthetic_more"
    lock = stack.settings.in_run_dir("writing-several_held.lock")
    with files.locked(lock, lambda holder: None) as held:
        print("export.py, pid 1", file=held, flush=True)
        said = stack.run("land", ok=False, TOPICS=names)
        status = stack.run("status")
    assert "2 of 4 feeds were not landed: " in said
    assert "error: feed several_held is being written already\n       by export.py, pid 1" in said
    assert "error: topic several_recreated is not the one that was landed" in said
    for topic, (path, lines) in feeds.items():
        check_tables({table: stack.table(topic, table) for table in TABLES}, lines)
        assert "DIFFERS" not in stack.run("verify", TOPIC=topic, DATA=path)
    assert before == versions(stack, "several_recreated")
    of_feed = status.partition("several_recreated ")[2]
    assert re.match(r"[^\n]*\n(    .*\n)*    trouble +topic several_recreated is not", of_feed)
    metrics = stack.settings.in_run_dir("metrics/several_recreated.prom").read_text()
    assert 'feed_has_trouble{topic="several_recreated"} 1.0' in metrics
    # It is landed when that is over. The others have nothing new.
    said = stack.run("land", TOPICS="several_held,synthetic_some")
    assert "1 new records of topic several_held" in said
    assert len(stack.table("several_held", "attempts")) == 1
    metrics = stack.settings.in_run_dir("metrics/several_held.prom").read_text()
    assert 'feed_has_trouble{topic="several_held"} 0.0' in metrics
    assert "nothing new" in stack.run("land", TOPIC="synthetic_more")
    assert "nothing new" in stack.run("land", TOPICS="several_held,synthetic_some,synthetic_more")


@pytest.mark.thorough
def test_a_feed_whose_blocks_are_lost_holds_up_no_other(stack):
    names = "several_lost,several_whole"
    for topic in names.split(","):
        stack.run("topic", TOPIC=topic)
        stack.kcat(topic, good())
    stack.run("land", TOPICS=names)
    log = "/warehouse/several_lost/messages/_delta_log"
    said = output_of(stack.in_shell("hdfs", "fsck", log, "-files", "-blocks"), ok=True)
    blocks = set(re.findall(r"\b(blk_[0-9]+)_", said))
    kept = stack.settings.in_run_dir("storage/hdfs/data")
    lost = [path for path in kept.rglob("blk_*") if re.match("blk_[0-9]+", path.name)[0] in blocks]
    assert len(lost) == 2 * len(blocks) > 0  # each with its checksums
    for path in lost:
        path.unlink()
    for topic in names.split(","):
        stack.kcat(topic, good(keen_id="second"))
    said = stack.run("land", ok=False, TOPICS=names)
    assert len(stack.table("several_whole", "attempts")) == 2
    assert "1 of 2 feeds were not landed: several_lost" in said
    assert "names the files that lack a block" in said
    said = stack.run("land", ok=False, TOPICS="several_lost")
    assert "names the files that lack a block" in said
    hdfs_native.Client(stack.hdfs).delete("/warehouse/several_lost", recursive=True)
    stack.run("land", TOPICS=names)
    assert len(stack.table("several_lost", "attempts")) == 2


@pytest.mark.thorough
def test_batches_of_one_feed_follow_one_another(stack, synthetic, monkeypatch):
    """The workers write a batch while the one before is committed, and know its messages."""
    path, _, lines = synthetic
    stack.run("publish", TOPIC="synthetic_batches", DATA=path)
    monkeypatch.setattr(rounds, "MESSAGES_A_BATCH", 100)
    said = stack.run("land", TOPIC="synthetic_batches")
    assert len(re.findall(r"^ +\d+  0: \d+-\d+ ", said, re.MULTILINE)) == -(-MESSAGES // 100)
    check_tables({table: stack.table("synthetic_batches", table) for table in TABLES}, lines)


@pytest.mark.thorough
def test_records_that_expired_are_skipped_though_nothing_follows_them(stack):
    stack.run("topic", TOPIC="several_expired")
    stack.kcat("several_expired", good())
    stack.run("land", TOPICS="several_expired")
    stack.kcat("several_expired", good(keen_id="second"))
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=stack.kafka)) as admin:
        admin.delete_records({TopicPartition("several_expired", 0): 2})
    assert "offsets 1 to 1, 1 records" in stack.run("land", ok=False, TOPICS="several_expired")
    stack.run("land", TOPICS="several_expired", SKIP_EXPIRED=1)
    assert "nothing new" in stack.run("land", TOPICS="several_expired")
    said = stack.run("verify", TOPIC="several_expired", DATA="none")
    assert "offsets 1 to 1 were gone from the topic before they were landed" in said


@pytest.mark.thorough
def test_trouble_that_another_process_has_ended_is_not_shown_any_longer(stack):
    stack.run("topic", TOPIC="several_late")
    stack.kcat("several_late", good())
    stack.run("land", TOPIC="several_late")
    feed = stack.settings.feed("several_late")
    prometheus.write(feed, Failure("it was being written", "by another process", "try again"))
    assert feed_state.trouble(feed)
    assert "nothing new" in stack.run("land", TOPICS="several_late")
    assert not feed_state.trouble(feed)


def test_threads_that_have_asked_kafka_leave_nothing_open(stack):
    def ask(_):
        return topics.names(stack.settings)

    def left():  # each consumer has one, and with it its connections
        return [thread for thread in threading.enumerate() if thread.name.startswith("kafka-io")]

    hdfs.at_once(ask, [1])  # the consumer of this thread stays
    before = len(left())
    assert before
    for _ in range(3):
        hdfs.at_once(ask, range(4))
    wait_until(lambda: len(left()) <= before, lambda: f"{before} before, now {left()}", 30)


def test_a_topic_that_does_not_exist_stops_landing_before_it_begins(stack):
    stack.run("topic", TOPIC="several_there")
    stack.kcat("several_there", good())
    said = stack.run("land", ok=False, TOPICS="several_there,several_missing")
    assert "there is no topic several_missing" in said
    assert not stack.settings.in_run_dir("metrics/several_there.prom").exists()


@pytest.mark.thorough
def test_all_topics_are_followed_new_ones_too_and_one_that_vanishes_is_named(stack):
    for topic in ("all_first", "all_second"):
        stack.run("topic", TOPIC=topic)
        stack.kcat(topic, good())
    following = Following(stack, "all", all_feeds=True)
    try:
        for topic in ("all_first", "all_second"):
            following.wait_for_rows(1, topic)
        admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
        admin.delete_topics(["all_second"])
        admin.close()
        following.wait_for("feed all_second is left out")
        stack.run("topic", TOPIC="all_third")
        stack.kcat("all_third", good())
        stack.kcat("all_first", good(keen_id="later"))
        following.wait_for_rows(1, "all_third")
        following.wait_for_rows(2, "all_first")
        assert following.said().count("feed all_second is left out") == 1
        # Other tests leave feeds with trouble of their own: each has one error.
        said = following.end(errors=following.said().count(" is left out"))
    finally:
        if following.process.poll() is None:
            following.kill()
    assert "error: " in said.partition("feed all_second is left out")[2]
    # Another process lands the feeds, and finds nothing left.
    assert "nothing new" in stack.run("land", TOPICS="all_first,all_third")
