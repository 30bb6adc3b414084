"""Full validation of one message, with the exact error.

The rules and their order are those of docs/tables.md (Verdicts). Used by landing and reprocessing
(in Spark's workers), by make validate, and when publishing compares the file with the topic.
Uses only the standard library and message.py.
"""

import json
import re
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

import message
from message import RESULTS, Array, Object

MAX_DEPTH = 1000

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)
_EPOCH_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_SECOND = 253402300799  # of the year 9999
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
# Half a surrogate pair, or a whole one: only an escape sequence can put either into a text.
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class _NotJson(ValueError):
    pass


class _Number:
    """A JSON number as it was spelt. Python would round it, or take minutes over 1e999999999."""

    def __init__(self, text):
        self.text = text

    def whole(self, limits):
        """The number when it is a whole one within the limits; otherwise None."""
        try:
            value = Decimal(self.text)
            if value and value.adjusted() > 20:
                return None
            fits = value == value.to_integral_value() and limits[0] <= value <= limits[1]
            return int(value) if fits else None
        except InvalidOperation:
            return None


def _object(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise _NotJson(f"the key {_show(key)} stands twice in one object")
        found[key] = value
    return found


def _no_constant(word):
    raise _NotJson(f"{word} is no JSON")


def _show(value):
    """A value for an error message: short, and ASCII, so that it cannot control a terminal."""
    text = _spell(value).replace("\x7f", "\\u007f")
    return text if len(text) <= 60 else text[:57] + "..."


def _spell(value):
    if isinstance(value, _Number):
        return value.text
    if isinstance(value, list):
        return "[" + ", ".join(map(_spell, value)) + "]"
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_spell(inner)}" for name, inner in value.items())
        return "{" + ", ".join(members) + "}"
    return json.dumps(value)


def _depth(text):
    deepest = depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def parse(text: str) -> Any:
    """Parses JSON, each number as a _Number. Raises a ValueError with the reason of not_json."""
    # Counting all brackets, even those in texts, is quick and enough for nearly every message.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise _NotJson(f"it is nested more than {MAX_DEPTH:,} levels deep")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_constant,
        )
    except _NotJson:
        raise
    except ValueError as error:
        raise _NotJson(str(error)) from None
    if _HALF_A_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False, default=lambda number: None).encode()
        except UnicodeEncodeError:
            raise _NotJson("a text holds half a surrogate pair, which is no character") from None
    return value


def _kind(value):
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "a text", bool: "a boolean"}
    return (names | {_Number: "a number"})[type(value)]


class _Findings:
    """The errors found, by reason; of each reason the first in the order of the declaration."""

    def __init__(self):
        self.by_reason = {}

    def add(self, reason, detail):
        self.by_reason.setdefault(reason, detail)

    def walk(self, value, declared, path):
        """Checks a value against its declaration.

        -> the value with declared fields only, in the order of the content hash, and plain numbers
        """
        if isinstance(declared, Object):
            if not isinstance(value, dict):
                return self.wrong(path, value, "an object")
            clean = {}
            for field in declared.fields:
                inner = f"{path}.{field.name}" if path else field.name
                if value.get(field.name) is None:
                    if field.required:
                        state = "null" if field.name in value else "absent"
                        self.add("missing", f"{inner} is {state}")
                else:
                    clean[field.name] = self.walk(value[field.name], field.kind, inner)
            names = (field.name for field in declared.fields_as_spelled)
            return {name: clean[name] for name in names if name in clean}
        if isinstance(declared, Array):
            if not isinstance(value, list):
                return self.wrong(path, value, "an array")
            if len(value) < declared.at_least:
                self.add("missing", f"{path} is empty, at least one is required")
            clean = []
            for number, element in enumerate(value):
                inner = f"{path}[{number}]"
                if element is None:
                    self.add("missing", f"{inner} is null")
                else:
                    clean.append(self.walk(element, declared.element, inner))
            return clean
        return self.leaf(value, declared, path)

    def wrong(self, path, value, expected):
        self.add("wrong_type", f"{path} is {_kind(value)} ({_show(value)}), expected {expected}")

    def leaf(self, value, kind, path):
        if kind is message.BOOLEAN:
            return value if isinstance(value, bool) else self.wrong(path, value, "true or false")
        if kind in (message.INT, message.FLAG):
            limits = message.INT_LIMITS if kind is message.INT else message.LONG_LIMITS
            whole = value.whole(limits) if isinstance(value, _Number) else None
            return self.wrong(path, value, f"a {kind.words}") if whole is None else whole
        if not isinstance(value, str):
            has_time = kind in (message.TIME, message.EPOCH)
            return self.wrong(
                path, value, "a text with a time in it" if has_time else f"a {kind.words}"
            )
        if kind is message.NUMBER_TEXT and not (
            _NUMBER.fullmatch(value) and _Number(value).whole(message.INT_LIMITS) is not None
        ):
            return self.wrong(path, value, 'the text of a whole number, such as "1.0"')
        if kind is message.BOOLEAN_TEXT and value not in ("true", "false"):
            return self.wrong(path, value, 'the text "true" or "false"')
        if kind is message.TIME and utc(value) is None:
            expected = (
                'a time with its zone in the years 1970 to 9999, such as "2018-01-23T14:23:19.082Z"'
            )
            self.add("bad_timestamp", f"{path} is {_show(value)}, expected {expected}")
        if kind is message.EPOCH and not (
            _EPOCH.fullmatch(value) and int(value.partition(".")[0]) <= _LAST_SECOND
        ):
            expected = 'seconds since 1970 in the years 1970 to 9999, such as "1516717442.735266"'
            self.add("bad_timestamp", f"{path} is {_show(value)}, expected {expected}")
        return value


