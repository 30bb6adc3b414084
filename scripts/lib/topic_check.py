"""Checks before landing that the ledger and the topic belong together.

Otherwise landing would silently skip records, or mix those of two topics.
"""

import os

import deltalake

import config
import errors
import knobs
import lake
import topics


def check_topic(
    landed: dict[int, int] | None, ledger: deltalake.DeltaTable | None
) -> tuple[str, dict[int, int], dict[int, tuple[int, int]]]:
    """Checks that the topic is the one that was landed, and has every record after `landed`.

    landed: the committed position of the ledger; both are None before the first landing.
    Returns (the topic's id, {partition: end}, {partition: (from, to)} of the records that expired
    before they were landed).
    Failure when the topic is missing, recreated or truncated, or when records expired and the knob
    SKIP_EXPIRED is not set.
    """
    topic_id = topics.topic_id()
    if topic_id is None:
        raise errors.Failure(
            f"there is no topic {config.TOPIC} on {config.KAFKA}",
            "nothing was published yet, or TOPIC is misspelt",
            f"make publish{knobs.of_file()}",
        )
    ends, begins = topics.end_offsets(), topics.beginning_offsets()
    if landed is not None:
        folder = lake.table_path("")[:-1]
        new_topic = (
            f"to keep both: make all{knobs.of_stack()}{knobs.changed('DATA')} "
            f"TOPIC={config.TOPIC}_2\n"
            "       to start this feed again, with its tables moved aside: "
            f"make shell{knobs.of_feed()}, then: hadoop fs -mv {folder} {folder}_old; "
            f"then: make land{knobs.of_feed()}"
        )
        known_id = ledger.metadata().configuration.get(lake.TOPIC_ID)
        if known_id != topic_id:
            raise errors.Failure(
                f"topic {config.TOPIC} is not the one that was landed: "
                "it was deleted and recreated",
                f"its id is {topic_id}, the ledger belongs to {known_id}",
                new_topic,
            )
        for partition, offset in landed.items():
            if ends.get(partition, 0) < offset:
                raise errors.Failure(
                    f"topic {config.TOPIC} ends before what is landed",
                    f"partition {partition} ends at {ends.get(partition, 0)}, "
                    f"landed is up to {offset}: records were lost in Kafka",
                    new_topic,
                )
    expired = {
        partition: ((landed or {}).get(partition, 0), begin)
        for partition, begin in begins.items()
        if begin > (landed or {}).get(partition, 0)
    }
    if expired and os.environ.get("SKIP_EXPIRED") != "1":
        spans = "; ".join(
            f"partition {partition}: offsets {first} to {end - 1}, {end - first:,} records"
            for partition, (first, end) in expired.items()
        )
        raise errors.Failure(
            f"records of topic {config.TOPIC} are gone before they were landed",
            f"{spans}: deleted by retention, or by hand; nothing was landed now",
            "if their publisher can send them again, have that done; then, to go on without them: "
            f"make land{knobs.of_feed()} SKIP_EXPIRED=1 "
            f"(the loss is noted, and make verify{knobs.of_feed()} names it)",
        )
    return topic_id, ends, expired
