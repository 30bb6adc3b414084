"""The answers of `make query` on synthetic data, compared with the truth of the generator."""

import collections
import fractions
import pathlib
import re

import pytest

from oracle import sat_again, truth_rows
from stacks import MESSAGES


@pytest.fixture(scope="module")
def answers(stack, synthetic):
    """What make query prints: {number of the question: its rows, each a list of cells}."""
    output = stack.make("query", TOPIC="synthetic_a")
    headers = re.findall(r"^== .*", output, re.MULTILINE)
    assert len(headers) == len(list(pathlib.Path("queries").glob("*.sql")))
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
    first = len(git) - len({attempt["keen_id"] for attempt in git} & sat_again(attempts))
    # Otherwise the test could not tell the readings of the question apart.
    assert 0 < first < len(git) == truth["learning_git"]["attempts"]
    user_exams = len({attempt["user_exam_id"] for attempt in git})
    expected = [len(git), first, user_exams, truth["learning_git"]["messages"]]
    assert answers[3] == [[str(number) for number in expected]]
    assert [[row[1], int(row[3])] for row in answers[4] if row[0] == "by name"] == [
        [name, truth["least_common"]["attempts"]] for name in truth["least_common"]["exam_names"]
    ]
    most_common = [row[2] for row in answers[5] if row[:2] == ["by name", "1"]]
    assert most_common == truth["most_common"]["exam_names"]
    by_name = {row[2]: int(row[4]) for row in answers[5] if row[0] == "by name"}
    assert by_name == {name: names[name] for name in by_name}
    assert min(by_name.values()) >= sorted(names.values())[-5]
    questions = [question for _, its_questions in made for question in its_questions]
    shown = [[*row[:4], float(row[4]), float(row[5])] for row in answers[6]]
    assert by_place(shown) == by_place(hardest_questions(truth, questions))


def hardest_questions(truth, questions):
    """Returns the expected rows: the ten hardest questions, and all as hard as the tenth."""
    answered = collections.Counter(
        (question["question_id"], question["exam_name"])
        for question in questions
        if question["user_result"] not in (None, "unanswered")
    )
    hardest = sorted(
        (
            fractions.Fraction(each["correct"], each["answers"]),
            *(each[name] for name in ("question_id", "exam_name", "answers", "correct")),
        )
        for each in truth["results_by_question"]
        if each["answers"] >= 30
    )
    assert len(hardest) > 10
    return [
        [
            str(1 + sum(other[0] < share for other in hardest)),
            question_id,
            exam_name,
            str(results),
            pytest.approx(float(100 * share), abs=0.051),
            pytest.approx(100 * correct / answered[question_id, exam_name], abs=0.051),
        ]
        for share, question_id, exam_name, results, correct in hardest
        if sum(other[0] < share for other in hardest) < 10
    ]


def by_place(rows):
    """Sorts rows of the hardest questions by rank, id and name."""
    return sorted(rows, key=lambda row: (int(row[0]), *row[1:3]))


def test_sittings_again_equal_the_truth(answers, synthetic):
    _, truth, lines = synthetic
    attempts = [truth_rows(line)[0] for line in lines if line["attempt"]]
    again = sat_again(attempts)
    assert 0 < len(again) < len(attempts)
    counts = [len(attempts), len(attempts) - len(again), len(again)]
    assert answers[12][0][:4] == ["all exams", *map(str, counts)]
    its_again = collections.Counter(
        attempt["exam_name"] for attempt in attempts if attempt["keen_id"] in again
    )
    names = truth["attempts_by_exam_name"]
    assert len(answers[12]) >= 11
    assert [row[:4] for row in answers[12][1:]] == [
        [name, str(names[name]), str(names[name] - its_again[name]), str(its_again[name])]
        for name in (row[0] for row in answers[12][1:])
    ]
    assert min(int(row[1]) for row in answers[12]) >= sorted(names.values())[-10]
    # The mean scores, from the truth's rows.
    for cell, is_again in ((4, False), (5, True)):
        scores = [
            attempt["correct"] / attempt["total"]
            for attempt in attempts
            if attempt["total"] is not None and (attempt["keen_id"] in again) == is_again
        ]
        mean = 100 * sum(scores) / len(scores)
        assert float(answers[12][0][cell]) == pytest.approx(mean, abs=0.051)
