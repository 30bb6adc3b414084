"""Generates assessment attempts that look like those of the real file, and the truth about them.

Run by: make data SYNTHETIC=3280 SEED=1 DATA=data/synthetic.json
    scripts/lib/env.sh python scripts/lib/synthetic.py MESSAGES SEED FILE

FILE gets MESSAGES messages: one JSON array on one line like the real file, or JSON lines when its
name ends in .jsonl (large files publish much faster then). It is written as it is generated:
memory is constant at any size.

FILE.truth.json gets counts and answers that are known from the generation, never read back from
the data. FILE.truth.rows.jsonl gets one line per attempt with each row that the tables must hold,
for up to 20,000 messages.

The generated data have these properties of the real file (3,280 messages, 2017-11-21 to
2018-01-28), in the same shares:
  - 107 exams with 103 names: four names have two ids each; three of these pairs are one test
    (questions, sequences.id), the fourth is two tests
  - 423 question ids; four of them name a different question, with different options, in each of
    6 to 13 exams
  - 1 to 10 questions per attempt, 2 to 6 options per question, 1 to 4 correct
  - each attempt has its own order of questions and options
  - popularity of exams: one has an eighth of all attempts, many have one or two
  - 1,346 of 3,242 attempts start within a minute after the end of another attempt at the same
    exam, and take a quarter of the time
  - 20 attempts of 3,242 were delivered again, 18 of them twice, up to about two thousand
    messages later
  - a test exam whose messages have no counts and whose questions have no result: 5 of 3,280
  - certification is null in every attempt of 12 exams (132 of 3,242), and the text "false" in all
    others
  - clicks before started_at (83 attempts) or after keen_timestamp (350): they come from the
    user's clock
  - an option that was unchecked again keeps its time; `correct` and `submitted` are absent where
    they are not true, but one exam has `correct: false`
  - messages come in blocks of a few minutes to hours; the blocks are not in order of time
"""

import argparse
import heapq
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

import intervals
from catalogue import Catalogue, make_attempt

ROWS_UP_TO = 20_000  # messages
COUNTS = "messages", "duplicates", "attempts", "questions", "options", "without_counts"
BEGIN, END = 1511222400, 1517180000  # 2017-11-21 and 2018-01-28, as seconds


def deliveries(rng: random.Random, messages: int) -> Iterator[tuple[dict, list | None]]:
    """Yields (message, rows) `messages` times; rows, as of make_attempt, are None for a repeat."""
    catalogue = Catalogue(rng)
    # Heap of (position, number, message) that will be delivered again.
    again: list[tuple[int, int, dict]] = []
    number = itertools.count()
    block_left, exam = 0, None
    clock: float = BEGIN
    for position in range(messages):
        if again and again[0][0] <= position:
            yield heapq.heappop(again)[2], None
            continue
        if block_left == 0:  # the next block is at a random time
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
                later = position + rng.randint(2, max(3, min(2500, messages // 2)))
                heapq.heappush(again, (later, next(number), message))
        yield message, rows


class Truth:
    """Counts and answers, added up while the data are generated."""

    def __init__(self):
        self.numbers = Counter()
        self.attempts_by_name, self.messages_by_name, self.by_question = Counter(), Counter(), {}

    def add(self, message: dict, rows: list | None) -> None:
        """Counts a delivery."""
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

    def as_json(self, seed: int) -> dict:
        """The content of FILE.truth.json."""
        names = self.attempts_by_name
        most, least = max(names.values(), default=0), min(names.values(), default=0)
        return {
            "seed": seed,
            **{key: self.numbers[key] for key in COUNTS},
            "learning_git": {
                "attempts": names["Learning Git"],
                "messages": self.messages_by_name["Learning Git"],
            },
            "most_common": {
                "attempts": most,
                "exam_names": sorted(n for n, c in names.items() if c == most),
            },
            "least_common": {
                "attempts": least,
                "exam_names": sorted(n for n, c in names.items() if c == least),
            },
            "attempts_by_exam_name": dict(sorted(names.items())),
            "results_by_question": [
                {"exam_name": name, "question_id": key, "answers": n, "correct": right}
                for (name, key), (n, right) in sorted(self.by_question.items())
            ],
        }


def main(messages: int, seed: int, path: str) -> None:
    """Writes the data and the truth about them."""
    rng, truth = random.Random(seed), Truth()
    rows_path, truth_path = path + ".truth.rows.jsonl", path + ".truth.json"
    lines = path.endswith(".jsonl")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    begin, due = time.monotonic(), intervals.report_timer()
    # The files get their names when all three are complete.
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
                names = "attempt", "questions", "options"
                named = dict(zip(names, rows or (None, None, None), strict=True))
                rows_file.write(json.dumps({"keen_id": message["keen_id"], **named}) + "\n")
            if due():
                done = number + 1
                print(
                    f"  {done:>11,} of {messages:,} messages, {100 * done // messages} %",
                    file=sys.stderr,
                )
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
    print(
        f"{path}: {n['messages']:,} SYNTHETIC messages (seed {seed}), "
        f"{n['attempts']:,} attempts, {n['duplicates']:,} delivered again, "
        f"{os.path.getsize(path) / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s; "
        f"the truth about them: {truth_path}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("messages", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("file")
    arguments = parser.parse_args()
    try:
        main(arguments.messages, arguments.seed, arguments.file)
    except OSError as error:
        sys.exit(
            f"error: {arguments.file} cannot be written\n       {error}\n"
            f"       name another file: make data SYNTHETIC={arguments.messages} DATA=…"
        )
