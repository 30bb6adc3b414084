"""The project's own order: help, pages, the contract's columns, lock files, form of the code."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

import submission
from pipeline import environment, files, settings
from pipeline.message import documentation
from pipeline.message.declaration import TABLES
from pipeline.settings import ROOT
from pipeline.stack import storage

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = [
    target
    for target in re.findall(r"^\.PHONY: (\S+)", MAKEFILE, re.MULTILINE)
    if not target.startswith("ensure-")
]
KNOBS = re.findall(r"^([A-Z_]+) \?= ?(.*)", MAKEFILE, re.MULTILINE)
TRACKED = files.of_project(ROOT)
MOST_COLUMNS = 100
BIN = pathlib.Path(sys.executable).parent  # of ruff, mypy, shellcheck, shfmt
WITHOUT_KNOBS = {"PATH": f"{BIN}:/usr/bin:/bin", "LANG": "C.UTF-8"}


def run(*command, **environment):
    """Runs a command in the project, in an environment that has no knob; both streams are one."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=WITHOUT_KNOBS | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_help_lists_every_target_and_knob():
    output = run(sys.executable, "scripts/help.py").stdout
    assert len(TARGETS) > 15
    for target in TARGETS:
        assert re.search(rf"^  {target} +\S", output, re.MULTILINE), target
    assert [knob for knob, _ in KNOBS if knob != "KNOB_ORIGINS"] == [*settings.declared()]
    for knob, default in KNOBS:
        if knob != "KNOB_ORIGINS":
            shown = re.escape(default or "none")
            listed = rf"^  {knob} +\S.*\n +default: {shown}\n"
            assert re.search(listed, f"{output}\n", re.MULTILINE), knob


def test_help_ends_in_silence_when_its_reader_does():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer) as closed:
        command = [sys.executable, "scripts/help.py"]
        ended = subprocess.run(command, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, b"")


