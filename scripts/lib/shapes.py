"""Recognises files that cannot be sent as they are, by their first bytes and their first record.

records.py imports this.
"""

import json
import re
import shlex

from errors import Failure

# Files that hold no plain JSON: (first bytes, what it is, the command that writes it as JSON).
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
# Separates two objects: JSON's white space, or the sign of JSON text sequences (RFC 7464).
BETWEEN = b" \t\r\n\x1e"


class OtherShape(Failure):
    """The file is not a JSON array, JSON lines or JSON objects.

    Says what it is, what it should be, and what to type.
    """

    def __init__(self, path: str, what: str, then: str):
        super().__init__(
            f"{path} cannot be sent as it is: {what}",
            "a data file is a JSON array, or JSON objects, one a line",
            then,
        )


def convertible(path: str, compressed: bool, what: str, command: str) -> OtherShape:
    """The OtherShape of a file that `command` converts; compressed: by gzip."""
    extensions = r"([.](gz|tar|tgz|json|jsonl|ndjson|csv|txt|zip|xz|bz2|zst|lz4|7z))*$"
    new = re.sub(extensions, ".new.jsonl", path, count=1)
    quoted, quoted_new = shlex.quote(path), shlex.quote(new)
    convert = f"gzip -dc {quoted} | {command}" if compressed else f"{command} {quoted}"
    return OtherShape(
        path, what, f"{convert} > {quoted_new}; then name that file: DATA={quoted_new}"
    )


def of_head(path: str, compressed: bool, head: bytes, body: int) -> OtherShape | None:
    """The OtherShape of a file with these first bytes, or None when they can be read.

    The byte order mark, if any, ends at `body`.
    """
    begin = head[body:].lstrip(BETWEEN)
    for beginning, what, command in FORMATS:
        if head.startswith(beginning):
            return convertible(path, compressed, f"it is {what}", command)
    if head[257:262] == b"ustar":
        return convertible(path, False, "it is a tar archive", f"tar -x{'z' * compressed}Of")
    for half, encoding in ((head[::2], "UTF-16BE"), (head[1::2], "UTF-16LE")):
        if half.count(0) > len(head) / 4:
            command = f"iconv -f {encoding} -t UTF-8"
            return convertible(path, compressed, "it is in UTF-16", command)
    if begin.startswith(b"<"):
        return OtherShape(
            path,
            "it is an HTML or XML page, as servers send one with an error or a log-in form",
            f"look at it: head {shlex.quote(path)}; then get the file again",
        )
    lines = head[body:].splitlines()[:2]
    if len(lines) < 2 or any(line.lstrip(BETWEEN)[:1] in (b"{", b"[", b'"') for line in lines):
        return None
    for separator, name in ((b",", "commas"), (b";", "semicolons"), (b"\t", "tabs")):
        if 0 < lines[0].count(separator) <= lines[1].count(separator):
            return OtherShape(
                path,
                f"it is a table with {name} between its columns (CSV), "
                "which cannot hold an attempt's questions and options",
                "export the attempts as JSON, one object a line",
            )
    return None


def of_first_record(path: str, compressed: bool, word: str, record: bytes) -> OtherShape | None:
    """The OtherShape of a file whose messages are nested in its records, or None.

    word: "line", "element" or "object", what the record is in its file.
    """
    inside = _messages_inside(record)
    if not inside:
        return None
    return convertible(
        path,
        compressed,
        f"the messages lie inside of other values, each at {inside}",
        f"jq -c '{'.[] | ' if word == 'element' else ''}{inside}'",
    )


def _messages_inside(record: bytes) -> str | None:
    """The jq filter that finds the messages in a record: JSON encoded twice, or wrapped in objects.

    Exports and change-data streams wrap them. None when the record is a message, or holds none.
    """
    try:
        value = json.loads(record, parse_int=str, parse_float=str)
        if isinstance(value, str):
            return "fromjson" if isinstance(json.loads(value), dict) else None
    except (ValueError, RecursionError):
        return None
    return _path_to_messages(value) if isinstance(value, dict) and "keen_id" not in value else None


def _path_to_messages(value: dict, depth: int = 4) -> str | None:
    """The jq path to nested objects that have a keen_id: .payload.after, .attempts[]; or None."""
    for name, member in value.items():
        step = (
            f".{name}" if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else f"[{json.dumps(name)}]"
        )
        if isinstance(member, list) and member:
            member, step = member[0], step + "[]"
        if isinstance(member, dict) and depth:
            if "keen_id" in member:
                return step
            if inside := _path_to_messages(member, depth - 1):
                return step + inside
    return None
