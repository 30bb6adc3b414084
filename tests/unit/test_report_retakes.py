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
    right_options,
    rounded,
    says,
    the_attempts,
    the_first,
    the_retakes,
    wilson,
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
        "2 .. no retake within 60 s": [a for a in first if not a.retakes],
        "3 .. retaken": [a for a in first if a.retakes],
        "4 second attempts": second,
        "5 third and later": [a for a in retakes if a not in second],
        "6 last attempts of a chain": [a for a in retakes if not a.retakes],
    }


@pytest.fixture(scope="module", name="pairs")
def the_pairs(retakes):
    return [(a.previous, a) for a in retakes if None not in (a.score, a.previous.score)]


def checks(place, what, seen, otherwise):
    """Fails when the report's table of checks has something else in this row."""
    row = answers("queries/checks")[place]
    assert (row["what"], row["seen"], row["otherwise"]) == (what, seen, otherwise)


def test_retakes_are_no_coincidence(attempts):
    exams = grouped((a.exam, a) for a in attempts)
    within, overlaps = [], []
    for hours in (0, 1, 24, 168):
        moved, gaps = datetime.timedelta(hours=hours), []
        for a in attempts:
            after = (a.begin + moved - b.end for b in exams[a.exam] if b is not a)
            gaps += [min((g.total_seconds() for g in after if g.days >= 0), default=1e9)]
        within.append(sum(gap <= 60 for gap in gaps))
        overlaps.append(
            sum(
                a.begin + moved < b.end and b.begin < a.end + moved
                for of_exam in exams.values()
                for a, b in itertools.permutations(of_exam, 2)
            )
        )
    by_chance = [", ".join(map(str, counts[1:])) for counts in (within, overlaps)]
    checks(0, "attempts within 60 s after another one at the exam", within[0], by_chance[0])
    checks(1, "attempts that overlap another one at the exam", overlaps[0], by_chance[1])
    says(
        f"{within[0]:,} attempts follow another one within a minute; after all starts are moved, "
        f"{by_chance[0]} would",
        f"Attempts do not overlap more often than by chance ({overlaps[0]} times; {by_chance[1]})",
    )
    assert max(within[1:]) < within[0] / 100  # "chance explains almost none"
    assert min(overlaps[1:]) < overlaps[0] < max(overlaps[1:])


def test_what_the_limit_of_a_minute_changes(attempts):
    rows = []
    for seconds in (60, 30, 120, 600):
        again = [a for a in attempts if a.gap <= seconds]
        first = [a.score for a in attempts if a.gap > seconds and a.counts]
        pairs = [(a.previous.score, a.score) for a in again]
        gains = [after - before for before, after in pairs if None not in (before, after)]
        rows.append((mean(gains), mean(first)))
    (gain, *gains), (score, *scores) = zip(*rows, strict=True)
    others = [", ".join(map(str, numbers)) for numbers in (gains, scores)]
    checks(6, "mean gain of a retake", gain, others[0])
    checks(7, "mean of first attempts", score, others[1])
    says(
        f"with other limits the gain hardly moves ({others[0]}), and the mean of first attempts "
        f"moves by a few points ({others[1]})"
    )
    assert max(gains) - min(gains) < 1.5 and max(scores) - min(scores) < 4


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
    checks(2, f"retakes with the same fast clock, of {len(pairs)}", same, rounded(chance))
    says(
        f"Of the retakes of such attempts, {same} have a clock that is fast by the same (±5 s); "
        f"among unrelated attempts {rounded(chance)} would"
    )


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


@pytest.fixture(scope="module", name="exam_means")
def the_exam_means(first):
    """Returns {exam: mean score of its first attempts}: what pure chance gives."""
    scores = grouped((a.exam, a.score) for a in first if a.counts)
    return {exam: statistics.fmean(of) for exam, of in scores.items()}


