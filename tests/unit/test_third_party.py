"""The list of third-party software: all that is locked, each with a licence, on page and list."""

import json
import re

from pipeline import VERSION
from pipeline.settings import ROOT

LIST = json.loads((ROOT / "docs/third-party.cdx.json").read_text())
COMPONENTS = {each["purl"]: each for each in LIST["components"]}
PAGE = (ROOT / "docs/third-party.md").read_text()
MEND = "type: make lock"


def licence(component):
    return component["licenses"][0]["license"]["name"]


def test_every_locked_package_and_jar_is_listed_and_nothing_else():
    locked = set()
    for path in ROOT.glob("conf/requirements*.txt"):
        lines = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", path.read_text(), re.MULTILINE)
        locked |= {f"pkg:pypi/{name}@{version}" for name, version in lines}
    assert len(locked) > 200
    for line in (ROOT / "conf/jars.lock").read_text().splitlines():
        digest, _, coordinates = line.split()
        group, name, version = coordinates.split(":")
        purl = f"pkg:maven/{group}/{name}@{version}"
        locked.add(purl)
        assert COMPONENTS[purl]["hashes"] == [{"alg": "SHA-256", "content": digest}], MEND
    assert {*COMPONENTS} == locked, MEND
    assert len(LIST["components"]) == len(COMPONENTS)


def test_every_licence_is_known_and_every_purpose_said():
    for purl, each in COMPONENTS.items():
        assert re.search("[A-Za-z]{2}", licence(each)), purl
        assert not re.search("unknown|^none$|see license", licence(each), re.IGNORECASE), purl
        assert len(each["description"]) > 4, purl
        assert not re.search(r"\bvia$|by $", each["description"]), purl


def test_the_page_says_the_same_as_the_list():
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    listed = [
        (
            ":".join(filter(None, (each.get("group"), each["name"]))),
            each["version"],
            licence(each),
            each["description"],
        )
        for each in LIST["components"]
    ]
    heads = [("name", "version", "licence", "what for")] * 2
    assert sorted(rows) == sorted([*listed, *heads])
    assert LIST["metadata"]["component"]["version"] == VERSION, MEND
