"""Writes a feed's tables as files: Parquet, CSV, or one DuckDB file."""

import contextlib
import itertools
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import FileSystemDataset

from pipeline import errors
from pipeline.errors import Failure
from pipeline.message.declaration import TABLES
from pipeline.message.documentation import columns_as_markdown
from pipeline.settings import Feed
from pipeline.tables import delta, parquet, sql
from pipeline.tables.lock import feed_lock

# The oldest version of DuckDB's format that holds the types of the tables.
DUCKDB_STORAGE = "v0.10.2"
SLICE = 16 * 2**20  # bytes of the rows that DuckDB is given at once
NOTES = {  # how a format differs from the tables
    "parquet": "",
    "csv": " Text is in UTF-8, bytes (binary) are in base64, a time ends in its zone, and null is "
    "an empty field without quotes. A text may begin with = + - or @: a spreadsheet would take it "
    "for a formula.",
    "duckdb": f" DuckDB {DUCKDB_STORAGE.removeprefix('v')} or newer opens the file.",
}


def export(feed: Feed) -> None:
    """Writes the knob TABLE, or all tables, to the folder OUT, and prints each with its rows."""
    begin, out = time.monotonic(), target(feed)
    names = [feed.settings.table] if feed.settings.table else delta.READING_ORDER
    # Between two landings the four tables agree. Opened tables stay as they are.
    with feed_lock(feed):
        tables = sql.open_tables(feed)
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        make_folder(feed, new)
        write(feed, {name: tables[name] for name in names}, new)
        about = "SYNTHETIC data: invented, no real user did this. " if feed.is_synthetic else ""
        about += "Times are UTC. A column marked * is never null." + NOTES[feed.settings.format]
        parts = [f"## {name}\n\n{columns_as_markdown(name)}" for name in names]
        meanings = "\n\n".join([f"# Feed {feed.topic}", about, *parts]) + "\n"
        (new / "dictionary.md").write_text(meanings, encoding="utf-8")
        new.rename(out)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            shutil.rmtree(new)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s")


def target(feed: Feed) -> pathlib.Path:
    """OUT. Failure when it is not given, or is there already."""
    out = feed.settings.out
    if out and not os.path.lexists(out.rstrip("/")):
        return pathlib.Path(out).absolute()
    found = f"OUT is {out}, and that exists" if out else "OUT is not set"
    if out and not os.path.exists(out):
        found = f"OUT is {out}, a link to {os.readlink(out.rstrip('/'))}, which is not there"
    raise Failure(
        found,
        "it names the folder to write, which must not exist yet: nothing is overwritten",
        feed.make("export", OUT=f"{feed.topic}-export"),
    )


def make_folder(feed: Feed, new: pathlib.Path) -> None:
    """Makes the folder. Failure when OUT is no path at which one can be made."""
    try:
        new.mkdir(parents=True, mode=0o700)
    except OSError as error:
        if isinstance(error, PermissionError) or errors.kind_of(error):  # no right, or no space
            raise
        raise Failure(
            f"OUT is {feed.settings.out}, and no folder can be made there",
            errors.cause(error),
            f"name another one: {feed.make('export', OUT=f'{feed.topic}-export')}",
        ) from None


def write(feed: Feed, tables: dict[str, FileSystemDataset], folder: pathlib.Path) -> None:
    """Writes the tables into the folder, and prints each with its rows."""
    kind, database = feed.settings.format, sql.database(feed)
    database.execute("SET preserve_insertion_order = false")  # otherwise memory grows with a table
    if kind == "duckdb":
        path = quoted(f"{folder}/{feed.topic}.duckdb")
        database.execute(f"ATTACH {path} AS out (STORAGE_VERSION '{DUCKDB_STORAGE}')")
    for name, rows in tables.items():
        file = f"{feed.topic if kind == 'duckdb' else name}.{kind}"
        if kind == "parquet":
            number = write_parquet(rows, folder / file)
        else:
            database.register("rows", pa.RecordBatchReader.from_batches(rows.schema, slices(rows)))
            statement = f"CREATE TABLE out.{name} AS FROM rows"
            if kind == "csv":
                to = quoted(f"{folder}/{file}")
                statement = f"COPY (SELECT {as_csv(rows.schema)} FROM rows) TO {to} (HEADER)"
            (number,) = database.execute(statement).fetchone() or (0,)
        print(f"  {name:<10} {number:>12,} rows  {file}", flush=True)
        for column in TABLES[name] if kind == "duckdb" else ():
            meaning = quoted(column.meaning)
            database.execute(f"COMMENT ON COLUMN out.{name}.{column.name} IS {meaning}")
    if kind == "duckdb":
        database.execute("DETACH out")


def write_parquet(rows: FileSystemDataset, path: pathlib.Path) -> int:
    """Writes a table to a Parquet file. Returns the number of its rows."""
    number = 0
    with parquet.writer(path, rows.schema) as writer:
        for frame in parquet.merged(row_groups(rows)):
            writer.write_table(frame, row_group_size=len(frame))
            number += len(frame)
    return number


def as_csv(schema: pa.Schema) -> str:
    """The columns in SQL; bytes in base64, because CSV is text."""
    return ", ".join(
        f"base64({field.name}) AS {field.name}" if pa.types.is_binary(field.type) else field.name
        for field in schema
    )


def row_groups(rows: FileSystemDataset) -> Iterator[pa.Table]:
    for file in rows.get_fragments():
        yield from delta.row_groups(file, rows.schema)


def slices(rows: FileSystemDataset) -> Iterator[pa.RecordBatch]:
    """The rows of a table, in parts whose texts and bytes take at most about SLICE each."""
    for frame in row_groups(rows):
        sizes = sum(
            (size_of_each(column) for column in frame.columns), numpy.zeros(len(frame), int)
        )
        part = numpy.cumsum(sizes) // SLICE
        cuts = [0, *(numpy.flatnonzero(numpy.diff(part)) + 1), len(frame)]
        for begin, end in itertools.pairwise(cuts):
            yield from frame.slice(begin, end - begin).to_batches()


def size_of_each(column: pa.ChunkedArray) -> Any:
    """The bytes of each text, or binary, of a column; 0 for other types."""
    if pa.types.is_dictionary(column.type):
        found = [
            pc.binary_length(chunk.dictionary).take(chunk.indices).fill_null(0)
            for chunk in column.chunks
        ]
        return numpy.concatenate([numpy.zeros(0, int), *found])
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return pc.binary_length(column).fill_null(0).to_numpy()
    return 0


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
