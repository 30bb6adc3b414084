"""Chapter 6 of the report: retakes equal an independent calculation."""

import datetime
import itertools
import statistics

import pytest

from report_fixtures import (  # noqa: F401
    answers,
    asked,
    grouped,
    mean,
    percent,
    rounded,
    says,
    the_attempts,
    the_first,
    the_retakes,
)

BANDS = ["1 none right", "2 less than half", "3 half or more, not all", "4 all right"]


def band(attempt):
    """Returns the name of the attempt's group in the table of gains."""
    limits = (0 < attempt.score, 50 <= attempt.score, 100 <= attempt.score)
    return BANDS[sum(limits)]


@pytest.fixture(scope="module", name="kinds")
def the_kinds(first, retakes):
    second = [a for a in retakes if not a.previous.is_retake]
    return {
        "1 first attempts": first,
        "2 .. taken once": [a for a in first if not a.retakes],
        "3 .. retaken": [a for a in first if a.retakes],
        "4 second attempts": second,
        "5 third and later": [a for a in retakes if a not in second],
        "6 last attempts of a chain": [a for a in retakes if not a.retakes],
    }


@pytest.fixture(scope="module", name="pairs")
def the_pairs(retakes):
    return [(a.previous, a) for a in retakes if None not in (a.score, a.previous.score)]


def test_retakes_are_no_coincidence(attempts):
    ends = grouped((a.exam, (a.end, a.id)) for a in attempts)
    limits = {"1_min": 60, "10_min": 600}
    expected = []
    for hours in (0, 1, 24, 168):
        moved, gaps = datetime.timedelta(hours=hours), []
        for a in attempts:
            after = (a.begin + moved - end for end, other in ends[a.exam] if other != a.id)
            gaps += [min((g.total_seconds() for g in after if g.days >= 0), default=1e9)]
        counts = {f"within_{name}": sum(g <= most for g in gaps) for name, most in limits.items()}
        expected.append({"starts_moved_by_hours": hours, **counts})
    assert answers("AS starts_moved_by_hours") == expected
    real, *moved = (row["within_1_min"] for row in expected)
    says(
        f"{real:,} attempts follow another one within a minute, against {moved[0]}, {moved[1]} "
        f"and {moved[2]} when the starts are moved",
        f"Of those who return within ten minutes ({expected[0]['within_10_min']:,}, of which about "
        f"{expected[1]['within_10_min']} would be chance), most return within one",
    )
    assert real > 0.8 * expected[0]["within_10_min"]


def test_what_the_limit_of_a_minute_changes(attempts):
    expected = []
    for seconds in (30, 60, 120, 600):
        again = [a for a in attempts if a.gap <= seconds]
        first = [a.score for a in attempts if a.gap > seconds and a.counts]
        pairs = [(a.previous.score, a.score) for a in again]
        gains = [after - before for before, after in pairs if None not in (before, after)]
        expected.append(
            {
                "retake_within_seconds": seconds,
                "retakes": len(again),
                "mean_first": mean(first),
                "mean_gain": mean(gains),
            }
        )
    assert answers("AS mean_first") == expected
    means = [row["mean_first"] for row in expected]
    says(f"({means[-1]} to {means[0]}, depending on what counts as a retake)")


def test_the_clock_of_a_retake_is_that_of_the_attempt_before(attempts, retakes):
    fast_by = {a.id: (max(a.clicks) - a.end).total_seconds() for a in attempts if a.clicks}
    pairs = [
        (fast_by[a.id], fast_by[a.previous.id])
        for a in retakes
        if a.id in fast_by and fast_by.get(a.previous.id, 0) > 5
    ]
    same = sum(abs(after - before) < 5 for after, before in pairs)
    chance = sum(
        statistics.fmean(abs(clock - before) < 5 for clock in fast_by.values())
        for _, before in pairs
    )
    all_of, chance = len(pairs), rounded(chance)
    row = {"pairs": all_of, "same_clock": same, "expected_by_chance": chance}
    assert answers("AS expected_by_chance") == [row]
    says(f"In {same} of {all_of} pairs it is. Among unrelated attempts one would expect {chance}.")


def test_attempts_at_an_exam_hardly_overlap(attempts):
    overlapping = sum(
        a.begin < b.end and b.begin < a.end
        for of_exam in grouped((a.exam, a) for a in attempts).values()
        for a, b in itertools.combinations(of_exam, 2)
    )
    assert answers("AS overlapping_pairs") == [{"overlapping_pairs": overlapping}]
    assert overlapping < len(attempts) / 100  # "hardly any"


