"""Metrics of a feed in Prometheus's text format: $RUN_DIR/metrics/TOPIC.prom

make land and make follow write the file after each landing, make follow also while it waits. A
Prometheus reads it by the textfile collector of its node exporter (--collector.textfile.directory).
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client import write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from pipeline.monitoring import feed_state
from pipeline.monitoring.feed_state import FeedState, Verdicts
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

Family = GaugeMetricFamily | CounterMetricFamily


@functools.cache
def _counted(feed: Feed) -> dict[str, Verdicts]:
    """What this process has counted of the feed, by file; feed_state.read() updates it."""
    return {}


def write(feed: Feed) -> FeedState:
    """Replaces the feed's file. Returns the state that it shows."""
    state = feed_state.read(feed, _counted(feed))
    path = feed.settings.in_run_dir("metrics", f"{feed.topic}.prom")
    path.parent.mkdir(exist_ok=True)
    write_to_textfile(str(path), Metrics(state))
    return state


class Metrics(NamedTuple):
    """The metrics of a state, as prometheus_client collects them."""

    state: FeedState

    def collect(self) -> Iterator[Family]:
        state = self.state
        yield self.by("partition", "feed_topic_end_offset", state.ends)
        landed = {at: state.landed.get(at, 0) for at in state.ends}
        yield self.by("partition", "feed_landed_offset", landed)
        yield self.single("feed_lag_records", state.lag())
        yield self.single("feed_lag_seconds", state.lag_seconds())
        yield self.by("status", "feed_messages_total", state.by_status())
        yield self.by("reason", "feed_rejected_messages_total", state.by_reason())
        if state.last_batch is not None and state.last_seconds is not None:
            yield self.single("feed_last_batch_duration_seconds", state.last_seconds)
            yield self.single("feed_last_batch_timestamp_seconds", state.last_batch)

    def by(self, label: str, name: str, values: Mapping[Any, float]) -> Family:
        """A metric by topic and `label`. values: {value of the label: number}"""
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(name, MEANINGS[name], labels=["topic", label])
        for value, number in values.items():
            family.add_metric([self.state.topic, str(value)], number)
        return family

    def single(self, name: str, number: float) -> Family:
        """A metric by topic alone."""
        family = GaugeMetricFamily(name, MEANINGS[name], labels=["topic"])
        family.add_metric([self.state.topic], number)
        return family
