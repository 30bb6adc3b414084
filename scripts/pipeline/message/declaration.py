"""The declaration of the message: each field's name, kind, meaning and column, required or not.

The validator, the decoder, the columns and the tables (TABLES below) are derived from it, and, by
`make dictionary`, the published JSON Schema and the data dictionary in docs/tables.md.

A new optional field is one line at the end of its object here:
    Field("device", TEXT, "what the attempt was made on", required=False),
It becomes a column at the end of its table; `make land` adds the column to tables of older feeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from pipeline.message.kinds import (
    BOOLEAN,
    BOOLEAN_TEXT,
    EPOCH,
    FLAG,
    INT,
    NUMBER_TEXT,
    TEXT,
    TIME,
    Kind,
)

Named = TypeVar("Named", "Field", "Column")


def _in_order(names: str, *named: Named) -> tuple[Named, ...]:
    """Sorts what has a name by a list of names; what was declared later, and is not in it, last."""
    place = {name: number for number, name in enumerate(names.split())}
    assert place.keys() <= {each.name for each in named}, names
    return tuple(sorted(named, key=lambda each: place.get(each.name, len(place))))


@dataclass(frozen=True)
class Object:
    fields: tuple[Field, ...]  # in the order in which the validator checks them
    # The order of the names in the content hash (the source's own); unnamed fields follow.
    spelled: str
    json: ClassVar[type[dict[str, Any]]] = dict
    words: ClassVar = "an object"

    @cached_property
    def fields_as_spelled(self) -> tuple[Field, ...]:
        return _in_order(self.spelled, *self.fields)


@dataclass(frozen=True)
class Array:
    element: Object
    at_least: int = 0
    json: ClassVar[type[list[Any]]] = list
    words: ClassVar = "an array"


@dataclass(frozen=True)
class Field:
    name: str
    kind: Kind | Object | Array
    meaning: str  # the column's comment and the JSON Schema's description
    required: bool = True
    column: str = ""  # the column's name, when it is not the field's
    absent: object = None  # the column's value where an optional field is absent or null
    values: tuple[str, ...] = ()  # the only texts that are allowed


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as Delta spells it
    required: bool
    meaning: str
    # Where its value is in the element of the message that a row is made from, such as
    # "sequences.counts.total"; empty for a column that the pipeline fills itself.
    path: str = ""
    kind: Kind | None = None  # of the field there
    absent: object = None  # as in Field


def _columns(declared: Object, path: str = "", required: bool = True) -> Iterator[Column]:
    """A column for each single value of an object and its inner objects, arrays left out."""
    for each in declared.fields:
        place, kind, is_required = path + each.name, each.kind, required and each.required
        if isinstance(kind, Object):
            yield from _columns(kind, f"{place}.", is_required)
        elif isinstance(kind, Kind):
            name, filled = each.column or each.name, is_required or each.absent is not None
            yield Column(name, kind.column, filled, each.meaning, place, kind, each.absent)


# fmt: off
RESULTS = {  # user_result -> the count it belongs to
    "correct": "correct", "incorrect": "incorrect",
    "missed_some": "incomplete", "unanswered": "unanswered",
}

OPTION = Object((
    Field("id", TEXT, "the option, within its question; the same in every attempt at an exam",
          column="option_id"),
    Field("checked", BOOLEAN, "checked at the end"),
    Field("at", TIME, "when it was last clicked (the source's `at`); null: never touched",
          required=False, column="clicked_at"),
    Field("submitted", FLAG, "sent in as part of the answer; absent in the source means false",
          required=False, absent=False),
    Field("correct", BOOLEAN, "belongs to the right answer; absent in the source means false",
          required=False, absent=False),
), spelled="checked at id submitted correct")

_FLAG_OF_SOURCE = "the source's flag; null where the message lacks it"
QUESTION = Object((
    Field("id", TEXT, "the question; a few ids name other questions in other exams",
          column="question_id"),
    Field("options", Array(OPTION),
          "the options in the order in which they were shown; there may be none"),
    Field("user_result", TEXT, "correct, incorrect, missed_some (right but not all), unanswered; "
          "null where the message has none", required=False, values=tuple(RESULTS)),
    Field("user_correct", BOOLEAN, _FLAG_OF_SOURCE, required=False),
    Field("user_incomplete", BOOLEAN, _FLAG_OF_SOURCE, required=False),
    Field("user_submitted", BOOLEAN, _FLAG_OF_SOURCE, required=False),
), spelled="user_incomplete user_correct options user_submitted id user_result")

COUNTS = Object((
    Field("incomplete", INT, "counts.incomplete: questions answered right but not in full"),
    Field("submitted", INT, "counts.submitted: questions answered at all"),
    Field("incorrect", INT, "counts.incorrect: questions answered wrong"),
    Field("all_correct", BOOLEAN, "counts.all_correct: whether correct equals total"),
    Field("correct", INT, "counts.correct: questions answered right"),
    Field("total", INT, "counts.total: number of questions; null, like the other counts, "
          "where the message has no counts"),
    Field("unanswered", INT, "counts.unanswered: questions not answered"),
), spelled="incomplete submitted incorrect all_correct correct total unanswered")

SEQUENCES = Object((
    Field("questions", Array(QUESTION, at_least=1),
          "the questions in the order in which they were shown"),
    Field("attempt", INT, "sequences.attempt: number of this attempt"),
    Field("id", TEXT, "sequences.id", column="sequences_id"),
    Field("counts", COUNTS, "the results, counted; all seven, or none. They must agree "
          "with each other and with the questions' results", required=False),
), spelled="questions attempt id counts")

MESSAGE = Object((
    Field("keen_timestamp", EPOCH, "when the attempt ended, by the collector's clock"),
    Field("max_attempts", NUMBER_TEXT, "attempts allowed (the source has it as a text)"),
    Field("started_at", TIME, "when the attempt began; agrees with the collector's clock"),
    Field("base_exam_id", TEXT, "the exam"),
    Field("user_exam_id", TEXT, "the source's id of this user's sitting of the exam"),
    Field("sequences", SEQUENCES, "what was asked and answered"),
    Field("keen_created_at", EPOCH, "when the collector stored the event"),
    Field("certification", BOOLEAN_TEXT, "the source's text true or false, or null",
          required=False),
    Field("keen_id", TEXT, "the id that the collector gave the event: the key of `attempts`"),
    Field("exam_name", TEXT, "the exam's name; not unique: some names belong to two exams"),
), spelled="keen_timestamp max_attempts started_at base_exam_id user_exam_id sequences "
           "keen_created_at certification keen_id exam_name")
_EXAM = (
    Column("keen_id", "string", True, "the attempt it belongs to"),
    Column("base_exam_id", "string", True, "the exam"),
    Column("exam_name", "string", True,
           "the exam's name; not unique: some names belong to two exams"),
    Column("question_position", "integer", True,
           "the place at which the question was shown, from 0; it does not identify the question"),
)

# In the order in which a batch commits them. Child rows are committed before their attempt, the
# ledger last: a reader who opens `attempts` first finds every child, and the ledger's highest
# offsets are the committed position.
TABLES: dict[str, tuple[Column, ...]] = {
    "options": (
        *_EXAM,
        Column("question_id", "string", True, QUESTION.fields[0].meaning),
        Column("option_position", "integer", True,
               "the place at which the option was shown, from 0"),
        *_columns(OPTION),
    ),
    "questions": _in_order(
        "keen_id base_exam_id exam_name question_position question_id user_result user_correct "
        "user_incomplete user_submitted option_count",
        *_EXAM,
        *_columns(QUESTION),
        Column("option_count", "integer", True, "number of options shown"),
    ),
    "attempts": _in_order(
        "keen_id user_exam_id base_exam_id exam_name started_at keen_timestamp keen_created_at "
        "certification max_attempts attempt sequences_id total correct incorrect incomplete "
        "unanswered submitted all_correct question_count kafka_partition kafka_offset content_hash",
        *_columns(MESSAGE),
        Column("question_count", "integer", True, "number of questions in the message"),
        Column("kafka_partition", "integer", True, "partition of the accepted message"),
        Column("kafka_offset", "long", True, "offset of the accepted message"),
        Column("content_hash", "string", True,
               "of the accepted message, as in the ledger: tells a repeat from a conflict"),
    ),
    "messages": (
        Column("kafka_partition", "integer", True,
               "with kafka_offset the key of this table: where the record lies in the topic"),
        Column("kafka_offset", "long", True, "the record's offset in its partition"),
        Column("kafka_timestamp", "timestamp", True, "the record's time"),
        Column("key", "binary", False, "the record's key, untouched; null where it has none"),
        Column("value", "binary", False, "the record's value, untouched; null where it has none"),
        Column("keen_id", "string", False, "the message's keen_id, when it could be read"),
        Column("status", "string", True, "accepted, duplicate or rejected"),
        Column("reason", "string", False,
               "null when accepted; otherwise a reason word, a colon and detail"),
        Column("content_hash", "string", False,
               "SHA-256 over the declared fields as compact JSON in the source's order, "
               "nulls left out; null where they could not all be read"),
    ),
}
# fmt: on


def delta_fields(table: str) -> list[dict[str, Any]]:
    """The table's columns as Delta's own schema spells them; Spark reads the same form."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "nullable": not column.required,
            "metadata": {"comment": column.meaning},
        }
        for column in TABLES[table]
    ]
