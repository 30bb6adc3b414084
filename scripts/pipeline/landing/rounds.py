"""Lands feeds: reads the new records of their topics in batches, and commits each to its tables.

A round lands what is new of any number of feeds, in one Spark session. Each batch is one Spark job
over the records between given offsets.

Why exactly once, even after a crash:
- The ledger is committed last. Its highest offsets are the committed position, where the next
  landing starts.
- Files that no commit names belong to no table. The files of an unfinished batch do no harm.
- Each commit carries the batch's end offsets. Where a table is ahead of the ledger, a batch was
  interrupted: the next landing repeats it with the same offsets, and skips the tables that have it.
  Where the topic may have lost some of the records, it deletes that batch's rows instead.
"""

import concurrent.futures
import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline import errors, script
from pipeline.errors import Failure
from pipeline.kafka import security, topics
from pipeline.kafka.topics import Topic
from pipeline.landing import rebuild
from pipeline.landing.batch import RECORD, Batch, Share, session_for_landing, write_files
from pipeline.landing.checks import check_topic, expired_records
from pipeline.landing.worker import Accepted, Part
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed, Settings
from pipeline.spark import session
from pipeline.tables import commits, delta, hdfs, position
from pipeline.tables.lock import feed_lock
from pipeline.tables.position import Position

# At the end of a batch all tasks wait for the slowest. The driver keeps about 150 bytes per message
# of a batch, and an interrupted batch is repeated.
MESSAGES_A_BATCH = 250_000
# While the workers write one batch, the driver commits the one before.
FEEDS_A_BATCH = 100
# A batch is divided among tasks of at least this size: a worker's start costs as much time.
MESSAGES_A_TASK = 5_000
# Each task reads so many ranges of offsets, so that two tasks share three partitions evenly.
RANGES_A_TASK = 4
# Where many feeds have small files, each round compacts for so long. The others take their turn.
COMPACTING_S = 10
OLD_CHECKPOINT = "_checkpoint"  # of older scripts, which landed by a streaming query

Item = TypeVar("Item", Feed, "Backlog", Share)
Pending = TypeVar("Pending", "Backlog", Share)
Result = TypeVar("Result")
Start = Callable[[list["Backlog"]], object]  # called before the first batch
Report = Callable[[list[Batch]], object]  # called after each batch, with that of each feed


