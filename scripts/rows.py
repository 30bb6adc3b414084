"""From messages to rows: each message is decoded once, judged, and becomes rows of the tables as Arrow columns.

Imported by Spark's workers; pure functions, no service is asked. What is decoded and how it becomes columns follows from
the declaration in message.py.
"""
import hashlib
import re
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Literal, Optional, Union

import msgspec
import numpy
import pyarrow as pa

import verdict
from message import (BOOLEAN, BOOLEAN_TEXT, EPOCH, FLAG, INT, INT_LIMITS, LONG_LIMITS, MESSAGE, NUMBER_TEXT, RESULTS, TABLES, TEXT, TIME,
                     Array, Kind, Object)

ARROW = {"string": pa.string(), "boolean": pa.bool_(), "integer": pa.int32(), "long": pa.int64(), "timestamp": pa.timestamp("us", "UTC"), "binary": pa.binary()}
SCHEMAS = {table: pa.schema([pa.field(column.name, ARROW[column.type], not column.required) for column in columns]) for table, columns in TABLES.items()}


# --- decoding ------------------------------------------------------------------------------------

# What the quick decoder takes for plain: years 1970 to 9999, days that exist, UTC, no more decimals than the tables hold.
# The exact validator decides on everything else. (\Z, not $: that would let a line end pass.)
_DAYS = (r"(?:19[7-9]\d|[2-9]\d{3})-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)")
_PLAIN_TIME = rf"^{_DAYS}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{1,6}})?Z\Z".replace(r"\d", "[0-9]")
_PLAIN = {
    TEXT: str, BOOLEAN: bool, BOOLEAN_TEXT: Literal["true", "false"],
    INT: Annotated[int, msgspec.Meta(ge=INT_LIMITS[0], le=INT_LIMITS[1])], FLAG: Annotated[int, msgspec.Meta(ge=LONG_LIMITS[0], le=LONG_LIMITS[1])],
    TIME: Annotated[str, msgspec.Meta(pattern=_PLAIN_TIME)], EPOCH: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,10}(?:\.[0-9]+)?\Z")],
    NUMBER_TEXT: Annotated[str, msgspec.Meta(pattern=r"^(?:0|[1-9][0-9]{0,8})(?:\.0+)?\Z")],
}
_ANY = _PLAIN | {TIME: str, EPOCH: str, NUMBER_TEXT: str}


def _struct(declared, kinds, name, keeps_null=False):
    """A msgspec type for an object of the declaration. keeps_null: an optional field that is null is encoded as null;
    otherwise it is left out, as one that is absent is."""
    def type_of(kind, name):
        if isinstance(kind, Object):
            return _struct(kind, kinds, name, keeps_null)
        if isinstance(kind, Array):
            return Annotated[list[_struct(kind.element, kinds, name, keeps_null)], msgspec.Meta(min_length=kind.at_least)]
        return kinds[kind]

    fields = []
    for field in declared.fields_as_spelled:
        kind = Literal[field.values] if field.values else type_of(field.kind, field.name)
        if field.required:
            fields.append((field.name, kind))
        elif keeps_null:
            fields.append((field.name, Union[kind, None, msgspec.UnsetType], msgspec.UNSET))
        else:
            fields.append((field.name, Optional[kind], None))
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False)


_decode = msgspec.json.Decoder(_struct(MESSAGE, _PLAIN, "message")).decode
_decode_with_nulls = msgspec.json.Decoder(_struct(MESSAGE, _PLAIN, "message", keeps_null=True)).decode
_ANY_MESSAGE = _struct(MESSAGE, _ANY, "message")
_encode = msgspec.json.Encoder().encode


def plain(value):
    """The message in these bytes and its content in canonical form, when it is plainly valid; None: look closely.

    The decoder refuses unknown fields, other types and everything that is not JSON, but of two equal keys it keeps the
    last. So the keys in the text are counted: each stands before `":`, unless a blank stands between. In the canonical form
    each key stands once; in the text's own strings `":` stands as often as there, unless the quote is spelled \\u0022.
    """
    try:
        message = _decode(value)
        canonical = _encode(message)
        keys = value.count(b'":')
        if canonical.count(b'":') != keys and (b"null" not in value or _encode(_decode_with_nulls(value)).count(b'":') != keys):
            return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if b" :" in value or b"\n:" in value or b"\t:" in value or b"\r:" in value or b"\\u0022" in value:
        return None
    counts = message.sequences.counts
    if counts is not None:
        results = [question.user_result for question in message.sequences.questions]
        total = counts.total
        if (total != len(results) or total != counts.correct + counts.incorrect + counts.incomplete + counts.unanswered or counts.submitted + counts.unanswered != total
                or counts.all_correct != (counts.correct == total) or any(getattr(counts, count) != results.count(result) for result, count in RESULTS.items())):
            return None
    return message, canonical


