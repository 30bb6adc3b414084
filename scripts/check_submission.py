"""Check that everything the assignment asks for is there. Prints a table; non-zero when not.

Run by: make check-submission
    scripts/lib/env.sh python scripts/check_submission.py

The requirements are the assignment's ("What you turn in"), the steps those of its example commands.
Whether the page shows real output is checked by make check-annotations.
"""

import glob
import itertools
import pathlib
import re
import shutil
import subprocess

import questions
from errors import Failure, report_failures
from report.page import SHOWN

# (step that the page must show, language of its block, pattern of the command)
STEPS = [
    ("the stack is started", "bash", r"make up"),
    ("… and checked", "bash", r"hdfs dfsadmin|make status"),
    ("the topic is created", "bash", r"kafka-topics --create"),
    ("… and described", "bash", r"kafka-topics --describe"),
    ("one JSON object is looked at", "bash", r"jq '\.\[0\]"),
    ("… and the file explored with jq", "bash", r"jq .*\| sort \| uniq -c"),
    ("messages are published", "bash", r"jq .*\|\s+kcat -P"),
    ("… and consumed", "bash", r"kafka-console-consumer|kcat -C"),
    ("pyspark is started", "bash", r"pyspark$"),
    ("the topic is read in pyspark", "python", r'spark\.read\.format\("kafka"\)'),
    ("its schema is printed", "python", r"raw\.printSchema\(\)"),
    ("… and its rows shown", "python", r"raw\.show\("),
    ("the values are made text", "python", r'value\.cast\("string"\)'),
    ("… shown and counted", "python", r"messages\.count\(\)"),
    ("a single message is looked at", "python", r"messages\.first\(\)"),
    ("the JSON becomes a data frame", "python", r"from_json"),
    ("a temporary view is made", "python", r"createOrReplaceTempView"),
    ("SQL is asked", "python", r"spark\.sql\("),
    ("the raw messages land in HDFS", "python", r"raw\.write\..*parquet\("),
    ("… and are read back", "python", r"spark\.read\.parquet\("),
    ("a result lands in HDFS", "python", r"some_assessment_info\.write\..*parquet\("),
    ("HDFS is listed", "bash", r"hadoop fs -ls"),
    ("the messages are landed as tables", "bash", r"make land"),
    ("pyspark is left", "python", r"exit\(\)"),
    ("the history is written", "bash", r"history > "),
    ("the stack is torn down", "bash", r"make down"),
    ("docker-compose.yml is used", "bash", r"docker-compose up -d"),
    ("… and its services are checked", "bash", r"docker-compose ps"),
]
# (subject of the report, pattern of its heading or of a phrase)
SUBJECTS = [
    ("executive summary", r"^## .*Executive summary"),
    ("what is given and what is set up", r"^## .*given.*set up"),
    ("architecture, as a diagram", r"^```mermaid"),
    ("what each part does", r"^\*\*Kafka\*\* .*\n(.*\n)*?\*\*Spark\*\* .*\n(.*\n)*?\*\*HDFS\*\* "),
    ("the problem of the many questions", r"problem of the many questions"),
    ("issues of the data", r"^## .*wrong with them"),
    ("business questions", r"^## 6\..*\?"),
    ("assumptions", r"^\*\*Assumptions?\.\*\*"),
    ("thinking", r"^\*\*Thinking\.\*\*"),
    ("limits", r"\*\*Limits\.\*\*"),
    ("what data scientists could do next", r"^## .*What next"),
    ("what goes beyond the minimum", r"beyond the minimum"),
]


def read(name):
    return pathlib.Path(name).read_text() if pathlib.Path(name).exists() else ""


def typed(page, language):
    """The lines that the page shows as typed in bash or python, without empty ones, as a history
    keeps them: bash joins the lines of a command."""
    blocks = [block[2] for block in SHOWN.finditer(page) if block[1] == language]
    if language == "bash":
        blocks = [re.sub(r"\|\n", "| ", text.replace("\\\n", "")) for text in blocks]
    return [line for text in blocks for line in text.splitlines() if line.strip()]


def console_history(text):
    """The commands of a bash history, whose lines start with the number in 5 places and 2 blanks"""
    return [line[7:] for line in text.splitlines()]


def pyspark_history(text):
    """The lines of a Python history."""
    return [line for line in text.splitlines() if line.strip()]


def map_and_tree(readme, tracked):
    """(paths that the README's map names, paths that it should name)

    A folder that the map names stands for the files in it.
    """
    section = readme.partition("## The map")[2].partition("\n## ")[0]
    named = {
        name
        for line in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", line)
    }
    folders = sorted((name for name in named if name.endswith("/")), key=len, reverse=True)
    return named, {
        next((folder for folder in folders if path.startswith(folder)), path) for path in tracked
    } - {".gitignore", "LICENSE"}


