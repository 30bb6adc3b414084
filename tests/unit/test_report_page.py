"""The report is written from its template, agrees with the histories, and lacks nothing."""

import re

import pytest

import annotate
import page
import submission
from pipeline.settings import ROOT
from report_fixtures import BLOCKS, PAGE, chapter

TEMPLATE = """\
{exams.attempts:,} attempts, then {exams[1].attempts} ({exams[1].exam}), in {exams.rows} rows.
```mermaid
a{b}
```
```bash total
wc -l < file
```
{total:,} lines
```python exams = queries/01_exams.sql
```
```python
exit()
```
"""
WRITTEN = """\
1,200 attempts, then 7.5 (None), in 2 rows.
```mermaid
a{b}
```
```bash
wc -l < file
```
```text
3280
```
3,280 lines
```python
spark.sql(\"""
SELECT 1
\""").show(40, truncate=False)
```
```text
|exam|attempts|
|Git |1200    |
|NULL|7.5     |
```
```python
exit()
```
"""


@pytest.fixture(name="write")
def the_write(tmp_path, monkeypatch):
    """Returns a function that writes a page; its commands have the outputs of WRITTEN."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries/01_exams.sql").write_text("-- Which exams?\nSELECT 1\n")
    outputs = {(language, code): text for language, code, text in page.shown(WRITTEN)}
    return lambda template: page.write(template, lambda block: outputs[block[0], block.code])


def test_a_page_quotes_the_outputs_of_its_commands(write):
    assert write(TEMPLATE) == WRITTEN
    assert [language for language, *_ in page.shown(WRITTEN)] == ["bash", "python", "python"]


@pytest.mark.parametrize("quotation", ["nothing", "exams.nothing", "exams[2].attempts", "exams:,"])
def test_a_quotation_that_no_output_has_fails(write, quotation):
    with pytest.raises((LookupError, AttributeError, ValueError)):
        write(f"{TEMPLATE}{{{quotation}}}\n")


def test_the_first_page_is_short():
    """At most ten numbers beside dates and references, one picture, and 1,150 lines in all."""
    assert len(PAGE.splitlines()) <= 1150
    text = re.sub(r"\]\([^)]*\)|`[^`]*`|^\d\. |\[\d+\b|\*\*\d\.", "", chapter(1), flags=re.M)
    text = re.sub(r"\b(November|January) \d{4}|D3\.js", "", text)
    assert 5 < len(set(re.findall(r"\d[\d,.]*\d|\d", text))) <= 10
    assert chapter(1).count("![") == 1


def test_the_histories_are_those_of_the_page_and_nothing_else():
    for name, language in (("user-history.txt", "bash"), ("spark_history.py", "python")):
        text = (ROOT / name).read_text()
        assert submission.history(text, language) == submission.typed(PAGE, language)


def test_lines_are_as_bash_keeps_them():
    block = "```bash\njq . |\n  kcat -P \\\n  -t a\nls\n```\n"
    assert submission.typed(block, "bash") == ["jq . |   kcat -P   -t a", "ls"]


def test_every_changed_digit_in_an_answer_is_a_difference():
    """The comparison with the page masks nothing in any answer."""
    tried = 0
    for _, command, text in BLOCKS:
        if "docker-compose" in command or not re.search(
            r"spark\.sql\(|answer\(|make verify|make plots|^jq ", command
        ):
            continue
        text = re.split(r"\n  \w+ +pid ", text)[0]  # make down follows make plots, and names pids
        before = annotate.what_counts(text)
        for digit in re.finditer(r"\d", text):
            changed = text[: digit.start()] + str((int(digit[0]) + 1) % 10) + text[digit.end() :]
            assert annotate.what_counts(changed) != before, (command, digit)
            tried += 1
    assert tried > 2000


def test_every_change_in_the_prose_is_a_difference():
    for number in ("18.0 points", "3,280 messages"):
        assert number in PAGE
        changed = PAGE.replace(number, number.replace("0", "1"))
        assert annotate.masked(annotate.PAGE, changed, True) != annotate.masked(
            annotate.PAGE, PAGE, True
        )


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("|2026-11-24 03:43:01.2  |\n+-------+", "|2027-01-02 13:03:01.234|\n+---------+", True),
        ("|2018-01-23 14:24:02|", "|2018-01-23 14:24:03|", False),
        (
            "  kafka     127.0.0.1:29092   pid 890  answered after 12.0 s",
            "  kafka     127.0.0.1:9092    pid 91890  answered after 2.1 s",
            True,
        ),
        (
            "    0  0: 0-3279       3,242         38         0     28.2",
            "    0  0: 0-3279       3,242         38         0      7.9",
            True,
        ),
        (
            "    0  0: 0-3279       3,242         38         0     28.2",
            "    0  0: 0-3279       3,241         38         0     28.2",
            False,
        ),
    ],
)
def test_what_must_vary_is_no_difference(one, other, same):
    assert (annotate.what_counts(one) == annotate.what_counts(other)) == same


def test_the_submission_is_whole(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [row for row in submission.checks() if not row[2]] == []


@pytest.mark.parametrize(
    "name, old, new, what",
    [
        ("annotations.md", "kafka-topics --create", "kafka-topics --delete", "topic is created"),
        ("annotations.md", "docker-compose ps", "docker-compose top", "services are checked"),
        ("annotations.md", "Executive summary", "Remarks", "executive summary"),
        ("annotations.md", "**Limits.**", "**Ends.**", "limits"),
        ("annotations.md", "plots/time_taken.png", "plots/time.png", "plot"),
        ("annotations.md", "](queries/14_", "](queries/15_", "How long"),
        ("annotations.md", 'answer("06_', 'answer("07_', "Do people retake"),
        ("annotations.md", "](queries/10_", "](queries/11_", "the hardest"),
        ("annotations.md", "F.explode(", "F.posexplode(", "is taken apart"),
        (
            "annotations.md",
            "exec -T spark python /opt/pipeline/scripts/land.py",
            "exec spark ls",
            "land in a",
        ),
        ("user-history.txt", "make land", "make lend", "console history"),
        ("spark_history.py", "raw.show(1)", "raw.show(4)", "pyspark history"),
        ("README.md", "| `Makefile` |", "| `Mkfile` |", "the repository, explained"),
    ],
)
def test_a_part_that_is_missing_from_the_submission_is_named(monkeypatch, name, old, new, what):
    monkeypatch.chdir(ROOT)
    text = (ROOT / name).read_text()
    assert old in text
    monkeypatch.setattr(submission, "compose_is_valid", lambda: (True, ""))
    real = submission.read
    monkeypatch.setattr(
        submission,
        "read",
        lambda path: text.replace(old, new) if path == name else real(path),
    )
    assert any(what in named for named, _, holds, _ in submission.checks() if not holds)


def test_servers_may_answer_in_any_order_but_all_of_them():
    page = (ROOT / annotate.PAGE).read_text()
    lines = re.findall(r"(?m)^  \w+ .* answered after .*$", page)
    assert len(lines) == 3
    block = "\n".join(lines)
    assert annotate.what_counts("\n".join(reversed(lines))) == annotate.what_counts(block)
    assert annotate.what_counts("\n".join(lines[1:])) != annotate.what_counts(block)
    assert annotate.what_counts(block.replace("kafka", "other")) != annotate.what_counts(block)


@pytest.mark.parametrize("compose, docker", [(0, 0), (1, 0), (0, 1), (0, None)])
def test_docker_is_there_when_it_runs_and_its_engine_answers(
    tmp_path, monkeypatch, compose, docker
):
    for name, code in ("docker-compose", compose), ("docker", docker):
        if code is not None:
            (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
            (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert annotate.has_docker() == (compose == docker == 0)
