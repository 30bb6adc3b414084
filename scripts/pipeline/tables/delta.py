"""The feed's four Delta tables: opened, created, and brought up to date with the declaration."""

import json
from collections.abc import Iterator
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.dataset
from deltalake.exceptions import TableNotFoundError
from pyarrow.dataset import Fragment

from pipeline.errors import Failure
from pipeline.message.declaration import TABLES, delta_fields
from pipeline.settings import Feed
from pipeline.tables import position
from pipeline.tables.hdfs import at_once
from pipeline.tables.parquet import REPEATED

TOPIC_ID = "kafka.topic.id"  # property of each table
# Grace periods: hours for which files of older versions are kept. No query runs longer.
KEPT_H = 24
# Delta's log keeps the commits of this time, and tombstones of removed files for KEPT_H:
# make follow commits thousands of times a day, and readers list the whole log.
RETENTION = {
    "delta.logRetentionDuration": "interval 1 hour",
    "delta.deletedFileRetentionDuration": f"interval {KEPT_H} hours",
}
# The order in which readers open them, so that each attempt has its children.
READING_ORDER = ("attempts", "questions", "options", "messages")

Tables = dict[str, deltalake.DeltaTable]  # those that exist


def open_table(feed: Feed, table: str) -> deltalake.DeltaTable | None:
    """The current version of a table; None when there is no such table."""
    try:
        return deltalake.DeltaTable(feed.path(table))
    except TableNotFoundError:
        return None


def existing_table(feed: Feed, table: str) -> deltalake.DeltaTable:
    """The current version of a table that must exist."""
    return deltalake.DeltaTable(feed.path(table))


def open_tables(feed: Feed) -> Tables:
    """Those of the four tables that exist, opened at once."""
    opened = at_once(lambda table: open_table(feed, table), TABLES)
    return {name: delta for name, delta in zip(TABLES, opened, strict=True) if delta is not None}


def delta_schema(name: str) -> deltalake.Schema:
    """The declared columns of a table."""
    fields = {"type": "struct", "fields": delta_fields(name)}
    return deltalake.Schema.from_json(json.dumps(fields))


def read(source: Any, columns: list[str] | None = None) -> pa.Table:
    """The rows of a table (a pyarrow Dataset) or of one of its files (a Fragment).

    Casts string views, as delta-rs returns them, to strings, because pyarrow cannot compare views.
    """
    frame = source.to_table(columns=columns)
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    fields = [field.with_type(plain.get(field.type, field.type)) for field in frame.schema]
    return frame.cast(pa.schema(fields))


def dataset(table: deltalake.DeltaTable) -> pyarrow.dataset.FileSystemDataset:
    """The rows of a table, with the columns REPEATED as dictionaries."""
    plain, repeated = table.to_pyarrow_dataset(), pa.dictionary(pa.int32(), pa.string())
    fields = [
        field.with_type(repeated) if field.name in REPEATED else field for field in plain.schema
    ]
    options = pyarrow.dataset.ParquetReadOptions(dictionary_columns=REPEATED)
    form = pyarrow.dataset.ParquetFileFormat(read_options=options)
    # Without delta-rs's statistics of each file: with them, pyarrow 26 encodes the columns twice.
    files = [form.make_fragment(file.path, file.filesystem) for file in plain.get_fragments()]
    return pyarrow.dataset.FileSystemDataset(files, pa.schema(fields), form)


