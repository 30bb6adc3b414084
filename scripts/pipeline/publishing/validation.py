"""The verdict on each record of a file, or of a folder of messages, before anything is sent.

The verdicts are those of validator.py, which landing uses too. A verdict names only the first fault
of a message; the published format (assessment-attempt.schema.json) finds the others.
"""

import contextlib
import functools
import json
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator

import jsonschema_rs

from pipeline.message import validator
from pipeline.message.documentation import SCHEMA
from pipeline.publishing.data_file import Record, found_records, too_large
from pipeline.text import printable, report_timer

NAMED, PLACES = 20, 5
BEFORE_THE_FORMAT = ("empty", "not_utf8", "not_json", "not_an_object", "too_large")


@functools.cache
def published_format() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text()), validate_formats=True)


def judged(path: str) -> Iterator[tuple[Record, str | None]]:
    """The records of a file or folder, and why landing would reject each; None: it would not."""
    for record in _files(path) if os.path.isdir(path) else found_records(path):
        if record.content is None:
            yield record, f"not_json: {record.why}"
        elif why := too_large(record.content):
            yield record, f"too_large: {why}"  # not a verdict of landing, which never gets it
        else:
            yield record, validator.examine(record.content).reason


def _files(folder: str) -> Iterator[Record]:
    position = 0
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.is_file():
            content = path.read_bytes()
            position += len(content)
            yield Record(path.name, 0, content, position=position)


def further_places(record: Record, reason: str) -> list[str]:
    """Paths of all faults by the published format, except for the one that the reason names."""
    word, _, detail = reason.partition(": ")
    if record.content is None or word in BEFORE_THE_FORMAT:
        return []
    paths: dict[str, None] = {}
    with contextlib.suppress(ValueError):  # nested too deeply for this validator
        for fault in published_format().iter_errors(json.loads(record.content)):
            missing = getattr(fault.kind, "property", None)
            steps = [*fault.instance_path, *([missing] if missing else [])]
            path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
            paths[path.removeprefix(".")] = None
    paths.pop(detail.split(" ")[0], None)
    return list(paths)


def print_verdicts(path: str) -> Counter[str]:
    """Names the first records that would be rejected; returns how often each verdict was given."""
    files = list(os.scandir(path)) if os.path.isdir(path) else []
    size = sum(file.stat().st_size for file in files) if files else os.path.getsize(path)
    verdicts, due = Counter[str](), report_timer()
    for record, reason in judged(path):
        verdicts["accepted" if reason is None else reason.partition(":")[0]] += 1
        if reason is not None and verdicts.total() - verdicts["accepted"] <= NAMED:
            print(f"  {printable(record.where)}: {printable(reason)}")
            if more := further_places(record, reason):
                places = ", ".join(more[:PLACES]) + (", …" if len(more) > PLACES else "")
                print(f"    and {len(more):,} more: {places}")
        if due():
            done = f"{verdicts.total():>12,} records, {100 * record.position // max(size, 1):>3} %"
            print(f"  {done} of {size / 1e6:,.0f} MB", file=sys.stderr)
    return verdicts
