"""Two feeds in one process: one after the other, and side by side, in one Spark session."""

import concurrent.futures
import json
import pathlib
import threading

import pytest
from pyspark.sql import SparkSession

from oracle import check_tables
from pipeline.landing import rounds
from pipeline.publishing import synthetic
from stacks import TABLES

ONE_AFTER_THE_OTHER = ["synthetic_first", "synthetic_second"]
SIDE_BY_SIDE = ["synthetic_left", "synthetic_right"]


def land(stack, topic, barrier=None):
    """Lands a topic. barrier: of two side by side neither reads before the other could."""
    feed, batches = stack.settings.feed(topic), []
    rounds.land(feed, lambda *_: barrier and barrier.wait(60), batches.append)
    assert len(batches) == 1
    return SparkSession.builder.getOrCreate().sparkContext.applicationId


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two synthetic files of different seeds: [(path, the truth for each of its messages)]"""
    found = []
    for seed, messages in ((21, 900), (22, 700)):
        path = tmp_path_factory.mktemp("data") / f"{seed}.json"
        synthetic.write(messages, seed, str(path))
        lines = pathlib.Path(f"{path}.truth.rows.jsonl").read_text().splitlines()
        found.append((path, [json.loads(line) for line in lines]))
    return found


@pytest.mark.thorough
def test_two_feeds_are_landed_in_one_process_and_neither_sees_the_other(stack, files):
    """Each file goes to a feed of either pair, so that its messages are no repeats anywhere."""
    topics = [*zip(ONE_AFTER_THE_OTHER, files, strict=True), *zip(SIDE_BY_SIDE, files, strict=True)]
    for topic, (path, _) in topics:
        stack.run("publish", TOPIC=topic, DATA=path)
    sessions = {land(stack, topic) for topic in ONE_AFTER_THE_OTHER}
    barrier = threading.Barrier(2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        sessions |= {*pool.map(lambda topic: land(stack, topic, barrier), SIDE_BY_SIDE)}
    assert len(sessions) == 1
    for topic, (path, lines) in topics:
        check_tables({table: stack.table(topic, table) for table in TABLES}, lines)
        assert "nothing new" in stack.run("land", TOPIC=topic)
        assert "DIFFERS" not in stack.run("verify", TOPIC=topic, DATA=path)
