"""Make the report: run every command of annotations.md in one real session, and put what was shown into the page.

Run by: make annotate, make check-annotations
    scripts/env.sh python scripts/annotate.py [--check]

The session runs in a copy of the project ($RUN_DIR/report) with a fresh stack of its own on free ports: nothing that
was there before can show in it, and a running stack is not touched. annotations.md is filled in by cog; what the page
calls is scripts/session.py. The same session leaves both histories and, by `make plots`, the pictures. --check does
all of that too, but copies nothing back, and fails on any difference.
"""
import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys

from matplotlib.testing.compare import compare_images

from feed import Failure, report_failures
from stack import port_holder

PAGE, HISTORIES = "annotations.md", ["user-history.txt", "spark_history.py"]
PICTURES_MAY_DIFFER_BY = 2  # root mean square over all pixels, of 255: another processor rounds otherwise

# What differs between two right runs, and nothing else. Only for comparing: the page shows what was printed.
VARIES = [
    (r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?", "TIME"),  # the data themselves end in January 2018
    (r"\b\d+\.\d s\b", "SECONDS s"),
    (r"(?m)^( +\d+  \d+: .* )\d+\.\d$", r"\1SECONDS"),  # the last column of make land
    (r"\b127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\bpid \d+ *", "pid PID "),
    (r"(?m)^(\w+ +\S+ +)\d+ +\d+ MB", r"\1PID MEMORY"),  # make status
    (r"(?m)^(together +)\d+ MB", r"\1MEMORY"),
    (r"\bTopicId: \S{22}\b", "TopicId: ID"),
    (r"(?m)^(-\S+ .* )\d+ (?=TIME )", r"\1SIZE "),  # hadoop fs -ls
    (r"(?m)^[\d.]+( [KMG])? +[\d.]+( [KMG])? +(?=/)", "SIZE "),  # hadoop fs -du
    (r"\bpart-(\d{5}-)?[0-9a-f-]{36}(-c000)?", "PART"),
    (r"\blocal-\d{13}\b", "APPLICATION"),
    (r"(?m)^Using Python version .*$|^Python 3\.\d+.*$|^Spark context Web UI .*\n", "PYTHON"),
]


def what_counts(text):
    """text with what varies masked. A time's fraction has no fixed width, so beside times the width of columns does not count."""
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    return re.sub(r" *\| *", "|", re.sub(r" +|--+", " ", text)) if re.search(r"TIME|SIZE|PID|ADDRESS|SECONDS", text) else text


def table(text):
    """The rows of the first table that Spark showed in text, each as {column: value}; numbers as such, NULL as None."""
    lines = [line for line in re.search(r"(?:^[+|].*\n?)+", text, re.MULTILINE)[0].splitlines() if line.startswith("|")]
    names, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, map(_value, row))) for row in rows]


def _value(text):
    if text == "NULL":
        return None
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text



def copy_of_the_project(folder):
    """The files that git knows, as they are now, with the packages, jars and data of this one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and os.path.exists(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, folder / name)
    for name in (".venv", "data"):
        (folder / name).symlink_to(pathlib.Path(name).resolve())
    run_dir = folder / ".run"
    run_dir.mkdir()
    for name in ("run-folder", "java_home"):
        shutil.copy2(f"{os.environ['RUN_DIR']}/{name}", run_dir)
    shutil.copytree(f"{os.environ['RUN_DIR']}/jars", run_dir / "jars", copy_function=os.link)
    for made in (*HISTORIES, "plots"):  # made anew, not taken over
        shutil.rmtree(folder / made) if (folder / made).is_dir() else (folder / made).unlink(missing_ok=True)
    (folder / "home").mkdir()


def environment(folder):
    """What `make shell` has, in the copy, on ports that are free: the knobs' own, or the first free ones below."""
    kafka, hdfs = next((kafka, hdfs) for kafka, hdfs in zip(range(29092, 9092, -1000), range(8020, 28020, 1000))
                       if not any(map(port_holder, (kafka, kafka + 1, *range(hdfs, hdfs + 5)))))
    knobs = {"RUN_DIR": ".run", "KAFKA": f"127.0.0.1:{kafka}", "HDFS": f"hdfs://127.0.0.1:{hdfs}"}
    for pair in os.environ["KNOB_ORIGINS"].split():
        name, origin = pair.split("=")
        if name not in (*knobs, "DATA_URL") and origin != "file":
            raise Failure(f"{name} is set to {os.environ[name]}", "the report is that of a stack with every knob at its default", "unset it, then again")
    env = {name: value for name, value in os.environ.items() if name != "DATA_URL"}  # the file is there already
    return env | knobs | {
        "HOME": str(folder / "home"), "USER_HOME": str(folder / "home"),  # the histories are this session's alone
        "KNOB_ORIGINS": os.environ["KNOB_ORIGINS"].replace("=command_line", "=file").replace("=environment", "=file"),
        "PYTHONPATH": "scripts", "PYTHONUNBUFFERED": "1"}


def differences(folder):
    """What this run made that is not as it is here, in words."""
    for name in (PAGE, *HISTORIES):
        old = pathlib.Path(name).read_text().splitlines() if os.path.exists(name) else []
        yield from difflib.unified_diff(old, (folder / name).read_text().splitlines(), name, f"{name} of this run", lineterm="", n=1)
    made = {path.name for path in (folder / "plots").iterdir()}
    there = {path.name for path in pathlib.Path("plots").glob("*")}
    for name in sorted(made ^ there):
        yield f"plots/{name} is {'missing here' if name in made else 'no longer made'}"
    for name in sorted(made & there):
        shutil.copy2(f"plots/{name}", folder / f"here-{name}")  # the comparison leaves a picture beside the first
        differs = compare_images(str(folder / f"here-{name}"), str(folder / "plots" / name), PICTURES_MAY_DIFFER_BY)
        if differs:
            yield f"plots/{name} shows something else now: {' '.join(differs.split())}"


def main(check):
    if not os.path.exists(os.environ["DATA"]):
        raise Failure("the report is about the assignment's file, which is not here", f"looked for {os.environ['DATA']}", "make data DATA_URL=… (an address, or file:///path/to/a/copy)")
    folder = pathlib.Path(os.environ["RUN_DIR"]) / "report"
    copy_of_the_project(folder)
    env = environment(folder) | {"ANNOTATE": "check" if check else "write"}
    cog = ["python", "-m", "cogapp", "-r", PAGE]
    try:
        for _ in ("at the terminal", "once more, with all numbers known"):
            if subprocess.run(cog, cwd=folder, env=env).returncode:
                raise Failure("the report's session failed", "what was typed, and what came back, is above", "mend it, then: make annotate")
    finally:
        subprocess.run(["scripts/env.sh", "python", "scripts/stack.py", "down"], cwd=folder, env=env, stdout=subprocess.DEVNULL)
    if check:
        found = list(differences(folder))
        print("\n".join(found))
        if found:
            raise Failure(f"{PAGE}, the histories or the plots do not show what runs now", "the differences are above: - is written here, + is what this run showed",
                          "look whether the new output is right; then write it down: make annotate")
        print(f"{PAGE}, {', '.join(HISTORIES)} and plots/ show what runs")
        return
    for name in (PAGE, *HISTORIES):
        shutil.copy2(folder / name, name)
    shutil.rmtree("plots", ignore_errors=True)
    shutil.copytree(folder / "plots", "plots")
    print(f"written: {PAGE}, {', '.join(HISTORIES)}, plots/")


if __name__ == "__main__":
    with report_failures():
        main("--check" in sys.argv[1:])
