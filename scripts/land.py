"""Kafka -> Spark -> HDFS: every message since the last run, up to the topic's end as it is now, exactly once.

Run by: make land [SKIP_EXPIRED=1]
    scripts/env.sh python scripts/land.py

One Structured Streaming query works off what is new in bounded batches of even size. Of a batch, Spark's workers decode
each record once and write the files of all four tables; the driver resolves the repeats and makes four Delta commits (see
batch.py), each marked with the query's id and the batch's number, so that a batch which is repeated after a kill commits
only what is not there yet. Child rows are committed before their attempt, the ledger last: its highest offsets are the
committed position.
"""
import concurrent.futures
import functools
import json
import math
import os
import threading
import time

import deltalake
import pyarrow as pa
from deltalake import Transaction
from pyspark.errors import StreamingQueryException
from pyspark.sql import functions as F

import batch
import feed
import kafka_client
import message
import rows
import tables
import verdict

# At most so many: what the driver keeps of a batch is about 200 bytes a message, and a batch that is interrupted is done again.
MESSAGES_A_BATCH = 100_000
MESSAGES_A_TASK = 5_000  # at least, where a batch is shared out
# Grace period before child rows without an attempt are deleted: a reader who has opened `attempts` has opened its children by then.
READERS_PAUSE_S = 10
FOLDER = feed.table_path("")[:-1].removeprefix(feed.HDFS)
CHECKPOINT = feed.table_path("_checkpoint")


def check_topic(landed):
    """The landed ledger and the topic must belong together; otherwise landing would skip or mix in silence.
    Returns the topic's id, its {partition: end}, and {partition: (from, to)} of the offsets that are gone before they were landed."""
    topic_id = feed.topic_id()
    if topic_id is None:
        raise feed.Failure(f"there is no topic {feed.TOPIC} on {feed.KAFKA}", "nothing was published yet, or TOPIC is misspelt", f"make publish TOPIC={feed.TOPIC}")
    ends, begins = feed.end_offsets(), feed.beginning_offsets()
    if landed is not None:
        new_topic = "\n       ".join([
            f"to keep both: publish to another topic (make all TOPIC={feed.TOPIC}_2)",
            f"to begin this feed anew, its tables moved aside: make shell, then: hadoop fs -mv {feed.table_path('')[:-1]} {feed.table_path('')[:-1]}_old; then: make land"])
        known_id = feed.open_table("messages").metadata().configuration.get(feed.TOPIC_ID)
        if known_id != topic_id:
            raise feed.Failure(f"topic {feed.TOPIC} is not the one that was landed: it was deleted and made anew",
                               f"its id is {topic_id}, the ledger belongs to {known_id}", new_topic)
        for partition, offset in landed.items():
            if ends.get(partition, 0) < offset:
                raise feed.Failure(f"topic {feed.TOPIC} ends before what is landed", f"partition {partition} ends at {ends.get(partition, 0)}, landed is up to {offset}: records were lost in Kafka", new_topic)
    expired = {partition: ((landed or {}).get(partition, 0), begin) for partition, begin in begins.items() if begin > (landed or {}).get(partition, 0)}
    if expired and os.environ.get("SKIP_EXPIRED") != "1":
        spans = "; ".join(f"partition {partition}: offsets {first} to {end - 1}, {end - first:,} records" for partition, (first, end) in expired.items())
        knob = "" if feed.TOPIC == "assessments" else f"TOPIC={feed.TOPIC} "
        raise feed.Failure(f"records of topic {feed.TOPIC} are gone before they were landed", f"{spans}: deleted by retention, or by hand; nothing was landed now",
                           f"if their publisher can send them again, have that done; then, to go on without them: make land {knob}SKIP_EXPIRED=1 (the loss is noted, and make verify names it)")
    return topic_id, ends, expired


def create_tables(topic_id):
    """Creates the tables that are missing, empty."""
    def create(name):
        if feed.open_table(name) is None:
            deltalake.DeltaTable.create(feed.table_path(name), tables.delta_schema(name), mode="ignore",
                                        configuration={feed.TOPIC_ID: topic_id}, raise_if_key_not_exists=False)
    batch.at_once(create, message.TABLES)


