"""From messages to rows: decodes each message once, validates it, and converts it to Arrow columns.

Imported by Spark's workers. Pure functions without any service. What is decoded, and how it becomes
columns, follows from the declaration in message.py.
"""

import hashlib
import re
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy
import pyarrow as pa

import verdict
from message import (
    BOOLEAN,
    BOOLEAN_TEXT,
    EPOCH,
    FLAG,
    INT,
    INT_LIMITS,
    LONG_LIMITS,
    MESSAGE,
    NUMBER_TEXT,
    RESULTS,
    TABLES,
    TEXT,
    TIME,
    Array,
    Object,
)

ARROW = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "binary": pa.binary(),
}
SCHEMAS = {
    table: pa.schema(
        [pa.field(column.name, ARROW[column.type], not column.required) for column in columns]
    )
    for table, columns in TABLES.items()
}


# --- decoding ------------------------------------------------------------------------------------

# What the fast decoder accepts as a time: years 1970 to 9999, days that exist, UTC, at most six
# decimals. verdict.py decides on everything else. (\Z, because $ also matches before a line end.)
_DAYS = (
    r"(?:19[7-9]\d|[2-9]\d{3})-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_PLAIN_TIME = rf"^{_DAYS}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{1,6}})?Z\Z"
_PLAIN = {
    TEXT: str,
    BOOLEAN: bool,
    BOOLEAN_TEXT: Literal["true", "false"],
    INT: Annotated[int, msgspec.Meta(ge=INT_LIMITS[0], le=INT_LIMITS[1])],
    FLAG: Annotated[int, msgspec.Meta(ge=LONG_LIMITS[0], le=LONG_LIMITS[1])],
    TIME: Annotated[str, msgspec.Meta(pattern=_PLAIN_TIME.replace(r"\d", "[0-9]"))],
    EPOCH: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,10}(?:\.[0-9]+)?\Z")],
    NUMBER_TEXT: Annotated[str, msgspec.Meta(pattern=r"^(?:0|[1-9][0-9]{0,8})(?:\.0+)?\Z")],
}
_ANY = _PLAIN | {TIME: str, EPOCH: str, NUMBER_TEXT: str}


def _struct(declared, kinds, name, keeps_null=False):
    """A msgspec type for an object of the declaration.

    keeps_null: an optional field that is null is encoded as null; otherwise it is left out, as an
    absent one is.
    """

    def type_of(kind, name):
        if isinstance(kind, Object):
            return _struct(kind, kinds, name, keeps_null)
        if isinstance(kind, Array):
            elements = list[_struct(kind.element, kinds, name, keeps_null)]
            return Annotated[elements, msgspec.Meta(min_length=kind.at_least)]
        return kinds[kind]

    fields = []
    for field in declared.fields_as_spelled:
        kind = Literal[field.values] if field.values else type_of(field.kind, field.name)
        if field.required:
            fields.append((field.name, kind))
        elif keeps_null:
            fields.append((field.name, kind | None | msgspec.UnsetType, msgspec.UNSET))
        else:
            fields.append((field.name, kind | None, None))
    return msgspec.defstruct(
        name, fields, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
    )


_decode = msgspec.json.Decoder(_struct(MESSAGE, _PLAIN, "message")).decode
_WITH_NULLS = _struct(MESSAGE, _PLAIN, "message", keeps_null=True)
_decode_with_nulls = msgspec.json.Decoder(_WITH_NULLS).decode
_ANY_MESSAGE = _struct(MESSAGE, _ANY, "message")
_encode = msgspec.json.Encoder().encode


def plain(value: bytes) -> tuple[Any, bytes] | None:
    """The fast path: -> (message, its content in canonical form); None: needs full validation.

    The decoder rejects unknown fields, other types and everything that is not JSON, but it keeps
    the last of duplicate keys. So the keys in the text are counted. A key precedes `":`, unless
    there is whitespace before the colon. The canonical form has each key once. Inside strings, `":`
    is as frequent in the text as in the canonical form, unless the quote is spelled \\u0022.
    """
    try:
        message = _decode(value)
        canonical = _encode(message)
        keys = value.count(b'":')
        if canonical.count(b'":') != keys and (
            b"null" not in value or _encode(_decode_with_nulls(value)).count(b'":') != keys
        ):
            return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    blank = b" :" in value or b"\n:" in value or b"\t:" in value or b"\r:" in value
    if blank or b"\\u0022" in value:
        return None
    counts = message.sequences.counts
    if counts is not None:
        results = [question.user_result for question in message.sequences.questions]
        total = counts.total
        if (
            total != len(results)
            or total != counts.correct + counts.incorrect + counts.incomplete + counts.unanswered
            or counts.submitted + counts.unanswered != total
            or counts.all_correct != (counts.correct == total)
            or any(getattr(counts, its) != results.count(result) for result, its in RESULTS.items())
        ):
            return None
    return message, canonical


