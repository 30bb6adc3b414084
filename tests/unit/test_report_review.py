"""Chapter 7 of the report: the questions to review, recalculated."""

import collections
import math
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    WORDS,
    asked,
    grouped,
    percent,
    rounded,
    says,
    the_attempts,
    the_first,
    wilson,
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
        self.right.update(o["id"] for o in question["options"] if o.get("correct"))
        if question["user_result"] != "unanswered":
            self.answered += 1
            for option in question["options"]:
                self.options.add(option["id"])
                self.chosen[option["id"]] += option["checked"]

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
        """Returns the correlation with the rest and the upper end of its interval (Fisher's z).

        None without five right and five other results, and where most have all the rest right.
        """
        right = sum(is_right for is_right, _ in self.rests)
        perfect = sum(rest == 1 for _, rest in self.rests)
        if min(right, len(self.rests) - right) < 5 or 2 * perfect > len(self.rests):
            return None
        r = statistics.correlation(*zip(*self.rests, strict=True))
        return r, math.tanh(math.atanh(r) + 1.96 / math.sqrt(len(self.rests) - 3))


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
def the_review(questions, wrong):
    """Returns the list of questions to review, as the report must show it."""
    often = {key: q for key, q in questions.items() if len(q.results) >= 30}
    formats = grouped(
        (len(q.right) > 1, is_right) for q in questions.values() for is_right in q.results
    )
    by_a_third = [len(q.right) > 1 for q in often.values() if wilson(q.results)[1] < 100 / 3]
    rows = []
    for (name, key), q in often.items():
        of_format = 100 * statistics.fmean(formats[len(q.right) > 1])
        most_wrong, (low, high) = max(q.wrong().values(), default=0), wilson(q.results)
        r, r_high = q.discrimination() or (None, 1)
        is_ahead = most_wrong > q.most_right
        signs = {
            "wrong option ahead": is_ahead,
            "hard": high < of_format / 2,
            "does not discriminate": r_high < 0.2,
        }
        row = {
            "exam_name": name,
            "question": key[:8],
            "right_options": len(q.right),
            "results": len(q.results),
            "right_results": sum(q.results),
            "percent_right": percent(q.results),
            "low": rounded(low),
            "high": rounded(high),
            "format_percent": rounded(of_format),
            "wrong_chosen": most_wrong,
            "right_chosen": q.most_right,
            "least_right": q.least_right,
            "p_of_lead": rounded(by_chance(most_wrong, q.most_right), 4) if is_ahead else None,
            "leads_by_chance": rounded(by_chance(most_wrong, q.most_right, len(wrong[0])), 2)
            if is_ahead
            else None,
            "discrimination": None if r is None else rounded(r, 2),
            "why": ", ".join(sign for sign, seen in signs.items() if seen),
            "of_questions": len(often),
            "of_several": sum(len(q.right) > 1 for q in often.values()),
            "by_a_third": len(by_a_third),
            "by_a_third_several": sum(by_a_third),
            "of_options": len(wrong[0]),
            "n_discrimination": sum(q.discrimination() is not None for q in often.values()),
        }
        rows += [((statistics.fmean(q.results), name, key), row)] * any(signs.values())
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def test_questions_to_review(review, questions):
    assert asked("08_questions_to_review") == review
    worst, several, second, third, *others = review
    of, leads = worst["of_questions"], [row["p_of_lead"] for row in others]
    hard, ahead = (
        [row for row in review if sign in row["why"]] for sign in ("hard", "wrong option ahead")
    )

    def words(row, sides=True):
        chosen = f"; {row['wrong_chosen']} to {row['right_chosen']}" if sides else ""
        return f"({row['right_results']} of {row['results']}{chosen})"

    says(
        f"Begin with question `{worst['question']}` of *{worst['exam_name']}*: "
        f"{WORDS[worst['right_results']]} of {worst['results']} people had it right, and a wrong "
        "option was chosen more often than either right one",
        f"At least 30 results, which {of} questions have",
        f"**Answer.** {len(review)} questions. `{worst['question']}` comes first: "
        f"{worst['right_results']} of {worst['results']} people had it right, and "
        f"{worst['wrong_chosen']} chose one wrong option, {worst['right_chosen']} the most chosen "
        f"right one. Then `{second['question']}` of the same exam {words(second)} and "
        f"`{third['question']}` {words(third)}.",
        f"In `{several['question']}` one of the {WORDS[several['right_options']]} right options "
        f"was chosen by only {several['least_right']} of {several['results']} people",
        f"The other {WORDS[len(others)]} have only a lead, with p from {min(leads)} to "
        f"{max(leads)}",
        f"Among the {worst['of_options']} wrong options looked at, chance gives "
        f"{third['leads_by_chance']} leads like the clearest and {second['leads_by_chance']} like "
        "the second",
        f"No question shows the third sign, of the {worst['n_discrimination']} for which",
        f"{len(review)} of {of} questions show a sign of a fault: {len(hard)} are hard for their "
        f"format, in {len(ahead)} more people chose one wrong option than any right one",
    )
    assert worst["right_options"] == 2 and second["exam_name"] == worst["exam_name"]
    assert [row["why"] for row in others] == ["wrong option ahead"] * len(others)
    assert hard == [worst, several, second, third]
    assert not [row for row in review if "does not" in row["why"]]
    (answered,) = (q for (_, key), q in questions.items() if key.startswith(several["question"]))
    assert answered.answered == several["results"]


def test_one_limit_for_all_finds_the_format(review, questions):
    row = review[0]
    says(
        f"One limit for all, a third right, would list {row['by_a_third']} questions, "
        f"{row['by_a_third_several']} of them with several right options, though only "
        f"{row['of_several']} of the {row['of_questions']} are of that kind",
    )
    often = [q for q in questions.values() if len(q.results) >= 30]
    hardest = sorted(often, key=lambda q: statistics.fmean(q.results))[:10]
    says("say why its ten are mostly of one format")
    assert sum(len(q.right) > 1 for q in hardest) > 6


def test_the_clearest_questions_with_retakes(attempts, review):
    everything = questions_of(attempts)
    expected = []
    for row in review[:4]:
        (q,) = (q for (_, key), q in everything.items() if key.startswith(row["question"]))
        expected.append(
            {
                "question": row["question"],
                "results": len(q.results),
                "percent_right": percent(q.results),
                "wrong_chosen": max(q.wrong().values()),
                "right_chosen": q.most_right,
            }
        )
    expected.sort(key=lambda row: row["percent_right"])
    assert asked("checks/6_with_retakes") == expected
    leads = [
        f"{row['wrong_chosen']} to {row['right_chosen']} in `{row['question']}`" for row in expected
    ]
    says(
        f"With retakes the leads disappear ({leads[2]}, {leads[3]}), but "
        f"`{expected[0]['question']}` ({expected[0]['percent_right']} % right) and "
        f"`{expected[1]['question']}` ({expected[1]['percent_right']} %) stay hard"
    )
    assert all(row["wrong_chosen"] < row["right_chosen"] for row in expected[2:])


def test_wrong_options_with_retakes(attempts):
    """ "The leads disappear": two are left, by one answer."""
    _, ahead = wrong_options(questions_of(attempts))
    assert [times - right for times, right, *_ in ahead] == [1, 1]