def test_the_targets_knobs_and_links_of_the_pages_are_there():
    pages = [
        path
        for path in TRACKED
        if path.endswith(".md")
        and "/" not in path.removeprefix("docs/")
        and path != "annotations.md"
    ]
    names = [*(knob for knob, _ in KNOBS), "TRACE", "PYSPARK_PYTHON"]
    for page in pages:
        text = (ROOT / page).read_text()
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert target in TARGETS, (page, target)
        for name in re.findall(r"`(?:make [^`]*?)?\b([A-Z_]{4,})=", text):
            assert name in names, (page, name)
        for link in re.findall(r"\]\(([^)#:]+)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), (page, link)


CONTRACT = {  # the names of the columns that the contract fixes, in its order
    "messages": "kafka_partition* kafka_offset* kafka_timestamp* key value keen_id status* reason "
    "content_hash",
    "attempts": "keen_id* user_exam_id* base_exam_id* exam_name* started_at* keen_timestamp* "
    "keen_created_at* certification max_attempts* attempt* sequences_id* total correct incorrect "
    "incomplete unanswered submitted all_correct question_count* kafka_partition* kafka_offset* "
    "content_hash*",
    "questions": "keen_id* base_exam_id* exam_name* question_position* question_id* user_result "
    "user_correct user_incomplete user_submitted option_count*",
    "options": "keen_id* base_exam_id* exam_name* question_position* question_id* option_position* "
    "option_id* checked* clicked_at submitted* correct*",
}


@pytest.mark.parametrize("table", CONTRACT)
def test_the_tables_have_the_columns_of_the_contract(table):
    declared = [column.name + "*" * column.required for column in TABLES[table]]
    assert declared == CONTRACT[table].split()


def test_the_data_dictionary_is_that_of_the_declaration():
    page = (ROOT / "docs/tables.md").read_text()
    assert documentation.page(page) == page
    assert all(
        f"| `{column.name}`" in page.split(f"## `{table}`")[1].split("\n#")[0]
        for table, columns in TABLES.items()
        for column in columns
    )


def test_the_map_in_the_readme_is_the_tree():
    named, there = submission.map_and_tree(README, TRACKED)
    assert named == there


def test_each_message_in_the_readmes_help_is_in_the_scripts():
    sources = "".join((ROOT / path).read_text() for path in TRACKED if path.startswith("scripts/"))
    cells = re.findall(r"^\| (`.*`) \| ", README.split("## When it fails")[1], re.MULTILINE)
    parts = [part.strip() for cell in cells for part in re.split("…|`, `|`", cell)]
    assert len(cells) > 5 and not [part for part in parts if part not in sources]


@pytest.mark.parametrize("query", sorted(path for path in TRACKED if path.startswith("queries/")))
def test_a_question_begins_with_itself_in_words(query):
    first, second, *_ = (ROOT / query).read_text().splitlines()
    assert first.startswith("-- ") and "?" in first and second.startswith("-- ")


def test_every_package_and_jar_is_pinned_by_hash():
    for name in ("-build", "-run", "", "-notebook", "-dbt"):
        text = (ROOT / f"conf/requirements{name}.txt").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert lines and all("==" in line and "--hash=sha256:" in line for line in lines)
    lock = (ROOT / "conf/jars.lock").read_text().splitlines()
    assert len(lock) > 50 and all(
        re.fullmatch(r"[0-9a-f]{64}  (kafka|hdfs|spark)/[\w.-]+\.jar  [\w.-]+(:[\w.-]+){2}", line)
        for line in lock
    )


@pytest.mark.parametrize("name", environment.FIRST_JARS)
def test_the_jars_that_come_first_on_the_class_path_are_there(name):
    assert [*BIN.parent.glob(f"{environment.SPARK_JARS}/{name}")]


def test_a_container_has_the_same_packages_as_a_clone():
    run_lock, lock = (
        set(re.findall(r"^[^ #].*\\$", (ROOT / f"conf/requirements{name}.txt").read_text(), re.M))
        for name in ("-run", "")
    )
    assert len(run_lock) > 20 and run_lock < lock


def test_no_data_file_is_in_the_repository():
    assert not [
        path
        for path in TRACKED
        if path.startswith("data/")
        or path.endswith((".jsonl", ".parquet"))
        or os.path.getsize(ROOT / path) > 300_000
    ]


def test_a_new_cluster_id_is_never_taken_for_an_option():
    """kafka-storage takes an id with a leading dash for an option.

    About 78 of 5,000 random ids would have one.
    """
    ids = [storage.new_cluster_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", each) for each in ids)


# --- form of the code -----------------------------------------------------------------------------


SHELL_SCRIPTS = [
    path for path in TRACKED if path.endswith(".sh") or path.startswith(("scripts/bin/", ".ci/"))
]


@pytest.mark.skipif(
    not shutil.which("shellcheck", path=WITHOUT_KNOBS["PATH"]),
    reason="no shellcheck here: Linux on ARM has it by apt-get install shellcheck",
)
def test_shellcheck_finds_nothing():
    assert len(SHELL_SCRIPTS) > 10
    done = run("shellcheck", "--external-sources", *SHELL_SCRIPTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["scripts/format.sh", "--check"],
        ["mypy", "scripts", "report"],  # its cache is .mypy_cache
    ],
)
def test_the_form_of_the_code_and_its_types(command):
    done = run(*command, PIPELINE_ENV="1")
    assert done.returncode == 0, done.stdout


def test_no_line_is_wide_and_no_complexity_is_excused():
    code = [
        path for path in TRACKED if re.match(r"(scripts|report|tests|bench)/.*\.(py|sh)$", path)
    ]
    assert len(code) > 50
    wrong = [
        f"{path}:{number}"
        for path in code
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if re.search(rf"# {'noqa'}: .*(C901|PLR09)", line)
        or (path.endswith(".sh") and len(line) > MOST_COLUMNS)  # ruff measures those of Python
    ]
    assert not wrong


@pytest.mark.parametrize(
    "script",
    [
        path
        for path in TRACKED
        if re.match(r"scripts/\w+\.sh$", path)
        and path not in ("scripts/common.sh", "scripts/shell.sh")
    ],
)
def test_a_shell_script_helps_with_its_own_header(script):
    output = run(script, "--help").stdout
    assert output.startswith("Summary: ") and "Usage: " in output


def test_a_python_script_helps_with_its_docstring_and_needs_no_variable():
    scripts = [path for path in TRACKED if re.match(r"scripts/\w+\.py$", path)]
    scripts = [*scripts, "report/annotate.py", "report/plots.py", "bench/bench.py"]
    without_help = {"scripts/environment.py", "scripts/help.py"}  # they run before set-up
    assert len(scripts) > 20 and without_help < {*scripts}
    scripts = [script for script in scripts if script not in without_help]
    done = run(sys.executable, "tests/show_help.py", *scripts)
    assert done.returncode == 0, done.stdout
    helps = json.loads(done.stdout.splitlines()[-1])  # warnings of packages come before it
    assert [*helps] == scripts
    for script, (code, output) in helps.items():
        assert code == 0, (script, output)
        assert f"scripts/env.sh python {script}" in output, (script, output)
