"""The floor: kcat reads the topic into DuckDB, which writes one nested Parquet file to local disk.

Run by: make bench
    TOPIC=assessments scripts/env.sh python bench/floor.py

DuckDB infers the type. No JVM and no HDFS; keeps no ledger and checks nothing. Memory is limited
to the 1 GB that Spark's driver gets.
"""

import os
import subprocess
import sys

import duckdb

from pipeline import settings

knobs = settings.load()
read = ["kcat", "-C", "-b", knobs.kafka, "-t", knobs.topic, "-o", "beginning", "-e", "-q"]
kcat = subprocess.Popen(read, stdout=subprocess.PIPE)
assert kcat.stdout
os.dup2(kcat.stdout.fileno(), 0)  # DuckDB reads /dev/stdin
duckdb.sql("SET memory_limit = '1GB'; SET preserve_insertion_order = false")
duckdb.sql(f"""
    COPY (FROM read_json('/dev/stdin', format = 'newline_delimited'))
    TO '{knobs.in_run_dir(f"{knobs.topic}-floor.parquet")}'
    (FORMAT parquet, ROW_GROUP_SIZE 8192)""")
sys.exit(kcat.wait())
