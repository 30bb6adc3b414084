"""Compares a file with the topic: which of its messages are there?

Messages are equal when their JSON is, whatever the white space and the spelling of numbers (the
course's own `jq -c` changes both). A message that landing rejects is never equal to its corrected
form. Memory: 16 bytes per message of the topic, whatever their size.
"""

import contextlib
import hashlib
import json
from typing import NamedTuple

import numpy

from pipeline.kafka import topics
from pipeline.message import validator
from pipeline.message.kinds import Number
from pipeline.publishing.data_file import sendable_records
from pipeline.settings import Feed

# Whole numbers in this range are compared exactly, in any spelling. Declared fields hold no others.
WHOLE = (-(10**20), 10**20)
NAMED = 5  # messages that are not in the topic


class Comparison(NamedTuple):
    """Of a file's records: how many there are, can be sent, and are in the topic."""

    total: int
    sendable: int
    found: int
    missing: list[int]  # the numbers of the first few that are not there


def compare(feed: Feed, path: str, repeats: bool) -> Comparison:
    """Compares the records of a file with the topic.

    repeats: whether a message that is in the file twice must be in the topic twice.
    """
    values = (record.value for record in topics.records(feed))
    marks = (fingerprint(value) for value in values if value is not None)
    in_topic, left = numpy.unique(numpy.fromiter(marks, numpy.uint64), return_counts=True)
    total = sendable = found = 0
    missing: list[int] = []
    for record in sendable_records(path):
        total += 1
        if record.content is not None:
            sendable += 1
            mark = numpy.uint64(fingerprint(record.content))
            place = numpy.searchsorted(in_topic, mark)
            if place < len(in_topic) and in_topic[place] == mark and left[place]:
                found += 1
                left[place] -= repeats
                continue
        if len(missing) < NAMED:
            missing.append(record.number)
    return Comparison(total, sendable, found, missing)


def fingerprint(record: bytes) -> int:
    """A hash of 64 bits of the record's compact JSON, or of its bytes when they are not JSON."""
    with contextlib.suppress(ValueError, RecursionError):
        message = validator.parse(record.decode())
        compact = json.dumps(message, default=_spelling, ensure_ascii=False, separators=(",", ":"))
        record = compact.encode()
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "little")


def _spelling(number: Number) -> int | float:
    """One spelling for equal numbers: 1.00000000000000000001 becomes 1.0, and 1 stays 1."""
    whole = number.whole(WHOLE)
    return float(number.text) if whole is None else whole
