"""Names the records of a file that would be rejected, and why, before anything is sent.

Run by: make validate DATA=file     (needs no stack)
    scripts/lib/env.sh python scripts/validate.py

DATA is a data file as publish sends it (a JSON array, or one record a line), or a folder in which
each file is one message. The verdicts are those of verdict.py, which landing uses too. A verdict
names only the first fault of a message; the published format (assessment-attempt.schema.json)
finds the others. Only landing can find duplicates and conflicts. Memory is constant at any size.
"""

import collections
import json
import os
import pathlib
import sys

import jsonschema_rs

import errors
import intervals
import knobs
import records
import verdict
from printable import printable

NAMED, PLACES = 20, 5
BEFORE_THE_FORMAT = ("empty", "not_utf8", "not_json", "not_an_object")
SCHEMA = pathlib.Path(__file__).absolute().parents[1] / "assessment-attempt.schema.json"
FORMAT = jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text()), validate_formats=True)


def messages(path):
    """Yields (where, record, why, bytes read so far).

    where: "line 3", "element 3" or a file's name. record and why: as of records.found_records.
    """
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
    """Yields (where, reason, record, bytes read so far).

    reason: why landing would reject the record, in its words; None when it would accept it.
    """
    for where, record, why, position in messages(path):
        if record is None:
            reason = f"not_json: {why}"
        elif too_large := records.too_large(record):
            reason = f"too_large: {too_large}"  # not a verdict of landing, which never gets it
        else:
            reason = verdict.examine(record)[0]
        yield where, reason, record, position


def further_places(record, reason):
    """Paths of all faults by the published format, except for the one that the reason names."""
    word, _, detail = reason.partition(": ")
    if record is None or word in BEFORE_THE_FORMAT or word == "too_large":
        return []
    paths = {}
    try:
        for fault in FORMAT.iter_errors(json.loads(record)):
            missing = getattr(fault.kind, "property", None)
            path = "".join(
                f"[{step}]" if isinstance(step, int) else f".{step}"
                for step in [*fault.instance_path, *([missing] if missing else [])]
            )
            paths[path.removeprefix(".")] = None
    except ValueError:  # nested too deeply for this validator
        pass
    paths.pop(detail.split(" ")[0], None)
    return list(paths)


def main():
    path = os.environ["DATA"]
    if not os.path.exists(path):
        raise errors.Failure(
            f"there is no file {path}",
            "make data could not get it, or DATA names another",
            f"make data; or name it: make validate{knobs.of_stack()} DATA=…",
        )
    files = os.scandir(path) if os.path.isdir(path) else [pathlib.Path(path)]
    size = sum(file.stat().st_size for file in files)
    verdicts, rejected, due = collections.Counter(), 0, intervals.report_timer()
    for where, reason, record, position in judged(path):
        verdicts["accepted" if reason is None else reason.partition(":")[0]] += 1
        rejected += reason is not None
        if reason is not None and rejected <= NAMED:
            print(f"  {printable(where)}: {printable(reason)}")
            more = further_places(record, reason)
            if more:
                places = ", ".join(more[:PLACES]) + (", …" if len(more) > PLACES else "")
                print(f"    and {len(more):,} more: {places}")
        if due():
            percent = 100 * position // max(size, 1)
            print(
                f"  {verdicts.total():>12,} records, {percent:>3} % of {size / 1e6:,.0f} MB",
                file=sys.stderr,
            )
    if rejected > NAMED:
        print(f"  and {rejected - NAMED:,} more")
    print(f"{'verdict':<16} {'records':>10}")
    for word in sorted(verdicts, key=lambda word: (word != "accepted", -verdicts[word])):
        print(f"{word:<16} {verdicts[word]:>10,}")
    if rejected:
        raise errors.Failure(
            f"{rejected:,} of the {verdicts.total():,} records of {path} would be rejected",
            f"the first {min(rejected, NAMED)} are named above; "
            "what a message must be: assessment-attempt.schema.json",
            f"mend them in the file, then: make validate{knobs.of_file()}; nothing was sent",
        )


if __name__ == "__main__":
    with errors.report_failures():
        main()
