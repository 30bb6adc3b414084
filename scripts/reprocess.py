"""The three tables anew from the ledger, after a rule changed: every message is judged again, without Kafka.

Run by: make reprocess
    scripts/env.sh python scripts/reprocess.py

What was accepted stays the accepted one of its keen_id as long as it is valid. Readers go on meanwhile. All is worked
out beside the tables first. Attempts whose accepted message is another one now go from `attempts`, until their children
are exchanged. Then each table is replaced by one commit: the children, which still hold the rows of attempts that the new
rules drop, then `attempts`, then the ledger's verdicts. So whoever opens `attempts` first, the old or the new, finds every
child. Last, the dropped children go. A run that was cut off is begun again by the next make reprocess or make land.
"""
import time
import uuid

from pyspark.sql import functions as F

import feed
import land
import tables
import transform

# What is worked out lies here; as long as this folder is there, a run was cut off.
STAGING = feed.table_path("_reprocess")
PLACE = ["kafka_partition", "kafka_offset"]
VERDICT = ["keen_id", "status", "reason", "content_hash"]


def staged(frame, name):
    """Written down and read back: neither memory nor a second reckoning, however large the feed."""
    frame.write.mode("overwrite").parquet(f"{STAGING}/{name}")
    return frame.sparkSession.read.parquet(f"{STAGING}/{name}")


def judge(ledger, attempts):
    """The ledger's records by the rules of today -> what transform's row functions take, without the records' bytes."""
    records = ledger.select(tables.TABLES["messages"].fieldNames()[:5])
    narrow = [*PLACE, "kafka_timestamp", "message", "keen_id", "content_hash", "reason", "is_plain"]
    nonce = uuid.uuid4().hex
    read = staged(transform.read_messages(records, nonce).select(narrow), "read")
    if not read.where(~F.col("is_plain")).isEmpty():
        odd = transform.examine_closely(transform.read_messages(records, nonce).where(~F.col("is_plain"))).select(narrow)
        read = read.where("is_plain").unionByName(staged(odd, "odd"))

    # `attempts` says what is accepted; the ledger, where that table is damaged. (The two differ after a run that was cut off.)
    accepted = attempts.select("keen_id", *PLACE, F.lit(0).alias("rank")).unionByName(ledger.where("status = 'accepted'").select("keen_id", *PLACE, F.lit(1).alias("rank")))
    stays = (
        read.where(F.col("reason").isNull())
        .select("keen_id", *PLACE, "content_hash")
        .join(accepted, ["keen_id", *PLACE])
        .groupBy("keen_id")
        .agg(F.min_by(F.struct(*PLACE, "content_hash"), F.struct("rank", *PLACE)).alias("its"))
        .select("keen_id", "its.*")
    )
    others = staged(transform.not_accepted(read, stays), "others")
    return staged(transform.with_status(read, others), "judged")


def overwrite(frame, table):
    frame.write.format("delta").mode("overwrite").save(feed.table_path(table))


def rebuild():
    """All of the above; says what changed."""
    delta = feed.open_table("messages")
    if delta is None:
        raise feed.Failure(f"there is no ledger of feed {feed.TOPIC} to rebuild from", f"looked in {feed.table_path('messages')}", f"land the feed first: make land TOPIC={feed.TOPIC}")
    topic_id, messages = delta.metadata().configuration.get(feed.TOPIC_ID), delta.count()
    begin = time.monotonic()
    print(f"{messages:,} messages of the ledger of feed {feed.TOPIC}, judged again; readers find the old version until it is done", flush=True)
    feed.hdfs().mkdirs(STAGING.removeprefix(feed.HDFS))  # and stays, with what a run that was cut off left in it: the next must know of that
    land.create_tables(topic_id)  # those that somebody removed
    spark = tables.session("reprocess", messages)
    land.ship_verdict(spark)

    def table(name, **options):
        return spark.read.format("delta").options(**options).load(feed.table_path(name))

    ledger = table("messages", versionAsOf=delta.version())
    judged = judge(ledger, table("attempts"))
    changes = staged(judged.select(*PLACE, *VERDICT).alias("new").join(ledger.select(*PLACE, *(F.col(name).alias(f"old_{name}") for name in VERDICT)), PLACE)
                     .where(land.any_of([~F.col(name).eqNullSafe(F.col(f"old_{name}")) for name in VERDICT])), "changes")
    print(f"  judged        {time.monotonic() - begin:>8.1f} s", flush=True)

    accepted = judged.where("status = 'accepted'").select("keen_id", *(F.col(name).alias(f"new_{name}") for name in (*PLACE, "content_hash")))
    exchanged = staged(table("attempts").join(accepted, "keen_id").where(land.any_of([~F.col(name).eqNullSafe(F.col(f"new_{name}")) for name in (*PLACE, "content_hash")])).select("keen_id"), "exchanged")
    if not exchanged.isEmpty():
        land.tables_of(spark, "attempts").alias("old").merge(exchanged.alias("other"), "old.keen_id = other.keen_id").whenMatchedDelete().execute()
        land.wait_for_readers()
    rows_of = {"options": transform.option_rows, "questions": transform.question_rows, "attempts": transform.attempt_rows}
    for name, rows in rows_of.items():
        new = rows(judged)
        if name != "attempts":
            dropped = table(name).join(accepted, "keen_id", "left_anti")
            new = new.unionByName(dropped.select(new.columns))
        overwrite(new, name)
        print(f"  {name:<12}  {time.monotonic() - begin:>8.1f} s", flush=True)
    if not changes.isEmpty():
        (land.tables_of(spark, "messages").alias("old").merge(changes.alias("new"), " AND ".join(f"old.{name} = new.{name}" for name in PLACE))
         .whenMatchedUpdate(set={name: f"new.{name}" for name in VERDICT}).execute())
    print(f"  messages      {time.monotonic() - begin:>8.1f} s", flush=True)
    # A landing that was cut off left rows beyond the ledger's end, judged by the old rules. They are gone from attempts
    # now; without its checkpoint the next landing takes their records as new ones.
    feed.hdfs().delete(land.CHECKPOINT.removeprefix(feed.HDFS), recursive=True)
    land.sweep(spark)

    for row in changes.groupBy("old_status", F.split("old_reason", ":")[0].alias("old"), "status", F.split("reason", ":")[0].alias("new")).count().sort("old_status", "status", "old", "new").collect():
        was, now = (" ".join(filter(None, pair)) for pair in ((row.old_status, row.old), (row.status, row.new)))
        print(f"  {row['count']:>10,} {'changed in their detail' if was == now else 'were'} {was}{'' if was == now else f', are {now}'}")
    if changes.isEmpty():
        print("  every verdict is the same as before")
    feed.hdfs().delete(STAGING.removeprefix(feed.HDFS), recursive=True)
    print(f"rebuilt in {time.monotonic() - begin:.1f} s: {feed.open_table('attempts').count():,} attempts")


def main():
    try:
        with feed.the_only_one():
            rebuild()
    except feed.Failure:
        raise
    except Exception as error:
        feed.log_trace()
        raise feed.Failure(f"reprocessing was cut off: {tables.cause(error)}", f"no attempt lacks a child; the traces: {feed.log_path()}, {feed.RUN_DIR}/logs/spark.log",
                           "make reprocess starts what is down, and does it again; should it say the same again: make status, and look into the logs that it names") from None


if __name__ == "__main__":
    with feed.report_failures():
        main()
