"""Write docs/third-party.md and docs/third-party.cdx.json: each locked package and jar.

Run by: make lock (it needs the network, and the descriptions of the jars that Ivy has read)
    scripts/env.sh python scripts/third_party.py IVY_CACHE

Each has its version, its licence and its purpose. Licences come from the metadata of the locked
files in the package index, and from the POMs of the jars. The list is CycloneDX, in JSON.
"""

from __future__ import annotations

import concurrent.futures
import email
import importlib.metadata
import io
import json
import os
import pathlib
import re
import sys
import tarfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import pipeline
from pipeline import files, script
from pipeline.errors import Failure
from pipeline.settings import ROOT, Settings

PAGE, LIST = "docs/third-party.md", "docs/third-party.cdx.json"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
# Their metadata name none: cramjam by its licence file, hdfs-native by its Rust package.
STATED = {"cramjam": "MIT", "hdfs-native": "Apache-2.0"}
HEAD = """# Third-party software

None of it is part of this project's files: set-up downloads it, by the hashes of the lock files in
`conf/`. `make lock` writes this page, and [third-party.cdx.json](third-party.cdx.json), the same
list in CycloneDX's format. System packages (Java, kcat, jq, curl) come from the system's package
manager, with licences of their own.
"""


class Locked(NamedTuple):
    """A package of a Python lock file, or a jar."""

    name: str  # of a jar: GROUP:NAME
    version: str
    purpose: str
    hashes: tuple[str, ...]

    @property
    def is_jar(self) -> bool:
        return ":" in self.name

    @property
    def url(self) -> str:
        """Its package URL (purl), which also identifies it in the list."""
        kind = "maven" if self.is_jar else "pypi"
        return f"pkg:{kind}/{self.name.replace(':', '/')}@{self.version}"


def purposes() -> dict[str, str]:
    """{package: why pyproject.toml names it}; `the same` means the line above it."""
    found: dict[str, str] = {}
    comment = ""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    for line in lines:
        alone = re.fullmatch(r"  # (.*)", line)
        named = re.match(r'  "([A-Za-z0-9-]+)[^"]*",(?: +# (.*))?', line)
        if alone:
            comment = alone[1]
        if named:
            said = named[2] or comment
            if said != "the same" and not said.startswith("as in "):
                comment = said
            found.setdefault(named[1], comment)
    return found


def packages() -> Iterator[Locked]:
    """Yields each package of each Python lock file once, sorted."""
    found: dict[tuple[str, str], Locked] = {}
    direct = purposes()
    for path in sorted(ROOT.glob("conf/requirements*.txt")):
        for entry in re.split(r"^(?=[a-z0-9])", path.read_text(encoding="utf-8"), flags=re.M):
            named = re.match(r"([a-z0-9-]+)(?:\[.*?\])?==([^ ;\\]+)", entry)
            if not named:
                continue
            users = re.findall(r"^    #(?: via)? +([a-z0-9-]+)$|# via ([a-z0-9-]+)$", entry, re.M)
            by = ", ".join(sorted({left or right for left, right in users} - {"via"}))
            purpose = direct.get(named[1]) or f"required by {by}"
            hashes = tuple(re.findall("sha256:([0-9a-f]{64})", entry))
            found.setdefault((named[1], named[2]), Locked(named[1], named[2], purpose, hashes))
    yield from (found[key] for key in sorted(found))


def jars() -> Iterator[Locked]:
    """Yields each jar of conf/jars.lock; one that two folders have, twice."""
    ivy = (ROOT / "conf/ivy.xml").read_text(encoding="utf-8")
    folders = dict(re.findall(r'<conf name="(\w+)" description="([^";]+)', ivy))
    for line in (ROOT / "conf/jars.lock").read_text(encoding="utf-8").splitlines():
        digest, path, coordinates = line.split()
        name, _, version = coordinates.rpartition(":")
        yield Locked(name, version, folders[path.split("/")[0]], (digest,))


