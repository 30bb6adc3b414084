"""Check that everything the assignment asks for is there. Prints a table; non-zero when not.

Run by: make check-submission
    scripts/env.sh python report/submission.py

The requirements are the assignment's ("What you turn in"), the steps those of its example commands.
Whether the page shows real output is checked by make check-annotations.
"""

import glob
import itertools
import pathlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from page import SHOWN
from pipeline import files, script
from pipeline.errors import Failure
from pipeline.settings import ROOT, Settings
from pipeline.spark import questions

# (step that the page must show, language of its block, pattern of the command)
STEPS = [
    ("the stack is started", "bash", r"make up"),
    ("… and checked", "bash", r"hdfs dfsadmin|make status"),
    ("the topic is created", "bash", r"kafka-topics --create"),
    ("… and described", "bash", r"kafka-topics --describe"),
    ("one JSON object is looked at", "bash", r"jq (-c )?'\.\[0\]"),
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
    ("one message is taken apart", "python", r"F\.explode\("),
    ("… to rows that land in HDFS", "python", r"options_of\(.*\.write\..*parquet\("),
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
    ("the messages land in a container", "bash", r"docker-compose exec -T spark python .*land\.py"),
    ("… and pyspark answers there", "bash", r"docker-compose exec .*spark .*pyspark"),
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


class Check(NamedTuple):
    what: str
    where: str
    holds: bool
    remark: str = ""


def read(name: str) -> str:
    return pathlib.Path(name).read_text() if pathlib.Path(name).exists() else ""


def history(text: str, language: str) -> list[str]:
    """The commands of a history: bash's have a number before them, in 5 places and 2 blanks."""
    text = re.sub(r"(?m)^.{7}", "", text) if language == "bash" else text
    return [line for line in text.splitlines() if line.strip()]


def typed(page: str, language: str) -> list[str]:
    """What the page shows as typed, as a history keeps it: bash joins the lines of a command."""
    text = "\n".join(block[2] for block in SHOWN.finditer(page) if block[1] == language)
    text = text.replace("\\\n", "").replace("|\n", "| ") if language == "bash" else text
    return [line for line in text.splitlines() if line.strip()]


def map_and_tree(readme: str, tracked: Iterable[str]) -> tuple[set[str], set[str]]:
    """(paths that the README's map names, paths that it should name)

    A folder that the map names stands for the files in it.
    """
    section = readme.partition("## The map")[2].partition("\n## ")[0]
    named = set(re.findall("`([^`]+)`", " ".join(re.findall(r"^\| (`.*?`) \|", section, re.M))))
    folders = sorted((name for name in named if name.endswith("/")), key=len, reverse=True)
    there = {next((each for each in folders if path.startswith(each)), path) for path in tracked}
    return named, there - {".gitignore", "LICENSE"}


def compose_is_valid() -> tuple[bool, str]:
    """(whether docker-compose.yml is there and Docker Compose accepts it, a remark)"""
    if not read("docker-compose.yml"):
        return False, "missing"
    for compose in "docker compose", "docker-compose":
        if not subprocess.run(f"{compose} version", shell=True, capture_output=True).returncode:
            done = subprocess.run(
                f"{compose} config -q", shell=True, capture_output=True, text=True
            )
            said = done.stderr.strip().splitlines() or [f"valid ({compose} config)"]
            return done.returncode == 0, said[-1]
    return True, "there; no Docker Compose here to say whether it is valid"


def checks() -> Iterator[Check]:
    page = read("annotations.md")
    yield Check("docker-compose.yml", "docker-compose.yml", *compose_is_valid())
    for what, where, language in (
        ("console history", "user-history.txt", "bash"),
        ("pyspark history", "spark_history.py", "python"),
    ):
        lines = history(read(where), language)
        pairs = itertools.zip_longest(lines, typed(page, language), fillvalue="nothing")
        numbered = enumerate(pairs, 1)
        different = [f"line {at}: {a!r}, the page: {b!r}" for at, (a, b) in numbered if a != b]
        remark = [*different, f"{len(lines)} lines, the same as on the page"][0]
        yield Check(f"{what}, of the page's session", where, bool(lines and not different), remark)
    yield from checks_of_page(page)
    yield from checks_of_repository()


def checks_of_page(page: str) -> Iterator[Check]:
    """The page has each subject and step, each query with its result, and each plot."""
    blocks = list(SHOWN.finditer(page))

    def check(what: str, found: re.Match[str] | None) -> Check:
        line = f":{page.count(chr(10), 0, found.start()) + 1}" if found else ""
        return Check(what, f"annotations.md{line}", bool(found))

    for what, pattern in SUBJECTS:
        yield check(f"report: {what}", re.search(pattern, page, re.M))
    for what, language, pattern in STEPS:
        of_language = (block for block in blocks if block[1] == language)
        seen = (block for block in of_language if re.search(pattern, block[2], re.M))
        yield check(f"step: {what}", next(seen, None))
    for path in sorted(glob.glob("queries/*.sql")):
        text = read(path).rstrip()
        asked = questions.statement(text), f'answer("{pathlib.Path(path).stem}")'
        answered = (block for block in blocks if "+--" in (block[3] or ""))
        seen = (block for block in answered if any(each in block[2] for each in asked))
        named = re.search(re.escape(f"]({path})"), page)  # a question that the page only names
        found = check(f"question: {questions.head(text)[0]}", next(seen, named))
        yield found._replace(remark=path if found.holds else f"the page does not ask {path}")
    counted = {path[13:15] for path in glob.glob("queries/data/*.sql")}
    lines = set(re.findall(r"^\| (\d\d) \| \*\*", page, re.M))
    remark = " ".join(sorted(counted ^ lines)) or f"{len(lines)} files and lines of the table"
    yield Check(
        "each fault of the data: its query and its line", "queries/data/", counted == lines, remark
    )
    on_page = set(re.findall(r"\]\((plots/[^)]+)\)", page))
    for name in sorted(on_page.union(glob.glob("plots/*.png"))):
        yield Check("plot", name, name in on_page and pathlib.Path(name).exists())


def checks_of_repository() -> Iterator[Check]:
    """The README's map names everything, each script is explained, and no data are tracked."""
    tracked = files.of_project(ROOT)
    named, there = map_and_tree(read("README.md"), tracked)
    remark = " ".join(sorted(named ^ there)) or f"{len(named)} entries"
    yield Check("the repository, explained", "README.md", bool(tracked) and named == there, remark)
    scripts = [path for path in tracked if re.match(r"(scripts|report|bench)/.*\.(py|sh)$", path)]
    bare = [path for path in scripts if not re.match(r'$|r?"""|(#!.*\n)?# \S', read(path))]
    what = "scripts, each explained at its top"
    yield Check(what, "scripts/", bool(tracked) and not bare, " ".join(bare))
    has_data = any(path.startswith("data/") for path in tracked)
    yield Check("the data file is not in the repository", "", not has_data)


def main(_: Settings) -> None:
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
    script.run(main)
