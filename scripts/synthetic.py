"""Make up assessment attempts of the form of the real file, and the truth about them.

Run by: make data SYNTHETIC=3280 SEED=1 DATA=data/synthetic.json
    scripts/env.sh python scripts/synthetic.py MESSAGES SEED FILE

FILE gets MESSAGES messages: one JSON array on one line like the real file, or one object a line when its name ends
in .jsonl (which publishes much faster when it is large). It is written while it is made, at any size in the same memory.

FILE.truth.json gets what is known because it was made so, never read back from the data: counts, and answers.
FILE.truth.rows.jsonl gets, up to 20,000 messages, a line an attempt with each row that the tables must hold.

What was read off the real file (3,280 messages, 2017-11-21 to 2018-01-28) and is made here in the same shares:
  - 107 exams with 103 names: four names belong to two ids each, three of them one test (questions, sequences.id), one two tests
  - 423 question ids; four of them name other questions, with options of their own, in each of 6 to 13 exams
  - 1 to 10 questions an attempt, 2 to 6 options a question, 1 to 4 correct
  - questions and options come in an order of their own for each attempt
  - popularity of exams: one takes an eighth of all attempts, many are taken once or twice
  - 1,346 of 3,242 attempts begin within a minute after another at the same exam ended, and take a quarter of the time
  - 20 attempts in 3,242 were delivered again, 18 of them twice again, up to some two thousand messages later
  - an exam for testing whose messages have no counts and whose questions have no result: 5 in 3,280
  - certification is null in every attempt of 12 exams (132 of 3,242) and the text "false" in all others
  - clicks before started_at (83 attempts) or after keen_timestamp (350): the user's clock is another one
  - an option that was unchecked again keeps its time; `correct` and `submitted` are absent where they are not true,
    but one exam says `correct: false`
  - messages lie in blocks of a few minutes to hours, the blocks in no order of time
"""
import argparse
import heapq
import itertools
import json
import math
import os
import random
import sys
import time
from collections import Counter
from datetime import datetime, timezone

ROWS_UP_TO = 20_000
BEGIN, END = 1511222400, 1517180000  # 2017-11-21 and 2018-01-28, as seconds
SUBJECTS = ["Git", "Python", "SQL", "Kafka", "Spark", "Linux", "Networks", "Statistics", "Drawing", "Chemistry", "Accounting",
            "Music Theory", "C#", "R & Data", "TCP/IP", "Writing \"Well\"", "Gardening", "Español", "Café Management", "日本語", "Project Management", "Databases", "Security", "Cloud Costs", "Testing", "Web Design"]
FORMS = ["Learning {}", "Introduction to {}", "Advanced {}", "{} in Practice, What's New?"]
RESULTS = ["correct", "incorrect", "missed_some", "unanswered"]
ONE_RIGHT, SEVERAL_RIGHT = [68, 28, 0, 4], [52, 17, 28, 3]  # percent of questions with one right option, and with several


