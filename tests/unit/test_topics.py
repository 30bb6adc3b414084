"""What Kafka's client says of topics, where a real broker of one node never says it."""

import pytest
from kafka.errors import LeaderNotAvailableError

from pipeline import settings
from pipeline.kafka import topics


class Consumer:
    """Of a cluster that has the topic `a`, one of whose partitions has no leader."""

    def partitions_for_topic(self, name):
        return {0, 1}

    def topics(self):
        return {"a"}

    def end_offsets(self, partitions, timeout_ms):
        raise KeyError(partitions[1])


def test_a_partition_without_a_leader_is_an_error_that_passes(monkeypatch):
    monkeypatch.setattr(topics, "_consumer", lambda settings: Consumer())
    with pytest.raises(LeaderNotAvailableError, match="partition=1") as raised:
        topics.ends_of_topics(settings.read({}), ["a", "deleted meanwhile"])
    assert raised.value.retriable
