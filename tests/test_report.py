"""That the report says what the data say, by a reckoning in plain Python that shares no code with the pipeline."""
import collections
import datetime
import fractions
import itertools
import json
import re
import statistics

import pytest

import annotate
import check_submission
from conftest import ROOT

PAGE = (ROOT / "annotations.md").read_text()
BLOCKS = check_submission.shown(PAGE)


def answers(command):
    """The rows that the page shows below the command that contains this."""
    text, = [text for language, typed, text in BLOCKS if language == "python" and command in typed]
    return annotate.table(text)


def statement(name):
    return "\n".join(line for line in (ROOT / f"queries/{name}.sql").read_text().rstrip().splitlines() if not line.startswith("--"))


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def microseconds(epoch):
    whole, _, fraction = epoch.partition(".")
    return 1_000_000 * int(whole) + int(fraction[:6].ljust(6, "0"))


def taken(attempt):
    return (microseconds(attempt["keen_timestamp"]) - round(1e6 * seconds(attempt["started_at"]))) / 1e6


def answered(question):
    return question.get("user_result") in ("correct", "incorrect", "missed_some")


def percent(part, whole):
    return 100 * part / whole


def near(number):
    return pytest.approx(number, abs=0.051)  # one decimal is shown


@pytest.fixture(scope="module")
def deliveries(real_file):
    return json.loads(real_file.read_text())


@pytest.fixture(scope="module")
def attempts(deliveries):
    return list({attempt["keen_id"]: attempt for attempt in deliveries}.values())


@pytest.fixture(scope="module")
def again(attempts):
    """The ids of those attempts that begin within a minute after another attempt at the same exam ended."""
    return begin_at_once(attempts, 0)


def begin_at_once(attempts, hours):
    ends = collections.defaultdict(list)
    for a in attempts:
        ends[a["base_exam_id"]].append((microseconds(a["keen_timestamp"]), a["keen_id"]))
    return {a["keen_id"] for a in attempts for end, other in ends[a["base_exam_id"]]
            if other != a["keen_id"] and 0 <= round(1e6 * seconds(a["started_at"])) + 3_600_000_000 * hours - end <= 60_000_000}


@pytest.fixture(scope="module")
def questions(attempts):
    return [(attempt, question) for attempt in attempts for question in attempt["sequences"]["questions"]]


def test_how_many(deliveries, attempts):
    assert answers(statement("01_how_many_assessments")) == [{
        "messages": len(deliveries), "delivered_again": len(deliveries) - len(attempts), "rejected": 0, "attempts": len(attempts),
        "exams_by_id": len({a["base_exam_id"] for a in attempts}), "exams_by_name": len({a["exam_name"] for a in attempts})}]


def test_the_topic(deliveries):
    assert answers(statement("02_kafka_topic")) == [{"topic": "assessments", "kafka_partition": 0, "first_offset": 0, "last_offset": len(deliveries) - 1, "messages": len(deliveries)}]


def test_learning_git(deliveries, attempts, again):
    git = [a for a in attempts if a["exam_name"] == "Learning Git"]
    assert answers(statement("03_learning_git")) == [{
        "attempts": len(git), "first_sittings": sum(a["keen_id"] not in again for a in git), "user_exam_ids": len({a["user_exam_id"] for a in git}),
        "deliveries": sum(d["exam_name"] == "Learning Git" for d in deliveries)}]


def test_least_and_most_common(deliveries, attempts):
    by_name = collections.Counter(a["exam_name"] for a in attempts)
    by_id = collections.Counter((a["exam_name"], a["base_exam_id"]) for a in attempts)
    least = [("by name", name, None, n) for name, n in sorted(by_name.items()) if n == min(by_name.values())]
    least += [("by id", *key, n) for key, n in sorted(by_id.items()) if n == min(by_id.values())]
    assert [tuple(row.values()) for row in answers(statement("04_least_common_course"))] == least
    delivered = collections.Counter(d["exam_name"] for d in deliveries) + collections.Counter((d["exam_name"], d["base_exam_id"]) for d in deliveries)
    shown = answers(statement("05_most_common_course"))
    for reading, counter in (("by name", by_name), ("by id", by_id)):
        rows = [row for row in shown if row["reading"] == reading]
        assert [row["attempts"] for row in rows] == sorted(counter.values(), reverse=True)[:5]
        for row in rows:
            key = row["exam_name"] if reading == "by name" else (row["exam_name"], row["base_exam_id"])
            assert (row["attempts"], row["deliveries"], row["rank"]) == (counter[key], delivered[key], 1 + sum(n > counter[key] for n in counter.values()))


