"""The records of a data file, one a line: what publish sends, and what it names because it cannot be sent.

Run by: make publish (make validate reads by it too)
    scripts/env.sh python scripts/records.py FILE > records, one a line, each as a JSON string in ASCII
    scripts/env.sh python scripts/records.py --check FILE     only says so when FILE is of another shape, or empty

FILE is a JSON array, or holds one record a line, or JSON objects one after the other, on as many lines as they like; all
of it may be compressed by gzip. A file of another shape is named by its first bytes, with the command that changes it.
A line keeps every byte; another record too, but for its line ends, which become blanks (a text in JSON cannot hold one).
They go out as strings since jq 1.6 reads plain lines (-R) in
pieces of 4,095 bytes, and damages a character that lies across two. Memory is flat at any size. A record that cannot
be read is named by its number (of the line, or of the element) on standard error, the rest goes out, and the exit is 3; but
where an element of an array is broken off or no JSON, nobody can tell where the next begins: what follows cannot be found.
Progress is shown for large files.
"""
import codecs
import gzip
import json
import os
import re
import shlex
import sys
import time
import zlib

CHUNK = 2**20
BYTE_ORDER_MARK = codecs.BOM_UTF8
# kcat and the broker take 1,000,000 bytes with the key; a little is left for that.
LARGEST = 990_000
# An element of an array that has no end by then is taken for a broken one: to look on would take all memory.
LONGEST_ELEMENT = 64 * 2**20
# An element of an array ends where its brackets close, however deep: landing says what is too deep.
sys.setrecursionlimit(20_000)


# First bytes of files that hold no JSON as they are: (bytes, what that is, the command that writes it as JSON).
FORMATS = [
    (b"PK\x03\x04", "a zip archive", "unzip -p"),
    (b"\xfd7zXZ\x00", "compressed by xz", "xz -dc"),
    (b"BZh", "compressed by bzip2", "bzip2 -dc"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -dc"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "lz4 -dc"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so"),
    (b"PAR1", "a Parquet file", "parquet-tools cat --json"),
    (b"Obj\x01", "an Avro file", "avro-tools tojson"),
    (b"\x00\x00\x00", "framed by a schema registry's serializer", "tail -c +6"),
    (b"\xff\xfe\x00\x00", "in UTF-32", "iconv -f UTF-32 -t UTF-8"),
    (b"\x00\x00\xfe\xff", "in UTF-32", "iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "in UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "in UTF-16", "iconv -f UTF-16 -t UTF-8"),
]
HEAD = 4096  # bytes that tell the shape
BETWEEN = b" \t\r\n\x1e"  # two objects: JSON's blanks, and the sign that JSON text sequences (RFC 7464) have


class OtherShape(ValueError):
    """The file is no JSON array, JSON lines or JSON objects: what it is, what it should be, and what to type."""

    def __init__(self, path, what, then):
        super().__init__(what)
        self.what, self.why, self.then = f"{path} cannot be sent as it is: {what}", "a data file is a JSON array, or JSON objects, one a line", then


def file_records(path):
    """Yields (number from 1, bytes, or None where it cannot be sent; why, or None; bytes of the file read so far)."""
    for _, number, record, why, position in found_records(path):
        if record is not None:
            record, why = _checked(record)
        yield number, record, why, position


def found_records(path):
    """As file_records, with "line", "element" or "object" first, and nothing checked: None is only what cannot be found.
    OtherShape, before anything is given, for a file that has to be changed first, or holds no record."""
    with open(path, "rb") as raw:
        compressed = raw.peek(2)[:2] == b"\x1f\x8b"
        number = 0
        try:
            for word, number, record, why in _found(gzip.GzipFile(fileobj=raw) if compressed else raw, path, compressed):
                yield word, number, record, why, raw.tell()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            number += 1
            yield "record", number, None, f"the gzip file is damaged from here on: {error}", raw.tell()
    if not number:
        raise OtherShape(path, "it holds no record", "name a file that has some: DATA=…; the assignment's: make data")


