"""The archive to hand in, and the project's version."""

import io
import re
import tarfile

import pytest

import dist
from pipeline import VERSION, files
from pipeline.settings import ROOT


@pytest.fixture(scope="module")
def archive():
    return dist.archive()


def test_the_archive_has_the_same_bytes_each_time_and_holds_no_data(archive):
    assert dist.archive() == archive
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    top = f"tracking-user-activity-{VERSION}"
    names = [member.name.removeprefix(f"{top}/") for member in members]
    assert names == sorted(names) and {"Makefile", "annotations.md", "scripts/setup.sh"} < {*names}
    assert all(member.name.startswith(f"{top}/") for member in members)
    assert not [name for name in names if re.match(r"(data|dist|\.git|\.venv|\.jars|\.run)/", name)]
    assert {(member.mtime, member.uid, member.gid) for member in members} == {(315532800, 0, 0)}
    modes = {name: member.mode for name, member in zip(names, members, strict=True)}
    assert modes["scripts/setup.sh"] == 0o755 and modes["README.md"] == 0o644


def test_without_git_the_same_files_are_the_projects(archive, tmp_path):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(tmp_path)
    (root,) = tmp_path.iterdir()
    # What set-up, the tests and a user's data add is not part of the project.
    for name in (".venv/x", ".jars/x", ".run-2/x", "data/x", "dist/x", ".mypy_cache/x"):
        (root / name).parent.mkdir()
        (root / name).write_text("")
    assert not (root / ".git").exists()
    assert files.of_project(root) == files.of_project(ROOT)


def test_the_changelog_begins_with_this_version():
    versions = re.findall(
        r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert versions[0] == VERSION and len(versions) > 3
