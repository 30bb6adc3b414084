"""Compares a file with the topic: which of its messages are there?

Messages are equal when their JSON is, whatever the white space and the spelling of numbers (the
course's own `jq -c` changes both). A message that landing rejects is never equal to its corrected
form.

Run by: make publish (send or not?) and make verify (is every message there?)
    scripts/lib/env.sh python scripts/lib/file_in_topic.py

Memory: 16 bytes per message of the topic, whatever their size.
"""

import hashlib
import json
import os
import sys

import numpy
from kafka.errors import TopicAuthorizationFailedError

import errors
import topics
import verdict
from records import file_records

# Whole numbers in this range are compared exactly, in any spelling. Declared fields hold no others.
WHOLE = (-(10**20), 10**20)


def _spelling(number) -> int | float:
    """One spelling for equal numbers: 1.00000000000000000001 becomes 1.0, and 1 stays 1."""
    whole = number.whole(WHOLE)
    return float(number.text) if whole is None else whole


def fingerprint(record: bytes) -> int:
    """A hash of 64 bits of the record's compact JSON, or of its bytes when they are not JSON."""
    try:
        message = verdict.parse(record.decode())
        compact = json.dumps(message, default=_spelling, ensure_ascii=False, separators=(",", ":"))
        record = compact.encode()
    except (ValueError, RecursionError):
        pass
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "little")


def compare(path: str, repeats: bool) -> tuple[int, int, int, list[int]]:
    """Compares the records of a file with the topic.

    Returns how many records the file has, how many of them can be sent, how many are in the topic,
    and the numbers of the first few that are not.
    repeats: whether a message that is in the file twice must be in the topic twice.
    """
    fingerprints = (
        fingerprint(record.value) for record in topics.records() if record.value is not None
    )
    in_topic, left = numpy.unique(
        numpy.fromiter(fingerprints, dtype=numpy.uint64), return_counts=True
    )
    total = sendable = found = 0
    missing: list[int] = []
    for number, record, _, _ in file_records(path):
        total += 1
        sendable += record is not None
        mark = numpy.uint64(0 if record is None else fingerprint(record))
        place = numpy.searchsorted(in_topic, mark)
        if record is not None and place < len(in_topic) and in_topic[place] == mark and left[place]:
            found += 1
            left[place] -= repeats
        elif len(missing) < 5:
            missing.append(number)
    return total, sendable, found, missing


if __name__ == "__main__":
    with errors.report_failures():
        # With an empty topic there is no need to read the file, which may be large.
        if sum(topics.end_offsets().values()) == 0:
            print("none 0 0 0")
        else:
            try:
                total, sendable, found, _ = compare(os.environ["DATA"], repeats=True)
            except TopicAuthorizationFailedError:
                print(
                    f"this account may write to topic {os.environ['TOPIC']}, and not read it: "
                    "whether the messages are there already is not known (landing knows repeats)",
                    file=sys.stderr,
                )
                total = sendable = found = 0
            state = "whole" if found == sendable > 0 else "part" if found else "none"
            print(state, found, sendable, total - sendable)
