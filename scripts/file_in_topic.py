"""Which messages of a file are in the topic: the same content, whatever its spacing and the spelling of its numbers.
(The course's own `jq -c` changes both.) What landing would refuse is never the same as its mended form.

Run by: make publish (send or not?) and make verify (is every message there?)
    scripts/env.sh python scripts/file_in_topic.py

Memory: 16 bytes a message of the topic, whatever their size.
"""
import hashlib
import json
import os

import numpy

import feed
import verdict
from records import file_records


# Within these a whole number is compared exactly, however it is spelt; a field that is declared holds no other.
WHOLE = (-10**20, 10**20)


def _spelling(number):
    whole = number.whole(WHOLE)
    return float(number.text) if whole is None else whole  # 1.00000000000000000001 is 1.0 here, and 1 is 1


def fingerprint(record):
    """64 bits of the record's content: of its compact JSON, or of its bytes where landing finds no JSON."""
    try:
        record = json.dumps(verdict.parse(record.decode()), default=_spelling, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        pass
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "little")


def compare(path, repeats):
    """(records of the file; of those that can be sent; of those in the topic; numbers of the first few that are not in it)
    repeats: whether a message that stands in the file twice must be in the topic twice."""
    in_topic, left = numpy.unique(numpy.fromiter((fingerprint(record.value) for record in feed.records() if record.value is not None), dtype=numpy.uint64), return_counts=True)
    total = sendable = found = 0
    missing = []
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
    with feed.report_failures():
        # An empty topic holds nothing: no need to read a large file to know that.
        if sum(feed.end_offsets().values()) == 0:
            print("none 0 0 0")
        else:
            total, sendable, found, _ = compare(os.environ["DATA"], repeats=True)
            print("whole" if found == sendable > 0 else "part" if found else "none", found, sendable, total - sendable)