def uuid(rng):
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def milliseconds(epoch):
    """2018-01-23T14:23:19.082Z"""
    return datetime.fromtimestamp(math.floor(epoch * 1000) / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Catalogue:
    """The exams: each with name, ids, and its questions with their options."""

    def __init__(self, rng):
        names = [form.format(subject) for form in FORMS for subject in SUBJECTS][:103]
        self.exams = []
        for rank, name in enumerate(names):
            size = rng.choices([4, 5, 3, 6, 1, 7, 2, 8, 10], [50, 17, 13, 8, 6, 5, 4, 2, 2])[0]
            self.exams.append({"name": name, "id": uuid(rng), "sequence": uuid(rng), "questions": [self.question(rng) for _ in range(size)],
                               "certification": None if 60 <= rank < 72 else "false", "says_false": False, "test": False})
        for exam, reused in zip(self.exams[20:], [each for each, exams in zip((uuid(rng) for _ in range(4)), (6, 7, 8, 13)) for _ in range(exams)]):
            exam["questions"][0]["id"] = reused
        self.exams += [{**exam, "id": uuid(rng)} for exam in self.exams[10:14]]
        self.exams[-1] |= {"sequence": uuid(rng), "questions": [self.question(rng) for _ in range(7)]}
        self.exams[40]["says_false"] = True
        self.weights = list(itertools.accumulate(1 / (rank + 1) ** 0.9 for rank in range(len(self.exams))))
        self.test_exam = {"name": "Example Exam For Development and Testing", "id": uuid(rng), "sequence": uuid(rng), "certification": "false", "says_false": False, "test": True,
                          "questions": [{"id": uuid(rng), "options": [(uuid(rng), True), (uuid(rng), False)]} for _ in range(3)]}

    @staticmethod
    def question(rng):
        size = rng.choices([4, 3, 6, 5, 2], [10088, 3707, 418, 255, 249])[0]
        right = min(size, rng.choices([1, 2, 3, 4], [10335, 2161, 1830, 385])[0])
        return {"id": uuid(rng), "options": [(uuid(rng), place < right) for place in range(size)]}

    def pick(self, rng):
        if rng.random() < 5 / 3280:
            return self.test_exam
        return rng.choices(self.exams, cum_weights=self.weights)[0]


def checked_options(rng, options, result):
    """Which options stand checked at the end, given the verdict that the assessment came to."""
    right, wrong = [o for o, correct in options if correct], [o for o, correct in options if not correct]
    if result == "correct":
        return set(right)
    if result == "missed_some":
        return set(rng.sample(right, rng.randint(1, len(right) - 1)))
    if result == "incorrect":
        return {rng.choice(wrong)} | (set(rng.sample(right, rng.randint(0, len(right) - 1))) if len(right) > 1 else set())
    return set()


def make_attempt(rng, exam, finished, took):
    """One message as a dictionary in the real file's key order, and the rows it must become. Times in seconds."""
    started_text = milliseconds(finished - took)
    keen_text = repr(finished)
    keen_id = f"{int(finished):08x}{rng.getrandbits(24):06x}0001{rng.getrandbits(24):06x}"
    exam_columns = [keen_id, exam["id"], exam["name"]]
    shown = rng.sample(exam["questions"], len(exam["questions"]))
    early = 8 * rng.random() if rng.random() < 83 / 3280 else 0
    late = 20 * rng.random() if rng.random() < 350 / 3280 else 0
    clicks = sorted(rng.uniform(finished - took - early, finished + late) for _ in range(len(shown) * 6))
    click = iter(clicks)
    counts, questions, question_rows, option_rows = Counter(), [], [], []
    for position, question in enumerate(shown):
        options = rng.sample(question["options"], len(question["options"]))
        right = sum(correct for _, correct in options)
        result = None if exam["test"] else rng.choices(RESULTS, ONE_RIGHT if right == 1 else SEVERAL_RIGHT)[0]
        if result == "incorrect" and right == len(options):  # nothing wrong to choose
            result = "correct"
        checked = checked_options(rng, options, result)
        if exam["test"] and rng.random() < 0.4:
            checked = {rng.choice(options)[0]}
        made = []
        for place, (option_id, correct) in enumerate(options):
            is_checked = option_id in checked
            clicked = is_checked or (result != "unanswered" and rng.random() < 0.034)
            submitted = is_checked and not exam["test"]
            option = {"checked": is_checked}
            at = milliseconds(next(click)) if clicked else None
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
            option_rows.append([*exam_columns, position, question["id"], place, option_id, is_checked, at, submitted, correct])
        if exam["test"]:
            questions.append({"options": made, "id": question["id"]})
            flags = [None, None, None]
        else:
            flags = [result == "correct", result == "missed_some", result != "unanswered"]
            questions.append({"user_incomplete": flags[1], "user_correct": flags[0], "options": made, "user_submitted": flags[2],
                              "id": question["id"], "user_result": result})
            counts[result] += 1
        question_rows.append([*exam_columns, position, question["id"], result, *flags, len(options)])
    sequences = {"questions": questions, "attempt": 1, "id": exam["sequence"]}
    total = len(shown)
    count_columns = [None] * 7
    if exam["test"]:
        sequences = {"attempt": 1, "id": exam["sequence"], "questions": questions}
    else:
        count_columns = [total, counts["correct"], counts["incorrect"], counts["missed_some"], counts["unanswered"], total - counts["unanswered"], counts["correct"] == total]
        sequences["counts"] = {"incomplete": counts["missed_some"], "submitted": count_columns[5], "incorrect": counts["incorrect"],
                               "all_correct": count_columns[6], "correct": counts["correct"], "total": total, "unanswered": counts["unanswered"]}
    user_exam_id = uuid(rng)
    message = {"keen_timestamp": keen_text, "max_attempts": "1.0", "started_at": started_text, "base_exam_id": exam["id"], "user_exam_id": user_exam_id,
               "sequences": sequences, "keen_created_at": keen_text, "certification": exam["certification"], "keen_id": keen_id, "exam_name": exam["name"]}
    attempt_row = [keen_id, user_exam_id, exam["id"], exam["name"], started_text, keen_text, keen_text,
                   None if exam["certification"] is None else False, 1, 1, exam["sequence"], *count_columns, total]
    return message, attempt_row, question_rows, option_rows


def deliveries(rng, messages):
    """Yields (message, rows or None) `messages` times; rows is None for a repeated delivery."""
    catalogue = Catalogue(rng)
    again = []  # heap of (position, number, message): what will be delivered once more
    number = itertools.count()
    block_left, clock, exam = 0, BEGIN, None
    for position in range(messages):
        if again and again[0][0] <= position:
            yield heapq.heappop(again)[2], None
            continue
        if block_left == 0:  # another block of time, in no order
            block_left, clock, exam = rng.randint(3, 40), rng.uniform(BEGIN, END - 86400), None
        block_left -= 1
        again_at_once = exam is not None and rng.random() < 0.43
        took = min(25_000, max(1.1, rng.lognormvariate(3.3 if again_at_once else 4.6, 0.9)))
        if again_at_once:
            clock += rng.uniform(2, 55) + took
        else:
            exam, clock = catalogue.pick(rng), clock + rng.expovariate(1 / 150)
        message, *rows = make_attempt(rng, exam, clock, took)
        if rng.random() < 20 / 3242:
            for _ in range(1 if rng.random() < 0.1 else 2):
                heapq.heappush(again, (position + rng.randint(2, max(3, min(2500, messages // 2))), next(number), message))
        yield message, rows


class Truth:
    """Counts and answers, added up while the data are made."""

    def __init__(self):
        self.numbers = Counter()
        self.attempts_by_name, self.messages_by_name, self.by_question = Counter(), Counter(), {}

    def add(self, message, rows):
        self.numbers["messages"] += 1
        self.messages_by_name[message["exam_name"]] += 1
        if rows is None:
            self.numbers["duplicates"] += 1
            return
        _, question_rows, option_rows = rows
        self.attempts_by_name[message["exam_name"]] += 1
        self.numbers["attempts"] += 1
        self.numbers["questions"] += len(question_rows)
        self.numbers["options"] += len(option_rows)
        self.numbers["without_counts"] += "counts" not in message["sequences"]
        for row in question_rows:
            if row[5] is not None:
                seen = self.by_question.setdefault((message["exam_name"], row[4]), [0, 0])
                seen[0] += 1
                seen[1] += row[5] == "correct"

    def as_json(self, seed):
        names = self.attempts_by_name
        most, least = max(names.values(), default=0), min(names.values(), default=0)
        return {
            "seed": seed, **{key: self.numbers[key] for key in ("messages", "duplicates", "attempts", "questions", "options", "without_counts")},
            "learning_git": {"attempts": names["Learning Git"], "messages": self.messages_by_name["Learning Git"]},
            "most_common": {"attempts": most, "exam_names": sorted(n for n, c in names.items() if c == most)},
            "least_common": {"attempts": least, "exam_names": sorted(n for n, c in names.items() if c == least)},
            "attempts_by_exam_name": dict(sorted(names.items())),
            "results_by_question": [{"exam_name": name, "question_id": key, "answers": n, "correct": right} for (name, key), (n, right) in sorted(self.by_question.items())],
        }


def main(messages, seed, path):
    rng, truth = random.Random(seed), Truth()
    rows_path, truth_path = path + ".truth.rows.jsonl", path + ".truth.json"
    lines = path.endswith(".jsonl")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    begin = said = time.monotonic()
    # Under other names until all three are whole.
    with open(path + ".new", "w") as data, open(rows_path + ".new", "w") as rows_file:
        data.write("" if lines else "[")
        for number, (message, rows) in enumerate(deliveries(rng, messages)):
            if number and not lines:
                data.write(", ")
            data.write(json.dumps(message, ensure_ascii=False))
            if lines:
                data.write("\n")
            truth.add(message, rows)
            if messages <= ROWS_UP_TO:
                attempt, questions, options = rows or (None, None, None)
                rows_file.write(json.dumps({"keen_id": message["keen_id"], "attempt": attempt, "questions": questions, "options": options}) + "\n")
            if time.monotonic() - said > 5:
                said = time.monotonic()
                print(f"  {number + 1:>11,} of {messages:,} messages, {100 * (number + 1) // messages} %", file=sys.stderr)
        data.write("" if lines else "]\n")
    if messages <= ROWS_UP_TO:
        os.replace(rows_path + ".new", rows_path)
    else:
        os.remove(rows_path + ".new")
        if os.path.exists(rows_path):
            os.remove(rows_path)
    with open(truth_path + ".new", "w") as file:
        json.dump(truth.as_json(seed), file, indent=1, ensure_ascii=False)
    os.replace(truth_path + ".new", truth_path)
    os.replace(path + ".new", path)
    n = truth.numbers
    print(f"{path}: {n['messages']:,} SYNTHETIC messages (seed {seed}), {n['attempts']:,} attempts, {n['duplicates']:,} delivered again, "
          f"{os.path.getsize(path) / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s; the truth about them: {truth_path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("messages", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("file")
    arguments = parser.parse_args()
    try:
        main(arguments.messages, arguments.seed, arguments.file)
    except OSError as error:
        sys.exit(f"error: {arguments.file} cannot be written\n       {error}\n       name another file: make data SYNTHETIC={arguments.messages} DATA=…")