def compose_is_valid():
    """(whether docker-compose.yml is there and Docker Compose accepts it, a remark)"""
    if not read("docker-compose.yml"):
        return False, "missing"
    for compose in (["docker", "compose"], ["docker-compose"]):
        version = [*compose, "version"]
        if (
            shutil.which(compose[0])
            and subprocess.run(version, capture_output=True).returncode == 0
        ):
            done = subprocess.run([*compose, "config", "--quiet"], capture_output=True, text=True)
            said = done.stderr.strip().splitlines() or [f"valid ({' '.join(compose)} config)"]
            return done.returncode == 0, said[-1]
    return True, "there; no Docker Compose here to say whether it is valid"


def checks():
    """Yields (what is asked for, where it is, whether it holds, a remark)."""
    page = read("annotations.md")
    yield "docker-compose.yml", "docker-compose.yml", *compose_is_valid()
    yield from checks_of_histories(page)
    yield from checks_of_page(page)
    yield from checks_of_repository()


def checks_of_histories(page):
    """Each history has the lines that the page shows as typed, in its order."""
    for what, where, history, language in (
        ("console history", "user-history.txt", console_history, "bash"),
        ("pyspark history", "spark_history.py", pyspark_history, "python"),
    ):
        lines, said = history(read(where)), typed(page, language)
        pairs = itertools.zip_longest(lines, said, fillvalue="")
        first = next(
            (
                f"line {number}: {a or 'nothing'!r}, the page: {b or 'nothing'!r}"
                for number, (a, b) in enumerate(pairs, 1)
                if a != b
            ),
            "",
        )
        remark = first or f"{len(lines)} lines, the same as on the page"
        yield f"{what}, of the page's session", where, bool(lines) and not first, remark


def checks_of_page(page):
    """The page has each subject and step, each query with its result, and each plot."""
    blocks = list(SHOWN.finditer(page))

    def at(found):
        line = f":{page.count(chr(10), 0, found.start()) + 1}" if found else ""
        return f"annotations.md{line}", bool(found)

    for what, pattern in SUBJECTS:
        yield f"report: {what}", *at(re.search(pattern, page, re.MULTILINE)), ""
    for what, language, pattern in STEPS:
        seen = (
            block
            for block in blocks
            if block[1] == language and re.search(pattern, block[2], re.MULTILINE)
        )
        yield f"step: {what}", *at(next(seen, None)), ""
    for path in sorted(glob.glob("queries/*.sql")):
        text = read(path).rstrip()
        asked = questions.statement(text), f'answer("{pathlib.Path(path).stem}")'
        seen = (
            block
            for block in blocks
            if any(each in block[2] for each in asked) and "+--" in (block[3] or "")
        )
        where, holds = at(next(seen, None))
        remark = path if holds else f"the page does not ask {path}"
        yield f"question: {questions.head(text)[0]}", where, holds, remark
    on_page = set(re.findall(r"\]\((plots/[^)]+)\)", page))
    for name in sorted(on_page | set(glob.glob("plots/*.png"))):
        yield "plot", name, pathlib.Path(name).exists() and f"({name})" in page, ""


def checks_of_repository():
    """The README's map names everything, each script is explained, and no data are tracked."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True)
    tracked = listed.stdout.splitlines()
    named, there = map_and_tree(read("README.md"), tracked)
    remark = " ".join(sorted(named ^ there)) or f"{len(named)} entries"
    yield "the repository, explained", "README.md", bool(tracked) and named == there, remark
    bare = [
        path
        for path in tracked
        if re.match(r"scripts/(lib/|report/)?[^/]+\.(py|sh)$", path)
        and not re.match(r'r?"""|(#!.*\n)?# \S', read(path))
    ]
    what = "scripts, each explained at its top"
    yield what, "scripts/", bool(tracked) and not bare, " ".join(bare)
    data = [path for path in tracked if path.startswith("data/")]
    yield "the data file is not in the repository", "", not data, ""


def main():
    missing = 0
    for what, where, holds, remark in checks():
        missing += not holds
        print(f"{'ok' if holds else 'MISSING':<8} {what:<62} {where:<42} {remark[:120]}".rstrip())
    if missing:
        raise Failure(
            f"{missing} of these are missing or do not hold",
            "they are marked above",
            "the report and its histories are made by: make annotate",
        )


if __name__ == "__main__":
    with report_failures():
        main()
