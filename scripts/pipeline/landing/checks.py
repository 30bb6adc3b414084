"""Checks before landing that the ledger and the topic belong together.

Otherwise landing would silently skip records, or mix those of two topics.
"""

from typing import NamedTuple

import deltalake

from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.settings import Feed
from pipeline.tables.delta import TOPIC_ID
from pipeline.tables.position import Position


class Topic(NamedTuple):
    """What landing needs to know of the topic."""

    id: str
    ends: Position  # {partition: offset after the last record}
    expired: dict[int, tuple[int, int]]  # {partition: (from, to)}, gone before they were landed

    def new(self, landed: Position) -> int:
        """How many of its records are neither landed nor expired."""
        return sum(
            end - max(landed.get(partition, 0), self.expired.get(partition, (0, 0))[1])
            for partition, end in self.ends.items()
        )


def check_topic(feed: Feed, landed: Position | None, ledger: deltalake.DeltaTable | None) -> Topic:
    """Checks that the topic is the one that was landed, and has every record after `landed`.

    landed: the committed position of the ledger; both are None before the first landing. Failure
    when the topic is missing, recreated or truncated, or records expired without SKIP_EXPIRED.
    """
    topic_id = topics.topic_id(feed)
    if topic_id is None and landed:
        raise Failure(
            f"topic {feed.topic} is landed, and no longer on {feed.settings.kafka}",
            "it was deleted, or KAFKA names other brokers than before; the tables stay as they are",
            ways_on(feed, feed.make("all", "DATA")),
        )
    if topic_id is None:
        raise Failure(
            f"there is no topic {feed.topic} on {feed.settings.kafka}",
            "nothing was published yet, or TOPIC is misspelt",
            feed.make("publish", "DATA"),
        )
    ends, landed = topics.end_offsets(feed), landed or {}
    if ledger is not None:
        known_id = ledger.metadata().configuration.get(TOPIC_ID)
        _check_same_topic(feed, topic_id, ends, landed, known_id)
    expired = {
        partition: (landed.get(partition, 0), begin)
        for partition, begin in topics.beginning_offsets(feed).items()
        if begin > landed.get(partition, 0)
    }
    if expired and not feed.settings.skip_expired:
        spans = "; ".join(
            f"partition {partition}: offsets {first} to {end - 1}, {end - first:,} records"
            for partition, (first, end) in expired.items()
        )
        raise Failure(
            f"records of topic {feed.topic} are gone before they were landed",
            f"{spans}: deleted by retention, or by hand; nothing was landed now",
            "if their publisher can send them again, have that done; then, to go on without them: "
            f"{feed.make('land', SKIP_EXPIRED=1)} "
            f"(the loss is noted, and {feed.make('verify')} names it)",
        )
    return Topic(topic_id, ends, expired)


def _check_same_topic(
    feed: Feed, topic_id: str, ends: Position, landed: Position, known_id: str | None
) -> None:
    """Failure when the topic was recreated, or ends before what is landed."""
    if known_id != topic_id:
        raise Failure(
            f"topic {feed.topic} is not the one that was landed: it was deleted and recreated",
            f"its id is {topic_id}, the ledger belongs to {known_id}",
            ways_on(feed, feed.make("land")),
        )
    for partition, offset in landed.items():
        if (end := ends.get(partition, 0)) < offset:
            raise Failure(
                f"topic {feed.topic} ends before what is landed",
                f"partition {partition} ends at {end}, landed is up to {offset}: "
                "records were lost in Kafka",
                ways_on(feed, feed.make("land")),
            )


def ways_on(feed: Feed, then: str) -> str:
    """What to type when the topic is not the one that was landed. then: after moving the tables."""
    folder = feed.path()[:-1]
    return (
        f"to keep both: {feed.settings.make('all', 'DATA', TOPIC=f'{feed.topic}_2')}\n"
        "       to start this feed again, with its tables moved aside: "
        f"{feed.make('shell')}, then: hadoop fs -mv {folder} {folder}_old; then: {then}"
    )
