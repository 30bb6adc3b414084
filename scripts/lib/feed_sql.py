"""The feed's four tables in DuckDB, for verify.py and export.py: SQL without Spark."""

import duckdb

import config
import errors
import knobs
import lake

MEMORY_LIMIT = "1GB"  # DuckDB spills to the run folder beyond it


def open_tables() -> duckdb.DuckDBPyConnection:
    """A database with the tables as they are now. Failure when there are none, or only some.

    `attempts` is opened first: landing commits children before their attempts, so every attempt
    of this version has its children.
    """
    lake.check_none_is_gone(lake.open_tables())
    if lake.open_table("messages") is None:
        raise errors.Failure(
            f"there are no tables of feed {config.TOPIC} yet",
            f"looked in {lake.table_path('')}",
            f"make land{knobs.of_feed()}",
        )
    database = duckdb.connect()
    database.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
    database.execute(f"set temp_directory = '{config.RUN_DIR}/duckdb'")
    # DuckDB would push filters down to pyarrow, which cannot compare texts in files that delta-rs
    # wrote (type string_view). Such files exist after somebody optimized or updated a table.
    database.execute("set disabled_optimizers = 'filter_pushdown,join_filter_pushdown'")
    for name in ("attempts", "questions", "options", "messages"):
        database.register(name, lake.open_table(name).to_pyarrow_dataset())
    return database