def test_hardest_questions(questions):
    results = collections.defaultdict(list)
    for attempt, question in questions:
        if question.get("user_result"):
            results[attempt["exam_name"], question["id"]].append(question["user_result"])
    shares = {key: (fractions.Fraction(r.count("correct"), len(r)), len(r), percent(r.count("correct"), len(r) - r.count("unanswered"))) for key, r in results.items() if len(r) >= 30}
    rank = {key: 1 + sum(other < share for other, *_ in shares.values()) for key, (share, *_) in shares.items()}
    expected = sorted((rank[key], key[1], key[0]) for key in shares if rank[key] <= 10)
    shown = answers(statement("06_hardest_questions"))
    assert [(row["rank"], row["question_id"], row["exam_name"]) for row in shown] == expected
    for row in shown:
        share, count, share_of_answered = shares[row["exam_name"], row["question_id"]]
        assert (row["results"], row["percent_correct"], row["percent_of_answered"]) == (count, near(100 * float(share)), near(share_of_answered))


def test_wrong_options(questions):
    chosen, right = collections.defaultdict(list), collections.defaultdict(set)
    for attempt, question in questions:
        if answered(question):
            for option in question["options"]:
                key = attempt["exam_name"], question["id"]
                chosen[key, option["id"]].append(option["checked"])
                if option.get("correct"):
                    right[key].add(option["id"])
    wrong = {(key, option): (fractions.Fraction(sum(c), len(c)), len(c), sum(c), [sum(chosen[key, other]) for other in right[key]])
             for (key, option), c in chosen.items() if len(c) >= 30 and option not in right[key]}
    rank = {key: 1 + sum(other > share for other, *_ in wrong.values()) for key, (share, *_) in wrong.items()}
    shown = answers(statement("07_wrong_option_that_attracts"))
    assert [(row["rank"], row["question_id"], row["option_id"], row["exam_name"]) for row in shown] == sorted(
        (rank[(exam, question), option], question, option, exam) for (exam, question), option in wrong if rank[(exam, question), option] <= 10)
    for row in shown:
        share, count, times, rights = wrong[(row["exam_name"], row["question_id"]), row["option_id"]]
        assert (row["answers"], row["chosen"], row["percent_chosen"]) == (count, times, near(100 * float(share)))
        assert (row["right_options"], row["least_chosen_right"], row["most_chosen_right"]) == (len(rights), min(rights), max(rights))
    ahead = [times - max(rights) for _, _, times, rights in wrong.values() if rights]
    assert answers("ahead_of_every_right_one") == [{"wrong_options": len(wrong), "ahead_of_every_right_one": sum(lead > 0 for lead in ahead),
                                                    "by_at_most_answers": max(ahead), "level": ahead.count(0)}]


def test_time_taken(attempts):
    times = collections.defaultdict(list)
    for a in attempts:
        times[a["exam_name"]].append((taken(a), len(a["sequences"]["questions"])))
    shown = answers(statement("08_time_taken"))
    a_question = {name: statistics.median(time / n for time, n in pairs) for name, pairs in times.items() if len(pairs) >= 50}
    assert [row["exam_name"] for row in shown] == sorted(a_question, key=lambda name: (-a_question[name], name))
    for row in shown:
        of_exam = [time for time, _ in times[row["exam_name"]]]
        assert (row["attempts"], row["median_seconds"], row["mean_seconds"], row["longest_minutes"], row["median_a_question"]) == (
            len(of_exam), near(statistics.median(of_exam)), near(statistics.mean(of_exam)), near(max(of_exam) / 60), near(a_question[row["exam_name"]]))
    everything = [time for pairs in times.values() for time, _ in pairs]
    long = [time for time in everything if time > 3600]
    assert answers("their_percent_of_all_time") == [{
        "median_seconds": round(statistics.median(everything)), "mean_seconds": round(statistics.mean(everything)), "over_an_hour": len(long),
        "their_percent_of_all_time": round(percent(sum(long), sum(everything))), "mean_without_them": round((sum(everything) - sum(long)) / (len(everything) - len(long)))}]