def test_the_gain_of_a_retake(attempts, pairs, exam_means):
    expected = []
    for name in ("all", *BANDS):
        group = [a for a in attempts if a.counts and name in ("all", band(a))]
        scores = [(a.score, b.score) for a, b in pairs if name in ("all", band(a))]
        gains = [after - before for before, after in scores]
        chance = [exam_means[a.exam] - float(a.score) for a, _ in pairs if name in ("all", band(a))]
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
                "gain_if_chance": mean(chance),
                "percent_better": percent(gain > 0 for gain in gains),
                "percent_equal": percent(gain == 0 for gain in gains),
                "percent_worse": percent(gain < 0 for gain in gains),
            }
        )
    everything, none, less, half, perfect = expected
    assert asked("07_gain_by_retake") == [none, less, half, perfect, everything]
    shares = [row["percent_retaken"] for row in (none, less, half)]
    assert (less["percent_retaken"], half["percent_retaken"]) == (min(shares), max(shares))
    better, equal, worse = (everything[f"percent_{how}"] for how in ("better", "equal", "worse"))
    gain, chance = everything["mean_gain"], everything["gain_if_chance"]
    says(
        f"A retake scores {gain} percentage points more than the attempt before it",
        f"Those who had nothing right would then gain {none['gain_if_chance']} points; they gain "
        f"{none['mean_gain']}.",
        f"chance alone predicts {chance}, and {gain} are seen",
        f"A retake gains {gain} points (±{everything['margin']}): {better} % are better, {equal} "
        f"% equal, {worse} % worse",
        f"after a perfect score {perfect['percent_retaken']} % retake, otherwise "
        f"{min(shares)} to {max(shares)} %",
        f"A retake scores {gain} points more than the attempt before it: {better} % are better, "
        f"{equal} % equal, {worse} % worse. Chance alone would give {chance}",
    )


def test_what_chance_and_stopping_do_alone(attempts, first, exam_means, kinds):
    """A chain's last attempt: drawn from the exam's first attempts, stopped as people really do."""
    scored = [a for a in attempts if a.counts]
    stops = {
        name: statistics.fmean(not a.retakes for a in of)
        for name, of in grouped((band(a), a) for a in scored).items()
    }
    exams = grouped((a.exam, a) for a in first if a.counts)
    last = {
        exam: sum(stops[band(a)] * a.score for a in of) / sum(stops[band(a)] for a in of)
        for exam, of in exams.items()
    }
    chains = [a for a in first if a.counts and a.retakes]
    second_if_chance = mean(exam_means[a.exam] for a in chains)
    last_if_chance = mean(last[a.exam] for a in chains)
    of_first, second, of_last = (
        mean(a.score for a in kinds[name] if a.counts)
        for name in ("3 .. retaken", "4 second attempts", "6 last attempts of a chain")
    )
    checks(4, "mean of second attempts", second, second_if_chance)
    checks(5, "mean of last attempts", of_last, last_if_chance)
    says(
        f"From first to second attempt people go from {of_first} to {second}; chance alone gives "
        f"{second_if_chance}. Their last has {of_last}; chance and stopping give {last_if_chance}.",
    )
    assert of_first < second_if_chance < last_if_chance < second


def test_the_sentences_about_chains(kinds):
    first, _, retaken, second, later, last = kinds.values()
    scores = [mean(a.score for a in kind if a.counts) for kind in kinds.values()]
    medians = [statistics.median(a.seconds for a in kind) for kind in kinds.values()]
    says(
        f"{percent(bool(a.retakes) for a in first)} % of first attempts have a retake",
        f"Only first attempts measure what people knew: {scores[0]} %",
        f"Those who retook needed {rounded(medians[2], 0)} s (median) for the first attempt and "
        f"{rounded(medians[3], 0)} s for the second",
        "those who retake did worse to begin with",
    )
    assert [len(a.retakes) for a in (*first, *second, *later) if len(a.retakes) > 1] == [2]
    assert sum(a.score == 100 for a in last) > 0.6 * len(last)  # "mostly stop when …"
    assert scores[2] < scores[1]  # "did worse to begin with"


