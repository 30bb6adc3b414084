"""The three tables anew from the ledger, after a rule changed: every message is judged again, without Kafka.

Run by: make reprocess
    scripts/env.sh python scripts/reprocess.py

What was accepted stays the accepted one of its keen_id as long as it is valid. Readers go on meanwhile: they find the old
version until the new one is there. All files are written first, as landing writes them (batch.py). Attempts whose accepted
message is another one now are deleted from `attempts`, until their children are exchanged. Then each table is replaced by
one commit: the children, which still hold the rows of attempts that the new rules drop, then `attempts`, then the ledger.
So a reader who opens `attempts` first, the old or the new, finds every child. Last, the dropped children are deleted. After
an interruption, the next make reprocess or make land does it again.

Memory: about 300 bytes a message of the feed.
"""
import collections
import time

import numpy
import pyarrow as pa
import pyarrow.compute

import batch
import feed
import land
import message
import tables

# As long as this folder is there, a reprocessing was begun and is not finished.
UNFINISHED = f"{land.FOLDER}/_reprocess"
VERDICT = ["keen_id", "status", "reason", "content_hash"]


def ranks_of(attempts, ledger):
    """{partition: (sorted offsets, rank of each)} of what is accepted now: 0 as `attempts` says; 1 as only the ledger does
    (where `attempts` is damaged; the two differ after an interruption, too)."""
    found = {}
    for rank, frame in ((1, ledger.filter(pa.compute.equal(ledger["status"], "accepted"))), (0, attempts)):
        for partition, offset in zip(frame["kafka_partition"].to_pylist(), frame["kafka_offset"].to_pylist()):
            found.setdefault(partition, {})[offset] = rank
    return {partition: tuple(numpy.array(column) for column in zip(*sorted(of_offset.items()))) for partition, of_offset in found.items()}


def with_dropped(client, table, files, accepted):
    """`files`, and one more for the rows of attempts that are not accepted any more."""
    dropped = batch.TableFile(client, land.FOLDER, table)
    for frame in batch.rows_without_attempt(feed.open_table(table), accepted):
        dropped.write(frame)
    return [*files, *([closed] if (closed := dropped.close()) else [])]


def rebuild():
    """All of the above; says what changed."""
    delta = feed.open_table("messages")
    if delta is None:
        raise feed.Failure(f"there is no ledger of feed {feed.TOPIC} to rebuild from", f"looked in {feed.table_path('messages')}", f"land the feed first: make land TOPIC={feed.TOPIC}")
    tables.add_columns()
    begin = time.monotonic()
    print(f"{delta.count():,} messages of the ledger of feed {feed.TOPIC}, judged again; readers find the old version until it is done", flush=True)
    client = feed.hdfs()
    client.mkdirs(UNFINISHED)
    land.create_tables(delta.metadata().configuration.get(feed.TOPIC_ID))  # those that somebody removed
    delta = feed.open_table("messages")
    old = batch.read(delta.to_pyarrow_dataset(), ["kafka_partition", "kafka_offset", *VERDICT])
    attempts = batch.read(feed.open_table("attempts").to_pyarrow_dataset(), ["keen_id", "kafka_partition", "kafka_offset", "content_hash"])

    spark = land.session("reprocess")
    records = spark.read.format("delta").option("versionAsOf", delta.version()).load(feed.table_path("messages")).select(*batch.RECORD)
    parts = batch.write_files(records, feed.HDFS, land.FOLDER, {}, ranks_of(attempts, old))
    judged = pa.concat_tables(judged for _, judged in parts)
    status, reason = batch.resolve(judged, {})
    files = batch.correct_files(feed.HDFS, land.FOLDER, parts, status, reason)
    print(f"  judged        {time.monotonic() - begin:>8.1f} s", flush=True)

    def by_position(frame):
        return frame.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])
    old, new = by_position(old), by_position(pa.table({**{name: judged[name] for name in ("kafka_partition", "kafka_offset", "keen_id", "content_hash")},
                                                       "status": pa.array(status, pa.string()), "reason": pa.array(reason, pa.string())}))
    accepted = {keen_id: its for keen_id, its_status, *its in zip(*(new[name].to_pylist() for name in ("keen_id", "status", "kafka_partition", "kafka_offset", "content_hash"))) if its_status == "accepted"}
    exchanged = [keen_id for keen_id, *its in zip(*(attempts[name].to_pylist() for name in attempts.column_names)) if keen_id in accepted and accepted[keen_id] != its]
    if exchanged:
        batch.delete_attempts(feed.open_table("attempts"), exchanged)
        land.wait_for_readers()
    keen_ids = pa.array(accepted, pa.string())
    for table in message.TABLES:
        with_those = files if table in ("attempts", "messages") else with_dropped(client, table, files, keen_ids)
        batch.commit(table, feed.open_table(table), with_those, mode="overwrite")
        print(f"  {table:<12}  {time.monotonic() - begin:>8.1f} s", flush=True)
    # A landing that was interrupted has left rows beyond the ledger's end, judged by the old rules. They are no longer in
    # attempts; without its checkpoint the next landing takes their records as new ones.
    client.delete(land.CHECKPOINT.removeprefix(feed.HDFS), recursive=True)
    land.sweep()

    def word(status, reason):
        return " ".join(filter(None, (status, (reason or "").split(":")[0])))
    pairs = zip(*(frame[name].to_pylist() for frame in (old, new) for name in VERDICT), strict=True)
    changes = collections.Counter((word(*was[1:3]), word(*now[1:3])) for was, now in ((pair[:4], pair[4:]) for pair in pairs) if was != now)
    for (was, now), number in sorted(changes.items()):
        print(f"  {number:>10,} {'changed in their detail' if was == now else 'were'} {was}{'' if was == now else f', are {now}'}")
    if not changes:
        print("  every verdict is the same as before")
    client.delete(UNFINISHED, recursive=True)
    print(f"rebuilt in {time.monotonic() - begin:.1f} s: {len(accepted):,} attempts")


def main():
    try:
        with feed.the_only_one():
            rebuild()
    except feed.Failure:
        raise
    except Exception as error:
        feed.log_trace()
        raise feed.interrupted("reprocessing", error, tables.cause(error), "no attempt lacks a child", "make reprocess does it again") from None


if __name__ == "__main__":
    with feed.report_failures():
        main()
