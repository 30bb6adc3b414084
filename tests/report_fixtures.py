"""The report's answers, and the real file in plain Python that shares no code with the pipeline."""

import collections
import datetime
import json

import pytest

import annotate
import check_submission
from stacks import ROOT

PAGE = (ROOT / "annotations.md").read_text()
BLOCKS = check_submission.shown(PAGE)


def answers(command):
    """Returns the rows that the report shows below the one command that contains this text."""
    (text,) = [
        text for language, typed, text in BLOCKS if language == "python" and command in typed
    ]
    return annotate.table(text)


def statement(name):
    """Returns the SQL of queries/`name`.sql, without comment lines."""
    lines = (ROOT / f"queries/{name}.sql").read_text().rstrip().splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def microseconds(epoch):
    """Converts an epoch in seconds, as text; truncates further decimals."""
    whole, _, fraction = epoch.partition(".")
    return 1_000_000 * int(whole) + int(fraction[:6].ljust(6, "0"))


def taken(attempt):
    """Returns the seconds from start to end."""
    return (
        microseconds(attempt["keen_timestamp"]) - round(1e6 * seconds(attempt["started_at"]))
    ) / 1e6


def answered(question):
    return question.get("user_result") in ("correct", "incorrect", "missed_some")


def percent(part, whole):
    return 100 * part / whole


def near(number):
    return pytest.approx(number, abs=0.051)  # the report shows one decimal


def begin_at_once(attempts, hours):
    """Returns the ids of the attempts that begin within a minute after another one ended.

    Both are attempts at the same exam. Each start is moved by so many hours first.
    """
    ends = collections.defaultdict(list)
    for a in attempts:
        ends[a["base_exam_id"]].append((microseconds(a["keen_timestamp"]), a["keen_id"]))
    return {
        a["keen_id"]
        for a in attempts
        for end, other in ends[a["base_exam_id"]]
        if other != a["keen_id"]
        and 0 <= round(1e6 * seconds(a["started_at"])) + 3_600_000_000 * hours - end <= 60_000_000
    }


@pytest.fixture(scope="module", name="deliveries")
def the_deliveries(real_file):
    return json.loads(real_file.read_text())


@pytest.fixture(scope="module", name="attempts")
def the_attempts(deliveries):
    return list({attempt["keen_id"]: attempt for attempt in deliveries}.values())


@pytest.fixture(scope="module", name="again")
def the_again(attempts):
    return begin_at_once(attempts, 0)


@pytest.fixture(scope="module", name="questions")
def the_questions(attempts):
    return [(attempt, q) for attempt in attempts for q in attempt["sequences"]["questions"]]