def examine(value):
    """bytes or None -> (message or None; keen_id or None; content hash, None where the declared fields could not all be
    read; the reason why the message is invalid, or None)"""
    found = plain(value) if value else None
    if found:
        message, canonical = found
        return message, message.keen_id, _hash(canonical), None
    reason, keen_id, content = verdict.examine(value)
    content_hash = None if content is None else _hash(_encode(content))
    if reason:
        return None, keen_id, content_hash, reason
    return msgspec.convert(_in_utc(content, MESSAGE), _ANY_MESSAGE), keen_id, content_hash, None


def _hash(canonical):
    # Control characters are spelled \u001B, as every hash that is landed already has them.
    if b"\\u00" in canonical:
        canonical = re.sub(rb"\\(?:u00..|.)", lambda found: b"\\u" + found[0][2:].upper() if found[0][:3] == b"\\u0" else found[0], canonical)
    return hashlib.sha256(canonical).hexdigest()


def _in_utc(value, declared):
    """A valid message's content with each time in UTC, to the microsecond."""
    if isinstance(declared, Object):
        return {field.name: _in_utc(value[field.name], field.kind) for field in declared.fields if field.name in value}
    if isinstance(declared, Array):
        return [_in_utc(each, declared.element) for each in value]
    return verdict.utc(value) if declared is TIME else value


# --- columns -------------------------------------------------------------------------------------

def _microseconds(epoch):
    """Seconds as text -> microseconds; what is finer is cut off."""
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0"))


# How the value of a field becomes that of its column, where it is not the same.
_CONVERT = {EPOCH: _microseconds, NUMBER_TEXT: lambda text: int(Decimal(text)), BOOLEAN_TEXT: lambda text: text == "true", FLAG: lambda number: number != 0}


def _column(column, elements):
    """The Arrow array of a column, from the structs that its rows are made from."""
    try:
        values = list(map(attrgetter(column.path), elements))
    except AttributeError:  # an optional object on the way is absent
        values = elements
        for name in column.path.split("."):
            values = [None if value is None else getattr(value, name) for value in values]
    convert = _CONVERT.get(column.kind)
    if convert:
        values = [None if value is None else convert(value) for value in values]
    array = pa.array(values, {TIME: pa.string(), EPOCH: pa.int64()}.get(column.kind, ARROW[column.type])).cast(ARROW[column.type])
    return array if column.absent is None else array.fill_null(column.absent)


def _table(name, elements, made):
    """elements: a struct a row; made: the columns that the pipeline makes itself."""
    return pa.table([made[column.name] if column.name in made else _column(column, elements) for column in TABLES[name]], names=SCHEMAS[name].names)


def _repeated(array, of_each):
    """Each value as often as of_each says. As a dictionary: it is written to Parquet as such, and no text is copied."""
    return array.dictionary_encode().take(pa.array(numpy.repeat(numpy.arange(len(array), dtype=numpy.int32), of_each)))


def _positions(of_each):
    """0, 1, … for each: the places of children within their parent."""
    total, begins = int(of_each.sum()), numpy.cumsum(of_each) - of_each
    return pa.array(numpy.arange(total, dtype=numpy.int32) - numpy.repeat(begins, of_each).astype(numpy.int32))


def tables(messages, partitions, offsets, hashes):
    """Valid messages (structs) with their positions and content hashes -> ({table: its rows, in the messages' order}; for
    each message its number of questions, and of options)"""
    questions = [question for message in messages for question in message.sequences.questions]
    options = [option for question in questions for option in question.options]
    question_count = numpy.fromiter((len(message.sequences.questions) for message in messages), dtype=numpy.int64, count=len(messages))
    option_count = numpy.fromiter((len(question.options) for question in questions), dtype=numpy.int64, count=len(questions))
    ends = numpy.concatenate([[0], numpy.cumsum(option_count)])[numpy.concatenate([[0], numpy.cumsum(question_count)])]
    options_a_message = numpy.diff(ends)

    attempts = _table("attempts", messages, {
        "question_count": pa.array(question_count, pa.int32()), "kafka_partition": pa.array(partitions, pa.int32()), "kafka_offset": pa.array(offsets, pa.int64()),
        "content_hash": pa.array(hashes, pa.string())})
    exam = {name: attempts[name].combine_chunks() for name in ("keen_id", "base_exam_id", "exam_name")}
    question_ids = pa.array([question.id for question in questions], pa.string())
    question_positions = _positions(question_count)
    question_rows = _table("questions", questions, {
        **{name: _repeated(array, question_count) for name, array in exam.items()},
        "question_position": question_positions, "option_count": pa.array(option_count, pa.int32())})
    option_rows = _table("options", options, {
        **{name: _repeated(array, options_a_message) for name, array in exam.items()},
        "question_position": _repeated(question_positions, option_count).cast(pa.int32()), "question_id": _repeated(question_ids, option_count),
        "option_position": _positions(option_count)})
    return {"options": option_rows, "questions": question_rows, "attempts": attempts}, question_count, options_a_message
