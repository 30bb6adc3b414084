"""How far a feed is landed, and with which verdicts: for make status, and for the metrics.

A file of the ledger never changes, so a process counts each file once.
"""

import collections
import contextlib
import functools
import pathlib
import time
from typing import NamedTuple

import deltalake
import pyarrow.compute as pc

from pipeline.kafka import topics
from pipeline.settings import Feed
from pipeline.tables import commits, delta, position

COMMITS_SEARCHED = 50  # for the last batch, among those of compaction

Verdicts = collections.Counter[tuple[str, str]]  # {(status, reason word): messages}


class FeedState(NamedTuple):
    """The state of a feed. Times are in seconds since the epoch."""

    topic: str
    ends: dict[int, int]  # {partition: offset after the last record}
    landed: dict[int, int]  # {partition: committed position}
    oldest: float | None  # Kafka's time of the oldest record that is not landed
    verdicts: Verdicts
    last_batch: float | None  # when it was committed
    last_seconds: float | None  # its duration

    def lag(self) -> int:
        """Records that are not landed."""
        return sum(max(0, end - self.landed.get(at, 0)) for at, end in self.ends.items())

    def lag_seconds(self) -> float:
        """The age of the oldest record that is not landed; 0 when there is none."""
        return 0.0 if self.oldest is None else max(0.0, time.time() - self.oldest)

    def by_status(self) -> dict[str, int]:
        """{status: messages}"""
        found = dict.fromkeys(("accepted", "duplicate", "rejected"), 0)
        for (status, _), number in self.verdicts.items():
            found[status] += number
        return found

    def by_reason(self) -> dict[str, int]:
        """{reason word: rejected messages}, the most frequent first."""
        found = self.verdicts.most_common()
        return {word: number for (status, word), number in found if status == "rejected"}


def trouble_path(feed: Feed) -> pathlib.Path:
    """The file that tells why the last landing of the feed failed, and what to type."""
    return feed.settings.in_run_dir("metrics", f"{feed.topic}.trouble")


def trouble(feed: Feed) -> str:
    """Why the last landing of the feed failed; empty when it did not."""
    with contextlib.suppress(OSError):
        return trouble_path(feed).read_text(encoding="utf-8").strip()
    return ""


def read(
    feed: Feed,
    counted: dict[str, Verdicts],
    log_ends: dict[int, int] | None = None,
    limit_s: float = topics.RETRY_LIMIT_S,
) -> FeedState:
    """The feed's state now.

    counted: {file: verdicts in it} of an earlier call; is updated. log_ends: of ends_of_topics(),
    if the caller has them. Where all is landed they are the topic's ends, and no record is read.
    limit_s: for retries of Kafka.
    """
    ends = log_ends
    if ends is None:
        ask = functools.partial(topics.ends_of_topics, feed.settings, [feed.topic])
        found = topics.retry(ask, limit_s)
        ends = found.get(feed.topic, {})
    ledger, oldest = delta.open_table(feed, "messages"), None
    landed = position.position_of(ledger) or {}
    if any(landed.get(partition, 0) != end for partition, end in ends.items()):
        ends = topics.end_offsets(feed)  # after `landed`, so that no lag is negative
        oldest = topics.oldest_timestamp(feed, landed, ends)
    count(ledger, counted)
    verdicts: Verdicts = sum(counted.values(), collections.Counter())
    return FeedState(feed.topic, ends, landed, oldest, verdicts, *last_batch(ledger))


def count(ledger: deltalake.DeltaTable | None, counted: dict[str, Verdicts]) -> None:
    """Updates {file: verdicts in it} to the files of the ledger."""
    files = {file["path"]: file for file in position.files_of(ledger)} if ledger else {}
    for gone in counted.keys() - files.keys():
        del counted[gone]
    to_read = files.keys() - counted.keys()
    for path in list(to_read):
        rows = files[path]["num_records"]
        if rows is not None and files[path].get("null_count.reason") == rows:
            counted[path] = collections.Counter({("accepted", ""): rows})  # only they have none
            to_read.remove(path)
    for fragment in position.fragments(ledger, to_read) if ledger else ():
        frame = delta.read(fragment, ["status", "reason"])
        words = pc.list_element(pc.split_pattern(frame["reason"], ":", max_splits=1), 0)
        groups = frame.set_column(1, "word", words).group_by(["status", "word"])
        found = groups.aggregate([([], "count_all")]).to_pylist()
        counted[position.path_of(fragment)] = collections.Counter(
            {(row["status"], row["word"] or ""): row["count_all"] for row in found}
        )


def last_batch(ledger: deltalake.DeltaTable | None) -> tuple[float | None, float | None]:
    """(when the last batch was committed, its duration); None for what is not known."""
    for commit in ledger.history(COMMITS_SEARCHED) if ledger else ():
        if commits.LANDING_SECONDS in commit:
            return commit["timestamp"] / 1000, float(commit[commits.LANDING_SECONDS])
    return None, None
