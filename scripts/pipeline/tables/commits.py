"""What writers commit to the tables: new files, deletions, compactions."""

import itertools
import json
import pathlib
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.transaction import AddAction, RemoveAction

from pipeline import errors, files, script
from pipeline.settings import Feed
from pipeline.tables import hdfs
from pipeline.tables.delta import (
    KEPT_H,
    Tables,
    dataset,
    existing_table,
    read,
    row_groups,
)
from pipeline.tables.parquet import TableFile, WrittenFile, merged
from pipeline.tables.position import Position, complete, files_of, marks, path_of
from pipeline.text import printable

PLAIN_WRITER = 2  # Delta's protocol version for writers, as long as nobody chooses more features
# After so many commits of its own delta-rs makes a checkpoint; append does the same.
COMMITS_A_CHECKPOINT = 100
# In the history of the ledger: the duration of a batch. make status and the metrics read it.
LANDING_SECONDS = "landing.seconds"
# Grace period before orphaned child rows are deleted, in which readers of `attempts` open them.
GRACE_PERIOD_S = 10
# When a table has SMALL_FILES files below SMALL_FILE bytes, all below COMPACTED_FILE are compacted,
# to files of about that size. (Each compaction of make follow rewrites as much.)
SMALL_FILE, SMALL_FILES, COMPACTED_FILE = 2**20, 10, 16 * 2**20


def append(
    feed: Feed,
    tables: Tables,
    files: Collection[WrittenFile],
    ends: Position,
    seconds: float,
) -> None:
    """Commits a batch to these tables, one after the other: to each its files among these.

    ends: where the batch ends. seconds: its duration so far, for the ledger's history. Raises
    FileExistsError when somebody else has committed to a table since it was read.

    Not by delta-rs, which would wait for HDFS half a second for each commit. Here the commits are
    written side by side, and then get their names. When somebody has chosen further features of
    Delta for a table, delta-rs commits.
    """
    note = {LANDING_SECONDS: f"{seconds:.3f}"}
    if any(delta.protocol().min_writer_version > PLAIN_WRITER for delta in tables.values()):
        for table, delta in tables.items():
            commit(table, delta, files, ends, "append", note)
        return
    with_files = [table for table in tables if any(file.table == table for file in files)]
    client, now = hdfs.client(feed.hdfs), int(time.time() * 1000)

    def write(table: str) -> tuple[str, str]:
        """-> the path that the commit was written to, and the path that it gets."""
        adds = [
            {
                "path": file.path,
                "partitionValues": {},
                "size": file.size,
                "modificationTime": file.modified,
                "dataChange": True,
                "stats": json.dumps(file.statistics),
            }
            for file in files
            if file.table == table
        ]
        actions = [
            {"commitInfo": {"timestamp": now, "operation": "WRITE", **note}},
            *({"txn": {"appId": mark.app_id, "version": mark.version}} for mark in marks(ends)),
            *({"add": add} for add in adds),
        ]
        log, name = feed.folder(f"{table}/_delta_log"), f"{tables[table].version() + 1:020}.json"
        path = f"{log}/.{name}.tmp.{uuid.uuid4()}"  # see lock.delete_interrupted_commits
        with hdfs.NewFile(client, path) as file:
            file.write("\n".join(map(json.dumps, actions)).encode())
        return path, f"{log}/{name}"

    for path, named in hdfs.at_once(write, with_files):
        client.rename(path, named)

    def update(table: str) -> None:
        delta = tables[table]
        delta.update_incremental()
        if delta.version() % COMMITS_A_CHECKPOINT == 0:
            delta.create_checkpoint()
            delta.cleanup_metadata()

    hdfs.at_once(update, with_files)


def commit(
    table: str,
    delta: deltalake.DeltaTable,
    files: Iterable[WrittenFile],
    ends: Position,
    mode: Literal["append", "overwrite"],
    note: dict[str, str] | None = None,
) -> None:
    """One commit to the table, by delta-rs: its files among these, beside or instead of all others.

    ends: where the last batch ends that these files are of. note: for the table's history.
    """
    adds: list[AddAction | RemoveAction] = [_add(file) for file in files if file.table == table]
    properties = deltalake.CommitProperties(note, app_transactions=marks(ends))
    if adds or mode == "overwrite":
        delta.create_write_transaction(adds, mode, delta.schema(), commit_properties=properties)
        delta.update_incremental()


def _add(file: WrittenFile, rows_change: bool = True) -> AddAction:
    statistics = json.dumps(file.statistics)
    return AddAction(file.path, file.size, {}, file.modified, rows_change, statistics)


