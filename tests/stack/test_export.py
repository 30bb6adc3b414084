"""make export: the files hold the rows of the tables, in each format, or nothing is written."""

import csv

import duckdb
import pyarrow.parquet
import pytest

from stacks import TABLES

FEED = "synthetic_a"


def in_order(rows):
    return sorted(rows, key=repr)


@pytest.fixture(name="out")
def the_out(tmp_path):
    return tmp_path / "out of 'the' feed"  # a path is data


def test_parquet_files_hold_every_row_and_the_dictionary(stack, synthetic, out):
    said = stack.make("export", TOPIC=FEED, OUT=out)
    for name in TABLES:
        expected = stack.table(FEED, name)
        rows = pyarrow.parquet.read_table(out / f"{name}.parquet").to_pylist()
        assert in_order(rows) == in_order(expected)
        assert f"{name:<10} {len(expected):>12,} rows" in said
    dictionary = (out / "dictionary.md").read_text()
    assert "SYNTHETIC" in dictionary and "| `started_at`* | timestamp |" in dictionary
    assert out.stat().st_mode & 0o077 == 0  # customers' data
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


def test_one_table_as_csv(stack, synthetic, out):
    stack.run("export", TOPIC=FEED, OUT=out, FORMAT="csv", TABLE="attempts")
    assert {path.name for path in out.iterdir()} == {"attempts.csv", "dictionary.md"}
    with open(out / "attempts.csv", newline="") as file:
        rows = {row["keen_id"]: row for row in csv.DictReader(file)}
    for attempt in stack.table(FEED, "attempts"):
        row = rows.pop(attempt["keen_id"])
        assert (row["exam_name"], row["total"]) == (
            attempt["exam_name"],
            "" if attempt["total"] is None else str(attempt["total"]),
        )
        assert row["started_at"].startswith(f"{attempt['started_at']:%Y-%m-%d %H:%M:%S}")
        assert row["started_at"].endswith("+00")
    assert not rows


def test_a_duckdb_file_holds_every_row_and_the_meanings(stack, synthetic, out):
    stack.run("export", TOPIC=FEED, OUT=out, FORMAT="duckdb")
    with duckdb.connect(str(out / f"{FEED}.duckdb"), read_only=True) as database:
        for name in TABLES:
            rows = database.sql(f"FROM {name}").to_arrow_table().to_pylist()
            assert in_order(map(str, rows)) == in_order(map(str, stack.table(FEED, name)))
        meanings = "SELECT comment FROM duckdb_columns() WHERE column_name = 'checked'"
        assert database.execute(meanings).fetchone() == ("checked at the end",)


def test_what_cannot_be_exported_is_named_and_writes_nothing(stack, synthetic, out):
    assert "OUT is not set" in stack.run("export", ok=False, TOPIC=FEED)
    assert "FORMAT is xlsx" in stack.run("export", ok=False, TOPIC=FEED, OUT=out, FORMAT="xlsx")
    assert "no tables of feed" in stack.run("export", ok=False, TOPIC="nowhere", OUT=out)
    assert not out.exists()
    out.mkdir()
    assert "and that exists" in stack.run("export", ok=False, TOPIC=FEED, OUT=out)
    assert list(out.iterdir()) == []
