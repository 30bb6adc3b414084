"""The histories and the report agree, its check masks only what varies, and nothing is missing."""

import re

import pytest

import annotate
import check_submission
from report_fixtures import BLOCKS, PAGE
from stacks import ROOT


def test_the_histories_are_those_of_the_page_and_nothing_else():
    assert check_submission.console_history(
        (ROOT / "user-history.txt").read_text()
    ) == check_submission.typed(PAGE, "bash")
    assert check_submission.pyspark_history(
        (ROOT / "spark_history.py").read_text()
    ) == check_submission.typed(PAGE, "python")


def test_every_changed_digit_in_an_answer_is_a_difference():
    """The comparison with the page masks nothing in any answer."""
    tried = 0
    for _, command, text in BLOCKS:
        if not any(name in command for name in ("spark.sql(", "make verify", "make plots")):
            continue
        for digit in re.finditer(r"\d", text):
            changed = text[: digit.start()] + str((int(digit[0]) + 1) % 10) + text[digit.end() :]
            assert annotate.what_counts(changed) != annotate.what_counts(text), (command, digit)
            tried += 1
    assert tried > 2000


def test_what_must_vary_is_no_difference():
    assert annotate.what_counts("|2026-11-24 03:43:01.2  |\n+-------+") == annotate.what_counts(
        "|2027-01-02 13:03:01.234|\n+---------+"
    )
    assert annotate.what_counts("|2018-01-23 14:24:02|") != annotate.what_counts(
        "|2018-01-23 14:24:03|"
    )
    assert annotate.what_counts(
        "  kafka     127.0.0.1:29092   pid 890  answered after 12.0 s"
    ) == annotate.what_counts("  kafka     127.0.0.1:9092    pid 91890  answered after 2.1 s")
    assert annotate.what_counts(
        "    0  0: 0-3279       3,242         38         0     28.2"
    ) == annotate.what_counts("    0  0: 0-3279       3,242         38         0      7.9")
    assert annotate.what_counts(
        "    0  0: 0-3279       3,242         38         0     28.2"
    ) != annotate.what_counts("    0  0: 0-3279       3,241         38         0     28.2")


def test_the_submission_is_whole(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [row for row in check_submission.checks() if not row[2]] == []


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("annotations.md", "kafka-topics --create", "kafka-topics --delete"),
        ("annotations.md", "Executive summary", "Remarks"),
        ("annotations.md", "plots/time_taken.png", "plots/time.png"),
        ("user-history.txt", "make land", "make lend"),
        ("spark_history.py", "raw.show(3)", "raw.show(4)"),
        ("README.md", "| `Makefile` |", "| `Mkfile` |"),
    ],
)
def test_a_part_that_is_missing_from_the_submission_is_named(monkeypatch, name, old, new):
    monkeypatch.chdir(ROOT)
    text = (ROOT / name).read_text()
    assert old in text
    real = check_submission.read
    monkeypatch.setattr(
        check_submission,
        "read",
        lambda path: text.replace(old, new) if path == name else real(path),
    )
    assert [row for row in check_submission.checks() if not row[2]]
