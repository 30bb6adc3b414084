"""Chapter 9 of the report: the answers to the assignment's questions, recalculated."""

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
        f"{sent:,} messages, which are {len(attempts):,} attempts: the other messages repeat an "
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
        f"About {at_a_minute}, if an attempt within a minute after another one is the same "
        f"person; at most {len(git)}",
        f"About {at_a_minute} people with the limit of a minute, {most} to {least} with the "
        f"others; at most {len(git)}",
    )


def test_least_common(attempts):
    names = collections.Counter((a.name, None) for a in attempts)
    ids = collections.Counter((a.name, a.exam) for a in attempts)
    fewest = {name for (name, _), n in ids.items() if n == min(ids.values())}
    assert asked("04_least_common_course") == [
        {"reading": "by name", "exam_name": name, "base_exam_id": None, "attempts": n}
        for (name, _), n in sorted(names.items())
        if n == min(names.values())
    ]
    assert fewest == {name for (name, _), n in names.items() if n == min(names.values())}
    says("A course is its name; by id they are the same")
    least = sorted(name for (name, _), n in names.items() if n == min(names.values()))
    says(
        f"{WORDS[len(least)].title()}, with {WORDS[min(names.values())]} attempt each: "
        f"{'; '.join(least)}"
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
    assert asked("05_most_common_course") == expected[:5]
    name, times = expected[0]["exam_name"], expected[0]["attempts"]
    first, second, third = sorted(expected, key=lambda row: -row["first_attempts"])[:3]
    says(
        f"*The most common?* {name}, with {times} attempts",
        f"By first attempts *{second['exam_name']}* is second ({second['first_attempts']}) and "
        f"*{third['exam_name']}* third ({third['first_attempts']}): it is retaken more",
        f"{name} is taken most, by first attempts and by all. By first attempts "
        f"{second['exam_name']} is second and {third['exam_name']} third; by all, "
        f"{third['exam_name']} and {second['exam_name']}",
    )
    assert [first, third, second] == expected[:3]
    kept = [row["first_attempts"] / row["attempts"] for row in (second, third)]
    assert kept[0] > kept[1]  # "it is retaken more"


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
    )


def test_time_taken(attempts):
    medians = []
    for of in grouped((a.name, a) for a in attempts).values():
        if len(of) >= 50:
            retaken = [a.seconds for a in of if a.retakes and not a.is_retake]
            again = [a.seconds for a in of if a.is_retake]
            medians.append([rounded(statistics.median(each) / 60) for each in (retaken, again)])
    quicker = sum(again < retaken for retaken, again in medians)
    says(f"A retake takes less time than the first attempt in {quicker} of {len(medians)} exams")
