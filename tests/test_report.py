"""That the report says what the data say, by a reckoning in plain Python that shares no code with the pipeline."""
import collections
import datetime
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
def questions(attempts):
    return [(attempt, question) for attempt in attempts for question in attempt["sequences"]["questions"]]


def test_how_many(deliveries, attempts):
    assert answers(statement("01_how_many_assessments")) == [{
        "messages": len(deliveries), "delivered_again": len(deliveries) - len(attempts), "rejected": 0, "attempts": len(attempts),
        "exams_by_id": len({a["base_exam_id"] for a in attempts}), "exams_by_name": len({a["exam_name"] for a in attempts})}]


def test_the_topic(deliveries):
    assert answers(statement("02_kafka_topic")) == [{"topic": "assessments", "kafka_partition": 0, "first_offset": 0, "last_offset": len(deliveries) - 1, "messages": len(deliveries)}]


def test_learning_git(deliveries, attempts):
    git = [a for a in attempts if a["exam_name"] == "Learning Git"]
    assert answers(statement("03_learning_git")) == [{"attempts": len(git), "user_exam_ids": len({a["user_exam_id"] for a in git}),
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
    for _, question in questions:
        if question.get("user_result"):
            results[question["id"]].append(question["user_result"])
    expected = sorted((round(percent(r.count("correct"), len(r)), 1), key, len(r), percent(r.count("correct"), len(r) - r.count("unanswered"))) for key, r in results.items() if len(r) >= 30)[:10]
    shown = answers(statement("06_hardest_questions"))
    assert [(row["percent_correct"], row["question_id"], row["results"], row["percent_of_answered"]) for row in shown] == [(a, b, c, near(d)) for a, b, c, d in expected]


def test_wrong_options(questions):
    chosen, right, ever_right = collections.defaultdict(list), collections.defaultdict(list), set()
    for _, question in questions:
        if question.get("user_result") in ("correct", "incorrect", "missed_some"):
            for option in question["options"]:
                key = question["id"], option["id"]
                chosen[key].append(option["checked"])
                right[key].append(question["user_result"] == "correct")
                if option.get("correct"):
                    ever_right.add(key)
    wrong = {key: (percent(sum(c), len(c)), percent(sum(right[key]), len(c)), len(c)) for key, c in chosen.items() if len(c) >= 30 and key not in ever_right}
    shown = answers(statement("07_wrong_option_that_attracts"))
    assert [row["percent_chosen"] for row in shown] == [near(share) for share, *_ in sorted(wrong.values(), reverse=True)[:10]]
    for row in shown:
        share, share_right, count = wrong[row["question_id"], row["option_id"]]
        assert (row["percent_chosen"], row["percent_right"], row["answers"]) == (near(share), near(share_right), count)
    assert answers("count_if(o.checked) > count_if(q.user_result = 'correct')") == [{"questions": len({key[0] for key, (share, share_right, _) in wrong.items() if share > share_right})}]


def test_time_taken(attempts):
    taken = collections.defaultdict(list)
    for a in attempts:
        taken[a["exam_name"]].append((float(a["keen_timestamp"]) - seconds(a["started_at"]), len(a["sequences"]["questions"])))
    shown = answers(statement("08_time_taken"))
    assert len(shown) == 15
    for row in shown:
        times = [time for time, _ in taken[row["exam_name"]]]
        assert (row["attempts"], row["median_seconds"], row["mean_seconds"], row["longest_minutes"], row["median_a_question"]) == (
            len(times), near(statistics.median(times)), near(statistics.mean(times)), near(max(times) / 60), near(statistics.median(time / n for time, n in taken[row["exam_name"]])))
    everything = [time for times in taken.values() for time, _ in times]
    assert answers("AS median_seconds, CAST(round(avg") == [{"median_seconds": round(statistics.median(everything)), "mean_seconds": round(statistics.mean(everything))}]


def test_changes_of_mind(questions):
    groups = collections.defaultdict(list)
    for _, question in questions:
        if question.get("user_result") in ("correct", "incorrect", "missed_some"):
            changed = any(option.get("at") and not option["checked"] for option in question["options"])
            several = sum(bool(option.get("correct")) for option in question["options"]) > 1
            groups["several" if several else "one", str(changed).lower()].append(question["user_result"])
    shown = answers(statement("09_changes_of_mind"))
    assert [(row["right_options"], row["changed_mind"]) for row in shown] == sorted(groups)
    for row in shown:
        results = groups[row["right_options"], row["changed_mind"]]
        assert row["questions"] == len(results)
        assert [row[f"percent_{name}"] for name in ("correct", "missed_some", "incorrect")] == [near(percent(results.count(name), len(results))) for name in ("correct", "missed_some", "incorrect")]


def test_scores(attempts):
    counted = [(a["base_exam_id"], a["sequences"]["counts"]) for a in attempts if a["sequences"].get("counts")]
    exams = collections.defaultdict(list)
    for exam, counts in counted:
        exams[exam].append(counts["correct"] / counts["total"])
    row, = answers(statement("10_scores"))
    assert list(row.values()) == [
        pytest.approx(100 * statistics.mean(c["correct"] / c["total"] for _, c in counted), abs=0.0051),
        pytest.approx(percent(sum(c["correct"] for _, c in counted), sum(c["total"] for _, c in counted)), abs=0.0051),
        pytest.approx(100 * statistics.mean(map(statistics.mean, exams.values())), abs=0.0051), len(counted), len(attempts) - len(counted)]


def test_discrimination(attempts):
    pairs = collections.defaultdict(list)
    for a in attempts:
        right = [(q["id"], q["user_result"] == "correct") for q in a["sequences"]["questions"] if q.get("user_result")]
        for key, is_right in right:
            if len(right) > 1:
                pairs[key].append((int(is_right), (sum(r for _, r in right) - is_right) / (len(right) - 1)))
    value = {key: statistics.correlation(*zip(*p)) for key, p in pairs.items() if len(p) >= 50}
    shown = answers(statement("11_discrimination"))
    lowest_and_highest = sorted(value.values())[:5] + sorted(value.values())[-5:]
    assert [row["discrimination"] for row in shown] == [pytest.approx(number, abs=0.0051) for number in lowest_and_highest]
    for row in shown:
        assert (row["results"], row["discrimination"]) == (len(pairs[row["question_id"]]), pytest.approx(value[row["question_id"]], abs=0.0051))


def test_the_issues_of_the_data(deliveries, attempts, questions):
    again = {key for key, n in collections.Counter(d["keen_id"] for d in deliveries).items() if n > 1}
    copies = [d for d in deliveries if d["keen_id"] in again]
    assert all(a == b for a in copies for b in copies if a["keen_id"] == b["keen_id"])
    times = [float(d["keen_timestamp"]) for d in copies]
    row, = answers("AS contents_an_id")
    assert (row["ids"], row["deliveries"], row["delivered_again"], row["contents_an_id"]) == (len(again), len(copies), len(copies) - len(again), 1)
    assert [seconds(row[name].replace(" ", "T") + "Z") for name in ("first_ended", "last_ended")] == [pytest.approx(min(times), abs=1e-5), pytest.approx(max(times), abs=1e-5)]
    assert answers("attempts_in_that_time") == [{"attempts_in_that_time": sum(min(times) <= float(a["keen_timestamp"]) <= max(times) for a in attempts), "of_them_delivered_again": len(again)}]

    verdicts, sets = collections.defaultdict(set), collections.defaultdict(set)
    for _, q in questions:
        sets[q["id"]].add(frozenset(o["id"] for o in q["options"]))
        for o in q["options"]:
            verdicts[q["id"], o["id"]].add(bool(o.get("correct")))
    assert answers("sometimes_right") == [{"options": len(verdicts), "sometimes_right": sum(len(v) > 1 for v in verdicts.values())}]
    assert answers("further_sets_of_options") == [{"questions": len(sets), "further_sets_of_options": sum(map(len, sets.values())) - len(sets)}]

    options = [(a, o) for a, q in questions for o in q["options"]]
    before = [a["keen_id"] for a, o in options if o.get("at") and seconds(o["at"]) < seconds(a["started_at"])]
    after = [a["keen_id"] for a, o in options if o.get("at") and seconds(o["at"]) > float(a["keen_timestamp"])]
    assert answers("clicks_before_start") == [{"clicks_before_start": len(before), "in_attempts": len(set(before)), "clicks_after_end": len(after), "in_other_attempts": len(set(after)),
                                              "clicks": sum(bool(o.get("at")) for _, o in options)}]
    shares = [a["sequences"]["counts"]["correct"] / a["sequences"]["counts"]["total"] if a["sequences"].get("counts") else None for a in attempts]
    mean = lambda instead: pytest.approx(100 * statistics.mean(share if share is not None else instead for share in shares), abs=0.0051)
    assert [answers("AS filled_with_99")[0][name] for name in ("filled_with_0", "filled_with_99")] == [mean(0), mean(-99)]


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
