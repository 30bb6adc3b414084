"""Reads the records of a data file: what publish sends, and what cannot be sent, with the reason.

Run by: make publish (make validate reads with it too)
    scripts/env.sh python -m pipeline.publishing.data_file FILE
        prints the records, one a line, each as a JSON string in ASCII

FILE is a JSON array, JSON lines, or JSON objects one after the other, on any number of lines each.
It may be compressed by gzip. For another shape, the error names the command that converts it.

A line is sent byte for byte. So is any other record, except that its line ends become blanks. They
are printed as JSON strings because jq 1.6 damages characters of plain lines (-R) over 4,095 bytes.

Memory is constant. A record that cannot be sent is named on standard error, the rest is sent, and
the exit code is 3. After an invalid or truncated element of an array the start of the next one is
unknown, so the rest of the array is not read.
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
from typing import NamedTuple

from pipeline import script
from pipeline.errors import Failure
from pipeline.publishing import shapes
from pipeline.publishing.shapes import BETWEEN, Head, OtherShape
from pipeline.settings import Feed, Settings
from pipeline.text import report_timer

CHUNK = 2**20
# kcat and the broker take 1,000,000 bytes including the key; this leaves room for the key.
LARGEST = 990_000
FIRST = 20  # records that tell a file of attempts from any other
NAMED = 20  # records that cannot be sent
# A longer element of an array counts as invalid: the search for its end would use up all memory.
LONGEST_ELEMENT = 64 * 2**20
# Numbers as text: values are not needed, and Python reads no integer of over 4,300 digits.
DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
# Deep nesting must not hide where an element ends; landing rejects what is too deep.
sys.setrecursionlimit(20_000)


class Record(NamedTuple):
    """A record of a data file; one of content and why is None."""

    word: str  # what it is in the file, "line", "element" or "object"; or its own file's name
    number: int  # from 1; 0: it has a file of its own
    content: bytes | None
    why: str | None = None  # why it cannot be sent
    position: int = 0  # how many bytes of the file were read with it

    @property
    def where(self) -> str:
        return f"{self.word} {self.number:,}" if self.number else self.word


def sendable_records(path: str) -> Iterator[Record]:
    """As found_records, but a record that is too large, or not JSON, has no content either."""
    for record in found_records(path):
        why = (too_large(record.content) or _not_json(record.content)) if record.content else None
        yield record._replace(content=None, why=why) if why else record


def found_records(path: str) -> Iterator[Record]:
    """The records of the file; one without content could not be found in it.

    Raises OtherShape at once for a file that has to be converted first, or has no record.
    """
    number = 0
    with open(path, "rb") as raw:
        compressed = raw.peek(2)[:2] == b"\x1f\x8b"
        try:
            for record in _found(gzip.GzipFile(fileobj=raw) if compressed else raw, path):
                number = record.number
                yield record._replace(position=raw.tell())
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            number += 1
            why = f"the gzip file is damaged from here on: {error}"
            yield Record("record", number, None, why, raw.tell())
    if not number:
        then = "name a file that has some: DATA=…; the assignment's: make data"
        raise OtherShape(path, "it holds no record", then)


def _found(file: BufferedIOBase, path: str) -> Iterator[Record]:
    content = file.read(shapes.HEAD)
    begin = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    head = Head(path, isinstance(file, gzip.GzipFile), content[begin:])
    shapes.check_head(head)
    file.seek(begin)
    if head.text.startswith(b"["):
        found = _values(file, "element")
    elif head.text.startswith(b"{") and (
        head.content.startswith(b"\x1e") or not _one_record_a_line(file, begin)
    ):
        found = _values(file, "object")
    else:
        found = _lines(file)
    for count, record in enumerate(found):
        if count == 0 and record.content is not None:
            shapes.check_first_record(head, record.word, record.content)
        yield record


def _one_record_a_line(file: BufferedIOBase, begin: int) -> bool:
    """Whether each line is a record: the first line holds one, or something unreadable."""
    while not (line := file.readline(LONGEST_ELEMENT)).strip():
        pass
    try:
        text = line.decode().strip()
        _, end = DECODER.raw_decode(text)
        return not text[end:].lstrip().startswith(("{", ","))
    except (ValueError, RecursionError):
        file.seek(begin)
        first = next(_values(file, "object")).content
        return first is None or len(first) < len(line)
    finally:
        file.seek(begin)


def _lines(file: BufferedIOBase) -> Iterator[Record]:
    for number, line in enumerate(file, start=1):
        line = line.rstrip(b"\r\n")
        if line.strip(b" \t\r"):
            yield Record("line", number, line)


def _values(file: BufferedIOBase, word: str) -> Iterator[Record]:
    """The values of a JSON array ("element"), or values separated by white space ("object")."""
    number = 0
    try:
        for number, value in enumerate(_Values(file, word == "element"), start=1):
            line = value.replace("\r", " ").replace("\n", " ")
            yield Record(word, number, line.encode("utf-8", "surrogatepass"))
    except _Lost as lost:
        yield Record(word, number + 1, None, str(lost))


class _Lost(Exception):
    """Why the values that follow cannot be found."""


class _Values:
    """The texts of the JSON values of a file, which is read in pieces."""

    def __init__(self, file: BufferedIOBase, in_array: bool):
        self.utf8 = codecs.getincrementaldecoder("utf-8")()
        self.file, self.in_array, self.text, self.at, self.ended = file, in_array, "", 0, False
        rest = f"what follows in the {'array' if in_array else 'file'} cannot be found"
        self.rest = f"{rest} (one record a line would be)"
        while in_array and file.read(1) != b"[":
            pass

    def __iter__(self) -> Iterator[str]:
        while not self.is_at_end():
            try:
                _, end = DECODER.raw_decode(self.text, self.at)
                if end == len(self.text) and not self.ended:  # a number may continue
                    raise ValueError
            except RecursionError as error:
                raise _Lost(f"{error}; {self.rest}") from None
            except ValueError as error:
                size = len(self.text) - self.at
                if self.ended or size >= LONGEST_ELEMENT:
                    fault = str(error) if size else "the file ends inside the array"
                    raise _Lost(f"{fault}; {self.rest}") from None
                self.read()
            else:
                yield self.text[self.at : end]
                self.at = end

    def is_at_end(self) -> bool:
        """Skips what separates values; whether none follows."""
        between = BETWEEN.decode() + ","  # a comma also where an array lacks its brackets
        while True:
            while self.at < len(self.text) and self.text[self.at] in between:
                self.at += 1
            if not self.in_array:
                return self.ended and self.at == len(self.text)
            if not self.text.startswith("]", self.at):
                return False
            self.at += 1
            while not (rest := self.text[self.at :].lstrip()) and not self.ended:
                self.read()
            if not rest:
                return True
            if not rest.startswith("["):  # another array may follow, as where each line is one
                fault = "something follows the end of the array"
                raise _Lost(f"{fault} (one record a line would be found)")
            self.text, self.at = rest[1:], 0

    def read(self) -> None:
        """Doubles the text, so that a value of any size is scanned a few times at most."""
        chunk = self.file.read(max(CHUNK, len(self.text) - self.at))
        self.ended = not chunk
        try:
            piece = self.utf8.decode(chunk, final=self.ended)
        except UnicodeDecodeError:
            raise _Lost(f"it, or what follows, is not UTF-8; {self.rest}") from None
        self.text, self.at = self.text[self.at :] + piece, 0


def too_large(content: bytes) -> str | None:
    """Why Kafka would not take a record, or None."""
    size = len(content)
    return f"it has {size:,} bytes, {LARGEST:,} can be sent" if size > LARGEST else None


def _not_json(content: bytes) -> str | None:
    try:
        json.loads(content.decode(), parse_int=str, parse_float=str)
    except UnicodeDecodeError as error:
        return f"it is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}"
    except ValueError as error:
        return f"it is not JSON: {error}"
    except RecursionError:
        pass  # too deep for this parser; landing judges it
    return None


def check(feed: Feed, path: str) -> None:
    """Failure when the file has another shape, no record or no attempts, or cannot be read."""
    try:
        first = itertools.islice(found_records(path), FIRST)
        if not any(record.content and b'"keen_id"' in record.content for record in first):
            what = "its first records are no attempts: none has a keen_id"
            then = f"name another file: DATA=…; what they are: {feed.make('validate', 'DATA')}"
            raise OtherShape(path, what, then)
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        then = f"look whether it is what you mean, and yours to read: ls -l {shlex.quote(path)}"
        raise Failure(what, "nothing was sent", then) from None


def main(_: Settings) -> None:
    path = sys.argv[1]
    due, refused = report_timer(), 0
    try:
        size = os.path.getsize(path)
        for record in sendable_records(path):
            if record.content is not None:
                sys.stdout.buffer.write(json.dumps(record.content.decode()).encode() + b"\n")
            else:
                refused += 1
                if refused <= NAMED:
                    print(f"  record {record.number}: {record.why}", file=sys.stderr)
            if due():
                done = f"{record.number:>12,} records, {100 * record.position // size:>3} %"
                print(f"  {done} of {size / 1e6:,.0f} MB", file=sys.stderr)
    except BrokenPipeError:  # the reader of our output ended, and reports why itself
        raise
    except OSError as error:
        print(f"  {path} cannot be read: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    if refused:
        print(f"  {refused:,} record(s) cannot be sent, the first are named above", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    script.run(main)
