"""The report's further analyses equal an independent calculation."""

import collections
import fractions
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    answered,
    answers,
    begin_at_once,
    near,
    percent,
    statement,
    taken,
    the_again,
    the_attempts,
    the_deliveries,
    the_questions,
)


def test_hardest_questions(questions):
    results = collections.defaultdict(list)
    for attempt, question in questions:
        if question.get("user_result"):
            results[attempt["exam_name"], question["id"]].append(question["user_result"])
    shares = {
        key: (
            fractions.Fraction(r.count("correct"), len(r)),
            len(r),
            percent(r.count("correct"), len(r) - r.count("unanswered")),
        )
        for key, r in results.items()
        if len(r) >= 30
    }
    rank = {
        key: 1 + sum(other < share for other, *_ in shares.values())
        for key, (share, *_) in shares.items()
    }
    expected = sorted((rank[key], key[1], key[0]) for key in shares if rank[key] <= 10)
    shown = answers(statement("06_hardest_questions"))
    assert [(row["rank"], row["question_id"], row["exam_name"]) for row in shown] == expected
    for row in shown:
        share, count, share_of_answered = shares[row["exam_name"], row["question_id"]]
        assert (row["results"], row["percent_correct"], row["percent_of_answered"]) == (
            count,
            near(100 * float(share)),
            near(share_of_answered),
        )


def test_wrong_options(questions):
    chosen, right = collections.defaultdict(list), collections.defaultdict(set)
    for attempt, question in questions:
        if answered(question):
            for option in question["options"]:
                key = attempt["exam_name"], question["id"]
                chosen[key, option["id"]].append(option["checked"])
                if option.get("correct"):
                    right[key].add(option["id"])
    wrong = {
        (key, option): (
            fractions.Fraction(sum(c), len(c)),
            len(c),
            sum(c),
            [sum(chosen[key, other]) for other in right[key]],
        )
        for (key, option), c in chosen.items()
        if len(c) >= 30 and option not in right[key]
    }
    rank = {
        key: 1 + sum(other > share for other, *_ in wrong.values())
        for key, (share, *_) in wrong.items()
    }
    shown = answers(statement("07_wrong_option_that_attracts"))
    assert [
        (row["rank"], row["question_id"], row["option_id"], row["exam_name"]) for row in shown
    ] == sorted(
        (rank[(exam, question), option], question, option, exam)
        for (exam, question), option in wrong
        if rank[(exam, question), option] <= 10
    )
    for row in shown:
        share, count, times, rights = wrong[
            (row["exam_name"], row["question_id"]), row["option_id"]
        ]
        assert (row["answers"], row["chosen"], row["percent_chosen"]) == (
            count,
            times,
            near(100 * float(share)),
        )
        assert (row["right_options"], row["least_chosen_right"], row["most_chosen_right"]) == (
            len(rights),
            min(rights),
            max(rights),
        )
    ahead = [times - max(rights) for _, _, times, rights in wrong.values() if rights]
    assert answers("ahead_of_every_right_one") == [
        {
            "wrong_options": len(wrong),
            "ahead_of_every_right_one": sum(lead > 0 for lead in ahead),
            "by_at_most_answers": max(ahead),
            "level": ahead.count(0),
        }
    ]


def test_time_taken(attempts):
    times = collections.defaultdict(list)
    for a in attempts:
        times[a["exam_name"]].append((taken(a), len(a["sequences"]["questions"])))
    shown = answers(statement("08_time_taken"))
    a_question = {
        name: statistics.median(time / n for time, n in pairs)
        for name, pairs in times.items()
        if len(pairs) >= 50
    }
    assert [row["exam_name"] for row in shown] == sorted(
        a_question, key=lambda name: (-a_question[name], name)
    )
    for row in shown:
        of_exam = [time for time, _ in times[row["exam_name"]]]
        assert (
            row["attempts"],
            row["median_seconds"],
            row["mean_seconds"],
            row["longest_minutes"],
            row["median_a_question"],
        ) == (
            len(of_exam),
            near(statistics.median(of_exam)),
            near(statistics.mean(of_exam)),
            near(max(of_exam) / 60),
            near(a_question[row["exam_name"]]),
        )
    everything = [time for pairs in times.values() for time, _ in pairs]
    long = [time for time in everything if time > 3600]
    assert answers("their_percent_of_all_time") == [
        {
            "median_seconds": round(statistics.median(everything)),
            "mean_seconds": round(statistics.mean(everything)),
            "over_an_hour": len(long),
            "their_percent_of_all_time": round(percent(sum(long), sum(everything))),
            "mean_without_them": round(
                (sum(everything) - sum(long)) / (len(everything) - len(long))
            ),
        }
    ]


