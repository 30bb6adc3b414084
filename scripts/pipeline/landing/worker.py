"""One batch of records to the four tables, the worker side: decodes records, writes Parquet files.

Spark's workers import this module, so it must not import those of the driver.
"""

import concurrent.futures
import importlib.abc
import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy
import numpy.typing
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.message import batch_decoder, columns
from pipeline.message.declaration import TABLES
from pipeline.tables import hdfs
from pipeline.tables.parquet import TableFile, WrittenFile

LAST = 2  # rank of a message that was not accepted before
RESULT = "topic string, result binary"  # what a task returns of each topic: a packed Part
# Feeds whose files a task closes at once. Closing a file is waiting for DataNodes and NameNode.
FEEDS_CLOSED_AT_ONCE = 16

Accepted = dict[str, tuple[str, str]]  # {keen_id: (content hash, position)}; position: "3-17"
Array = numpy.typing.NDArray[Any]
Ranked = tuple[Array, Array]  # a partition's (sorted offsets, rank of each)
Order = tuple[int, ...]  # (rank, time, partition, offset)


# What the driver needs to know of each record, in the task's order. Of the valid messages with one
# keen_id, the first by Order is accepted.
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
FOUND = ("keen_id", "content_hash", "status", "reason")  # columns of the ledger beside the record's


class Part(NamedTuple):
    """What one task wrote: its files, and JUDGED, a row per record."""

    files: list[WrittenFile]
    judged: pa.Table


class Repeats:
    """Finds valid messages that repeat an earlier one; accepted: before all of these."""

    def __init__(self, accepted: Accepted):
        self.first: dict[str, tuple[Order, str, str]] = {
            keen_id: ((), *known) for keen_id, known in accepted.items()
        }

    def judge(self, keen_id: str, content_hash: str, order: Order) -> tuple[str, str | None]:
        """-> (status, reason); provisional unless messages come in order."""
        known = self.first.get(keen_id)
        if known is None or order < known[0]:
            self.first[keen_id] = order, content_hash, ""
            return "accepted", None
        its_order, its_hash, its_position = known
        its_position = its_position or f"{its_order[2]}-{its_order[3]}"
        if its_hash == content_hash:
            return "duplicate", f"duplicate_of: {its_position}"
        return "rejected", f"conflicts_with: {its_position}"


