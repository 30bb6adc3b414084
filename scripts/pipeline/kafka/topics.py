"""Topics in Kafka, their records and offsets, with kafka-python.

As a module it prints the number of records of the topic TOPIC:
    scripts/env.sh python -m pipeline.kafka.topics
"""

import collections
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, LeaderNotAvailableError, TopicAuthorizationFailedError

from pipeline import script
from pipeline.errors import Outage
from pipeline.kafka import security
from pipeline.settings import Feed, Settings

SILENCE_LIMIT_S = 60
RETRY_LIMIT_S = 30
ANSWER_LIMIT_MS = 5000
METADATA_S = 10  # make follow finds new partitions within this time

Answer = TypeVar("Answer")
_own = threading.local()  # of each thread


def admin(settings: Settings, timeout_s: float = 30) -> KafkaAdminClient:
    """A new client for the topics; the caller closes it."""
    return KafkaAdminClient(
        bootstrap_servers=settings.kafka,
        bootstrap_timeout_ms=timeout_s * 1000,
        request_timeout_ms=timeout_s * 1000,
        **security.for_python(settings),
    )


def _consumer(settings: Settings) -> KafkaConsumer:
    """This thread's consumer, for all topics: KafkaConsumer is not thread-safe."""
    where = settings.kafka, settings.client_properties
    if getattr(_own, "where", None) != where:
        # The broker checked each record's CRC already; in Python that would take most of the time.
        _own.consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka,
            enable_auto_commit=False,
            metadata_max_age_ms=METADATA_S * 1000,
            check_crcs=False,
            isolation_level="read_committed",
            fetch_max_bytes=32 * 2**20,
            max_partition_fetch_bytes=8 * 2**20,
            **security.for_python(settings),
        )
        _own.where = where
    return _own.consumer


def retry(ask: Callable[[], Answer]) -> Answer:
    """What ask() returns. Retries Kafka's retriable errors, such as during a leader election."""
    limit = time.monotonic() + RETRY_LIMIT_S
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > limit:
                raise
            time.sleep(0.5)  # between two requests


def names(settings: Settings) -> list[str]:
    """All topics but Kafka's internal ones, sorted."""
    return sorted(name for name in retry(_consumer(settings).topics) if not name.startswith("__"))


def topic_id(feed: Feed) -> str | None:
    """The id that Kafka gave the topic when it was created; None if the topic does not exist."""
    with contextlib.closing(admin(feed.settings)) as client:
        found = retry(lambda: client.describe_topics([feed.topic]))
    return next((str(each["topic_id"]) for each in found if each["error_code"] == 0), None)


def topic_settings(feed: Feed) -> dict[str, str]:
    """{name: value} of the topic's own settings, those that differ from the broker's."""
    resource = ConfigResource(ConfigResourceType.TOPIC, feed.topic)
    with contextlib.closing(admin(feed.settings)) as client:
        found = retry(lambda: client.describe_configs([resource]))
    return {
        name: setting["value"]
        for of_topic in found.values()
        for name, setting in of_topic.get(feed.topic, {}).items()
    }


def _partitions(feed: Feed) -> list[TopicPartition]:
    numbers = retry(lambda: _consumer(feed.settings).partitions_for_topic(feed.topic)) or ()
    return [TopicPartition(feed.topic, number) for number in sorted(numbers)]


def end_offsets(feed: Feed) -> dict[int, int]:
    """{partition: offset after the last record}; empty when the topic does not exist.

    Transaction markers and uncommitted records occupy offsets but are not records. An account that
    may not read the topic cannot tell them apart: for it they are counted.
    """
    begins, found = beginning_offsets(feed), {}
    for at, end in _ends(feed).items():
        begin, span, last = begins[at.partition], 1, None
        try:
            while not last and span < 10 * (end - begin):
                records = _read(feed.settings, at, max(begin, end - span), end)
                last = collections.deque(records, maxlen=1)
                span *= 10
            found[at.partition] = last[0].offset + 1 if last else begin
        except TopicAuthorizationFailedError:
            found[at.partition] = end
    return found


def _ends(feed: Feed) -> dict[TopicPartition, int]:
    return retry(lambda: _consumer(feed.settings).end_offsets(_partitions(feed)))


def log_ends(feed: Feed) -> dict[int, int]:
    """end_offsets() with transaction markers: one request. KafkaError after ANSWER_LIMIT_MS."""
    return ends_of_topics(feed.settings, [feed.topic])[feed.topic]


def ends_of_topics(settings: Settings, topics: Iterable[str]) -> dict[str, dict[int, int]]:
    """{topic: log_ends() of it}, by one request to each broker. KafkaError after ANSWER_LIMIT_MS.

    Empty for a topic that does not exist.
    """
    ends: dict[str, dict[int, int]] = {topic: {} for topic in topics}
    partitions = [at for topic in ends for at in _partitions(settings.feed(topic))]
    try:
        found = _consumer(settings).end_offsets(partitions, timeout_ms=ANSWER_LIMIT_MS)
    except KeyError as partition:  # kafka-python 3.0.12 asks only those that have a leader
        raise LeaderNotAvailableError(f"{partition} has no leader") from None
    for at, offset in found.items():
        ends[at.topic][at.partition] = offset
    return ends


def beginning_offsets(feed: Feed) -> dict[int, int]:
    """{partition: offset of the first record that is still kept}"""
    found = retry(lambda: _consumer(feed.settings).beginning_offsets(_partitions(feed)))
    return {at.partition: offset for at, offset in found.items()}


def records(feed: Feed) -> Iterator[ConsumerRecord]:
    """Every record up to the current end, partition by partition. Outage when Kafka is silent."""
    for at, end in _ends(feed).items():
        yield from _read(feed.settings, at, None, end)


def oldest_timestamp(feed: Feed, landed: dict[int, int], ends: dict[int, int]) -> float | None:
    """The Kafka timestamp of the oldest record from `landed` to before `ends`, in seconds.

    Of each partition its first one, in order of offset. None when there is no such record.
    """
    begins, found = beginning_offsets(feed), []
    for partition, end in ends.items():
        start = max(landed.get(partition, 0), begins.get(partition, 0))
        at = TopicPartition(feed.topic, partition)
        first = itertools.islice(_read(feed.settings, at, start, end), 1)
        found += [record.timestamp / 1000 for record in first]
    return min(found, default=None)


def _read(
    settings: Settings, at: TopicPartition, start: int | None, end: int
) -> Iterator[ConsumerRecord]:
    """The committed records of a partition from `start` (None: the first) to before `end`."""
    consumer = _consumer(settings)
    consumer.assign([at])
    if start is None:
        consumer.seek_to_beginning(at)
    else:
        consumer.seek(at, start)
    silent_since = time.monotonic()
    while consumer.position(at) < end:
        for record in consumer.poll(timeout_ms=1000).get(at, ()):
            if record.offset < end:
                yield record
            silent_since = time.monotonic()
        if time.monotonic() - silent_since > SILENCE_LIMIT_S:
            raise Outage(
                f"Kafka at {settings.kafka} stopped sending topic {at.topic}",
                f"nothing came for {SILENCE_LIMIT_S} s, at offset {consumer.position(at)} of {end} "
                f"in partition {at.partition}",
                f"{settings.make('status')}; then again",
            )


if __name__ == "__main__":
    script.run(lambda settings: print(sum(end_offsets(settings.feed()).values())))
