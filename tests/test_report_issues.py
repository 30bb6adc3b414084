"""What the report says about repeated deliveries, nulls, clocks and smaller defects of the data.

Each answer equals an independent calculation.
"""

import collections
import itertools
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    answers,
    microseconds,
    near,
    seconds,
    taken,
    the_attempts,
    the_deliveries,
    the_questions,
)


def test_the_issues_of_the_data(deliveries, attempts):
    again = {
        key for key, n in collections.Counter(d["keen_id"] for d in deliveries).items() if n > 1
    }
    copies = [d for d in deliveries if d["keen_id"] in again]
    assert all(a == b for a in copies for b in copies if a["keen_id"] == b["keen_id"])
    times = [float(d["keen_timestamp"]) for d in copies]
    (row,) = answers("AS contents_an_id")
    assert (row["ids"], row["deliveries"], row["delivered_again"], row["contents_an_id"]) == (
        len(again),
        len(copies),
        len(copies) - len(again),
        1,
    )
    assert [
        seconds(row[name].replace(" ", "T") + "Z") for name in ("first_ended", "last_ended")
    ] == [pytest.approx(min(times), abs=1e-5), pytest.approx(max(times), abs=1e-5)]
    assert answers("attempts_in_that_time") == [
        {
            "attempts_in_that_time": sum(
                min(times) <= float(a["keen_timestamp"]) <= max(times) for a in attempts
            ),
            "of_them_delivered_again": len(again),
        }
    ]

    places = [i for i, d in enumerate(deliveries) if d["keen_id"] in again]
    runs = [
        len(list(run))
        for _, run in itertools.groupby(enumerate(places), lambda pair: pair[1] - pair[0])
    ]
    assert answers("runs_of_neighbours") == [
        {"deliveries": len(places), "runs_of_neighbours": len(runs), "longest_run": max(runs)}
    ]

    shares = [
        a["sequences"]["counts"]["correct"] / a["sequences"]["counts"]["total"]
        if a["sequences"].get("counts")
        else None
        for a in attempts
    ]

    def mean(instead):
        filled = [share if share is not None else instead for share in shares]
        return pytest.approx(100 * statistics.mean(filled), abs=0.0051)

    assert [
        answers("AS filled_with_99")[0][name] for name in ("filled_with_0", "filled_with_99")
    ] == [mean(0), mean(-99)]
    nulls = collections.defaultdict(set)
    for a in attempts:
        nulls[a["base_exam_id"]].add(a["certification"] is None)
    assert answers("null_in_all_attempts") == [
        {
            "exams": len(nulls),
            "with_a_null": sum(True in seen for seen in nulls.values()),
            "null_in_all_attempts": sum(seen == {True} for seen in nulls.values()),
        }
    ]


def test_the_clocks(attempts):
    before, after, first, last, clicks = [], [], {}, {}, 0
    for a in attempts:
        begin, end = round(1e6 * seconds(a["started_at"])), microseconds(a["keen_timestamp"])
        times = [
            round(1e6 * seconds(o["at"]))
            for q in a["sequences"]["questions"]
            for o in q["options"]
            if o.get("at")
        ]
        clicks += len(times)
        before += [(a["keen_id"], begin - time) for time in times if time < begin]
        after += [a["keen_id"] for time in times if time > end]
        if times:
            first[a["keen_id"]], last[a["keen_id"]] = min(times) - end, max(times) - end
    assert answers("clicks_before_start") == [
        {
            "clicks_before_start": len(before),
            "attempts_with_one_before": len({key for key, _ in before}),
            "most_seconds_before": near(max(time for _, time in before) / 1e6),
            "clicks_after_end": len(after),
            "attempts_with_one_after": len(set(after)),
            "clicks": clicks,
        }
    ]
    assert answers("even_the_first_late") == [
        {
            "over_a_minute_late": sum(time > 60e6 for time in last.values()),
            "over_an_hour_late": sum(time > 3600e6 for time in last.values()),
            "even_the_first_late": sum(time > 0 for time in first.values()),
            "the_first_at_most_hours_late": near(max(first.values()) / 3600e6),
        }
    ]
    times = list(map(taken, attempts))
    assert answers("AS longest_hours") == [
        {
            "negative": sum(time < 0 for time in times),
            "over_an_hour": sum(time > 3600 for time in times),
            "longest_hours": near(max(times) / 3600),
        }
    ]


def test_the_smaller_things(attempts, questions):
    quick = {a["keen_id"] for a in attempts if taken(a) / len(a["sequences"]["questions"]) < 2}
    empty = {
        a["keen_id"] for a in attempts if (a["sequences"].get("counts") or {}).get("submitted") == 0
    }
    assert answers("under_2_s_a_question") == [
        {
            "under_2_s_a_question": len(quick),
            "nothing_answered": len(empty),
            "either": len(quick | empty),
        }
    ]
    differ = [
        a["exam_name"]
        for a, q in questions
        for o in q["options"]
        if bool(o.get("submitted")) != o["checked"]
    ]
    assert answers("sent_in_is_not_checked") == [
        {
            "sent_in_is_not_checked": len(differ),
            "in_exams": len(set(differ)),
            "their_name": min(differ),
        }
    ]
    results = [
        (q["user_result"], q["user_correct"], q["user_incomplete"], q["user_submitted"])
        for _, q in questions
        if q.get("user_result")
    ]
    assert answers("flags_agree") == [
        {
            "results": len(results),
            "flags_agree": sum(
                flags == [result == "correct", result == "missed_some", result != "unanswered"]
                for result, *flags in results
            ),
        }
    ]
    test_exam = [a for a in attempts if len(a["base_exam_id"]) != 36]
    assert answers("length(base_exam_id) <> 36") == [
        {
            "exam_name": test_exam[0]["exam_name"],
            "base_exam_id": test_exam[0]["base_exam_id"],
            "attempts": len(test_exam),
        }
    ]
    ends = [microseconds(a["keen_timestamp"]) for a in attempts]
    (row,) = answers("AS first_end, max(")
    assert [
        microseconds(str(seconds(row[name].replace(" ", "T") + "Z")))
        for name in ("first_end", "last_end")
    ] == [pytest.approx(min(ends), abs=10), pytest.approx(max(ends), abs=10)]
