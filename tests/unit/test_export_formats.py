"""What the files of make export hold, in each format: read by other programs."""

import base64
import csv
import datetime

import deltalake
import duckdb
import numpy
import pyarrow as pa
import pytest

from pipeline import settings
from pipeline.backup import export
from pipeline.errors import Failure
from pipeline.message import columns
from pipeline.tables import delta

NAMES = [
    '=HYPERLINK("http://example.invalid","x")', "+1+1", "@SUM(1)", "\t=1", "\r=1", "a,b", 'a "b"',
    "two\nlines", "cr\rin it", "crlf\r\nin it", "", " ", "NULL", "007", "1e5", "Café 日本語 🎓",
    "שלום", "it's", "a;b", "back\\slash", "\\N", "#x", "trailing ", "\ufeffbom",
]  # fmt: skip
BYTES = [b'{"a":1}', b"\xff\xfe\x00", b"", None]


def table(folder, name, rows):
    """A Delta table with these rows; columns that they lack are filled."""
    fill = {pa.string(): "x", pa.int32(): 1, pa.int64(): 2, pa.bool_(): True, pa.binary(): b"b"}
    fill[columns.ARROW["timestamp"]] = datetime.datetime(2018, 1, 23, tzinfo=datetime.timezone.utc)
    schema = columns.SCHEMAS[name]
    whole = [{field.name: fill[field.type] for field in schema} | row for row in rows]
    path = str(folder / name)
    deltalake.DeltaTable.create(path, delta.delta_schema(name))
    if rows:
        deltalake.write_deltalake(path, pa.Table.from_pylist(whole, schema), mode="append")
    return delta.dataset(deltalake.DeltaTable(path))


@pytest.fixture(name="write")
def the_write(tmp_path):
    """Writes a table in a format. Returns the folder."""

    def write(name, rows, kind):
        environ = {"RUN_DIR": str(tmp_path), "FORMAT": kind, "TOPIC": "f"}
        out = tmp_path / f"out-{kind}"
        out.mkdir()
        export.write(settings.read(environ).feed(), {name: table(tmp_path, name, rows)}, out)
        return out

    return write


def test_csv_holds_texts_as_they_are(write):
    rows = [{"keen_id": str(n), "exam_name": name} for n, name in enumerate(NAMES)]
    with open(
        write("attempts", rows, "csv") / "attempts.csv", newline="", encoding="utf-8"
    ) as file:
        found = {row["keen_id"]: row["exam_name"] for row in csv.DictReader(file)}
    assert found == {row["keen_id"]: row["exam_name"] for row in rows}


def test_csv_holds_bytes_in_base64(write):
    rows = [{"kafka_offset": n, "key": b"k", "value": value} for n, value in enumerate(BYTES)]
    with open(write("messages", rows, "csv") / "messages.csv", newline="") as file:
        found = {int(row["kafka_offset"]): row["value"] for row in csv.DictReader(file)}
    assert [base64.b64decode(found[n]) for n in range(len(BYTES))] == [v or b"" for v in BYTES]
    assert "base64" in export.NOTES["csv"]


def test_older_versions_of_duckdb_can_open_the_file(write):
    """The version of the format is a number at byte 12: DuckDB 0.10 to 1.1 know 64 at most."""
    file = write("messages", [{"value": value} for value in BYTES], "duckdb") / "f.duckdb"
    assert int.from_bytes(file.read_bytes()[12:20], "little") == 64
    with duckdb.connect(str(file), read_only=True) as database:
        assert [row[0] for row in database.sql("SELECT value FROM messages").fetchall()] == BYTES


@pytest.mark.parametrize("kind", ["parquet", "csv", "duckdb"])
def test_a_table_without_rows_is_written(write, kind):
    out = write("options", [], kind)
    assert len([*out.iterdir()]) == 1


def test_duckdb_gets_a_long_text_in_slices(tmp_path):
    rows = [
        {"keen_id": "a", "exam_name": "N" * 1_000_000, "option_position": n} for n in range(100)
    ]
    found = [*export.slices(table(tmp_path, "options", rows))]
    assert sum(map(len, found)) == 100 and max(map(len, found)) <= 17
    positions = numpy.concatenate([batch["option_position"].to_numpy() for batch in found])
    assert positions.tolist() == [*range(100)]


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path):
    (tmp_path / "link").symlink_to("/nonexistent/x")
    (tmp_path / "file").write_text("")

    def failure(out):
        feed = settings.read({"OUT": str(out)}).feed()
        with pytest.raises(Failure) as raised:
            export.make_folder(feed, export.target(feed))
        return raised.value.what

    assert failure(f"{tmp_path}/link").endswith("a link to /nonexistent/x, which is not there")
    assert failure(f"{tmp_path}/link/").endswith("a link to /nonexistent/x, which is not there")
    assert "no folder can be made there" in failure(f"{tmp_path}/file/out")
    assert "no folder can be made there" in failure(f"{tmp_path}/link/out")
    assert "that exists" in failure(f"{tmp_path}/file")
