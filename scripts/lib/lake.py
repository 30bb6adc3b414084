"""The feed's four Delta tables in HDFS, accessed without a JVM (deltalake, hdfs-native).

A feed is a topic and its tables at $HDFS$WAREHOUSE/$TOPIC/<table>. The highest offsets in the
ledger (table messages) are the committed position of landing.
"""

import json
import time

import deltalake
import hdfs_native
from deltalake.exceptions import TableNotFoundError

import batch
import config
import message
import table_files
from errors import Failure
from knobs import of_feed

# Table properties of the ledger. EXPIRED: offsets never landed, JSON {partition: [[from, to], …]}
TOPIC_ID = "kafka.topic.id"
EXPIRED = "kafka.expired"
# Grace period before orphaned child rows are deleted, in which readers of `attempts` open them.
GRACE_PERIOD_S = 10
# Delta's log keeps the commits of this time, and tombstones of removed files for batch.KEPT_H:
# make follow commits thousands of times a day, and readers list the whole log.
RETENTION = {
    "delta.logRetentionDuration": "interval 1 hour",
    "delta.deletedFileRetentionDuration": f"interval {batch.KEPT_H} hours",
}

Tables = dict[str, deltalake.DeltaTable | None]


def hdfs() -> hdfs_native.Client:
    """A client of the file system."""
    return hdfs_native.Client(config.HDFS)


def folder(name: str = "") -> str:
    """A path in the feed's folder, without the address: /warehouse/assessments/_checkpoint"""
    return f"{config.WAREHOUSE}/{config.TOPIC}" + (f"/{name}" if name else "")


def table_path(table: str, topic: str | None = None) -> str:
    """hdfs://…/<warehouse>/<topic>/<table>"""
    return f"{config.HDFS}{config.WAREHOUSE}/{topic or config.TOPIC}/{table}"


def exists(path: str) -> bool:
    """Whether there is such a file or folder. path: with or without the file system's address."""
    try:
        hdfs().get_file_info(path.removeprefix(config.HDFS))
        return True
    except FileNotFoundError:
        return False


def open_table(table: str, topic: str | None = None) -> deltalake.DeltaTable | None:
    """The current version of the Delta table; None when there is no such table."""
    try:
        return deltalake.DeltaTable(table_path(table, topic))
    except TableNotFoundError:
        return None


def open_tables(topic: str | None = None) -> Tables:
    """open_table() of all four tables, at once."""
    opened = table_files.at_once(lambda table: open_table(table, topic), message.TABLES)
    return dict(zip(message.TABLES, opened, strict=True))


def delta_schema(name: str) -> deltalake.Schema:
    """The declared columns of a table as a Delta schema."""
    fields = {"type": "struct", "fields": message.delta_fields(name)}
    return deltalake.Schema.from_json(json.dumps(fields))


# --- the committed position -----------------------------------------------------------------------


def expired(ledger: deltalake.DeltaTable) -> dict[int, list[list[int]]]:
    """{partition: [[from, to], …]} of the records that expired before they were landed.

    `to` is the offset after the last of them.
    """
    spans = json.loads(ledger.metadata().configuration.get(EXPIRED, "{}"))
    return {int(partition): of_partition for partition, of_partition in spans.items()}


def note_expired(gone: dict[int, tuple[int, int]]) -> None:
    """Adds {partition: (from, to)} to expired(). The committed position is then after them."""
    ledger = open_table("messages")
    known = expired(ledger)
    for partition, span in gone.items():
        known.setdefault(partition, []).append(list(span))
    ledger.alter.set_table_properties({EXPIRED: json.dumps(known)}, raise_if_not_exists=False)


def landed_offsets(topic: str | None = None) -> dict[int, int] | None:
    """The committed position of the feed: position_of() its ledger; None when there is none."""
    return position_of(open_table("messages", topic))


def position_of(ledger: deltalake.DeltaTable | None) -> dict[int, int] | None:
    """The committed position: {partition: offset after the last landed or expired record}

    Uses the statistics in the table's log, and reads the data only of files for which they are not
    enough.
    """
    if ledger is None:
        return None
    landed = {partition: spans[-1][1] for partition, spans in expired(ledger).items()}

    def reached(partition, offset):
        landed[partition] = max(landed.get(partition, 0), offset + 1)

    to_read = set()
    for file in batch.files_of(ledger):
        partition, last = file.get("min.kafka_partition"), file.get("max.kafka_offset")
        # No statistics, or several partitions in one file.
        if partition is None or partition != file["max.kafka_partition"] or last is None:
            to_read.add(file["path"])
        else:
            reached(partition, last)
    for fragment in ledger.to_pyarrow_dataset().get_fragments() if to_read else ():
        if fragment.path.lstrip("/") in to_read:
            columns = fragment.to_table(columns=["kafka_partition", "kafka_offset"])
            last = columns.group_by("kafka_partition").aggregate([("kafka_offset", "max")])
            for row in last.to_pylist():
                reached(row["kafka_partition"], row["kafka_offset_max"])
    return landed


# --- for writers ----------------------------------------------------------------------------------

_kept: Tables = {}


def tables_for_commits() -> Tables:
    """open_tables(), but with the objects of the last call for tables that were not replaced since.

    An object that has committed never closes its connection to HDFS (deltalake 1.6.6). With new
    objects for each landing, make follow would reach the limit of open files within hours.
    """
    opened = open_tables()
    reused = table_files.at_once(lambda table: reuse(_kept.get(table), opened[table]), opened)
    for table, done in zip(opened, reused, strict=True):
        if not done:
            _kept[table] = opened[table]
    return dict(_kept)


