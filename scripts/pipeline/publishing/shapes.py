"""Recognises files that cannot be sent as they are, by their first bytes and their first record."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.errors import Failure

# Files that hold no plain JSON: (a pattern of the beginning, what it is, the command that writes it
# as JSON).
FORMATS = [
    # A serializer of a schema registry writes 0 and the schema's id before an object.
    (rb"(?s:\x00.{4})\s*\{", "framed by a schema registry's serializer", "tail -c +6"),
    (rb"PK\x03\x04", "a zip archive", "unzip -p"),
    (rb"\xfd7zXZ\x00", "compressed by xz", "xz -dc"),
    (rb"\x1f\x8b", "compressed by gzip twice", "gzip -dc"),  # data_file.py reads the first one
    (rb"BZh", "compressed by bzip2", "bzip2 -dc"),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -dc"),
    (rb"\x04\x22\x4d\x18", "compressed by lz4", "lz4 -dc"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so"),
    (rb"PAR1", "a Parquet file", "parquet-tools cat --json"),
    (rb"Obj\x01", "an Avro file", "avro-tools tojson"),
    (rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff", "in UTF-32", "iconv -f UTF-32 -t UTF-8"),
    (rb"\xff\xfe|\xfe\xff", "in UTF-16", "iconv -f UTF-16 -t UTF-8"),
]
# What an office program's file has in the head of its zip archive.
OFFICE = re.compile(rb"\[Content_Types\]\.xml|_rels/|mimetypeapplication/vnd")
JSON_BEGINS = (b"{", b"[", b'"')
HEAD = 4096  # bytes that tell the shape
ANYWHERE = '.. | objects | select(has("keen_id"))'  # a jq filter
EXPORT = "export the attempts as JSON, one object a line"
# Separates two objects: JSON's white space, or the sign of JSON text sequences (RFC 7464).
BETWEEN = b" \t\r\n\x1e"


class OtherShape(Failure):
    """The file is not a JSON array, JSON lines or JSON objects: what it is, and what to type."""

    def __init__(self, path: str, what: str, then: str):
        why = "a data file is a JSON array, or JSON objects, one a line"
        super().__init__(f"{path} cannot be sent as it is: {what}", why, then)


@dataclass(frozen=True)
class Head:
    """The first bytes of a file's content."""

    path: str
    compressed: bool  # the file is, by gzip
    content: bytes  # without a byte order mark

    @property
    def text(self) -> bytes:
        return self.content.lstrip(BETWEEN)

    def other(self, what: str, then: str) -> OtherShape:
        return OtherShape(self.path, what, then)

    def convertible(self, what: str, command: str) -> OtherShape:
        """The OtherShape of a file that `command` converts."""
        extensions = r"([.](gz|tar|tgz|json|jsonl|ndjson|csv|txt|zip|xz|bz2|zst|lz4|7z))*$"
        quoted = shlex.quote(self.path)
        new = shlex.quote(re.sub(extensions, ".new.jsonl", self.path, count=1))
        convert = f"gzip -dc {quoted} | {command}" if self.compressed else f"{command} {quoted}"
        return self.other(what, f"{convert} > {new}; then name that file: DATA={new}")


def check_head(head: Head) -> None:
    """Raises the OtherShape of a file that begins so and cannot be read."""
    _check_format(head)
    _check_binary(head)
    _check_text(head)


def _check_format(head: Head) -> None:
    if head.text.startswith(b"version https://git-lfs"):
        raise head.other("it is Git LFS's pointer to the file", "git lfs pull gets the file")
    if head.text.startswith(b"PK") and OFFICE.search(head.content):
        raise head.other("it is an office program's file", EXPORT)
    for beginning, what, command in FORMATS:
        if re.match(beginning, head.content):
            raise head.convertible(f"it is {what}", command)
    if head.content[257:262] == b"ustar":
        command = f"tar -x{'z' * head.compressed}Of"
        raise replace(head, compressed=False).convertible("it is a tar archive", command)


def _check_binary(head: Head) -> None:
    for encoding in ("UTF-16BE", "UTF-16LE"):
        text = head.content.decode(encoding, "replace").lstrip().encode()
        if text.startswith(JSON_BEGINS):
            raise head.convertible("it is in UTF-16", f"iconv -f {encoding} -t UTF-8")
    if b"\0" in head.content and not head.text.startswith(JSON_BEGINS):
        then = f"see what it is: file {shlex.quote(head.path)}; then: {EXPORT}"
        raise head.other("it is a binary file", then)


def _check_text(head: Head) -> None:
    if head.text.startswith(b"<"):
        what = "it is an HTML or XML page, as servers send one with an error or a log-in form"
        then = f"look at it: head {shlex.quote(head.path)}; then get the file again"
        raise head.other(what, then)
    lines = head.content.splitlines()[:2]
    if len(lines) < 2:
        return
    for line in lines:
        if line.lstrip(BETWEEN).startswith(JSON_BEGINS) and not re.match(rb'"[^"]*"[,;\t]', line):
            return
    for separator, name in ((b",", "commas"), (b";", "semicolons"), (b"\t", "tabs")):
        if 0 < lines[0].count(separator) <= lines[1].count(separator):
            what = f"it is a table with {name} between its columns (CSV), "
            raise head.other(what + "which cannot hold an attempt's questions and options", EXPORT)


def check_first_record(head: Head, word: str, record: bytes) -> None:
    """Raises the OtherShape of a file whose messages are nested in its records.

    word: "line", "element" or "object", what the record is in its file.
    """
    if inside := _messages_inside(record):
        command = f"jq -c {shlex.quote(f'.[] | {inside}' if word == 'element' else inside)}"
        what = f"the messages lie inside of other values, each at {inside}"
        raise head.convertible(what, command)


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
    if isinstance(value, dict) and "keen_id" in value:
        return None
    paths = [re.sub(r"^\[", ".[", path) for path in _paths_to_messages(value)]
    # Change-data streams have a row's old state, too.
    paths = [path for path in paths if path.endswith(".after")] or paths
    return ANYWHERE if len(paths) > 1 else next(iter(paths), None)


def _paths_to_messages(value: object, depth: int = 8) -> Iterator[str]:
    """The jq paths to nested objects that have a keen_id: .payload.after, .attempts[], .[]

    Of a list, the first value stands for all.
    """
    members = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, list):
        members = [("[]", each) for each in value[:1]]
    for name, member in members:
        step = name if isinstance(value, list) else f"[{json.dumps(name)}]"
        if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            step = f".{name}"
        if isinstance(member, dict) and "keen_id" in member:
            yield step
        elif depth:
            yield from (step + path for path in _paths_to_messages(member, depth - 1))
