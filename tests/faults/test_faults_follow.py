"""Soak: make follow lands what is published without a pause; nothing is lost or doubled.

Run by: make test-faults (one minute); for an hour:
    scripts/env.sh scripts/test.sh --capture=no tests/faults/test_faults_follow.py --soak 60
"""

import os
import random
import re
import signal
import time

import deltalake
import hdfs_native
import psutil
import pytest

from faults_feeds import LIMIT_S, SEED, TABLES, Feed, say, synthetic_lines
from faults_landings import Landing
from faults_reader import Reader

pytestmark = pytest.mark.thorough

PAUSE_S = 0.5  # between two groups of messages
MOST_FILES = 30  # of a table's current version: small ones, and a large one per 100,000 messages


@pytest.fixture
def minutes(request):
    return request.config.getoption("soak")


@pytest.mark.timeout(0)
def test_soak(stack, tmp_path, minutes):
    lines = synthetic_lines(tmp_path, "soak", SEED, 5000)
    feed = Feed(stack, "synthetic_soak", 3, lines, random.Random(SEED))
    feed.publish()
    following = Landing(feed, "follow")
    assert following.wait_for("messages")
    open_files = following.python.num_fds()
    end, reported = time.monotonic() + 60 * minutes, 0
    with Reader(stack, feed.topic) as reader:
        while time.monotonic() < end:
            assert following.process.poll() is None, following.output.read_text()
            feed.publish()
            if time.monotonic() > reported + 60:
                reported = time.monotonic()
                tree = [following.python, *following.python.children(recursive=True)]
                memory = sum(process.memory_info().rss for process in tree)
                last = following.output.read_text().splitlines()[-1]
                files = sum(process.num_fds() for process in tree)
                size = f"{memory / 1e6:7,.0f} MB {files:>5,} files"
                say(f"  {len(feed.sent):>9,} sent {size}  {last}")
            time.sleep(PAUSE_S)
    reader.check()
    assert following.python.num_fds() < open_files + 30  # not some for each batch
    os.kill(following.python.pid, signal.SIGTERM)
    assert following.process.wait(LIMIT_S) == 0
    said = following.wait()
    batches = len(re.findall(r"^\d\d:\d\d:\d\d +[\d,]+ +[\d,]+ +[\d,]+ ", said, re.MULTILINE))
    stack.run("land", TOPIC=feed.topic)
    records, accepted = feed.check()
    client = hdfs_native.Client(stack.hdfs)
    for table in TABLES:
        path = f"/warehouse/{feed.topic}/{table}"
        current = len(deltalake.DeltaTable(stack.hdfs + path).file_uris())
        log = sum(1 for _ in client.list_status(f"{path}/_delta_log"))
        say(f"  {table:<10} {current} files, {log} in its log")
        assert current < MOST_FILES
    say(
        f"  {batches} batches of {records:,} records, {accepted:,} attempts: 0 lost, 0 doubled; "
        f"{sum(reader.reads.values())} reads found every child"
    )
    assert not [each for each in psutil.process_iter() if each.pid == following.python.pid]
