"""One batch of records to the four tables, as landing and reprocessing do it: the driver side.

Spark's workers decode each record once and write the Parquet files of all four tables to HDFS
(table_files.py). The driver finds the repeats that a single task cannot see (resolve), rewrites the
files that contain such (correct), and commits the files, one table after the other (commit). Files
that no commit names belong to no table, so an interrupted batch is simply repeated.

The shape of a record: kafka_partition int, kafka_offset bigint, kafka_timestamp timestamp,
key binary, value binary.
"""

import bisect
import json
from collections.abc import Iterable, Iterator
from typing import Any

import deltalake
import hdfs_native
import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from deltalake.transaction import AddAction, RemoveAction

import rows
from table_files import RESULT, Accepted, Ranked, Repeats, TableFile, unpacked, write

RECORD = ["kafka_partition", "kafka_offset", "kafka_timestamp", "key", "value"]
# Files of a table below SMALL_FILE bytes are small. When there are SMALL_FILES of them, all files
# below COMPACTED_FILE are compacted, to files of up to that size. (A larger size would make the
# compactions of make follow long: each rewrites as much.)
SMALL_FILE, SMALL_FILES, COMPACTED_FILE = 2**20, 10, 16 * 2**20
KEPT_H = 24  # hours for which files of older versions are kept: no query runs longer


def resolve(judged: pa.Table, earlier: Accepted) -> tuple[list[str], list[str | None]]:
    """The final verdicts of all records of a batch: -> (status, reason), in the order of `judged`.

    earlier: what was accepted in earlier batches, at least where the keen_id is in this one.
    """
    status, reason = judged["status"].to_pylist(), judged["reason"].to_pylist()
    valid = numpy.flatnonzero(judged["valid"].to_numpy(zero_copy_only=False))
    order = [
        judged[name].to_numpy()[valid]
        for name in ("rank", "kafka_timestamp", "kafka_partition", "kafka_offset")
    ]
    keen_ids, hashes = judged["keen_id"].to_pylist(), judged["content_hash"].to_pylist()
    repeats = Repeats(earlier)
    for number in numpy.lexsort(order[::-1]):
        place = valid[number]
        status[place], reason[place] = repeats.judge(
            keen_ids[place], hashes[place], tuple(int(column[number]) for column in order)
        )
    return status, reason


def correct(
    client: hdfs_native.Client,
    folder: str,
    files: list[dict],
    judged: pa.Table,
    status: list[str],
    reason: list[str | None],
) -> list[dict]:
    """Rewrites the files of one task whose rows do not agree with the final verdicts.

    -> the files to commit
    """
    accepted = numpy.array([each == "accepted" for each in status], dtype=bool)
    written = judged["written"].to_numpy(zero_copy_only=False)
    assert not (accepted & ~written).any(), "a message was accepted whose rows nobody has written"
    final = {"status": pa.array(status, pa.string()), "reason": pa.array(reason, pa.string())}
    if all(cells.equals(judged[name].combine_chunks()) for name, cells in final.items()):
        return files
    stays = accepted[written]
    questions, options = (judged[name].to_numpy()[written] for name in ("questions", "options"))
    keep = {
        "attempts": stays,
        "questions": numpy.repeat(stays, questions),
        "options": numpy.repeat(stays, options),
    }
    new = []
    for file in files:
        table, at = file["table"], 0
        schema = rows.SCHEMAS[table]
        source, target = f"{folder}/{table}/{file['path']}", TableFile(client, folder, table)
        with client.read(source) as content:
            parquet = pyarrow.parquet.ParquetFile(content)
            for group in range(parquet.num_row_groups):
                frame = parquet.read_row_group(group).cast(schema)
                length = len(frame)
                if table == "messages":
                    for name, cells in final.items():
                        place = frame.column_names.index(name)
                        frame = frame.set_column(place, schema.field(name), cells.slice(at, length))
                else:
                    frame = frame.filter(pa.array(keep[table][at : at + length]))
                target.write(frame)
                at += length
        client.delete(source)
        new += [closed] if (closed := target.close()) else []
    return new


def files_of(delta: deltalake.DeltaTable) -> list[dict[str, Any]]:
    """The files of the table's current version, each with its size and statistics."""
    actions = delta.get_add_actions(flatten=True).to_struct_array()
    return actions.to_pylist()  # type: ignore[return-value]  # arro3 declares an ndarray