def test_changes_of_mind(questions):
    groups = collections.defaultdict(list)
    for _, question in questions:
        if answered(question):
            taken_back = [option for option in question["options"] if option.get("at") and not option["checked"]]
            several = sum(bool(option.get("correct")) for option in question["options"]) > 1
            groups["several" if several else "one", str(bool(taken_back)).lower()].append((question["user_result"], any(option.get("correct") for option in taken_back)))
    shown = answers(statement("09_changes_of_mind"))
    assert [(row["right_options"], row["changed_mind"]) for row in shown] == sorted(groups)
    for row in shown:
        pairs = groups[row["right_options"], row["changed_mind"]]
        results = [result for result, _ in pairs]
        assert row["questions"] == len(results)
        assert [row[name] for name in ("correct", "missed_some", "incorrect")] == [results.count(name) for name in ("correct", "missed_some", "incorrect")]
        assert row["took_back_a_right_one"] == sum(took for _, took in pairs)
        assert row["percent_correct"] == near(percent(results.count("correct"), len(results)))
    # The page takes those who came to the one right option and those who left it for different ones.
    assert not any(took and result == "correct" for result, took in groups["one", "true"])


def test_scores(attempts):
    counted = [(a["base_exam_id"], a["exam_name"], a["sequences"]["counts"]) for a in attempts if a["sequences"].get("counts")]
    exams, names = collections.defaultdict(list), collections.defaultdict(list)
    for exam, name, counts in counted:
        exams[exam].append(counts["correct"] / counts["total"])
        names[name].append(counts["correct"] / counts["total"])
    expected = [statistics.mean(c["correct"] / c["total"] for *_, c in counted), sum(c["correct"] for *_, c in counted) / sum(c["total"] for *_, c in counted),
                statistics.mean(map(statistics.mean, exams.values())), statistics.mean(map(statistics.mean, names.values()))]
    row, = answers(statement("10_scores"))
    assert list(row.values()) == [*(pytest.approx(100 * share, abs=0.0051) for share in expected), len(counted), len(attempts) - len(counted)]


def test_discrimination(attempts):
    pairs = collections.defaultdict(list)
    for a in attempts:
        right = [(q["id"], q["user_result"] == "correct") for q in a["sequences"]["questions"] if q.get("user_result")]
        for key, is_right in right:
            if len(right) > 1:
                pairs[a["exam_name"], key].append((int(is_right), (sum(r for _, r in right) - is_right) / (len(right) - 1)))
    value = {key: statistics.correlation(*zip(*p)) for key, p in pairs.items() if len(p) >= 50}
    shown = answers(statement("11_discrimination"))
    lowest_and_highest = sorted(value.values())[:5] + sorted(value.values())[-5:]
    assert [row["discrimination"] for row in shown] == [pytest.approx(number, abs=0.0051) for number in lowest_and_highest]
    for row in shown:
        key = row["exam_name"], row["question_id"]
        assert (row["results"], row["discrimination"]) == (len(pairs[key]), pytest.approx(value[key], abs=0.0051))
        assert row["percent_correct"] == near(100 * statistics.mean(is_right for is_right, _ in pairs[key]))
        assert row["margin"] == pytest.approx(1.96 * (1 - value[key] ** 2) / (len(pairs[key]) - 1) ** 0.5, abs=0.0051)


def test_sat_again(attempts, again):
    """The query's table, and the try by moving the beginnings."""
    groups = collections.defaultdict(list)
    for a in attempts:
        for name in (a["exam_name"], "all exams"):
            groups[name].append(a)
    sizes = sorted(map(len, groups.values()), reverse=True)
    shown = answers(statement("12_sat_again"))
    assert [row["exam_name"] for row in shown] == sorted((name for name in groups if len(groups[name]) >= sizes[10]), key=lambda name: (-len(groups[name]), name))
    for row in shown:
        assert row["attempts"] == len(groups[row["exam_name"]]) == row["first"] + row["again"]
        for which in ("first", "again"):
            part = [a for a in groups[row["exam_name"]] if (a["keen_id"] in again) == (which == "again")]
            counts = [a["sequences"]["counts"] for a in part if a["sequences"].get("counts")]
            assert (row[which], row[f"score_{which}"], row[f"seconds_{which}"]) == (
                len(part), near(100 * statistics.mean(c["correct"] / c["total"] for c in counts)), near(statistics.median(map(taken, part))))
    moved = {hours: len(begin_at_once(attempts, hours)) for hours in (0, -1, 1, -2, 2, -24, 24, 168)}
    assert answers("beginnings_moved_by_hours") == [{"beginnings_moved_by_hours": hours, "attempts_within_a_minute_after_another": count} for hours, count in moved.items() if count]
    assert min(moved.values()) > 0  # a row of nothing would be missing, and the page's "least" wrong
    assert max(count for hours, count in moved.items() if hours) * 20 < moved[0]


