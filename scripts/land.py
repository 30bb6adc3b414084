"""Kafka -> Spark -> HDFS: land every message since the last run, exactly once.

Run by: make land [SKIP_EXPIRED=1]
    scripts/env.sh python scripts/land.py

pipeline/landing/stream.py says how, and why exactly once, even after a crash.
"""

import time

from pipeline import errors, script
from pipeline.kafka import topics
from pipeline.landing import stream
from pipeline.landing.batch import STATUSES, Batch
from pipeline.monitoring import prometheus
from pipeline.settings import Settings
from pipeline.tables.lock import feed_lock
from pipeline.tables.position import Position
from pipeline.text import printable


def main(settings: Settings) -> None:
    begin, feed = time.monotonic(), settings.feed()

    def print_start(new: int, _: Position) -> None:
        print(f"{new:,} new records of topic {feed.topic}, to {feed.path()}")
        head = "batch  partition: offsets            accepted  duplicate  rejected  seconds"
        print(head, flush=True)

    with feed_lock(feed):
        if stream.land(feed, print_start, print_batch):
            print(f"landed in {time.monotonic() - begin:.1f} s")
        else:
            total = sum(topics.end_offsets(feed).values())
            print(f"nothing new: all {total:,} records of topic {feed.topic} are landed already")
    try:
        prometheus.write(feed)
    except Exception as error:  # what is landed is landed
        script.log_trace()
        print(f"the metrics could not be written: {printable(errors.cause(error))}")


def print_batch(landed: Batch) -> None:
    spans = ", ".join(f"{at}: {first}-{last}" for at, (first, last) in sorted(landed.spans.items()))
    accepted, duplicate, rejected = (landed.statuses[name] for name in STATUSES)
    print(
        f"{landed.number:>5}  {spans:<28} {accepted:>9,} {duplicate:>10,} {rejected:>9,} "
        f"{landed.seconds:>8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    script.run(main)
