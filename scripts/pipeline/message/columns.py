"""From a batch of decoded messages to the columns of the tables. Imported by Spark's workers."""

from typing import NamedTuple

import numpy
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.message.declaration import MESSAGE, TABLES, Array, Column, Object
from pipeline.message.kinds import Kind

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


def _type(declared: Object | Array | Kind) -> pa.DataType:
    if isinstance(declared, Object):
        return pa.struct([(each.name, _type(each.kind)) for each in declared.fields_as_spelled])
    if isinstance(declared, Array):
        return pa.list_(_type(declared.element))
    return ARROW[declared.decoded]


MESSAGES = _type(MESSAGE)  # the type of an array of messages


class Rows(NamedTuple):
    tables: dict[str, pa.Table]  # in the messages' order
    questions: Numbers  # how many of them each message has
    options: Numbers


def tables(
    messages: pa.StructArray, partitions: Numbers, offsets: Numbers, hashes: list[str | None]
) -> Rows:
    """The rows of valid messages (type MESSAGES), given with their positions and content hashes."""
    in_messages = inner(messages, "sequences.questions")
    questions = in_messages.flatten()
    in_questions = inner(questions, "options")
    options = in_questions.flatten()
    question_count, option_count = lengths(in_messages), lengths(in_questions)
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


def _table(name: str, elements: pa.StructArray, made: dict[str, pa.Array]) -> pa.Table:
    """elements: a struct per row. made: the columns that the pipeline fills itself."""
    others = {each.name: _column(each, elements) for each in TABLES[name] if each.name not in made}
    return pa.table(made | others).select(SCHEMAS[name].names)


def _column(column: Column, elements: pa.StructArray) -> pa.Array:
    assert column.kind, column
    array = inner(elements, column.path)
    if convert := column.kind.convert:
        distinct = array.dictionary_encode()
        values = map(convert, distinct.dictionary.to_pylist())
        array = pa.array(values, ARROW[column.type]).take(distinct.indices)
    array = array.cast(ARROW[column.type])
    return array if column.absent is None else array.fill_null(column.absent)


def inner(elements: pa.StructArray, path: str) -> pa.Array:
    """The values at a path, such as "sequences.counts"; null where an object on the way is null."""
    return pc.struct_field(elements, path.split("."))


def lengths(lists: pa.ListArray) -> Numbers:
    return numpy.asarray(pc.list_value_length(lists).fill_null(0))


def _positions(of_each: Numbers) -> pa.Array:
    """0, 1, … for each: the places of children within their parent."""
    begins = numpy.repeat(numpy.cumsum(of_each) - of_each, of_each)
    return pa.array((numpy.arange(len(begins)) - begins).astype(numpy.int32))


def _repeated(array: pa.Array, of_each: Numbers) -> pa.Array:
    """Each value of_each times, dictionary-encoded: Parquet stores it so, and no text is copied."""
    places = numpy.repeat(numpy.arange(len(array), dtype=numpy.int32), of_each)
    return array.dictionary_encode().take(pa.array(places))
