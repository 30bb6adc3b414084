"""make notebook, and docs/access.md: each recipe, run as it stands there and outside of this
project's environment, gives the rows that were published."""

import csv
import io
import json
import re
import subprocess
import urllib.error
import urllib.request

import pexpect
import pytest
from test_real_file import flattened

import notebook
from access_page import PAGE, RECIPES
from oracle import ATTEMPT, OPTION, truth_rows
from pipeline import settings
from pipeline.errors import Failure
from reader import stop
from stacks import ROOT, clean_environment, listens, output_of, wait_until

pytestmark = pytest.mark.thorough

FEED = "synthetic_a"
OWN_SPARK = "A Spark of your own"
COLUMNS = {"attempts": ATTEMPT, "options": OPTION}
EMIT = """
import json
def emit(rows):
    for method, arguments in ("to_pylist", ()), ("to_dicts", ()), ("to_dict", ("records",)):
        if hasattr(rows, method):
            rows = getattr(rows, method)(*arguments)
            break
    print(json.dumps(rows, default=str))
"""


@pytest.fixture(scope="module", name="checked")
def the_check_of_the_notebook(stack, synthetic):
    """The output of make notebook NOTEBOOK_CHECK=1, which installs and starts what is missing."""
    yield stack.make("notebook", TOPIC=FEED, NOTEBOOK_CHECK=1)
    stop(stack)


@pytest.fixture(scope="module", name="published")
def the_published_rows(stack, synthetic, request):
    """Returns {(feed, table): rows}: of the synthetic feed, and of the real file if it is here."""
    lines = [truth_rows(line) for line in synthetic[2] if line["attempt"]]
    rows = {
        (FEED, "attempts"): [attempt for attempt, _, _ in lines],
        (FEED, "options"): [option for _, _, options in lines for option in options],
    }
    try:
        real_file = request.getfixturevalue("real_file")
    except pytest.skip.Exception:
        return rows
    stack.run("publish land", DATA=real_file.resolve())
    attempts = flattened(json.loads(real_file.read_text()))[0]
    assert len(attempts) == 3242
    return rows | {("assessments", "attempts"): attempts}


def plain(value):
    """Returns a value as JSON holds it; a time as text, in UTC, without zeros at its end."""
    if value == "<NA>":
        return None
    text = str(value)
    if re.fullmatch(r"[\d-]{10}T[\d:.]{8,}", text):  # dbt
        text = text.replace("T", " ")
    if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", text):
        return re.sub(r"\.?0*$", "", text.removesuffix("+00:00")) if "." in text else text[:19]
    return value


def in_csv(value):
    return "NULL" if value is None else str(value).lower() if value in (True, False) else str(value)