class Backlog:
    """What is to be landed of a feed.

    topic: as it is now. landed: the committed position. interrupted: the ends of a batch that was
    begun before; it is repeated.
    """

    def __init__(self, feed: Feed, topic: Topic, tables: delta.Tables, landed: Position | None):
        self.feed, self.topic, self.tables = feed, topic, tables
        self.landed: Position = landed or {}
        self.interrupted: Position = {}

    def records(self) -> int:
        """How many records of the topic are neither landed nor expired."""
        return sum(
            end - max(self.landed.get(at, 0), self.topic.begins[at])
            for at, end in self.topic.ends.items()
        )

    def is_due(self) -> bool:
        """Whether there is anything to land, or a loss to note."""
        return self.records() > 0 or bool(expired_records(self.topic, self.landed))

    def make_ready(self) -> None:
        """Creates missing tables, notes expired records, looks after an interrupted batch."""
        feed = self.feed
        if len(self.tables) < len(TABLES):
            delta.create_tables(feed, self.topic.id)
            self.tables = delta.tables_for_commits(feed)
        for name in "options", "questions", "attempts":
            ends = position.marked(self.tables[name])
            if any(end > self.landed.get(at, 0) for at, end in ends.items()):
                self.interrupted = ends
        expired = expired_records(self.topic, self.landed)
        is_gone = any(end > self.topic.ends.get(at, 0) for at, end in self.interrupted.items())
        if hdfs.exists(feed.hdfs, feed.folder(OLD_CHECKPOINT)) or (
            # A batch can be repeated only where the topic still has the same records.
            self.interrupted and (expired or is_gone or topics.is_compacted(feed))
        ):
            client = hdfs.client(feed.hdfs)
            client.mkdirs(feed.folder(OLD_CHECKPOINT))  # so that it is repeated if interrupted
            commits.delete_uncommitted_rows(feed, self.tables, self.landed)
            client.delete(feed.folder(OLD_CHECKPOINT), recursive=True)
            self.interrupted = {}
        if expired:
            self.skip(expired)
        for table in self.tables.values():
            table.update_incremental()

    def skip(self, expired: dict[int, tuple[int, int]]) -> None:
        """Notes expired records with the ledger, and continues after them."""
        position.note_expired(self.feed, expired)
        self.landed |= {partition: end for partition, (_, end) in expired.items()}
        for partition, (first, end) in expired.items():
            print(
                f"  skipped, since they are gone: partition {partition}, "
                f"offsets {first} to {end - 1}, {end - first:,} records",
                flush=True,
            )

    def shares(self) -> Iterator[Share]:
        """Yields what the batches take of this feed, in order, in even sizes."""
        starts = {at: self.landed.get(at, 0) for at in self.topic.ends}
        if self.interrupted:
            # The topic may have more partitions by now.
            known = {at: starts.get(at, 0) for at in self.interrupted}
            yield Share(self.feed, self.tables, known, self.interrupted)
            starts = starts | self.interrupted
        left = {at: end - starts[at] for at, end in self.topic.ends.items()}
        batches = math.ceil(sum(left.values()) / MESSAGES_A_BATCH)
        for after in reversed(range(batches)):  # how many follow
            ends = {at: self.topic.ends[at] - left[at] * after // batches for at in left}
            yield Share(self.feed, self.tables, starts, ends)
            starts = ends


def batches_of(backlogs: Iterable[Backlog]) -> Iterator[list[Share]]:
    """Yields the shares of each batch: of several feeds where they are small."""
    batch: list[Share] = []
    for share in (share for backlog in backlogs for share in backlog.shares()):
        size = sum(each.records() for each in [*batch, share])
        is_full = size > MESSAGES_A_BATCH or len(batch) == FEEDS_A_BATCH
        if batch and (is_full or batch[-1].feed == share.feed):
            yield batch
            batch = []
        batch.append(share)
    if batch:
        yield batch


class Round:
    """One landing of what is new of some feeds.

    landed: {topic: feed} of those that had something new. troubles: {topic: why its feed was not
    landed}.
    """

    def __init__(self, settings: Settings, feeds: Sequence[Feed], report: Report):
        self.settings, self.feeds, self.report = settings, feeds, report
        self.is_of_many = bool(settings.topics)  # also where only one of them has something new
        self.landed: dict[str, Feed] = {}
        self.troubles: dict[str, Failure] = {}
        self.blocks_gone: list[Failure] = []

    def land(self, start: Start) -> bool:
        """Returns whether anything was new. Outage when a server that all feeds need is away."""
        known = topics.existing(self.settings, [feed.topic for feed in self.feeds])
        with contextlib.ExitStack() as locks:
            found = self.each(
                lambda feed: self.backlog_of(feed, known.get(feed.topic), locks), self.feeds
            )
            if self.is_of_many and len(self.blocks_gone) == len(self.feeds):
                raise self.blocks_gone[0] from None  # no feed can be read: a DataNode is down
            backlogs = [backlog for backlog in found if backlog]
            if not backlogs:
                return False
            # A session takes seconds to start; meanwhile the tables are created.
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                starting = pool.submit(session_for_landing, self.settings, "land")
                self.each(Backlog.make_ready, backlogs)
                if not (backlogs := self.without_trouble(backlogs)):
                    return False
                start(backlogs)
                try:
                    spark = starting.result()
                except Exception as error:
                    raise interruption(self.feeds[0], error) from None
            self.land_batches(spark, backlogs)
            self.each(check_reached, self.without_trouble(backlogs))
            self.compact(self.without_trouble(backlogs))
        return True

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """The results of work(item), side by side, without those that failed."""

        def attempt(item: Item) -> list[Result]:
            try:
                return [work(item)]
            except Exception as error:
                self.fail(item if isinstance(item, Feed) else item.feed, error)
                return []

        return [result for found in hdfs.at_once(attempt, items) for result in found]

    def fail(self, feed: Feed, error: Exception) -> None:
        """Keeps the feed's trouble. Outage where it concerns the others, too."""
        failure = error if isinstance(error, Failure) else interruption(feed, error)
        if self.is_of_many and concerns_all(error):
            raise failure from None
        if errors.kind_of(error) is errors.BlocksGone:
            self.blocks_gone.append(failure)
        self.troubles[feed.topic] = failure

    def without_trouble(self, items: Iterable[Pending]) -> list[Pending]:
        return [item for item in items if item.feed.topic not in self.troubles]

    def backlog_of(
        self, feed: Feed, topic: Topic | None, locks: contextlib.ExitStack
    ) -> Backlog | None:
        """What is new of a feed, which is locked then; None for nothing."""
        if self.is_of_many and (ledger := delta.open_table(feed, "messages")):
            landed = position.position_of(ledger)  # all that a quiet feed costs
            topic = check_topic(feed, topic, landed, ledger)
            if not Backlog(feed, topic, {}, landed).is_due():
                return None
        locks.enter_context(feed_lock(feed, waits=not self.is_of_many))
        if hdfs.exists(feed.hdfs, feed.folder(rebuild.MARK)):
            print(f"an interrupted make reprocess of feed {feed.topic} comes first", flush=True)
            rebuild.rebuild(feed)
        tables = delta.tables_for_commits(feed)
        delta.check_none_is_gone(feed, tables)
        ledger = tables.get("messages")
        landed = position.position_of(ledger)
        backlog = Backlog(feed, check_topic(feed, topic, landed, ledger), tables, landed)
        delta.bring_up_to_date(feed, tables)
        if landed is None or backlog.is_due():
            return backlog
        return None

    def land_batches(self, spark: SparkSession, backlogs: Sequence[Backlog]) -> None:
        """While the workers write the files of a batch, the driver commits the one before."""
        batches, begin = batches_of(backlogs), time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(1) as ahead:
            shares = next(batches, [])
            writing = ahead.submit(self.write, spark, shares, {})
            while shares:
                parts, next_shares = writing.result(), next(batches, [])
                if next_shares:
                    accepted = {
                        share.feed.topic: share.recently_accepted(parts.get(share.feed.topic, []))
                        for share in shares
                        if share.feed == next_shares[0].feed  # only the first one goes on
                    }
                    writing = ahead.submit(self.write, spark, next_shares, accepted)
                commit = functools.partial(self.commit, parts=parts, begin=begin)
                if landed := [*filter(None, self.each(commit, self.without_trouble(shares)))]:
                    self.report(landed)
                self.landed |= {batch.feed.topic: batch.feed for batch in landed}
                shares, begin = next_shares, time.monotonic()

    def commit(self, share: Share, parts: dict[str, list[Part]], begin: float) -> Batch | None:
        return share.commit(parts.get(share.feed.topic, []), begin)

    def write(
        self, spark: SparkSession, shares: Sequence[Share], accepted: dict[str, Accepted]
    ) -> dict[str, list[Part]]:
        """Writes the files of a batch. When that fails, its halves: one feed may be the cause."""
        shares = self.without_trouble(shares)
        try:
            return write_files(self.settings, records_of(spark, shares), accepted) if shares else {}
        except Exception as error:
            if len(shares) == 1 or concerns_all(error):
                self.fail(shares[0].feed, error)
                return {}
        half = len(shares) // 2
        parts = self.write(spark, shares[:half], accepted)
        return parts | self.write(spark, shares[half:], accepted)

    def compact(self, backlogs: Sequence[Backlog]) -> None:
        """Compacts the feeds with the most files; others wait for their turn in a later round."""
        until = time.monotonic() + COMPACTING_S

        def compact(backlog: Backlog) -> None:
            if not self.is_of_many or time.monotonic() < until:
                commits.compact_tables(backlog.feed, backlog.tables)

        def files(backlog: Backlog) -> int:
            return len(backlog.tables["messages"].file_uris())

        self.each(compact, sorted(backlogs, key=files, reverse=True))


def land(feed: Feed, start: Start, report: Report) -> bool:
    """Lands what is new in the feed's topic. Safe to repeat after any Failure.

    Returns whether anything was new.
    """
    landing = Round(feed.settings, [feed], report)
    was_new = landing.land(start)
    for trouble in landing.troubles.values():
        raise trouble
    return was_new


def concerns_all(error: Exception) -> bool:
    """Whether it would stop other feeds, too. Lost blocks are those of one feed."""
    is_outage = errors.is_outage(error) and errors.kind_of(error) is not errors.BlocksGone
    return is_outage or session.has_lost_jvm()


def interruption(feed: Feed, error: Exception) -> Failure:
    """The Failure that says why a landing ended early."""
    interrupted = script.interrupted(
        "landing",
        session.jvm_ended(error) or error,
        "nothing is lost and nothing is doubled",
        f"{feed.make('land')} continues after the last committed batch",
        feed.settings,
    )
    try:
        # Records may have expired meanwhile, or somebody deleted the topic.
        ledger = delta.open_table(feed, "messages")
        found = topics.existing(feed.settings, [feed.topic], topics.AFTER_TROUBLE_S)
        check_topic(feed, found.get(feed.topic), position.position_of(ledger), ledger)
    except Failure as cause:
        return cause
    except Exception:  # the servers do not answer: that is the cause of `error`, too
        pass
    return interrupted


def check_reached(backlog: Backlog) -> None:
    """Failure when the ledger ends before the topic, although all of it was read."""
    feed, ends = backlog.feed, backlog.topic.ends
    reached = position.position_of(backlog.tables["messages"]) or {}
    if short := {at: end for at, end in ends.items() if reached.get(at, 0) < end}:
        raise Failure(
            f"the ledger of feed {feed.topic} does not reach the topic's end",
            f"{short} were the ends, {reached} is landed: Kafka has deleted records meanwhile",
            f"land what is there now: {feed.make('land')}",
        )


def records_of(spark: SparkSession, shares: Sequence[Share]) -> DataFrame:
    """The records of the shares, in the columns RECORD, for as many tasks as pay."""
    tasks = sum(share.records() for share in shares) // MESSAGES_A_TASK
    tasks = max(1, min(spark.sparkContext.defaultParallelism, tasks))

    def offsets(which: str) -> str:
        return json.dumps({share.feed.topic: getattr(share, which) for share in shares})

    records = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", shares[0].feed.settings.kafka)
        .options(**security.for_spark(shares[0].feed.settings))
        # After the last record, Spark's consumer asks for more, and waits for the answer.
        .option("kafka.fetch.max.wait.ms", 10)
        .option("kafka.isolation.level", "read_committed")  # no records of aborted transactions
        .option("assign", json.dumps({share.feed.topic: [*share.ends] for share in shares}))
        .option("startingOffsets", offsets("starts"))
        .option("endingOffsets", offsets("ends"))
        .option("minPartitions", tasks * RANGES_A_TASK if tasks > 1 else 1)
        .load()
        .select("topic", *(F.col(name.removeprefix("kafka_")).alias(name) for name in RECORD[1:]))
    )
    # One file per table and task, whatever the number of partitions and feeds.
    return records.coalesce(tasks)
