"""Two feeds in one process: one after the other, and side by side, in one Spark session."""

import json
import pathlib

import pytest

from oracle import check_tables
from pipeline.publishing import synthetic
from stacks import TABLES, output_of

ONE_AFTER_THE_OTHER = ["synthetic_first", "synthetic_second"]
SIDE_BY_SIDE = ["synthetic_left", "synthetic_right"]

LAND = '''
"""Lands the first two topics one after the other, the other two side by side."""
import concurrent.futures, sys, threading
from pyspark.sql import SparkSession
from pipeline import script
from pipeline.landing import stream
from pipeline.tables.lock import feed_lock

def land(settings, topic, barrier=None):
    feed, batches = settings.feed(topic), []
    # Neither of two side by side reads its first record before the other could.
    with feed_lock(feed):
        stream.land(feed, lambda *_: barrier and barrier.wait(60), batches.append)
    session = SparkSession.builder.getOrCreate().sparkContext.applicationId
    print(f"{topic}: {len(batches)} batch in session {session}", flush=True)

def main(settings):
    first, second, left, right = sys.argv[1:]
    for topic in first, second:
        land(settings, topic)
    barrier = threading.Barrier(2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda topic: land(settings, topic, barrier), (left, right)))

script.run(main)
'''


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


def test_two_feeds_are_landed_in_one_process_and_neither_sees_the_other(stack, files):
    """Each file goes to a feed of either pair, so that its messages are no repeats anywhere."""
    topics = [*zip(ONE_AFTER_THE_OTHER, files, strict=True), *zip(SIDE_BY_SIDE, files, strict=True)]
    for topic, (path, _) in topics:
        stack.make("publish", TOPIC=topic, DATA=path)
    command = ["scripts/env.sh", "python", "-c", LAND, *(topic for topic, _ in topics)]
    knobs = {"RUN_DIR": stack.run_dir, "KAFKA": stack.kafka, "HDFS": stack.hdfs}
    said = output_of(command, ok=True, **knobs)
    landings = [line for line in said.splitlines() if " batch in session " in line]
    assert len(landings) == 4 and len({line.rpartition(" ")[2] for line in landings}) == 1, said
    for topic, (path, lines) in topics:
        check_tables({table: stack.table(topic, table) for table in TABLES}, lines)
        assert "nothing new" in stack.make("land", TOPIC=topic)
        assert "DIFFERS" not in stack.make("verify", TOPIC=topic, DATA=path)
