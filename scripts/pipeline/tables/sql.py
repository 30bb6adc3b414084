"""The feed's four tables in DuckDB, for verify and export: SQL without Spark."""

import duckdb

from pipeline.errors import Failure
from pipeline.settings import Feed
from pipeline.tables import delta

MEMORY_LIMIT = "1GB"  # DuckDB spills to the run folder beyond it


def open_tables(feed: Feed) -> duckdb.DuckDBPyConnection:
    """A database with the tables as they are now. Failure when there are none, or only some."""
    delta.check_none_is_gone(feed, delta.open_tables(feed))
    if delta.open_table(feed, "messages") is None:
        raise Failure(
            f"there are no tables of feed {feed.topic} yet",
            f"looked in {feed.path()}",
            feed.make("land"),
        )
    database = duckdb.connect()
    database.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
    database.execute(f"set temp_directory = '{feed.settings.in_run_dir('duckdb')}'")
    # DuckDB would push filters down to pyarrow, which cannot compare texts in files that delta-rs
    # wrote (type string_view). Such files exist after somebody optimized or updated a table.
    database.execute("set disabled_optimizers = 'filter_pushdown,join_filter_pushdown'")
    for name in delta.READING_ORDER:
        database.register(name, delta.existing_table(feed, name).to_pyarrow_dataset())
    return database
