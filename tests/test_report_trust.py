"""Chapter 8 of the report: how far a score can be trusted, recalculated."""

import math
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    WORDS,
    answers,
    asked,
    grouped,
    mean,
    percent,
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
    return {
        "exam_name": name,
        "first_attempts": n,
        "questions": k,
        "mean_score": rounded(100 * statistics.fmean(scores) / k),
        "kr20": rounded(kr20, 2),
        "low": rounded(1 - (1 - kr20) * math.exp(spread), 2),
        "high": rounded(1 - (1 - kr20) * math.exp(-spread), 2),
        "margin_points": rounded(100 * 1.96 * error, 0),
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
    how_many = WORDS[len(reliable)]
    says(
        f"Of the {len(trust)} exams with at least 50 first attempts, {how_many} have an estimated "
        "reliability of the usual 0.7 or more, and their intervals begin below it. Even there, "
        f"one score is uncertain by ±{min(margins[:3])} to "
        f"±{max(margins[:3])} points of 100, because these exams have four to seven questions",
        f"{how_many.title()} exams reach 0.7: {best['exam_name']} ({best['kr20']}, 95 % interval "
        f"{best['low']} to {best['high']}), {second['exam_name']} ({second['kr20']}) and "
        f"{third['exam_name']} ({third['kr20']}). The other {WORDS[len(others)]} lie between "
        f"{others[-1]['kr20']} and {others[0]['kr20']}; for the last two the interval includes 0. "
        f"One score is uncertain by ±{min(margins)} to ±{max(margins)} points",
        f"nearly everything ({others[0]['exam_name']}: {others[0]['mean_score']} % right)",
    )
    assert max(row["low"] for row in reliable) < 0.7  # "their intervals begin below it"
    assert [row["low"] < 0 < row["high"] for row in trust] == [False] * 5 + [True] * 2
    assert {row["questions"] for row in reliable} == {4, 5, 7}  # "four to seven questions"
    assert others[0]["mean_score"] == max(row["mean_score"] for row in trust)


def test_how_many_questions_reliability_takes(trust):
    times = 0.7 * (1 - 0.34) / (0.34 * (1 - 0.7))  # Spearman-Brown
    assert 0.34 in [row["kr20"] for row in trust]
    says(f"To bring 0.34 to 0.7 takes about {rounded(times)} times as many questions")


def test_fast_attempts(first):
    fast = [a for a in first if a.seconds < 2 * len(a.questions)]
    theirs, everybody, others = (
        mean(a.score for a in group if a.counts) for group in (fast, first, set(first) - set(fast))
    )
    assert answers("AS mean_without_them") == [
        {
            "fast": len(fast),
            "first_attempts": len(first),
            "their_score": theirs,
            "mean_score": everybody,
            "mean_without_them": others,
        }
    ]
    says(
        f"attempts are few ({len(fast)} of {len(first):,}) and move the mean from {others} to "
        f"{everybody}"
    )


def test_places(first):
    expected = []
    for count in (4, 5, 7):
        attempts = [list(right_answers(a).values()) for a in first if len(a.questions) == count]
        for place, right in enumerate(zip(*attempts, strict=True)):
            expected.append(
                {
                    "question_count": count,
                    "question_position": place,
                    "results": len(right),
                    "percent_right": percent(right),
                    "margin": rounded(196 * statistics.stdev(right) / len(right) ** 0.5),
                }
            )
    assert answers("AS percent_right,\n       round(196") == expected
    *_, last = expected
    says(
        "the shares can be compared, and they differ by less than their margins",
        "means less than about 4 points",
        f"({last['percent_right']} ± {last['margin']} %): worth another look, but one of "
        f"{len(expected)} places",
    )
    by_count = grouped((row["question_count"], row) for row in expected)
    assert min(by_count[7], key=lambda row: row["percent_right"]) == last
    for rows in (by_count[4], by_count[5]):
        shares, margins = ([row[of] for row in rows] for of in ("percent_right", "margin"))
        assert max(shares) - min(shares) < min(margins) and 3 < max(margins) < 4
