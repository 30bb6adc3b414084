"""From publish to visible: how long a message takes into `attempts` while make follow runs.

A message is published at a steady rate, its time is Kafka's timestamp, and it is visible when a
reader without Spark finds it in the table.
"""

import contextlib
import itertools
import pathlib
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable

import deltalake
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaProducer
from kafka.producer.future import FutureRecordMetadata, RecordMetadata

from measured import Delay, Results
from pipeline.errors import Failure
from stack import Side

RATES = 10, 500  # messages per second
POLL_S = 0.1
LIMIT_S = 180  # for the start, and for the last messages to become visible
TOPIC = "synthetic_follow"


class Reader(threading.Thread):
    """Polls the table `attempts`. seen: {(partition, offset): time at which it was visible}"""

    def __init__(self, path: str):
        super().__init__(daemon=True)
        self.path, self.ended = path, threading.Event()
        self.seen: dict[tuple[int, int], float] = {}

    def run(self) -> None:
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
                        rows = fragment.to_table(columns=["kafka_partition", "kafka_offset"])
                        for place in zip(*rows.to_pydict().values(), strict=True):
                            self.seen.setdefault(place, now)  # a compacted file repeats its rows
                        files.add(fragment.path)

    def wait_for(self, count: int) -> None:
        """Waits until so many messages are visible. Failure after LIMIT_S."""
        limit = time.monotonic() + LIMIT_S
        while len(self.seen) < count:
            if time.monotonic() > limit or not self.is_alive():
                raise Failure(
                    f"{len(self.seen)} of {count} messages are visible after {LIMIT_S} s",
                    f"looked in {self.path}",
                    "try that step alone, without the bench: make follow",
                )
            time.sleep(POLL_S)


def messages(seconds: int) -> int:
    """How many messages measure() needs."""
    return 1 + seconds * sum(RATES)


def measure(side: Side, results: Results, path: pathlib.Path) -> None:
    """Publishes the file's lines (key, tab, message) at each rate."""
    duration_s = results.follow_seconds
    print(f"\nmake follow: {RATES} messages a second, {duration_s} s each", flush=True)
    side.make("topic", TOPIC=TOPIC, PARTITIONS=4)
    command = side.in_environment("python", "scripts/follow.py")
    output = side.run_dir / "logs/bench-follow.log"
    reader = Reader(side.settings.feed(TOPIC).path("attempts"))
    with open(path, "rb") as lines, open(output, "wb") as log:
        following = subprocess.Popen(
            command, cwd=side.root, env=side.environment(TOPIC=TOPIC), stdout=log, stderr=log
        )
        try:
            reader.start()
            with contextlib.closing(KafkaProducer(bootstrap_servers=side.settings.kafka)) as out:
                publish(lines, out, 1, 1)  # the session starts, and the tables are created
                reader.wait_for(1)
                published = [publish(lines, out, rate, duration_s) for rate in RATES]
            reader.wait_for(messages(duration_s))
        finally:
            following.terminate()
            code = following.wait(LIMIT_S)
            reader.ended.set()
    if code:
        raise Failure(
            f"make follow ended with {code}",
            f"its output: {output}",
            "try that step alone, without the bench: make follow",
        )
    for rate, sent in zip(RATES, published, strict=True):
        delays = [reader.seen[at.partition, at.offset] - at.timestamp / 1000 for at in sent]
        longest, percentile_99 = max(delays), statistics.quantiles(delays, n=100)[98]
        middle = statistics.median(delays)
        results.delays.append(Delay(rate, len(sent), middle, percentile_99, longest))


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
        time.sleep(max(POLL_S / 10, 1 / rate))
    out.flush()
    return [each.get() for each in sent]
