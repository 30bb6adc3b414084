"""Chapter 5 of the report: each count and fact about the faults of the data is recalculated."""

import collections
import itertools
import re
import statistics

from pipeline.settings import ROOT
from report_fixtures import (  # noqa: F401
    answers,
    chapter,
    grouped,
    mean,
    percent,
    says,
    the_attempts,
    the_first,
    the_messages,
)

RESULTS = ["correct", "missed_some", "incorrect", "unanswered"]


def found(name):
    """Returns (found, of) of the rows that the report shows for queries/data/`name`.sql."""
    rows = [row for row in answers("queries/data") if f"{row['file']:02}" == name[:2]]
    return [(row["found"], row["of"]) for row in rows]


def test_each_fault_has_a_file_its_counts_and_a_line_in_the_table():
    files = sorted(path.stem for path in (ROOT / "queries/data").glob("*.sql"))
    lines = re.findall(r"^\| (\d\d) \| \*\*", chapter(5), re.MULTILINE)
    assert lines == [name[:2] for name in files]
    assert all(found(name) for name in files)
    in_the_text = [(row["found"], row["of"]) for row in answers("SELECT 'different user_exam_ids'")]
    shown = [found(name)[0] for name in ("02_no_user_id", "03_exam_names", "12_order")]
    assert in_the_text == shown


def test_the_period_and_the_results(attempts):
    names, counts = {a.name for a in attempts}, [len(a.questions) for a in attempts]
    first_day, last_day = min(a.begin for a in attempts), max(a.end for a in attempts)
    results = [q.get("user_result") for a in attempts for q in a.questions]
    assert answers("AS first_day") == [
        {
            "first_day": f"{first_day:%Y-%m-%d}",
            "last_day": f"{last_day:%Y-%m-%d}",
            "attempts": len(attempts),
            "exams": len(names),
            "questions_each": statistics.median(counts),
            **{name: results.count(name) for name in RESULTS},
        }
    ]
    says(
        f"{len(attempts):,} attempts at assessments between {first_day:%B %Y} and {last_day:%B %Y}"
    )


def test_what_a_result_means(attempts):
    """Checks the sentences below the table of results against the options of every question."""
    for question in (q for a in attempts for q in a.questions):
        checked = {o["id"] for o in question["options"] if o["checked"]}
        right = {o["id"] for o in question["options"] if o.get("correct")}
        if question.get("user_result") == "correct":
            assert checked == right
        if question.get("user_result") == "missed_some":
            assert checked < right
        if question.get("user_result") == "incorrect":
            assert checked - right


def test_repeated_messages(messages, attempts):
    sent = grouped((message["keen_id"], message) for message in messages)
    again = {key: copies for key, copies in sent.items() if len(copies) > 1}
    differ = sum(any(copy != copies[0] for copy in copies) for copies in again.values())
    ends = [a.end for a in attempts if a.id in again]
    meanwhile = sum(min(ends) <= a.end <= max(ends) for a in attempts)
    places = [place for place, message in enumerate(messages) if message["keen_id"] in again]
    runs = {place - number for number, place in enumerate(places)}
    repeated = len(messages) - len(attempts)
    sittings = len({a.message["user_exam_id"] for a in attempts})
    hours = [f"{end(ends):%Y-%m-%d %H:%M}" for end in (min, max)]
    assert found("01_repeated_messages") == [
        (repeated, len(messages)),
        (len(again), len(attempts)),
        (differ, len(again)),
        (len(again), meanwhile),
        (hours[0], hours[1]),
        (len(runs), len(places)),
    ]
    assert found("02_no_user_id") == [(sittings, len(attempts))]
    git = [message["keen_id"] for message in messages if message["exam_name"] == "Learning Git"]
    says(
        f"{repeated} of {len(messages):,} messages repeat {len(again)} attempts",
        f"The copies are equal in every field, even the collector's own id and time ({differ} "
        f"differ), so each event was stored once and exported again. {len(again)} of the "
        f"{meanwhile} attempts that ended in the hours concerned ({hours[0]} to {hours[1]}) came "
        f"more than once, in {len(runs)} runs of neighbours in the file",
        f"{len(git)} attempts at Learning Git instead of {len(set(git))}",
        f"`user_exam_id` has {sittings:,} values in {len(attempts):,} attempts",
    )


