"""Rebuilds the tables from the ledger after a rule changed: validates every message again.

Called by make reprocess and, after an interrupted reprocessing, by landing. Does not need Kafka. An
accepted message stays the accepted one of its keen_id as long as it is valid.

Readers continue. They see the old version until the new one is committed, and every attempt with
all its children, because the steps are:
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
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from pipeline.errors import Failure
from pipeline.landing import batch, worker
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed
from pipeline.tables import commits, delta, hdfs, position
from pipeline.tables.parquet import TableFile, WrittenFile

VERDICT = ["keen_id", "status", "reason", "content_hash"]
POSITION = ["kafka_partition", "kafka_offset"]
MARK = "_reprocess"  # a folder that exists until the rebuilding is finished


def rebuild(feed: Feed) -> None:
    """Rebuilds the tables, and prints which verdicts changed. Failure when there is no ledger."""
    ledger = delta.open_table(feed, "messages")
    if ledger is None:
        raise Failure(
            f"there is no ledger of feed {feed.topic} to rebuild from",
            f"looked in {feed.path('messages')}",
            f"land the feed first: {feed.make('land')}",
        )
    delta.bring_up_to_date(feed, delta.open_tables(feed))
    begin, client = time.monotonic(), hdfs.client(feed.hdfs)
    print(
        f"{ledger.count():,} messages of the ledger of feed {feed.topic}, judged again; "
        "readers find the old version until it is done",
        flush=True,
    )
    client.mkdirs(feed.folder(MARK))
    delta.create_tables(feed, ledger.metadata().configuration.get(delta.TOPIC_ID))  # those missing
    tables = delta.open_tables(feed)
    ledger = tables["messages"]
    # No table has rows beyond the ledger's end any more, whatever an interrupted landing left.
    landed = position.complete(position.position_of(ledger) or {}, tables.values())
    old = delta.read(ledger.to_pyarrow_dataset(), [*POSITION, *VERDICT])
    attempts = delta.read(delta.existing_table(feed, "attempts").to_pyarrow_dataset(), batch.KNOWN)
    new, files = judged_again(feed, ledger.version(), attempts, old)
    print(f"  judged        {time.monotonic() - begin:>8.1f} s", flush=True)
    accepted = new.filter(pc.equal(new["status"], "accepted"))
    delete_exchanged(feed, attempts, accepted)
    keen_ids = accepted["keen_id"].combine_chunks()
    for table in TABLES:
        opened = delta.existing_table(feed, table)
        if table in ("options", "questions"):
            dropped = TableFile(client, feed.folder(), table)
            for frame in commits.rows_without_attempt(opened, keen_ids):
                dropped.write(frame)
            files += dropped.close()
        commits.commit(table, opened, files, landed, "overwrite")
        print(f"  {table:<12}  {time.monotonic() - begin:>8.1f} s", flush=True)
    commits.delete_orphaned_rows(feed)
    print_changes(old, new)
    client.delete(feed.folder(MARK), recursive=True)
    print(f"rebuilt in {time.monotonic() - begin:.1f} s: {len(accepted):,} attempts")


def judged_again(
    feed: Feed, version: int, attempts: pa.Table, old: pa.Table
) -> tuple[pa.Table, list[WrittenFile]]:
    """Writes the files of all messages: -> (POSITION and VERDICT of each message, the files)."""
    spark = batch.session_for_landing(feed.settings, "reprocess")
    ledger = spark.read.format("delta").option("versionAsOf", version).load(feed.path("messages"))
    ranks = ranks_of(attempts, old)
    records = ledger.withColumn("topic", F.lit(feed.topic)).select(*batch.RECORD)
    parts = batch.write_files(feed.settings, records, {}, ranks)[feed.topic]
    # Spark reads an empty ledger, of a landing interrupted in its first batch, in no part.
    judged = pa.concat_tables([worker.JUDGED.empty_table(), *(part.judged for part in parts)])
    verdicts = batch.resolve(judged, {})
    final = {name: pa.array(cells, pa.string()) for name, cells in verdicts._asdict().items()}
    new = pa.table({name: judged[name] for name in batch.KNOWN} | final)
    return new, batch.correct_files(feed, parts, verdicts)


def ranks_of(attempts: pa.Table, ledger: pa.Table) -> dict[int, worker.Ranked]:
    """The ranks of the messages that are accepted now: 0 by `attempts`, 1 only by the ledger.

    The two differ after an interruption, or when `attempts` is damaged.
    """
    found: dict[int, dict[int, int]] = {}  # {partition: {offset: rank}}
    in_ledger = ledger.filter(pc.equal(ledger["status"], "accepted"))
    for rank, frame in ((1, in_ledger), (0, attempts)):
        for partition, offset in rows_of(frame, POSITION):
            found.setdefault(partition, {})[offset] = rank
    return {at: tuple(numpy.array(sorted(ranks.items())).T) for at, ranks in found.items()}


def delete_exchanged(feed: Feed, attempts: pa.Table, accepted: pa.Table) -> None:
    """Deletes the attempts whose accepted message is now another one; waits for their readers."""
    now = {keen_id: its for keen_id, *its in rows_of(accepted, batch.KNOWN)}
    were = rows_of(attempts, batch.KNOWN)
    if exchanged := [keen_id for keen_id, *its in were if now.get(keen_id, its) != its]:
        commits.delete_attempts(feed, "attempts", exchanged)
        commits.wait_for_readers()


def rows_of(frame: pa.Table, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of these columns."""
    return zip(*(frame[name].to_pylist() for name in columns), strict=True)


def print_changes(old: pa.Table, new: pa.Table) -> None:
    """Prints how many verdicts changed, by kind. old and new: the same messages, in any order."""
    order = [(name, "ascending") for name in POSITION]
    pairs = zip(*(rows_of(each.sort_by(order), VERDICT) for each in (old, new)), strict=True)

    def word(_: str, status: str, reason: str | None, __: str) -> str:
        return " ".join(filter(None, (status, (reason or "").split(":")[0])))

    changes = collections.Counter((word(*was), word(*now)) for was, now in pairs if was != now)
    for (was, now), number in sorted(changes.items()):
        what = f"changed in their detail {was}" if was == now else f"were {was}, are {now}"
        print(f"  {number:>10,} {what}")
    if not changes:
        print("  every verdict is the same as before")
