"""Messages for the tests: a valid one, ways to spoil it, and the corpus of bad input."""

import copy
import json
import pathlib
import re

GOOD = {
    "keen_timestamp": "1516717442.7352669",
    "max_attempts": "1.0",
    "started_at": "2018-01-23T14:23:19.082Z",
    "base_exam_id": "37f0a30a-7464-11e6-aa92-a8667f27e5dc",
    "user_exam_id": "6d4089e4-bde5-4a22-b65f-18bce9ab79c8",
    "sequences": {
        "questions": [
            {
                "user_incomplete": False,
                "user_correct": True,
                "user_submitted": True,
                "id": "q-sum",
                "user_result": "correct",
                "options": [
                    {
                        "checked": True,
                        "at": "2018-01-23T14:23:24.670Z",
                        "id": "o-four",
                        "submitted": 1,
                        "correct": True,
                    },
                    {"checked": False, "at": "2018-01-23T14:23:22.100Z", "id": "o-five"},
                ],
            },
            {
                "user_incomplete": False,
                "user_correct": False,
                "user_submitted": False,
                "id": "q-name",
                "user_result": "unanswered",
                "options": [
                    {"checked": False, "correct": False, "id": "o-left"},
                    {"checked": False, "correct": True, "id": "o-right"},
                    {"checked": False, "id": "o-none"},
                ],
            },
        ],
        "attempt": 1,
        "id": "5b28a462-7a3b-42e0-b508-09f3906d1703",
        "counts": {
            "incomplete": 0,
            "submitted": 1,
            "incorrect": 0,
            "all_correct": False,
            "correct": 1,
            "total": 2,
            "unanswered": 1,
        },
    },
    "keen_created_at": "1516717442.7352669",
    "certification": "false",
    "keen_id": "5a6745820eb8ab00016be1f1",
    "exam_name": "Learning Git",
}


def spoil(path, value):
    """Returns the good message as bytes, with one value changed.

    path: keys and positions, as in 'sequences.questions.0.id'
    value: the new value, or ... (Ellipsis) to remove the key
    """
    message = copy.deepcopy(GOOD)
    at = message
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in parents:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(message).encode()


def good(**fields):
    """Returns the good message as bytes, with other top-level fields."""
    return json.dumps({**GOOD, **fields}).encode()


def padded(length, keen_id):
    """Returns the good message, with an unknown field that makes it `length` bytes long."""
    shortest = good(keen_id=keen_id, padding="")
    padding = b"x" * (length - len(shortest))
    return shortest.replace(b'"padding": ""', b'"padding": "' + padding + b'"')


def _many_questions(keen_id):
    """Returns a message with about 900 kB of questions; its counts agree."""
    question = GOOD["sequences"]["questions"][1]
    number = 900_000 // len(json.dumps(question))
    sequences = copy.deepcopy(GOOD["sequences"])
    sequences["questions"] = [question] * number
    sequences["counts"] |= {"correct": 0, "submitted": 0, "total": number, "unanswered": number}
    return good(keen_id=keen_id, sequences=sequences)


def _nested(levels):
    return b"[" * levels + b"]" * levels


# Cases without a file in corpus/; corpus.txt lists their verdicts, too.
_MADE = {
    "a-tombstone": None,
    "ten-thousand-levels": _nested(10_000),
    "a-thousand-and-one-levels": good(exam_name=0).replace(
        b'"exam_name": 0', b'"exam_name": ' + _nested(1000)
    ),
    "a-thousand-levels-in-an-unknown-field": good(keen_id="made-1", browser=0).replace(
        b'"browser": 0', b'"browser": ' + _nested(999)
    ),
    "a-name-of-100000-characters": good(keen_id="made-2", exam_name="Learning Git " * 7693),
    "900-kilobytes-of-questions": _many_questions("made-3"),
    "900-kilobytes-in-an-unknown-field": padded(900_000, "made-4"),
    "a-number-of-5000-digits-in-an-unknown-field": good(keen_id="made-5", big=0).replace(
        b'"big": 0', b'"big": ' + b"7" * 5000
    ),
}


def _corpus():
    """Returns {name: (message, reason)} as corpus.txt lists them.

    message: bytes, or None for a null value
    reason: the required start of the rejection's reason, or None: accepted
    """
    tests = pathlib.Path(__file__).parent
    lines = [
        line
        for line in (tests / "corpus.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    listed = [re.split(r"\s{2,}", line, maxsplit=1) for line in lines]
    files = {file.name: file.read_bytes() for file in (tests / "corpus").iterdir()}
    assert sorted(name for name, _ in listed) == sorted([*files, *_MADE]), (
        "corpus.txt and the files of corpus/ differ"
    )
    return {
        name: ((files | _MADE)[name], None if verdict == "accepted" else verdict)
        for name, verdict in listed
    }


CASES = _corpus()
FIVE = [good(keen_id=f"shape-{number}") for number in range(5)]
LINES = b"\n".join(FIVE)
VALUES = [json.loads(each) for each in FIVE]