def test_the_issues_of_the_data(deliveries, attempts):
    again = {key for key, n in collections.Counter(d["keen_id"] for d in deliveries).items() if n > 1}
    copies = [d for d in deliveries if d["keen_id"] in again]
    assert all(a == b for a in copies for b in copies if a["keen_id"] == b["keen_id"])
    times = [float(d["keen_timestamp"]) for d in copies]
    row, = answers("AS contents_an_id")
    assert (row["ids"], row["deliveries"], row["delivered_again"], row["contents_an_id"]) == (len(again), len(copies), len(copies) - len(again), 1)
    assert [seconds(row[name].replace(" ", "T") + "Z") for name in ("first_ended", "last_ended")] == [pytest.approx(min(times), abs=1e-5), pytest.approx(max(times), abs=1e-5)]
    assert answers("attempts_in_that_time") == [{"attempts_in_that_time": sum(min(times) <= float(a["keen_timestamp"]) <= max(times) for a in attempts), "of_them_delivered_again": len(again)}]

    places = [i for i, d in enumerate(deliveries) if d["keen_id"] in again]
    runs = [len(list(run)) for _, run in itertools.groupby(enumerate(places), lambda pair: pair[1] - pair[0])]
    assert answers("runs_of_neighbours") == [{"deliveries": len(places), "runs_of_neighbours": len(runs), "longest_run": max(runs)}]

    shares = [a["sequences"]["counts"]["correct"] / a["sequences"]["counts"]["total"] if a["sequences"].get("counts") else None for a in attempts]
    mean = lambda instead: pytest.approx(100 * statistics.mean(share if share is not None else instead for share in shares), abs=0.0051)
    assert [answers("AS filled_with_99")[0][name] for name in ("filled_with_0", "filled_with_99")] == [mean(0), mean(-99)]
    nulls = collections.defaultdict(set)
    for a in attempts:
        nulls[a["base_exam_id"]].add(a["certification"] is None)
    assert answers("null_in_all_attempts") == [{"exams": len(nulls), "with_a_null": sum(True in seen for seen in nulls.values()), "null_in_all_attempts": sum(seen == {True} for seen in nulls.values())}]


def test_what_a_question_is(attempts, questions):
    identities = {"question_id": lambda a, q: q["id"], "exam_name, question_id": lambda a, q: (a["exam_name"], q["id"])}
    of_questions, of_options = [], []
    for name, identity in identities.items():
        sets, verdicts = collections.defaultdict(set), collections.defaultdict(set)
        for a, q in questions:
            sets[identity(a, q)].add(frozenset(o["id"] for o in q["options"]))
            for o in q["options"]:
                verdicts[identity(a, q), o["id"]].add(bool(o.get("correct")))
        of_questions.append({"a_question_is": name, "questions": len(sets), "with_several_sets_of_options": sum(len(s) > 1 for s in sets.values()), "further_sets": sum(map(len, sets.values())) - len(sets)})
        of_options.append({"a_question_is": name, "options": len(verdicts), "sometimes_right": sum(len(v) > 1 for v in verdicts.values())})
    assert (answers("with_several_sets_of_options"), answers("AS sometimes_right")) == (of_questions, of_options)

    names, sets, asked = collections.defaultdict(set), collections.defaultdict(set), collections.Counter(q["id"] for _, q in questions)
    for a, q in questions:
        names[q["id"]].add(a["exam_name"])
        sets[q["id"]].add(frozenset(o["id"] for o in q["options"]))
    reused = sorted(key for key in names if len(names[key]) > 1)
    assert answers("AS times_asked") == [{"question_id": key, "exam_names": len(names[key]), "sets_of_options": len(sets[key]), "times_asked": asked[key]} for key in reused]
    assert set(reused) == {key for key in sets if len(sets[key]) > 1}  # as the page says: these and no others change their options
    assert f"### 5.6 {[None, 'One', 'Two', 'Three', 'Four'][len(reused)]} question ids name several questions" in PAGE

    within = collections.defaultdict(set)
    for a, q in questions:
        for o in q["options"]:
            within[o["id"]].add((a["exam_name"], q["id"]))
    assert answers("in_several_questions") == [{"option_ids": len(within), "in_several_questions": sum(len(seen) > 1 for seen in within.values())}]


