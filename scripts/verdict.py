"""The validator: what is wrong with a message, exactly. The rules and their order are those of docs/tables.md (Verdicts).

Used by landing and reprocessing (in Spark's workers), by make validate, and by publishing's comparison of file and topic.
Needs nothing but Python and message.py.
"""
import json
import re
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation

import message
from message import RESULTS, Array, Object

MAX_DEPTH = 1000

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_EPOCH = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)
_EPOCH_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_SECOND = 253402300799  # of the year 9999
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # or a whole one: only an escape can bring either into a text


class _NotJson(ValueError):
    pass


class _Number:
    """A JSON number as it was spelt: Python's own would round it, or take minutes over 1e999999999."""

    def __init__(self, text):
        self.text = text

    def whole(self, limits):
        """The number when it is a whole one within the limits; otherwise None."""
        try:
            value = Decimal(self.text)
            if value and value.adjusted() > 20:
                return None
            return int(value) if value == value.to_integral_value() and limits[0] <= value <= limits[1] else None
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
    """A value for a message: short, as JSON in ASCII, so that nothing in it can command a terminal."""
    text = _spell(value).replace("\x7f", "\\u007f")
    return text if len(text) <= 60 else text[:57] + "..."


def _spell(value):
    if isinstance(value, _Number):
        return value.text
    if isinstance(value, list):
        return "[" + ", ".join(map(_spell, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_spell(inner)}" for name, inner in value.items()) + "}"
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


def parse(text):
    """The JSON in a text, each number as a _Number. A ValueError that says why, where landing calls it not_json."""
    # Counting brackets, those in texts too, is quick, and enough for nearly every message.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise _NotJson(f"it is nested more than {MAX_DEPTH:,} levels deep")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
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
    return {dict: "an object", list: "an array", str: "a text", bool: "a boolean", _Number: "a number"}[type(value)]


class _Findings:
    """What was found wrong, by reason; within a reason the first in the order of the declaration."""

    def __init__(self):
        self.by_reason = {}

    def add(self, reason, detail):
        self.by_reason.setdefault(reason, detail)

    def walk(self, value, declared, path):
        """Checks a value against its declaration; returns it with declared fields only, in the order of the content hash,
        and plain numbers."""
        if isinstance(declared, Object):
            if not isinstance(value, dict):
                return self.wrong(path, value, "an object")
            clean = {}
            for field in declared.fields:
                inner = f"{path}.{field.name}" if path else field.name
                if value.get(field.name) is None:
                    if field.required:
                        self.add("missing", f"{inner} is {'null' if field.name in value else 'absent'}")
                else:
                    clean[field.name] = self.walk(value[field.name], field.kind, inner)
            return {field.name: clean[field.name] for field in declared.fields_as_spelled if field.name in clean}
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
            whole = value.whole(message.INT_LIMITS if kind is message.INT else message.LONG_LIMITS) if isinstance(value, _Number) else None
            return self.wrong(path, value, f"a {kind.words}") if whole is None else whole
        if not isinstance(value, str):
            return self.wrong(path, value, "a text" if kind is message.TEXT else "a text with a time in it" if kind in (message.TIME, message.EPOCH) else f"a {kind.words}")
        if kind is message.NUMBER_TEXT and not (_NUMBER.fullmatch(value) and _Number(value).whole(message.INT_LIMITS) is not None):
            return self.wrong(path, value, "the text of a whole number, such as \"1.0\"")
        if kind is message.BOOLEAN_TEXT and value not in ("true", "false"):
            return self.wrong(path, value, "the text \"true\" or \"false\"")
        if kind is message.TIME and utc(value) is None:
            self.add("bad_timestamp", f"{path} is {_show(value)}, expected a time with its zone in the years 1970 to 9999, such as \"2018-01-23T14:23:19.082Z\"")
        if kind is message.EPOCH and not (_EPOCH.fullmatch(value) and int(value.partition(".")[0]) <= _LAST_SECOND):
            self.add("bad_timestamp", f"{path} is {_show(value)}, expected seconds since 1970 in the years 1970 to 9999, such as \"1516717442.735266\"")
        return value


