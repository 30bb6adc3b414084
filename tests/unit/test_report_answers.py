"""Chapter 9 of the report: the answers to the assignment's questions, recalculated.

What 9.5 says about questions is in test_report_review.py.
"""

import collections
import statistics

from report_fixtures import (  # noqa: F401
    WORDS,
    asked,
    grouped,
    mean,
    rounded,
    says,
    the_attempts,
    the_first,
    the_messages,
    the_retakes,
)


def test_how_many(messages, attempts):
    sent, again = len(messages), len(messages) - len(attempts)
    exams, names = {a.exam for a in attempts}, {a.name for a in attempts}
    assert asked("01_how_many_assessments") == [
        {
            "messages": sent,
            "delivered_again": again,
            "rejected": 0,
            "attempts": len(attempts),
            "exams_by_id": len(exams),
            "exams_by_name": len(names),
        }
    ]
    says(
        f"{sent:,} messages, which are {len(attempts):,} attempts: {again} messages repeat an "
        "attempt that was already sent",
        f"{len(attempts):,} attempts at {len(exams)} exams with {len(names)} names",
    )


def test_the_topic(messages):
    assert asked("02_kafka_topic") == [
        {
            "topic": "assessments",
            "kafka_partition": 0,
            "first_offset": 0,
            "last_offset": len(messages) - 1,
            "messages": len(messages),
        }
    ]
    says("*The topic's name?* `assessments`: it says what one message is")


def test_learning_git(messages, attempts):
    git = [a for a in attempts if a.name == "Learning Git"]
    limits = {seconds: sum(a.gap <= seconds for a in git) for seconds in (30, 60, 120, 600)}
    assert asked("03_learning_git") == [
        {
            "retake_within_seconds": seconds,
            "attempts": len(git),
            "retakes": retakes,
            "first_attempts": len(git) - retakes,
            "deliveries": sum(message["exam_name"] == "Learning Git" for message in messages),
        }
        for seconds, retakes in limits.items()
    ]
    most, at_a_minute, _, least = (len(git) - retakes for retakes in limits.values())
    says(
        f"About {at_a_minute}, if an attempt within a minute after another one is the same person "
        f"({most} to {least} for limits of 30 s to 10 minutes); at most {len(git)}",
        f"About {at_a_minute} people with the limit of a minute, {most} to {least} with the "
        f"others; at most {len(git)}",
    )


def test_least_common(attempts):
    names = collections.Counter((a.name, None) for a in attempts)
    ids = collections.Counter((a.name, a.exam) for a in attempts)
    assert asked("04_least_common_course") == [
        {"reading": reading, "exam_name": name, "base_exam_id": exam, "attempts": n}
        for reading, counter in (("by name", names), ("by id", ids))
        for (name, exam), n in sorted(counter.items())
        if n == min(counter.values())
    ]
    least = sorted(name for (name, _), n in names.items() if n == min(names.values()))
    says(
        f"{WORDS[len(least)].title()}, with {min(names.values())} attempt each: {'; '.join(least)}",
        f"of {len(names)} exams, {len(least)} were taken least, with {min(names.values())} attempt",
    )


def test_most_common(messages, attempts):
    names = grouped((a.name, a) for a in attempts)
    sizes = {name: len(of) for name, of in names.items()}
    ranks = {name: 1 + sum(n > sizes[name] for n in sizes.values()) for name in names}
    delivered = collections.Counter(message["exam_name"] for message in messages)
    expected = []
    for name in sorted(names, key=lambda name: (ranks[name], name)):
        ids = collections.Counter(a.exam for a in names[name])
        expected.append(
            {
                "rank": ranks[name],
                "exam_name": name,
                "attempts": sizes[name],
                "first_attempts": sum(not a.is_retake for a in names[name]),
                "deliveries": delivered[name],
                "base_exam_ids": len(ids),
                "of_largest_id": max(ids.values()),
            }
        )
    expected = [row for row in expected if row["rank"] <= 10]
    assert asked("05_most_common_course") == expected
    name, times = expected[0]["exam_name"], expected[0]["attempts"]
    says(f"*The most common?* {name}, with {times} attempts", f"{name} was taken {times} times")