def _found(file, path, compressed):
    """Yields (word, number, record, why), read in the way that the file's first bytes ask for."""
    def change(what, command):
        new = re.sub(r"([.](gz|json|jsonl|ndjson|csv|txt|zip|xz|bz2|zst|lz4|7z))*$", ".new.jsonl", path, count=1)
        pipe, source = (f"gzip -dc {shlex.quote(path)} | ", "") if compressed else ("", " " + shlex.quote(path))
        return OtherShape(path, what, f"{pipe}{command}{source} > {shlex.quote(new)}; then name that file: DATA={shlex.quote(new)}")

    head = file.read(HEAD)
    body = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    begin = head[body:].lstrip(BETWEEN)
    for beginning, what, command in FORMATS:
        if head.startswith(beginning):
            raise change(f"it is {what}", command)
    for half, encoding in ((head[::2], "UTF-16BE"), (head[1::2], "UTF-16LE")):
        if half.count(0) > len(head) / 4:
            raise change("it is in UTF-16", f"iconv -f {encoding} -t UTF-8")
    if begin.startswith(b"<"):
        raise OtherShape(path, "it is an HTML or XML page, as servers send one with an error or a log-in form", f"look at it: head {shlex.quote(path)}; then get the file again")
    lines = head[body:].splitlines()[:2]
    for separator, name in ((b",", "commas"), (b";", "semicolons"), (b"\t", "tabs")):
        if len(lines) == 2 and not any(line.lstrip(BETWEEN)[:1] in (b"{", b"[", b'"') for line in lines) and 0 < lines[0].count(separator) <= lines[1].count(separator):
            raise OtherShape(path, f"it is a table with {name} between its columns (CSV), which cannot hold an attempt's questions and options", "export the attempts as JSON, one object a line")

    file.seek(body)
    if begin.startswith(b"["):
        found = _values(file, "element")
    elif begin.startswith(b"{") and (b"\x1e" in head[:body + 1] or not _one_record_a_line(file, body)):
        found = _values(file, "object")
    else:
        found = _lines(file)
    for count, (word, number, record, why) in enumerate(found):
        if count == 0 and record is not None and (inside := _messages_inside(record)):
            raise change(f"the messages lie inside of other values, each at {inside}", f"jq -c '{'.[] | ' if word == 'element' else ''}{inside}'")
        yield word, number, record, why


def _one_record_a_line(file, body):
    """Whether records stand one on a line: the first line holds one, or something that cannot be read at all."""
    line = b""
    while not line.strip():
        line = file.readline(LONGEST_ELEMENT)
    try:
        text = line.decode().strip()
        _, end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text)
        one = not text[end:].lstrip().startswith("{")
    except (ValueError, RecursionError):
        file.seek(body)
        _, _, record, _ = next(_values(file, "object"))
        one = record is None or len(record) < len(line)
    file.seek(body)
    return one


def _messages_inside(record):
    """What jq finds the messages by, where they are not the records themselves: texts that hold JSON once more, or objects
    around them, as an export or a change-data stream has them. None where the record is a message, or nothing of it."""
    try:
        value = json.loads(record, parse_int=str, parse_float=str)
        if isinstance(value, str):
            return "fromjson" if isinstance(json.loads(value), dict) else None
    except (ValueError, RecursionError):
        return None
    return _path_to_messages(value) if isinstance(value, dict) and "keen_id" not in value else None


def _path_to_messages(value, depth=4):
    """A path of jq's to the objects inside of this one that have a keen_id: .payload.after, .attempts[]; None without."""
    for name, member in value.items():
        step = f".{name}" if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else f"[{json.dumps(name)}]"
        if isinstance(member, list) and member:
            member, step = member[0], step + "[]"
        if isinstance(member, dict) and depth:
            if "keen_id" in member:
                return step
            if inside := _path_to_messages(member, depth - 1):
                return step + inside
    return None


def _lines(file):
    for number, line in enumerate(file, start=1):
        line = line.rstrip(b"\r\n")
        if line.strip(b" \t\r"):
            yield "line", number, line, None


