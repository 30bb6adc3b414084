"""What writers commit to the tables: new files, deletions, compactions."""

import json
import time
from collections.abc import Iterable, Iterator

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.transaction import AddAction, RemoveAction

from pipeline.settings import Feed
from pipeline.tables import hdfs
from pipeline.tables.delta import KEPT_H, Tables, existing_table, read
from pipeline.tables.parquet import WrittenFile
from pipeline.tables.position import Position, complete, files_of, marks

# In the history of the ledger: the duration of a batch. make status and the metrics read it.
LANDING_SECONDS = "landing.seconds"
# Grace period before orphaned child rows are deleted, in which readers of `attempts` open them.
GRACE_PERIOD_S = 10
# When a table has SMALL_FILES files below SMALL_FILE bytes, all below COMPACTED_FILE are compacted,
# to files of up to that size. (Each compaction of make follow rewrites as much.)
SMALL_FILE, SMALL_FILES, COMPACTED_FILE = 2**20, 10, 16 * 2**20


def commit(
    table: str,
    delta: deltalake.DeltaTable,
    files: Iterable[WrittenFile],
    ends: Position,
    overwrite: bool = False,
    notes: dict[str, str] | None = None,
) -> None:
    """One commit to the table: adds its files among these. overwrite: they replace all others.

    ends: where the batch ends that these files are of. notes: for the table's history.
    """
    adds: list[AddAction | RemoveAction] = [
        AddAction(file.path, file.size, {}, file.modified, True, json.dumps(file.statistics))
        for file in files
        if file.table == table
    ]
    if adds or overwrite:
        mode = "overwrite" if overwrite else "append"
        properties = deltalake.CommitProperties(notes, app_transactions=marks(ends))
        delta.create_write_transaction(adds, mode, delta.schema(), commit_properties=properties)
        delta.update_incremental()


def delete_attempts(delta: deltalake.DeltaTable, keen_ids: Iterable[str]) -> None:
    """Deletes the rows with these keen_ids, in one commit."""
    gone = pa.table({"keen_id": pa.array(keen_ids, pa.string())})
    merge = delta.merge(gone, "old.keen_id = gone.keen_id", source_alias="gone", target_alias="old")
    merge.when_matched_delete().execute()


def rows_without_attempt(delta: deltalake.DeltaTable, keen_ids: pa.Array) -> Iterator[pa.Table]:
    """Yields, file by file, the rows of this child table whose keen_id is not among these."""
    for fragment in delta.to_pyarrow_dataset().get_fragments():
        if pc.all(pc.is_in(read(fragment, ["keen_id"])["keen_id"], keen_ids)).as_py():
            continue
        frame = read(fragment)
        yield frame.filter(pc.invert(pc.is_in(frame["keen_id"], keen_ids)))


def wait_for_readers() -> None:
    """Waits for the grace period, after attempts were deleted and before their children are."""
    print(
        f"  {GRACE_PERIOD_S} s for readers who have opened attempts that are deleted now, "
        "and open their children next",
        flush=True,
    )
    time.sleep(GRACE_PERIOD_S)


def delete_orphaned_rows(feed: Feed) -> None:
    """Deletes child rows without an attempt, after the grace period when there are any."""
    attempts = read(existing_table(feed, "attempts").to_pyarrow_dataset(), ["keen_id"])
    keen_ids = attempts["keen_id"].combine_chunks()
    orphans: dict[str, set[str]] = {}
    for child in ("questions", "options"):
        for rows in rows_without_attempt(existing_table(feed, child), keen_ids):
            orphans.setdefault(child, set()).update(rows["keen_id"].unique().to_pylist())
    if orphans:
        wait_for_readers()
    for child, without_attempt in orphans.items():
        delete_attempts(existing_table(feed, child), sorted(without_attempt))


def delete_uncommitted_rows(feed: Feed, tables: Tables, landed: Position) -> None:
    """Deletes the rows of an interrupted batch that is not repeated: all not before `landed`.

    Attempts go first, so that none is ever without its children.
    """
    ends = complete(landed, tables.values())
    before = [f"(kafka_partition = {at} AND kafka_offset < {end})" for at, end in landed.items()]
    existing_table(feed, "attempts").delete(f"NOT ({' OR '.join(before) or 'false'})")
    delete_orphaned_rows(feed)

    def mark(delta: deltalake.DeltaTable) -> None:
        properties = deltalake.CommitProperties(app_transactions=marks(ends))
        delta.update_incremental()
        delta.create_write_transaction([], "append", delta.schema(), commit_properties=properties)
        delta.update_incremental()

    hdfs.at_once(mark, tables.values())


def compact(delta: deltalake.DeltaTable) -> None:
    """Compacts the table when it has many small files; no row changes.

    A checkpoint of the log saves readers from reading every commit, and lets old ones be deleted
    (delta.RETENTION). So are files that no version of the last KEPT_H hours needs.
    """
    if sum(file["size_bytes"] < SMALL_FILE for file in files_of(delta)) < SMALL_FILES:
        return
    delta.optimize.compact(target_size=COMPACTED_FILE)
    delta.create_checkpoint()
    delta.cleanup_metadata()
    delta.vacuum(retention_hours=KEPT_H, enforce_retention_duration=False, dry_run=False, full=True)
