"""Make the report: run each command of its template, and write annotations.md with the outputs.

Run by: make annotate, make check-annotations
    scripts/env.sh python report/annotate.py [--check]

All commands run in one session, in a copy of the project ($RUN_DIR/report) with a new stack on free
ports. So no earlier state shows in the report, and a running stack is not touched. The session also
leaves both histories and, by `make plots`, the pictures. --check does the same, copies nothing
back, and fails on any difference. Blocks with docker-compose need a Docker Engine; without
one, --check takes their outputs from the page and says so.
"""

import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

from matplotlib.testing.compare import compare_images

import page
import terminal
from pipeline import files, script
from pipeline.errors import Failure
from pipeline.settings import ROOT, Settings
from pipeline.stack.ports import port_holder

TEMPLATE, PAGE = "report/template.md", "annotations.md"
HISTORIES = ["user-history.txt", "spark_history.py"]
DOCKER_ANSWERS_WITHIN_S = 20
PICTURES_MAY_DIFFER_BY = 2  # of 255, root mean square over all pixels: processors round differently

# (pattern, what masks it) of what differs between two correct runs. The page shows the real output;
# only comparisons are masked.
VARIES = [
    # Times of the run. The data end in January 2018.
    (r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?", "TIME"),
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
    (r"->\d+/tcp", "->PORT/tcp"),  # the DataNode's follows HDFS's, inside the container too
    (r"(?m)^Using Python version .*$|^Python 3\.\d+.*$|^Spark context Web UI .*\n", "PYTHON"),
]


def in_order(lines: re.Match[str]) -> str:
    return "\n".join(sorted(lines[0].split("\n")))


def what_counts(text: str) -> str:
    """text with what varies masked.

    Where something is masked, spaces do not count either: the width of a column depends on the
    value.
    """
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    # Servers may answer in any order.
    answered = r" +\w+ .* answered after .*"
    text = re.sub(rf"(?m)^{answered}(\n{answered})*", in_order, text)
    if not re.search(r"TIME|SIZE|PID|ADDRESS|SECONDS", text):
        return text
    return re.sub(r" *\| *", "|", re.sub(r" +|--+", " ", text))


def copy_of_the_project(folder: pathlib.Path, settings: Settings) -> None:
    """Copies the project's files, as they are now. Packages and jars are linked."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in files.of_project(ROOT, "--cached", "--others", "--exclude-standard"):
        # The session makes the histories and the plots.
        if not name.startswith((*HISTORIES, "plots/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, folder / name)
    for installed in (settings.venv, settings.jars):
        (folder / installed.resolve().name).symlink_to(installed.resolve())
    for name in ("data", ".run", "home"):
        (folder / name).mkdir(exist_ok=True)
    shutil.copy2(settings.data, folder / "data")  # no link: containers see only this folder
    for path in (folder, folder / "data"):  # through group 0, as their user
        path.chmod(0o750)
    for name in ("run-folder", "java_home"):
        shutil.copy2(settings.in_run_dir(name), folder / ".run")


def environment(folder: pathlib.Path, settings: Settings) -> dict[str, str]:
    """The environment of `make shell` in the copy: every knob at its default, but for the ports.

    Those are the default ones too when they are free, otherwise the next free ones.
    """
    ports = zip(range(29092, 9092, -1000), range(8020, 28020, 1000), strict=True)
    kafka, hdfs = next(
        (kafka, hdfs)
        for kafka, hdfs in ports
        if not any(map(port_holder, (kafka, kafka + 1, *range(hdfs, hdfs + 5))))
    )
    knobs = {"RUN_DIR": ".run", "KAFKA": f"127.0.0.1:{kafka}", "HDFS": f"hdfs://127.0.0.1:{hdfs}"}
    for name, origin in settings.origins.items():
        # DATA_URL is not needed: the file has been downloaded.
        if origin != "default" and name not in (*knobs, "DATA_URL"):
            raise Failure(
                f"{name} is set to {settings.text(name)}",
                "the report is that of a stack with every knob at its default",
                "unset it, then again",
            )
    env = {name: value for name, value in os.environ.items() if name != "DATA_URL"}
    origins = " ".join(f"{name}=default" for name in settings.origins)
    # A new home: the histories contain nothing but this session.
    return env | knobs | {"USER_HOME": str(folder / "home"), "KNOB_ORIGINS": origins}


def has_docker() -> bool:
    """Whether docker-compose runs and a Docker Engine answers."""
    try:
        for command in ["docker-compose", "version"], ["docker", "info"]:
            subprocess.run(
                command, check=True, capture_output=True, timeout=DOCKER_ANSWERS_WITHIN_S
            )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def run_commands(folder: pathlib.Path, settings: Settings, check: bool, docker: bool) -> None:
    """Writes the page and what its commands leave into the folder.

    docker: whether to run the commands that need it; the others' outputs come from the page.
    """
    old = page.shown(pathlib.Path(PAGE).read_text()) if check else []
    known = {(language, code): output for language, code, output in old}
    env = environment(folder, settings)
    # HOST_UID: the user of the containers, see docker-compose.yml.
    variables = {"HOME": env["USER_HOME"], "HOST_UID": str(os.getuid() or 1000)}

    def run(block: page.Block) -> str:
        begin, line = time.monotonic(), " ".join(block.code.split())[:100]
        if "docker-compose" in block.code and not docker:
            if not check:
                raise Failure(
                    "the report's chapter on containers needs docker-compose and Docker",
                    f"one of them is missing or does not answer; the page runs: {line}",
                    "start Docker, then: make annotate",
                )
            print(f"  not run, there is no Docker here: {line}", flush=True)
            return known.get((block.language, block.code), "")
        output = session.type(block.language, block.code)
        prompt = "$" if block.language == "bash" else ">>>"
        print(f"  {time.monotonic() - begin:5.1f} s  {prompt} {line}", flush=True)
        return output

    try:
        session = terminal.Terminal(folder, env, variables)
        text = page.write(pathlib.Path(TEMPLATE).read_text(), run)
    except terminal.CommandFailed as error:
        raise Failure(
            "the report's session failed",
            str(error).replace("\n", "\n       "),
            f"mend the command in {TEMPLATE}, or what it runs; then: make annotate",
        ) from None
    except (LookupError, AttributeError, ValueError) as error:
        raise Failure(
            f"{TEMPLATE} quotes a number that no answer has: {error}",
            "what may be quoted is explained at the top of report/page.py",
            "correct the quotation, then: make annotate",
        ) from None
    finally:
        downs = [["scripts/env.sh", "python", "scripts/down.py"]]
        downs += [["docker-compose", "down", "--volumes"]] if docker else []
        for down in downs:
            subprocess.run(down, cwd=folder, env=env | variables, capture_output=True)
    (folder / PAGE).write_text(text)


def masked(name: str, text: str, docker: bool) -> list[str]:
    """The lines of a page or history without what varies between runs."""
    if name == PAGE:
        text = page.SHOWN.sub(lambda block: what_counts(block[0]), text)
    elif not docker:
        text = "\n".join(line for line in text.splitlines() if "docker-compose" not in line)
        text = re.sub(r"(?m)^ *\d+  ", "", text)
    return text.splitlines()


def differences(folder: pathlib.Path, docker: bool) -> Iterator[str]:
    """Yields, in words, what this run made that differs from what is here."""
    for name in (PAGE, *HISTORIES):
        old = pathlib.Path(name).read_text() if os.path.exists(name) else ""
        before, now = (masked(name, side, docker) for side in (old, (folder / name).read_text()))
        yield from difflib.unified_diff(before, now, name, f"{name} of this run", lineterm="", n=1)
    made = {path.name for path in (folder / "plots").iterdir()}
    there = {path.name for path in pathlib.Path("plots").glob("*")}
    for name in sorted(made ^ there):
        yield f"plots/{name} is {'missing here' if name in made else 'no longer made'}"
    for name in sorted(made & there):
        # A copy, because compare_images writes a picture beside its first argument.
        here = folder / f"here-{name}"
        shutil.copy2(f"plots/{name}", here)
        differs = compare_images(str(here), str(folder / "plots" / name), PICTURES_MAY_DIFFER_BY)
        if differs:
            yield f"plots/{name} shows something else now: {' '.join(str(differs).split())}"


def main(settings: Settings) -> None:
    check = "--check" in sys.argv[1:]
    if not os.path.exists(settings.data):
        raise Failure(
            "the report is about the assignment's file, which is not here",
            f"looked for {settings.data}",
            "make data DATA_URL=… (an address, or file:///path/to/a/copy)",
        )
    folder, docker = settings.in_run_dir("report"), has_docker()
    copy_of_the_project(folder, settings)
    run_commands(folder, settings, check, docker)
    if check:
        found = list(differences(folder, docker))
        print("\n".join(found))
        if found:
            raise Failure(
                f"{PAGE}, the histories or the plots do not show what runs now",
                "the differences are above: - is written here, + is what this run showed",
                "look whether the new output is right; then write it down: make annotate",
            )
        print(f"{PAGE}, {', '.join(HISTORIES)} and plots/ show what runs")
        return
    for name in (PAGE, *HISTORIES):
        shutil.copy2(folder / name, name)
    shutil.rmtree("plots", ignore_errors=True)
    shutil.copytree(folder / "plots", "plots")
    print(f"written: {PAGE}, {', '.join(HISTORIES)}, plots/")


if __name__ == "__main__":
    script.run(main)