def test_scores(attempts, first, retakes):
    expected = []
    for which, group in (("all", attempts), ("first", first), ("retakes", retakes)):
        counted = [a for a in group if a.counts]
        exams, names = (
            [statistics.fmean(of) for of in grouped(pairs).values()]
            for pairs in (
                ((a.exam, a.score) for a in counted),
                ((a.name, a.score) for a in counted),
            )
        )
        right, total = (sum(a.counts[name] for a in counted) for name in ("correct", "total"))
        expected.append(
            {
                "attempts": which,
                "mean_over_attempts": mean((a.score for a in counted), 2),
                "pooled_over_questions": rounded(100 * right / total, 2),
                "mean_of_exam_means": mean(exams, 2),
                "the_same_by_name": mean(names, 2),
                "attempts_with_counts": len(counted),
                "attempts_without": len(group) - len(counted),
            }
        )
    assert asked("15_scores") == expected
    everything, knew, again = expected
    says(
        f"The average score is {everything['mean_over_attempts']} % over all attempts, "
        f"{everything['pooled_over_questions']} % over all questions, "
        f"{everything['mean_of_exam_means']} % over exams (by id; "
        f"{everything['the_same_by_name']} % by name)",
        f"Over first attempts it is {knew['mean_over_attempts']} %, over retakes "
        f"{again['mean_over_attempts']} %",
        f"not the {everything['mean_over_attempts']:.1f} % of all attempts",
    )


def test_time_taken(attempts):
    expected = []
    for name, of in grouped((a.name, a) for a in attempts).items():
        first, again = ([a for a in of if a.is_retake == retake] for retake in (False, True))
        if len(of) >= 50:
            a_question = statistics.median(a.seconds / len(a.questions) for a in first)
            row = {"exam_name": name, "first_attempts": len(first), "retakes": len(again)}
            row["median_first"] = rounded(statistics.median(a.seconds for a in first) / 60)
            retaken = statistics.median(a.seconds for a in first if a.retakes)
            row["median_retaken_first"] = rounded(retaken / 60)
            row["median_retake"] = rounded(statistics.median(a.seconds for a in again) / 60)
            row["seconds_a_question_first"] = rounded(a_question, 0)
            row["longest"] = rounded(max(a.seconds for a in of) / 60, 0)
            expected.append(row)
    slowest = min(expected, key=lambda row: (-row["median_first"], row["exam_name"]))
    assert asked("14_time_taken") == [slowest]
    quicker = sum(row["median_retake"] < row["median_retaken_first"] for row in expected)
    says(
        f"Of the exams with at least 50 attempts, longest in {slowest['exam_name']}: a median of "
        f"{slowest['median_first']} minutes at the first attempt",
        f"need less time for the retake in {quicker} of {len(expected)} exams",
    )


def test_changes_of_mind(first, retakes):
    expected = []
    for which, attempts in (("first", first), ("retakes", retakes)):
        results = []
        for question in (q for a in attempts for q in a.questions):
            right = [option for option in question["options"] if option.get("correct")]
            back = [o for o in question["options"] if o.get("at") and not o["checked"]]
            if question.get("user_result", "unanswered") != "unanswered" and back:
                results += [(question["user_result"], right[0] in back)] * (len(right) == 1)
        to_right = sum(result == "correct" for result, _ in results)
        from_right = sum(left for _, left in results)
        # Moving to the right option and moving away from it are disjoint.
        assert ("correct", True) not in results and from_right < to_right
        expected.append(
            {
                "attempts": which,
                "questions": len(results),
                "to_right": to_right,
                "from_right": from_right,
            }
        )
    assert asked("13_changes_of_mind") == expected
    on_first, on_retakes = (f"{row['to_right']} against {row['from_right']}" for row in expected)
    says(f"away from it: {on_first} times on first attempts, {on_retakes} on retakes")
