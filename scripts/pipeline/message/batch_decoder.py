"""Decodes and validates the messages of a batch, as columns. Imported by Spark's workers.

Arrow's JSON reader decodes the usual messages, all at once, into an array whose type follows from
the declaration. All others are examined one by one (decoder.py). Both lead to the same verdict,
content hash and rows.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.message import decoder, validator
from pipeline.message.columns import MESSAGES, Numbers, inner, lengths
from pipeline.message.declaration import COUNTS, MESSAGE, RESULTS, Array, Object
from pipeline.message.kinds import Kind

FEW = 200  # messages: below, the fixed costs of decode are higher than those of examining each
SMALL = 16  # messages that are examined one by one when the reader does not accept one of them
AGAIN = 3  # times that the messages of a batch are read in vain, on average, before _read gives up
_PARSE = pyarrow.json.ParseOptions(
    explicit_schema=pa.schema(list(MESSAGES)), unexpected_field_behavior="error"
)


class Found(NamedTuple):
    """What is known of each value, and the valid messages."""

    keen_ids: list[str | None]
    hashes: list[str | None]
    reasons: list[str | None]
    messages: pa.StructArray  # the valid ones, in any order
    rows: Numbers  # the place of each value's message in them; -1 when the value is invalid


def examine(values: Sequence[bytes | None]) -> Found:
    """Decodes and validates records' values."""
    none: list[str | None] = [None] * len(values)
    keen_ids, hashes, reasons = none.copy(), none.copy(), none.copy()
    usual, messages, its_hashes = decode(values if len(values) >= FEW else ())
    its_keen_ids = inner(messages, "keen_id").to_pylist()
    for place, keen_id, content_hash in zip(usual, its_keen_ids, its_hashes, strict=True):
        keen_ids[place], hashes[place] = keen_id, content_hash
    places, texts = [*usual], []
    for place, value in enumerate(values):
        if keen_ids[place] is None:
            text, keen_ids[place], hashes[place], reasons[place] = decoder.examine(value)
            if text is not None:
                places.append(place)
                texts.append(text)
    if texts:
        messages = pa.concat_arrays([messages, _parsed(texts)])
    rows = numpy.full(len(values), -1)
    rows[places] = numpy.arange(len(places))
    return Found(keen_ids, hashes, reasons, messages, rows)


def decode(values: Sequence[bytes | None]) -> tuple[list[int], pa.StructArray, list[str]]:
    """Decodes and validates the usual messages.

    Returns their places in values, the messages, and their content hashes. A message that is not
    among them may be valid, too.
    """
    given = ((place, value) for place, value in enumerate(values) if value)
    candidates = {place: value for place, value in given if _may_be_usual(value)}
    read, messages = _read([*candidates.values()])
    if not read:
        return [], messages, []
    wrong = {*_misfits(messages, MESSAGE), *_contradictions(messages)}
    if wrong:
        fits = [place not in wrong for place in range(len(read))]
        read, messages = [*itertools.compress(read, fits)], messages.filter(pa.array(fits))
    contents = _joined(_spelled(messages, MESSAGE)).cast(pa.binary()).to_pylist()
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    places = [*candidates]
    return [places[place] for place in read], messages, hashes


def _may_be_usual(value: bytes) -> bool:
    """Whether _read may be given the value.

    It starts and ends with a brace, as _parsed needs it. It has no escape sequence, so that a text
    in JSON is the text itself between quotes. It has no NUL, which ends the reader's input, and is
    valid UTF-8, which the reader does not check.
    """
    trimmed = value.strip(b" \t\r\n")
    if trimmed[:1] != b"{" or trimmed[-1:] != b"}" or b"\\" in value or b"\0" in value:
        return False
    try:
        return value.isascii() or bool(value.decode())
    except UnicodeDecodeError:
        return False


def _read(texts: Sequence[bytes]) -> tuple[list[int], pa.StructArray]:
    """Reads the texts that the reader accepts: their places, and the messages.

    The reader fails at the first text that it does not accept, and does not always tell its row.
    Then fewer texts are read at once, until only a few around that text are left out.
    """
    read: list[int] = []
    parts, begin, size, more = [pa.array([], MESSAGES)], 0, len(texts), AGAIN * len(texts)
    while begin < len(texts) and more >= 0:
        end = min(begin + size, len(texts))
        try:
            parts.append(_parsed(texts[begin:end]))
            read += range(begin, end)
            begin, size = end, 2 * size
        except pa.ArrowException as error:
            row = re.search(r" in row ([0-9]+)", str(error))
            before = min(int(row[1]), end - begin - 1) if row else (end - begin) // 2
            more -= before if row else end - begin
            if before >= SMALL:
                size = before // SMALL * SMALL
            else:
                begin, size = begin + SMALL, max(size // 2, SMALL)
    return read, parts[-1] if len(parts) == 2 else pa.concat_arrays(parts)


def _parsed(texts: Sequence[bytes]) -> pa.StructArray:
    """Reads messages as an array. Raises a pa.ArrowException when the reader does not accept one.

    The reader is given all texts as one, and does not tell where a row comes from; but each text
    makes exactly one row. A text ends with a brace, then comes a line end, then a brace: that is
    valid JSON only between two rows (within a string, a line end is not). So each text makes at
    least one row, and there are as many rows as texts.
    """
    data = b"\n".join([*texts, b""])
    options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(data))
    table = pyarrow.json.read_json(pa.BufferReader(data), options, _PARSE)
    if len(table) != len(texts):
        raise pa.ArrowInvalid(f"{len(table)} rows of {len(texts)} texts")
    return table.combine_chunks().to_struct_array().chunk(0)


