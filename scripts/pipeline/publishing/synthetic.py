"""Generates assessment attempts that look like those of the real file, and the truth about them.

Run by: make data SYNTHETIC=3280 SEED=1 DATA=data/synthetic.json
    scripts/env.sh python -m pipeline.publishing.synthetic MESSAGES SEED FILE

FILE gets MESSAGES messages: one JSON array on one line like the real file, or JSON lines when its
name ends in .jsonl (large files publish much faster then). Memory is constant at any size.

FILE.truth.json gets counts and answers that are known from the generation, never read back from
the data. FILE.truth.rows.jsonl gets one line per attempt with each row that the tables must hold,
for up to 20,000 messages.

The generated data have these properties of the real file (3,280 messages, 2017-11-21 to
2018-01-28), in the same shares; catalogue.py has those of the exams:
  - 1,346 of 3,242 attempts start within a minute after the end of another attempt at the same
    exam, and take a quarter of the time
  - 20 attempts were delivered again, 18 of them twice, up to about two thousand messages later
  - messages come in blocks of a few minutes to hours; the blocks are not in order of time
"""

import contextlib
import heapq
import itertools
import json
import pathlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline import script
from pipeline.errors import Failure
from pipeline.files import replacing
from pipeline.publishing.catalogue import Attempt, Catalogue, make_attempt
from pipeline.settings import Settings
from pipeline.text import report_timer

ROWS_UP_TO = 20_000  # messages
COUNTS = "messages", "duplicates", "attempts", "questions", "options", "without_counts"
ROW = "keen_id", "attempt", "questions", "options"
BEGIN, END = 1511222400, 1517180000  # 2017-11-21 and 2018-01-28, as seconds


def deliveries(rng: random.Random, messages: int) -> Iterator[tuple[Attempt, bool]]:
    """Yields (attempt, whether it was delivered before) `messages` times."""
    catalogue = Catalogue(rng)
    # Heap of (position, number, attempt) that will be delivered again.
    again: list[tuple[int, int, Attempt]] = []
    number = itertools.count()
    block_left, exam, clock = 0, None, float(BEGIN)
    for position in range(messages):
        if again and again[0][0] <= position:
            yield heapq.heappop(again)[2], True
            continue
        if block_left == 0:  # the next block is at a random time
            block_left, clock, exam = rng.randint(3, 40), rng.uniform(BEGIN, END - 86400), None
        block_left -= 1
        again_at_once = exam is not None and rng.random() < 0.43
        took = min(25_000, max(1.1, rng.lognormvariate(3.3 if again_at_once else 4.6, 0.9)))
        if exam is None or not again_at_once:
            exam, clock = catalogue.pick(rng), clock + rng.expovariate(1 / 150)
        else:
            clock += rng.uniform(2, 55) + took
        attempt = make_attempt(rng, exam, clock, took)
        if rng.random() < 20 / 3242:
            for _ in range(1 if rng.random() < 0.1 else 2):
                later = position + rng.randint(2, max(3, min(2500, messages // 2)))
                heapq.heappush(again, (later, next(number), attempt))
        yield attempt, False


class Truth:
    """Counts and answers, added up while the data are generated."""

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()
        self.attempts_by_name: Counter[str] = Counter()
        self.messages_by_name: Counter[str] = Counter()
        self.answers: Counter[tuple[str, str]] = Counter()  # by exam's name and question
        self.correct: Counter[tuple[str, str]] = Counter()

    def add(self, attempt: Attempt, is_repeat: bool) -> None:
        name = attempt.message["exam_name"]
        self.numbers["messages"] += 1
        self.messages_by_name[name] += 1
        if is_repeat:
            self.numbers["duplicates"] += 1
            return
        self.attempts_by_name[name] += 1
        self.numbers["attempts"] += 1
        self.numbers["questions"] += len(attempt.questions)
        self.numbers["options"] += len(attempt.options)
        self.numbers["without_counts"] += "counts" not in attempt.message["sequences"]
        for row in attempt.questions:
            if row[5] is not None:
                self.answers[name, row[4]] += 1
                self.correct[name, row[4]] += row[5] == "correct"

    def as_json(self, seed: int) -> dict[str, Any]:
        """The content of FILE.truth.json."""
        names, git = self.attempts_by_name, "Learning Git"
        return {
            "seed": seed,
            **{key: self.numbers[key] for key in COUNTS},
            "learning_git": {"attempts": names[git], "messages": self.messages_by_name[git]},
            "most_common": self._with_attempts(max(names.values(), default=0)),
            "least_common": self._with_attempts(min(names.values(), default=0)),
            "attempts_by_exam_name": dict(sorted(names.items())),
            "results_by_question": [
                {"exam_name": name, "question_id": key, "answers": answers, "correct": correct}
                for (name, key), answers in sorted(self.answers.items())
                for correct in [self.correct[name, key]]
            ],
        }

    def _with_attempts(self, number: int) -> dict[str, Any]:
        names = sorted(name for name, count in self.attempts_by_name.items() if count == number)
        return {"attempts": number, "exam_names": names}


def write(messages: int, seed: int, path: str) -> None:
    """Writes the data and the truth about them."""
    rng, truth, begin, due = random.Random(seed), Truth(), time.monotonic(), report_timer()
    rows_path, truth_path = f"{path}.truth.rows.jsonl", f"{path}.truth.json"
    first, between, last = ("", "\n", "\n") if path.endswith(".jsonl") else ("[", ", ", "]\n")
    # The files get their names when all three are complete.
    with contextlib.ExitStack() as files:
        data = files.enter_context(replacing(path))
        rows = files.enter_context(replacing(rows_path)) if messages <= ROWS_UP_TO else None
        data.write(first)
        for number, (attempt, is_repeat) in enumerate(deliveries(rng, messages)):
            message = json.dumps(attempt.message, ensure_ascii=False)
            data.write(f"{between if number else ''}{message}")
            truth.add(attempt, is_repeat)
            if rows:
                of_attempt = [None] * 3 if is_repeat else attempt[1:]
                row = zip(ROW, (attempt.message["keen_id"], *of_attempt), strict=True)
                rows.write(json.dumps(dict(row)) + "\n")
            if due():
                done = f"{number + 1:>11,} of {messages:,} messages"
                print(f"  {done}, {100 * (number + 1) // messages} %", file=sys.stderr)
        data.write(last)
        truth_file = files.enter_context(replacing(truth_path))
        json.dump(truth.as_json(seed), truth_file, indent=1, ensure_ascii=False)
    if not rows:
        pathlib.Path(rows_path).unlink(missing_ok=True)
    n, size = truth.numbers, pathlib.Path(path).stat().st_size
    print(
        f"{path}: {n['messages']:,} SYNTHETIC messages (seed {seed}), "
        f"{n['attempts']:,} attempts, {n['duplicates']:,} delivered again, "
        f"{size / 1e6:,.1f} MB in {time.monotonic() - begin:.1f} s; "
        f"the truth about them: {truth_path}"
    )


def main(settings: Settings) -> None:
    messages, seed, path = sys.argv[1:]
    try:
        write(int(messages), int(seed), path)
    except OSError as error:
        then = f"name another file: {settings.make('data', SYNTHETIC=messages, DATA='…')}"
        raise Failure(f"{path} cannot be written", str(error), then) from None


if __name__ == "__main__":
    script.run(main)
