"""From publish to visible: how long a message takes into `attempts` while make follow runs.

A message is published at a steady rate, its time is Kafka's timestamp, and it is visible when the
commit that has it is whole in HDFS.
"""

import contextlib
import itertools
import pathlib
import re
import statistics
import time
from collections.abc import Iterable

import deltalake
import hdfs_native
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaProducer
from kafka.producer.future import FutureRecordMetadata, RecordMetadata

from measured import Results
from pipeline.errors import Failure
from pipeline.settings import Feed
from stack import Side

RATES = 10, 500  # messages per second
LIMIT_S = 180  # for the start, and for the last messages to become visible
TOPIC = "synthetic_follow"


def measure(side: Side, results: Results, path: pathlib.Path) -> None:
    """Publishes the file's lines (key, tab, message) at each rate."""
    duration_s, feed = results.follow_seconds, side.settings.feed(TOPIC)
    print(f"\nmake follow: {RATES} messages a second, {duration_s} s each", flush=True)
    side.make("topic", TOPIC=TOPIC, PARTITIONS=4)
    command = side.in_environment("python", "scripts/follow.py")
    output = side.run_dir / "logs/bench-follow.log"
    with open(path, "rb") as lines, open(output, "w") as log:
        following = side.start(command, log, TOPIC=TOPIC)
        try:
            with contextlib.closing(KafkaProducer(bootstrap_servers=side.settings.kafka)) as out:
                publish(lines, out, 1, 1)  # the session starts, and the tables are created
                wait_for(1, feed)
                published = [publish(lines, out, rate, duration_s) for rate in RATES]
            wait_for(1 + sum(map(len, published)), feed)
        finally:
            following.terminate()
            code = following.wait(LIMIT_S)
    if code:
        raise Failure(
            f"make follow ended with {code}",
            f"its output: {output}",
            "try that step alone, without the bench: make follow",
        )
    seen = visible(feed)
    for rate, sent in zip(RATES, published, strict=True):
        delays = [seen[at.partition, at.offset] - at.timestamp / 1000 for at in sent]
        times = statistics.median(delays), statistics.quantiles(delays, n=100)[98], max(delays)
        results.delays.append((rate, len(sent), *(round(seconds, 1) for seconds in times)))


def publish(
    lines: Iterable[bytes], out: KafkaProducer, rate: int, seconds: int
) -> list[RecordMetadata]:
    """Sends the next lines at this rate. (kcat would wait for more input before it sends any.)"""
    begin, sent = time.monotonic(), list[FutureRecordMetadata]()
    while len(sent) < rate * seconds:
        due = min(rate * seconds, int((time.monotonic() - begin) * rate) + 1)
        for line in itertools.islice(lines, due - len(sent)):
            key, _, value = line.rstrip(b"\n").partition(b"\t")
            sent.append(out.send(TOPIC, value, key))
        time.sleep(max(0.01, 1 / rate))
    out.flush()
    return [each.get() for each in sent]


def wait_for(count: int, feed: Feed) -> None:
    """Waits until so many messages are visible. Failure after LIMIT_S."""
    limit, found = time.monotonic() + LIMIT_S, 0
    while found < count:
        if time.monotonic() > limit:
            raise Failure(
                f"{found} of {count} messages are visible after {LIMIT_S} s",
                f"looked in {feed.path('attempts')}",
                "try that step alone, without the bench: make follow",
            )
        time.sleep(1)
        with contextlib.suppress(TableNotFoundError):  # it is created by the first landing
            found = deltalake.DeltaTable(feed.path("attempts")).count()


def visible(feed: Feed) -> dict[tuple[int, int], float]:
    """{(partition, offset): the time from which it was in the table `attempts`}"""
    times: dict[tuple[int, int], float] = {}
    log = hdfs_native.Client(feed.hdfs).list_status(feed.folder("attempts/_delta_log"))
    for file in sorted(log, key=lambda file: file.path):
        if version := re.search(r"(\d{20})\.json$", file.path):
            table = deltalake.DeltaTable(feed.path("attempts"), version=int(version[1]))
            rows = table.to_pyarrow_table(columns=["kafka_partition", "kafka_offset"])
            for place in zip(*rows.to_pydict().values(), strict=True):
                times.setdefault(place, file.modification_time / 1000)
    return times
