"""One batch of records to the four tables, the worker side: decodes records, writes Parquet files.

Spark's workers import this module, so it must not import those of the driver (batch.py, lake.py).
What a task returns to the driver is small: the names and statistics of its files, and JUDGED.
"""

import concurrent.futures
import datetime
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator

import hdfs_native
import numpy
import pyarrow as pa
import pyarrow.parquet

import rows
from message import TABLES

COMPRESSION, COMPRESSION_LEVEL = "zstd", 1
NO_DICTIONARY = ("value", "key", "content_hash", "clicked_at")  # columns of mostly distinct values
LONGEST_STATISTIC = 64  # characters; longer texts are left out of the statistics
LAST = 2  # rank of a message that was not accepted before
RESULT = "result binary"  # the schema of what write gives Spark: one row per task

Accepted = dict[str, tuple[str, str]]  # {keen_id: (content hash, position)}; position: "3-17"
Ranked = tuple[numpy.ndarray, numpy.ndarray]  # a partition's (sorted offsets, rank of each)

# What the driver needs to know of each record, in the order of the task's records. Of the valid
# messages with one keen_id, the first by (rank, time, partition, offset) is accepted.
JUDGED = pa.schema(
    [
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("kafka_timestamp", pa.int64()),
        ("rank", pa.int8()),
        ("keen_id", pa.string()),
        ("content_hash", pa.string()),
        ("valid", pa.bool_()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("written", pa.bool_()),
        ("questions", pa.int32()),
        ("options", pa.int32()),
    ]
)


class Repeats:
    """Finds valid messages that repeat an earlier one with the same keen_id.

    accepted: what was accepted before all of these.
    """

    def __init__(self, accepted: Accepted):
        self.first = {keen_id: ((), *known) for keen_id, known in accepted.items()}

    def judge(self, keen_id: str, content_hash: str, order: tuple) -> tuple[str, str | None]:
        """-> (status, reason); provisional unless messages come in order.

        order: (rank, time, partition, offset)
        """
        position = f"{order[2]}-{order[3]}"
        first = self.first.get(keen_id)
        if first is None or order < first[0]:
            self.first[keen_id] = order, content_hash, position
            return "accepted", None
        _, its_hash, its_position = first
        if its_hash == content_hash:
            return "duplicate", f"duplicate_of: {its_position}"
        return "rejected", f"conflicts_with: {its_position}"


def at_once(function: Callable, values: Collection) -> list:
    """Calls the function with each value in its own thread; -> the results, in order.

    Closing a new file in HDFS takes half a second, nearly all of it waiting.
    """
    with concurrent.futures.ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(function, values))


class TableFile:
    """A Parquet file of a table, written as its rows come; created at the first row."""

    def __init__(self, client: hdfs_native.Client, folder: str, table: str):
        self.client, self.table = client, table
        self.name = f"part-{uuid.uuid4()}.{COMPRESSION}.parquet"
        self.path = f"{folder}/{table}/{self.name}"
        self.writer: pyarrow.parquet.ParquetWriter | None = None
        self.sink: hdfs_native.FileWriter | None = None
        self.footer: list[pyarrow.parquet.FileMetaData] = []  # filled when the writer closes

    def write(self, frame: pa.Table) -> None:
        if not frame.num_rows:
            return
        if self.writer is None:
            self.sink = self.client.create(self.path, hdfs_native.WriteOptions(overwrite=False))
            # Without Arrow's own schema in the file: a column that was written as a dictionary
            # would be read back as one.
            self.writer = pyarrow.parquet.ParquetWriter(
                self.sink,
                frame.schema,
                compression=COMPRESSION,
                compression_level=COMPRESSION_LEVEL,
                store_schema=False,
                metadata_collector=self.footer,
                use_dictionary=[name for name in frame.column_names if name not in NO_DICTIONARY],
            )
        self.writer.write_table(frame, row_group_size=len(frame))

    def close(self) -> dict | None:
        """-> what the commit needs to know of the file; None when it has no rows."""
        if self.writer is None:
            return None
        self.writer.close()
        self.sink.close()
        return {
            "table": self.table,
            "path": self.name,
            "size": self.client.get_file_info(self.path).length,
            "modified": int(time.time() * 1000),
            "statistics": statistics(self.footer[0]),
        }


