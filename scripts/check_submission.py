"""Is everything there that the assignment asks for, and does it hold? A table; non-zero when one is missing.

Run by: make check-submission
    scripts/env.sh python scripts/check_submission.py

What is asked for stands in the assignment ("What you turn in"); the steps that must be seen are those of its example
commands. Whether the page shows what really runs is another question: make check-annotations.
"""
import glob
import pathlib
import re
import shutil
import subprocess

from feed import Failure, report_failures

# A step that must be seen, and a command of the page that is it.
STEPS = [
    ("the stack is started", "bash", r"make up"),
    ("… and checked", "bash", r"hdfs dfsadmin|make status"),
    ("the topic is created", "bash", r"kafka-topics --create"),
    ("… and described", "bash", r"kafka-topics --describe"),
    ("one JSON object is looked at", "bash", r"jq '\.\[0\]"),
    ("… and the file explored with jq", "bash", r"jq .*\| sort \| uniq -c"),
    ("messages are published", "bash", r"jq .*\| kcat -P"),
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
    ("a result lands in HDFS", "python", r"\.write\..*parquet\("),
    ("HDFS is listed", "bash", r"hadoop fs -ls"),
    ("the messages are landed as tables", "bash", r"make land"),
    ("pyspark is left", "python", r"exit\(\)"),
    ("the history is written", "bash", r"history > "),
    ("the stack is torn down", "bash", r"make down"),
]
# A subject that the report must speak of, and a heading or phrase of it.
SUBJECTS = [
    ("executive summary", r"^## .*Executive summary"), ("what is given and what is set up", r"^## .*given.*set up"),
    ("architecture, as a diagram", r"^```mermaid"), ("what each part does", r"^\*\*Kafka\*\* .*\n(.*\n)*?\*\*Spark\*\* .*\n(.*\n)*?\*\*HDFS\*\* "),
    ("the problem of the many questions", r"problem of the many questions"), ("issues of the data", r"^## .*wrong with them"),
    ("assumptions", r"^\*\*Assumption\.\*\*"), ("thinking", r"^\*\*Thinking\.\*\*"), ("limits", r"\*\*Limits\.\*\*"),
    ("what data scientists could do next", r"^## .*What next"), ("what goes beyond the minimum", r"beyond the minimum"),
]


def read(name):
    return pathlib.Path(name).read_text() if pathlib.Path(name).exists() else ""


def shown(page):
    """-> [(language, what was typed, what came back)], in the page's order"""
    return re.findall(r"^```(bash|python)\n(.*?)\n```\n(?:```text\n(.*?)\n```$)?", re.sub(r"<!-- \[\[\[cog.*?\]\]\] -->", "", page, flags=re.S), re.MULTILINE | re.DOTALL)


def typed(page, language):
    """The lines that the page shows as typed there; empty ones leave no trace in a history."""
    return [line for kind, text, _ in shown(page) if kind == language for line in text.splitlines() if line.strip()]


def console_history(text):
    return [line[7:] for line in text.splitlines()]  # bash: the number in five places, two blanks


def pyspark_history(text):
    return [line for line in text.splitlines() if line.strip()]


def map_and_tree(readme, tracked):
    """-> (paths that the README's map names, paths that it should name): folders that are explained as one stand for their files."""
    section = readme.partition("## The map")[2].partition("\n## ")[0]
    named = {name for line in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`([^`]+)`", line)}
    folders = sorted((name for name in named if name.endswith("/")), key=len, reverse=True)
    return named, {next((folder for folder in folders if path.startswith(folder)), path) for path in tracked} - {".gitignore", "LICENSE"}


def compose_is_valid():
    """-> (whether it holds, a remark)"""
    if not read("docker-compose.yml"):
        return False, "missing"
    for compose in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(compose[0]) and subprocess.run([*compose, "version"], capture_output=True).returncode == 0:
            done = subprocess.run([*compose, "config", "--quiet"], capture_output=True, text=True)
            return done.returncode == 0, (done.stderr.strip().splitlines() or [f"valid ({' '.join(compose)} config)"])[-1]
    return True, "there; no Docker Compose here to say whether it is valid"


def checks():
    """Yields (what is asked for, where it is, whether it holds, a remark)."""
    page = read("annotations.md")
    blocks = shown(page)
    yield "docker-compose.yml", "docker-compose.yml", *compose_is_valid()
    for what, where, history, language in (("console history", "user-history.txt", console_history, "bash"), ("pyspark history", "spark_history.py", pyspark_history, "python")):
        lines, said = history(read(where)), typed(page, language)
        first = next((f"line {number}: {a or 'nothing'!r}, the page: {b or 'nothing'!r}" for number, (a, b) in
                      enumerate(zip([*lines, *[""] * len(said)], [*said, *[""] * len(lines)]), 1) if a != b), "")
        yield f"{what}, of the page's session", where, bool(lines) and not first, first or f"{len(lines)} lines, the same as on the page"
    for what, pattern in SUBJECTS:
        found = re.search(pattern, page, re.MULTILINE)
        yield f"report: {what}", "annotations.md", bool(found), ""
    for what, language, pattern in STEPS:
        where = [text for kind, text, _ in blocks if kind == language and re.search(pattern, text, re.MULTILINE)]
        yield f"step: {what}", "annotations.md", bool(where), ""
    for path in sorted(glob.glob("queries/*.sql")):
        statement = "\n".join(line for line in read(path).rstrip().splitlines() if not line.startswith("--"))
        result = [text for kind, command, text in blocks if kind == "python" and statement in command]
        yield f"question: {read(path).splitlines()[0].removeprefix('-- ')}", path, bool(result and result[0].startswith("+--")), "" if result else "the page does not ask it"
    for name in sorted(set(re.findall(r"\]\((plots/[^)]+)\)", page)) | set(glob.glob("plots/*.png"))):
        yield "plot", name, pathlib.Path(name).exists() and f"({name})" in page, ""
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True).stdout.splitlines()
    named, there = map_and_tree(read("README.md"), tracked)
    yield "the repository, explained", "README.md", bool(tracked) and named == there, " ".join(sorted(named ^ there)) or f"{len(named)} entries"
    bare = [path for path in tracked if re.match(r"scripts/[^/]+\.(py|sh)$", path) and not re.match(r'"""|(#!.*\n)?# \S', read(path))]
    yield "scripts, each explained at its top", "scripts/", bool(tracked) and not bare, " ".join(bare)
    yield "the data file is not in the repository", "", not [path for path in tracked if path.startswith("data/")], ""


def main():
    missing = 0
    for what, where, holds, remark in checks():
        missing += not holds
        print(f"{'ok' if holds else 'MISSING':<8} {what:<62} {where:<42} {remark[:120]}".rstrip())
    if missing:
        raise Failure(f"{missing} of these are missing or do not hold", "they are marked above", "the report and its histories are made by: make annotate")


if __name__ == "__main__":
    with report_failures():
        main()
