"""Invented exams, and one invented attempt at an exam with the rows that it must become.

All choices come from one random.Random, so that a seed gives the same data each time: a change in
the number or the order of its calls changes all data that follow.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

SUBJECTS = (
    "Git, Python, SQL, Kafka, Spark, Linux, Networks, Statistics, Drawing, Chemistry, Accounting, "
    'Music Theory, C#, R & Data, TCP/IP, Writing "Well", Gardening, Español, Café Management, '
    "日本語, Project Management, Databases, Security, Cloud Costs, Testing, Web Design"
).split(", ")
FORMS = ["Learning {}", "Introduction to {}", "Advanced {}", "{} in Practice, What's New?"]
RESULTS = ["correct", "incorrect", "missed_some", "unanswered"]
# Percent of questions with one right option, and with several, that end in each of the RESULTS.
ONE_RIGHT, SEVERAL_RIGHT = [68, 28, 0, 4], [52, 17, 28, 3]
# In the order of the tables' columns.
ANSWER = "id", "user_result", "user_correct", "user_incomplete", "user_submitted"
COUNTS = "total", "correct", "incorrect", "incomplete", "unanswered", "submitted", "all_correct"

Message = dict[str, Any]
Row = list[Any]  # in the order of the table's columns
Option = tuple[str, bool]  # id, whether it is correct


class Question(NamedTuple):
    id: str
    options: list[Option]  # the correct ones first


@dataclass
class Exam:
    name: str
    id: str
    sequence: str
    questions: list[Question]
    certification: str | None = "false"
    says_false: bool = False  # whether its messages have "correct": false
    test: bool = False  # as in Catalogue.test_exam


class Attempt(NamedTuple):
    """A message, and the rows that it must become."""

    message: Message
    row: Row
    questions: list[Row]
    options: list[Row]


def uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128)))


def milliseconds(epoch: float) -> str:
    """A time in seconds as 2018-01-23T14:23:19.082Z, rounded down."""
    time = datetime.fromtimestamp(math.floor(epoch * 1000) / 1000, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Catalogue:
    """The exams, and test_exam: its messages have no counts, and its questions no result."""

    def __init__(self, rng: Random):
        names = [form.format(subject) for form in FORMS for subject in SUBJECTS][:103]
        self.exams: list[Exam] = []
        for name in names:
            size = rng.choices([4, 5, 3, 6, 1, 7, 2, 8, 10], [50, 17, 13, 8, 6, 5, 4, 2, 2])[0]
            exam = Exam(name, uuid(rng), uuid(rng), [self.question(rng) for _ in range(size)])
            self.exams.append(exam)
        # Four question ids that occur in several exams, as ids of different questions.
        reused = [each for exams in (6, 7, 8, 13) for each in [uuid(rng)] * exams]
        for exam, question_id in zip(self.exams[20:], reused, strict=False):
            exam.questions[0] = Question(question_id, exam.questions[0].options)
        # Four names with two exam ids each: the same test, except for the last.
        self.exams += [replace(exam, id=uuid(rng)) for exam in self.exams[10:14]]
        self.exams[-1].sequence = uuid(rng)
        self.exams[-1].questions = [self.question(rng) for _ in range(7)]
        self.exams[40].says_false = True
        for exam in self.exams[60:72]:
            exam.certification = None
        weights = (1 / (rank + 1) ** 0.9 for rank in range(len(self.exams)))
        self.weights = list(itertools.accumulate(weights))
        name, exam_id, sequence = "Example Exam For Development and Testing", uuid(rng), uuid(rng)
        questions = [Question(uuid(rng), [(uuid(rng), True), (uuid(rng), False)]) for _ in range(3)]
        self.test_exam = Exam(name, exam_id, sequence, questions, test=True)

    @staticmethod
    def question(rng: Random) -> Question:
        size = rng.choices([4, 3, 6, 5, 2], [10088, 3707, 418, 255, 249])[0]
        right = min(size, rng.choices([1, 2, 3, 4], [10335, 2161, 1830, 385])[0])
        return Question(uuid(rng), [(uuid(rng), place < right) for place in range(size)])

    def pick(self, rng: Random) -> Exam:
        """An exam, popular ones more often."""
        if rng.random() < 5 / 3280:
            return self.test_exam
        return rng.choices(self.exams, cum_weights=self.weights)[0]


def make_attempt(rng: Random, exam: Exam, finished: float, took: float) -> Attempt:
    """finished is in seconds since 1970, took in seconds. The keys are in the real file's order."""
    started_text, keen_text = milliseconds(finished - took), repr(finished)
    keen_id = f"{int(finished):08x}{rng.getrandbits(24):06x}0001{rng.getrandbits(24):06x}"
    shown = rng.sample(exam.questions, len(exam.questions))
    # The user's clock may differ: clicks before the start, or after the end.
    early = 8 * rng.random() if rng.random() < 83 / 3280 else 0
    late = 20 * rng.random() if rng.random() < 350 / 3280 else 0
    first_click, last_click = finished - took - early, finished + late
    clicks = iter(sorted(rng.uniform(first_click, last_click) for _ in range(len(shown) * 6)))
    questions, question_rows, option_rows = [], [], []
    for position, question in enumerate(shown):
        answered, its_options = _answer(rng, exam, question, clicks)
        questions.append(answered)
        columns = [keen_id, exam.id, exam.name, position]
        question_rows.append([*columns, *map(answered.get, ANSWER), len(its_options)])
        option_rows += [[*columns, question.id, *row] for row in its_options]
    user_exam_id = uuid(rng)
    counts: Message = {} if exam.test else _counts(questions)
    sequences = {"questions": questions, "attempt": 1, "id": exam.sequence, "counts": counts}
    if exam.test:
        sequences = {"attempt": 1, "id": exam.sequence, "questions": questions}
    message = {
        "keen_timestamp": keen_text,
        "max_attempts": "1.0",
        "started_at": started_text,
        "base_exam_id": exam.id,
        "user_exam_id": user_exam_id,
        "sequences": sequences,
        "keen_created_at": keen_text,
        "certification": exam.certification,
        "keen_id": keen_id,
        "exam_name": exam.name,
    }
    certification = None if exam.certification is None else False
    row: Row = [keen_id, user_exam_id, exam.id, exam.name, started_text, keen_text, keen_text]
    row += [certification, 1, 1, exam.sequence, *map(counts.get, COUNTS), len(shown)]
    return Attempt(message, row, question_rows, option_rows)


