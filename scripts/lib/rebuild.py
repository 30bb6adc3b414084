"""Rebuilds the tables from the ledger after a rule changed: validates every message again.

Called by reprocess.py and, after an interrupted reprocessing, by land.py. Does not need Kafka. An
accepted message stays the accepted one of its keen_id as long as it is valid.

Readers continue meanwhile. They see the old version until the new one is committed, and every
attempt with all its children, because the steps are:
1. Write all files, as landing does (batch.py).
2. Delete the attempts whose accepted message is now another one, and wait for the grace period.
3. Replace each table in one commit: options and questions, attempts, the ledger. The new children
   still include the rows of attempts that the new rules drop.
4. Delete those rows.
After an interruption, the next make reprocess or make land starts again.

Memory: about 300 bytes per message of the feed.
"""

import collections
import time
from collections.abc import Iterator

import hdfs_native
import numpy
import pyarrow as pa
import pyarrow.compute

import batch
import config
import errors
import knobs
import lake
import message
import spark_session
import table_files
from table_files import Ranked

VERDICT = ["keen_id", "status", "reason", "content_hash"]
POSITION_AND_HASH = ["kafka_partition", "kafka_offset", "content_hash"]


def ranks_of(attempts: pa.Table, ledger: pa.Table) -> dict[int, Ranked]:
    """The ranks of the messages that are accepted now: 0 by `attempts`, 1 only by the ledger.

    The two differ after an interruption, or when `attempts` is damaged.
    """
    found: dict[int, dict[int, int]] = {}  # {partition: {offset: rank}}
    in_ledger = ledger.filter(pa.compute.equal(ledger["status"], "accepted"))
    for rank, frame in ((1, in_ledger), (0, attempts)):
        positions = (frame[name].to_pylist() for name in ("kafka_partition", "kafka_offset"))
        for partition, offset in zip(*positions, strict=True):
            found.setdefault(partition, {})[offset] = rank
    ranked = {}
    for partition, of_offset in found.items():
        offsets, ranks = zip(*sorted(of_offset.items()), strict=True)
        ranked[partition] = numpy.array(offsets), numpy.array(ranks)
    return ranked


def with_dropped(
    client: hdfs_native.Client, table: str, files: list[dict], accepted: pa.Array
) -> list[dict]:
    """`files`, and one more with the table's rows whose keen_id is not among the accepted."""
    dropped = table_files.TableFile(client, lake.folder(), table)
    for frame in batch.rows_without_attempt(lake.open_table(table), accepted):
        dropped.write(frame)
    return [*files, *([closed] if (closed := dropped.close()) else [])]


def rebuild() -> None:
    """Rebuilds the tables, and prints which verdicts changed. Failure when there is no ledger."""
    delta = lake.open_table("messages")
    if delta is None:
        raise errors.Failure(
            f"there is no ledger of feed {config.TOPIC} to rebuild from",
            f"looked in {lake.table_path('messages')}",
            f"land the feed first: make land{knobs.of_feed()}",
        )
    lake.bring_up_to_date(lake.open_tables())
    begin = time.monotonic()
    print(
        f"{delta.count():,} messages of the ledger of feed {config.TOPIC}, judged again; "
        "readers find the old version until it is done",
        flush=True,
    )
    client = lake.hdfs()
    client.mkdirs(lake.folder("_reprocess"))  # exists until the rebuilding is finished
    lake.create_tables(delta.metadata().configuration.get(lake.TOPIC_ID))  # those that are missing
    delta = lake.open_table("messages")
    old = batch.read(delta.to_pyarrow_dataset(), ["kafka_partition", "kafka_offset", *VERDICT])
    attempts = batch.read(
        lake.open_table("attempts").to_pyarrow_dataset(), ["keen_id", *POSITION_AND_HASH]
    )

    spark = spark_session.for_landing("reprocess")
    records = (
        spark.read.format("delta")
        .option("versionAsOf", delta.version())
        .load(lake.table_path("messages"))
        .select(*batch.RECORD)
    )
    parts = batch.write_files(records, config.HDFS, lake.folder(), {}, ranks_of(attempts, old))
    # Spark reads an empty ledger, of a landing interrupted in its first batch, in no part.
    judged = pa.concat_tables([table_files.JUDGED.empty_table(), *(judged for _, judged in parts)])
    status, reason = batch.resolve(judged, {})
    files = batch.correct_files(config.HDFS, lake.folder(), parts, status, reason)
    print(f"  judged        {time.monotonic() - begin:>8.1f} s", flush=True)

    unchanged = ["kafka_partition", "kafka_offset", "keen_id", "content_hash"]
    verdicts = {"status": pa.array(status, pa.string()), "reason": pa.array(reason, pa.string())}
    new = pa.table({name: judged[name] for name in unchanged} | verdicts)
    accepted = {
        keen_id: its
        for keen_id, its_status, *its in rows_of(new, ["keen_id", "status", *POSITION_AND_HASH])
        if its_status == "accepted"
    }
    exchanged = [
        keen_id
        for keen_id, *its in rows_of(attempts, ["keen_id", *POSITION_AND_HASH])
        if keen_id in accepted and accepted[keen_id] != its
    ]
    if exchanged:
        batch.delete_attempts(lake.open_table("attempts"), exchanged)
        lake.wait_for_readers()
    keen_ids = pa.array(accepted, pa.string())
    for table in message.TABLES:
        is_child = table not in ("attempts", "messages")
        of_table = with_dropped(client, table, files, keen_ids) if is_child else files
        batch.commit(table, lake.open_table(table), of_table, mode="overwrite")
        print(f"  {table:<12}  {time.monotonic() - begin:>8.1f} s", flush=True)
    # An interrupted landing left rows beyond the ledger's end, judged by the old rules. Their
    # attempts are gone now. Without the checkpoint their records are landed as new ones.
    client.delete(lake.folder("_checkpoint"), recursive=True)
    lake.delete_orphaned_rows()
    print_changes(old, new)
    client.delete(lake.folder("_reprocess"), recursive=True)
    print(f"rebuilt in {time.monotonic() - begin:.1f} s: {len(accepted):,} attempts")


def rows_of(frame: pa.Table, columns: list[str]) -> Iterator[tuple]:
    """The rows of these columns."""
    return zip(*(frame[name].to_pylist() for name in columns), strict=True)


def print_changes(old: pa.Table, new: pa.Table) -> None:
    """Prints how many verdicts changed, by kind. old and new: the same messages, in any order."""

    def by_position(frame):
        return frame.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])

    def word(keen_id, status, reason, content_hash):
        return " ".join(filter(None, (status, (reason or "").split(":")[0])))

    pairs = zip(rows_of(by_position(old), VERDICT), rows_of(by_position(new), VERDICT), strict=True)
    changes = collections.Counter((word(*was), word(*now)) for was, now in pairs if was != now)
    for (was, now), number in sorted(changes.items()):
        what = f"changed in their detail {was}" if was == now else f"were {was}, are {now}"
        print(f"  {number:>10,} {what}")
    if not changes:
        print("  every verdict is the same as before")