def replace(
    delta: deltalake.DeltaTable, old: Collection[str], new: Iterable[WrittenFile], rows_change: bool
) -> None:
    """One commit to a table: the new files in the place of the old ones.

    Raises an exception when somebody else has committed since `delta` was read: that commit may
    have replaced the same files.
    """
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [RemoveAction(path, rows_change, now) for path in old]
    actions += [_add(file, rows_change) for file in new]
    once = deltalake.CommitProperties(max_commit_retries=0)
    delta.create_write_transaction(actions, "append", delta.schema(), commit_properties=once)
    delta.update_incremental()


def delete_attempts(feed: Feed, table: str, keen_ids: Iterable[str]) -> None:
    """Deletes the rows with these keen_ids, in one commit."""
    delta, gone, old = existing_table(feed, table), pa.array(keen_ids, pa.string()), []
    rows, new = dataset(delta), TableFile(hdfs.client(feed.hdfs), feed.folder(), table)
    for file in rows.get_fragments():
        if pc.any(_among(file.to_table(rows.schema, ["keen_id"]), gone)).as_py():
            old.append(path_of(file))
            for frame in row_groups(file, rows.schema):
                new.write(frame.filter(pc.invert(_among(frame, gone))))
    if old:
        replace(delta, old, new.close(), rows_change=True)


def rows_without_attempt(delta: deltalake.DeltaTable, keen_ids: pa.Array) -> Iterator[pa.Table]:
    """Yields, by row group, the rows of this child table whose keen_id is not among these."""
    rows = dataset(delta)
    for file in rows.get_fragments():
        if not pc.all(_among(file.to_table(rows.schema, ["keen_id"]), keen_ids)).as_py():
            for frame in row_groups(file, rows.schema):
                yield frame.filter(pc.invert(_among(frame, keen_ids)))


def _among(frame: pa.Table, keen_ids: pa.Array) -> pa.ChunkedArray:
    """Which rows have one of these keen_ids."""
    chunks = frame["keen_id"].chunks
    found = [pc.is_in(chunk.dictionary, keen_ids).take(chunk.indices) for chunk in chunks]
    return pa.chunked_array(found, pa.bool_())


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
        delete_attempts(feed, child, sorted(without_attempt))


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


def compact_tables(feed: Feed, tables: Tables) -> None:
    """Compacts the tables that need it. A failure is only noted: what is landed is landed."""
    note = compaction_note(feed)
    try:
        hdfs.at_once(lambda name: _compact(feed, name, tables[name]), list(tables))
        note.unlink(missing_ok=True)
    except Exception as error:
        script.log_trace()
        text = f"{printable(errors.cause(error))} (the trace: {script.log_path(feed.settings)})"
        files.replace(note, text)
        print(f"the tables were not compacted; the next landing tries it again: {text}", flush=True)


def compaction_note(feed: Feed) -> pathlib.Path:
    """The file that says why the last compaction failed; absent when it did not."""
    return feed.settings.in_run_dir("compaction", feed.topic)


def _compact(feed: Feed, table: str, delta: deltalake.DeltaTable) -> None:
    """Compacts the table when it has many small files; no row changes.

    A checkpoint of the log saves readers from reading every commit, and lets old ones be deleted
    (delta.RETENTION). So are files that no version of the last KEPT_H hours needs.
    """
    found = files_of(delta)
    if sum(file["size_bytes"] < SMALL_FILE for file in found) < SMALL_FILES:
        return
    try:
        _merge_files(feed, table, delta, _groups(found))
    finally:
        delta.create_checkpoint()
        delta.cleanup_metadata()
        delta.vacuum(KEPT_H, enforce_retention_duration=False, dry_run=False, full=True)


def _merge_files(
    feed: Feed, table: str, delta: deltalake.DeltaTable, groups: Iterable[list[str]]
) -> None:
    """Replaces the files of each group by one.

    Not by delta-rs, which reads 8192 rows at once as plain texts, however long these are.
    """
    rows, client = dataset(delta), hdfs.client(feed.hdfs)
    by_path = {path_of(file): file for file in rows.get_fragments()}
    for group in groups:
        target = TableFile(client, feed.folder(), table)
        frames = (row_groups(by_path[path], rows.schema) for path in group)
        for frame in merged(itertools.chain.from_iterable(frames)):
            target.write(frame)
        replace(delta, group, target.close(), rows_change=False)


def _groups(found: list[dict[str, Any]]) -> Iterator[list[str]]:
    """The paths of the files below COMPACTED_FILE, in groups of about that size."""
    group, size = list[str](), 0
    for file in found:
        if file["size_bytes"] < COMPACTED_FILE:
            group.append(file["path"])
            size += file["size_bytes"]
        if size >= COMPACTED_FILE:
            yield group
            group, size = [], 0
    if len(group) > 1:
        yield group
