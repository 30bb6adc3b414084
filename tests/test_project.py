"""That everything is explained, and the scripts are in order."""
import os
import pathlib
import re
import subprocess

import pytest

import check_submission
import dictionary
import message

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = [target for target in re.findall(r"^\.PHONY: (\S+)", MAKEFILE, re.MULTILINE) if not target.startswith("ensure-")]
KNOBS = re.findall(r"^([A-Z_]+) \?= ?(.*)", MAKEFILE, re.MULTILINE)
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True).stdout.split("\n")[:-1]


def test_help_lists_every_target_and_knob():
    said = subprocess.run(["make", "-s"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert len(TARGETS) > 15
    for target in TARGETS:
        assert re.search(rf"^  {target} +\S", said, re.MULTILINE), target
    for knob, default in KNOBS:
        if knob != "KNOB_ORIGINS":
            assert re.search(rf"^  {knob} +\S.*\n +default: {re.escape(default or 'none')}\n", said, re.MULTILINE), knob


def test_the_readme_is_read_in_one_sitting_and_its_commands_and_links_are_there():
    assert len(README.encode()) <= 10_240
    for page in (path for path in TRACKED if path.endswith(".md") and "/" not in path.removeprefix("docs/") and path != "annotations.md"):
        text = (ROOT / page).read_text()
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert target in TARGETS, (page, target)
        for name in re.findall(r"`(?:make [^`]*?)?\b([A-Z_]{4,})=", text):
            assert name in [knob for knob, _ in KNOBS] or name in ("TRACE", "PYSPARK_PYTHON"), (page, name)
        for link in re.findall(r"\]\(([^)#:]+)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), (page, link)


CONTRACT = {  # the names of the columns that the contract fixes, in its order
    "messages": "kafka_partition* kafka_offset* kafka_timestamp* key value keen_id status* reason content_hash",
    "attempts": "keen_id* user_exam_id* base_exam_id* exam_name* started_at* keen_timestamp* keen_created_at* certification max_attempts* attempt* sequences_id* total correct incorrect "
                "incomplete unanswered submitted all_correct question_count* kafka_partition* kafka_offset* content_hash*",
    "questions": "keen_id* base_exam_id* exam_name* question_position* question_id* user_result user_correct user_incomplete user_submitted option_count*",
    "options": "keen_id* base_exam_id* exam_name* question_position* question_id* option_position* option_id* checked* clicked_at submitted* correct*"}


@pytest.mark.parametrize("table", CONTRACT)
def test_the_tables_have_the_columns_of_the_contract(table):
    assert [column.name + "*" * column.required for column in message.TABLES[table]] == CONTRACT[table].split()


def test_the_data_dictionary_is_that_of_the_declaration():
    page = (ROOT / "docs/tables.md").read_text()
    assert dictionary.page(page) == page
    assert all(f"| `{column.name}`" in page.split(f"## `{table}`")[1].split("\n#")[0] for table, columns in message.TABLES.items() for column in columns)


def test_the_map_in_the_readme_is_the_tree():
    named, there = check_submission.map_and_tree(README, TRACKED)
    assert named == there


def test_shellcheck_finds_nothing():
    scripts = [path for path in TRACKED if path.endswith(".sh") or path.startswith(("scripts/bin/", ".ci/"))]
    assert len(scripts) > 10
    done = subprocess.run(["shellcheck", "--external-sources", *scripts], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", [path for path in TRACKED if re.match(r"scripts/\w+\.sh$", path) and path not in ("scripts/lib.sh", "scripts/help.sh", "scripts/shell.sh")])
def test_a_shell_script_helps_with_its_own_header(script):
    done = subprocess.run([script, "--help"], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.startswith("Summary: ") and "Usage: " in done.stdout


@pytest.mark.parametrize("query", sorted(path for path in TRACKED if path.startswith("queries/")))
def test_a_question_begins_with_itself_in_words(query):
    text = (ROOT / query).read_text()
    assert text.startswith("-- ") and "?" in text.splitlines()[0] and text.splitlines()[1].startswith("-- ")


def test_every_package_and_jar_is_pinned_by_hash():
    for name in ("requirements-build", "requirements"):
        text = (ROOT / f"conf/{name}.txt").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert lines and all("==" in line and "--hash=sha256:" in line for line in lines)
    lock = (ROOT / "conf/jars.lock").read_text().splitlines()
    assert len(lock) > 50 and all(re.fullmatch(r"[0-9a-f]{64}  (kafka|hdfs|spark)/[\w.-]+\.jar", line) for line in lock)


def test_no_data_file_is_in_the_repository():
    assert not [path for path in TRACKED if path.startswith("data/") or path.endswith((".jsonl", ".parquet")) or os.path.getsize(ROOT / path) > 300_000]


def test_a_new_cluster_id_is_never_taken_for_an_option():
    """kafka-storage reads an id with a dash in front as an option; of 5,000 random ones about 78 would begin so."""
    code = "import sys; sys.path.insert(0, 'scripts'); import stack; print(*(stack.new_cluster_id() for _ in range(5000)))"
    ids = subprocess.run(["scripts/env.sh", "python", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert len(set(ids)) == 5000 and all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", each) for each in ids)
