"""Runs landing's pure functions on a batch of messages, without Spark and HDFS."""

import datetime

import pyarrow as pa

from pipeline.landing import batch, worker
from pipeline.message.columns import SCHEMAS
from pipeline.message.declaration import TABLES

UTC = datetime.timezone.utc


def at(second):
    return datetime.datetime(2018, 1, 28, 12, 0, second, tzinfo=UTC)


class Kept(list):
    """Stands in for a file in HDFS: collects the rows that are written to it."""

    def write(self, frame):
        self.extend(frame.to_pylist())


def judge(values, earlier=None):
    """Lands a batch without HDFS.

    values: bytes, or (partition, offset, second, bytes).
    earlier: {keen_id: (content hash, position)} of what earlier batches accepted.
    Returns ({table: rows as a worker writes them}, {position: (status, reason)}).
    """
    records = [
        value if isinstance(value, tuple) else (0, number, 0, value)
        for number, value in enumerate(values)
    ]
    cells = [
        (partition, offset, at(second), None, value) for partition, offset, second, value in records
    ]
    names = [name for name in batch.RECORD if name != "topic"]
    columns = [
        pa.array(column, SCHEMAS["messages"].field(name).type)
        for name, column in zip(names, zip(*cells, strict=True), strict=True)
    ]
    written = {table: Kept() for table in TABLES}
    files = worker.FeedFiles("hdfs://127.0.0.1:1", "/nowhere", {}, {})
    files.files = written
    files.write(pa.RecordBatch.from_arrays(columns, names))
    judged = pa.concat_tables(files.judged)
    verdicts = zip(*batch.resolve(judged, earlier or {}), strict=True)
    return written, {record[:2]: its for record, its in zip(records, verdicts, strict=True)}


def ledger(values, earlier=None):
    """Returns the verdicts alone: {position: (status, reason)}."""
    return judge(values, earlier)[1]