def utc(text: str) -> str | None:
    """The time in UTC, truncated to microseconds: 2018-01-23T14:23:19.082000Z; None if invalid."""
    match = _TIME.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:  # no such day, or a leap second
        return None
    offset = 0
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 18 or minutes > 59 or (hours == 18 and minutes):  # java.time's limit
            return None
        offset = (hours * 3600 + minutes * 60) * (1 if match[8] == "+" else -1)
    seconds = int((local - _EPOCH_BEGIN).total_seconds()) - offset
    if not 0 <= seconds <= _LAST_SECOND:
        return None
    fraction = (match[7] or "")[:6].ljust(6, "0")
    return f"{(_EPOCH_BEGIN + timedelta(seconds=seconds)).isoformat()[:19]}.{fraction}Z"


def _disagreement(counts, questions):
    """The first rule of the contract on counts that is broken, in words; None when all hold."""
    results = [question.get("user_result") for question in questions]
    said = {name: counts[field] for name, field in RESULTS.items()}
    total, correct = counts["total"], counts["correct"]
    answered_or_not = counts["submitted"] + counts["unanswered"]
    if total != len(questions):
        return f"total is {total}, the message has {len(questions)} questions"
    if total != sum(said.values()):
        names = "correct + incorrect + incomplete + unanswered"
        return f"total is {total}, {names} is {sum(said.values())}"
    if answered_or_not != total:
        return f"submitted + unanswered is {answered_or_not}, total is {total}"
    if counts["all_correct"] != (correct == total):
        all_correct = str(counts["all_correct"]).lower()
        return f"all_correct is {all_correct}, correct is {correct} of {total}"
    for name, field in RESULTS.items():
        found = results.count(name)
        if said[name] != found:
            return f"{field} is {said[name]}, {found} questions have the result {name}"
    return None


def examine(value: bytes | None) -> tuple[str | None, str | None, dict | None]:
    """Validates a record's value.

    -> (the reason with its detail, None when the message is valid; keen_id, None where it could not
    be read; the declared fields in the order of the content hash, None where they could not all be
    read)
    """
    # Python's default is about MAX_DEPTH, and Spark's frames are on the same stack.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * MAX_DEPTH))
    if value is None:
        return "empty: the record has no value", None, None
    if not bytes(value).strip(b" \t\r\n"):
        return f"empty: {len(value)} bytes, nothing but blanks", None, None
    try:
        text = bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not_utf8: byte {error.start} is 0x{value[error.start]:02x}", None, None
    try:
        found = parse(text)
    except _NotJson as error:
        return f"not_json: {error}", None, None
    if not isinstance(found, dict):
        if isinstance(found, list):
            detail = f" of {len(found)}: publish one message an element"
        else:
            detail = f" ({_show(found)})"
        return f"not_an_object: it is {_kind(found)}{detail}", None, None
    keen_id = found["keen_id"] if isinstance(found.get("keen_id"), str) else None
    findings = _Findings()
    clean = findings.walk(found, message.MESSAGE, "")
    for reason in ("missing", "wrong_type", "bad_timestamp"):
        if reason in findings.by_reason:
            return f"{reason}: {findings.by_reason[reason]}", keen_id, None
    questions = clean["sequences"]["questions"]
    for number, question in enumerate(questions):
        result = question.get("user_result")
        if result is not None and result not in RESULTS:
            shown = f"sequences.questions[{number}].user_result is {_show(result)}"
            expected = f"expected one of {', '.join(RESULTS)}"
            return f"unknown_result: {shown}, {expected}", keen_id, clean
    counts = clean["sequences"].get("counts")
    disagreement = counts and _disagreement(counts, questions)
    if disagreement:
        return f"counts_disagree: {disagreement}", keen_id, clean
    return None, keen_id, clean
