"""Show which servers run, with address and log, and how far each feed is landed.

Run by: make status
    scripts/env.sh python scripts/status.py
"""

import concurrent.futures
import contextlib
import datetime
import textwrap

from kafka.errors import KafkaError

from pipeline import errors, script
from pipeline.kafka import topics
from pipeline.monitoring import feed_state
from pipeline.serving import service
from pipeline.settings import Settings
from pipeline.stack import probes, servers
from pipeline.text import printable

READ_AT_ONCE = 8  # ledgers: most of the time goes into waiting for HDFS


def main(settings: Settings) -> None:
    if settings.stack == "local":
        servers.print_table(service.startable(settings))
        if not all(server.process() for server in servers.services(settings)):
            print(f"\nnot all of it runs; to start it: {settings.make('up')}")
            return
    else:
        probes.probe_all(settings, quiet=False)
        if service.query_server(settings).process():
            servers.print_table(service.startable(settings))
    print()
    print(f"{'feed (topic)':<24} {'partition':>9} {'end of topic':>13} {'landed':>10} {'lag':>10}")
    names, ends = topics.names(settings), {}
    with contextlib.suppress(KafkaError):  # one topic has no leader, say: then each is asked alone
        ends = topics.ends_of_topics(settings, names)

    def state(topic: str) -> feed_state.FeedState | str:
        try:
            return feed_state.read(settings.feed(topic), {}, ends.get(topic))
        except Exception as error:  # one damaged feed must not hide the others
            script.log_trace()
            return f"not known: {printable(errors.cause(error))}"

    with concurrent.futures.ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for topic, found in zip(names, pool.map(state, names), strict=True):
            if isinstance(found, str):
                print(f"{topic:<24} {found}")
            else:
                print_feed(found)


def print_feed(feed: feed_state.FeedState) -> None:
    """Prints a line for each partition, and what is landed with which verdict."""
    for partition, end in feed.ends.items():
        offset = feed.landed.get(partition, 0)
        print(f"{feed.topic:<24} {partition:>9} {end:>13,} {offset:>10,} {end - offset:>10,}")
    verdicts = ", ".join(f"{number:,} {status}" for status, number in feed.by_status().items())
    reasons = ", ".join(f"{number:,} {word}" for word, number in feed.by_reason().items())
    batch = "not known"
    if feed.last_batch is not None:
        when = datetime.datetime.fromtimestamp(feed.last_batch, datetime.timezone.utc)
        batch = f"{when:%Y-%m-%d %H:%M:%S} UTC, took {feed.last_seconds:.1f} s"
    lag = f"{feed.lag():,} records, {feed.lag_seconds():,.0f} s; last batch: {batch}"
    for name, text in (("messages", verdicts), ("rejected", reasons), ("lag", lag)):
        if text:
            print(f"    {name:<10}" + "\n              ".join(textwrap.wrap(printable(text), 85)))


if __name__ == "__main__":
    script.run(main)