def test_changes_of_mind(questions):
    groups = collections.defaultdict(list)
    for _, question in questions:
        if answered(question):
            taken_back = [
                option
                for option in question["options"]
                if option.get("at") and not option["checked"]
            ]
            several = sum(bool(option.get("correct")) for option in question["options"]) > 1
            groups["several" if several else "one", str(bool(taken_back)).lower()].append(
                (question["user_result"], any(option.get("correct") for option in taken_back))
            )
    shown = answers(statement("09_changes_of_mind"))
    assert [(row["right_options"], row["changed_mind"]) for row in shown] == sorted(groups)
    for row in shown:
        pairs = groups[row["right_options"], row["changed_mind"]]
        results = [result for result, _ in pairs]
        assert row["questions"] == len(results)
        assert [row[name] for name in ("correct", "missed_some", "incorrect")] == [
            results.count(name) for name in ("correct", "missed_some", "incorrect")
        ]
        assert row["took_back_a_right_one"] == sum(took for _, took in pairs)
        assert row["percent_correct"] == near(percent(results.count("correct"), len(results)))
    # The report treats moving to the one right option and moving away from it as disjoint.
    assert not any(took and result == "correct" for result, took in groups["one", "true"])


def test_scores(attempts):
    counted = [
        (a["base_exam_id"], a["exam_name"], a["sequences"]["counts"])
        for a in attempts
        if a["sequences"].get("counts")
    ]
    exams, names = collections.defaultdict(list), collections.defaultdict(list)
    for exam, name, counts in counted:
        exams[exam].append(counts["correct"] / counts["total"])
        names[name].append(counts["correct"] / counts["total"])
    expected = [
        statistics.mean(c["correct"] / c["total"] for *_, c in counted),
        sum(c["correct"] for *_, c in counted) / sum(c["total"] for *_, c in counted),
        statistics.mean(map(statistics.mean, exams.values())),
        statistics.mean(map(statistics.mean, names.values())),
    ]
    (row,) = answers(statement("10_scores"))
    assert list(row.values()) == [
        *(pytest.approx(100 * share, abs=0.0051) for share in expected),
        len(counted),
        len(attempts) - len(counted),
    ]


def test_discrimination(attempts):
    pairs = collections.defaultdict(list)
    for a in attempts:
        right = [
            (q["id"], q["user_result"] == "correct")
            for q in a["sequences"]["questions"]
            if q.get("user_result")
        ]
        for key, is_right in right:
            if len(right) > 1:
                pairs[a["exam_name"], key].append(
                    (int(is_right), (sum(r for _, r in right) - is_right) / (len(right) - 1))
                )
    value = {
        key: statistics.correlation(*zip(*p, strict=True))
        for key, p in pairs.items()
        if len(p) >= 50
    }
    shown = answers(statement("11_discrimination"))
    lowest_and_highest = sorted(value.values())[:5] + sorted(value.values())[-5:]
    assert [row["discrimination"] for row in shown] == [
        pytest.approx(number, abs=0.0051) for number in lowest_and_highest
    ]
    for row in shown:
        key = row["exam_name"], row["question_id"]
        assert (row["results"], row["discrimination"]) == (
            len(pairs[key]),
            pytest.approx(value[key], abs=0.0051),
        )
        assert row["percent_correct"] == near(
            100 * statistics.mean(is_right for is_right, _ in pairs[key])
        )
        assert row["margin"] == pytest.approx(
            1.96 * (1 - value[key] ** 2) / (len(pairs[key]) - 1) ** 0.5, abs=0.0051
        )


def test_sat_again(attempts, again):
    """Checks the query's table, and the counter-check with shifted starts."""
    groups = collections.defaultdict(list)
    for a in attempts:
        for name in (a["exam_name"], "all exams"):
            groups[name].append(a)
    sizes = sorted(map(len, groups.values()), reverse=True)
    shown = answers(statement("12_sat_again"))
    assert [row["exam_name"] for row in shown] == sorted(
        (name for name in groups if len(groups[name]) >= sizes[10]),
        key=lambda name: (-len(groups[name]), name),
    )
    for row in shown:
        assert row["attempts"] == len(groups[row["exam_name"]]) == row["first"] + row["again"]
        for which in ("first", "again"):
            part = [
                a for a in groups[row["exam_name"]] if (a["keen_id"] in again) == (which == "again")
            ]
            counts = [a["sequences"]["counts"] for a in part if a["sequences"].get("counts")]
            assert (row[which], row[f"score_{which}"], row[f"seconds_{which}"]) == (
                len(part),
                near(100 * statistics.mean(c["correct"] / c["total"] for c in counts)),
                near(statistics.median(map(taken, part))),
            )
    moved = {
        hours: len(begin_at_once(attempts, hours)) for hours in (0, -1, 1, -2, 2, -24, 24, 168)
    }
    assert answers("beginnings_moved_by_hours") == [
        {"beginnings_moved_by_hours": hours, "attempts_within_a_minute_after_another": count}
        for hours, count in moved.items()
        if count
    ]
    # The query shows no row for a count of 0: the report's "least" would then be wrong.
    assert min(moved.values()) > 0
    assert max(count for hours, count in moved.items() if hours) * 20 < moved[0]
