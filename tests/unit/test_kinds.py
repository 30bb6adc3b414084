"""What the kinds of single values say of the same text: exactly, quickly, and as JSON Schema."""

import re

import msgspec
import pyarrow as pa
import pytest

from pipeline.message import kinds
from pipeline.message.batch_decoder import matches
from pipeline.message.kinds import EPOCH, NUMBER_TEXT, TIME, utc

KINDS = {name: kind for name, kind in vars(kinds).items() if isinstance(kind, kinds.Kind)}


@pytest.mark.parametrize(
    "text, moment",
    [
        ("2018-01-23T14:23:19Z", "2018-01-23T14:23:19.000000Z"),
        ("2018-01-23T14:23:19.0829999Z", "2018-01-23T14:23:19.082999Z"),
        ("2018-01-23T14:23:19.082+02:30", "2018-01-23T11:53:19.082000Z"),
        ("1969-12-31T19:00:00-05:00", "1970-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2016-02-29T00:00:00-18:00", "2016-02-29T18:00:00.000000Z"),
        ("2018-02-29T00:00:00Z", None),
        ("1970-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("2018-01-23T14:23:19+18:01", None),
        ("2018-01-23T14:23:60Z", None),
        ("2018-01-23T24:00:00Z", None),
        ("2018-01-23T14:23:19", None),
        ("2018-01-23T14:23:19Z\n", None),
    ],
)
def test_a_time_in_utc(text, moment):
    assert utc(text) == moment


# Texts that are near the borders of what the kinds allow.
TEXTS = [
    *("2018-01-23T14:23:19.082Z", "2018-02-29T00:00:00Z", "2016-02-29T00:00:00Z", "1969-12-31T"),
    *("1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2018-01-23T14:23:19.1234567Z"),
    *("2018-01-23T14:23:19Z\n", "2018-01-23T14:23:19+01:00", "2018-01-23 14:23:19Z"),
    *("1516717442.7352669", "0", "9999999999.9", "253402300799.5", "253402300800", "5.", ".5"),
    *("1516717442\n", "-1", "1234567890123", "1.0", "1.5", "1e2", "-0", "01", "2147483647"),
    *("2147483648", "2147483648.0", "999999999.00", "1.0\n", "١", "true", "false", "True", ""),
]


@pytest.mark.parametrize("name", KINDS)
def test_what_the_fast_decoder_takes_is_valid_and_the_schema_allows_what_is_valid(name):
    kind = KINDS[name]
    pattern = re.compile(kind.schema.get("pattern", ""))
    taken = 0
    for text in TEXTS if kind.json is str else ():
        try:
            msgspec.convert(text, kind.plain)
            assert kind.read(text) == text
            taken += 1
        except msgspec.ValidationError:
            pass
        if kind.read(text) is not None:
            assert pattern.search(text) and text in kind.schema.get("enum", [text])
    assert taken >= 2 or kind.json is not str


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.usual])
def test_both_fast_decoders_take_the_same_texts(name):
    """One searches with Python, the other with RE2."""
    kind = KINDS[name]
    texts = [*TEXTS, *(text + "\n" for text in TEXTS), *(f"\n{text}" for text in TEXTS)]
    for text, taken in zip(texts, matches(pa.array(texts), kind).to_pylist(), strict=True):
        try:
            assert msgspec.convert(text, kind.plain) == text and taken
        except msgspec.ValidationError:
            assert not taken


@pytest.mark.parametrize("kind", [TIME, EPOCH, NUMBER_TEXT])
def test_a_line_end_behind_a_value_is_not_overlooked(kind):
    """In Python `$` also matches before a line end."""
    value = next(text for text in TEXTS if kind.read(text))
    assert kind.read(value + "\n") is None
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value + "\n", kind.plain)
