"""Write a feed's tables as files, for people who get no access: Parquet, CSV, or one DuckDB file.

Run by: make export OUT=folder [FORMAT=parquet] [TABLE=attempts] [TOPIC=…]
    scripts/lib/env.sh python scripts/export.py

OUT, which must not exist, gets one file per table (or TOPIC.duckdb), and dictionary.md with the
meaning of each column. All tables are of one moment between two landings. OUT appears when it is
complete; a killed export leaves a hidden folder beside it at most. Times are UTC.
"""

import contextlib
import os
import pathlib
import shutil
import time

import config
import errors
import feed_sql
import knobs
import message
import writing
from dictionary import columns_as_markdown

# {format: how DuckDB's COPY writes it}
FILES = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER"}


def target() -> pathlib.Path:
    """OUT. Failure when it is not given, or is there already."""
    out = pathlib.Path(os.environ["OUT"] or ".")
    if os.environ["OUT"] and not out.exists():
        return out.absolute()
    raise errors.Failure(
        f"OUT is {os.environ['OUT']}, and that exists" if os.environ["OUT"] else "OUT is not set",
        "it names the folder to write, which must not exist yet: nothing is overwritten",
        f"make export{knobs.of_feed()} OUT={config.TOPIC}-export",
    )


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def write(database, kind, tables, folder):
    """Writes the tables into the folder, and prints each with its rows."""
    if kind == "duckdb":
        file = folder / f"{config.TOPIC}.duckdb"
        database.execute(f"ATTACH {quoted(str(file))} AS out")
    for name in tables:
        if kind == "duckdb":
            (rows,) = database.execute(f"CREATE TABLE out.{name} AS FROM {name}").fetchone()
            for column in message.TABLES[name]:
                meaning = quoted(column.meaning)
                database.execute(f"COMMENT ON COLUMN out.{name}.{column.name} IS {meaning}")
        else:
            file = folder / f"{name}.{kind}"
            copy = f"COPY {name} TO {quoted(str(file))} ({FILES[kind]})"
            (rows,) = database.execute(copy).fetchone()
        print(f"  {name:<10} {rows:>12,} rows  {file.name}", flush=True)
    if kind == "duckdb":
        database.execute("DETACH out")


def main():
    begin, out = time.monotonic(), target()
    kind, table = os.environ["FORMAT"], os.environ["TABLE"]
    tables = [table] if table else ["attempts", "questions", "options", "messages"]
    # Between two landings the four tables agree. Opened tables stay as they are.
    with writing.feed_lock():
        database = feed_sql.open_tables()
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET preserve_insertion_order = false")  # otherwise memory grows with a table
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    new.mkdir(parents=True, mode=0o700)
    try:
        write(database, kind, tables, new)
        about = "Times are UTC. A column marked * is never null."
        if config.TOPIC.startswith("synthetic"):
            about = f"SYNTHETIC data: invented, no real user did this. {about}"
        parts = [f"# Feed {config.TOPIC}", about]
        parts += [f"## {name}\n\n{columns_as_markdown(name)}" for name in tables]
        (new / "dictionary.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        new.rename(out)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(new)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s")


if __name__ == "__main__":
    errors.run(main)
