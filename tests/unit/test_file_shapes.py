"""Files of another shape: read where that is safe, otherwise named with the command to convert."""

import bz2
import gzip
import json
import lzma
import shutil
import subprocess
import tarfile
import zipfile

import pytest

from messages import FIVE, LINES, VALUES
from pipeline.publishing.data_file import OtherShape, sendable_records

ARRAY = json.dumps(VALUES).encode()
READ = {
    "array.json": ARRAY,
    "lines.jsonl": LINES,
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "cr.jsonl": LINES.replace(b"\n", b"\r"),
    "bom.jsonl": b"\xef\xbb\xbf" + LINES,
    "array.json.gz": gzip.compress(ARRAY),
    "no-suffix": gzip.compress(LINES),
    "pretty-array.json": json.dumps(VALUES, indent=2).encode(),
    "pretty.json": b"\n".join(json.dumps(value, indent=2).encode() for value in VALUES),
    "together.json": b"".join(FIVE),
    "blanks.json": b"\n\n  " + b" ".join(FIVE) + b"\n",
    "array-lines.jsonl": json.dumps(VALUES[:2]).encode()
    + b"\r\n"
    + json.dumps(VALUES[2:]).encode()
    + b"\n",
    "commas.json": b",\n".join(FIVE) + b",\n",
    "sequence.json": b"".join(b"\x1e" + each + b"\n" for each in FIVE),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_that_can_be_read_without_a_guess_is_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(READ[name])
    found = list(sendable_records(str(path)))
    assert [json.loads(record.content) for record in found] == VALUES
    assert all(record.why is None for record in found)


def zipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("array.json", ARRAY)
    return (tmp_path / "made.zip").read_bytes()


def tarred(tmp_path, mode):
    (tmp_path / "member.json").write_bytes(ARRAY)
    with tarfile.open(tmp_path / "made.tar", mode) as archive:
        archive.add(tmp_path / "member.json", "member.json")
    return (tmp_path / "made.tar").read_bytes()


WRAPPED = json.dumps({"count": 5, "attempts": VALUES}).encode()
WRAPPED_IN_GZIP = gzip.compress(json.dumps({"attempts": VALUES}).encode())
KEYED = json.dumps({value["keen_id"]: value for value in VALUES}).encode()
PAGES = json.dumps({"page-1": VALUES[:2], "page-2": {"attempts": VALUES[2:]}}).encode()
UPDATES = b"\n".join(b'{"before": %s, "after": %s}' % (FIVE[0], each) for each in FIVE)
ENVELOPES = json.dumps([{"payload": {"before": None, "after": value}} for value in VALUES]).encode()
TWICE_ENCODED = b"\n".join(json.dumps(each.decode()).encode() for each in FIVE)
PAGE = b"\n<!DOCTYPE html><html><body>404</body></html>"
# {file: (its content, words of the error, what the command in the error must produce, or None:
# the error names no command)}
CHANGED = {
    "wrapped.json": (WRAPPED, "inside of other values, each at .attempts[]", VALUES),
    "wrapped.json.gz": (WRAPPED_IN_GZIP, ".attempts[]", VALUES),
    "envelopes.json": (ENVELOPES, ".payload.after", VALUES),
    "keyed.json": (KEYED, "each at .. | objects", VALUES),
    "pages.json": (PAGES, "each at .. | objects", VALUES),
    "odd-names.json": (json.dumps({"a-b": {"c d": VALUES}}).encode(), '["a-b"]["c d"][]', VALUES),
    "updates.jsonl": (UPDATES, "each at .after", VALUES),
    "nested.json": (json.dumps([VALUES[:2], VALUES[2:]]).encode(), "each at .[]", VALUES),
    "framed.bin": (b"\0\0\0\0\7" + FIVE[0], "schema registry", VALUES[:1]),
    "twice.json.gz": (gzip.compress(gzip.compress(LINES)), "gzip twice", VALUES),
    "twice-encoded.jsonl": (TWICE_ENCODED, "fromjson", VALUES),
    "utf-16.json": (ARRAY.decode().encode("utf-16"), "UTF-16", VALUES),
    "utf-16-be.jsonl": (LINES.decode().encode("utf-16-be"), "UTF-16", VALUES),
    "archive.zip": (zipped, "a zip archive", VALUES),
    "archive.tar": (lambda folder: tarred(folder, "w"), "a tar archive", VALUES),
    "archive.tar.gz": (lambda folder: tarred(folder, "w:gz"), "a tar archive", VALUES),
    "array.json.xz": (lzma.compress(ARRAY), "compressed by xz", VALUES),
    "lines.bz2": (bz2.compress(LINES), "bzip2", VALUES),
    "empty.json": (b"", "holds no record", None),
    "empty-array.json": (b" [ ]\n", "holds no record", None),
    "blank.json": (b"\n \n", "holds no record", None),
    "page.json": (PAGE, "HTML", None),
    "table.csv": (b"keen_id,exam_name\n1,Git\n", "CSV", None),
    "quoted.csv": (b'"keen_id","exam_name"\n"1","Git"\n', "CSV", None),
    "book.xlsx": (b"PK\3\4" + bytes(26) + b"[Content_Types].xml", "office", None),
    "attempts.db": (b"SQLite format 3\0\x10\0\1\1" + bytes(100), "a binary file", None),
    "pointer.json": (b"version https://git-lfs.github.com/spec/v1\noid 1\n", "Git LFS", None),
    "semicolons.csv": (b"keen_id;exam_name\n1;Git\n2;Git\n", "CSV", None),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_file_of_another_shape_is_named_with_the_command_that_mends_it(name, tmp_path):
    content, words, values = CHANGED[name]
    path = tmp_path / name
    path.write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(OtherShape) as caught:
        list(sendable_records(str(path)))
    assert words in caught.value.what and str(path) in caught.value.what
    if values:
        command, _, new = caught.value.then.partition("; then name that file: DATA=")
        program = command.split()[0]
        if not shutil.which(program):
            pytest.skip(f"there is no {program} here")
        subprocess.run(command, shell=True, check=True)
        assert [json.loads(record.content) for record in sendable_records(new)] == values


def test_a_damaged_gzip_file_gives_what_can_be_read_and_names_the_rest(tmp_path):
    path = tmp_path / "damaged.gz"
    path.write_bytes(gzip.compress(LINES * 1000)[:-2000])
    *read, last = sendable_records(str(path))
    assert len(read) > 100 and last.content is None and "the gzip file is damaged" in last.why