def _misfits(elements: pa.StructArray, declared: Object) -> Numbers:
    """The places of elements that are not as declared: required fields, usual texts, values."""
    found = [numpy.empty(0, int)]
    for field in declared.fields:
        values = inner(elements, field.name)
        if field.required and values.null_count:
            found.append(_true(pc.and_(elements.is_valid(), values.is_null())))
        if isinstance(field.kind, Object):
            found.append(_misfits(values, field.kind))
        elif isinstance(field.kind, Array):
            if field.kind.at_least:
                found.append(_true(pc.less(pc.list_value_length(values), field.kind.at_least)))
            inside = values.flatten()
            wrong = [_misfits(inside, field.kind.element), _true(inside.is_null())]
            parents = pc.list_parent_indices(values).to_numpy()
            found.append(parents[numpy.concatenate(wrong)])
        else:
            if field.values:
                allowed = pc.is_in(values, pa.array([*field.values, None]))
                found.append(_true(pc.invert(allowed)))
            if field.kind.usual:
                found.append(_true(pc.invert(matches(values, field.kind))))
    return numpy.concatenate(found)


def matches(texts: pa.StringArray, kind: Kind) -> pa.BooleanArray:
    """Which texts are usual ones of this kind."""
    return pc.match_substring_regex(texts, f"^(?:{kind.usual})$")


def _true(mask: pa.BooleanArray) -> Numbers:
    """The places that are true."""
    return numpy.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))


def _contradictions(messages: pa.StructArray) -> Numbers:
    """The places of messages whose counts disagree."""
    questions, counts = (inner(messages, f"sequences.{name}") for name in ("questions", "counts"))
    results = pc.index_in(inner(questions.flatten(), "user_result"), pa.array(RESULTS))
    result = results.fill_null(len(RESULTS)).to_numpy()
    shape = len(messages), len(RESULTS) + 1
    number = pc.list_parent_indices(questions).to_numpy() * shape[1] + result
    found = numpy.bincount(number, minlength=shape[0] * shape[1]).reshape(shape)
    given = [inner(counts, each.name).cast(pa.int64()) for each in COUNTS.fields]
    columns = [each.fill_null(0).to_numpy() for each in given]
    rows = numpy.column_stack([*columns, found]).tolist()
    wrong = numpy.fromiter((_disagree(tuple(row)) for row in rows), bool, len(rows))
    return numpy.flatnonzero(wrong & counts.is_valid().to_numpy(zero_copy_only=False))


@functools.lru_cache(10_000)  # many messages have the same numbers
def _disagree(row: tuple[int, ...]) -> bool:
    """row: the values of COUNTS, then how many questions have each of RESULTS, and none."""
    names = [each.name for each in COUNTS.fields]
    found = zip([*RESULTS, None], row[len(names) :], strict=True)
    results = [result for result, number in found for _ in range(number)]
    counts = SimpleNamespace(**dict(zip(names, row, strict=False)))
    return validator.disagreement(counts, results) is not None


# --- the messages as the content hash needs them --------------------------------------------------

Piece: TypeAlias = Any  # of texts: a str, the same in all, or an array, a part of each


def _spelled(
    values: pa.Array, declared: Object | Array | Kind, before: str = "", after: str = ""
) -> Iterator[Piece]:
    """The pieces of the values as JSON: declared fields in the source's order, without nulls."""
    if isinstance(declared, Object):
        fields = declared.fields_as_spelled
        # A comma follows each member before the first required one, and precedes those behind it.
        # (Each object has a required field.)
        first = next(number for number, field in enumerate(fields) if field.required)
        yield before + "{"
        for number, field in enumerate(fields):
            name, comma = "," * (number > first) + f'"{field.name}":', "," * (number < first)
            member = inner(values, field.name)
            pieces = _spelled(member, field.kind, name, comma)
            yield from _where(member.is_valid(), pieces) if member.null_count else pieces
        yield "}" + after
    elif isinstance(declared, Array):
        elements = _joined(_spelled(values.flatten(), declared.element))
        ends = numpy.concatenate([[0], numpy.cumsum(lengths(values))])
        lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), elements)
        yield from (before + "[", pc.binary_join(lists, ","), "]" + after)
    elif declared.json is bool:
        yield pc.if_else(values, f"{before}true{after}", f"{before}false{after}")
    else:
        quote = '"' if declared.json is str else ""
        yield from (before + quote, values.cast(pa.string()), quote + after)


def _where(valid: pa.BooleanArray, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces, null where a value is not valid."""
    for piece in _merged(pieces):
        yield pc.if_else(valid, piece, None) if isinstance(piece, str) else piece


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces with neighbouring texts as one."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        if text:
            yield text
        yield piece
        text = ""
    if text:
        yield text


def _joined(pieces: Iterable[Piece]) -> pa.StringArray:
    """The texts of the pieces; what is null is left out."""
    return pc.binary_join_element_wise(*_merged(pieces), "", null_handling="skip")
