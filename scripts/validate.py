"""Which records of a file would be rejected, and why, before anything is sent: needs no stack.

Run by: make validate DATA=file
    scripts/env.sh python scripts/validate.py

DATA is a data file as publish sends it (a JSON array, or one record a line), or a folder each file of which is one
message. Each verdict is verdict.py's, which lands the messages too, so that both say the same. The published format
(assessment-attempt.schema.json) adds the further places that do not fit it: a verdict names only the first.
What is a duplicate or a conflict, only landing can tell. Memory is flat at any size.
"""
import collections
import json
import os
import sys
import time

import jsonschema_rs

import feed
import records
import verdict
from printable import printable

NAMED, PLACES = 20, 5
BEFORE_THE_FORMAT = ("empty", "not_utf8", "not_json", "not_an_object")
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "assessment-attempt.schema.json")) as _file:
    FORMAT = jsonschema_rs.Draft202012Validator(json.load(_file), validate_formats=True)


def messages(path):
    """Yields (where: "line 3", "element 3" or a file's name; bytes, or None where it cannot be found; why, or None; bytes read so far)."""
    if not os.path.isdir(path):
        for word, number, record, why, position in records.found_records(path):
            yield f"{word} {number:,}", record, why, position
        return
    position = 0
    for file in sorted(os.scandir(path), key=lambda entry: entry.name):
        if file.is_file():
            with open(file.path, "rb") as content:
                record = content.read()
            position += len(record)
            yield file.name, record, None, position


def judged(path):
    """Yields (where, the reason as land would write it, or None: it would be accepted; the message, bytes read so far)."""
    for where, record, why, position in messages(path):
        if record is None:
            reason = f"not_json: {why}"
        elif records.too_large(record):
            reason = f"too_large: {records.too_large(record)}"  # no verdict of land's, which never sees it
        else:
            reason = verdict.examine(record)[0]
        yield where, reason, record, position


def further_places(record, reason):
    """Paths of all that does not fit the published format, but for the one that the reason names."""
    word, _, detail = reason.partition(": ")
    if record is None or word in BEFORE_THE_FORMAT or word == "too_large":
        return []
    paths = {}
    try:
        for fault in FORMAT.iter_errors(json.loads(record)):
            missing = getattr(fault.kind, "property", None)
            path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in [*fault.instance_path, *([missing] if missing else [])])
            paths[path.removeprefix(".")] = None
    except ValueError:  # too deep for this validator
        pass
    paths.pop(detail.split(" ")[0], None)
    return list(paths)


def main():
    path = os.environ["DATA"]
    if not os.path.exists(path):
        raise feed.Failure(f"there is no file {path}", "make data could not get it, or DATA names another", "make data; or name it: make validate DATA=…")
    size = sum(entry.stat().st_size for entry in os.scandir(path)) if os.path.isdir(path) else os.path.getsize(path)
    verdicts, rejected, said = collections.Counter(), 0, time.monotonic()
    for where, reason, record, position in judged(path):
        verdicts["accepted" if reason is None else reason.partition(":")[0]] += 1
        rejected += reason is not None
        if reason is not None and rejected <= NAMED:
            print(f"  {printable(where)}: {printable(reason)}")
            more = further_places(record, reason)
            if more:
                print(f"    and {len(more):,} more: {', '.join(more[:PLACES])}{', …' if len(more) > PLACES else ''}")
        if time.monotonic() - said > 5:
            said = time.monotonic()
            print(f"  {verdicts.total():>12,} records, {100 * position // max(size, 1):>3} % of {size / 1e6:,.0f} MB", file=sys.stderr)
    if rejected > NAMED:
        print(f"  and {rejected - NAMED:,} more")
    print(f"{'verdict':<16} {'records':>10}")
    for word in sorted(verdicts, key=lambda word: (word != "accepted", -verdicts[word])):
        print(f"{word:<16} {verdicts[word]:>10,}")
    if rejected:
        raise feed.Failure(f"{rejected:,} of the {verdicts.total():,} records of {path} would be rejected",
                           f"the first {min(rejected, NAMED)} are named above; what a message must be: assessment-attempt.schema.json",
                           "mend them in the file, then: make validate; nothing was sent")


if __name__ == "__main__":
    with feed.report_failures():
        main()