def licence_in(metadata: Any) -> str:
    """The licence by a package's metadata, in the order in which its fields are exact."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classes = [
        str(each).rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier", [])
        if str(each).startswith("License :: ") and not str(each).endswith("OSI Approved")
    ]
    text = str(metadata.get("License", "")).strip().rpartition(" :: ")[2]
    # Some have the whole text of the licence there, and some no name.
    if text and "\n" not in text and len(text) < 60 and text not in ("UNKNOWN", "Dual License"):
        return text
    return ", ".join(classes)


def fetched(url: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


def index_url() -> str:
    """The package index: the user's, or pip's default."""
    from pip._internal.models.index import PyPI

    return os.environ.get("PIP_INDEX_URL") or str(PyPI.simple_url)


def licence_of_package(package: Locked, index: str) -> str:
    """By the metadata of a locked file: installed, beside its wheel, or in its source archive."""
    try:
        installed = importlib.metadata.metadata(package.name)
        if installed["Version"] == package.version:
            return licence_in(installed)
    except importlib.metadata.PackageNotFoundError:
        pass
    base = f"{index.rstrip('/')}/{package.name}/"
    page = json.loads(fetched(base, SIMPLE_JSON))
    locked = [each for each in page["files"] if each["hashes"].get("sha256") in package.hashes]
    for each in locked:
        if each.get("core-metadata") or each.get("data-dist-info-metadata"):
            text = fetched(urllib.parse.urljoin(base, each["url"]) + ".metadata").decode()
            return licence_in(email.message_from_string(text))
    content = io.BytesIO(fetched(urllib.parse.urljoin(base, locked[0]["url"])))
    if locked[0]["filename"].endswith(".whl"):
        with zipfile.ZipFile(content) as wheel:
            name = next(each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
            return licence_in(email.message_from_bytes(wheel.read(name)))
    with tarfile.open(fileobj=content) as archive:
        names = [name for name in archive.getnames() if name.endswith("/PKG-INFO")]
        file = archive.extractfile(min(names, key=len))
        assert file
        return licence_in(email.message_from_bytes(file.read()))


def licence_of_jar(jar: Locked, cache: pathlib.Path) -> str:
    """By its POM, or the parent's, as Ivy has read it."""
    group, name = jar.name.split(":")
    text = (cache / group / name / f"ivy-{jar.version}.xml").read_text(encoding="utf-8")
    return " or ".join(dict.fromkeys(re.findall(r'<license name="([^"]*)"', text)))


def component(locked: Locked, licence: str) -> dict[str, Any]:
    """Its entry in the list. CycloneDX tells SPDX's expressions from other names of a licence."""
    group, _, name = locked.name.rpartition(":")
    found: dict[str, Any] = {"type": "library", "bom-ref": locked.url}
    if group:
        found["group"] = group
    found |= {"name": name, "version": locked.version, "description": locked.purpose}
    if locked.is_jar:
        found["hashes"] = [{"alg": "SHA-256", "content": locked.hashes[0]}]
    return found | {"licenses": [{"license": {"name": licence}}], "purl": locked.url}


def page(components: list[dict[str, Any]]) -> str:
    """The page, from the components of the list."""
    text = HEAD
    for title, kind in (("Python packages", "pkg:pypi/"), ("Server jars", "pkg:maven/")):
        text += f"\n## {title}\n\n| name | version | licence | what for |\n|---|---|---|---|\n"
        for each in components:
            if each["purl"].startswith(kind):
                name = ":".join(filter(None, (each.get("group"), each["name"])))
                licence = each["licenses"][0]["license"]["name"].replace("|", "/")
                cells = name, each["version"], licence, each["description"]
                text += f"| {' | '.join(cells)} |\n"
    return text


def main(_: Settings) -> None:
    cache, index = pathlib.Path(sys.argv[1]), index_url()
    locked = [*packages(), *dict.fromkeys(jars())]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        licences = [
            *pool.map(
                lambda each: (
                    licence_of_jar(each, cache)
                    if each.is_jar
                    else licence_of_package(each, index) or STATED.get(each.name, "")
                ),
                locked,
            )
        ]
    if unknown := [each.url for each, licence in zip(locked, licences, strict=True) if not licence]:
        raise Failure(
            f"{len(unknown)} licences are unknown: {', '.join(unknown)}",
            "the metadata of these files name none",
            "choose versions that name one, in pyproject.toml or conf/ivy.xml; then: make lock",
        )
    components = [component(*each) for each in zip(locked, licences, strict=True)]
    application = {"type": "application", "name": "tracking-user-activity"}
    application["version"] = pipeline.VERSION
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    bom |= {"metadata": {"component": application}, "components": components}
    files.replace(ROOT / LIST, json.dumps(bom, indent=1, ensure_ascii=False) + "\n")
    files.replace(ROOT / PAGE, page(components))
    print(f"{len(components)} packages and jars: {PAGE}, {LIST}")


if __name__ == "__main__":
    script.run(main)
