"""Topics in Kafka, their records and offsets, with kafka-python.

As a module it prints the number of records of the topic TOPIC:
    scripts/env.sh python -m pipeline.kafka.topics
"""

import collections
import contextlib
import functools
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pipeline import script
from pipeline.errors import Outage
from pipeline.kafka import security
from pipeline.settings import Feed, Settings

SILENCE_LIMIT_S = 60
RETRY_LIMIT_S = 30
AFTER_TROUBLE_S = 5  # where something has failed: that may be Kafka
ANSWER_LIMIT_MS = 5000
METADATA_S = 10  # make follow finds new partitions within this time

Answer = TypeVar("Answer")
Offsets = dict[int, int]  # {partition: offset}
Places = dict[TopicPartition, int]  # the same for the partitions of several topics
_own = threading.local()  # of each thread


class Topic(NamedTuple):
    """A topic as Kafka has it now."""

    id: str  # Kafka gives a recreated topic another one
    begins: Offsets  # the first record that is still kept
    ends: Offsets  # after the last record, as end_offsets()


def admin(settings: Settings, timeout_s: float = RETRY_LIMIT_S) -> KafkaAdminClient:
    """A new client for the topics; the caller closes it."""
    return KafkaAdminClient(
        bootstrap_servers=settings.kafka,
        bootstrap_timeout_ms=timeout_s * 1000,
        request_timeout_ms=timeout_s * 1000,
        **security.for_python(settings),
    )


def _consumer(settings: Settings) -> KafkaConsumer:
    """This thread's consumer, for all topics: KafkaConsumer is not thread-safe.

    It is closed when the thread has ended, because it has connections and a thread of its own.
    """
    where = settings.kafka, settings.client_properties
    if getattr(_own, "where", None) != where:
        # The broker checked each record's CRC already; in Python that would take most of the time.
        _own.consumer = consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka,
            enable_auto_commit=False,
            # With them, kafka-python 3.0.12 loses partitions that were paused and are read again.
            enable_incremental_fetch_sessions=False,
            auto_offset_reset="earliest",  # where records expire while they are read
            metadata_max_age_ms=METADATA_S * 1000,
            check_crcs=False,
            isolation_level="read_committed",
            fetch_max_bytes=32 * 2**20,
            max_partition_fetch_bytes=8 * 2**20,
            **security.for_python(settings),
        )
        thread = threading.current_thread()
        weakref.finalize(thread, _close, consumer, os.getpid()).atexit = False
        _own.where = where
    return _own.consumer


def _close(consumer: KafkaConsumer, pid: int) -> None:
    """Closes the consumer; not in a forked process, which shares its connections."""
    if os.getpid() == pid:
        consumer.close()


def retry(ask: Callable[[], Answer], limit_s: float = RETRY_LIMIT_S) -> Answer:
    """What ask() returns. Retries Kafka's retriable errors, such as during a leader election."""
    limit = time.monotonic() + limit_s
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
    """The id that Kafka gave the topic when it was created; None if the topic does not exist.

    KafkaError for any other answer, such as that the account has no right to it.
    """
    with contextlib.closing(admin(feed.settings)) as client:
        (found,) = retry(lambda: client.describe_topics([feed.topic]))
    if found["error_code"] == UnknownTopicOrPartitionError.errno:
        return None
    if found["error_code"]:
        raise for_code(found["error_code"])(feed.topic)
    return str(found["topic_id"])


def existing(
    settings: Settings, wanted: Collection[str], limit_s: float = RETRY_LIMIT_S
) -> dict[str, Topic]:
    """{topic: its state} of those of the topics that exist, by few requests for all of them."""
    with contextlib.closing(admin(settings, limit_s)) as client:
        described = retry(lambda: client.describe_topics([*wanted]), limit_s)
    ids = {each["name"]: str(each["topic_id"]) for each in described if each["error_code"] == 0}
    begins, ends = _begins(settings, ids), _ends(settings, ids)
    kept, exact = _by_topic(begins), _by_topic(_after_last_records(settings, begins, ends))
    return {name: Topic(topic_id, kept[name], exact[name]) for name, topic_id in ids.items()}


def ends_of_topics(settings: Settings, wanted: Collection[str]) -> dict[str, Offsets]:
    """{topic: the ends of its partitions, transaction markers included}, by one request.

    Without topics that do not exist. KafkaError after ANSWER_LIMIT_MS.
    """
    consumer, partitions = _consumer(settings), _partitions(settings, wanted)
    try:
        return _by_topic(consumer.end_offsets(partitions, timeout_ms=ANSWER_LIMIT_MS))
    except KeyError as error:  # a topic was deleted, or a partition has no leader now
        there = consumer.topics()
        if there.issuperset(wanted):
            raise LeaderNotAvailableError(str(error)) from None
        return ends_of_topics(settings, [name for name in wanted if name in there])


def _by_topic(offsets: Places) -> dict[str, Offsets]:
    found: dict[str, Offsets] = collections.defaultdict(dict)
    for at in sorted(offsets):
        found[at.topic][at.partition] = offsets[at]
    return found


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


def is_compacted(feed: Feed) -> bool:
    """Whether Kafka drops records of the topic when newer ones with the same key come."""
    return "compact" in topic_settings(feed).get("cleanup.policy", "")


