"""How landing divides what is new into batches."""

from pipeline import settings
from pipeline.kafka.topics import Topic
from pipeline.landing import rounds


def backlog(topic, landed, begins, ends):
    feed = settings.read({}).feed(topic)
    return rounds.Backlog(feed, Topic("id", begins, ends), {}, landed)


def spans(shares):
    return [(share.starts, share.ends) for share in shares]


def test_a_feed_is_divided_in_even_batches_without_a_gap(monkeypatch):
    monkeypatch.setattr(rounds, "MESSAGES_A_BATCH", 100)
    new = backlog("a", {0: 10}, {0: 0, 1: 0}, {0: 130, 1: 90})
    first, second, third = spans(new.shares())
    assert first == ({0: 10, 1: 0}, {0: 50, 1: 30})
    assert second == ({0: 50, 1: 30}, {0: 90, 1: 60})
    assert third == ({0: 90, 1: 60}, {0: 130, 1: 90})


def test_an_interrupted_batch_is_repeated_as_it_was_though_a_partition_came_since():
    """Its commits carry its ends: other ones would be committed again."""
    new = backlog("a", {0: 10}, {0: 0, 1: 0}, {0: 130, 1: 90})
    new.interrupted = {0: 60}
    repeated, rest = spans(new.shares())
    assert repeated == ({0: 10}, {0: 60})
    assert rest == ({0: 60, 1: 0}, {0: 130, 1: 90})


def test_small_feeds_share_a_batch_and_no_batch_has_two_shares_of_one_feed():
    few, interrupted = ({0: 0}, {0: 0}, {0: 20}), backlog("b", {0: 0}, {0: 0}, {0: 20})
    interrupted.interrupted = {0: 5}
    batches = rounds.batches_of([backlog("a", *few), interrupted, backlog("c", *few)])
    topics = [[share.feed.topic for share in batch] for batch in batches]
    assert topics == [["a", "b"], ["b", "c"]]