def reuse(kept: deltalake.DeltaTable | None, opened: deltalake.DeltaTable | None) -> bool:
    """Updates `kept` to the version of `opened`, which was just opened from the same path.

    False when that is another table by now, for example one that make restore put there.
    """
    if kept is None or opened is None:
        return False
    if kept.version() > opened.version() or kept.metadata().id != opened.metadata().id:
        return False
    kept.update_incremental()
    return sorted(kept.file_uris()) == sorted(opened.file_uris())


def create_tables(topic_id: str) -> None:
    """Creates the tables, empty, that are missing."""

    def create(name):
        if open_table(name) is None:
            deltalake.DeltaTable.create(
                table_path(name),
                delta_schema(name),
                mode="ignore",
                configuration={TOPIC_ID: topic_id, **RETENTION},
                raise_if_key_not_exists=False,
            )

    table_files.at_once(create, message.TABLES)


def bring_up_to_date(tables: Tables) -> None:
    """Adds declared columns and properties that tables of older scripts lack.

    Failure when a table has an undeclared column (of newer scripts), or one of another type, or
    lacks a required column. Nothing is changed then.
    """
    missing = {}
    there = {name: delta for name, delta in tables.items() if delta is not None}
    for name, delta in there.items():
        declared = {field.name: field for field in delta_schema(name).fields}
        found = {field.name: field for field in delta.schema().fields}
        unknown = [
            column
            for column in found
            if column not in declared or found[column].type != declared[column].type
        ]
        if unknown:
            raise Failure(
                f"table {name} of feed {config.TOPIC} has a column that these scripts do not know: "
                f"{', '.join(unknown)}",
                f"looked in {table_path(name)}; newer scripts have landed this feed, "
                "or somebody has changed the table; nothing was changed",
                "use the scripts that made the column (git pull), "
                "or move the feed aside (hadoop fs -mv) and land it again",
            )
        lacking = [field for column, field in declared.items() if column not in found]
        required = [field.name for field in lacking if not field.nullable]
        if required:
            raise Failure(
                f"table {name} of feed {config.TOPIC} lacks the required column "
                f"{', '.join(required)}",
                f"looked in {table_path(name)}; what is landed already cannot have it; "
                "nothing was changed",
                "declare the field as optional in scripts/lib/message.py (required=False)",
            )
        if lacking:
            missing[name] = delta, lacking
    for name, (delta, lacking) in missing.items():
        delta.alter.add_columns(lacking)
        print(
            f"  table {name}: new column {', '.join(field.name for field in lacking)}; "
            f"null in what was landed before, until make reprocess{of_feed()}",
            flush=True,
        )
    for delta in there.values():
        if not RETENTION.items() <= delta.metadata().configuration.items():
            delta.alter.set_table_properties(RETENTION, raise_if_not_exists=False)


def check_none_is_gone(tables: Tables) -> None:
    """Failure when some of the feed's tables exist and others do not.

    Empty tables do not count: a landing that was killed while it created them creates the rest.
    """
    there = {name: table for name, table in tables.items() if table is not None}
    gone = " and ".join(name for name in message.TABLES if name not in there)
    if gone and position_of(tables["messages"]):
        raise Failure(
            f"of feed {config.TOPIC} the table {gone} is gone, the ledger is there",
            f"looked in {table_path('')}",
            f"make reprocess{of_feed()} rebuilds it from the ledger; then: make land{of_feed()}",
        )
    feed = table_path("")[:-1]
    if gone and "messages" not in there and any(table.version() > 0 for table in there.values()):
        raise Failure(
            f"of feed {config.TOPIC} the ledger (table messages) is gone, "
            f"{' and '.join(there)} there",
            f"looked in {table_path('')}",
            f"move it aside: make shell{of_feed()}, then: hadoop fs -mv {feed} {feed}_old; "
            f"then make restore{of_feed()}, if there is a backup, or make land{of_feed()}",
        )


def wait_for_readers() -> None:
    """Waits for the grace period, after attempts were deleted and before their children are."""
    print(
        f"  {GRACE_PERIOD_S} s for readers who have opened attempts that are deleted now, "
        "and open their children next",
        flush=True,
    )
    time.sleep(GRACE_PERIOD_S)


def delete_orphaned_rows() -> None:
    """Deletes child rows without an attempt, after the grace period when there are any.

    Their attempt may have been deleted a moment ago.
    """
    attempts = batch.read(open_table("attempts").to_pyarrow_dataset(), ["keen_id"])
    keen_ids = attempts["keen_id"].combine_chunks()
    orphans = {}
    for child in ("questions", "options"):
        found = {
            keen_id
            for rows in batch.rows_without_attempt(open_table(child), keen_ids)
            for keen_id in rows["keen_id"].unique().to_pylist()
        }
        if found:
            orphans[child] = sorted(found)
    if orphans:
        wait_for_readers()
    for child, without_attempt in orphans.items():
        batch.delete_attempts(open_table(child), without_attempt)


def delete_uncommitted_rows(landed: dict[int, int]) -> None:
    """Deletes the rows of an interrupted batch: all that are not before `landed`.

    Needed without a checkpoint, because the batch is not repeated then: its records are landed as
    new ones. Attempts go first, so that none is ever without its children.
    """
    committed = " OR ".join(
        f"(kafka_partition = {partition} AND kafka_offset < {end})"
        for partition, end in landed.items()
    )
    open_table("attempts").delete(f"NOT ({committed or 'false'})")
    delete_orphaned_rows()
