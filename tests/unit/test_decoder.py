"""The validator and the rows of the tables, on messages written by hand.

Each test is named after a defect that the real data have, or that a publisher may cause.
"""

import datetime
import json
import random

import pytest

from judging import UTC, judge
from messages import CASES, GOOD, good, spoil
from pipeline.message import batch_decoder, decoder, validator
from pipeline.message.declaration import TABLES
from pipeline.publishing.synthetic import deliveries


@pytest.mark.parametrize("name", CASES)
def test_the_validator(name):
    value, expected = CASES[name]
    reason, _, content = validator.examine(value)
    if expected is None:
        assert reason is None and content is not None
    else:
        assert reason is not None and reason.startswith(expected), reason


REAL_FORM = [
    "as-it-comes",
    "no-counts-and-no-results",
    "certification-null",
    "no-certification",
    "certification-true",
    "indented",
    "a-click-null",
]


@pytest.mark.parametrize("name", REAL_FORM)
def test_the_form_of_the_real_file_is_decoded_quickly(name):
    value = CASES[name][0]
    assert decoder.plain(value)
    assert batch_decoder.decode([value])[0] == [0]


def test_the_messages_of_a_batch_are_decoded_together_whatever_is_among_them():
    attempts = [attempt.message for attempt, _ in deliveries(random.Random(2), 1000)]
    values = [json.dumps(message, ensure_ascii=False).encode() for message in attempts]
    usual = [place for place, value in enumerate(values) if b"\\" not in value]
    assert batch_decoder.decode(values)[0] == usual and len(usual) > 900
    others = [spoil("browser", "x"), b"{", spoil("exam_name", ...), None, b"", good()[:-1]]
    spoilt = values[:500] + others + values[500:]
    found = batch_decoder.examine(spoilt)
    assert [row >= 0 for row in found.rows] == [True] * 501 + [False] * 5 + [True] * 500
    assert len(batch_decoder.decode(spoilt)[0]) > 700


def nested(brackets, levels):
    return (brackets[0] * levels + brackets[1] * levels).encode()


def within(text):
    """Returns the good message with a text of JSON in the places of different types."""
    return [
        good(**{name: "HERE"}).replace(b'"HERE"', text)
        for name in ("exam_name", "sequences", "browser", "keen_timestamp")
    ] + [
        spoil(path, "HERE").replace(b'"HERE"', text)
        for path in (
            "sequences.questions",
            "sequences.questions.0",
            "sequences.questions.0.options",
            "sequences.questions.0.options.0",
            "sequences.questions.0.options.0.checked",
            "sequences.questions.0.options.0.submitted",
            "sequences.questions.0.user_correct",
            "sequences.attempt",
            "sequences.counts",
            "sequences.counts.total",
        )
    ]


