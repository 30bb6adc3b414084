"""docs/access.md and the notebook: what they name is there."""

import json
import re
import shlex

import pytest

from access_page import PAGE, RECIPES, SECTIONS
from pipeline.settings import ROOT

# The lock file that tests/stack/test_access.py runs a recipe with; all others: -notebook.
LOCKS = {"beeline": "", "A Spark of your own": "", "dbt": "-dbt"}


def installed_by(heading):
    """Returns {package: version} of a recipe's line `pip install`; None: any version."""
    section = next(text for text in SECTIONS if text.startswith(f"{heading}\n"))
    words = shlex.split(re.search(r"`pip install (.*?)`", section)[1])
    return dict(re.fullmatch(r"([a-z-]+)(?:==([\d.]+)|<\d+)?", word).groups() for word in words)


@pytest.mark.parametrize("heading", RECIPES)
def test_the_packages_of_a_recipe_are_in_the_lock_file_that_it_is_tested_with(heading):
    lock = (ROOT / f"conf/requirements{LOCKS.get(heading, '-notebook')}.txt").read_text()
    locked = re.findall(r"^([a-z-]+)(?:\[.*\])?==([\w.]+)", lock, re.MULTILINE)
    for package, version in installed_by(heading).items():
        versions = {each for name, each in locked if name == package}
        assert versions == {version} if version else versions, package


def test_the_recipe_of_dbt_names_every_package_that_its_lock_file_was_made_for():
    lock = (ROOT / "conf/requirements-dbt.txt").read_text()
    entries = re.split(r"\n(?=\w)", lock)
    direct = {entry.partition("==")[0] for entry in entries if "(pyproject.toml:dbt)" in entry}
    assert {*installed_by("dbt")} == direct


def test_the_page_names_the_jar_that_is_installed_here():
    assert len(RECIPES) == 8
    organisation, name, version = re.search(r'packages", "(.*?):(.*?):(.*?)"', PAGE).groups()
    declared = f'org="{organisation}" name="{name}" rev="{version}"'
    assert declared in (ROOT / "conf/ivy.xml").read_text()


def test_the_notebook_asks_the_question_of_queries_and_is_stored_without_outputs():
    cells = json.loads((ROOT / "notebooks/attempts.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    query = (ROOT / "queries/10_hardest_questions.sql").read_text()
    words = " ".join(line for line in query.splitlines() if not line.startswith("--")).split()
    assert any(words == "".join(cell["source"]).split()[1:-1] for cell in code)
