"""Chapter 7 of the report, and what 9.5 says about questions: recalculated."""

import collections
import math
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    WORDS,
    asked,
    output,
    percent,
    rounded,
    says,
    the_attempts,
    the_first,
)


class Question:
    """The results of a question, which is its id within an exam's name."""

    def __init__(self):
        self.results = []  # whether it was answered right
        self.rests = []  # (the same, share of the attempt's other questions answered right)
        self.answered = 0
        self.chosen = collections.Counter()  # option: how often it was left checked
        self.options, self.right = set(), set()

    def add(self, question, others):
        """Counts a question with a result. others: whether the others of its attempt are right."""
        is_right = question["user_result"] == "correct"
        self.results.append(is_right)
        if others:
            self.rests.append((int(is_right), statistics.fmean(others)))
        if question["user_result"] != "unanswered":
            self.answered += 1
            for option in question["options"]:
                self.options.add(option["id"])
                self.chosen[option["id"]] += option["checked"]
                if option.get("correct"):
                    self.right.add(option["id"])

    @property
    def most_right(self):
        return max(self.chosen[option] for option in self.right)

    @property
    def least_right(self):
        return min(self.chosen[option] for option in self.right)

    def wrong(self):
        """Returns {wrong option: how often it was chosen}."""
        return {option: self.chosen[option] for option in self.options - self.right}

    def discrimination(self):
        """Returns the correlation with the rest, and the 95 % interval of it by Fisher's z."""
        r = statistics.correlation(*zip(*self.rests, strict=True))
        half = 1.96 / math.sqrt(len(self.rests) - 3)
        return [r, *(math.tanh(math.atanh(r) + side * half) for side in (-1, 1))]


def wilson_high(share, n):
    """Returns the upper end of a 95 % Wilson interval."""
    z = 1.96
    root = math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (share + z * z / (2 * n) + z * root) / (1 + z * z / n)


def questions_of(attempts):
    """Returns {(exam's name, question's id): Question}."""
    found = collections.defaultdict(Question)
    for attempt in attempts:
        with_result = [q for q in attempt.questions if q.get("user_result")]
        for q in with_result:
            others = [o["user_result"] == "correct" for o in with_result if o is not q]
            found[attempt.name, q["id"]].add(q, others)
    return found


def wrong_options(questions):
    """Returns the wrong options with at least 30 answers, and those ahead of every right one.

    Each is (chosen, most chosen right option, the question's key, option); most ahead first.
    """
    of = [
        (times, question.most_right, key, option)
        for key, question in questions.items()
        if question.answered >= 30 and question.right
        for option, times in question.wrong().items()
    ]
    ahead = [each for each in of if each[0] > each[1]]
    return of, sorted(ahead, key=lambda each: (each[1] - each[0], each[2][1], each[3]))


def by_chance(wrong, right, options=1):
    """Returns how many options are expected so far ahead, if both attract equally."""
    both = wrong + right
    return options * sum(math.comb(both, k) for k in range(wrong, both + 1)) / 2**both


@pytest.fixture(scope="module", name="questions")
def the_questions(first):
    return questions_of(first)


@pytest.fixture(scope="module", name="wrong")
def the_wrong(questions):
    return wrong_options(questions)