SECOND = good().index(b"{", 1)  # the place of the second brace
HOSTILE = {
    "levels": [
        *(nested(brackets, 100_000) for brackets in ("[]", ['{"a":', "}"], ['{"options":[', "]}"])),
        *within(nested("[]", 100_000)),
        *within(nested(['{"options":[', "]}"], 2_000)),
    ],
    "numbers": [
        value
        for text in (b"7" * 5000, b"1." + b"0" * 5000, b"1e999999999", b"NaN", b"-Infinity", b"01")
        for value in within(text)
    ],
    "literals": [
        value
        for text in (b"true", b'"true"', b"1", b'"1"', b"1.0", b"-0", b"null", b"[]", b"{}", b"{},")
        for value in within(text)
    ],
    "characters": [
        value
        for text in (
            b"\0",
            b"\n",
            b"\x7f",
            b"\xff",
            b"\xed\xa0\x80",
            b"\xc0\xaf",
            b"\\ud800",
            b"\\u0000",
        )
        for value in (good() + text, text + good(), *within(b'"' + text + b'"'), *within(text))
    ],
    # Where there are counts, they would disagree.
    "questions without counts": [
        good(sequences={"questions": questions, "attempt": 1, "id": "x"})
        for questions in ([], [{"id": "q", "options": [], "user_result": "perfect"}])
    ],
    "a byte order mark": [b"\xef\xbb\xbf" + good()],
    "a key twice": [
        good().replace(f'"{key}"'.encode(), f'"{key}": {value}, "{key}"'.encode(), 1)
        for key in ("keen_id", "sequences", "checked", "total", "certification", "at")
        for value in ("null", '"x"', "true", "1")
    ],
    "8 megabytes": [good(exam_name="x" * 2**23), good(browser="x" * 2**23), b"{" + b" " * 2**23],
    # Each would make as many rows as there are values, but not a row a value.
    "two messages in a value": [good() + good(keen_id="b"), b" "],
    "a message in two values": [good()[:SECOND], good()[SECOND:], good() + good()],
    "a text over two values": [b'{"keen_id": "}', b'{"}', good() + good()],
    "an end of the input": [good() + b"\0" + good(), good() + b"\0}"],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_in_a_batch_are_judged_as_alone(kind, monkeypatch):
    monkeypatch.setattr(batch_decoder, "FEW", 0)
    values = [good(keen_id="first"), *HOSTILE[kind], good(keen_id="last")]
    alone = [decoder.examine(value) for value in values]
    for small in (1, batch_decoder.SMALL):
        monkeypatch.setattr(batch_decoder, "SMALL", small)
        found = batch_decoder.examine(values)
        assert found.reasons == [each.reason for each in alone]
        assert found.keen_ids == [each.keen_id for each in alone]
        assert found.hashes == [each.content_hash for each in alone]
        ids = found.messages.field("keen_id").to_pylist()
        assert all(
            ids[row] == alone[place].keen_id for place, row in enumerate(found.rows) if row >= 0
        )


@pytest.mark.parametrize("text", [r"\u0022:", r"\"\u003a", r"\"\u003A"])
def test_a_key_that_stands_twice_is_seen_whatever_a_text_spells_as_an_escape(text):
    value = good().replace(b'"keen_id":', b'"keen_id": "first", "keen_id":')
    value = value.replace(b"Learning Git", text.encode())
    assert validator.examine(value)[0] == 'not_json: the key "keen_id" stands twice in one object'
    assert decoder.examine(value).reason == validator.examine(value)[0]


def test_an_attempt_with_a_seventh_decimal_and_the_text_false():
    row = judge([good()])[0]["attempts"][0]
    # …7352669: the seventh decimal is truncated
    moment = datetime.datetime(2018, 1, 23, 14, 24, 2, 735266, UTC)
    assert row == {
        "keen_id": "5a6745820eb8ab00016be1f1",
        "user_exam_id": "6d4089e4-bde5-4a22-b65f-18bce9ab79c8",
        "base_exam_id": "37f0a30a-7464-11e6-aa92-a8667f27e5dc",
        "exam_name": "Learning Git",
        "started_at": datetime.datetime(2018, 1, 23, 14, 23, 19, 82000, UTC),
        "keen_timestamp": moment,
        "keen_created_at": moment,
        "certification": False,
        "max_attempts": 1,
        "attempt": 1,
        "sequences_id": "5b28a462-7a3b-42e0-b508-09f3906d1703",
        "total": 2,
        "correct": 1,
        "incorrect": 0,
        "incomplete": 0,
        "unanswered": 1,
        "submitted": 1,
        "all_correct": False,
        "question_count": 2,
        "kafka_partition": 0,
        "kafka_offset": 0,
        "content_hash": row["content_hash"],
    }


def test_an_attempt_without_counts_has_nulls_not_zeros():
    row = judge([CASES["no-counts-and-no-results"][0]])[0]["attempts"][0]
    counts = "total correct incorrect incomplete unanswered submitted all_correct".split()
    assert [row[name] for name in counts] == [None] * 7
    assert row["question_count"] == 1


def test_certification_null_is_not_false_and_true_is_true():
    tables, _ = judge(
        [
            good(certification=None, keen_id="a"),
            good(certification="true", keen_id="b"),
            good(certification="false", keen_id="c"),
        ]
    )
    assert [row["certification"] for row in tables["attempts"]] == [None, True, False]


def test_questions_are_rows_by_id_and_place():
    exam = ("5a6745820eb8ab00016be1f1", "37f0a30a-7464-11e6-aa92-a8667f27e5dc", "Learning Git")
    assert [tuple(row.values()) for row in judge([good()])[0]["questions"]] == [
        (*exam, 0, "q-sum", "correct", True, False, True, 2),
        (*exam, 1, "q-name", "unanswered", False, False, False, 3),
    ]


def test_a_question_without_result_has_nulls():
    row = judge([CASES["no-counts-and-no-results"][0]])[0]["questions"][0]
    assert tuple(
        row[name] for name in ("user_result", "user_correct", "user_incomplete", "user_submitted")
    ) == (None, None, None, None)


def test_options_absent_flags_are_false_and_an_unchecked_one_keeps_its_click():
    def clicked(second, micro):
        return datetime.datetime(2018, 1, 23, 14, 23, second, micro, UTC)

    assert [tuple(row.values())[4:] for row in judge([good()])[0]["options"]] == [
        ("q-sum", 0, "o-four", True, clicked(24, 670000), True, True),
        ("q-sum", 1, "o-five", False, clicked(22, 100000), False, False),
        ("q-name", 0, "o-left", False, None, False, False),
        ("q-name", 1, "o-right", False, None, False, True),
        ("q-name", 2, "o-none", False, None, False, False),
    ]


def test_another_zone_and_more_decimals_are_the_same_moment():
    tables, _ = judge(
        [
            good(keen_id="a", started_at="2018-01-23T16:23:19.082+02:00"),
            good(keen_id="b", started_at="2018-01-23T14:23:19.082999999Z"),
        ]
    )
    assert [row["started_at"] for row in tables["attempts"]] == [
        datetime.datetime(2018, 1, 23, 14, 23, 19, 82000, UTC),
        datetime.datetime(2018, 1, 23, 14, 23, 19, 82999, UTC),
    ]


def test_an_epoch_with_many_decimals_is_cut_not_rounded():
    row = judge([good(keen_timestamp="1516717442.9999999999")])[0]["attempts"][0]
    assert row["keen_timestamp"] == datetime.datetime(2018, 1, 23, 14, 24, 2, 999999, UTC)


def test_a_rejected_message_still_tells_its_keen_id_where_it_can_be_read():
    found = judge(
        [spoil("exam_name", ...), spoil("keen_id", 5), spoil("sequences.counts.total", 3)]
    )[0]["messages"]
    assert [row["keen_id"] for row in found] == [GOOD["keen_id"], None, GOOD["keen_id"]]
    # The last message could be read completely.
    assert [row["content_hash"] is None for row in found] == [True, True, False]


@pytest.mark.parametrize("table", TABLES)
def test_each_column_says_what_it_means(table):
    assert all(column.meaning for column in TABLES[table])
