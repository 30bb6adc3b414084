"""Full validation of one message, with the exact error.

The rules and their order are those of docs/tables.md (Verdicts). Used by landing and reprocessing
(in Spark's workers), by make validate, and when publishing compares the file with the topic.
"""

import itertools
import json
import re
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from pipeline.message.declaration import MESSAGE, RESULTS, Array, Object
from pipeline.message.kinds import Kind, Number

MAX_DEPTH = 1000

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', re.DOTALL)
# Half a surrogate pair, or a whole one: only an escape sequence can put either into a text.
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_JSON_TYPES = {type(None): "null", bool: "a boolean", Number: "a number", str: "a text"}
_JSON_TYPES |= {kind.json: kind.words for kind in (Object, Array)}


class Verdict(NamedTuple):
    reason: str | None  # None when valid, otherwise a reason word, a colon and detail
    keen_id: str | None = None  # None where it could not be read
    # The declared fields in the order of the content hash; None where they could not all be read.
    content: dict[str, Any] | None = None


class _Unreadable(ValueError):
    """Not even a JSON object; the text is the verdict's reason."""


def examine(value: bytes | None) -> Verdict:
    """Validates a record's value."""
    # Python's default is about MAX_DEPTH, and Spark's frames are on the same stack.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * MAX_DEPTH))
    try:
        found = _object_in(value)
    except _Unreadable as error:
        return Verdict(str(error))
    keen_id = found["keen_id"] if isinstance(found.get("keen_id"), str) else None
    reader = _Reader()
    content = reader.read(found, MESSAGE, "")
    for reason in ("missing", "wrong_type", "bad_timestamp"):
        if reason in reader.errors:
            return Verdict(f"{reason}: {reader.errors[reason]}", keen_id)
    return Verdict(_contradiction(content["sequences"]), keen_id, content)


def _object_in(value: bytes | None) -> dict[str, Any]:
    """The JSON object in a record's value, its numbers as Number."""
    if value is None:
        raise _Unreadable("empty: the record has no value")
    if not value.strip(b" \t\r\n"):
        raise _Unreadable(f"empty: {len(value)} bytes, nothing but blanks")
    try:
        found = parse(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Unreadable(f"not_utf8: byte {error.start} is 0x{value[error.start]:02x}") from None
    if isinstance(found, dict):
        return found
    detail = f" ({_shown(found)})"
    if isinstance(found, list):
        detail = f" of {len(found)}: publish one message an element"
    raise _Unreadable(f"not_an_object: it is {_JSON_TYPES[type(found)]}{detail}")


def parse(text: str) -> Any:
    """Parses JSON, each number as a Number. Raises a ValueError with the verdict's reason."""
    # Counting all brackets, even those in texts, is quick and enough for nearly every message.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise _Unreadable(f"not_json: it is nested more than {MAX_DEPTH:,} levels deep")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_no_constant,
        )
        if _HALF_A_PAIR.search(text):
            json.dumps(value, ensure_ascii=False, default=lambda number: None).encode()
        return value
    except json.JSONDecodeError as error:
        fault = str(error)
    except UnicodeEncodeError:
        fault = "a text holds half a surrogate pair, which is no character"
    raise _Unreadable(f"not_json: {fault}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Unreadable(f"not_json: the key {_shown(key)} stands twice in one object")
        found[key] = value
    return found


def _no_constant(word: str) -> None:
    raise _Unreadable(f"not_json: {word} is no JSON")


def _depth(text: str) -> int:
    brackets = (token[0] for token in _TOKEN.finditer(text) if token[0] in "[{]}")
    return max(itertools.accumulate(1 if each in "[{" else -1 for each in brackets), default=0)


def _shown(value: Any) -> str:
    """A value for an error message: short, and ASCII, so that it cannot control a terminal."""
    text = _spelled(value).replace("\x7f", "\\u007f")
    return text if len(text) <= 60 else text[:57] + "..."


def _spelled(value: Any) -> str:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_spelled(inner)}" for name, inner in value.items())
        return "{" + ", ".join(members) + "}"
    return json.dumps(value)


class _Reader:
    """Reads the declared fields, and keeps the first error of each reason."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    def read(self, value: Any, declared: Object | Array | Kind, path: str) -> Any:
        """Checks a value that is not null against its declaration.

        -> the value with declared fields only, in the order of the content hash, and plain numbers
        """
        reason, expected, content = "wrong_type", declared.words, None
        fits = isinstance(value, declared.json)
        if fits and isinstance(declared, Object):
            return self.fields(value, declared, path)
        if fits and isinstance(declared, Array):
            return self.elements(value, declared, path)
        if fits and isinstance(declared, Kind):
            content = declared.read(value)
            reason, expected = declared.reason, declared.expected or declared.words
        if content is None:
            shown = _shown(value)
            if reason == "wrong_type":
                shown = f"{_JSON_TYPES[type(value)]} ({shown})"
            self.errors.setdefault(reason, f"{path} is {shown}, expected {expected}")
        return content

    def fields(self, value: dict[str, Any], declared: Object, path: str) -> dict[str, Any]:
        content = {}
        for field in declared.fields:
            inner = f"{path}.{field.name}" if path else field.name
            if value.get(field.name) is not None:
                content[field.name] = self.read(value[field.name], field.kind, inner)
            elif field.required:
                self.errors.setdefault(
                    "missing", f"{inner} is {'null' if field.name in value else 'absent'}"
                )
        names = (field.name for field in declared.fields_as_spelled)
        return {name: content[name] for name in names if name in content}

    def elements(self, value: list[Any], declared: Array, path: str) -> list[Any]:
        if len(value) < declared.at_least:
            self.errors.setdefault("missing", f"{path} is empty, at least one is required")
        content = []
        for number, element in enumerate(value):
            if element is None:
                self.errors.setdefault("missing", f"{path}[{number}] is null")
            else:
                content.append(self.read(element, declared.element, f"{path}[{number}]"))
        return content


def _contradiction(sequences: dict[str, Any]) -> str | None:
    """The reason to reject a message whose fields are all well-formed; None when it is valid."""
    results = [question.get("user_result") for question in sequences["questions"]]
    for number, result in enumerate(results):
        if result not in (None, *RESULTS):
            shown = f"sequences.questions[{number}].user_result is {_shown(result)}"
            return f"unknown_result: {shown}, expected one of {', '.join(RESULTS)}"
    if "counts" not in sequences:
        return None
    wrong = disagreement(SimpleNamespace(**sequences["counts"]), results)
    return wrong and f"counts_disagree: {wrong}"


def disagreement(counts: Any, results: Sequence[str | None]) -> str | None:
    """The first rule on counts that is broken, in words; None when all hold.

    counts: their values as attributes. results: the user_result of each question.
    """
    total, correct, unanswered = counts.total, counts.correct, counts.unanswered
    if total != len(results):
        return f"total is {total}, the message has {len(results)} questions"
    of_results = correct + counts.incorrect + counts.incomplete + unanswered
    if total != of_results:
        return f"total is {total}, correct + incorrect + incomplete + unanswered is {of_results}"
    if counts.submitted + unanswered != total:
        return f"submitted + unanswered is {counts.submitted + unanswered}, total is {total}"
    if counts.all_correct != (correct == total):
        return f"all_correct is {str(counts.all_correct).lower()}, correct is {correct} of {total}"
    for result, name in RESULTS.items():
        count, found = getattr(counts, name), results.count(result)
        if count != found:
            return f"{name} is {count}, {found} questions have the result {result}"
    return None
