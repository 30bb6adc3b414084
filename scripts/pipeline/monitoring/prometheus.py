"""Metrics of a feed in Prometheus's text format: $RUN_DIR/metrics/TOPIC.prom

make land and make follow write the file after each landing, make follow also while it waits. A
Prometheus reads it by the textfile collector of its node exporter (--collector.textfile.directory).
"""

import functools
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from prometheus_client import write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from pipeline.errors import Failure
from pipeline.monitoring import feed_state
from pipeline.settings import Feed

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
}


@functools.cache
def _counted(feed: Feed) -> dict[str, feed_state.Verdicts]:
    """What this process has counted of the feed, by file; feed_state.read() updates it."""
    return {}


def write(feed: Feed, trouble: Failure | None = None) -> feed_state.FeedState:
    """Replaces the feed's file. Returns the state that it shows."""
    state = feed_state.read(feed, _counted(feed))
    path = feed.settings.in_run_dir("metrics", f"{feed.topic}.prom")
    path.parent.mkdir(exist_ok=True)
    registry = SimpleNamespace(collect=lambda: metrics(state))
    write_to_textfile(str(path), registry)
    return state


def metrics(state: feed_state.FeedState) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    """The metrics of a state, as prometheus_client writes them."""
    numbers: dict[str, tuple[str, Mapping[Any, float | None]]] = {  # {name: (label, by its value)}
        "feed_topic_end_offset": ("partition", state.ends),
        "feed_landed_offset": ("partition", {at: state.landed.get(at, 0) for at in state.ends}),
        "feed_lag_records": ("", {"": state.lag()}),
        "feed_lag_seconds": ("", {"": state.lag_seconds()}),
        "feed_messages_total": ("status", state.by_status()),
        "feed_rejected_messages_total": ("reason", state.by_reason()),
        "feed_last_batch_duration_seconds": ("", {"": state.last_seconds}),
        "feed_last_batch_timestamp_seconds": ("", {"": state.last_batch}),
    }
    for name, (label, by_value) in numbers.items():
        labels = ["topic", label] if label else ["topic"]
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(name, MEANINGS[name], labels=labels)
        for value, number in by_value.items():
            if number is not None:
                family.add_metric([state.topic, str(value)][: len(labels)], number)
        if family.samples or label:
            yield family
