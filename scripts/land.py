"""Kafka -> Spark -> HDFS: land every message since the last run, exactly once.

Run by: make land [SKIP_EXPIRED=1]
    make land TOPICS=first,second    several feeds, in one Spark session; TOPICS=all: every topic
                                     whose name can be a feed's
    scripts/env.sh python scripts/land.py

pipeline/landing/rounds.py says how, and why exactly once, even after a crash. With TOPICS, the
trouble of one feed does not stop the others: it is printed at the end, and the exit code is 1.
"""

import itertools
import time
from collections.abc import Sequence

from pipeline import errors, script
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.landing import rounds
from pipeline.landing.batch import STATUSES, Batch
from pipeline.landing.rounds import Backlog
from pipeline.monitoring import feed_state, prometheus
from pipeline.settings import Feed, Settings
from pipeline.tables import hdfs
from pipeline.tables.position import Position
from pipeline.text import printable

NAMES = 5  # of feeds that one line lists


def main(settings: Settings) -> None:
    begin, number = time.monotonic(), itertools.count()

    def print_batch(landed: list[Batch]) -> None:
        print(f"{next(number):>5}  {batch_line(landed)}", flush=True)

    if settings.topics:
        was_new = land_several(settings, print_batch)
    else:
        feed = settings.feed()
        try:
            was_new = rounds.land(feed, print_start, print_batch)
        except Failure as failure:
            write_metrics(feed, failure)
            raise
        if not was_new:
            total = sum(topics.end_offsets(feed).values())
            print(f"nothing new: all {total:,} records of topic {feed.topic} are landed already")
        write_metrics(feed)
    if was_new:
        print(f"landed in {time.monotonic() - begin:.1f} s")


def land_several(settings: Settings, report: rounds.Report) -> bool:
    """Lands the feeds of TOPICS. Returns whether anything was new."""
    existing = topics.names(settings)
    feeds = settings.feeds(existing)
    if missing := [feed.topic for feed in feeds if feed.topic not in existing]:
        raise Failure(
            f"there is no topic {listed(missing)} on {settings.kafka}",
            "TOPICS names it, and nothing was published to it yet; nothing was landed now",
            settings.make("publish", "DATA", TOPIC=missing[0]),
        )
    landing = rounds.Round(settings, feeds, report)
    was_new = landing.land(print_start)
    if not was_new and (quiet := len(feeds) - len(landing.troubles)):
        print(f"nothing new: {quiet:,} feeds are landed already")
    for failure in landing.troubles.values():
        script.report(failure)
    ends = topics.ends_of_topics(settings, [feed.topic for feed in feeds])

    def write(feed: Feed) -> None:
        write_metrics(feed, landing.troubles.get(feed.topic), ends.get(feed.topic, {}))

    changed = {*landing.landed, *landing.troubles}
    # Where nothing was new, the trouble of an earlier landing is over.
    to_write = [feed for feed in feeds if feed.topic in changed or feed_state.trouble(feed)]
    hdfs.at_once(write, to_write)
    if landing.troubles:
        raise Failure(
            f"{len(landing.troubles):,} of {len(feeds):,} feeds were not landed: "
            f"{listed([*landing.troubles])}",
            "the reason of each is above; all others are landed",
            f"mend them, then: {settings.make('land', 'TOPICS')}",
        )
    return was_new


def write_metrics(
    feed: Feed, trouble: Failure | None = None, log_ends: Position | None = None
) -> None:
    try:
        if trouble is None or hdfs.exists(feed.hdfs, feed.folder()):  # TOPIC may be misspelt
            prometheus.write(feed, trouble, log_ends)
    except Exception as error:  # what is landed is landed
        script.log_trace()
        print(f"the metrics could not be written: {printable(errors.cause(error))}")


def print_start(backlogs: Sequence[Backlog]) -> None:
    new = sum(backlog.records() for backlog in backlogs)
    if len(backlogs) == 1:
        feed = backlogs[0].feed
        print(f"{new:,} new records of topic {feed.topic}, to {feed.path()}")
        head = "partition: offsets         "
    else:
        print(f"{new:,} new records of {len(backlogs):,} topics")
        head = "feeds                      "
    print(f"batch  {head}   accepted  duplicate  rejected  seconds", flush=True)


def batch_line(landed: list[Batch]) -> str:
    """What a batch landed: of one feed with its offsets, of several with their number."""
    what = f"{len(landed):,}"
    if len(landed) == 1:
        spans = sorted(landed[0].spans.items())
        what = ", ".join(f"{at}: {first}-{last}" for at, (first, last) in spans)
    numbers = [sum(batch.statuses[status] for batch in landed) for status in STATUSES]
    accepted, duplicate, rejected = numbers
    seconds = max(batch.seconds for batch in landed)
    return f"{what:<28} {accepted:>9,} {duplicate:>10,} {rejected:>9,} {seconds:>8.1f}"


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES:,} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


if __name__ == "__main__":
    script.run(main)
