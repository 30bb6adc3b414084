"""A batch of records to the tables of their feeds, for landing and reprocessing: the driver side.

1. Spark's workers decode each record once and write the Parquet files of all four tables to HDFS
   (worker.py).
2. The driver finds the repeats that a single task cannot see (resolve), and rewrites the files that
   contain such (correct).
3. It commits the files (tables/commits.py): options and questions, then attempts, last the ledger.

A batch may hold records of many feeds. Files that no commit names belong to no table.
"""

import bisect
import collections
import functools
import os
import pathlib
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import deltalake
import hdfs_native
import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from pyspark.sql import DataFrame, SparkSession

import pipeline
from pipeline.landing import worker
from pipeline.landing.worker import Accepted, Part, Ranked
from pipeline.message import columns
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed, Settings
from pipeline.spark import session
from pipeline.tables import commits, delta, hdfs, position
from pipeline.tables.parquet import REPEATED, TableFile, WrittenFile
from pipeline.tables.position import Position

# The columns of a record: string, int, bigint, timestamp, binary, binary.
RECORD = ["topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "key", "value"]
ORDER = ["rank", "kafka_timestamp", "kafka_partition", "kafka_offset"]  # worker.Order
_preparing = threading.Lock()
KNOWN = ["keen_id", "content_hash", "kafka_partition", "kafka_offset"]  # of an accepted message
STATUSES = "accepted", "duplicate", "rejected"
RECENT_RECORDS = 5_000  # per partition. Most repeats follow within a few records.


class Verdicts(NamedTuple):
    """The final verdicts of records, in their order."""

    status: list[str]
    reason: list[str | None]


class Batch(NamedTuple):
    """What one batch landed of one feed."""

    feed: Feed
    spans: dict[int, tuple[int, int]]  # {partition: (first offset, last offset)}
    statuses: collections.Counter[str]  # {status: messages}
    seconds: float


class Share(NamedTuple):
    """What a batch takes of one feed: the records from `starts` to before `ends`."""

    feed: Feed
    tables: delta.Tables
    starts: Position
    ends: Position

    def records(self) -> int:
        """How many offsets it has."""
        return sum(end - self.starts.get(at, 0) for at, end in self.ends.items())

    def recently_accepted(self, parts: list[Part]) -> Accepted:
        """The messages accepted among the last RECENT_RECORDS of each partition.

        The workers get them for the next batch, and write no rows for their repeats. The verdicts
        are those of the workers: one that resolve() changes repeats another accepted message.
        """
        found: Accepted = {}
        for judged in (part.judged for part in parts):
            ends = [self.ends[at] for at in judged["kafka_partition"].to_pylist()]
            is_recent = judged["kafka_offset"].to_numpy() >= numpy.array(ends) - RECENT_RECORDS
            is_accepted = pc.equal(judged["status"], "accepted")
            recent = judged.filter(pc.and_(is_accepted, pa.array(is_recent)))
            rows = zip(*(recent[name].to_pylist() for name in KNOWN), strict=True)
            found |= {
                keen_id: (content_hash, f"{partition}-{offset}")
                for keen_id, content_hash, partition, offset in rows
            }
        return found

    def commit(self, parts: list[Part], begin: float) -> Batch | None:
        """Commits what the workers wrote of it. Returns what it landed, None without any record.

        Tables that have a commit of this batch from before an interruption get no second one.
        begin: by time.monotonic().
        """
        judged = pa.concat_tables([worker.JUDGED.empty_table(), *(part.judged for part in parts)])
        if not len(judged):
            return None
        keen_ids = judged.filter(judged["valid"])["keen_id"].unique()
        # A message may repeat one of the same batch, or one that is in `attempts` already.
        earlier = accepted_before(self.tables["attempts"], keen_ids, self.starts)
        verdicts = resolve(judged, earlier)
        files = correct_files(self.feed, parts, verdicts)
        # A batch that was interrupted is in some of the tables already.
        lacking = {
            name: self.tables[name]
            for name in TABLES
            if position.marked(self.tables[name]) != self.ends
        }
        commits.append(self.feed, lacking, files, self.ends, time.monotonic() - begin)
        statuses = collections.Counter(verdicts.status)
        return Batch(self.feed, spans(judged), statuses, time.monotonic() - begin)


def spans(judged: pa.Table) -> dict[int, tuple[int, int]]:
    """{partition: (first offset, last offset)}"""
    extremes = [("kafka_offset", "min"), ("kafka_offset", "max")]
    found = judged.group_by("kafka_partition").aggregate(extremes).to_pylist()
    return {
        row["kafka_partition"]: (row["kafka_offset_min"], row["kafka_offset_max"]) for row in found
    }


def session_for_landing(settings: Settings, name: str, messages: int = 0) -> SparkSession:
    """This process's session of Spark, prepared for write_files. Thread-safe.

    messages: 0 when the JVM only passes records on to Python, however many there are.
    """
    spark = session.get(settings, name, messages)
    with _preparing:
        _prepare_workers(spark, settings.in_run_dir("tmp", str(os.getpid()), "pipeline.zip"))
    return spark


@functools.cache  # several landings, and make all, share a session
def _prepare_workers(spark: SparkSession, archive: pathlib.Path) -> None:
    """Sends Spark's workers this package, as `archive`; starts the first one in the background."""
    package = pathlib.Path(pipeline.__file__).parent
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as written:
        for path in package.rglob("*.py"):
            written.write(path, path.relative_to(package.parent))
    spark.sparkContext.addPyFile(str(archive))
    start = spark.range(0, 1, 1, 1).mapInArrow(worker.nothing, worker.RESULT)
    threading.Thread(target=start.collect, daemon=True).start()


def write_files(
    settings: Settings,
    records: DataFrame,
    accepted: dict[str, Accepted],
    ranks: dict[int, Ranked] | None = None,
) -> dict[str, list[Part]]:
    """Has Spark's workers decode the records and write their files (worker.write).

    records: in the columns RECORD. accepted, and the result: by topic.
    """
    address, warehouse, ranks = settings.hdfs, settings.warehouse, ranks or {}

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # What a nested function names is sent along with it, so it names as little as possible.
        return worker.write(batches, address, warehouse, accepted, ranks)

    found: dict[str, list[Part]] = collections.defaultdict(list)
    for row in records.mapInArrow(write, worker.RESULT).collect():
        found[row.topic].append(worker.unpacked(row.result))
    return found


def accepted_before(
    attempts: deltalake.DeltaTable, keen_ids: pa.StringArray, starts: Position
) -> Accepted:
    """Those of the keen_ids that were accepted before this batch, from the table `attempts`.

    starts: {partition: the batch's first offset}; a batch that is repeated after a crash must not
    find its own rows and call them duplicates. Reads only files whose statistics allow one of the
    keen_ids: a keen_id starts with its time, so files of other times are skipped.
    """
    found: Accepted = {}
    in_order = keen_ids.sort().to_pylist()

    def may_have_one(file: dict[str, Any]) -> bool:
        least, most = file.get("min.keen_id"), file.get("max.keen_id")
        if least is None or most is None:
            return bool(in_order)
        return bisect.bisect_left(in_order, least) < bisect.bisect_right(in_order, most)

    to_read = {file["path"] for file in filter(may_have_one, position.files_of(attempts))}
    for fragment in position.fragments(attempts, to_read):
        if not pc.any(pc.is_in(delta.read(fragment, ["keen_id"])["keen_id"], keen_ids)).as_py():
            continue
        frame = delta.read(fragment, KNOWN)
        frame = frame.filter(pc.is_in(frame["keen_id"], keen_ids))
        rows = zip(*(column.to_pylist() for column in frame.columns), strict=True)
        for keen_id, content_hash, partition, offset in rows:
            if offset < starts.get(partition, offset + 1):
                found[keen_id] = content_hash, f"{partition}-{offset}"
    return found


def resolve(judged: pa.Table, earlier: Accepted) -> Verdicts:
    """The final verdicts of all records of a batch, in the order of `judged`.

    earlier: what was accepted in earlier batches, at least where the keen_id is in this one.
    The workers' verdicts can be wrong only on keen_ids that are there, or more than once here.
    """
    status, reason = judged["status"].to_pylist(), judged["reason"].to_pylist()
    times = pc.value_counts(judged["keen_id"].filter(judged["valid"]))
    repeated = times.field("values").filter(pc.greater(times.field("counts"), 1)).to_pylist()
    known = pa.array({*repeated, *earlier}, pa.string())
    to_judge = pc.and_(judged["valid"], pc.is_in(judged["keen_id"], known))
    judged = judged.append_column("place", pa.array(range(len(judged)))).filter(to_judge)
    order = [(name, "ascending") for name in ORDER]
    rows = judged.sort_by(order).select(["place", "keen_id", "content_hash", *ORDER]).to_pydict()
    repeats = worker.Repeats(earlier)
    for place, keen_id, content_hash, *its_order in zip(*rows.values(), strict=True):
        verdict = repeats.judge(keen_id, content_hash, tuple(its_order))
        status[place], reason[place] = verdict
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
    """The files of one task: rewritten, if their rows do not agree with the final verdicts."""
    accepted = numpy.array(verdicts.status, dtype=object) == "accepted"
    written = part.judged["written"].to_numpy(zero_copy_only=False)
    assert not (accepted & ~written).any(), "a message was accepted whose rows nobody has written"
    final = {name: pa.array(cells, pa.string()) for name, cells in verdicts._asdict().items()}
    if all(cells.equals(part.judged[name].combine_chunks()) for name, cells in final.items()):
        return part.files
    keep = {"attempts": accepted[written]}
    for child in ("questions", "options"):
        keep[child] = numpy.repeat(accepted[written], part.judged[child].to_numpy()[written])
    new = []
    for table, path, *_ in part.files:
        target, source = TableFile(client, folder, table), f"{folder}/{table}/{path}"
        schema, at = columns.SCHEMAS[table], 0
        repeated = [name for name in REPEATED if name in schema.names]
        with client.read(source) as content:
            parquet = pyarrow.parquet.ParquetFile(content, read_dictionary=repeated)
            for group in range(parquet.num_row_groups):
                frame = parquet.read_row_group(group)
                begin, at = at, at + len(frame)
                if table in keep:
                    frame = frame.filter(pa.array(keep[table][begin:at]))
                for name, cells in final.items() if table == "messages" else ():
                    place = schema.get_field_index(name)
                    frame = frame.set_column(place, schema.field(name), cells[begin:at])
                target.write(frame)
        client.delete(source)
        new += target.close()
    return new
