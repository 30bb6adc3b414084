"""make follow, without a landing."""

import pytest
from kafka.errors import KafkaConnectionError

from pipeline import script, settings
from pipeline.landing.follow import Follower


def test_metrics_that_cannot_be_written_stop_nothing_and_are_named_once(monkeypatch, capsys):
    monkeypatch.setattr(script, "log_trace", lambda: None)
    error = ValueError("a file of the ledger is damaged")

    def write(feed, trouble, ends):
        raise error

    knobs = settings.read({})
    follower = Follower(knobs, write)
    for _ in range(2):
        follower.write(knobs.feed("a"), {})
    said = capsys.readouterr().out
    assert said.count("the metrics of feed a could not be written: ") == 1
    assert str(error) in said
    error = KafkaConnectionError("no broker answers")  # the follower waits for it
    with pytest.raises(KafkaConnectionError):
        follower.write(knobs.feed("a"), {})
