"""Metrics of a feed in Prometheus's text format: $RUN_DIR/metrics/TOPIC.prom

make land and make follow write the file after each landing, make follow also while it waits. A
Prometheus reads it by the textfile collector of its node exporter (--collector.textfile.directory).
"""

import os
from collections.abc import Iterator

import config
import feed_state
import storage
from feed_state import Feed, Verdicts

_counted: dict[str, Verdicts] = {}  # of this process's feed, by file


def write() -> Feed:
    """Replaces the feed's file. Returns the state that it shows."""
    feed = feed_state.read(config.TOPIC, _counted)
    path = storage.run_dir("metrics", f"{config.TOPIC}.prom")
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")  # make land may write beside make follow
    new.write_text("".join(f"{line}\n" for line in lines(feed)))
    new.replace(path)
    return feed


def lines(feed: Feed) -> Iterator[str]:
    """The lines of the file."""

    def metric(name, kind, meaning, values):
        """values: {labels besides the topic: value}"""
        yield f"# HELP {name} {meaning}"
        yield f"# TYPE {name} {kind}"
        for labels, value in values.items():
            pairs = (("topic", feed.topic), *labels)
            shown = ",".join(f'{label}="{escaped(text)}"' for label, text in pairs)
            yield f"{name}{{{shown}}} {value:.15g}"

    def by(label, values):
        return {((label, str(name)),): value for name, value in values.items()}

    yield from metric(
        "feed_topic_end_offset",
        "gauge",
        "Offset after the last record of the topic's partition.",
        by("partition", feed.ends),
    )
    yield from metric(
        "feed_landed_offset",
        "gauge",
        "Offset after the last landed record of the partition.",
        by("partition", {at: feed.landed.get(at, 0) for at in feed.ends}),
    )
    yield from metric("feed_lag_records", "gauge", "Records not landed yet.", {(): feed.lag()})
    yield from metric(
        "feed_lag_seconds",
        "gauge",
        "Age of the oldest record not landed yet, by its Kafka timestamp.",
        {(): feed.lag_seconds()},
    )
    yield from metric(
        "feed_messages_total",
        "counter",
        "Landed messages by verdict.",
        by("status", feed.by_status()),
    )
    yield from metric(
        "feed_rejected_messages_total",
        "counter",
        "Rejected messages by reason.",
        by("reason", feed.by_reason()),
    )
    if feed.last_batch is not None:
        yield from metric(
            "feed_last_batch_duration_seconds",
            "gauge",
            "Duration of the last batch.",
            {(): feed.last_seconds},
        )
        yield from metric(
            "feed_last_batch_timestamp_seconds",
            "gauge",
            "When the last batch was landed.",
            {(): feed.last_batch},
        )


def escaped(text: str) -> str:
    """A label's value, as the format wants it."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