def statistics(footer: pyarrow.parquet.FileMetaData) -> dict:
    """A Parquet file's footer -> Delta's statistics of the file.

    Readers skip files by them, and landing reads its committed position from them.
    """
    found = {"numRecords": footer.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    for number in range(footer.num_columns):
        name = footer.schema.column(number).name
        of_groups = [group.column(number).statistics for group in groups]
        if all(each is not None and each.has_null_count for each in of_groups):
            found["nullCount"][name] = sum(each.null_count for each in of_groups)
        filled = [
            each
            for each, group in zip(of_groups, groups, strict=True)
            if each is None or each.null_count != group.num_rows
        ]
        if not filled or not all(each is not None and each.has_min_max for each in filled):
            continue
        try:
            least, most = min(each.min for each in filled), max(each.max for each in filled)
        except OverflowError:  # a record's time is after the year 9999: no statistics of it
            continue
        if hasattr(least, "isoformat"):  # Delta has milliseconds: minimum rounded down, maximum up
            least, most = (
                moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                for moment in (least, most if most.microsecond % 1000 == 0 else rounded_up(most))
            )
        too_long = isinstance(least, str) and max(len(least), len(most)) > LONGEST_STATISTIC
        if not isinstance(least, (bool, bytes)) and not too_long:
            found["minValues"][name], found["maxValues"][name] = least, most
    return found


def rounded_up(moment: datetime.datetime) -> datetime.datetime:
    """To the next millisecond within its second; Delta's readers add a millisecond to a maximum."""
    thousands = moment.microsecond // 1000 + 1
    return moment.replace(microsecond=min(thousands * 1000, 999_000))


class Writing:
    """The files of one task, one per table."""

    def __init__(self, hdfs: str, folder: str):
        client = hdfs_native.Client(hdfs)
        self.files = {table: TableFile(client, folder, table) for table in TABLES}

    def close(self) -> list[dict]:
        return [closed for closed in at_once(TableFile.close, self.files.values()) if closed]


def nothing(_: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A no-op for DataFrame.mapInArrow: its task starts a worker, which imports this module."""
    return iter(())


def write(
    hdfs: str, folder: str, accepted: Accepted, ranks: dict[int, Ranked] | None = None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """-> the function for DataFrame.mapInArrow: it writes the files of a task's records.

    Its result is one row (RESULT) that tells the driver what is in them. accepted: as much as is
    known of what was accepted before. ranks: by partition, of the messages that precede others with
    their keen_id, whatever their time.
    """

    def write_task(batches):
        writing, repeats, judged = Writing(hdfs, folder), Repeats(accepted), []
        for batch in batches:
            judged.append(write_records(batch, writing, repeats, ranks or {}))
        files = writing.close()
        result = packed(files, pa.concat_tables(judged) if judged else JUDGED.empty_table())
        yield pa.RecordBatch.from_arrays([pa.array([result])], ["result"])

    return write_task


def write_records(
    records: pa.RecordBatch, writing: Writing, repeats: Repeats, ranks: dict[int, Ranked]
) -> pa.Table:
    """Writes the rows of these records; -> JUDGED, a row per record."""
    partitions, offsets = records["kafka_partition"].to_numpy(), records["kafka_offset"].to_numpy()
    times = records["kafka_timestamp"].cast(pa.int64()).to_numpy()
    rank = numpy.full(len(records), LAST, dtype=numpy.int8)
    for place in range(len(records)) if ranks else ():
        rank[place] = rank_of(ranks.get(partitions[place]), offsets[place])
    names = ("keen_id", "content_hash", "valid", "status", "reason", "written")
    columns: dict[str, list] = {name: [] for name in names}
    messages, places = [], []
    for place, value in enumerate(records["value"]):
        message, keen_id, content_hash, reason = rows.examine(value.as_py())
        status = "rejected"
        if reason is None:
            order = tuple(int(column[place]) for column in (rank, times, partitions, offsets))
            status, reason = repeats.judge(keen_id, content_hash, order)
            if status == "accepted":
                messages.append(message)
                places.append(place)
        is_valid, is_written = message is not None, status == "accepted"
        cells = (keen_id, content_hash, is_valid, status, reason, is_written)
        for name, cell in zip(names, cells, strict=True):
            columns[name].append(cell)
    questions, options = (numpy.zeros(len(records), dtype=numpy.int64) for _ in range(2))
    if messages:
        hashes = [columns["content_hash"][place] for place in places]
        tables, questions[places], options[places] = rows.tables(
            messages, partitions[places], offsets[places], hashes
        )
        for table, frame in tables.items():
            writing.files[table].write(frame)
    judged = pa.table(
        {
            "kafka_partition": records["kafka_partition"],
            "kafka_offset": records["kafka_offset"],
            "kafka_timestamp": times,
            "rank": rank,
            **columns,
            "questions": questions,
            "options": options,
        }
    ).cast(JUDGED)
    ledger = rows.SCHEMAS["messages"]
    found = ("keen_id", "status", "reason", "content_hash")
    arrays = [judged[name] if name in found else records[name] for name in ledger.names]
    writing.files["messages"].write(pa.table(arrays, names=ledger.names).cast(ledger))
    return judged


def rank_of(ranked: Ranked | None, offset: int) -> int:
    """The rank of an offset; LAST if it has none."""
    if ranked is not None:
        place = numpy.searchsorted(ranked[0], offset)
        if place < len(ranked[0]) and ranked[0][place] == offset:
            return ranked[1][place]
    return LAST


def packed(files: list[dict], judged: pa.Table) -> bytes:
    """The files as JSON, and the table, in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    judged = judged.replace_schema_metadata({"files": json.dumps(files)})
    with pa.ipc.new_stream(
        sink, judged.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
    ) as stream:
        stream.write_table(judged)
    return sink.getvalue().to_pybytes()


def unpacked(result: bytes) -> tuple[list[dict], pa.Table]:
    """The inverse of packed: -> (files, JUDGED)."""
    judged = pa.ipc.open_stream(result).read_all()
    return json.loads(judged.schema.metadata[b"files"]), judged