def _partitions(settings: Settings, names: Iterable[str]) -> list[TopicPartition]:
    consumer, found = _consumer(settings), []
    for name in names:
        numbers = retry(functools.partial(consumer.partitions_for_topic, name)) or ()
        found += [TopicPartition(name, number) for number in sorted(numbers)]
    return found


def end_offsets(feed: Feed) -> dict[int, int]:
    """{partition: offset after the last record}; empty when the topic does not exist.

    Transaction markers and uncommitted records occupy offsets but are not records. An account that
    may not read the topic cannot tell them apart: for it they are counted.
    """
    names = [feed.topic]
    begins, ends = _begins(feed.settings, names), _ends(feed.settings, names)
    return {
        at.partition: end for at, end in _after_last_records(feed.settings, begins, ends).items()
    }


def _after_last_records(settings: Settings, begins: Places, ends: Places) -> Places:
    """The offset after each partition's last record before its end; its begin when it has none."""
    found, span = {at: begins[at] for at in ends}, 1
    sought = {at for at, end in ends.items() if end > begins[at]}
    while sought:
        starts = {at: max(begins[at], ends[at] - span) for at in sought}
        try:
            last = {at: record.offset for at, record in _read(settings, starts, ends)}
        except TopicAuthorizationFailedError:
            topics = {at.topic for at in ends}
            if len(topics) == 1:
                return ends
            each = ({at: end for at, end in ends.items() if at.topic == topic} for topic in topics)
            parts = (_after_last_records(settings, begins, of_topic) for of_topic in each)
            return {at: end for part in parts for at, end in part.items()}
        found |= {at: offset + 1 for at, offset in last.items()}
        sought = {at for at in sought - last.keys() if starts[at] > begins[at]}
        span *= 10
    return found


def _begins(settings: Settings, names: Iterable[str]) -> Places:
    return _offsets(_consumer(settings).beginning_offsets, _partitions(settings, names))


def _ends(settings: Settings, names: Iterable[str]) -> Places:
    return _offsets(_consumer(settings).end_offsets, _partitions(settings, names))


def _offsets(
    ask: Callable[[list[TopicPartition]], Places], partitions: list[TopicPartition]
) -> Places:
    def complete() -> Places:
        try:
            return ask(partitions)
        except KeyError as error:  # so kafka-python says that a partition has no leader now
            raise LeaderNotAvailableError(str(error)) from None

    return retry(complete)


def beginning_offsets(feed: Feed) -> dict[int, int]:
    """{partition: offset of the first record that is still kept}"""
    return {at.partition: offset for at, offset in _begins(feed.settings, [feed.topic]).items()}


def records(feed: Feed) -> Iterator[ConsumerRecord]:
    """Every record up to the current end, partition by partition. Outage when Kafka is silent."""
    begins = _begins(feed.settings, [feed.topic])
    for at, end in _ends(feed.settings, [feed.topic]).items():
        for _, record in _read(feed.settings, {at: begins[at]}, {at: end}):
            yield record


def oldest_timestamp(feed: Feed, landed: dict[int, int], ends: dict[int, int]) -> float | None:
    """The Kafka timestamp of the oldest record from `landed` to before `ends`, in seconds.

    Of each partition its first one, in order of offset. None when there is no such record.
    """
    begins, found = beginning_offsets(feed), []
    for partition, end in ends.items():
        start = max(landed.get(partition, 0), begins.get(partition, 0))
        at = TopicPartition(feed.topic, partition)
        first = itertools.islice(_read(feed.settings, {at: start}, {at: end}), 1)
        found += [record.timestamp / 1000 for _, record in first]
    return min(found, default=None)


def _read(
    settings: Settings, starts: Places, ends: Places
) -> Iterator[tuple[TopicPartition, ConsumerRecord]]:
    """The committed records of partitions, from the start of each to before its end."""
    consumer = _consumer(settings)
    consumer.assign([*starts])
    consumer.resume(*starts)  # another call may have paused them
    for at, start in starts.items():
        consumer.seek(at, start)
    found: dict[TopicPartition, list[ConsumerRecord]] = {}
    reading, silent_since = {*starts}, time.monotonic()
    while True:
        # Transaction markers are not returned: where nothing comes, any partition may be finished.
        moved = found.keys() & reading or reading
        finished = [at for at in moved if consumer.position(at) >= ends[at]]
        consumer.pause(*finished)
        reading.difference_update(finished)
        if not reading:
            return
        found = consumer.poll(timeout_ms=1000)
        for at, records in found.items():
            yield from ((at, record) for record in records if record.offset < ends[at])
            silent_since = time.monotonic()
        if time.monotonic() - silent_since > SILENCE_LIMIT_S:
            at = min(reading)
            raise Outage(
                f"Kafka at {settings.kafka} stopped sending topic {at.topic}",
                f"nothing came for {SILENCE_LIMIT_S} s, at offset {consumer.position(at)} of "
                f"{ends[at]} in partition {at.partition}",
                f"{settings.make('status')}; then again",
            )


if __name__ == "__main__":
    script.run(lambda settings: print(sum(end_offsets(settings.feed()).values())))