def examine(value: bytes | None) -> tuple[Any, str | None, str | None, str | None]:
    """Decodes and validates a record's value.

    -> (message or None; keen_id or None; content hash, None where the declared fields could not all
    be read; the reason why the message is invalid, or None)
    """
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
    # Landed hashes were computed with control characters spelled in upper case: \u001B.
    if b"\\u00" in canonical:
        canonical = re.sub(
            rb"\\(?:u00..|.)",
            lambda found: b"\\u" + found[0][2:].upper() if found[0][:3] == b"\\u0" else found[0],
            canonical,
        )
    return hashlib.sha256(canonical).hexdigest()


def _in_utc(value, declared):
    """A valid message's content with each time in UTC, truncated to microseconds."""
    if isinstance(declared, Object):
        return {
            field.name: _in_utc(value[field.name], field.kind)
            for field in declared.fields
            if field.name in value
        }
    if isinstance(declared, Array):
        return [_in_utc(each, declared.element) for each in value]
    return verdict.utc(value) if declared is TIME else value


# --- columns -------------------------------------------------------------------------------------


def _microseconds(epoch):
    """Seconds as text -> microseconds, truncated."""
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0"))


# Converts the value of a field to that of its column, where they differ.
_CONVERT = {
    EPOCH: _microseconds,
    NUMBER_TEXT: lambda text: int(Decimal(text)),
    BOOLEAN_TEXT: lambda text: text == "true",
    FLAG: lambda number: number != 0,
}


def _column(column, elements):
    """The Arrow array of a column, from a struct per row."""
    try:
        values = list(map(attrgetter(column.path), elements))
    except AttributeError:  # an optional object on the way is absent
        values = elements
        for name in column.path.split("."):
            values = [None if value is None else getattr(value, name) for value in values]
    convert = _CONVERT.get(column.kind)
    if convert:
        values = [None if value is None else convert(value) for value in values]
    arrow_type = ARROW[column.type]
    from_type = {TIME: pa.string(), EPOCH: pa.int64()}.get(column.kind, arrow_type)
    array = pa.array(values, from_type).cast(arrow_type)
    return array if column.absent is None else array.fill_null(column.absent)


def _table(name, elements, made):
    """elements: a struct per row. made: the columns that the pipeline fills itself."""
    columns = [
        made[column.name] if column.name in made else _column(column, elements)
        for column in TABLES[name]
    ]
    return pa.table(columns, names=SCHEMAS[name].names)


def _repeated(array, of_each):
    """Each value of_each times, dictionary-encoded: Parquet stores it so, and no text is copied."""
    places = numpy.repeat(numpy.arange(len(array), dtype=numpy.int32), of_each)
    return array.dictionary_encode().take(pa.array(places))


def _positions(of_each):
    """0, 1, … for each: the places of children within their parent."""
    total, begins = int(of_each.sum()), numpy.cumsum(of_each) - of_each
    places = numpy.arange(total, dtype=numpy.int32)
    return pa.array(places - numpy.repeat(begins, of_each).astype(numpy.int32))


def _lengths(name, elements):
    """The length of the list of this name in each element."""
    return numpy.fromiter(map(len, map(attrgetter(name), elements)), numpy.int64, len(elements))


def tables(
    messages: list, partitions: numpy.ndarray, offsets: numpy.ndarray, hashes: list[str]
) -> tuple[dict[str, pa.Table], numpy.ndarray, numpy.ndarray]:
    """The rows of valid messages (structs), given with their positions and content hashes.

    -> ({table: its rows, in the messages' order}; the number of questions of each message; the
    number of options of each message)
    """
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
    exam = {
        name: attempts[name].combine_chunks() for name in ("keen_id", "base_exam_id", "exam_name")
    }
    question_ids = pa.array([question.id for question in questions], pa.string())
    question_positions = _positions(question_count)
    made = {
        **{name: _repeated(array, question_count) for name, array in exam.items()},
        "question_position": question_positions,
        "option_count": pa.array(option_count, pa.int32()),
    }
    question_rows = _table("questions", questions, made)
    made = {
        **{name: _repeated(array, options_per_message) for name, array in exam.items()},
        "question_position": _repeated(question_positions, option_count).cast(pa.int32()),
        "question_id": _repeated(question_ids, option_count),
        "option_position": _positions(option_count),
    }
    option_rows = _table("options", options, made)
    of_tables = {"options": option_rows, "questions": question_rows, "attempts": attempts}
    return of_tables, question_count, options_per_message