def test_a_retake_has_the_questions_of_the_attempt_before(retakes):
    same = sum(
        {q["id"] for q in a.questions} == {q["id"] for q in a.previous.questions} for a in retakes
    )
    checks(3, "retakes with the same questions", same, len(retakes))
    says(
        f"*Are the questions the same?* In {same:,} of {len(retakes):,} retakes",
        "It nearly always asks the same questions",
        "the same questions return",
    )


RESULTS = {
    "correct": "1 right",
    "missed_some": "2 partly",
    "incorrect": "3 wrong",
    "unanswered": "4 unanswered",
}


def test_what_a_retake_does_to_an_answer(retakes):
    answered = grouped([])
    for a in retakes:
        before = {q["id"]: q for q in a.previous.questions}
        for q in a.questions:
            old, n = before.get(q["id"], {}), len(q["options"])
            if q.get("user_result") and old.get("user_result"):
                one = right_options(q) == 1
                chosen = [{o["id"] for o in each["options"] if o["checked"]} for each in (old, q)]
                guess = 100 / (n - 1) if one and old["user_result"] == "incorrect" else None
                now = (q["user_result"] == "correct", chosen[0] != chosen[1], guess)
                for kind in (f"one of {n}" if one else "several", "all"):
                    answered[kind, RESULTS[old["user_result"]]].append(now)
    expected = {
        (kind, before): {
            "right_options": kind,
            "before": before[2:],
            "answers": len(of),
            "percent_right": percent(right for right, *_ in of),
            "percent_changed": percent(changed for _, changed, _ in of),
            "right_of_changed": percent(right for right, changed, _ in of if changed),
            "if_guessed": mean(guess for *_, guess in of)
            if kind != "all" and of[0][2] is not None
            else None,
        }
        for (kind, before), of in sorted(answered.items())
        if len(of) >= 250
    }
    assert asked("12_answers_on_retake") == [*expected.values()]
    right, wrong = expected["all", "1 right"], expected["one of 4", "3 wrong"]
    says(
        f"Right stays right in nine of ten answers ({right['percent_right']} %). Where one of four "
        f"options is right and the answer was wrong, {wrong['percent_changed']} % change it, and "
        f"{wrong['right_of_changed']} % of these are then right; guessing among the other three "
        f"would give {wrong['if_guessed']} %",
        "two in five of the changed ones are wrong again",
    )
    assert 55 < wrong["right_of_changed"] < 65


def test_who_retakes(first):
    groups = grouped((f"1 {a.name}", a) for a in first)
    groups |= grouped(
        ("2 up to four questions" if len(a.questions) <= 4 else "3 five questions or more", a)
        for a in first
    )
    expected = []
    for name, of in groups.items():
        retaken = [bool(a.retakes) for a in of]
        if len(of) >= 50:
            low, high = wilson(retaken)
            imperfect = [bool(a.retakes) for a in of if a.counts and a.score < 100]
            row = {
                "exams": name[2:],
                "first_attempts": len(of),
                "percent_retaken": percent(retaken),
                "low": rounded(low),
                "high": rounded(high),
                "percent_of_imperfect": percent(imperfect),
            }
            expected.append(((name[0], -statistics.fmean(retaken), name), row))
    rows = [row for _, row in sorted(expected, key=lambda pair: pair[0])]
    assert asked("16_who_retakes") == rows
    share = {row["exams"]: row["percent_retaken"] for row in rows}
    short, long = (row["percent_of_imperfect"] for row in rows[-2:])
    learning, git = "Introduction to Machine Learning", "Learning Git"
    says(
        f"At *{rows[0]['exams']}* {rows[0]['percent_retaken']} % retake, at *{learning}* "
        f"{share[learning]} %, at *{git}* {share[git]} %; at exams of up to four questions "
        f"{share['up to four questions']} %, at longer ones {share['five questions or more']} %",
        f"(of the attempts that were not perfect, {short} and {long} %)",
    )
