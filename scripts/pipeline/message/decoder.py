"""Decodes and validates one message. Imported by Spark's workers.

A batch's usual messages are decoded together (batch_decoder.py), all others here, one by one: by
msgspec, into structs whose types follow from the declaration, and if that fails by the validator.
"""

import hashlib
import re
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, MsgspecError, UnsetType

from pipeline.message import validator
from pipeline.message.declaration import MESSAGE, Array, Object
from pipeline.message.kinds import Kind


class Examined(NamedTuple):
    # The valid message as JSON, each value normalised (Kind.normalise); None when it is invalid.
    text: bytes | None
    keen_id: str | None  # None where it could not be read
    content_hash: str | None  # None where the declared fields could not all be read
    reason: str | None  # why it is invalid


def _struct(declared: Object, name: str, absent: object = None) -> Any:
    """A msgspec type for an object of the declaration.

    absent: an absent field's value, which is not encoded. UNSET: null is encoded as null.
    """

    def type_of(kind: Object | Array | Kind, name: str) -> Any:
        if isinstance(kind, Object):
            return _struct(kind, name, absent)
        if isinstance(kind, Array):
            element = _struct(kind.element, name, absent)
            return Annotated[list[element], Meta(min_length=kind.at_least)]  # type: ignore[valid-type]
        return kind.plain

    fields: list[Any] = []
    for field in declared.fields_as_spelled:
        kind = Literal[field.values] if field.values else type_of(field.kind, field.name)
        optional = (kind | None | UnsetType, absent)
        fields.append((field.name, kind) if field.required else (field.name, *optional))
    return msgspec.defstruct(
        name, fields, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
    )


_decode = msgspec.json.Decoder(_struct(MESSAGE, "message")).decode
_decode_with_nulls = msgspec.json.Decoder(_struct(MESSAGE, "message", absent=UNSET)).decode
encode = msgspec.json.Encoder().encode


def plain(value: bytes) -> tuple[Any, bytes] | None:
    """Decodes and validates a message in one of the usual spellings.

    Returns the message and its content, encoded as the content hash needs it: each declared field
    once, in the source's order, nulls left out. Returns None for every other message, valid or not.

    The decoder does not reject a key that is twice in an object; so the keys of the text are
    counted. Each is followed by `":`, as is each key of the encoded content, which has none twice.
    If the numbers are equal, the text has none twice either. They also differ when an optional
    field is null: then the content is encoded with its nulls. A string may contain `":` too, and
    has it in both, unless the text has the quote as \\u0022 or the colon as \\u003a. White space
    between a key and its colon would hide the key.
    """
    try:
        message = _decode(value)
        canonical = encode(message)
        keys = value.count(b'":')
        if canonical.count(b'":') != keys and (
            b"null" not in value or encode(_decode_with_nulls(value)).count(b'":') != keys
        ):
            return None
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    blank = b" :" in value or b"\n:" in value or b"\t:" in value or b"\r:" in value
    if blank or b"\\u0022" in value or b"\\u003a" in value or b"\\u003A" in value:
        return None
    counts, questions = message.sequences.counts, message.sequences.questions
    if counts and validator.disagreement(counts, [each.user_result for each in questions]):
        return None
    return message, canonical


def examine(value: bytes | None) -> Examined:
    """Decodes and validates a record's value."""
    if value and (found := plain(value)):
        message, canonical = found
        return Examined(canonical, message.keen_id, _hash(canonical), None)
    reason, keen_id, content = validator.examine(value)
    content_hash = None if content is None else _hash(encode(content))
    text = None if reason else encode(_normalised(content, MESSAGE))
    return Examined(text, keen_id, content_hash, reason)


def _hash(canonical: bytes) -> str:
    # Landed hashes were computed with control characters spelled in upper case: \u001B.
    if b"\\u00" in canonical:
        canonical = re.sub(
            rb"\\(?:u00..|.)",
            lambda found: b"\\u" + found[0][2:].upper() if found[0][:3] == b"\\u0" else found[0],
            canonical,
        )
    return hashlib.sha256(canonical).hexdigest()


def _normalised(value: Any, declared: Object | Array | Kind) -> Any:
    """A valid message's content with the values that columns.py converts: times in UTC."""
    if isinstance(declared, Object):
        return {
            field.name: _normalised(value[field.name], field.kind)
            for field in declared.fields
            if field.name in value
        }
    if isinstance(declared, Array):
        return [_normalised(each, declared.element) for each in value]
    return declared.normalise(value) if declared.normalise else value
