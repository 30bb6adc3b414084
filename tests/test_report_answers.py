"""The report's answers to the assignment's questions equal an independent calculation."""

import collections

from report_fixtures import (  # noqa: F401
    answers,
    statement,
    the_again,
    the_attempts,
    the_deliveries,
)


def test_how_many(deliveries, attempts):
    assert answers(statement("01_how_many_assessments")) == [
        {
            "messages": len(deliveries),
            "delivered_again": len(deliveries) - len(attempts),
            "rejected": 0,
            "attempts": len(attempts),
            "exams_by_id": len({a["base_exam_id"] for a in attempts}),
            "exams_by_name": len({a["exam_name"] for a in attempts}),
        }
    ]


def test_the_topic(deliveries):
    assert answers(statement("02_kafka_topic")) == [
        {
            "topic": "assessments",
            "kafka_partition": 0,
            "first_offset": 0,
            "last_offset": len(deliveries) - 1,
            "messages": len(deliveries),
        }
    ]


def test_learning_git(deliveries, attempts, again):
    git = [a for a in attempts if a["exam_name"] == "Learning Git"]
    assert answers(statement("03_learning_git")) == [
        {
            "attempts": len(git),
            "first_sittings": sum(a["keen_id"] not in again for a in git),
            "user_exam_ids": len({a["user_exam_id"] for a in git}),
            "deliveries": sum(d["exam_name"] == "Learning Git" for d in deliveries),
        }
    ]


def test_least_and_most_common(deliveries, attempts):
    by_name = collections.Counter(a["exam_name"] for a in attempts)
    by_id = collections.Counter((a["exam_name"], a["base_exam_id"]) for a in attempts)
    least = [
        ("by name", name, None, n)
        for name, n in sorted(by_name.items())
        if n == min(by_name.values())
    ]
    least += [("by id", *key, n) for key, n in sorted(by_id.items()) if n == min(by_id.values())]
    assert [tuple(row.values()) for row in answers(statement("04_least_common_course"))] == least
    delivered = collections.Counter(d["exam_name"] for d in deliveries) + collections.Counter(
        (d["exam_name"], d["base_exam_id"]) for d in deliveries
    )
    shown = answers(statement("05_most_common_course"))
    for reading, counter in (("by name", by_name), ("by id", by_id)):
        rows = [row for row in shown if row["reading"] == reading]
        assert [row["attempts"] for row in rows] == sorted(counter.values(), reverse=True)[:5]
        for row in rows:
            key = (
                row["exam_name"]
                if reading == "by name"
                else (row["exam_name"], row["base_exam_id"])
            )
            assert (row["attempts"], row["deliveries"], row["rank"]) == (
                counter[key],
                delivered[key],
                1 + sum(n > counter[key] for n in counter.values()),
            )
