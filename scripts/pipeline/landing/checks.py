"""Checks before landing that the ledger and the topic belong together.

Otherwise landing would silently skip records, or mix those of two topics.
"""

import deltalake

from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.kafka.topics import Topic
from pipeline.settings import Feed
from pipeline.tables.delta import TOPIC_ID
from pipeline.tables.position import Position


def expired_records(topic: Topic, landed: Position) -> dict[int, tuple[int, int]]:
    """{partition: (from, to)} of the records that are gone and were not landed before."""
    return {
        at: (landed.get(at, 0), begin)
        for at, begin in topic.begins.items()
        if begin > landed.get(at, 0)
    }


def check_topic(
    feed: Feed,
    topic: Topic | None,
    landed: Position | None,
    ledger: deltalake.DeltaTable | None,
) -> Topic:
    """Checks that the topic is the one that was landed, and has every record after `landed`.

    topic: as it is now; None when it does not exist. landed: the committed position of the ledger;
    both are None before the first landing. Failure when the topic is missing, recreated or
    truncated, or records expired without SKIP_EXPIRED. KafkaError when the account
    may not see the topic.
    """
    if topic is None:
        topics.topic_id(feed)  # raises Kafka's refusal, if the account may not see the topic
    if topic is None and landed:
        raise Failure(
            f"topic {feed.topic} is landed, and no longer on {feed.settings.kafka}",
            "it was deleted, or KAFKA names other brokers than before; the tables stay as they are",
            ways_on(feed, feed.make("all", "DATA")),
        )
    if topic is None:
        raise Failure(
            f"there is no topic {feed.topic} on {feed.settings.kafka}",
            "nothing was published yet, or TOPIC is misspelt",
            feed.make("publish", "DATA"),
        )
    if ledger is not None:
        known_id = ledger.metadata().configuration.get(TOPIC_ID)
        _check_same_topic(feed, topic, landed or {}, known_id)
    expired = expired_records(topic, landed or {})
    if expired and not feed.settings.skip_expired:
        spans = "; ".join(
            f"partition {partition}: offsets {first} to {end - 1}, {end - first:,} records"
            for partition, (first, end) in expired.items()
        )
        raise Failure(
            f"records of topic {feed.topic} are gone before they were landed",
            f"{spans}: deleted by retention, or by hand (transaction markers occupy offsets, too); "
            "nothing was landed now",
            "if their publisher can send them again, have that done; then, to go on without them: "
            f"{feed.make('land', SKIP_EXPIRED=1)} "
            f"(the loss is noted, and {feed.make('verify')} names it)",
        )
    return topic


def _check_same_topic(feed: Feed, topic: Topic, landed: Position, known_id: str | None) -> None:
    """Failure when the topic was recreated, or ends before what is landed."""
    if known_id != topic.id:
        raise Failure(
            f"topic {feed.topic} is not the one that was landed: it was deleted and recreated",
            f"its id is {topic.id}, the ledger belongs to {known_id}",
            ways_on(feed, feed.make("land")),
        )
    for partition, offset in landed.items():
        if (end := topic.ends.get(partition, 0)) < offset:
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