def row_groups(file: Fragment, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a file of a dataset, which has this schema, one row group at a time."""
    for group in file.split_by_row_group():
        yield group.to_table(schema)


_kept: dict[str, Tables] = {}  # by the feed's path


def tables_for_commits(feed: Feed) -> Tables:
    """open_tables(), but with the objects of the last call for tables that were not replaced since.

    An object that has committed never closes its connection to HDFS (deltalake 1.6.6): with new
    ones for each landing, make follow would reach the limit of open files.
    """
    kept, opened = _kept.get(feed.path(), {}), open_tables(feed)

    def newest(name: str) -> deltalake.DeltaTable:
        return kept[name] if name in kept and _reuse(kept[name], opened[name]) else opened[name]

    _kept[feed.path()] = dict(zip(opened, at_once(newest, opened), strict=True))
    return _kept[feed.path()]


def _reuse(kept: deltalake.DeltaTable, opened: deltalake.DeltaTable) -> bool:
    """Updates `kept` to the version of `opened`; False when that is another table by now."""
    if kept.version() > opened.version() or kept.metadata().id != opened.metadata().id:
        return False
    kept.update_incremental()
    return sorted(kept.file_uris()) == sorted(opened.file_uris())


def create_tables(feed: Feed, topic_id: str | None) -> None:
    """Creates the tables, empty, that are missing."""

    def create(name: str) -> None:
        if open_table(feed, name) is None:
            deltalake.DeltaTable.create(
                feed.path(name),
                delta_schema(name),
                mode="ignore",
                configuration={TOPIC_ID: topic_id, **RETENTION},
                raise_if_key_not_exists=False,
            )

    at_once(create, TABLES)


def bring_up_to_date(feed: Feed, tables: Tables) -> None:
    """Adds declared columns and properties that tables of older scripts lack.

    Failure, and no change, when a table has a column of newer scripts or of another type, or lacks
    a required one.
    """
    lacking = {name: _lacking_columns(feed, name, delta) for name, delta in tables.items()}
    for name, columns in lacking.items():
        if columns:
            tables[name].alter.add_columns(columns)
            print(
                f"  table {name}: new column {', '.join(column.name for column in columns)}; "
                f"null in what was landed before, until {feed.make('reprocess')}",
                flush=True,
            )
    for delta in tables.values():
        if not RETENTION.items() <= delta.metadata().configuration.items():
            delta.alter.set_table_properties(RETENTION, raise_if_not_exists=False)


def _lacking_columns(feed: Feed, name: str, delta: deltalake.DeltaTable) -> list[deltalake.Field]:
    """The declared columns that the table lacks. Failure: see bring_up_to_date."""
    declared = delta_schema(name).fields
    types = {field.name: field.type for field in declared}
    found = {field.name: field.type for field in delta.schema().fields}
    unknown = [column for column in found if found[column] != types.get(column)]
    if unknown:
        raise Failure(
            f"table {name} of feed {feed.topic} has a column that these scripts do not know: "
            f"{', '.join(unknown)}",
            f"looked in {feed.path(name)}; newer scripts have landed this feed, "
            "or somebody has changed the table; nothing was changed",
            "use the scripts that made the column (git pull), "
            "or move the feed aside (hadoop fs -mv) and land it again",
        )
    lacking = [field for field in declared if field.name not in found]
    required = [field.name for field in lacking if not field.nullable]
    if required:
        raise Failure(
            f"table {name} of feed {feed.topic} lacks the required column {', '.join(required)}",
            f"looked in {feed.path(name)}; what is landed already cannot have it; "
            "nothing was changed",
            "declare the field as optional in scripts/pipeline/message/declaration.py "
            "(required=False)",
        )
    return lacking


def check_none_is_gone(feed: Feed, tables: Tables) -> None:
    """Failure when some of the feed's tables exist and others do not.

    Empty tables do not count: a landing that was killed while it created them creates the rest.
    """
    folder = feed.path()[:-1]
    gone = " and ".join(name for name in TABLES if name not in tables)
    if gone and position.position_of(tables.get("messages")):
        raise Failure(
            f"of feed {feed.topic} the table {gone} is gone, the ledger is there",
            f"looked in {feed.path()}",
            f"{feed.make('reprocess')} rebuilds it from the ledger; then: {feed.make('land')}",
        )
    if gone and "messages" not in tables and any(table.version() > 0 for table in tables.values()):
        raise Failure(
            f"of feed {feed.topic} the ledger (table messages) is gone, "
            f"{' and '.join(tables)} there",
            f"looked in {feed.path()}",
            f"move it aside: {feed.make('shell')}, then: hadoop fs -mv {folder} {folder}_old; "
            f"then {feed.make('restore')}, if there is a backup, or {feed.make('land')}",
        )
