"""docs/access.md and the notebook: what they name is there."""

import json
import re

from access_page import PAGE, RECIPES
from pipeline.settings import ROOT


def test_the_page_names_the_versions_that_are_installed_here():
    assert len(RECIPES) == 8
    locks = [(ROOT / "conf/requirements.txt").read_text()]
    locks += [(ROOT / "conf/requirements-notebook.txt").read_text()]
    pinned = re.findall(r"[a-z-]+==[\d.]+", PAGE)
    assert pinned and all(
        f"{package} " in "".join(locks) for package in pinned if not package.startswith("dbt-")
    )
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
