"""The records of a data file, one a line: what publish sends, and what it names because it cannot be sent.

Run by: make publish (make validate reads by it too)
    scripts/env.sh python scripts/records.py FILE > records, one a line, each as a JSON string in ASCII

FILE is a JSON array, or holds one record a line. A line keeps every byte; an element of an array too, but for its line
ends, which become blanks (a text in JSON cannot hold one). They go out as strings since jq 1.6 reads plain lines (-R) in
pieces of 4,095 bytes, and damages a character that lies across two. Memory is flat at any size. A record that cannot
be read is named by its number (of the line, or of the element) on standard error, the rest goes out, and the exit is 3; but
where an element of an array is broken off or no JSON, nobody can tell where the next begins: what follows cannot be found.
Progress is shown for large files.
"""
import codecs
import json
import os
import sys
import time

CHUNK = 2**20
BYTE_ORDER_MARK = codecs.BOM_UTF8
# kcat and the broker take 1,000,000 bytes with the key; a little is left for that.
LARGEST = 990_000
# An element of an array that has no end by then is taken for a broken one: to look on would take all memory.
LONGEST_ELEMENT = 64 * 2**20
# An element of an array ends where its brackets close, however deep: landing says what is too deep.
sys.setrecursionlimit(20_000)


def file_records(path):
    """Yields (number from 1, bytes, or None where it cannot be sent; why, or None; bytes of the file read so far)."""
    for _, number, record, why, position in found_records(path):
        if record is not None:
            record, why = _checked(record)
        yield number, record, why, position


def found_records(path):
    """As file_records, with "line" or "element" first, and nothing checked: None is only what cannot be found."""
    with open(path, "rb") as file:
        start = file.read(len(BYTE_ORDER_MARK))
        if start != BYTE_ORDER_MARK:
            file.seek(0)
        body = file.tell()
        first = file.read(1)
        while first.isspace():
            first = file.read(1)
        if first == b"[":
            yield from _array_elements(file)
        else:
            file.seek(body)
            yield from _lines(file)


def _lines(file):
    for number, line in enumerate(file, start=1):
        line = line.rstrip(b"\r\n")
        if line.strip(b" \t\r"):
            yield "line", number, line, None, file.tell()


def _array_elements(file):
    # Numbers as text: nobody looks at them here, and Python reads no integer of more than 4,300 digits.
    decoder, utf8 = json.JSONDecoder(parse_int=str, parse_float=str), codecs.getincrementaldecoder("utf-8")()
    text, at, number, ended = "", 0, 0, False
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if text.startswith("]", at):
            if text[at + 1:].strip() or file.read(CHUNK).strip():
                yield "element", number + 1, None, "something follows the end of the array (one record a line would be found)", file.tell()
            return
        try:
            if at == len(text):
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
            yield "element", number + 1, None, f"{error}; what follows in the array cannot be found (one record a line would be)", file.tell()
            return
        number += 1
        yield "element", number, text[at:end].replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogatepass"), None, file.tell()
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
        sys.exit(main(sys.argv[1]))
    except BrokenPipeError:  # whoever read our lines is gone, and says why
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        print(f"  {sys.argv[1]} cannot be read: {error.strerror}", file=sys.stderr)
        sys.exit(1)