def accepted_before(
    attempts: deltalake.DeltaTable, keen_ids: Iterable[str], starts: dict[int, int]
) -> Accepted:
    """Those of the keen_ids that were accepted before this batch, from the table `attempts`.

    starts: {partition: the batch's first offset}; a batch that is repeated after a crash must not
    find its own rows and call them duplicates. Reads only files whose statistics allow one of the
    keen_ids: first that column, the others where it has one. (A keen_id starts with its time, so
    files of other times are skipped.)
    """
    wanted, found = pa.array(sorted(keen_ids), pa.string()), {}
    in_order, spans = wanted.to_pylist(), {}
    for file in files_of(attempts) if in_order else ():
        spans[file["path"]] = file.get("min.keen_id"), file.get("max.keen_id")
    for fragment in attempts.to_pyarrow_dataset().get_fragments() if spans else ():
        least, most = spans.get(fragment.path.lstrip("/"), (None, None))
        if least is not None and (
            bisect.bisect_left(in_order, least) == bisect.bisect_right(in_order, most)
        ):
            continue
        if not pc.any(pc.is_in(read(fragment, ["keen_id"])["keen_id"], wanted)).as_py():
            continue
        frame = read(fragment, ["keen_id", "content_hash", "kafka_partition", "kafka_offset"])
        frame = frame.filter(pc.is_in(frame["keen_id"], wanted))
        for keen_id, content_hash, partition, offset in zip(
            *(column.to_pylist() for column in frame.columns), strict=True
        ):
            if offset < starts.get(partition, offset + 1):
                found[keen_id] = content_hash, f"{partition}-{offset}"
    return found


def read(source: Any, columns: list[str] | None = None) -> pa.Table:
    """The rows of a table (a pyarrow Dataset) or of one of its files (a Fragment).

    Casts string views, as delta-rs returns them, to strings, because pyarrow cannot compare views.
    """
    frame = source.to_table(columns=columns)
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return frame.cast(
        pa.schema([field.with_type(plain.get(field.type, field.type)) for field in frame.schema])
    )


def write_files(
    records: Any, hdfs: str, folder: str, accepted: Accepted, ranks: dict[int, Ranked] | None = None
) -> list[tuple[list[dict], pa.Table]]:
    """Has Spark's workers decode the records (a DataFrame of RECORD) and write their files.

    -> [(files, JUDGED of a task), …]. accepted, ranks: as in table_files.write.
    """
    results = records.mapInArrow(write(hdfs, folder, accepted, ranks), RESULT).collect()
    return [unpacked(row.result) for row in results]


def correct_files(
    hdfs: str,
    folder: str,
    parts: list[tuple[list[dict], pa.Table]],
    status: list[str],
    reason: list[str | None],
) -> list[dict]:
    """The files of write_files, corrected by the final verdicts of all parts in order.

    -> the files to commit
    """
    client, files, at = hdfs_native.Client(hdfs), [], 0
    for its_files, judged in parts:
        span = slice(at, at + len(judged))
        files += correct(client, folder, its_files, judged, status[span], reason[span])
        at = span.stop
    return files


def commit(
    table: str,
    delta: deltalake.DeltaTable,
    files: list[dict],
    mode: str = "append",
    transactions: Iterable[deltalake.Transaction] = (),
    notes: dict[str, str] | None = None,
) -> None:
    """One commit to the table: adds its files among these; in mode overwrite they replace all.

    notes: for the table's history.
    """
    adds: list[AddAction | RemoveAction] = [
        AddAction(
            file["path"], file["size"], {}, file["modified"], True, json.dumps(file["statistics"])
        )
        for file in files
        if file["table"] == table
    ]
    if adds or mode == "overwrite":
        properties = deltalake.CommitProperties(
            app_transactions=list(transactions), custom_metadata=notes
        )
        delta.create_write_transaction(adds, mode, delta.schema(), commit_properties=properties)
        delta.update_incremental()


def delete_attempts(delta: deltalake.DeltaTable, keen_ids: Iterable[str]) -> None:
    """Deletes the rows of these attempts, in one commit."""
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


def compact(delta: deltalake.DeltaTable) -> None:
    """Compacts the table when it has many small files, as small landings leave them.

    No row changes. A checkpoint of the log saves readers from reading every commit, and lets old
    commits be deleted (lake.RETENTION). Files that no version of the last KEPT_H hours needs, and
    those of interrupted batches, are deleted.
    """
    if sum(file["size_bytes"] < SMALL_FILE for file in files_of(delta)) < SMALL_FILES:
        return
    delta.optimize.compact(target_size=COMPACTED_FILE)
    delta.create_checkpoint()
    delta.cleanup_metadata()
    delta.vacuum(retention_hours=KEPT_H, enforce_retention_duration=False, dry_run=False, full=True)