def _answer(
    rng: Random, exam: Exam, question: Question, clicks: Iterator[float]
) -> tuple[Message, list[Row]]:
    """A question as it was answered, and its options' own columns."""
    options = rng.sample(question.options, len(question.options))
    result, checked = _outcome(rng, options, exam.test)
    said, rows = [], []
    for place, (option_id, correct) in enumerate(options):
        is_checked = option_id in checked
        # An option that was unchecked again keeps its time.
        clicked = is_checked or (result != "unanswered" and rng.random() < 0.034)
        submitted = is_checked and not exam.test
        at = milliseconds(next(clicks)) if clicked else None
        says_correct = {"correct": correct} if correct or exam.says_false else {}
        if clicked:
            option = {"checked": is_checked, "at": at, "id": option_id}
            said.append({**option, **({"submitted": 1} if submitted else {}), **says_correct})
        else:
            said.append({"checked": is_checked, **says_correct, "id": option_id})
        rows.append([place, option_id, is_checked, at, submitted, correct])
    if exam.test:
        return {"options": said, "id": question.id}, rows
    answered = {
        "user_incomplete": result == "missed_some",
        "user_correct": result == "correct",
        "options": said,
        "user_submitted": result != "unanswered",
        "id": question.id,
        "user_result": result,
    }
    return answered, rows


def _outcome(rng: Random, options: list[Option], test: bool) -> tuple[str | None, set[str]]:
    """The result of a question, and the ids of the options that are checked at the end."""
    if test:
        return None, {rng.choice(options)[0]} if rng.random() < 0.4 else set()
    right = [option for option, correct in options if correct]
    wrong = [option for option, correct in options if not correct]
    result = rng.choices(RESULTS, ONE_RIGHT if len(right) == 1 else SEVERAL_RIGHT)[0]
    if result == "correct" or (result == "incorrect" and not wrong):
        return "correct", set(right)
    if result == "missed_some":
        return result, set(rng.sample(right, rng.randint(1, len(right) - 1)))
    if result == "incorrect":
        checked = rng.choice(wrong)
        more = rng.randint(0, len(right) - 1) if len(right) > 1 else 0
        return result, {checked, *rng.sample(right, more)}
    return result, set()


def _counts(questions: list[Message]) -> Message:
    results, total = Counter(question["user_result"] for question in questions), len(questions)
    return {
        "incomplete": results["missed_some"],
        "submitted": total - results["unanswered"],
        "incorrect": results["incorrect"],
        "all_correct": results["correct"] == total,
        "correct": results["correct"],
        "total": total,
        "unanswered": results["unanswered"],
    }
