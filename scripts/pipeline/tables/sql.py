"""The feed's four tables, opened for verify and export; and DuckDB, which queries them."""

import duckdb
from pyarrow.dataset import FileSystemDataset

from pipeline.errors import Failure
from pipeline.settings import Feed
from pipeline.tables import delta

MEMORY_LIMIT = "1GB"  # DuckDB spills to the run folder beyond it
# A long keen_id is compared by its hash: DuckDB would hold it for each row. No short one is equal
# to such a hash, which has 71 characters.
KEY = "CASE WHEN length(keen_id) > 64 THEN 'sha256:' || sha256(keen_id) ELSE keen_id END"


def open_tables(feed: Feed) -> dict[str, FileSystemDataset]:
    """The tables as they are now. Failure when there are none, or only some."""
    delta.check_none_is_gone(feed, delta.open_tables(feed))
    if delta.open_table(feed, "messages") is None:
        raise Failure(
            f"there are no tables of feed {feed.topic} yet",
            f"looked in {feed.path()}",
            feed.make("land"),
        )
    return {name: delta.dataset(delta.existing_table(feed, name)) for name in delta.READING_ORDER}


def database(feed: Feed) -> duckdb.DuckDBPyConnection:
    """A new database in memory."""
    connection = duckdb.connect()
    connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
    connection.execute(f"set temp_directory = '{feed.settings.in_run_dir('duckdb')}'")
    connection.execute("set TimeZone = 'UTC'")
    # DuckDB would push filters down to pyarrow, which cannot compare texts in files that delta-rs
    # wrote (type string_view). Such files exist after somebody optimized or updated a table.
    connection.execute("set disabled_optimizers = 'filter_pushdown,join_filter_pushdown'")
    return connection


def with_tables(feed: Feed) -> duckdb.DuckDBPyConnection:
    """A database with the feed's tables, in which a long keen_id is replaced by its hash."""
    connection = database(feed)
    for name, rows in open_tables(feed).items():
        connection.register(f"{name}_in_hdfs", rows)
        select = f"SELECT * REPLACE ({KEY} AS keen_id) FROM {name}_in_hdfs"
        connection.execute(f"CREATE VIEW {name} AS {select}")
    return connection