class Landing:
    """The tables, open, and what the batches of this run have accepted so far."""

    def __init__(self, query_id):
        self.query_id = query_id
        self.tables = {table: feed.open_table(table) for table in message.TABLES}
        self.accepted = {}  # of the batch before: most repeats follow soon, and the workers can leave them out

    def land(self, records, batch_id):
        begin = time.monotonic()
        parts = batch.write_files(records, feed.HDFS, FOLDER, self.accepted)
        judged = pa.concat_tables(judged for _, judged in parts)
        if not len(judged):
            return
        spans = {row["kafka_partition"]: (row["kafka_offset_min"], row["kafka_offset_max"]) for row in
                 judged.group_by("kafka_partition").aggregate([("kafka_offset", "min"), ("kafka_offset", "max")]).to_pylist()}
        keen_ids = judged.filter(judged["valid"])["keen_id"].unique().to_pylist()
        earlier = batch.accepted_before(self.tables["attempts"], keen_ids, {partition: first for partition, (first, _) in spans.items()})
        status, reason = batch.resolve(judged, earlier)
        files = batch.correct_files(feed.HDFS, FOLDER, parts, status, reason)

        def commit(table):
            committed = self.tables[table].transaction_version(self.query_id)
            if committed is None or committed < batch_id:
                batch.commit(table, self.tables[table], files, transactions=[Transaction(self.query_id, batch_id)])
        batch.at_once(commit, ["options", "questions"])
        commit("attempts")
        commit("messages")
        self.accepted = {keen_id: (content_hash, f"{partition}-{offset}") for keen_id, content_hash, partition, offset, its_status in zip(
            *(judged[name].to_pylist() for name in ("keen_id", "content_hash", "kafka_partition", "kafka_offset")), status, strict=True) if its_status == "accepted"}
        shown = ", ".join(f"{partition}: {first}-{last}" for partition, (first, last) in sorted(spans.items()))
        print(f"{batch_id:>5}  {shown:<28} {status.count('accepted'):>9,} {status.count('duplicate'):>10,} {status.count('rejected'):>9,} {time.monotonic() - begin:>8.1f}", flush=True)


def session(name="land", messages=0):
    """tables.session, prepared for batch.write_files. (0 messages: the JVM only hands records on, however many.)"""
    spark = tables.session(name, messages)
    prepare_workers(spark)
    return spark


@functools.cache  # make all has done it already when it comes to landing
def prepare_workers(spark):
    """Sends Spark's workers their modules. The first worker starts in the background: its start takes as long as a few
    thousand messages."""
    for module in (message, verdict, rows, batch):
        spark.sparkContext.addPyFile(module.__file__)
    threading.Thread(target=spark.range(0, 1, 1, 1).mapInArrow(batch.nothing, batch.RESULT).collect, daemon=True).start()


def query_id_of(checkpoint):
    """The id that Spark gave the query when the checkpoint was new, or None when there is no checkpoint."""
    try:
        with feed.hdfs().read(checkpoint.removeprefix(feed.HDFS) + "/metadata") as file:
            return json.loads(file.read())["id"]
    except FileNotFoundError:
        return None


def forget_unfinished(landed):
    """Without a checkpoint nobody repeats a batch that was interrupted: its rows go, and its records are landed as new ones.
    Attempts first, so that no attempt is ever without its children."""
    landed_ones = " OR ".join(f"(kafka_partition = {partition} AND kafka_offset < {end})" for partition, end in landed.items())
    feed.open_table("attempts").delete(f"NOT ({landed_ones or 'false'})")
    sweep()


def wait_for_readers():
    print(f"  {READERS_PAUSE_S} s for readers who have opened attempts that are deleted now, and open their children next", flush=True)
    time.sleep(READERS_PAUSE_S)


def sweep():
    """Deletes child rows that have no attempt, if there are any, after a pause: they may have had one a moment ago."""
    keen_ids = batch.read(feed.open_table("attempts").to_pyarrow_dataset(), ["keen_id"])["keen_id"].combine_chunks()
    orphans = {}
    for child in ("questions", "options"):
        found = {keen_id for rows in batch.rows_without_attempt(feed.open_table(child), keen_ids) for keen_id in rows["keen_id"].unique().to_pylist()}
        if found:
            orphans[child] = sorted(found)
    if orphans:
        wait_for_readers()
    for child, found in orphans.items():
        batch.delete_attempts(feed.open_table(child), found)


def main():
    with feed.the_only_one():
        land()


