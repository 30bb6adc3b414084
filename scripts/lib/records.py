"""Reads the records of a data file: what publish sends, and what cannot be sent, with the reason.

Run by: make publish (make validate reads with it too)
    scripts/lib/env.sh python scripts/lib/records.py FILE
        prints the records, one a line, each as a JSON string in ASCII
    scripts/lib/env.sh python scripts/lib/records.py --check FILE
        prints only an error, if FILE has another shape, is empty, or begins with no attempts

FILE is a JSON array, JSON lines, or JSON objects one after the other, on any number of lines each.
It may be compressed by gzip. For a file of another shape, the error names the command that converts
it (shapes.py).

A line is sent byte for byte. So is any other record, except that its line ends become blanks (a
JSON string cannot contain one). The records are printed as JSON strings because jq 1.6 reads plain
lines (-R) in pieces of 4,095 bytes, and damages a character on the border of two.

Memory is constant at any size of the file. A record that cannot be read is reported on standard
error with its number (of the line or the element), the rest is sent, and the exit code is 3. After
an invalid or truncated element of an array the start of the next one is unknown, so the rest of
the array is not read. Large files show their progress.
"""

import codecs
import gzip
import itertools
import json
import os
import shlex
import sys
import zlib
from collections.abc import Iterator
from io import BufferedIOBase

import intervals
import knobs
import shapes
from shapes import BETWEEN, OtherShape

CHUNK = 2**20
BYTE_ORDER_MARK = codecs.BOM_UTF8
# kcat and the broker take 1,000,000 bytes including the key; this leaves room for the key.
LARGEST = 990_000
FIRST = 20  # records that tell a file of attempts from any other
# A longer element of an array counts as invalid: the search for its end would use up all memory.
LONGEST_ELEMENT = 64 * 2**20
# Deep nesting must not hide where an element ends; landing rejects what is too deep.
sys.setrecursionlimit(20_000)

Found = Iterator[tuple[str, int, bytes | None, str | None]]  # (word, number, record, why)


def file_records(path: str) -> Iterator[tuple[int, bytes | None, str | None, int]]:
    """Yields (number from 1, record, why, bytes of the file read so far).

    One of record and why is None: `why` says why a record cannot be sent. Raises as found_records.
    """
    for _, number, record, why, position in found_records(path):
        if record is not None:
            record, why = _checked(record)
        yield number, record, why, position


def found_records(path: str) -> Iterator[tuple[str, int, bytes | None, str | None, int]]:
    """As file_records, but with "line", "element" or "object" first, and without checking records.

    A record is None only where it cannot be found in the file. Raises OtherShape, before it yields
    anything, for a file that has to be converted first, or has no record.
    """
    with open(path, "rb") as raw:
        compressed = raw.peek(2)[:2] == b"\x1f\x8b"
        number = 0
        try:
            file = gzip.GzipFile(fileobj=raw) if compressed else raw
            for word, number, record, why in _found(file, path, compressed):
                yield word, number, record, why, raw.tell()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            number += 1
            why = f"the gzip file is damaged from here on: {error}"
            yield "record", number, None, why, raw.tell()
    if not number:
        raise OtherShape(
            path,
            "it holds no record",
            "name a file that has some: DATA=…; the assignment's: make data",
        )


def _found(file: BufferedIOBase, path: str, compressed: bool) -> Found:
    """Reads the file in the way that its first bytes ask for."""
    head = file.read(shapes.HEAD)
    body = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    if other := shapes.of_head(path, compressed, head, body):
        raise other
    begin = head[body:].lstrip(BETWEEN)
    file.seek(body)
    if begin.startswith(b"["):
        found = _values(file, "element")
    elif begin.startswith(b"{") and (
        b"\x1e" in head[: body + 1] or not _one_record_a_line(file, body)
    ):
        found = _values(file, "object")
    else:
        found = _lines(file)
    for count, (word, number, record, why) in enumerate(found):
        if count == 0 and record is not None:
            if other := shapes.of_first_record(path, compressed, word, record):
                raise other
        yield word, number, record, why


def _one_record_a_line(file: BufferedIOBase, body: int) -> bool:
    """Whether each line is a record: the first line holds one, or something unreadable."""
    line = b""
    while not line.strip():
        line = file.readline(LONGEST_ELEMENT)
    try:
        text = line.decode().strip()
        _, end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text)
        one = not text[end:].lstrip().startswith(("{", ","))
    except (ValueError, RecursionError):
        file.seek(body)
        _, _, record, _ = next(_values(file, "object"))
        one = record is None or len(record) < len(line)
    file.seek(body)
    return one


def _lines(file: BufferedIOBase) -> Found:
    for number, line in enumerate(file, start=1):
        line = line.rstrip(b"\r\n")
        if line.strip(b" \t\r"):
            yield "line", number, line, None