def test_names_of_exams(attempts):
    names = grouped((a.name, a) for a in attempts)
    two = {name: of for name, of in names.items() if len({a.exam for a in of}) == 2}
    assert max(len({a.exam for a in of}) for of in names.values()) == 2
    one_test = [name for name, of in two.items() if len({a.version for a in of}) == 1]
    assert found("03_exam_names") == [(len(two), len(names)), (len(one_test), len(two))]
    common = {}
    for name, of in two.items():
        by_exam = grouped((a.exam, {q["id"] for q in a.questions}) for a in of)
        common[name] = set.intersection(*(set().union(*ids) for ids in by_exam.values()))
    assert [name for name in two if not common[name]] == ["Being a Better Introvert"]
    assert {name for name in two if common[name]} == set(one_test)
    ranked = []
    for key in (lambda a: a.name, lambda a: a.exam):
        sizes = collections.Counter(map(key, attempts))
        size = max(sizes[key(a)] for a in two["Introduction to Python"])
        ranked.append((sorted(sizes.values(), reverse=True).index(size) + 1, size))
    assert [rank for rank, _ in ranked] == [2, 5]
    says(
        f"{len(two)} of {len(names)} names have two `base_exam_id`s",
        f"{len(one_test)} are one test under two ids; *Being a Better Introvert* is two tests "
        "without a common question",
        f"*Introduction to Python* is second by name ({ranked[0][1]}), "
        f"fifth by id ({ranked[1][1]})",
    )


def varying(pairs):
    """Returns the keys that have several values in pairs of a key and a value, and all keys."""
    values = grouped(pairs)
    return {key for key, of in values.items() if len(set(of)) > 1}, set(values)


def test_ids_of_questions(attempts):
    """Checks also that no option is both right and wrong within an exam's name."""
    asked = [(a.name, q["id"], q["options"]) for a in attempts for q in a.questions]
    sets = [(name, key, frozenset(o["id"] for o in of)) for name, key, of in asked]
    rights = [(n, key, o["id"], bool(o.get("correct"))) for n, key, of in asked for o in of]
    reused, ids = varying((key, name) for name, key, _ in sets)
    changing, _ = varying((key, options) for _, key, options in sets)
    in_name, pairs = varying(((name, key), options) for name, key, options in sets)
    both, options = varying(((key, option), right) for _, key, option, right in rights)
    assert found("05_question_ids") == [
        (len(reused), len(ids)),
        (len(changing), len(ids)),
        (len(in_name), len(pairs)),
        (len(both), len(options)),
    ]
    assert reused == changing  # "they are other questions there"
    assert not varying(((name, key, option), right) for name, key, option, right in rights)[0]
    says(
        f"{len(reused)} of {len(ids)} ids stand in exams of several names",
        f"each of these {len(changing)} has several sets of options, so it names different "
        f"questions in different exams. Within a name, {len(in_name)} of {len(pairs)} have",
        f"{len(both)} of {len(options):,} options would be both right and wrong",
    )


def test_edited_exams(attempts):
    exams = grouped((a.exam, a) for a in attempts)
    edited = [of for of in exams.values() if len({a.version for a in of}) > 1]
    both = of_questions = 0
    for of in edited:
        old, new = grouped((a.version, a) for a in sorted(of, key=lambda a: a.end)).values()
        assert max(a.end for a in old) < min(a.begin for a in new)  # "one after the other"
        ids = [{q["id"] for a in version for q in a.questions} for version in (old, new)]
        both, of_questions = both + len(ids[0] & ids[1]), of_questions + len(ids[0] | ids[1])
        # "The numbers of questions and options are the same"
        assert len({tuple(sorted(len(q["options"]) for q in a.questions)) for a in of}) == 1
    assert found("06_edited_exams") == [(len(edited), len(exams)), (both, of_questions)]
    says(
        f"{len(edited)} exams have two versions (`sequences_id`), one after the other",
        f"{both} of their {of_questions} question ids are in both. The numbers of questions and "
        "options are the same",
    )


def test_places_are_shuffled(attempts):
    """Looks at what at least 20 attempts show. Two options have only two orders."""
    places = grouped(
        ((a.name, q["id"]), place)
        for a in attempts
        for place, q in enumerate(a.questions)
        if len(a.questions) > 1
    )
    often = [set(of) for of in places.values() if len(of) >= 20]
    fixed = sum(len(of) == 1 for of in often)
    assert found("04_places") == [(fixed, len(often))]
    says(
        f"{fixed} of {len(often)} questions stand always at the same place",
        "questions and options are shuffled for each attempt",
    )
    questions = grouped((a.version, tuple(q["id"] for q in a.questions)) for a in attempts)
    options = grouped(
        ((a.name, q["id"]), tuple(o["id"] for o in q["options"]))
        for a in attempts
        for q in a.questions
    )
    for orders in (*questions.values(), *options.values()):
        if len(orders) >= 20 and len(orders[0]) > 1:
            most_common = collections.Counter(orders).most_common(1)[0][1]
            assert most_common < (0.8 if len(orders[0]) == 2 else 0.4) * len(orders)


