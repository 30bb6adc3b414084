"""Metrics of a feed in Prometheus's text format: $RUN_DIR/metrics/TOPIC.prom

make land and make follow write the file after each landing, make follow of one feed also while it
waits. A Prometheus reads it by the textfile collector of its node exporter
(--collector.textfile.directory).
"""

import functools
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from prometheus_client import write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from pipeline import files
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.monitoring import feed_state
from pipeline.settings import Feed

Numbers = dict[str, tuple[str, Mapping[Any, float | None]]]
# Those that end in _total are counters, the others gauges.
MEANINGS = {
    "feed_topic_end_offset": "Offset after the last record of the topic's partition.",
    "feed_landed_offset": "Offset after the last landed record of the partition.",
    "feed_lag_records": "Records not landed yet.",
    "feed_lag_seconds": "Age of the oldest record not landed yet, by its Kafka timestamp.",
    "feed_messages_total": "Landed messages by verdict.",
    "feed_rejected_messages_total": "Rejected messages by reason.",
    "feed_last_batch_duration_seconds": "Duration of the last batch.",
    "feed_last_batch_timestamp_seconds": "When the last batch was landed.",
    "feed_has_trouble": "1 when the last landing of the feed failed.",
}


@functools.cache
def _counted(feed: Feed) -> dict[str, feed_state.Verdicts]:
    """What this process has counted of the feed, by file; feed_state.read() updates it."""
    return {}


def write(
    feed: Feed, trouble: Failure | None = None, log_ends: dict[int, int] | None = None
) -> None:
    """Replaces the feed's file, and that of its trouble, which make status shows.

    trouble: of its last landing. log_ends: as in feed_state.read(). The state of a feed that has
    trouble may be unreadable.
    """
    path = feed.settings.in_run_dir("metrics", f"{feed.topic}.prom")
    path.parent.mkdir(exist_ok=True)
    if trouble:
        files.replace(feed_state.trouble_path(feed), f"{trouble.what}\n{trouble.then}\n")
    else:
        feed_state.trouble_path(feed).unlink(missing_ok=True)
    state, limit_s = None, topics.AFTER_TROUBLE_S if trouble else topics.RETRY_LIMIT_S
    try:
        state = feed_state.read(feed, _counted(feed), log_ends, limit_s)
    except Exception:
        if trouble is None:
            raise
    found = [*metrics(feed.topic, numbers(state))] if state else []
    found += metrics(feed.topic, {"feed_has_trouble": ("", {"": int(trouble is not None)})})
    write_to_textfile(str(path), SimpleNamespace(collect=lambda: found))


def numbers(state: feed_state.FeedState) -> Numbers:
    """The numbers of a state: {metric: (label, {its value: number})}."""
    return {
        "feed_topic_end_offset": ("partition", state.ends),
        "feed_landed_offset": ("partition", {at: state.landed.get(at, 0) for at in state.ends}),
        "feed_lag_records": ("", {"": state.lag()}),
        "feed_lag_seconds": ("", {"": state.lag_seconds()}),
        "feed_messages_total": ("status", state.by_status()),
        "feed_rejected_messages_total": ("reason", state.by_reason()),
        "feed_last_batch_duration_seconds": ("", {"": state.last_seconds}),
        "feed_last_batch_timestamp_seconds": ("", {"": state.last_batch}),
    }


def metrics(topic: str, of: Numbers) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    """The numbers as prometheus_client writes them."""
    for name, (label, by_value) in of.items():
        labels = ["topic", label] if label else ["topic"]
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(name, MEANINGS[name], labels=labels)
        for value, number in by_value.items():
            if number is not None:
                family.add_metric([topic, str(value)][: len(labels)], number)
        if family.samples or label:
            yield family
