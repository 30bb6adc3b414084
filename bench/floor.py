"""The floor: DuckDB writes the messages of a file to one nested Parquet file on local disk.

Run by: make bench
    kcat -C -b $KAFKA -t assessments -o beginning -e -q > messages.jsonl
    scripts/env.sh python bench/floor.py messages.jsonl

It infers the type. No JVM and no HDFS; no ledger and no checks. Memory is limited to the 1 GB that
Spark's driver gets: all of a pipe would be kept in it, so there is a file between.
"""

import sys

import duckdb

from pipeline import settings

target = settings.load().in_run_dir("floor.parquet")
duckdb.sql("SET memory_limit = '1GB'; SET preserve_insertion_order = false")
duckdb.sql(f"""
    COPY (FROM read_json('{sys.argv[1]}', format = 'newline_delimited'))
    TO '{target}' (FORMAT parquet, ROW_GROUP_SIZE 8192)""")
