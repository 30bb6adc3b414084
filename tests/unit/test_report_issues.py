"""Chapter 5 of the report: each count and fact about the faults of the data is recalculated."""

import collections
import itertools

from report_fixtures import (  # noqa: F401
    answers,
    grouped,
    mean,
    says,
    the_attempts,
    the_first,
    the_messages,
)


def found(begin, end):
    """Returns (n, of) of some rows of the table of counts, which number themselves."""
    rows = answers("SELECT stack(25,")
    assert [int(row["what"].split()[0]) for row in rows] == list(range(25))
    return [(row["n"], row["of"]) for row in rows[begin:end]]


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
    assert found(0, 6) == [
        (repeated, len(messages)),
        (len(again), len(attempts)),
        (differ, len(again)),
        (len(again), meanwhile),
        (len(runs), len(places)),
        (sittings, len(attempts)),
    ]
    assert {end.strftime("%d %B %Y") for end in ends} == {"24 December 2017", "25 December 2017"}
    git = [message["keen_id"] for message in messages if message["exam_name"] == "Learning Git"]
    says(
        f"{repeated} of {len(messages):,} messages repeat {len(again)} attempts",
        f"The copies are equal in every field, even the collector's own id and time ({differ} "
        f"differ), so each event was stored once and exported again. {len(again)} of the "
        f"{meanwhile} attempts that ended in the hours concerned (24 and 25 December 2017) came "
        f"more than once, in {len(runs)} runs of neighbours in the file",
        f"{len(git)} attempts at Learning Git instead of {len(set(git))}",
        f"`user_exam_id` has {sittings:,} values in {len(attempts):,} attempts",
    )


def test_names_of_exams(attempts):
    names = grouped((a.name, a) for a in attempts)
    two = {name: of for name, of in names.items() if len({a.exam for a in of}) == 2}
    assert max(len({a.exam for a in of}) for of in names.values()) == 2
    one_test = [name for name, of in two.items() if len({a.version for a in of}) == 1]
    assert found(6, 8) == [(len(two), len(names)), (len(one_test), len(two))]
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
    assert found(8, 12) == [
        (len(reused), len(ids)),
        (len(changing), len(ids)),
        (len(in_name), len(pairs)),
        (len(both), len(options)),
    ]
    assert reused == changing  # "they are other questions there"
    assert not varying(((name, key, option), right) for name, key, option, right in rights)[0]
    says(
        f"{len(reused)} of {len(ids)} ids stand in exams of several names",
        f"{len(changing)} ids have several sets of options; within a name {len(in_name)} of "
        f"{len(pairs)} have",
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
    assert found(12, 14) == [(len(edited), len(exams)), (both, of_questions)]
    says(
        f"{len(edited)} exams have two versions (`sequences_id`), one after the other",
        f"{both} of their {of_questions} question ids are in both. The numbers of questions and "
        "options are the same",
    )


def test_places_are_shuffled(attempts):
    """Looks at what at least 20 attempts show. Two options have only two orders."""
    says("questions and options are shuffled for each attempt")
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
    assert found(14, 18) == [
        (len(without), len(attempts)),
        (len(open_ones), len(results)),
        (certified.count(None), len(attempts)),
        (certified.count("true"), len(attempts)),
    ]
    assert set(certified) == {"false", None} and bool("false")
    nulls = grouped((a.exam, a.message["certification"] is None) for a in attempts)
    assert all(len(set(of)) == 1 for of in nulls.values())
    # The share of right answers is filled in, which is between 0 and 1.
    filled = mean(100 * -99 if a.score is None else a.score for a in attempts)
    says(
        f"{len(without)} attempts without counts, {len(open_ones)} questions without result, "
        f"{certified.count(None)} attempts without `certification`",
        f"`certification`: {sum(of[0] for of in nulls.values())} exams never have it",
        f"{filled} % as mean score, when a missing share of right answers becomes -99",
        f"{certified.count('true')} attempts certify",
        "`max_attempts` and `attempt` are always 1; `keen_created_at` equals `keen_timestamp`",
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
    assert found(18, 24) == [
        (before, len(clicks)),
        (after, len(clicks)),
        (len(late), len(attempts)),
        (len(long), len(attempts)),
        (unsorted, len(attempts)),
        (len(careless), len(attempts)),
    ]
    says(
        f"{before} of {len(clicks):,} clicks lie before the start, {after} after the end; in "
        f"{len(late)} attempts a click is over a minute late",
        "no attempt ends before it starts",
        f"{len(long)} took over an hour, the longest {mean([max(times) / 3600])} hours",
        f"the mean duration is {mean(times, 0)} s, without them "
        f"{mean((time for time in times if time <= 3600), 0)} s",
        f"{unsorted:,} attempts ended before the one above them",
        f"{len(careless)} attempts took under 2 s a question or answer nothing",
    )
    assert min(times) >= 0
    spans = [(max(a.clicks) - a.begin).total_seconds() for a in attempts if a.clicks]
    assert min(spans) < 0 and max(spans) > 7200  # "durations of hours, or below zero"
    everybody, serious = (
        mean((a.score for a in group if a.counts), 2)
        for group in (attempts, set(attempts) - set(careless))
    )
    says(f"the mean score is {everybody} %, without them {serious} %")


def test_questions_with_right_options_only(attempts):
    questions = grouped(
        ((a.name, q["id"]), bool(option.get("correct")))
        for a in attempts
        for q in a.questions
        for option in q["options"]
    )
    only = sum(map(all, questions.values()))
    assert found(24, 25) == [(only, len(questions))]
    says(f"{only} of {len(questions)} questions have no wrong option")


def test_scores_of_all_and_of_first_attempts(attempts, first):
    everything, known = (mean((a.score for a in of if a.counts), 2) for of in (attempts, first))
    says(f"{everything} % as what people knew, instead of {known} %")
