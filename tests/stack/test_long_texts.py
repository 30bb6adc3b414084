"""A long text that a message has once and thousands of its rows repeat: 3 GB, written out."""

import contextlib

import deltalake
import hdfs_native
import pyarrow.compute as pc
import pyarrow.parquet
import pytest
from kafka import KafkaProducer

from messages import good
from pipeline.tables import commits
from pipeline.tables.parquet import REPEATED
from stacks import TABLES

OPTIONS = 6000
LONG = {"keen_id": "K" * 100_000, "base_exam_id": "E" * 100_000, "exam_name": "N" * 200_000}
QUESTION = "Q" * 100_000


def long_message():
    options = [{"checked": False, "id": str(number)} for number in range(OPTIONS)]
    questions = [{"id": QUESTION, "options": options}]
    return good(**LONG, sequences={"questions": questions, "attempt": 1, "id": "s"})


@pytest.fixture(scope="module", name="feed")
def the_feed(stack):
    """The message and three small ones, each landed alone; the last landing has compacted them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commits, "SMALL_FILES", 4)
        stack.run("topic", TOPIC="long_texts")
        for message in (long_message(), *(good(keen_id=f"short-{n}") for n in range(3))):
            stack.kcat("long_texts", message)
            said = stack.run("land", TOPIC="long_texts")
            assert "not compacted" not in said
    return "long_texts"


def files(stack, feed, table):
    found = deltalake.DeltaTable(f"{stack.hdfs}/warehouse/{feed}/{table}").file_uris()
    return [path.removeprefix(stack.hdfs) for path in found]


def check_options(path):
    """The rows of the table options in a Parquet file, or in several."""
    rows = pyarrow.parquet.read_table(path, read_dictionary=REPEATED)
    assert len(rows) == OPTIONS + 3 * 5
    rows = rows.filter(pc.equal(rows["keen_id"].cast("string"), LONG["keen_id"]))
    assert sorted(rows["option_position"].to_pylist()) == [*range(OPTIONS)]
    for name, text in {**LONG, "question_id": QUESTION}.items():
        assert rows[name].unique().to_pylist() == [text]


@pytest.mark.thorough
def test_landing_compacts_it(stack, feed, tmp_path):
    for table in TABLES:
        (path,) = files(stack, feed, table)
        size = hdfs_native.Client(stack.hdfs).get_file_info(path).length
        assert size < 2**20
        if table == "options":
            with hdfs_native.Client(stack.hdfs).read(path) as file:
                (tmp_path / "options").write_bytes(file.read())
    check_options(tmp_path / "options")


@pytest.mark.thorough
def test_it_is_exported_verified_and_rebuilt(stack, feed, tmp_path):
    stack.run("export", TOPIC=feed, OUT=tmp_path / "out")
    check_options(tmp_path / "out/options.parquet")
    assert (tmp_path / "out/options.parquet").stat().st_size < 2**20
    stack.run("verify", TOPIC=feed, DATA="none")
    assert "every verdict is the same" in stack.run("reprocess", TOPIC=feed)
    stack.run("verify", TOPIC=feed, DATA="none")


@pytest.mark.thorough
def test_a_repeat_in_the_same_batch_is_taken_out(stack):
    """The earlier one comes second, so that the driver corrects the files."""
    stack.run("topic", TOPIC="long_twice")
    with contextlib.closing(KafkaProducer(bootstrap_servers=stack.kafka)) as producer:
        for time in (2000, 1000):
            producer.send("long_twice", long_message(), timestamp_ms=time).get(60)
    stack.run("land verify", TOPIC="long_twice", DATA="none")


@pytest.mark.thorough
def test_a_compaction_that_fails_is_a_note(stack, monkeypatch):
    monkeypatch.setattr(commits, "SMALL_FILES", 2)
    stack.run("topic", TOPIC="not_compacted")
    stack.kcat("not_compacted", good())
    stack.run("land", TOPIC="not_compacted")
    (path,) = files(stack, "not_compacted", "options")
    client = hdfs_native.Client(stack.hdfs)
    client.rename(path, "/away")
    stack.kcat("not_compacted", good(keen_id="second"))
    assert "the tables were not compacted" in stack.run("land", TOPIC="not_compacted")
    assert "    trouble   not compacted: " in stack.run("status", TOPIC="not_compacted")
    client.rename("/away", path)
    stack.kcat("not_compacted", good(keen_id="third"))
    assert "not compacted" not in stack.run(
        "land status verify", TOPIC="not_compacted", DATA="none"
    )