def nothing(_: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A no-op for DataFrame.mapInArrow: its task starts a worker, which imports this module."""
    return iter(())


class NoPandas(importlib.abc.MetaPathFinder):
    """Lets `import pandas` fail while it is in sys.meta_path."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pandas":
            raise ImportError


def without_pandas() -> None:
    """Keeps Arrow from importing pandas, which takes 0.1 s and 40 MB in each worker.

    Arrow tries once, when it is first given a list, to know arrays of pandas from others.
    """
    finder = NoPandas()
    sys.meta_path.insert(0, finder)
    pa.array([])
    sys.meta_path.remove(finder)


class FeedFiles:
    """The files of one task for one feed, and what is known of the records in them.

    accepted: as much as is known of what was accepted before. ranks: by partition, of the messages
    that precede others with their keen_id.
    """

    def __init__(self, address: str, folder: str, accepted: Accepted, ranks: dict[int, Ranked]):
        client = hdfs.client(address)
        self.files = {table: TableFile(client, folder, table) for table in TABLES}
        self.repeats, self.ranks = Repeats(accepted), ranks
        self.judged = [JUDGED.empty_table()]

    def close(self) -> Part:
        """Closes the files."""
        written: list[WrittenFile] = sum(hdfs.at_once(TableFile.close, self.files.values()), [])
        return Part(written, pa.concat_tables(self.judged))

    def write(self, records: pa.RecordBatch) -> None:
        """Writes the rows of these records."""
        # Copied: `judged` keeps them, and all columns of `records` are views of one buffer.
        partitions = numpy.array(records["kafka_partition"])
        offsets = numpy.array(records["kafka_offset"])
        times = numpy.array(records["kafka_timestamp"].cast(pa.int64()))
        rank = numpy.full(len(records), LAST, dtype=numpy.int8)
        for partition, (ranked, their_ranks) in self.ranks.items():
            at = numpy.searchsorted(ranked, offsets).clip(max=len(ranked) - 1)
            has_one = (partitions == partition) & (ranked[at] == offsets)
            rank[has_one] = their_ranks[at[has_one]]
        found = batch_decoder.examine(records["value"].to_pylist())
        statuses, reasons = ["rejected"] * len(records), list(found.reasons)
        columns_of_order = (column.tolist() for column in (rank, times, partitions, offsets))
        for place, order in enumerate(zip(*columns_of_order, strict=True)):
            if found.reasons[place] is None:
                keen_id, content_hash = found.keen_ids[place], found.hashes[place]
                assert keen_id is not None and content_hash is not None
                verdict = self.repeats.judge(keen_id, content_hash, order)
                statuses[place], reasons[place] = verdict
        written = numpy.array([status == "accepted" for status in statuses])
        questions, options = numpy.zeros((2, len(records)), dtype=numpy.int64)
        places = numpy.flatnonzero(written)
        if len(places):
            messages = found.messages.take(pa.array(found.rows[places]))
            hashes = [found.hashes[place] for place in places]
            rows = columns.tables(messages, partitions[places], offsets[places], hashes)
            questions[places], options[places] = rows.questions, rows.options
            for table, frame in rows.tables.items():
                self.files[table].write(frame)
        judged = pa.table(
            {
                "kafka_partition": partitions,
                "kafka_offset": offsets,
                "kafka_timestamp": times,
                "rank": rank,
                "keen_id": found.keen_ids,
                "content_hash": found.hashes,
                "valid": [reason is None for reason in found.reasons],
                "status": statuses,
                "reason": reasons,
                "written": written,
                "questions": questions,
                "options": options,
            }
        ).cast(JUDGED)
        ledger = columns.SCHEMAS["messages"]
        arrays = [judged[name] if name in FOUND else records[name] for name in ledger.names]
        self.files["messages"].write(pa.table(arrays, names=ledger.names).cast(ledger))
        self.judged.append(judged)


def by_topic(records: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yields (topic, its records) of each run of records of one topic."""
    runs, begin = pc.run_end_encode(records["topic"]), 0
    for topic, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield topic, records.slice(begin, end - begin)
        begin = end


def write(
    records: Iterator[pa.RecordBatch],
    address: str,
    warehouse: str,
    accepted: dict[str, Accepted],
    ranks: dict[int, Ranked],
) -> Iterator[pa.RecordBatch]:
    """Writes the files of a task's records, which come topic by topic; yields RESULT.

    address: of HDFS. warehouse: the folder of the feeds. accepted: by topic. ranks: see FeedFiles.
    """
    without_pandas()
    topic, files, closing = "", None, []
    with concurrent.futures.ThreadPoolExecutor(FEEDS_CLOSED_AT_ONCE) as pool:
        for batch in records:
            for its_topic, rows in by_topic(batch):
                if files is None or its_topic != topic:
                    if files is not None:
                        closing.append((topic, pool.submit(files.close)))
                    topic, folder = its_topic, f"{warehouse}/{its_topic}"
                    files = FeedFiles(address, folder, accepted.get(topic, {}), ranks)
                files.write(rows)
        if files is not None:
            closing.append((topic, pool.submit(files.close)))
        for its_topic, part in closing:
            yield pa.record_batch({"topic": [its_topic], "result": [packed(part.result())]})


def packed(part: Part) -> bytes:
    """The files as JSON, and the table, in Arrow's stream format."""
    judged = part.judged.replace_schema_metadata({"files": json.dumps(part.files)})
    sink, options = pa.BufferOutputStream(), pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, judged.schema, options=options) as stream:
        stream.write_table(judged)
    return bytes(sink.getvalue().to_pybytes())


def unpacked(result: bytes) -> Part:
    """The inverse of packed."""
    judged = pa.ipc.open_stream(result).read_all()
    files = json.loads(judged.schema.metadata[b"files"])
    return Part([WrittenFile(*file) for file in files], judged)
