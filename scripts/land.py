"""Kafka -> Spark -> HDFS: every message since the last run, up to the topic's end as it is now, exactly once.

Run by: make land [SKIP_EXPIRED=1]
    scripts/env.sh python scripts/land.py

One Structured Streaming query works off what is new in bounded batches. A batch writes four Delta tables, each write
marked with the query's id and the batch's number, so that a batch which is repeated after a kill writes only what is
not there yet. Children come before their attempt and the ledger last (see tables.TABLES): whoever finds an attempt
finds its children, and the ledger's end is where landing stands.
"""
import json
import os
import time
import uuid

import deltalake
from pyspark.errors import StreamingQueryException
from pyspark.sql import functions as F

import feed
import kafka_client
import tables
import transform

MESSAGES_A_BATCH = 50_000  # about 140 MB of JSON: fits the driver's 1 GB, and few enough commits
MAX_PREFIXES = 64
# Before rows go that a reader may be about to look for: whoever has opened `attempts` has opened its children by then.
READERS_PAUSE_S = 10
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
    """Makes the tables that are missing, empty. Done without Spark: the same commit, in a tenth of the time."""
    for name, schema in tables.TABLES.items():
        if feed.open_table(name) is None:
            deltalake.DeltaTable.create(feed.table_path(name), deltalake.Schema.from_json(schema.json()), mode="ignore",
                                        configuration={feed.TOPIC_ID: topic_id}, raise_if_key_not_exists=False)


def accepted_before(spark, starts, prefixes):
    """What was accepted before this batch, where its keen_id could be one of the batch's; None for an empty table.

    A batch that is repeated after a kill must not meet its own rows and call them duplicates: `before` means below
    the offset at which the batch starts. keen_ids begin with their time, so that prefixes name spans of time:
    files of other times are skipped by their statistics, and of the others only four columns are read.
    """
    if feed.open_table("attempts").version() == 0:
        return None
    own = [(F.col("kafka_partition") == partition) & (F.col("kafka_offset") >= start) for partition, start in starts.items()]
    earlier = spark.read.format("delta").load(feed.table_path("attempts"))
    if len(prefixes) <= MAX_PREFIXES:
        spans = [F.col("keen_id").startswith(prefix) for prefix in prefixes]
    else:
        spans = [F.col("keen_id").between(min(prefixes), max(prefixes)), F.col("keen_id").startswith(max(prefixes))]
    return earlier.where(~any_of(own)).where(any_of(spans)).select("keen_id", "content_hash", "kafka_partition", "kafka_offset")


def any_of(conditions):
    result = F.lit(False)
    for condition in conditions:
        result = result | condition
    return result


def ship_verdict(spark):
    """To Spark's Python workers, which import it."""
    spark.sparkContext.addPyFile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "verdict.py"))


def land_batch(records, batch_id, query_id):
    begin = time.monotonic()
    spark = records.sparkSession
    messages = transform.read_messages(records, uuid.uuid4().hex).persist()
    offsets = messages.groupBy("kafka_partition").agg(
        F.min("kafka_offset").alias("start"), F.max("kafka_offset").alias("last"), F.count("*").alias("records"),
        F.count_if(~F.col("is_plain")).alias("not_plain")).collect()
    if not offsets:
        return
    examined = None
    if any(row.not_plain for row in offsets):
        examined = transform.examine_closely(messages.where(~F.col("is_plain"))).persist()
        messages_read = messages.where("is_plain").unionByName(examined)
    else:
        messages_read = messages
    starts = {row.kafka_partition: row.start for row in offsets}
    prefixes = {row.prefix for row in messages_read.where(F.col("reason").isNull()).select(F.substring("keen_id", 1, 4).alias("prefix")).distinct().collect()}
    others = transform.not_accepted(messages_read, accepted_before(spark, starts, prefixes)).persist()
    judged = transform.with_status(messages_read, F.broadcast(others))

    rows_of = {"options": transform.option_rows, "questions": transform.question_rows,
               "attempts": transform.attempt_rows, "messages": transform.ledger_rows}
    for table in tables.TABLES:
        (rows_of[table](judged).write.format("delta").mode("append")
         # Delta skips a write whose number it has seen from this writer. The id is the checkpoint's: with a new
         # checkpoint the batches count from 0 again and must not be taken for the old ones.
         .option("txnAppId", query_id).option("txnVersion", batch_id)
         .save(feed.table_path(table)))

    total = sum(row.records for row in offsets)
    not_first = {row.status: row["count"] for row in others.groupBy("status").count().collect()}
    refused = examined.where(F.col("reason").isNotNull()).count() if examined else 0
    duplicate, rejected = not_first.get("duplicate", 0), not_first.get("rejected", 0) + refused
    spans = ", ".join(f"{row.kafka_partition}: {row.start}-{row.last}" for row in sorted(offsets))
    print(f"{batch_id:>5}  {spans:<28} {total - duplicate - rejected:>9,} {duplicate:>10,} {rejected:>9,} {time.monotonic() - begin:>8.1f}", flush=True)
    for frame in (messages, examined, others):
        if frame is not None:
            frame.unpersist()


def query_id_of(checkpoint):
    """The id that Spark gave the query when the checkpoint was new, or None when there is no checkpoint."""
    try:
        with feed.hdfs().read(checkpoint.removeprefix(feed.HDFS) + "/metadata") as file:
            return json.loads(file.read())["id"]
    except FileNotFoundError:
        return None