def test_who_retakes_and_with_what_result(kinds):
    assert asked("06_retakes") == [
        {
            "kind": kind,
            "attempts": len(group),
            "mean_score": mean(a.score for a in group if a.counts),
            "all_right": sum(a.score == 100 for a in group),
            "retaken": sum(bool(a.retakes) for a in group),
            "percent_retaken": percent(bool(a.retakes) for a in group),
            "median_seconds": rounded(statistics.median(a.seconds for a in group), 0),
        }
        for kind, group in kinds.items()
    ]


def test_the_gain_of_a_retake(attempts, pairs):
    expected = []
    for name in ("all", *BANDS):
        group = [a for a in attempts if a.counts and name in ("all", band(a))]
        scores = [(a.score, b.score) for a, b in pairs if name in ("all", band(a))]
        gains = [after - before for before, after in scores]
        expected.append(
            {
                "score_before": name,
                "attempts": len(group),
                "pairs": len(gains),
                "percent_retaken": percent(bool(a.retakes) for a in group),
                "mean_before": mean(before for before, _ in scores),
                "mean_after": mean(after for _, after in scores),
                "mean_gain": mean(gains),
                "margin": rounded(1.96 * statistics.stdev(map(float, gains)) / len(gains) ** 0.5),
                "percent_better": percent(gain > 0 for gain in gains),
                "percent_equal": percent(gain == 0 for gain in gains),
                "percent_worse": percent(gain < 0 for gain in gains),
            }
        )
    everything, none, less, half, perfect = expected
    assert asked("07_gain_by_retake") == [none, less, half, perfect, everything]
    shares = [row["percent_retaken"] for row in (none, less, half)]
    assert all(40 < share < 60 for share in shares)  # "about half"
    assert (less["percent_retaken"], half["percent_retaken"]) == (min(shares), max(shares))
    better, equal, worse = (everything[f"percent_{how}"] for how in ("better", "equal", "worse"))
    says(
        f"Of all attempts with a perfect score {perfect['percent_retaken']} % are retaken, of the "
        f"others about half. A retake scores **{everything['mean_gain']} points more** (of 100) "
        f"than the attempt before it: {better} % are better, {equal} % equal, {worse} % worse",
        f"gains {everything['mean_gain']} points (±{everything['margin']}); those who had nothing "
        f"right gain {none['mean_gain']}, those with half or more but not all {half['mean_gain']}",
        f"after a perfect score {perfect['percent_retaken']} % retake, otherwise "
        f"{min(shares)} to {max(shares)} %",
        f"A retake scores {everything['mean_gain']} points more than the attempt before it "
        f"({everything['pairs']:,} pairs): {better} % are better, {equal} % equal, {worse} % worse",
    )


def test_the_sentences_about_chains(kinds):
    first, _, retaken, second, later, last = kinds.values()
    scores = [mean(a.score for a in kind if a.counts) for kind in kinds.values()]
    medians = [statistics.median(a.seconds for a in kind) for kind in kinds.values()]
    says(
        f"Of {len(first):,} first attempts {len(retaken)} "
        f"({percent(bool(a.retakes) for a in first)} %) have a retake: another attempt at the "
        "same exam within a minute",
        f"the mean rises from {scores[2]} to {scores[5]} %, and the last takes a quarter",
        f"Only first attempts measure what people knew: {scores[0]} %",
        f"{len(second)} second attempts and {len(later)} third to later ones",
        f"{sum(a.score == 100 for a in last)} of the {len(last)} last attempts have a perfect "
        f"score, {sum(a.score == 100 for a in retaken)} of the {len(retaken)} first ones. Those "
        "who retook needed {} s (median) for the first attempt and {} s for the second".format(
            *(rounded(medians[kind], 0) for kind in (2, 3))
        ),
        f"One attempt has two retakes, hence {len(last)} last attempts of {len(retaken)} chains",
        "those who retake did worse to begin with",
    )
    assert 0.2 < medians[5] / medians[2] < 0.3  # "a quarter of the time"
    assert [len(a.retakes) for a in (*first, *second, *later) if len(a.retakes) > 1] == [2]
    assert sum(a.score == 100 for a in last) > 0.6 * len(last)  # "most … until everything is right"
    assert scores[2] < scores[1]  # "did worse to begin with"


def test_a_retake_has_the_questions_of_the_attempt_before(retakes):
    says("The questions are nearly always the same", "the same questions return")
    same = [
        {q["id"] for q in a.questions} == {q["id"] for q in a.previous.questions} for a in retakes
    ]
    assert percent(same, 0) == 100
