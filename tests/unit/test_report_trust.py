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
        f"Of the {len(trust)} exams with at least 50 first attempts, {how_many} reach the usual "
        "reliability of 0.7, none of them for certain: the intervals begin at "
        f"{min(row['low'] for row in reliable)} to {max(row['low'] for row in reliable)}. Even "
        f"there, one score is uncertain by ±{min(margins[:3])} to "
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
    by_count, expected = grouped((len(a.questions), right_answers(a)) for a in first), []
    for count, attempts in sorted(by_count.items()):
        answered = [list(each.values()) for each in attempts if len(each) == count]
        places = list(zip(*answered, strict=True))
        if len(answered) >= 100:
            margins = [196 * statistics.stdev(right) / len(right) ** 0.5 for right in places]
            shares = [percent(right) for right in places]
            expected.append(
                {
                    "questions": count,
                    "first_attempts": len(answered),
                    "percent_right_by_place": "  ".join(f"{share:.1f}" for share in shares),
                    "last_place": shares[-1],
                    "margin": rounded(max(margins)),
                }
            )
            if count < 7:
                assert max(shares) - min(shares) < max(margins)
    assert answers("AS percent_right_by_place") == expected
    says(
        "no visible effect in exams of three, four and five questions",
        "they differ by less than the margins",
        f"In exams of seven questions the last place does worse ({expected[-1]['last_place']} %)",
        f"one of {sum(row['questions'] for row in expected)} places looked at",
        "means less than about 5 points in exams of four and five questions",
    )
    assert [row["questions"] for row in expected] == [3, 4, 5, 7]
    # The difference of two places has 1.4 times the margin of one.
    assert all(4.5 < 2**0.5 * row["margin"] < 5.5 for row in expected[1:3])
