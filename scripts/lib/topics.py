"""Topics in Kafka, their records and offsets, with kafka-python.

As a script it prints the number of records of the topic:
    scripts/lib/env.sh python scripts/lib/topics.py
"""

import collections
import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, TopicAuthorizationFailedError

import config
import errors
import kafka_client
import knobs

SILENCE_LIMIT_S = 60
RETRY_LIMIT_S = 30
ANSWER_LIMIT_S = 5
METADATA_S = 10  # make follow finds new partitions within this time


def admin(timeout_s: float = 30) -> KafkaAdminClient:
    """A new client for the topics; the caller closes it."""
    return KafkaAdminClient(
        bootstrap_servers=config.KAFKA,
        bootstrap_timeout_ms=timeout_s * 1000,
        request_timeout_ms=timeout_s * 1000,
        **kafka_client.for_python(),
    )


@functools.cache
def _consumer() -> KafkaConsumer:
    # The broker checked each record's CRC already; a check in Python would take most of the time.
    return KafkaConsumer(
        bootstrap_servers=config.KAFKA,
        enable_auto_commit=False,
        metadata_max_age_ms=METADATA_S * 1000,
        check_crcs=False,
        isolation_level="read_committed",
        fetch_max_bytes=32 * 2**20,
        max_partition_fetch_bytes=8 * 2**20,
        **kafka_client.for_python(),
    )


def retry(ask: Callable[[], Any]) -> Any:
    """What ask() returns. Retries Kafka's retriable errors, such as during a leader election."""
    limit = time.monotonic() + RETRY_LIMIT_S
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > limit:
                raise
            time.sleep(0.5)  # between two requests


def names() -> list[str]:
    """All topics but Kafka's internal ones, sorted."""
    return sorted(name for name in retry(_consumer().topics) if not name.startswith("__"))


def topic_id(topic: str | None = None) -> str | None:
    """The id that Kafka gave the topic when it was created; None if the topic does not exist."""
    with contextlib.closing(admin()) as client:
        for found in retry(lambda: client.describe_topics([topic or config.TOPIC])):
            if found["error_code"] == 0:
                return str(found["topic_id"])
    return None


def settings(topic: str | None = None) -> dict[str, str]:
    """{name: value} of the topic's own settings, those that differ from the broker's."""
    topic = topic or config.TOPIC
    with contextlib.closing(admin()) as client:
        found = retry(
            lambda: client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        )
    return {
        name: setting["value"]
        for of_topic in found.values()
        for name, setting in of_topic.get(topic, {}).items()
    }


def _partitions(topic: str | None) -> list[TopicPartition]:
    topic = topic or config.TOPIC
    return [
        TopicPartition(topic, number)
        for number in sorted(retry(lambda: _consumer().partitions_for_topic(topic)) or ())
    ]


def end_offsets(topic: str | None = None) -> dict[int, int]:
    """{partition: offset after the last record}; empty when the topic does not exist.

    Transaction markers and uncommitted records occupy offsets but are not records. Who may not read
    the topic cannot tell them apart: they are counted then.
    """
    begins = beginning_offsets(topic)
    found = {}
    for at, end in retry(lambda: _consumer().end_offsets(_partitions(topic))).items():
        begin, span, last = begins[at.partition], 1, None
        try:
            while not last and span < 10 * (end - begin):
                last = collections.deque(_read(at, max(begin, end - span), end), maxlen=1)
                span *= 10
        except TopicAuthorizationFailedError:
            found[at.partition] = end
            continue
        found[at.partition] = last[0].offset + 1 if last else begin
    return found


def log_ends() -> dict[int, int]:
    """{partition: offset after the last record, or after a transaction marker}: one request.

    KafkaError when no broker answers within ANSWER_LIMIT_S.
    """
    found = _consumer().end_offsets(_partitions(None), timeout_ms=ANSWER_LIMIT_S * 1000)
    return {at.partition: offset for at, offset in found.items()}


def beginning_offsets(topic: str | None = None) -> dict[int, int]:
    """{partition: offset of the first record that is still kept}"""
    found = retry(lambda: _consumer().beginning_offsets(_partitions(topic)))
    return {at.partition: offset for at, offset in found.items()}


def records() -> Iterator[ConsumerRecord]:
    """Every record of the topic up to its current end, one partition after the other.

    Raises Failure when Kafka stops sending.
    """
    for at, end in retry(lambda: _consumer().end_offsets(_partitions(None))).items():
        yield from _read(at, None, end)


def oldest_timestamp(landed: dict[int, int], ends: dict[int, int], topic: str) -> float | None:
    """The Kafka timestamp of the oldest record from `landed` to before `ends`, in seconds.

    Of each partition its first one, in order of offset. None when there is no such record.
    """
    begins = beginning_offsets(topic)
    found = []
    for partition, end in ends.items():
        start = max(landed.get(partition, 0), begins.get(partition, 0))
        if start < end:
            records = _read(TopicPartition(topic, partition), start, end)
            found += [record.timestamp / 1000 for record in itertools.islice(records, 1)]
    return min(found, default=None)


def _read(at: TopicPartition, start: int | None, end: int) -> Iterator[ConsumerRecord]:
    """The committed records of a partition from `start` (None: the first) to before `end`."""
    consumer = _consumer()
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
            raise errors.Outage(
                f"Kafka at {config.KAFKA} stopped sending topic {at.topic}",
                f"nothing came for {SILENCE_LIMIT_S} s, at offset {consumer.position(at)} of {end} "
                f"in partition {at.partition}",
                f"make status{knobs.of_stack()}; then again",
            )


if __name__ == "__main__":
    with errors.report_failures():
        print(sum(end_offsets().values()))