def run_outside(stack, folder, text, program, programs=ROOT / ".venv/bin"):
    """Runs a recipe where nothing of this project is set, and returns its output.

    programs: the folder of beeline or dbt.
    """
    jars = ROOT / stack.run_dir / "jars/spark"
    port = int(stack.hdfs.rpartition(":")[2])
    for here, there in (
        ("15002", port + 5),
        ("10000", port + 6),
        ("8020", port),
        (".run/connect.token", ROOT / stack.run_dir / "connect.token"),
        # The same jars as the coordinates name, without a download.
        (re.search(r'"spark.jars.packages", "(.*?)"', PAGE)[0], '"spark.jars", JARS'),
        ("JARS", '"' + ",".join(map(str, jars.glob("*.jar"))) + '"'),
    ):
        text = text.replace(here, str(there))
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "JAVA_HOME": (ROOT / stack.run_dir / "java_home").read_text().strip(),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "America/New_York",
    }
    script = (
        folder / "recipe"
    )  # a file: after python -c, PySpark's client takes itself for a doctest
    script.write_text(text)
    done = subprocess.run(
        [program, script],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


@pytest.fixture(scope="module", name="dbt")
def the_programs_of_dbt(stack):
    """The folder of dbt's programs, in an environment that set-up makes from its lock file."""
    command = ["scripts/env.sh", "--bare", "scripts/setup.sh", "--dbt"]
    output_of(command, ok=True, RUN_DIR=stack.run_dir)
    return ROOT / ".venv-dbt/bin"


def rows_of(output):
    """The rows in the output of beeline (CSV) or dbt (JSON)."""
    if output.startswith("{"):
        return json.loads(output)["show"]
    return list(csv.DictReader(io.StringIO(output[output.index("keen_id") :])))  # no prompt


def by_key(rows, columns):
    """Returns the rows with these columns only, in an order of their own."""
    return sorted(([row[name] for name in columns] for row in rows), key=json.dumps)


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_gives_the_rows_that_were_published(
    request, stack, checked, published, tmp_path, heading
):
    language, recipe = RECIPES[heading]
    assert recipe.count("\n") <= 10
    venv = ".venv" if heading == OWN_SPARK else ".venv-notebook"
    cells = {
        (feed, table): recipe.replace("assessments", feed).replace("attempts", table)
        for feed, table in published
    }
    if language == "python":  # one process for all of them
        emit = [f"{text}\nemit({table})" for (_, table), text in cells.items()]
        text = "\n".join([EMIT, *emit])
        output = run_outside(stack, tmp_path, text, ROOT / venv / "bin/python")
        answers = map(json.loads, output.splitlines())
        found = dict(zip(cells, answers, strict=True))
    else:
        programs = request.getfixturevalue("dbt") if heading == "dbt" else ROOT / ".venv/bin"
        found = {
            cell: rows_of(run_outside(stack, tmp_path, text, "bash", programs))
            for cell, text in cells.items()
        }
    for (feed, table), rows in published.items():
        expected = [{name: plain(value) for name, value in row.items()} for row in rows]
        got = [{name: plain(value) for name, value in row.items()} for row in found[feed, table]]
        if heading == "beeline":
            expected = [{name: in_csv(value) for name, value in row.items()} for row in expected]
        assert by_key(got, COLUMNS[table]) == by_key(expected, COLUMNS[table])


def test_the_notebook_runs_from_top_to_bottom(checked):
    assert "every cell runs, on feed synthetic_a" in checked


def test_a_cell_that_fails_is_named(stack, checked, tmp_path, monkeypatch):
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}}
    cells = [{**cell, "outputs": [], "source": "1 / 0"}]
    path = tmp_path / "wrong.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    monkeypatch.setattr(notebook, "NOTEBOOK", path)
    environment = {"PATH": f"{notebook.BIN}:/usr/bin:/bin", "HOME": str(tmp_path)}
    with pytest.raises(Failure, match="ZeroDivisionError: division by zero"):
        notebook.check(settings.read({"RUN_DIR": stack.run_dir}).feed(), environment)


def test_jupyterlab_lets_in_who_has_the_token_and_leaves_the_users_copy_alone(stack, checked):
    copy = ROOT / stack.run_dir / "notebooks/attempts.ipynb"
    program, *arguments = stack.command("notebook", TOPIC=FEED)
    for edited in (False, True):
        lab = pexpect.spawn(
            *(program, arguments), cwd=ROOT, env=clean_environment(), timeout=300, encoding="utf-8"
        )
        lab.expect(r"(http://127\.0\.0\.1:\d+)(/lab\S*)\?token=(\w+)\s")  # whole
        address, page, token = lab.match.groups()
        assert page == "/lab/tree/attempts.ipynb"
        port = int(address.rpartition(":")[2])  # printed just before Jupyter's server listens
        wait_until(lambda port=port: listens(port), lambda port=port: f"port {port} is closed")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}/api/contents")
        with urllib.request.urlopen(f"{address}/api/contents?token={token}") as answer:
            assert [file["name"] for file in json.load(answer)["content"]] == ["attempts.ipynb"]
        lab.sendintr()
        lab.expect(pexpect.EOF)
        if edited:
            assert copy.read_text() == "edited"
        copy.write_text("edited")