def utc(text):
    """The time in UTC, to the microsecond, what is finer cut off: 2018-01-23T14:23:19.082000Z; None when it is not one."""
    match = _TIME.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)  # a 61st second is refused here
    except ValueError:
        return None
    offset = 0
    if match[8]:
        if int(match[9]) > 18 or int(match[10]) > 59 or (int(match[9]) == 18 and int(match[10])):  # the widest that java.time knows
            return None
        offset = (int(match[9]) * 3600 + int(match[10]) * 60) * (1 if match[8] == "+" else -1)
    seconds = int((local - _EPOCH_BEGIN).total_seconds()) - offset
    if not 0 <= seconds <= _LAST_SECOND:
        return None
    return f"{(_EPOCH_BEGIN + timedelta(seconds=seconds)).isoformat()[:19]}.{(match[7] or '')[:6].ljust(6, '0')}Z"


def _disagreement(counts, questions):
    """The first of the contract's rules on counts that does not hold, in words; None when all do."""
    results = [question.get("user_result") for question in questions]
    said = {name: counts[field] for name, field in RESULTS.items()}
    if counts["total"] != len(questions):
        return f"total is {counts['total']}, the message has {len(questions)} questions"
    if counts["total"] != sum(said.values()):
        return f"total is {counts['total']}, correct + incorrect + incomplete + unanswered is {sum(said.values())}"
    if counts["submitted"] + counts["unanswered"] != counts["total"]:
        return f"submitted + unanswered is {counts['submitted'] + counts['unanswered']}, total is {counts['total']}"
    if counts["all_correct"] != (counts["correct"] == counts["total"]):
        return f"all_correct is {str(counts['all_correct']).lower()}, correct is {counts['correct']} of {counts['total']}"
    for name, field in RESULTS.items():
        if said[name] != results.count(name):
            return f"{field} is {said[name]}, {results.count(name)} questions have the result {name}"
    return None


def examine(value):
    """bytes or None -> (reason with its detail, or None when the message is valid; keen_id, or None where it could not
    be read; the declared fields as a dictionary in the order of the content hash, or None where they could not all be read)"""
    # Python's own limit is about the depth that is allowed here; Spark's frames and ours stand on the same stack.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * MAX_DEPTH))
    if value is None or not bytes(value).strip(b" \t\r\n"):
        return "empty: " + ("the record has no value" if value is None else f"{len(value)} bytes, nothing but blanks"), None, None
    try:
        text = bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not_utf8: byte {error.start} is 0x{value[error.start]:02x}", None, None
    try:
        found = parse(text)
    except _NotJson as error:
        return f"not_json: {error}", None, None
    if not isinstance(found, dict):
        return f"not_an_object: it is {_kind(found)}" + (f" of {len(found)}: publish one message an element" if isinstance(found, list) else f" ({_show(found)})"), None, None
    keen_id = found["keen_id"] if isinstance(found.get("keen_id"), str) else None
    findings = _Findings()
    clean = findings.walk(found, message.MESSAGE, "")
    for reason in ("missing", "wrong_type", "bad_timestamp"):
        if reason in findings.by_reason:
            return f"{reason}: {findings.by_reason[reason]}", keen_id, None
    questions = clean["sequences"]["questions"]
    for number, question in enumerate(questions):
        if question.get("user_result") is not None and question["user_result"] not in RESULTS:
            return f"unknown_result: sequences.questions[{number}].user_result is {_show(question['user_result'])}, expected one of {', '.join(RESULTS)}", keen_id, clean
    counts = clean["sequences"].get("counts")
    disagreement = counts and _disagreement(counts, questions)
    if disagreement:
        return f"counts_disagree: {disagreement}", keen_id, clean
    return None, keen_id, clean
