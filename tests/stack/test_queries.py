"""Reading a feed by hand: list and consume, the SQL and PySpark shells, SQL files of the user."""

import re

import pytest

from messages import FIVE
from stacks import TABLES, type_into


def test_list_and_consume_show_what_is_there(stack, synthetic):
    output = stack.make("list", TOPIC="synthetic_a")
    assert all(f"/warehouse/synthetic_a/{table}" in output for table in TABLES)
    output = stack.make("consume", TOPIC="synthetic_a")
    assert output.rstrip().endswith(str(len(stack.table("synthetic_a", "messages"))))
    assert '"keen_timestamp"' in output


def test_pyspark_opens_with_the_tables(stack, synthetic):
    attempts = len(stack.table("synthetic_a", "attempts"))
    line = "print('rows:', spark.table('synthetic_a.attempts').count())"
    type_into(stack.command("pyspark", TOPIC="synthetic_a"), ">>> ", line, f"rows: {attempts}")


@pytest.mark.thorough
def test_sql_opens_with_the_tables(stack, synthetic):
    attempts = len(stack.table("synthetic_a", "attempts"))
    line = "SELECT concat('rows: ', count(*)) FROM synthetic_a.attempts;"
    command = stack.command("sql", TOPIC="synthetic_a")
    type_into(command, "spark-sql .*> ", line, f"rows: {attempts}")


TEXTS = {
    "01_twice": "-- One name twice?\nSELECT a.keen_id, q.keen_id FROM attempts a "
    "JOIN questions q ON a.keen_id = q.keen_id LIMIT 1;",
    "02_wrong": "SELEC 1",
    "03_none": "SELECT keen_id FROM attempts WHERE false",
    "04_wide": "SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1000)),
    "05_drop": "DROP TABLE own_sql.attempts",
    "06_delete": "DELETE FROM own_sql.attempts",
    "07_zero": "SELECT 1/0",
    "08_name": "SELECT nothing FROM attempts",
    "09_empty": "",
    "10_two": "SELECT 1; SELECT 2",
    "11_insert": "WITH one AS (SELECT * FROM own_sql.attempts) "
    "INSERT INTO own_sql.attempts SELECT * FROM one",
    "12_last": "SELECT count(*) AS attempts FROM own_sql.attempts",
}
WRONG = {
    "02_wrong": "PARSE_SYNTAX_ERROR",
    "05_drop": "it is not a question",
    "06_delete": "it is not a question",
    "07_zero": "DIVIDE_BY_ZERO",
    "08_name": "UNRESOLVED_COLUMN",
    "09_empty": "PARSE_EMPTY_STATEMENT",
    "10_two": "PARSE_SYNTAX_ERROR",
    "11_insert": "it is not a question",
}


@pytest.fixture(scope="module", name="ask")
def answers_about_a_feed_of_five(stack):
    stack.run("topic", TOPIC="own_sql")
    stack.kcat("own_sql", *FIVE)
    stack.run("land", TOPIC="own_sql")

    def ask(*paths, ok=True):
        return stack.run("query", ok=ok, arguments=paths, TOPIC="own_sql")

    return ask


@pytest.mark.thorough
def test_a_question_that_cannot_be_answered_hides_no_other(stack, ask, tmp_path):
    paths = []
    for name, text in TEXTS.items():
        paths.append(tmp_path / f"{name}.sql")
        paths[-1].write_text(text)
    output = ask(*paths, ok=False)
    section = r"^== (\w+), feed own_sql\n(.*?)(?=^== |^error: )"
    part = dict(re.findall(section, output, re.MULTILINE | re.DOTALL))
    assert list(part) == list(TEXTS)
    assert "shape-" in part["01_twice"] and "no row" in part["03_none"]
    assert "the first 40 of 1,000 columns" in part["04_wide"]
    assert re.search(r"^\|5 +\|$", part["12_last"], re.MULTILINE)
    for name, words in WRONG.items():
        assert f"error in {tmp_path}/{name}.sql: " in part[name] and words in part[name], part[name]
    assert f"error: {len(WRONG)} of the questions could not be answered" in output
    assert len(stack.table("own_sql", "attempts")) == 5


@pytest.mark.thorough
def test_a_table_that_needs_a_newer_reader_is_read_as_before(stack, ask, tmp_path):
    question = tmp_path / "questions.sql"
    question.write_text("SELECT 'rows:', count(*), max(question_id) FROM questions")
    before = ask(question)
    newer = "ALTER TABLE questions SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name');"
    type_into(stack.command("sql", TOPIC="own_sql"), "spark-sql .*> ", newer, "Time taken")
    assert "rows:" in before and ask(question) == before
