"""From decoded messages to the columns of the tables, as Arrow. Imported by Spark's workers."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy
import pyarrow as pa

from pipeline.message.declaration import TABLES, Column

ARROW = {  # Delta's name of a type -> Arrow's type
    "string": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "binary": pa.binary(),
}
SCHEMAS = {
    table: pa.schema([pa.field(each.name, ARROW[each.type], not each.required) for each in columns])
    for table, columns in TABLES.items()
}
EXAM = "keen_id", "base_exam_id", "exam_name"  # columns that questions and options have, too
Numbers = numpy.ndarray


class Rows(NamedTuple):
    tables: dict[str, pa.Table]  # in the messages' order
    questions: Numbers  # how many of them each message has
    options: Numbers


def tables(
    messages: Sequence[Any], partitions: Numbers, offsets: Numbers, hashes: Sequence[str | None]
) -> Rows:
    """The rows of valid messages (structs), given with their positions and content hashes."""
    questions = [question for message in messages for question in message.sequences.questions]
    options = [option for question in questions for option in question.options]
    question_count = _lengths("sequences.questions", messages)
    option_count = _lengths("options", questions)
    question_ends = numpy.concatenate([[0], numpy.cumsum(question_count)])
    option_ends = numpy.concatenate([[0], numpy.cumsum(option_count)])
    options_per_message = numpy.diff(option_ends[question_ends])

    made = {
        "question_count": pa.array(question_count, pa.int32()),
        "kafka_partition": pa.array(partitions, pa.int32()),
        "kafka_offset": pa.array(offsets, pa.int64()),
        "content_hash": pa.array(hashes, pa.string()),
    }
    attempts = _table("attempts", messages, made)
    exam = {name: attempts[name].combine_chunks() for name in EXAM}
    positions = _positions(question_count)
    made = {
        **{name: _repeated(array, question_count) for name, array in exam.items()},
        "question_position": positions,
        "option_count": pa.array(option_count, pa.int32()),
    }
    question_rows = _table("questions", questions, made)
    made = {
        **{name: _repeated(array, options_per_message) for name, array in exam.items()},
        "question_position": _repeated(positions, option_count).cast(pa.int32()),
        "question_id": _repeated(question_rows["question_id"].combine_chunks(), option_count),
        "option_position": _positions(option_count),
    }
    option_rows = _table("options", options, made)
    of_tables = {"options": option_rows, "questions": question_rows, "attempts": attempts}
    return Rows(of_tables, question_count, options_per_message)


def _table(name: str, elements: Sequence[Any], made: dict[str, pa.Array]) -> pa.Table:
    """elements: a struct per row. made: the columns that the pipeline fills itself."""
    others = {each.name: _column(each, elements) for each in TABLES[name] if each.name not in made}
    return pa.table(made | others).select(SCHEMAS[name].names)


def _column(column: Column, elements: Sequence[Any]) -> pa.Array:
    assert column.kind, column
    try:
        values = list(map(attrgetter(column.path), elements))
    except AttributeError:  # an optional object on the way is absent
        values = list(elements)
        for name in column.path.split("."):
            values = [None if value is None else getattr(value, name) for value in values]
    if convert := column.kind.convert:
        values = [None if value is None else convert(value) for value in values]
    array = pa.array(values, ARROW[column.kind.cast_from or column.type]).cast(ARROW[column.type])
    return array if column.absent is None else array.fill_null(column.absent)


def _lengths(name: str, elements: Sequence[Any]) -> Numbers:
    return numpy.fromiter(map(len, map(attrgetter(name), elements)), numpy.int64, len(elements))


def _positions(of_each: Numbers) -> pa.Array:
    """0, 1, … for each: the places of children within their parent."""
    begins = numpy.repeat(numpy.cumsum(of_each) - of_each, of_each)
    return pa.array((numpy.arange(len(begins)) - begins).astype(numpy.int32))


def _repeated(array: pa.Array, of_each: Numbers) -> pa.Array:
    """Each value of_each times, dictionary-encoded: Parquet stores it so, and no text is copied."""
    places = numpy.repeat(numpy.arange(len(array), dtype=numpy.int32), of_each)
    return array.dictionary_encode().take(pa.array(places))
