"""Chapter 8 of the report, its last section: how far a score can be trusted, recalculated."""

import math
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    WORDS,
    asked,
    grouped,
    rounded,
    says,
    the_attempts,
    the_first,
)


def right_answers(attempt):
    """Returns {question's id: 1 if answered right, else 0} of the questions with a result."""
    return {
        q["id"]: int(q["user_result"] == "correct")
        for q in attempt.questions
        if q.get("user_result")
    }


def reliability(name, attempts):
    """Returns the row that the report must show for one version of an exam."""
    answered = [right_answers(a) for a in attempts]
    questions = grouped(pair for each in answered for pair in each.items())
    (k,), n = {len(each) for each in answered}, len(answered)
    assert len(questions) == k
    scores = [sum(each.values()) for each in answered]
    noise = sum(statistics.variance(values) for values in questions.values())
    kr20 = k / (k - 1) * (1 - noise / statistics.variance(scores))
    spread = 1.96 * math.sqrt(2 * k / ((k - 1) * (n - 2)))  # Bonett 2002
    error = statistics.stdev(scores) * math.sqrt(1 - kr20) / k
    complete = [a for a in attempts if "unanswered" not in {q["user_result"] for q in a.questions}]
    skipped = n - len(complete)
    without = reliability(name, complete)["kr20"] if skipped else rounded(kr20, 2)
    return {
        "exam_name": name,
        "first_attempts": n,
        "questions": k,
        "mean_score": rounded(100 * statistics.fmean(scores) / k),
        "kr20": rounded(kr20, 2),
        "low": rounded(1 - (1 - kr20) * math.exp(spread), 2),
        "high": rounded(1 - (1 - kr20) * math.exp(-spread), 2),
        "margin_points": rounded(100 * 1.96 * error, 0),
        "skipped": skipped,
        "kr20_complete": without,
    }


@pytest.fixture(scope="module", name="trust")
def the_trust(first):
    versions = grouped(((a.name, a.version), a) for a in first)
    rows = [reliability(name, of) for (name, _), of in versions.items() if len(of) >= 50]
    return sorted(rows, key=lambda row: (-row["kr20"], row["exam_name"]))


def test_reliability(trust, first):
    assert asked("09_reliability") == trust
    names = grouped((a.name, a) for a in first)
    assert len(trust) == sum(len(of) >= 50 for of in names.values())  # "the 7 exams"
    reliable = [row for row in trust if row["kr20"] >= 0.7]
    others = [row for row in trust if row["kr20"] < 0.7]
    margins = [row["margin_points"] for row in trust]
    best, second, third = reliable
    best_margins = [row["margin_points"] for row in reliable]
    says(
        f"{WORDS[len(reliable)].title()} exams reach 0.7: {best['exam_name']} ({best['kr20']}, "
        f"95 % interval {best['low']} to {best['high']}), {second['exam_name']} "
        f"({second['kr20']}) and "
        f"{third['exam_name']} ({third['kr20']}); none does for certain, and none reaches 0.9",
        f"Without the {third['skipped']} attempts that left something out, {third['exam_name']} "
        f"has {third['kr20_complete']}. The other {WORDS[len(others)]} lie between "
        f"{others[-1]['kr20']} and {others[0]['kr20']}; for the last two the interval includes 0. "
        f"One score is uncertain by ±{min(margins)} to ±{max(margins)} points, by "
        f"±{min(best_margins)} to ±{max(best_margins)} in the three best",
        f"KR-20 is low ({others[0]['exam_name']}: {others[0]['mean_score']} % right)",
        "No exam is reliable enough to decide about a person; even in the best ones a score is "
        "uncertain by a third of the scale",
    )
    assert max(row["high"] for row in trust) < 0.9
    assert all(28 < margin < 38 for margin in best_margins)  # "a third of the scale"
    assert max(row["low"] for row in reliable) < 0.7  # "their intervals begin below it"
    assert [row["low"] < 0 < row["high"] for row in trust] == [False] * 5 + [True] * 2
    assert {row["questions"] for row in reliable} == {4, 5, 7}  # "four to seven questions"
    assert others[0]["mean_score"] == max(row["mean_score"] for row in trust)


def test_how_many_questions_reliability_takes(trust):
    times = 0.7 * (1 - 0.34) / (0.34 * (1 - 0.7))  # Spearman-Brown
    assert trust[3]["kr20"] == 0.34
    says(f"To bring 0.34 to 0.7 takes about {rounded(times)} times as many questions")
