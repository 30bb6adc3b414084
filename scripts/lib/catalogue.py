"""Invented exams, and one invented attempt at an exam with the rows that it must become.

synthetic.py imports this. All choices come from one random.Random, so that a seed gives the same
data each time: a change in the number or the order of its calls changes all data that follow.
"""

import itertools
import math
from collections import Counter
from datetime import datetime, timezone
from random import Random

SUBJECTS = (
    "Git, Python, SQL, Kafka, Spark, Linux, Networks, Statistics, Drawing, Chemistry, Accounting, "
    'Music Theory, C#, R & Data, TCP/IP, Writing "Well", Gardening, Español, Café Management, '
    "日本語, Project Management, Databases, Security, Cloud Costs, Testing, Web Design"
).split(", ")
FORMS = ["Learning {}", "Introduction to {}", "Advanced {}", "{} in Practice, What's New?"]
RESULTS = ["correct", "incorrect", "missed_some", "unanswered"]
# Percent of questions with one right option, and with several, that end in each of the RESULTS.
ONE_RIGHT, SEVERAL_RIGHT = [68, 28, 0, 4], [52, 17, 28, 3]

Row = list  # the values of one row of a table, in the order of its columns


def uuid(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def milliseconds(epoch: float) -> str:
    """A time in seconds as 2018-01-23T14:23:19.082Z, rounded down."""
    time = datetime.fromtimestamp(math.floor(epoch * 1000) / 1000, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Catalogue:
    """The exams: dictionaries with name, ids, and the questions with their options.

    An option is (id, whether it is correct).
    """

    def __init__(self, rng: Random):
        names = [form.format(subject) for form in FORMS for subject in SUBJECTS][:103]
        self.exams: list[dict] = []
        for rank, name in enumerate(names):
            size = rng.choices([4, 5, 3, 6, 1, 7, 2, 8, 10], [50, 17, 13, 8, 6, 5, 4, 2, 2])[0]
            self.exams.append(
                {
                    "name": name,
                    "id": uuid(rng),
                    "sequence": uuid(rng),
                    "questions": [self.question(rng) for _ in range(size)],
                    "certification": None if 60 <= rank < 72 else "false",
                    "says_false": False,  # whether its messages have "correct": false
                    "test": False,
                }
            )
        # Four question ids that occur in several exams, as ids of different questions.
        reused = [each for exams in (6, 7, 8, 13) for each in [uuid(rng)] * exams]
        for exam, question_id in zip(self.exams[20:], reused, strict=False):
            exam["questions"][0]["id"] = question_id
        # Four names with two exam ids each: the same test, except for the last.
        self.exams += [{**exam, "id": uuid(rng)} for exam in self.exams[10:14]]
        another_test = {"sequence": uuid(rng), "questions": [self.question(rng) for _ in range(7)]}
        self.exams[-1] |= another_test
        self.exams[40]["says_false"] = True
        self.weights = list(
            itertools.accumulate(1 / (rank + 1) ** 0.9 for rank in range(len(self.exams)))
        )
        self.test_exam = {
            "name": "Example Exam For Development and Testing",
            "id": uuid(rng),
            "sequence": uuid(rng),
            "certification": "false",
            "says_false": False,
            "test": True,
            "questions": [
                {"id": uuid(rng), "options": [(uuid(rng), True), (uuid(rng), False)]}
                for _ in range(3)
            ],
        }

    @staticmethod
    def question(rng: Random) -> dict:
        """A new question, the correct options first."""
        size = rng.choices([4, 3, 6, 5, 2], [10088, 3707, 418, 255, 249])[0]
        right = min(size, rng.choices([1, 2, 3, 4], [10335, 2161, 1830, 385])[0])
        return {"id": uuid(rng), "options": [(uuid(rng), place < right) for place in range(size)]}

    def pick(self, rng: Random) -> dict:
        """An exam, popular ones more often."""
        if rng.random() < 5 / 3280:
            return self.test_exam
        return rng.choices(self.exams, cum_weights=self.weights)[0]


def checked_options(rng: Random, options: list[tuple[str, bool]], result: str | None) -> set[str]:
    """The ids of the options that are checked at the end of a question with this result."""
    right = [option for option, correct in options if correct]
    wrong = [option for option, correct in options if not correct]
    if result == "correct":
        return set(right)
    if result == "missed_some":
        return set(rng.sample(right, rng.randint(1, len(right) - 1)))
    if result == "incorrect":
        checked = {rng.choice(wrong)}
        if len(right) > 1:
            checked.update(rng.sample(right, rng.randint(0, len(right) - 1)))
        return checked
    return set()


def make_attempt(
    rng: Random, exam: dict, finished: float, took: float
) -> tuple[dict, Row, list[Row], list[Row]]:
    """One message, and the rows it must become: of attempts, questions and options.

    The keys of the message have the order of the real file. finished is in seconds since 1970,
    took in seconds.
    """
    started_text = milliseconds(finished - took)
    keen_text = repr(finished)
    keen_id = f"{int(finished):08x}{rng.getrandbits(24):06x}0001{rng.getrandbits(24):06x}"
    exam_columns = [keen_id, exam["id"], exam["name"]]
    shown = rng.sample(exam["questions"], len(exam["questions"]))
    early = 8 * rng.random() if rng.random() < 83 / 3280 else 0
    late = 20 * rng.random() if rng.random() < 350 / 3280 else 0
    first_click, last_click = finished - took - early, finished + late
    clicks = iter(sorted(rng.uniform(first_click, last_click) for _ in range(len(shown) * 6)))
    counts: Counter[str] = Counter()
    questions, question_rows, option_rows = [], [], []
    for position, question in enumerate(shown):
        options = rng.sample(question["options"], len(question["options"]))
        right = sum(correct for _, correct in options)
        result = None
        if not exam["test"]:
            result = rng.choices(RESULTS, ONE_RIGHT if right == 1 else SEVERAL_RIGHT)[0]
        if result == "incorrect" and right == len(options):  # no wrong option to choose
            result = "correct"
        checked = checked_options(rng, options, result)
        if exam["test"] and rng.random() < 0.4:
            checked = {rng.choice(options)[0]}
        made = []
        for place, (option_id, correct) in enumerate(options):
            is_checked = option_id in checked
            clicked = is_checked or (result != "unanswered" and rng.random() < 0.034)
            submitted = is_checked and not exam["test"]
            option: dict[str, object] = {"checked": is_checked}
            at = milliseconds(next(clicks)) if clicked else None
            if clicked:
                option["at"] = at
                option["id"] = option_id
                if submitted:
                    option["submitted"] = 1
                if correct or exam["says_false"]:
                    option["correct"] = correct
            else:
                if correct or exam["says_false"]:
                    option["correct"] = correct
                option["id"] = option_id
            made.append(option)
            option_columns = [place, option_id, is_checked, at, submitted, correct]
            option_rows.append([*exam_columns, position, question["id"], *option_columns])
        if exam["test"]:
            questions.append({"options": made, "id": question["id"]})
            flags: list[bool | None] = [None, None, None]
        else:
            flags = [result == "correct", result == "missed_some", result != "unanswered"]
            questions.append(
                {
                    "user_incomplete": flags[1],
                    "user_correct": flags[0],
                    "options": made,
                    "user_submitted": flags[2],
                    "id": question["id"],
                    "user_result": result,
                }
            )
            counts[result] += 1
        question_columns = [question["id"], result, *flags, len(options)]
        question_rows.append([*exam_columns, position, *question_columns])
    sequences = {"questions": questions, "attempt": 1, "id": exam["sequence"]}
    total = len(shown)
    count_columns: list[int | None] = [None] * 7
    if exam["test"]:
        sequences = {"attempt": 1, "id": exam["sequence"], "questions": questions}
    else:
        count_columns = [
            total,
            counts["correct"],
            counts["incorrect"],
            counts["missed_some"],
            counts["unanswered"],
            total - counts["unanswered"],
            counts["correct"] == total,
        ]
        sequences["counts"] = {
            "incomplete": counts["missed_some"],
            "submitted": count_columns[5],
            "incorrect": counts["incorrect"],
            "all_correct": count_columns[6],
            "correct": counts["correct"],
            "total": total,
            "unanswered": counts["unanswered"],
        }
    user_exam_id = uuid(rng)
    message = {
        "keen_timestamp": keen_text,
        "max_attempts": "1.0",
        "started_at": started_text,
        "base_exam_id": exam["id"],
        "user_exam_id": user_exam_id,
        "sequences": sequences,
        "keen_created_at": keen_text,
        "certification": exam["certification"],
        "keen_id": keen_id,
        "exam_name": exam["name"],
    }
    attempt_row = [
        keen_id,
        user_exam_id,
        exam["id"],
        exam["name"],
        started_text,
        keen_text,
        keen_text,
        None if exam["certification"] is None else False,
        1,
        1,
        exam["sequence"],
        *count_columns,
        total,
    ]
    return message, attempt_row, question_rows, option_rows
