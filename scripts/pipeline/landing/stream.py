"""Lands a feed: a Structured Streaming query reads the new records of its topic, in batches.

Why exactly once, even after a crash:
- Spark records the offsets of a batch in its checkpoint before the batch starts, and repeats an
  unfinished batch with the same number and the same offsets.
- Files that no commit names belong to no table. The files of an unfinished batch do no harm.
- Each commit carries the query's id and the batch's number. A repeated batch skips the tables that
  have such a commit already.
- The ledger is committed last. Its highest offsets are the committed position.
"""

import concurrent.futures
import json
import math
from collections.abc import Callable

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipeline import script
from pipeline.errors import Failure
from pipeline.kafka import security
from pipeline.landing import rebuild
from pipeline.landing.batch import RECORD, Landing, Report, query_id, session_for_landing
from pipeline.landing.checks import Topic, check_topic
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed
from pipeline.spark import session
from pipeline.tables import commits, delta, hdfs, position
from pipeline.tables.position import Position

# The driver keeps about 200 bytes per message of a batch, and an interrupted batch is repeated.
MESSAGES_A_BATCH = 100_000
# A batch is divided among tasks of at least this size: a worker's start costs as much time.
MESSAGES_A_TASK = 5_000

Start = Callable[[int, Position], object]  # called with (new records, the committed position)


def land(feed: Feed, start: Start, report: Report) -> bool:
    """Lands what is new in the feed's topic. Safe to repeat after any Failure.

    Returns whether anything was new. The caller holds the feed's lock.
    """
    if hdfs.exists(feed.hdfs, feed.folder(rebuild.MARK)):
        print(f"an interrupted make reprocess of feed {feed.topic} comes first", flush=True)
        rebuild.rebuild(feed)
    tables = delta.tables_for_commits(feed)
    delta.check_none_is_gone(feed, tables)
    ledger = tables.get("messages")
    landed = position.position_of(ledger)
    topic = check_topic(feed, landed, ledger)
    delta.bring_up_to_date(feed, tables)
    if landed is not None and topic.new(landed) == 0 and not topic.expired:
        return False
    try:
        # A checkpoint without its ledger would skip the records before it. With its checkpoint the
        # query would ask for the expired records.
        if landed is None or topic.expired:
            hdfs.client(feed.hdfs).delete(feed.folder("_checkpoint"), recursive=True)
        # A session takes seconds to start; meanwhile the tables are created.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            starting = pool.submit(session_for_landing, feed.settings, "land")
            if len(tables) < len(TABLES):
                delta.create_tables(feed, topic.id)
                tables = delta.tables_for_commits(feed)
            landed = after_gaps(feed, tables, landed or {}, topic)
            start(topic.new(landed), landed)
            spark = starting.result()
        stream(spark, Landing(feed, tables, report), landed, topic.ends)
        commits.compact_tables(feed, tables)
    except Exception as error:
        raise interruption(feed, error) from None
    check_reached(feed, tables, topic.ends)
    return True


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
        check_topic(feed, position.landed_offsets(feed), delta.open_table(feed, "messages"))
    except Failure as cause:
        return cause
    except Exception:  # the servers do not answer: that is the cause of `error`, too
        pass
    return interrupted


def check_reached(feed: Feed, tables: delta.Tables, ends: Position) -> None:
    """Failure when the ledger ends before the topic, although the query has landed all of it."""
    reached = position.position_of(tables["messages"]) or {}
    if short := {at: end for at, end in ends.items() if reached.get(at, 0) < end}:
        raise Failure(
            f"the ledger of feed {feed.topic} does not reach the topic's end",
            f"{short} were the ends, {reached} is landed: "
            "the checkpoint is ahead of the ledger, which somebody has set back",
            "drop the checkpoint, then landing continues after the ledger: "
            f"{feed.make('shell')}, then: "
            f"hadoop fs -rm -r {feed.path('_checkpoint')}; {feed.make('land')}",
        )


def after_gaps(feed: Feed, tables: delta.Tables, landed: Position, topic: Topic) -> Position:
    """The committed position after the expired records, which are noted with the ledger.

    Prepares for a query without a checkpoint, too: it starts at that position.
    """
    if query_id(feed) is None and tables["options"].version() > 0:
        print("  there are tables but no checkpoint: continuing after the ledger's end", flush=True)
        commits.delete_uncommitted_rows(feed, landed)
    if topic.expired:
        position.note_expired(feed, topic.expired)
        landed = landed | {partition: end for partition, (_, end) in topic.expired.items()}
        for partition, (first, end) in topic.expired.items():
            print(
                f"  skipped, since they are gone: partition {partition}, "
                f"offsets {first} to {end - 1}, {end - first:,} records",
                flush=True,
            )
    for table in tables.values():
        table.update_incremental()
    return landed


def stream(spark: SparkSession, landing: Landing, landed: Position, ends: Position) -> None:
    """Lands the records from `landed` to before `ends`, in batches of even size."""
    feed, new = landing.feed, sum(end - landed.get(at, 0) for at, end in ends.items())
    # Spark rounds each partition's share of a batch: one record more avoids a tiny last batch. A
    # single batch takes what has arrived since `ends` was read, too.
    batches = math.ceil(new / MESSAGES_A_BATCH)
    batch_size = math.ceil(new / batches) + len(ends) if batches > 1 else MESSAGES_A_BATCH
    # With minPartitions all cores read a topic of one partition, too.
    tasks = max(1, min(spark.sparkContext.defaultParallelism, new // MESSAGES_A_TASK))
    # Spark uses startingOffsets only for a new checkpoint. -2 means the earliest offset.
    start_at = {str(partition): landed.get(partition, -2) for partition in ends}
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", feed.settings.kafka)
        .options(**security.for_spark(feed.settings))
        .option("kafka.isolation.level", "read_committed")  # no records of aborted transactions
        .option("subscribe", feed.topic)
        .option("startingOffsets", json.dumps({feed.topic: start_at}))
        .option("maxOffsetsPerTrigger", batch_size)
        .option("minPartitions", tasks)
        .load()
        .select(*(F.col(name.removeprefix("kafka_")).alias(name) for name in RECORD))
    )
    if tasks == 1:  # one file per table, whatever the number of partitions
        records = records.coalesce(1)
    query = (
        records.writeStream.option("checkpointLocation", feed.path("_checkpoint"))
        .trigger(availableNow=True)  # up to the topic's end as it is now, then stop
        .foreachBatch(landing.land)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException as error:
        raise landing.failure or error from error
    finally:
        landing.close()
