"""The file of a backup, without HDFS."""

import io
import json
import tarfile

import pytest

from pipeline import settings
from pipeline.backup import archive
from pipeline.errors import Failure
from pipeline.settings import ROOT

MANIFEST = archive.Manifest("a", "id", "2026-01-01T00:00:00+00:00", 1, {}, {"0": 1}, {})


def test_its_manifest_names_the_version_that_made_it(tmp_path):
    archive.write(str(tmp_path / "a.tar"), MANIFEST, opened=None)
    with tarfile.open(tmp_path / "a.tar") as made:
        found = json.load(made.extractfile("manifest.json"))
    newest = (ROOT / "CHANGELOG.md").read_text().partition("\n## ")[2].split()[0]
    assert found["version"] == newest
    assert archive.read_manifest(str(tmp_path / "a.tar"), settings.read({}).feed("a")) == MANIFEST


def test_one_of_a_later_format_is_refused_with_the_version_that_made_it(tmp_path):
    text = json.dumps({"format": 99, "version": "7.1.0"}).encode()
    with tarfile.open(tmp_path / "later.tar", "w") as made:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(text)
        made.addfile(info, io.BytesIO(text))
    with pytest.raises(Failure) as refused:
        archive.read_manifest(str(tmp_path / "later.tar"), settings.read({}).feed("a"))
    assert "its format is 99" in refused.value.why
    assert "version 7.1.0 made it" in refused.value.why
