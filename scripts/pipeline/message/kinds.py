"""The kinds of single values: all that is known about each of them.

A new kind is one entry here; the fields that have it stand in declaration.py.

Imports neither Arrow nor a client, because scripts that need only the declaration start faster so.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from msgspec import Meta

INT_LIMITS, LONG_LIMITS = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
EPOCH_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
LAST_SECOND = 253402300799  # of the year 9999


class Number:
    """A JSON number as it was spelt. Python would round it, or take minutes over 1e999999999."""

    def __init__(self, text: str):
        self.text = text

    def whole(self, limits: tuple[int, int]) -> int | None:
        """The number when it is a whole one within the limits; otherwise None."""
        try:
            value = Decimal(self.text)
            if value and value.adjusted() > 20:
                return None
            fits = value == value.to_integral_value() and limits[0] <= value <= limits[1]
            return int(value) if fits else None
        except InvalidOperation:
            return None


@dataclass(frozen=True, eq=False)
class Kind:
    """The type of a single value."""

    json: type  # in parsed JSON
    words: str  # what a verdict expects instead of another type
    plain: Any  # msgspec's type for usual spellings only; the validator decides on others
    column: str  # the type of its column, as Delta spells it
    schema: dict[str, Any]  # JSON Schema
    # A value of type json -> as the content hash has it; None when it does not fit.
    read: Callable[[Any], Any] = lambda value: value
    reason: str = "wrong_type"  # of the verdict on a value that does not fit
    expected: str = ""  # what that verdict expects instead; empty: words
    usual: str = ""  # a pattern that usual texts match as a whole, in Python and RE2; empty: all do
    decoded: str = "string"  # the type of valid values in a batch of messages, as Delta spells it
    # From a valid value to that of the column, in two steps. Without convert, Arrow casts decoded
    # to column.
    normalise: Callable[[Any], Any] | None = None  # any valid spelling -> one for the next step
    convert: Callable[[Any], Any] | None = None
    form: str = ""  # what the JSON Schema's description adds for publishers


_YEAR, _CLOCK = r"19[7-9][0-9]|[2-9][0-9]{3}", r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_DATE = rf"(1969|{_YEAR})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_ZONE = r"(Z|[+-](0[0-9]|1[0-7]):[0-5][0-9]|[+-]18:00)"  # as far as java.time's limit
_TIME = rf"^{_DATE}{_CLOCK}(\.[0-9]+)?{_ZONE}$"
# Arrow parses a time in UTC with at most six decimals, and fails on a day that does not exist.
_DAY = r"(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31"
_USUAL_TIME = rf"({_YEAR})-({_DAY}){_CLOCK}(\.[0-9]{{1,6}})?Z"


def utc(text: str) -> str | None:
    """The time in UTC, truncated to microseconds: 2018-01-23T14:23:19.082000Z; None if invalid."""
    match = re.fullmatch(_TIME, text)
    if not match:
        return None
    try:
        moment = datetime.fromisoformat(text[:19] + match[6].replace("Z", "+00:00"))
    except ValueError:  # no such day
        return None
    seconds = (moment - EPOCH_BEGIN) // timedelta(seconds=1)
    if not 0 <= seconds <= LAST_SECOND:
        return None
    shown = (EPOCH_BEGIN + timedelta(seconds=seconds)).isoformat()[:19]
    return f"{shown}.{(match[5] or '')[1:7].ljust(6, '0')}Z"


def _microseconds(epoch: str) -> int:
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0"))


_EPOCH = r"^[0-9]{1,12}(\.[0-9]+)?$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _usually(pattern: str) -> dict[str, Any]:
    """Texts that match the pattern."""
    pattern = pattern.replace("(", "(?:")  # capturing costs time
    # \Z, because $ also matches before a line end.
    return {"plain": Annotated[str, Meta(pattern=rf"^(?:{pattern})\Z")], "usual": pattern}


def _text_if(fits: Callable[[str], object]) -> Callable[[str], str | None]:
    return lambda text: text if fits(text) else None


def _whole(least: int, most: int) -> dict[str, Any]:
    return {
        "json": Number,
        "plain": Annotated[int, Meta(ge=least, le=most)],
        "decoded": "integer" if (least, most) == INT_LIMITS else "long",
        "schema": {"type": "integer", "minimum": least, "maximum": most},
        "read": lambda number: number.whole((least, most)),
    }


# fmt: off
TEXT = Kind(str, "a text", plain=str, column="string", schema={"type": "string"})
BOOLEAN = Kind(
    bool, "true or false", plain=bool, decoded="boolean",
    column="boolean", schema={"type": "boolean"},
)
INT = Kind(words="a whole number of 32 bits", column="integer", **_whole(*INT_LIMITS))
FLAG = Kind(
    words="a whole number", column="boolean", **_whole(*LONG_LIMITS),
    convert=lambda number: number != 0,
    form="a whole number: 0 means no, any other yes",
)
TIME = Kind(
    str, "a text with a time in it", column="timestamp", **_usually(_USUAL_TIME),
    schema={"type": "string", "format": "date-time", "pattern": _TIME},
    read=_text_if(utc), reason="bad_timestamp",
    expected='a time with its zone in the years 1970 to 9999, such as "2018-01-23T14:23:19.082Z"',
    normalise=utc,
    form="date, T, time, and the zone as Z or +hh:mm; the years 1970 to 9999, no leap second",
)
EPOCH = Kind(
    str, "a text with a time in it", **_usually(r"[0-9]{1,10}(\.[0-9]+)?"),
    column="timestamp", schema={"type": "string", "pattern": _EPOCH},
    read=_text_if(lambda text: re.fullmatch(_EPOCH, text)
                  and int(text.partition(".")[0]) <= LAST_SECOND),
    reason="bad_timestamp",
    expected='seconds since 1970 in the years 1970 to 9999, such as "1516717442.735266"',
    convert=_microseconds,
    form="seconds since 1970 in UTC, a text with up to 12 digits before the point; "
         "the years 1970 to 9999",
)
NUMBER_TEXT = Kind(
    str, "a text of a number", **_usually(r"(0|[1-9][0-9]{0,8})(\.0+)?"),
    column="integer", schema={"type": "string", "pattern": _NUMBER},
    read=_text_if(lambda text: re.fullmatch(_NUMBER, text)
                  and Number(text).whole(INT_LIMITS) is not None),
    expected='the text of a whole number, such as "1.0"',
    convert=lambda text: int(Decimal(text)),
    form='the text of a whole number of 32 bits, such as "1.0"',
)
BOOLEAN_TEXT = Kind(
    str, "a text of a boolean", **_usually("true|false"),
    column="boolean", schema={"enum": ["true", "false"]},
    read=_text_if(("true", "false").__contains__), expected='the text "true" or "false"',
    convert=lambda text: text == "true",
    form='the text "true" or "false"',
)
# fmt: on