def _values(file, word):
    """The values of a JSON array ("element"), or values with nothing but blanks between them ("object")."""
    # Numbers as text: nobody looks at them here, and Python reads no integer of more than 4,300 digits.
    decoder, utf8 = json.JSONDecoder(parse_int=str, parse_float=str), codecs.getincrementaldecoder("utf-8")()
    in_array = word == "element"
    text, at, number, ended = "", 0, 0, False
    between = " \t\r\n," if in_array else BETWEEN.decode()
    if in_array:
        while file.read(1) != b"[":
            pass
    while True:
        while at < len(text) and text[at] in between:
            at += 1
        if in_array and text.startswith("]", at):
            if text[at + 1:].strip() or file.read(CHUNK).strip():
                yield word, number + 1, None, "something follows the end of the array (one record a line would be found)"
            return
        try:
            if at == len(text):
                if ended and not in_array:
                    return
                raise ValueError("the file ends inside the array")
            _, end = decoder.raw_decode(text, at)
            if end == len(text) and not ended:  # a number at the end of what was read may go on
                raise ValueError
        except (ValueError, RecursionError) as error:
            if not ended and not isinstance(error, RecursionError) and len(text) - at < LONGEST_ELEMENT:
                # More is needed. As much again as is there: an element is scanned a few times at most, whatever its size.
                chunk = file.read(max(CHUNK, len(text) - at))
                ended = not chunk
                try:
                    text, at = text[at:] + utf8.decode(chunk, final=ended), 0
                    continue
                except UnicodeDecodeError:
                    error = "it, or what follows, is not UTF-8"
            yield word, number + 1, None, f"{error}; what follows in the {'array' if in_array else 'file'} cannot be found (one record a line would be)"
            return
        number += 1
        yield word, number, text[at:end].replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogatepass"), None
        at = end


def too_large(record):
    return f"it has {len(record):,} bytes, {LARGEST:,} can be sent" if len(record) > LARGEST else None


def _checked(record):
    """(record, None), or (None, why) for one that is no JSON or too large."""
    if too_large(record):
        return None, too_large(record)
    try:
        json.loads(record.decode("utf-8"), parse_int=str, parse_float=str)
    except UnicodeDecodeError as error:
        return None, f"it is not UTF-8: byte {error.start} is 0x{record[error.start]:02x}"
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    except RecursionError:
        pass  # JSON as far as it goes; landing looks closer
    return record, None


def check(path):
    """The exit code: 0 when the file has a shape that can be sent and holds a record, otherwise 1, and it says why."""
    try:
        next(found_records(path))
        return 0
    except OtherShape as error:
        print(f"error: {error.what}\n       {error.why}\n       {error.then}", file=sys.stderr)
    except OSError as error:
        print(f"error: {path} cannot be read: {error.strerror}\n       nothing was sent\n       look whether it is what you mean, and yours to read: ls -l {shlex.quote(path)}", file=sys.stderr)
    return 1


def main(path):
    size, said, refused = os.path.getsize(path), time.monotonic(), 0
    out = sys.stdout.buffer
    for number, record, why, position in file_records(path):
        if record is None:
            refused += 1
            if refused <= 20:
                print(f"  record {number}: {why}", file=sys.stderr)
            continue
        out.write(json.dumps(record.decode()).encode())
        out.write(b"\n")
        if time.monotonic() - said > 5:
            said = time.monotonic()
            print(f"  {number:>12,} records, {100 * position // size:>3} % of {size / 1e6:,.0f} MB", file=sys.stderr)
    out.flush()
    if refused:
        print(f"  {refused:,} record(s) cannot be sent, the first are named above", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    try:
        sys.exit(check(sys.argv[2]) if sys.argv[1] == "--check" else main(sys.argv[1]))
    except BrokenPipeError:  # whoever read our lines is gone, and says why
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        print(f"  {sys.argv[1]} cannot be read: {error.strerror}", file=sys.stderr)
        sys.exit(1)
