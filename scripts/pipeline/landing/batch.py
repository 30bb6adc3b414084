"""One batch of records to the four tables, as landing and reprocessing do it: the driver side.

1. Spark's workers decode each record once and write the Parquet files of all four tables to HDFS
   (worker.py).
2. The driver finds the repeats that a single task cannot see (resolve), and rewrites the files that
   contain such (correct).
3. It commits the files (tables/commits.py): options and questions, then attempts, last the ledger.

Files that no commit names belong to no table, so an interrupted batch is simply repeated.

The shape of a record: kafka_partition int, kafka_offset bigint, kafka_timestamp timestamp,
key binary, value binary.
"""

import bisect
import collections
import functools
import os
import pathlib
import threading
import time
import zipfile
from collections.abc import Iterable
from typing import NamedTuple

import deltalake
import hdfs_native
import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from deltalake import Transaction
from pyspark.sql import DataFrame, SparkSession

import pipeline
from pipeline.landing import worker
from pipeline.landing.worker import Accepted, Array, Part, Ranked
from pipeline.message import columns
from pipeline.settings import Feed, Settings
from pipeline.spark import session
from pipeline.tables import commits, hdfs
from pipeline.tables.delta import Tables, read
from pipeline.tables.parquet import TableFile, WrittenFile
from pipeline.tables.position import Position, files_of

RECORD = ["kafka_partition", "kafka_offset", "kafka_timestamp", "key", "value"]
_preparing = threading.Lock()
RECENT_RECORDS = 5_000  # per partition. Most repeats follow within a few records.


class Verdicts(NamedTuple):
    """The final verdicts of all records of a batch, in their order."""

    status: list[str]
    reason: list[str | None]


class Batch(NamedTuple):
    """What one batch landed."""

    number: int
    spans: dict[int, tuple[int, int]]  # {partition: (first offset, last offset)}
    statuses: collections.Counter[str]  # {status: messages}
    seconds: float


class Landing:
    """Lands the batches of one streaming query, one after the other.

    accepted: recently accepted messages, which are those among the last RECENT_RECORDS of a
    partition in the last batch. The workers get them, and write no rows for repeats of these. Rows
    of other repeats are removed by step 2.
    """

    def __init__(self, feed: Feed, query_id: str, tables: Tables):
        self.feed, self.query_id, self.tables = feed, query_id, tables
        self.accepted: Accepted = {}

    def land(self, records: DataFrame, batch_id: int) -> Batch | None:
        """Lands one batch: `records` of the shape RECORD, batch_id its number.

        None when there were no records.
        """
        begin = time.monotonic()
        parts = write_files(self.feed, records, self.accepted)
        judged = pa.concat_tables(part.judged for part in parts)
        if not len(judged):
            return None
        spans = spans_of(judged)
        # A message may repeat one of the same batch, or one that is in `attempts` already.
        keen_ids = judged.filter(judged["valid"])["keen_id"].unique().to_pylist()
        starts = {partition: first for partition, (first, _) in spans.items()}
        earlier = accepted_before(self.tables["attempts"], keen_ids, starts)
        verdicts = resolve(judged, earlier)
        files = correct_files(self.feed, parts, verdicts)

        def commit(table: str) -> None:
            committed = self.tables[table].transaction_version(self.query_id)
            if committed is None or committed < batch_id:
                marks = [Transaction(self.query_id, batch_id)]
                notes = {commits.LANDING_SECONDS: f"{time.monotonic() - begin:.3f}"}
                commits.commit(table, self.tables[table], files, transactions=marks, notes=notes)

        hdfs.at_once(commit, ["options", "questions"])
        commit("attempts")
        commit("messages")

        names = ("keen_id", "content_hash", "kafka_partition", "kafka_offset")
        self.accepted = {
            keen_id: (content_hash, f"{partition}-{offset}")
            for keen_id, content_hash, partition, offset, its_status in zip(
                *(judged[name].to_pylist() for name in names), verdicts.status, strict=True
            )
            if its_status == "accepted" and offset > spans[partition][1] - RECENT_RECORDS
        }
        statuses = collections.Counter(verdicts.status)
        return Batch(batch_id, spans, statuses, time.monotonic() - begin)


def spans_of(judged: pa.Table) -> dict[int, tuple[int, int]]:
    """{partition: (first offset, last offset)} of a batch."""
    extremes = [("kafka_offset", "min"), ("kafka_offset", "max")]
    return {
        row["kafka_partition"]: (row["kafka_offset_min"], row["kafka_offset_max"])
        for row in judged.group_by("kafka_partition").aggregate(extremes).to_pylist()
    }


# --- step 1 ---------------------------------------------------------------------------------------


def session_for_landing(settings: Settings, name: str, messages: int = 0) -> SparkSession:
    """This process's session of Spark, prepared for write_files. Thread-safe.

    messages: 0 when the JVM only passes records on to Python, however many there are.
    """
    spark = session.get(settings, name, messages)
    with _preparing:
        _prepare_workers(spark, settings)
    return spark


@functools.cache  # several landings, and make all, share a session
def _prepare_workers(spark: SparkSession, settings: Settings) -> None:
    """Sends Spark's workers this package, and starts the first worker in the background.

    The start of a worker takes as long as a few thousand messages.
    """
    package = pathlib.Path(pipeline.__file__).parent
    archive = settings.in_run_dir("tmp", str(os.getpid()), "pipeline.zip")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as written:
        for path in package.rglob("*.py"):
            written.write(path, path.relative_to(package.parent))
    spark.sparkContext.addPyFile(str(archive))
    start = spark.range(0, 1, 1, 1).mapInArrow(worker.nothing, worker.RESULT)
    threading.Thread(target=start.collect, daemon=True).start()