def forget_unfinished(spark, landed):
    """Without a checkpoint nobody repeats a batch that was cut off: its rows go, and its records are landed as new ones.
    Attempts first, so that no attempt is ever without its children."""
    tables_of(spark, "attempts").delete(~any_of([(F.col("kafka_partition") == partition) & (F.col("kafka_offset") < end) for partition, end in landed.items()]))
    sweep(spark)


def wait_for_readers():
    print(f"  {READERS_PAUSE_S} s for readers who opened attempts that are gone now, and are about to open their children", flush=True)
    time.sleep(READERS_PAUSE_S)


def sweep(spark):
    """Deletes the children that have no attempt, if there are any: they may have had one a moment ago."""
    attempts = tables_of(spark, "attempts").toDF()
    orphans = {child: tables_of(spark, child).toDF().select("keen_id").distinct().join(attempts, "keen_id", "left_anti") for child in ("questions", "options")}
    orphans = {child: frame for child, frame in orphans.items() if not frame.isEmpty()}
    if orphans:
        wait_for_readers()
    for child, frame in orphans.items():
        tables_of(spark, child).alias("child").merge(frame.alias("orphan"), "child.keen_id = orphan.keen_id").whenMatchedDelete().execute()


def tables_of(spark, table):
    from delta.tables import DeltaTable
    return DeltaTable.forPath(spark, feed.table_path(table))


def main():
    with feed.the_only_one():
        land()


def land():
    begin = time.monotonic()
    if feed.exists(feed.table_path("_reprocess")):
        import reprocess
        print(f"a make reprocess of feed {feed.TOPIC} was cut off: it comes first", flush=True)
        reprocess.rebuild()
    tables.check_none_is_gone()
    landed = feed.landed_offsets()
    topic_id, ends, expired = check_topic(landed)
    new = sum(end - max((landed or {}).get(partition, 0), expired.get(partition, (0, 0))[1]) for partition, end in ends.items())
    if landed is not None and new == 0 and not expired:
        print(f"nothing new: all {sum(ends.values()):,} records of topic {feed.TOPIC} are landed already")
        return
    print(f"{new:,} new records of topic {feed.TOPIC}, to {feed.table_path('')}", flush=True)
    if landed is None:  # a checkpoint without its ledger would skip what it counted
        feed.hdfs().delete(CHECKPOINT.removeprefix(feed.HDFS), recursive=True)
    create_tables(topic_id)
    spark = tables.session("land", new)
    try:
        stream(spark, landed or {}, ends, expired)
    except Exception as error:  # a server that went away, a full disk, a JVM that was killed: whatever it was, the tables stand it
        feed.log_trace()
        try:
            check_topic(feed.landed_offsets())  # records may have gone while they were waited for
        except feed.Failure:
            raise
        except Exception:  # then the servers are down, and that was the cause
            pass
        raise feed.Failure(f"landing was cut off: {tables.cause(error)}", f"nothing is lost and nothing doubled by that; the traces: {feed.log_path()}, {feed.RUN_DIR}/logs/spark.log",
                           "make land starts what is down, and goes on; should it say the same again: make status, and look into the logs that it names") from None
    reached = feed.landed_offsets()
    short = {partition: end for partition, end in ends.items() if reached.get(partition, 0) < end}
    if short:
        raise feed.Failure(f"the ledger of feed {feed.TOPIC} does not reach the topic's end", f"{short} were the ends, {reached} is landed: the checkpoint is ahead of the ledger, which somebody has set back",
                           f"drop the checkpoint, then landing goes on behind the ledger: make shell, then: hadoop fs -rm -r {CHECKPOINT}; make land")
    print(f"landed in {time.monotonic() - begin:.1f} s")


def stream(spark, landed, ends, expired):
    """Lands what lies behind `landed`, up to the topic's end as it is now."""
    ship_verdict(spark)
    if expired:  # the checkpoint knows only to go on where it was
        feed.hdfs().delete(CHECKPOINT.removeprefix(feed.HDFS), recursive=True)
    if query_id_of(CHECKPOINT) is None and feed.open_table("options").version() > 0:
        print("  there are tables but no checkpoint: going on behind the ledger's end", flush=True)
        forget_unfinished(spark, landed)
    if expired:
        feed.note_expired(expired)
        landed = landed | {partition: end for partition, (_, end) in expired.items()}
        for partition, (first, end) in expired.items():
            print(f"  skipped, since they are gone: partition {partition}, offsets {first} to {end - 1}, {end - first:,} records", flush=True)

    # Counts only when the checkpoint is new; -2 is Spark's word for the earliest.
    start_at = json.dumps({feed.TOPIC: {str(partition): landed.get(partition, -2) for partition in ends}})
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", feed.KAFKA)
        .options(**kafka_client.for_spark())
        .option("kafka.isolation.level", "read_committed")  # what an aborted transaction sent was never published
        .option("subscribe", feed.TOPIC)
        .option("startingOffsets", start_at)
        .option("maxOffsetsPerTrigger", MESSAGES_A_BATCH)
        .option("minPartitions", spark.sparkContext.defaultParallelism)  # a topic of one partition is read by all cores
        .load()
        .select(F.col("partition").alias("kafka_partition"), F.col("offset").alias("kafka_offset"),
                F.col("timestamp").alias("kafka_timestamp"), "key", "value")
    )
    print(f"{'batch':>5}  {'partition: offsets':<28} {'accepted':>9} {'duplicate':>10} {'rejected':>9} {'seconds':>8}", flush=True)
    failures = []

    def batch_function(batch, batch_id):
        try:
            land_batch(batch, batch_id, query_id_of(CHECKPOINT))
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


if __name__ == "__main__":
    with feed.report_failures():
        main()
