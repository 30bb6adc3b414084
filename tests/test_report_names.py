"""What the report says about ids and names: which identify a question, an option or an exam.

Each answer equals an independent calculation.
"""

import collections
import datetime

from report_fixtures import PAGE, answers, the_attempts, the_deliveries, the_questions  # noqa: F401


def test_what_a_question_is(attempts, questions):
    identities = {
        "question_id": lambda a, q: q["id"],
        "exam_name, question_id": lambda a, q: (a["exam_name"], q["id"]),
    }
    of_questions, of_options = [], []
    for name, identity in identities.items():
        sets, verdicts = collections.defaultdict(set), collections.defaultdict(set)
        for a, q in questions:
            sets[identity(a, q)].add(frozenset(o["id"] for o in q["options"]))
            for o in q["options"]:
                verdicts[identity(a, q), o["id"]].add(bool(o.get("correct")))
        of_questions.append(
            {
                "a_question_is": name,
                "questions": len(sets),
                "with_several_sets_of_options": sum(len(s) > 1 for s in sets.values()),
                "further_sets": sum(map(len, sets.values())) - len(sets),
            }
        )
        of_options.append(
            {
                "a_question_is": name,
                "options": len(verdicts),
                "sometimes_right": sum(len(v) > 1 for v in verdicts.values()),
            }
        )
    assert (answers("with_several_sets_of_options"), answers("AS sometimes_right")) == (
        of_questions,
        of_options,
    )

    names, sets = collections.defaultdict(set), collections.defaultdict(set)
    asked = collections.Counter(q["id"] for _, q in questions)
    for a, q in questions:
        names[q["id"]].add(a["exam_name"])
        sets[q["id"]].add(frozenset(o["id"] for o in q["options"]))
    reused = sorted(key for key in names if len(names[key]) > 1)
    assert answers("AS times_asked") == [
        {
            "question_id": key,
            "exam_names": len(names[key]),
            "sets_of_options": len(sets[key]),
            "times_asked": asked[key],
        }
        for key in reused
    ]
    # The report says that these questions, and no others, change their options.
    assert set(reused) == {key for key in sets if len(sets[key]) > 1}
    how_many = [None, "One", "Two", "Three", "Four"][len(reused)]
    assert f"### 5.6 {how_many} question ids name several questions" in PAGE

    within = collections.defaultdict(set)
    for a, q in questions:
        for o in q["options"]:
            within[o["id"]].add((a["exam_name"], q["id"]))
    assert answers("in_several_questions") == [
        {
            "option_ids": len(within),
            "in_several_questions": sum(len(seen) > 1 for seen in within.values()),
        }
    ]


def test_names_and_versions(attempts):
    exams = collections.defaultdict(lambda: collections.defaultdict(set))
    asked, sequences = collections.defaultdict(set), collections.defaultdict(set)
    for a in attempts:
        ids = {q["id"] for q in a["sequences"]["questions"]}
        exams[a["exam_name"]][a["base_exam_id"]] |= ids
        sequences[a["exam_name"]].add(a["sequences"]["id"])
        asked[a["sequences"]["id"]].add(frozenset(ids))
    assert answers("questions_under_both") == [
        {
            "exam_name": name,
            "ids": len(by_id),
            "attempts": sum(a["exam_name"] == name for a in attempts),
            "sequences_ids": len(sequences[name]),
            "questions": len(set.union(*by_id.values())),
            "questions_under_both": len(set.intersection(*by_id.values())),
        }
        for name, by_id in sorted(exams.items())
        if len(by_id) > 1
    ]
    # The report says "two ids each".
    assert {row["ids"] for row in answers("questions_under_both")} == {2}
    assert answers("with_one_set_of_questions") == [
        {
            "sequences_ids": len(asked),
            "with_one_set_of_questions": sum(len(sets) == 1 for sets in asked.values()),
        }
    ]

    several = [
        {
            "sequences_id": key,
            "sets_of_questions": len(sets),
            "exam_names": len({a["exam_name"] for a in of_it}),
            "first_name": min(a["exam_name"] for a in of_it),
            "attempts": len(of_it),
        }
        for key, sets in asked.items()
        if len(sets) > 1
        for of_it in [[a for a in attempts if a["sequences"]["id"] == key]]
    ]
    assert answers("AS sets_of_questions") == sorted(
        several, key=lambda row: (-row["exam_names"], row["sequences_id"])
    )
    # The report says that one of them has several names.
    several_names = [row["exam_names"] > 1 for row in answers("AS sets_of_questions")]
    assert several_names == [True, *[False] * (len(several) - 1)]

    versions = collections.defaultdict(lambda: collections.defaultdict(list))
    for a in attempts:
        versions[a["base_exam_id"]][a["sequences"]["id"]].append(a)

    def minute(attempt):
        whole = float(attempt["keen_timestamp"]) // 60 * 60
        return str(datetime.datetime.fromtimestamp(whole, datetime.timezone.utc))[:19]

    expected = []
    for by_sequence in versions.values():
        ids = {
            key: {q["id"] for a in of_it for q in a["sequences"]["questions"]}
            for key, of_it in by_sequence.items()
        }
        expected += [
            {
                "exam_name": of_it[0]["exam_name"],
                "sequences_id": key,
                "attempts": len(of_it),
                "questions": len(ids[key]),
                "also_in_another": len(
                    ids[key] & set().union(*(ids[other] for other in ids if other != key))
                ),
                "first_ended": min(map(minute, of_it)),
                "last_ended": max(map(minute, of_it)),
            }
            for key, of_it in by_sequence.items()
            if len(by_sequence) > 1
        ]
    shown = answers("also_in_another")
    assert shown == sorted(expected, key=lambda row: (row["exam_name"], row["first_ended"]))
    assert len(shown) == 4 and "### 5.7 Two exams changed their questions" in PAGE
    for old, new in zip(shown[::2], shown[1::2], strict=True):  # "one after the other"
        assert old["exam_name"] == new["exam_name"] and old["last_ended"] < new["first_ended"]
