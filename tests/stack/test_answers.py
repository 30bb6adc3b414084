"""The answers of `make query` on synthetic data, compared with the truth of the generator."""

import collections
import fractions
import re

import pytest

from oracle import retakes, truth_rows
from stacks import MESSAGES, ROOT


@pytest.fixture(scope="module")
def answers(stack, synthetic):
    """What query prints: {number of the question: its rows, each a list of cells}."""
    output = stack.run("query", TOPIC="synthetic_a")
    headers = re.findall(r"^== .*", output, re.MULTILINE)
    assert len(headers) == len(list(ROOT.glob("queries/*.sql")))
    assert all("SYNTHETIC" in header for header in headers)
    shown = re.split(r"^== .*\n", output, flags=re.MULTILINE)[1:]
    return {
        int(header.split()[1][:2]): [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in answer.splitlines()
            if line.startswith("|")
        ][1:]
        for header, answer in zip(headers, shown, strict=True)
    }


def test_answers_equal_the_truth_and_say_that_they_are_synthetic(answers, synthetic):
    _, truth, lines = synthetic
    made = [truth_rows(line)[:2] for line in lines if line["attempt"]]
    attempts = [attempt for attempt, _ in made]
    names = truth["attempts_by_exam_name"]
    messages, duplicates = str(truth["messages"]), str(truth["duplicates"])
    assert answers[1][0][:4] == [messages, duplicates, "0", str(truth["attempts"])]
    assert answers[1][0][5] == str(len(names))
    assert answers[2] == [["synthetic_a", "0", "0", str(MESSAGES - 1), str(MESSAGES)]]
    git = [attempt for attempt in attempts if attempt["exam_name"] == "Learning Git"]
    counts = {within: len(retakes(git, within)) for within in (30, 60, 120, 600)}
    # Otherwise the test could not tell the readings of the question apart.
    assert 0 < counts[60] < len(git) == truth["learning_git"]["attempts"]
    deliveries = truth["learning_git"]["messages"]
    assert [list(map(int, row)) for row in answers[3]] == [
        [within, len(git), count, len(git) - count, deliveries] for within, count in counts.items()
    ]
    assert [[row[1], int(row[3])] for row in answers[4] if row[0] == "by name"] == [
        [name, truth["least_common"]["attempts"]] for name in truth["least_common"]["exam_names"]
    ]
    most_common = [row[1] for row in answers[5] if row[0] == "1"]
    assert most_common == truth["most_common"]["exam_names"]
    again = retakes(attempts)
    firsts = collections.Counter(a["exam_name"] for a in attempts if a["keen_id"] not in again)
    shown = {row[1]: [int(row[2]), int(row[3])] for row in answers[5]}
    assert shown == {name: [names[name], firsts[name]] for name in shown}
    assert min(shown.values())[0] >= sorted(names.values())[-10]
    questions = [question for _, its_questions in made for question in its_questions]
    shown = [[*row[:4], float(row[4]), float(row[5])] for row in answers[10]]
    assert by_place(shown) == by_place(hardest_questions(questions, again))


def hardest_questions(questions, again):
    """Returns the expected rows: the ten hardest questions on first attempts, and all as hard as
    the tenth."""
    results = collections.defaultdict(list)
    for question in questions:
        if question["user_result"] and question["keen_id"] not in again:
            key = question["question_id"], question["exam_name"]
            results[key].append(question["user_result"])
    hardest = sorted(
        (fractions.Fraction(of.count("correct"), len(of)), *key, len(of), of)
        for key, of in results.items()
        if len(of) >= 30
    )
    assert len(hardest) > 3
    return [
        [
            str(1 + sum(other[0] < share for other in hardest)),
            question_id,
            exam_name,
            str(count),
            pytest.approx(float(100 * share), abs=0.051),
            pytest.approx(100 * of.count("correct") / (count - of.count("unanswered")), abs=0.051),
        ]
        for share, question_id, exam_name, count, of in hardest
        if sum(other[0] < share for other in hardest) < 10
    ]


def test_each_query_about_a_fault_of_the_data_runs(stack, synthetic):
    """They have the same columns, so that the report can show them in one table."""
    files = sorted((ROOT / "queries/data").glob("*.sql"))
    output = stack.run("query", arguments=[str(path) for path in files], TOPIC="synthetic_a")
    shown = re.split(r"^== .*\n", output, flags=re.MULTILINE)[1:]
    assert len(shown) == len(files) > 10
    for answer in shown:
        rows = [line.split("|")[1:-1] for line in answer.splitlines() if line.startswith("|")]
        assert [cell.strip() for cell in rows[0]] == ["what", "found", "of"] and len(rows) > 1


def test_each_query_that_checks_the_report_runs(stack, synthetic):
    files = sorted((ROOT / "queries/checks").glob("*.sql"))
    output = stack.run("query", arguments=[str(path) for path in files], TOPIC="synthetic_a")
    assert output.count("\n== ") == len(files) > 5 and "error in" not in output


def by_place(rows):
    """Sorts rows of the hardest questions by rank, id and name."""
    return sorted(rows, key=lambda row: (int(row[0]), *row[1:3]))


def test_retakes_equal_the_truth(answers, synthetic):
    _, _, lines = synthetic
    attempts = [truth_rows(line)[0] for line in lines if line["attempt"]]
    again = retakes(attempts)
    assert 0 < len(again) < len(attempts)
    kinds = {row[0]: row for row in answers[6]}
    assert int(kinds["1 first attempts"][1]) == len(attempts) - len(again)
    second, later = kinds["4 second attempts"], kinds.get("5 third and later", ["", "0"])
    assert int(second[1]) + int(later[1]) == len(again)
    means = {row[0]: float(row[1]) for row in answers[15]}
    for which, is_again in (("first", False), ("retakes", True)):
        scores = [
            attempt["correct"] / attempt["total"]
            for attempt in attempts
            if attempt["total"] is not None and (attempt["keen_id"] in again) == is_again
        ]
        assert means[which] == pytest.approx(100 * sum(scores) / len(scores), abs=0.0051)
