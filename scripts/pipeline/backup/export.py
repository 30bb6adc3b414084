"""Writes a feed's tables as files: Parquet, CSV, or one DuckDB file."""

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Iterable

import duckdb

from pipeline.errors import Failure
from pipeline.message.declaration import TABLES
from pipeline.message.documentation import columns_as_markdown
from pipeline.settings import Feed
from pipeline.tables import sql
from pipeline.tables.delta import READING_ORDER
from pipeline.tables.lock import feed_lock

COPY = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER"}


def export(feed: Feed) -> None:
    """Writes the knob TABLE, or all tables, to the folder OUT, and prints each with its rows."""
    begin, out = time.monotonic(), target(feed)
    tables = [feed.settings.table] if feed.settings.table else READING_ORDER
    # Between two landings the four tables agree. Opened tables stay as they are.
    with feed_lock(feed):
        database = sql.open_tables(feed)
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET preserve_insertion_order = false")  # otherwise memory grows with a table
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    new.mkdir(parents=True, mode=0o700)
    try:
        write(feed, database, tables, new)
        about = "SYNTHETIC data: invented, no real user did this. " if feed.is_synthetic else ""
        about += "Times are UTC. A column marked * is never null."
        parts = [f"## {name}\n\n{columns_as_markdown(name)}" for name in tables]
        meanings = "\n\n".join([f"# Feed {feed.topic}", about, *parts]) + "\n"
        (new / "dictionary.md").write_text(meanings, encoding="utf-8")
        new.rename(out)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(new)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s")


def target(feed: Feed) -> pathlib.Path:
    """OUT. Failure when it is not given, or is there already."""
    out = feed.settings.out
    if out and not os.path.exists(out):
        return pathlib.Path(out).absolute()
    raise Failure(
        f"OUT is {out}, and that exists" if out else "OUT is not set",
        "it names the folder to write, which must not exist yet: nothing is overwritten",
        feed.make("export", OUT=f"{feed.topic}-export"),
    )


def write(
    feed: Feed, database: duckdb.DuckDBPyConnection, tables: Iterable[str], folder: pathlib.Path
) -> None:
    """Writes the tables into the folder, and prints each with its rows."""
    kind, is_database = feed.settings.format, feed.settings.format == "duckdb"
    if is_database:
        database.execute(f"ATTACH {quoted(f'{folder}/{feed.topic}.duckdb')} AS out")
    for name in tables:
        file = f"{feed.topic if is_database else name}.{kind}"
        statement = f"CREATE TABLE out.{name} AS FROM {name}"
        if not is_database:
            statement = f"COPY {name} TO {quoted(f'{folder}/{file}')} ({COPY[kind]})"
        (rows,) = database.execute(statement).fetchone() or (0,)
        print(f"  {name:<10} {rows:>12,} rows  {file}", flush=True)
        for column in TABLES[name] if is_database else ():
            meaning = quoted(column.meaning)
            database.execute(f"COMMENT ON COLUMN out.{name}.{column.name} IS {meaning}")
    if is_database:
        database.execute("DETACH out")


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
