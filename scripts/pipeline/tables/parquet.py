"""Parquet files of the tables in HDFS: written as their rows come, with Delta's statistics.

Spark's workers import this module.
"""

import datetime
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import hdfs_native
import pyarrow as pa
import pyarrow.parquet

from pipeline.tables.hdfs import NewFile

COMPRESSION, COMPRESSION_LEVEL = "zstd", 1
NO_DICTIONARY = ("value", "key", "content_hash", "clicked_at")  # columns of mostly distinct values
# Texts that a message has once and its child rows repeat. Files hold them as dictionaries, and they
# are read as dictionaries: as texts, a name of 400,000 characters in 17,000 rows takes 7 GB.
REPEATED = ("keen_id", "base_exam_id", "exam_name", "question_id")
ROW_GROUP = 32 * 2**20  # bytes in memory, dictionaries counted once
LONGEST_STATISTIC = 64  # characters; longer texts are left out of the statistics


class WrittenFile(NamedTuple):
    """What a commit needs to know of a new file."""

    table: str
    path: str  # in the table's folder
    size: int
    modified: int  # milliseconds since the epoch
    statistics: dict[str, Any]  # as Delta spells them


class TableFile:
    """A Parquet file of a table, written as its rows come; created at the first row."""

    def __init__(self, client: hdfs_native.Client, folder: str, table: str):
        self.client, self.table = client, table
        self.name = f"part-{uuid.uuid4()}.{COMPRESSION}.parquet"
        self.path = f"{folder}/{table}/{self.name}"
        self.writer: pyarrow.parquet.ParquetWriter | None = None
        self.sink: NewFile | None = None
        self.footer: list[pyarrow.parquet.FileMetaData] = []  # filled when the writer closes

    def write(self, frame: pa.Table) -> None:
        """Writes the rows as one row group."""
        if not frame.num_rows:
            return
        if self.writer is None:
            self.sink = NewFile(self.client, self.path)
            self.writer = writer(self.sink, frame.schema, self.footer)
        self.writer.write_table(frame, row_group_size=len(frame))

    def close(self) -> list[WrittenFile]:
        """-> the file; nothing when it has no rows."""
        if self.writer is None or self.sink is None:
            return []
        self.writer.close()
        self.sink.close()
        now = int(time.time() * 1000)
        return [WrittenFile(self.table, self.name, self.sink.size, now, statistics(self.footer[0]))]


def writer(
    sink: Any, schema: pa.Schema, footer: list[pyarrow.parquet.FileMetaData] | None = None
) -> pyarrow.parquet.ParquetWriter:
    """Writes rows to a file or a path. footer: gets the file's footer when the writer closes."""
    # Without Arrow's own schema in the file: a column that was written as a dictionary would be
    # read back as one.
    return pyarrow.parquet.ParquetWriter(
        sink,
        schema,
        compression=COMPRESSION,
        compression_level=COMPRESSION_LEVEL,
        store_schema=False,
        metadata_collector=footer,
        use_dictionary=[name for name in schema.names if name not in NO_DICTIONARY],
    )


def merged(frames: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of all frames in larger ones, of at most ROW_GROUP where the given ones allow it."""
    waiting: list[pa.Table] = []
    size = 0
    for frame in frames:
        if waiting and size + frame.nbytes > ROW_GROUP:
            yield _joined(waiting)
            waiting, size = [], 0
        waiting.append(frame)
        size += frame.nbytes
    if waiting:
        yield _joined(waiting)


def _joined(frames: list[pa.Table]) -> pa.Table:
    # A column of one chunk has one dictionary: Parquet would write further ones as plain texts.
    return pa.concat_tables(frames).unify_dictionaries().combine_chunks()


def statistics(footer: pyarrow.parquet.FileMetaData) -> dict[str, Any]:
    """A Parquet file's footer -> Delta's statistics of the file.

    Readers skip files by them, and landing reads its committed position from them.
    """
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    for number in range(footer.num_columns):
        name = footer.schema.column(number).name
        chunks = [group.column(number).statistics for group in groups]
        if all(chunk is not None and chunk.has_null_count for chunk in chunks):
            nulls[name] = sum(chunk.null_count for chunk in chunks)
        # num_values does not count nulls.
        if bounds := _bounds([chunk for chunk in chunks if chunk is None or chunk.num_values]):
            least[name], most[name] = bounds
    return {
        "numRecords": footer.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls
    }  # fmt: skip


def _bounds(chunks: list[Any]) -> tuple[Any, Any] | None:
    """(minimum, maximum) of a column by the statistics of its chunks; None: not to be told."""
    if not chunks or not all(chunk is not None and chunk.has_min_max for chunk in chunks):
        return None
    try:
        least, most = min(chunk.min for chunk in chunks), max(chunk.max for chunk in chunks)
    except OverflowError:  # a record's time is after the year 9999
        return None
    if isinstance(least, datetime.datetime):
        # Up to a millisecond within its second; Delta's readers add one to a maximum.
        thousands = min(-(-most.microsecond // 1000), 999)
        return _milliseconds(least), _milliseconds(most.replace(microsecond=thousands * 1000))
    too_long = isinstance(least, str) and max(len(least), len(most)) > LONGEST_STATISTIC
    return None if isinstance(least, (bool, bytes)) or too_long else (least, most)


def _milliseconds(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