def _values(file: BufferedIOBase, word: str) -> Found:
    """The values of a JSON array ("element"), or values separated by white space ("object")."""
    # Numbers as text: values are not needed, and Python reads no integer of over 4,300 digits.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    utf8 = codecs.getincrementaldecoder("utf-8")()
    in_array = word == "element"
    text, at, number, ended = "", 0, 0, False
    between = BETWEEN.decode() + ","  # a comma also between objects: an array without its brackets
    if in_array:
        while file.read(1) != b"[":
            pass
    while True:
        while at < len(text) and text[at] in between:
            at += 1
        if in_array and text.startswith("]", at):
            # Another array may follow, as where each line is one.
            text, at = text[at + 1 :].lstrip(), 0
            while not text and not ended:
                chunk = file.read(CHUNK)
                ended = not chunk
                try:
                    text = utf8.decode(chunk).lstrip()
                except UnicodeDecodeError:
                    text = "not UTF-8"
            if text.startswith("["):
                text = text[1:]
                continue
            if text:
                why = "something follows the end of the array (one record a line would be found)"
                yield word, number + 1, None, why
            return
        try:
            if at == len(text):
                if ended and not in_array:
                    return
                raise ValueError("the file ends inside the array")
            _, end = decoder.raw_decode(text, at)
            if end == len(text) and not ended:  # a number may continue in the next chunk
                raise ValueError
        except (ValueError, RecursionError) as error:
            fault = str(error)
            if (
                not ended
                and not isinstance(error, RecursionError)
                and len(text) - at < LONGEST_ELEMENT
            ):
                # Doubles the text, so that an element of any size is scanned a few times at most.
                chunk = file.read(max(CHUNK, len(text) - at))
                ended = not chunk
                try:
                    text, at = text[at:] + utf8.decode(chunk, final=ended), 0
                    continue
                except UnicodeDecodeError:
                    fault = "it, or what follows, is not UTF-8"
            what = "array" if in_array else "file"
            why = (
                f"{fault}; what follows in the {what} cannot be found (one record a line would be)"
            )
            yield word, number + 1, None, why
            return
        number += 1
        record = text[at:end].replace("\r", " ").replace("\n", " ")
        yield word, number, record.encode("utf-8", "surrogatepass"), None
        at = end


def too_large(record: bytes) -> str | None:
    """Why Kafka would not take the record, or None."""
    if len(record) <= LARGEST:
        return None
    return f"it has {len(record):,} bytes, {LARGEST:,} can be sent"


def _checked(record: bytes) -> tuple[bytes | None, str | None]:
    """(record, None), or (None, why) for one that is not JSON or too large."""
    if why := too_large(record):
        return None, why
    try:
        json.loads(record.decode("utf-8"), parse_int=str, parse_float=str)
    except UnicodeDecodeError as error:
        return None, f"it is not UTF-8: byte {error.start} is 0x{record[error.start]:02x}"
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    except RecursionError:
        pass  # too deep for this parser; landing judges it
    return record, None


def check(path: str) -> int:
    """The exit code: 0 when the file has a known shape and a record, otherwise 1 after an error."""
    try:
        first = itertools.islice(found_records(path), FIRST)
        if any(record and b'"keen_id"' in record for _, _, record, _, _ in first):
            return 0
        raise OtherShape(
            path,
            "its first records are no attempts: none has a keen_id",
            f"name another file: DATA=…; what they are: make validate{knobs.of_file()}",
        )
    except OtherShape as error:
        print(f"error: {error.what}\n       {error.why}\n       {error.then}", file=sys.stderr)
    except OSError as error:
        print(
            f"error: {path} cannot be read: {error.strerror}\n       nothing was sent\n"
            "       look whether it is what you mean, and yours to read: "
            f"ls -l {shlex.quote(path)}",
            file=sys.stderr,
        )
    return 1


def main(path: str) -> int:
    """Prints the records of the file. The exit code: 3 when some cannot be sent, otherwise 0."""
    size, due, refused = os.path.getsize(path), intervals.report_timer(), 0
    out = sys.stdout.buffer
    for number, record, why, position in file_records(path):
        if record is None:
            refused += 1
            if refused <= 20:
                print(f"  record {number}: {why}", file=sys.stderr)
            continue
        out.write(json.dumps(record.decode()).encode())
        out.write(b"\n")
        if due():
            print(
                f"  {number:>12,} records, {100 * position // size:>3} % of {size / 1e6:,.0f} MB",
                file=sys.stderr,
            )
    out.flush()
    if refused:
        print(f"  {refused:,} record(s) cannot be sent, the first are named above", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    try:
        sys.exit(check(sys.argv[2]) if sys.argv[1] == "--check" else main(sys.argv[1]))
    except BrokenPipeError:  # the reader of our output ended, and reports why itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        print(f"  {sys.argv[1]} cannot be read: {error.strerror}", file=sys.stderr)
        sys.exit(1)
