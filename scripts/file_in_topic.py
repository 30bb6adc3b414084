"""Which messages of a file are in the topic: the same content, whatever its spacing.

Run by: make publish (send or not?) and make verify (is every message there?)
    scripts/env.sh python scripts/file_in_topic.py

Reads the file with Python's own JSON reader, not with jq, so that what jq would change is seen as a difference.
Memory: 8 bytes a message of the topic, whatever their size.
"""
import hashlib
import json
import os
import sys

import numpy

import feed

CHUNK = 2**20


def file_records(path):
    """(number from 1, bytes) of each record of a JSON array or of a file with one record a line.
    An element of an array is given as compact JSON. What cannot be read: (number, None), and an array ends there."""
    with open(path, "rb") as file:
        first = file.read(1)
        while first.isspace():
            first = file.read(1)
        if first != b"[":
            file.seek(0)
            number = 0
            for line in file:
                if line.strip():
                    number += 1
                    yield number, line.strip(b"\r\n")
            return
        yield from _array_elements(file)


def _array_elements(file):
    decoder, text, number, ended = json.JSONDecoder(), "", 0, False
    import codecs
    utf8 = codecs.getincrementaldecoder("utf-8")()
    while True:
        text = text.lstrip(" \t\r\n,") if number else text.lstrip(" \t\r\n")
        if text.startswith("]"):
            return
        try:
            if ended and not text:
                raise ValueError
            element, end = decoder.raw_decode(text)
            if end == len(text) and not ended:  # a number at the end of the chunk may go on in the next
                raise ValueError
        except ValueError:
            if ended:
                yield number + 1, None
                return
            chunk = file.read(max(CHUNK, len(text)))  # a larger bite for a larger element: each is scanned a few times at most
            try:
                text += utf8.decode(chunk, final=not chunk)
            except UnicodeDecodeError:
                yield number + 1, None
                return
            ended = not chunk
            continue
        number += 1
        yield number, json.dumps(element, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        text = text[end:]


def fingerprint(record):
    """64 bits of the record's content: of its compact JSON, or of its bytes where they are no JSON."""
    try:
        record = json.dumps(json.loads(record), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        pass
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "little")


def compare(path):
    """(records of the file, of those: readable, of those: in the topic, of those not: the first few numbers)"""
    in_topic = numpy.unique(numpy.fromiter((fingerprint(record.value) for record in feed.records() if record.value is not None), dtype=numpy.uint64))
    total = readable = found = 0
    missing = []
    for number, record in file_records(path):
        total += 1
        if record is None:
            continue
        readable += 1
        mark = numpy.uint64(fingerprint(record))
        place = numpy.searchsorted(in_topic, mark)
        if place < len(in_topic) and in_topic[place] == mark:
            found += 1
        elif len(missing) < 5:
            missing.append(number)
    return total, readable, found, missing


if __name__ == "__main__":
    with feed.report_failures():
        # An empty topic holds nothing: no need to read a large file to know that.
        if sum(feed.end_offsets().values()) == 0:
            print("empty")
        else:
            total, readable, found, _ = compare(os.environ["DATA"])
            print("whole" if found == total else "part" if found else "none", found, total)
