"""Kafka -> Spark -> HDFS: land every message since the last run, exactly once.

Run by: make land [SKIP_EXPIRED=1]
    scripts/lib/env.sh python scripts/land.py

A Structured Streaming query reads the new records, up to the topic's end as it is now, in batches:
1. Spark's workers validate each record and write Parquet files for all four tables.
2. The driver compares all records of the batch and corrects the verdicts on repeated messages.
3. The driver commits the files, in one Delta commit per table: options and questions, then
   attempts, last messages (the ledger).

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
import time

from pyspark.errors import StreamingQueryException
from pyspark.sql import functions as F

import batch
import config
import errors
import kafka_client
import knobs
import lake
import metrics
import rebuild
import spark_session
import table_files
import topics
import writing
from landing import Landing
from printable import printable
from topic_check import check_topic

# The driver keeps about 200 bytes per message of a batch, and an interrupted batch is repeated.
MESSAGES_A_BATCH = 100_000
# A batch is divided among tasks of at least this size: a worker's start costs as much time.
MESSAGES_A_TASK = 5_000


def main():
    begin = time.monotonic()
    with writing.feed_lock():
        if land(print_start, print_batch):
            print(f"landed in {time.monotonic() - begin:.1f} s")
        else:
            total = sum(topics.end_offsets().values())
            print(f"nothing new: all {total:,} records of topic {config.TOPIC} are landed already")
    try:
        metrics.write()
    except Exception as error:  # what is landed is landed
        errors.log_trace()
        print(f"the metrics could not be written: {printable(errors.cause(error))}")


def print_start(new, landed):
    print(f"{new:,} new records of topic {config.TOPIC}, to {lake.table_path('')}", flush=True)
    print(
        f"{'batch':>5}  {'partition: offsets':<28} {'accepted':>9} {'duplicate':>10} "
        f"{'rejected':>9} {'seconds':>8}",
        flush=True,
    )


def print_batch(landed):
    shown = ", ".join(
        f"{partition}: {first}-{last}" for partition, (first, last) in sorted(landed.spans.items())
    )
    print(
        f"{landed.number:>5}  {shown:<28} {landed.statuses['accepted']:>9,} "
        f"{landed.statuses['duplicate']:>10,} {landed.statuses['rejected']:>9,} "
        f"{landed.seconds:>8.1f}",
        flush=True,
    )


def land(start, report):
    """Lands the feed's topic, or raises a Failure. Safe to repeat after any failure.

    Calls start(number of new records, the committed position) before the first batch, and
    report(Batch) after each. Returns whether anything was new. The caller holds writing.feed_lock.
    """
    if lake.exists(lake.folder("_reprocess")):
        print(f"an interrupted make reprocess of feed {config.TOPIC} comes first", flush=True)
        rebuild.rebuild()
    tables = lake.tables_for_commits()
    lake.check_none_is_gone(tables)
    landed = lake.position_of(tables["messages"])
    topic_id, ends, expired = check_topic(landed, tables["messages"])
    lake.bring_up_to_date(tables)
    new = sum(
        end - max((landed or {}).get(partition, 0), expired.get(partition, (0, 0))[1])
        for partition, end in ends.items()
    )
    if landed is not None and new == 0 and not expired:
        return False
    if landed is None:  # a checkpoint without its ledger would skip the records before it
        lake.hdfs().delete(lake.folder("_checkpoint"), recursive=True)
    try:
        # A session takes seconds to start; meanwhile the tables are created.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            starting = pool.submit(spark_session.for_landing, "land")
            if None in tables.values():
                lake.create_tables(topic_id)
                tables = lake.tables_for_commits()
            landed = after_gaps(tables, landed or {}, expired)
            start(new, landed)
            spark = starting.result()
        stream(spark, tables, landed, ends, report)
        table_files.at_once(batch.compact, tables.values())
    except Exception as error:
        errors.log_trace()
        try:
            # Records may have expired meanwhile, or somebody deleted the topic.
            check_topic(lake.landed_offsets(), lake.open_table("messages"))
        except errors.Failure:
            raise
        except Exception:  # the servers do not answer: that is the cause of `error`, too
            pass
        raise errors.interrupted(
            "landing",
            error,
            spark_session.cause(error),
            "nothing is lost and nothing is doubled",
            f"make land{knobs.of_feed()} continues after the last committed batch",
        ) from None
    reached = lake.position_of(tables["messages"])
    short = {partition: end for partition, end in ends.items() if reached.get(partition, 0) < end}
    if short:
        raise errors.Failure(
            f"the ledger of feed {config.TOPIC} does not reach the topic's end",
            f"{short} were the ends, {reached} is landed: "
            "the checkpoint is ahead of the ledger, which somebody has set back",
            "drop the checkpoint, then landing continues after the ledger: "
            f"make shell{knobs.of_feed()}, then: "
            f"hadoop fs -rm -r {lake.table_path('_checkpoint')}; make land{knobs.of_feed()}",
        )
    return True


def after_gaps(tables, landed, expired):
    """The committed position after the expired records, which are noted with the ledger.

    Prepares for a query without a checkpoint, too: it starts at that position.
    """
    if expired:  # with its checkpoint the query would ask for the expired records
        lake.hdfs().delete(lake.folder("_checkpoint"), recursive=True)
    if query_id() is None and tables["options"].version() > 0:
        print("  there are tables but no checkpoint: continuing after the ledger's end", flush=True)
        lake.delete_uncommitted_rows(landed)
    if expired:
        lake.note_expired(expired)
        landed = landed | {partition: end for partition, (_, end) in expired.items()}
        for partition, (first, end) in expired.items():
            print(
                f"  skipped, since they are gone: partition {partition}, "
                f"offsets {first} to {end - 1}, {end - first:,} records",
                flush=True,
            )
    for delta in tables.values():
        delta.update_incremental()
    return landed


def stream(spark, tables, landed, ends, report):
    """Lands the records from `landed` to before `ends`. Calls report(Batch) after each batch."""
    new = sum(end - landed.get(partition, 0) for partition, end in ends.items())
    # Batches of even size. Spark divides a batch among the partitions and rounds each share, so
    # one record more per partition avoids a tiny last batch. A single batch takes what has arrived
    # since `ends` was read, too.
    batches = math.ceil(new / MESSAGES_A_BATCH)
    batch_size = math.ceil(new / batches) + len(ends) if batches > 1 else MESSAGES_A_BATCH
    # With minPartitions all cores read a topic of one partition, too.
    tasks = max(1, min(spark.sparkContext.defaultParallelism, new // MESSAGES_A_TASK))
    # Spark uses startingOffsets only for a new checkpoint. -2 means the earliest offset.
    start_at = {str(partition): landed.get(partition, -2) for partition in ends}
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", config.KAFKA)
        .options(**kafka_client.for_spark())
        .option("kafka.isolation.level", "read_committed")  # no records of aborted transactions
        .option("subscribe", config.TOPIC)
        .option("startingOffsets", json.dumps({config.TOPIC: start_at}))
        .option("maxOffsetsPerTrigger", batch_size)
        .option("minPartitions", tasks)
        .load()
        .select(
            F.col("partition").alias("kafka_partition"),
            F.col("offset").alias("kafka_offset"),
            F.col("timestamp").alias("kafka_timestamp"),
            "key",
            "value",
        )
    )
    if tasks == 1:  # one file per table, whatever the number of partitions
        records = records.coalesce(1)
    failures, landing = [], None

    def batch_function(records_of_batch, batch_id):
        nonlocal landing
        try:
            # The query's id is known only now: Spark writes it into a new checkpoint.
            landing = landing or Landing(query_id(), tables)
            if landed_batch := landing.land(records_of_batch, batch_id):
                report(landed_batch)
        except Exception as error:
            failures.append(error)
            raise

    query = (
        records.writeStream.option("checkpointLocation", lake.table_path("_checkpoint"))
        .trigger(availableNow=True)  # up to the topic's end as it is now, then stop
        .foreachBatch(batch_function)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException as error:
        if failures:  # what batch_function raised; Spark's exception has only its text
            raise failures[-1] from error
        raise
    finally:
        # Py4J holds batch_function until the JVM collects the query, in make follow perhaps an hour
        # later. This releases the open tables to which it refers.
        landing = tables = None


def query_id() -> str | None:
    """The id that Spark gave the query in its checkpoint; None when there is no checkpoint."""
    try:
        with lake.hdfs().read(lake.folder("_checkpoint/metadata")) as file:
            return json.loads(file.read())["id"]
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    errors.run(main)