def test_names_and_versions(attempts):
    exams, asked, sequences = collections.defaultdict(lambda: collections.defaultdict(set)), collections.defaultdict(set), collections.defaultdict(set)
    for a in attempts:
        ids = {q["id"] for q in a["sequences"]["questions"]}
        exams[a["exam_name"]][a["base_exam_id"]] |= ids
        sequences[a["exam_name"]].add(a["sequences"]["id"])
        asked[a["sequences"]["id"]].add(frozenset(ids))
    assert answers("questions_under_both") == [
        {"exam_name": name, "ids": len(by_id), "attempts": sum(a["exam_name"] == name for a in attempts), "sequences_ids": len(sequences[name]),
         "questions": len(set.union(*by_id.values())), "questions_under_both": len(set.intersection(*by_id.values()))}
        for name, by_id in sorted(exams.items()) if len(by_id) > 1]
    assert {row["ids"] for row in answers("questions_under_both")} == {2}  # "two ids each"
    assert answers("with_one_set_of_questions") == [{"sequences_ids": len(asked), "with_one_set_of_questions": sum(len(sets) == 1 for sets in asked.values())}]

    several = [{"sequences_id": key, "sets_of_questions": len(sets), "exam_names": len({a["exam_name"] for a in of_it}), "first_name": min(a["exam_name"] for a in of_it), "attempts": len(of_it)}
               for key, sets in asked.items() if len(sets) > 1 for of_it in [[a for a in attempts if a["sequences"]["id"] == key]]]
    assert answers("AS sets_of_questions") == sorted(several, key=lambda row: (-row["exam_names"], row["sequences_id"]))
    assert [row["exam_names"] > 1 for row in answers("AS sets_of_questions")] == [True, *[False] * (len(several) - 1)]  # as the page says: one of them under several names

    versions = collections.defaultdict(lambda: collections.defaultdict(list))
    for a in attempts:
        versions[a["base_exam_id"]][a["sequences"]["id"]].append(a)
    minute = lambda attempt: str(datetime.datetime.fromtimestamp(float(attempt["keen_timestamp"]) // 60 * 60, datetime.timezone.utc))[:19]
    expected = []
    for by_sequence in versions.values():
        ids = {key: {q["id"] for a in of_it for q in a["sequences"]["questions"]} for key, of_it in by_sequence.items()}
        expected += [{"exam_name": of_it[0]["exam_name"], "sequences_id": key, "attempts": len(of_it), "questions": len(ids[key]),
                      "also_in_another": len(ids[key] & set().union(*(ids[other] for other in ids if other != key))),
                      "first_ended": min(map(minute, of_it)), "last_ended": max(map(minute, of_it))} for key, of_it in by_sequence.items() if len(by_sequence) > 1]
    shown = answers("also_in_another")
    assert shown == sorted(expected, key=lambda row: (row["exam_name"], row["first_ended"]))
    assert len(shown) == 4 and "### 5.7 Two exams changed their questions" in PAGE
    for old, new in zip(shown[::2], shown[1::2]):
        assert old["exam_name"] == new["exam_name"] and old["last_ended"] < new["first_ended"]  # "one after the other"


def test_the_clocks(attempts):
    before, after, first, last, clicks = [], [], {}, {}, 0
    for a in attempts:
        begin, end = round(1e6 * seconds(a["started_at"])), microseconds(a["keen_timestamp"])
        times = [round(1e6 * seconds(o["at"])) for q in a["sequences"]["questions"] for o in q["options"] if o.get("at")]
        clicks += len(times)
        before += [(a["keen_id"], begin - time) for time in times if time < begin]
        after += [a["keen_id"] for time in times if time > end]
        if times:
            first[a["keen_id"]], last[a["keen_id"]] = min(times) - end, max(times) - end
    assert answers("clicks_before_start") == [{
        "clicks_before_start": len(before), "attempts_with_one_before": len({key for key, _ in before}), "most_seconds_before": near(max(time for _, time in before) / 1e6),
        "clicks_after_end": len(after), "attempts_with_one_after": len(set(after)), "clicks": clicks}]
    assert answers("even_the_first_late") == [{
        "over_a_minute_late": sum(time > 60e6 for time in last.values()), "over_an_hour_late": sum(time > 3600e6 for time in last.values()),
        "even_the_first_late": sum(time > 0 for time in first.values()), "the_first_at_most_hours_late": near(max(first.values()) / 3600e6)}]
    times = list(map(taken, attempts))
    assert answers("AS longest_hours") == [{"negative": sum(time < 0 for time in times), "over_an_hour": sum(time > 3600 for time in times), "longest_hours": near(max(times) / 3600)}]


def test_the_smaller_things(attempts, questions):
    quick = {a["keen_id"] for a in attempts if taken(a) / len(a["sequences"]["questions"]) < 2}
    empty = {a["keen_id"] for a in attempts if (a["sequences"].get("counts") or {}).get("submitted") == 0}
    assert answers("under_2_s_a_question") == [{"under_2_s_a_question": len(quick), "nothing_answered": len(empty), "either": len(quick | empty)}]
    differ = [a["exam_name"] for a, q in questions for o in q["options"] if bool(o.get("submitted")) != o["checked"]]
    assert answers("sent_in_is_not_checked") == [{"sent_in_is_not_checked": len(differ), "in_exams": len(set(differ)), "their_name": min(differ)}]
    results = [(q["user_result"], q["user_correct"], q["user_incomplete"], q["user_submitted"]) for _, q in questions if q.get("user_result")]
    assert answers("flags_agree") == [{"results": len(results), "flags_agree": sum(flags == [result == "correct", result == "missed_some", result != "unanswered"] for result, *flags in results)}]
    test_exam = [a for a in attempts if len(a["base_exam_id"]) != 36]
    assert answers("length(base_exam_id) <> 36") == [{"exam_name": test_exam[0]["exam_name"], "base_exam_id": test_exam[0]["base_exam_id"], "attempts": len(test_exam)}]
    ends = [microseconds(a["keen_timestamp"]) for a in attempts]
    row, = answers("AS first_end, max(")
    assert [microseconds(str(seconds(row[name].replace(" ", "T") + "Z"))) for name in ("first_end", "last_end")] == [pytest.approx(min(ends), abs=10), pytest.approx(max(ends), abs=10)]


def test_the_histories_are_those_of_the_page_and_nothing_else():
    assert check_submission.console_history((ROOT / "user-history.txt").read_text()) == check_submission.typed(PAGE, "bash")
    assert check_submission.pyspark_history((ROOT / "spark_history.py").read_text()) == check_submission.typed(PAGE, "python")


def test_every_changed_digit_in_an_answer_is_a_difference():
    """What is masked when the page is checked: nothing in any answer."""
    tried = 0
    for language, command, text in BLOCKS:
        if "spark.sql(" not in command and "make verify" not in command and "make plots" not in command:
            continue
        for digit in re.finditer(r"\d", text):
            changed = text[:digit.start()] + str((int(digit[0]) + 1) % 10) + text[digit.end():]
            assert annotate.what_counts(changed) != annotate.what_counts(text), (command, digit)
            tried += 1
    assert tried > 2000


def test_what_must_vary_is_no_difference():
    assert annotate.what_counts("|2026-11-24 03:43:01.2  |\n+-------+") == annotate.what_counts("|2027-01-02 13:03:01.234|\n+---------+")
    assert annotate.what_counts("|2018-01-23 14:24:02|") != annotate.what_counts("|2018-01-23 14:24:03|")
    assert annotate.what_counts("  kafka     127.0.0.1:29092   pid 890  answered after 12.0 s") == annotate.what_counts("  kafka     127.0.0.1:9092    pid 91890  answered after 2.1 s")
    assert annotate.what_counts("    0  0: 0-3279       3,242         38         0     28.2") == annotate.what_counts("    0  0: 0-3279       3,242         38         0      7.9")
    assert annotate.what_counts("    0  0: 0-3279       3,242         38         0     28.2") != annotate.what_counts("    0  0: 0-3279       3,241         38         0     28.2")


def test_the_submission_is_whole(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [row for row in check_submission.checks() if not row[2]] == []


@pytest.mark.parametrize("name, old, new", [
    ("annotations.md", "kafka-topics --create", "kafka-topics --delete"), ("annotations.md", "Executive summary", "Remarks"), ("annotations.md", "plots/time_taken.png", "plots/time.png"),
    ("user-history.txt", "make land", "make lend"), ("spark_history.py", "raw.show(3)", "raw.show(4)"), ("README.md", "| `Makefile` |", "| `Mkfile` |")])
def test_a_part_that_is_missing_from_the_submission_is_named(monkeypatch, name, old, new):
    monkeypatch.chdir(ROOT)
    text = (ROOT / name).read_text()
    assert old in text
    real = check_submission.read
    monkeypatch.setattr(check_submission, "read", lambda path: text.replace(old, new) if path == name else real(path))
    assert [row for row in check_submission.checks() if not row[2]]