def write_files(
    feed: Feed, records: DataFrame, accepted: Accepted, ranks: dict[int, Ranked] | None = None
) -> list[Part]:
    """Has Spark's workers decode the records and write their files.

    accepted, ranks: as in worker.write.
    """
    write = worker.write(feed.hdfs, feed.folder(), accepted, ranks)
    results = records.mapInArrow(write, worker.RESULT).collect()
    return [worker.unpacked(row.result) for row in results]


# --- step 2 ---------------------------------------------------------------------------------------


def accepted_before(
    attempts: deltalake.DeltaTable, keen_ids: Iterable[str], starts: Position
) -> Accepted:
    """Those of the keen_ids that were accepted before this batch, from the table `attempts`.

    starts: {partition: the batch's first offset}; a batch that is repeated after a crash must not
    find its own rows and call them duplicates. Reads only files whose statistics allow one of the
    keen_ids: first that column, the others where it has one. (A keen_id starts with its time, so
    files of other times are skipped.)
    """
    in_order = sorted(keen_ids)
    wanted, found = pa.array(in_order, pa.string()), {}
    bounds = {
        file["path"]: (file.get("min.keen_id"), file.get("max.keen_id"))
        for file in (files_of(attempts) if in_order else ())
    }
    for fragment in attempts.to_pyarrow_dataset().get_fragments() if bounds else ():
        least, most = bounds.get(fragment.path.lstrip("/"), (None, None))
        if least is not None and most is not None:
            if bisect.bisect_left(in_order, least) == bisect.bisect_right(in_order, most):
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


def resolve(judged: pa.Table, earlier: Accepted) -> Verdicts:
    """The final verdicts of all records of a batch, in the order of `judged`.

    earlier: what was accepted in earlier batches, at least where the keen_id is in this one.
    """
    status, reason = judged["status"].to_pylist(), judged["reason"].to_pylist()
    valid = numpy.flatnonzero(judged["valid"].to_numpy(zero_copy_only=False))
    order = [
        judged[name].to_numpy()[valid]
        for name in ("rank", "kafka_timestamp", "kafka_partition", "kafka_offset")
    ]
    keen_ids, hashes = judged["keen_id"].to_pylist(), judged["content_hash"].to_pylist()
    repeats = worker.Repeats(earlier)
    for number in numpy.lexsort(order[::-1]):
        place = valid[number]
        status[place], reason[place] = repeats.judge(
            keen_ids[place], hashes[place], tuple(int(column[number]) for column in order)
        )
    return Verdicts(status, reason)


def correct_files(feed: Feed, parts: list[Part], verdicts: Verdicts) -> list[WrittenFile]:
    """The files to commit: those of the parts, corrected by the final verdicts of all in order."""
    client, files, at = hdfs.client(feed.hdfs), [], 0
    for part in parts:
        span = slice(at, at + len(part.judged))
        of_part = Verdicts(verdicts.status[span], verdicts.reason[span])
        files += correct(client, feed.folder(), part, of_part)
        at = span.stop
    return files


def correct(
    client: hdfs_native.Client, folder: str, part: Part, verdicts: Verdicts
) -> list[WrittenFile]:
    """Rewrites the files of one task whose rows do not agree with the final verdicts."""
    accepted = numpy.array([each == "accepted" for each in verdicts.status], dtype=bool)
    written = part.judged["written"].to_numpy(zero_copy_only=False)
    assert not (accepted & ~written).any(), "a message was accepted whose rows nobody has written"
    final = {name: pa.array(cells, pa.string()) for name, cells in verdicts._asdict().items()}
    if all(cells.equals(part.judged[name].combine_chunks()) for name, cells in final.items()):
        return part.files
    stays = accepted[written]
    questions, options = (
        part.judged[name].to_numpy()[written] for name in ("questions", "options")
    )
    keep = {
        "attempts": stays,
        "questions": numpy.repeat(stays, questions),
        "options": numpy.repeat(stays, options),
    }
    new = []
    for file in part.files:
        target = TableFile(client, folder, file.table)
        source = f"{folder}/{file.table}/{file.path}"
        _rewrite(client, source, target, final, keep.get(file.table))
        client.delete(source)
        new += target.close()
    return new


def _rewrite(
    client: hdfs_native.Client,
    source: str,
    target: TableFile,
    final: dict[str, pa.Array],
    keep: Array | None,
) -> None:
    """Copies the rows to `keep` of a file; None: of the ledger, all, with the final verdicts."""
    schema, at = columns.SCHEMAS[target.table], 0
    with client.read(source) as content:
        parquet = pyarrow.parquet.ParquetFile(content)
        for group in range(parquet.num_row_groups):
            frame = parquet.read_row_group(group).cast(schema)
            length = len(frame)
            if keep is not None:
                frame = frame.filter(pa.array(keep[at : at + length]))
            else:
                for name, cells in final.items():
                    place = frame.column_names.index(name)
                    frame = frame.set_column(place, schema.field(name), cells.slice(at, length))
            target.write(frame)
            at += length