@pytest.fixture(scope="module", name="review")
def the_review(questions):
    """Returns the list of questions to review, as the report must show it."""
    often = {key: q for key, q in questions.items() if len(q.results) >= 30}
    rows = []
    for (name, key), q in often.items():
        wrong, (r, low, high) = max(q.wrong().values(), default=0), q.discrimination()
        signs = {
            "wrong option ahead": wrong > q.most_right,
            "hard": wilson_high(statistics.fmean(q.results), len(q.results)) < 1 / 3,
            "does not discriminate": high < 0.2,
        }
        row = {
            "exam_name": name,
            "question": key[:8],
            "results": len(q.results),
            "percent_right": percent(q.results),
            "wrong_chosen": wrong,
            "right_chosen": q.most_right,
            "least_right": q.least_right,
            "discrimination": rounded(r, 2),
            "low": rounded(low, 2),
            "high": rounded(high, 2),
            "why": ", ".join(sign for sign, seen in signs.items() if seen),
            "of_questions": len(often),
        }
        rows += [((statistics.fmean(q.results), name, key), row)] * any(signs.values())
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def test_questions_to_review(review, questions):
    assert asked("08_questions_to_review") == review
    hard, clear, of = review[1], review[5], review[0]["of_questions"]
    gits = [row for row in review if row["exam_name"] == "Mastering Git"]
    says(
        f"{len(review)} of {of} questions with enough first attempts",
        f"Begin with *{clear['exam_name']}*, question `{clear['question']}`: "
        f"{clear['wrong_chosen']} people chose one wrong option, {clear['right_chosen']} the "
        "right one. Then come two questions of *Mastering Git* "
        f"(`{gits[0]['question']}`, `{gits[1]['question']}`)",
        f"At least 30 results, which {of} questions have",
        f"`{clear['question']}` is the clearest: {clear['wrong_chosen']} people chose the wrong "
        f"option, {clear['right_chosen']} the right one",
        f"**Answer.** {len(review)} questions.",
        f"In `{hard['question']}` one of the right options was chosen by only "
        f"{hard['least_right']} of {hard['results']} people",
        f"Let an author read these {len(review)} questions",
        f"{len(review)} of {of} questions show a sign of a fault; in "
        f"{sum(row['wrong_chosen'] > row['right_chosen'] for row in review)} of them more people",
    )
    assert len(gits) == 2 and all("wrong option ahead" in row["why"] for row in (clear, *gits))
    (several,) = (q for (_, key), q in questions.items() if key.startswith(hard["question"]))
    assert len(several.right) > 1 and several.answered == hard["results"]


def test_wrong_options(questions, wrong):
    of, ahead = wrong
    times, right, (name, key), option = ahead[0]
    assert asked("11_wrong_options") == [
        {
            "exam_name": name,
            "question": key[:8],
            "option": option[:8],
            "answers": questions[name, key].answered,
            "chosen": times,
            "most_chosen_right": right,
            "right_options": len(questions[name, key].right),
            "of_options": len(of),
        }
    ]
    how_many = WORDS[len(ahead)]
    says(
        f"In {WORDS[len({key for *_, key, _ in ahead})]} of them a wrong option is ahead "
        f"({how_many} wrong options, of {len(of)} looked at; by {times} to {right} at most)",
        f"{how_many.title()}; the first by {times} to {right}, in {name}",
        f"among the {len(of)} wrong options looked at",
    )


def test_how_much_is_chance(wrong):
    of, ahead = wrong
    times, right, *_ = ahead[0]
    assert output(f"wrong, right, options = {times}, {right}, {len(of)}\n") == (
        f"{by_chance(times, right):.4f}, {by_chance(times, right, len(of)):.2f}"
    )
    expected = [by_chance(times, right, len(of)) for times, right, *_ in ahead]
    says(f"at least {times} of these people", "only the clearest stands out from chance")
    assert expected[0] < 0.1 and min(expected[1:]) > 0.5


def test_wrong_options_with_retakes(attempts):
    _, ahead = wrong_options(questions_of(attempts))
    most = max(times - right for times, right, *_ in ahead)
    says(
        f"all this disappears: only {len(ahead)} wrong options are ahead, by {most} answer at most"
    )


def test_the_hardest_question(questions):
    often = {key: q for key, q in questions.items() if len(q.results) >= 30}
    name, key = min(often, key=lambda each: statistics.fmean(often[each].results))
    results = often[name, key].results
    assert asked("10_hardest_questions") == [
        {
            "rank": 1,
            "question_id": key,
            "exam_name": name,
            "results": len(results),
            "percent_correct": percent(results),
            "percent_of_answered": rounded(100 * sum(results) / often[name, key].answered),
        }
    ]
    says(f"One of {name}: {percent(results)} % of {len(results)} first attempts had it right")


def test_the_question_that_discriminates_least(questions):
    often = {key: q for key, q in questions.items() if len(q.rests) >= 30}
    name, key = min(often, key=lambda each: often[each].discrimination())
    r, low, high = (rounded(number, 2) for number in often[name, key].discrimination())
    right = [is_right for is_right, _ in often[name, key].rests]
    assert asked("12_discrimination") == [
        {
            "question_id": key,
            "exam_name": name,
            "results": len(right),
            "percent_correct": percent(right),
            "discrimination": r,
            "low": low,
            "high": high,
        }
    ]
    says(f"One of {name} has {r} ({low} to {high}): weaker people answer it better")
    assert r < high < 0