def test_missing_and_empty_values(messages, attempts):
    without = [a for a in attempts if a.counts is None]
    results = [(a, q.get("user_result")) for a in attempts for q in a.questions]
    open_ones = [a for a, result in results if not result]
    assert {a.exam for a in (*without, *open_ones)} == {"example-id"}
    assert "For Development" in without[0].name
    certified = [a.message["certification"] for a in attempts]
    assert set(certified) == {"false", None} and bool("false")
    nulls = grouped((a.exam, a.message["certification"] is None) for a in attempts)
    assert all(len(set(of)) == 1 for of in nulls.values())
    # The share of right answers is filled in, which is between 0 and 1.
    filled = mean(100 * -99 if a.score is None else a.score for a in attempts)
    known = mean(a.score for a in attempts if a.counts)
    never = [exam for exam, of in nulls.items() if of[0]]
    never_names = {a.name for a in attempts if a.exam in never}
    assert found("07_missing_values") == [
        (len(without), len(attempts)),
        (len(open_ones), len(results)),
        (certified.count(None), len(attempts)),
        (len(never), len(never_names)),
        (filled, known),
    ]
    assert found("08_certification") == [(certified.count("true"), len(attempts))]
    assert found("09_constant_fields") == [(0, len(attempts))]
    says(
        f"{len(without)} attempts without counts, {len(open_ones)} questions without result, "
        f"{certified.count(None)} attempts without `certification`",
        f"`certification`: {len(never)} exams (by id; {len(never_names)} names) never have it",
        f"{filled} % as mean score instead of {known} %, when a missing share of right answers "
        "becomes -99",
        f"{certified.count('true')} attempts certify",
        "`max_attempts` and `attempt` are always 1; `keen_created_at` equals `keen_timestamp` "
        "(0 exceptions)",
    )
    for message in messages:
        assert message["max_attempts"] == "1.0" and message["sequences"]["attempt"] == 1
        assert message["keen_created_at"] == message["keen_timestamp"]


def test_clocks_and_times(attempts):
    clicks = [(a, click) for a in attempts for click in a.clicks]
    before = sum(click < a.begin for a, click in clicks)
    after = sum(click > a.end for a, click in clicks)
    late = {a.id for a, click in clicks if (click - a.end).total_seconds() > 60}
    times = [a.seconds for a in attempts]
    long = [time for time in times if time > 3600]
    unsorted = sum(b.end < a.end for a, b in itertools.pairwise(attempts))
    careless = [
        a
        for a in attempts
        if a.seconds < 2 * len(a.questions) or (a.counts and a.counts["submitted"] == 0)
    ]
    empty = [a for a in attempts if a.counts and a.counts["submitted"] == 0]
    fast_empty = sum(a.seconds < 2 * len(a.questions) for a in empty)
    left = mean([max(a.seconds for a in empty)], 0)
    means = [mean(times, 0), mean((time for time in times if time <= 3600), 0)]
    everybody, serious = (
        mean((a.score for a in group if a.counts), 2)
        for group in (attempts, set(attempts) - set(careless))
    )
    assert found("10_two_clocks") == [
        (before, len(clicks)),
        (after, len(clicks)),
        (len(late), len(attempts)),
        (0, len(attempts)),
    ]
    longest = mean([max(times) / 3600])
    assert found("11_long_attempts") == [(len(long), len(attempts)), (longest, ""), (*means,)]
    assert found("12_order") == [(unsorted, len(attempts))]
    assert found("13_not_serious") == [
        (len(careless), len(attempts)),
        (len(empty), fast_empty),
        (left, ""),
        (everybody, serious),
    ]
    says(
        f"{before} of {len(clicks):,} clicks lie before the start, {after} after the end; in "
        f"{len(late)} attempts a click is over a minute late",
        "0 attempts end before they start",
        f"{len(long)} took over an hour, the longest {longest} hours",
        f"the mean duration is {means[0]} s, without them {means[1]} s",
        f"{unsorted:,} attempts ended before the one above them",
        f"{len(careless)} attempts took under 2 s a question or answer nothing",
        f"{len(empty)} answer nothing; only {fast_empty} of these are fast, the longest took "
        f"{left:,} s",
        f"the mean score is {everybody} %, without them {serious} %",
    )
    assert min(times) >= 0
    spans = [(max(a.clicks) - a.begin).total_seconds() for a in attempts if a.clicks]
    assert min(spans) < 0 and max(spans) > 7200  # "durations of hours, or below zero"


def test_questions_with_right_options_only(attempts, first):
    questions = grouped(
        ((a.name, q["id"]), bool(option.get("correct")))
        for a in attempts
        for q in a.questions
        for option in q["options"]
    )
    only = {key for key, of in questions.items() if all(of)}
    results = [
        ((a.name, q["id"]) in only, q["user_result"] == "correct")
        for a in first
        for q in a.questions
        if q.get("user_result")
    ]
    theirs, everybody = [right for is_only, right in results if is_only], [r for _, r in results]
    assert found("14_only_right_options") == [
        (len(only), len(questions)),
        (sum(theirs), len(theirs)),
        (percent(theirs), percent(everybody)),
    ]
    says(
        f"{len(only)} of {len(questions)} questions have no wrong option",
        f"they look hard: {percent(theirs)} % right on first attempts ({sum(theirs)} of "
        f"{len(theirs)}), all questions {percent(everybody)} %",
    )


def test_scores_of_all_and_of_first_attempts(attempts, first):
    everything, known = (mean((a.score for a in of if a.counts), 2) for of in (attempts, first))
    says(f"{everything} % as what people knew, instead of {known} %")
