"""From publish to visible: how long a message takes into `attempts` while make follow runs.

scripts/bench.py imports this. A message is published at a steady rate, its time is Kafka's
timestamp, and it is visible when a reader without Spark finds it in the table.
"""

import contextlib
import itertools
import pathlib
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

import deltalake
import pyarrow.dataset
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaProducer

import errors
from bench_stack import Side

RATES = 10, 500  # messages per second
POLL_S = 0.1
LIMIT_S = 180  # for the start, and for the last messages to become visible
TOPIC = "synthetic_follow"


class Delay(NamedTuple):
    """From publish to visible, in seconds."""

    rate: int
    messages: int
    median: float
    percentile_99: float
    longest: float


class Reader(threading.Thread):
    """Polls the table `attempts`. seen: {(partition, offset): time at which it was visible}"""

    def __init__(self, path: str):
        super().__init__(daemon=True)
        self.path, self.ended = path, threading.Event()
        self.seen: dict[tuple[int, int], float] = {}

    def run(self):
        table, files = None, set()
        while not self.ended.wait(POLL_S):
            with contextlib.suppress(TableNotFoundError):  # it is created by the first landing
                if table:
                    table.update_incremental()
                else:
                    table = deltalake.DeltaTable(self.path)
                now = time.time()
                for fragment in table.to_pyarrow_dataset().get_fragments():
                    if fragment.path not in files:
                        self.add(fragment, now)
                        files.add(fragment.path)

    def add(self, fragment: pyarrow.dataset.Fragment, now: float) -> None:
        rows = fragment.to_table(columns=["kafka_partition", "kafka_offset"])
        for place in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            self.seen.setdefault(place, now)  # a compacted file repeats its rows

    def wait_for(self, count: int) -> None:
        """Waits until so many messages are visible. Failure after LIMIT_S."""
        limit = time.monotonic() + LIMIT_S
        while len(self.seen) < count:
            if time.monotonic() > limit or not self.is_alive():
                raise errors.Failure(
                    f"{len(self.seen)} of {count} messages are visible after {LIMIT_S} s",
                    f"looked in {self.path}",
                    "try that step alone, without the bench: make follow",
                )
            time.sleep(POLL_S)


def messages(seconds: int) -> int:
    """How many messages measure() needs."""
    return 1 + seconds * sum(RATES)


def measure(side: Side, path: pathlib.Path, seconds: int) -> list[Delay]:
    """Publishes the file's lines (key, tab, message), so many seconds at each rate."""
    print(f"\nmake follow: {RATES} messages a second, {seconds} s each", flush=True)
    side.make("topic", TOPIC=TOPIC, PARTITIONS=4)
    follow = ["scripts/lib/env.sh", "python", "scripts/follow.py"]
    counts = [rate * seconds for rate in RATES]
    reader = Reader(f"{side.knobs['HDFS']}/warehouse/{TOPIC}/attempts")
    with open(path, "rb") as lines, open(side.run_dir / "logs/bench-follow.log", "wb") as log:
        following = subprocess.Popen(
            follow, cwd=side.root, env=side.environment(TOPIC=TOPIC), stdout=log, stderr=log
        )
        try:
            reader.start()
            with contextlib.closing(KafkaProducer(bootstrap_servers=side.knobs["KAFKA"])) as out:
                publish(lines, out, 1, 1)  # the session starts, and the tables are created
                reader.wait_for(1)
                for rate in RATES:
                    publish(lines, out, rate, seconds)
            reader.wait_for(1 + sum(counts))
        finally:
            following.terminate()
            code = following.wait(LIMIT_S)
            reader.ended.set()
    if code:
        raise errors.Failure(
            f"make follow ended with {code}",
            f"its output: {side.run_dir / 'logs/bench-follow.log'}",
            "try that step alone, without the bench: make follow",
        )
    published = times(side)
    delays = [
        reader.seen[place] - published[place] for place in sorted(published, key=published.get)
    ]
    bounds = itertools.pairwise(itertools.accumulate(counts, initial=1))
    return [
        summary(rate, delays[first:last]) for rate, (first, last) in zip(RATES, bounds, strict=True)
    ]


def publish(lines: Iterable[bytes], out: KafkaProducer, rate: int, seconds: int) -> None:
    """Sends the next lines at this rate. (kcat would wait for more input before it sends any.)"""
    begin, sent = time.monotonic(), 0
    while sent < rate * seconds:
        due = min(rate * seconds, int((time.monotonic() - begin) * rate) + 1)
        for line in itertools.islice(lines, due - sent):
            key, _, value = line.rstrip(b"\n").partition(b"\t")
            out.send(TOPIC, value, key)
        sent = due
        time.sleep(max(POLL_S / 10, 1 / rate))
    out.flush()


def times(side: Side) -> dict[tuple[int, int], float]:
    """{(partition, offset): Kafka's timestamp} of all records of the topic."""
    consume = ["kcat", "-C", "-b", side.knobs["KAFKA"], "-t", TOPIC, "-e", "-q"]
    consume += ["-o", "beginning", "-f", "%p %o %T\n"]
    found = subprocess.run(consume, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = (map(int, line.split()) for line in found.splitlines())
    return {(partition, offset): milliseconds / 1000 for partition, offset, milliseconds in rows}


def summary(rate: int, delays: list[float]) -> Delay:
    percentile_99 = statistics.quantiles(delays, n=100)[98]
    return Delay(rate, len(delays), statistics.median(delays), percentile_99, max(delays))
