"""Chapter 8 of the report: what the marking rule costs, recalculated."""

import collections
import statistics

from report_fixtures import (  # noqa: F401
    asked,
    grouped,
    mean,
    percent,
    right_options,
    rounded,
    says,
    the_attempts,
    the_first,
)

FORMATS = {1: "1 one", 2: "2 two", 3: "3 three"}


def answered(attempts):
    """Yields (attempt, question) of the questions with a result."""
    for attempt in attempts:
        for question in attempt.questions:
            if question.get("user_result"):
                yield attempt, question


def checked(question):
    return sum(option["checked"] for option in question["options"])


def test_the_marking_rule(first):
    formats = grouped([])
    for attempt, question in answered(first):
        right = right_options(question)
        formats[FORMATS.get(right, "4 four or more")].append((attempt, question))
        if right > 1:
            formats["5 several"].append((attempt, question))
    expected = []
    for name, of in sorted(formats.items()):
        results = [q["user_result"] for _, q in of]
        fewer = [checked(q) < right_options(q) for _, q in of if q["user_result"] != "unanswered"]
        shares = {
            "percent_right": "correct",
            "percent_partly": "missed_some",
            "percent_wrong": "incorrect",
            "percent_unanswered": "unanswered",
        }
        expected.append(
            {
                "right_options": name[2:],
                "questions": len({(a.name, q["id"]) for a, q in of}),
                "results": len(of),
                "correct": results.count("correct"),
                **{key: percent(r == result for r in results) for key, result in shares.items()},
                "percent_fewer": percent(fewer),
            }
        )
    assert asked("11_marking_rule") == expected
    one, *_, several = expected
    says(
        "Questions with several right options are answered right in "
        f"{several['percent_right']} % of first attempts, those with one in "
        f"{one['percent_right']} %. A third of the answers to the "
        "former are partly right, which counts as nothing",
        f"are answered right in {several['percent_right']} % of first attempts "
        f"({several['correct']} of {several['results']:,}), those with one in "
        f"{one['percent_right']} % ({one['correct']:,} of {one['results']:,}). "
        f"{several['percent_partly']} % of the answers to the former are partly right.",
        f"In {several['percent_fewer']} % of the answers to them people checked fewer options "
        "than are right",
        f"those with one in {one['percent_right']} %; {several['percent_partly']} % of the answers "
        "to the former are partly right, which counts as nothing",
    )
    assert 30 < several["percent_partly"] < 36  # "a third"


def credit(question):
    """Returns a question's points when partly right answers get their share."""
    if question["user_result"] not in ("correct", "missed_some"):
        return 0
    chosen = sum(o["checked"] for o in question["options"] if o.get("correct"))
    return chosen / right_options(question)


def test_the_same_people_and_partial_credit(first):
    by_attempt = grouped((a.id, q) for a, q in answered(first))
    pairs, scores, credited = [], [], []
    for questions in by_attempt.values():
        kinds = grouped((right_options(q) > 1, q["user_result"] == "correct") for q in questions)
        if len(kinds) == 2:
            pairs.append([100 * statistics.fmean(kinds[kind]) for kind in (False, True)])
        scores.append(100 * statistics.fmean(q["user_result"] == "correct" for q in questions))
        credited.append(100 * statistics.fmean(map(credit, questions)))
    differences = [one - several for one, several in pairs]
    margin = 1.96 * statistics.stdev(differences) / len(differences) ** 0.5
    row = {
        "with_both": len(pairs),
        "one": mean(one for one, _ in pairs),
        "several": mean(several for _, several in pairs),
        "difference": mean(differences),
        "margin": rounded(margin),
        "first_attempts": len(scores),
        "changed": sum(
            after > before + 1e-9 for before, after in zip(scores, credited, strict=True)
        ),
        "mean_score": mean(scores),
        "mean_credited": mean(credited),
    }
    assert asked("checks/7_partial_credit") == [row]
    says(
        f"Within the same {row['with_both']:,} attempts the difference is {row['difference']} "
        f"points (±{row['margin']})",
        f"With partial credit {row['changed']} of {row['first_attempts']:,} scores would rise, "
        f"and the mean from {row['mean_score']} to {row['mean_credited']}",
    )


def test_two_exams_have_no_question_with_several_right_options(attempts):
    kinds = collections.defaultdict(set)
    for attempt, question in answered(attempts):
        kinds[attempt.name].add(right_options(question) > 1)
    assert kinds["Learning Git"] == kinds["Introduction to Java 8"] == {False}
    says("*Learning Git* and *Introduction to Java 8* have no question of the second kind")
