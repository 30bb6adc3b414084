"""The report's answers, and the real file in plain Python that shares no code with the pipeline."""

import collections
import decimal
import fractions
import functools
import json
import math
import statistics

import pytest

import page
from oracle import moment
from pipeline.settings import ROOT

PAGE = (ROOT / "annotations.md").read_text()
BLOCKS = page.shown(PAGE)
WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def output(*commands):
    """Returns what the report shows below the one command that contains one of these texts."""
    (text,) = [text for _, typed, text in BLOCKS if any(each in typed for each in commands)]
    return text


def answers(*commands):
    """Returns the rows that the report shows below the one command that contains such a text."""
    return page.table(output(*commands))


def chapter(number):
    """Returns the text of one chapter of the report."""
    return PAGE.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def wilson(flags):
    """Returns both ends of a 95 % Wilson interval of a share, in percent."""
    flags = list(flags)
    n, share, z = len(flags), statistics.fmean(flags), 1.96
    root = math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    middle, whole = share + z * z / (2 * n), 1 + z * z / n
    return 100 * (middle - z * root) / whole, 100 * (middle + z * root) / whole


def right_options(question):
    """Returns how many options of a question in a message are right."""
    return sum(bool(option.get("correct")) for option in question["options"])


def asked(name):
    """Returns the rows that the report shows below the statement of queries/`name`.sql."""
    lines = (ROOT / f"queries/{name}.sql").read_text().rstrip().splitlines()
    statement = "\n".join(line for line in lines if not line.startswith("--"))
    return answers(statement, f'answer("{name}")')


def says(*texts):
    """Fails when the report lacks one of the texts. A line break counts as a blank."""
    words = " ".join(PAGE.split())
    for text in texts:
        assert " ".join(text.split()) in words, text


def rounded(number, digits=1):
    """Rounds as Spark does, halves away from zero. Without digits the result is an integer."""
    unit = decimal.Decimal(1).scaleb(-digits)
    value = decimal.Decimal(repr(float(number))).quantize(unit, decimal.ROUND_HALF_UP)
    return float(value) if digits else int(value)


def mean(numbers, digits=1):
    return rounded(statistics.fmean(numbers), digits)


def percent(flags, digits=1):
    flags = list(flags)
    return rounded(fractions.Fraction(100 * sum(flags), len(flags)), digits)


def grouped(pairs):
    """Returns {key: [its values]} of pairs of a key and a value."""
    groups = collections.defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


class Attempt:
    """An attempt of the file, and the one that ended last before it at the same exam."""

    def __init__(self, message):
        self.message, self.sequences = message, message["sequences"]
        self.id, self.exam = message["keen_id"], message["base_exam_id"]
        self.name, self.version = message["exam_name"], self.sequences["id"]
        self.begin, self.end = moment(message["started_at"]), moment(message["keen_timestamp"])
        self.seconds = (self.end - self.begin).total_seconds()
        self.questions = self.sequences["questions"]
        self.options = [option for question in self.questions for option in question["options"]]
        self.clicks = [moment(option["at"]) for option in self.options if option.get("at")]
        self.counts = self.sequences.get("counts")
        self.score = self.counts and fractions.Fraction(
            100 * self.counts["correct"], self.counts["total"]
        )
        self.previous, self.gap, self.is_retake, self.retakes = None, math.inf, False, []

    def follow(self, attempts):
        """Finds the attempt before this one. A retake begins at most 60 seconds after its end."""
        ended = [other for other in attempts if other.end < self.begin]
        if ended:
            self.previous = max(ended, key=lambda other: (other.end, other.id))
            self.gap = (self.begin - self.previous.end).total_seconds()
            self.is_retake = self.gap <= 60
        if self.is_retake:
            self.previous.retakes.append(self)


@functools.cache
def read(path):
    """Returns the messages of the file, and its attempts."""
    messages = json.loads(path.read_text())
    attempts = [Attempt(each) for each in {m["keen_id"]: m for m in messages}.values()]
    exams = grouped((attempt.exam, attempt) for attempt in attempts)
    for attempt in attempts:
        attempt.follow(exams[attempt.exam])
    return messages, attempts


@pytest.fixture(scope="module", name="messages")
def the_messages(real_file):
    return read(real_file)[0]


@pytest.fixture(scope="module", name="attempts")
def the_attempts(real_file):
    return read(real_file)[1]


@pytest.fixture(scope="module", name="first")
def the_first(attempts):
    return [attempt for attempt in attempts if not attempt.is_retake]


@pytest.fixture(scope="module", name="retakes")
def the_retakes(attempts):
    return [attempt for attempt in attempts if attempt.is_retake]