def land():
    begin = time.monotonic()
    if feed.exists(feed.table_path("_reprocess")):
        import reprocess
        print(f"an interrupted make reprocess of feed {feed.TOPIC} comes first", flush=True)
        reprocess.rebuild()
    tables.check_none_is_gone()
    landed = feed.landed_offsets()
    topic_id, ends, expired = check_topic(landed)
    tables.add_columns()
    new = sum(end - max((landed or {}).get(partition, 0), expired.get(partition, (0, 0))[1]) for partition, end in ends.items())
    if landed is not None and new == 0 and not expired:
        print(f"nothing new: all {sum(ends.values()):,} records of topic {feed.TOPIC} are landed already")
        return
    print(f"{new:,} new records of topic {feed.TOPIC}, to {feed.table_path('')}", flush=True)
    if landed is None:  # a checkpoint without its ledger would skip what it counted
        feed.hdfs().delete(CHECKPOINT.removeprefix(feed.HDFS), recursive=True)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            starting = pool.submit(session)
            create_tables(topic_id)
        stream(starting.result(), landed or {}, ends, expired)
    except Exception as error:  # safe to retry after any of them: every write is idempotent
        feed.log_trace()
        try:
            check_topic(feed.landed_offsets())  # records may have gone while they were waited for
        except feed.Failure:
            raise
        except Exception:  # then the servers are down, and that was the cause
            pass
        raise feed.interrupted("landing", error, tables.cause(error), "nothing is lost and nothing is doubled", "make land continues after the last committed batch") from None
    reached = feed.landed_offsets()
    short = {partition: end for partition, end in ends.items() if reached.get(partition, 0) < end}
    if short:
        raise feed.Failure(f"the ledger of feed {feed.TOPIC} does not reach the topic's end", f"{short} were the ends, {reached} is landed: the checkpoint is ahead of the ledger, which somebody has set back",
                           f"drop the checkpoint, then landing goes on behind the ledger: make shell, then: hadoop fs -rm -r {CHECKPOINT}; make land")
    print(f"landed in {time.monotonic() - begin:.1f} s")


def stream(spark, landed, ends, expired):
    """Lands what lies behind `landed`, up to the topic's end as it is now."""
    if expired:  # the checkpoint knows only to go on where it was
        feed.hdfs().delete(CHECKPOINT.removeprefix(feed.HDFS), recursive=True)
    if query_id_of(CHECKPOINT) is None and feed.open_table("options").version() > 0:
        print("  there are tables but no checkpoint: going on behind the ledger's end", flush=True)
        forget_unfinished(landed)
    if expired:
        feed.note_expired(expired)
        landed = landed | {partition: end for partition, (_, end) in expired.items()}
        for partition, (first, end) in expired.items():
            print(f"  skipped, since they are gone: partition {partition}, offsets {first} to {end - 1}, {end - first:,} records", flush=True)

    new = sum(end - landed.get(partition, 0) for partition, end in ends.items())
    # Batches of even size. Spark shares a batch's number out among the partitions, rounded: one more for each of them.
    batch_size = math.ceil(new / max(1, math.ceil(new / MESSAGES_A_BATCH))) + len(ends)
    # A topic of one partition is read by all cores, too; but a worker's start takes as long as some thousand messages.
    tasks = max(1, min(spark.sparkContext.defaultParallelism, new // MESSAGES_A_TASK))
    # Counts only when the checkpoint is new; -2 is Spark's word for the earliest.
    start_at = json.dumps({feed.TOPIC: {str(partition): landed.get(partition, -2) for partition in ends}})
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", feed.KAFKA)
        .options(**kafka_client.for_spark())
        .option("kafka.isolation.level", "read_committed")  # what an aborted transaction sent was never published
        .option("subscribe", feed.TOPIC)
        .option("startingOffsets", start_at)
        .option("maxOffsetsPerTrigger", batch_size)
        .option("minPartitions", tasks)
        .load()
        .select(F.col("partition").alias("kafka_partition"), F.col("offset").alias("kafka_offset"),
                F.col("timestamp").alias("kafka_timestamp"), "key", "value")
    )
    if tasks == 1:  # one file a table, whatever the number of partitions
        records = records.coalesce(1)
    print(f"{'batch':>5}  {'partition: offsets':<28} {'accepted':>9} {'duplicate':>10} {'rejected':>9} {'seconds':>8}", flush=True)
    failures, landing = [], None

    def batch_function(records_of_batch, batch_id):
        nonlocal landing
        try:
            landing = landing or Landing(query_id_of(CHECKPOINT))
            landing.land(records_of_batch, batch_id)
        except Exception as error:
            failures.append(error)
            raise

    query = (
        records.writeStream
        .option("checkpointLocation", CHECKPOINT)
        .trigger(availableNow=True)  # to the end as it is now, then stop
        .foreachBatch(batch_function)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException as error:  # of what was raised here in Python it knows no more than the text of a trace
        raise failures[-1] if failures else error
    for table in message.TABLES:
        batch.compact(feed.open_table(table))


if __name__ == "__main__":
    with feed.report_failures():
        main()
