"""The project's own order: help, pages, the contract's columns, the structure of the code."""

import ast
import graphlib
import os
import re
import subprocess

import pytest

import check_submission
import dictionary
import message
from stacks import ROOT

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = [
    target
    for target in re.findall(r"^\.PHONY: (\S+)", MAKEFILE, re.MULTILINE)
    if not target.startswith("ensure-")
]
KNOBS = re.findall(r"^([A-Z_]+) \?= ?(.*)", MAKEFILE, re.MULTILINE)
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True
).stdout.split("\n")[:-1]
MOST_LINES, MOST_COLUMNS = 300, 100
LIB = {path.stem: ast.parse(path.read_bytes()) for path in (ROOT / "scripts/lib").glob("*.py")}


def test_help_lists_every_target_and_knob():
    output = subprocess.run(
        ["make", "-s"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout
    assert len(TARGETS) > 15
    for target in TARGETS:
        assert re.search(rf"^  {target} +\S", output, re.MULTILINE), target
    for knob, default in KNOBS:
        if knob != "KNOB_ORIGINS":
            shown = re.escape(default or "none")
            listed = rf"^  {knob} +\S.*\n +default: {shown}\n"
            assert re.search(listed, output, re.MULTILINE), knob


def test_the_readme_is_read_in_one_sitting_and_its_commands_and_links_are_there():
    assert len(README.encode()) <= 10_240
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
    declared = [column.name + "*" * column.required for column in message.TABLES[table]]
    assert declared == CONTRACT[table].split()


def test_the_data_dictionary_is_that_of_the_declaration():
    page = (ROOT / "docs/tables.md").read_text()
    assert dictionary.page(page) == page
    assert all(
        f"| `{column.name}`" in page.split(f"## `{table}`")[1].split("\n#")[0]
        for table, columns in message.TABLES.items()
        for column in columns
    )


def test_the_map_in_the_readme_is_the_tree():
    named, there = check_submission.map_and_tree(README, TRACKED)
    assert named == there


def test_each_message_in_the_readmes_help_is_in_the_scripts():
    sources = "".join((ROOT / path).read_text() for path in TRACKED if path.startswith("scripts/"))
    cells = re.findall(r"^\| (`.*`) \| ", README.split("## When it fails")[1], re.MULTILINE)
    parts = [part.strip() for cell in cells for part in re.split("…|`, `|`", cell)]
    assert len(cells) > 5 and not [part for part in parts if part not in sources]


def test_shellcheck_finds_nothing():
    scripts = [
        path
        for path in TRACKED
        if path.endswith(".sh") or path.startswith(("scripts/bin/", ".ci/"))
    ]
    assert len(scripts) > 10
    done = subprocess.run(
        ["shellcheck", "--external-sources", *scripts], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["scripts/lib/env.sh", "scripts/format.sh", "--check"],
        ["mypy", "--cache-dir", os.devnull, "scripts/lib"],
    ],
)
def test_the_form_of_the_code_and_the_types_of_the_library(command):
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "script",
    [
        path
        for path in TRACKED
        if re.match(r"scripts/(lib/)?\w+\.sh$", path)
        and path not in ("scripts/lib/common.sh", "scripts/help.sh", "scripts/shell.sh")
    ],
)
def test_a_shell_script_helps_with_its_own_header(script):
    done = subprocess.run([script, "--help"], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.startswith("Summary: ") and "Usage: " in done.stdout


@pytest.mark.parametrize("query", sorted(path for path in TRACKED if path.startswith("queries/")))
def test_a_question_begins_with_itself_in_words(query):
    first, second, *_ = (ROOT / query).read_text().splitlines()
    assert first.startswith("-- ") and "?" in first and second.startswith("-- ")


def test_every_package_and_jar_is_pinned_by_hash():
    for name in ("requirements-build", "requirements", "requirements-notebook"):
        text = (ROOT / f"conf/{name}.txt").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert lines and all("==" in line and "--hash=sha256:" in line for line in lines)
    lock = (ROOT / "conf/jars.lock").read_text().splitlines()
    assert len(lock) > 50 and all(
        re.fullmatch(r"[0-9a-f]{64}  (kafka|hdfs|spark)/[\w.-]+\.jar", line) for line in lock
    )


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
    code = "import storage; print(*(storage.new_cluster_id() for _ in range(5000)))"
    ids = subprocess.run(
        ["scripts/lib/env.sh", "python", "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert len(set(ids)) == 5000
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", each) for each in ids)


# --- the structure of the code --------------------------------------------------------------------


def test_no_code_file_is_long_and_no_line_wide():
    code = [path for path in TRACKED if re.match(r"(scripts|tests|bench)/.*\.(py|sh)$", path)]
    assert len(code) > 50
    long, wide = [], []
    for path in code:
        lines = (ROOT / path).read_text().splitlines()
        if len(lines) > MOST_LINES:
            long.append(f"{path}: {len(lines)} lines")
        wide += [
            f"{path}:{number}" for number, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS
        ]
    assert not long and not wide, (long, wide)


def imported(tree):
    """Yields the top-level name of each module that is imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_the_library_imports_no_target_and_nothing_in_a_circle():
    imports = {module: set(imported(tree)) for module, tree in LIB.items()}
    folders = ROOT / "scripts", ROOT / "scripts/report"
    targets = {path.stem for folder in folders for path in folder.glob("*.py")}
    wrong = {module: names & targets for module, names in imports.items() if names & targets}
    assert targets and not wrong
    graph = {module: names & set(LIB) for module, names in imports.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def run_at_import(node):
    """Yields the nodes that run when a module is imported.

    Bodies of classes, defaults and decorators do; bodies of functions, and what is guarded by
    `if __name__ == "__main__"`, do not.
    """
    if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
        parts = []
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        parts = [node.args, *getattr(node, "decorator_list", [])]
    else:
        yield node
        parts = ast.iter_child_nodes(node)
    for part in parts:
        yield from run_at_import(part)


def environment_reads(tree):
    """Yields the line of each read of the environment, or of a knob, at import."""
    names = {"environ", "environb", "getenv"}
    for node in run_at_import(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            read = owner == "config" or (owner == "os" and node.attr in names)
        elif isinstance(node, ast.ImportFrom):
            taken = {alias.name for alias in node.names}
            read = node.module == "config" or (node.module == "os" and taken & names)
        else:
            read = False
        if read:
            yield node.lineno


def test_no_module_of_the_library_reads_the_environment_when_it_is_imported():
    sample = "class A:\n  b = os.environ['B']\ndef f(c=config.C): return os.environ\n"
    assert list(environment_reads(ast.parse(sample))) == [2, 3]
    found = {module: list(environment_reads(tree)) for module, tree in LIB.items()}
    assert not {module: lines for module, lines in found.items() if lines}
