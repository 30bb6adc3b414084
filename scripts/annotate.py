"""Make the report: run each command of its template, and write annotations.md with the outputs.

Run by: make annotate, make check-annotations
    scripts/lib/env.sh python scripts/annotate.py [--check]

All commands run in one session, in a copy of the project ($RUN_DIR/report) with a new stack on free
ports. So no earlier state shows in the report, and a running stack is not touched. The session also
leaves both histories and, by `make plots`, the pictures. --check does the same, copies nothing
back, and fails on any difference. Commands that begin with docker need a Docker Engine; without
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

from matplotlib.testing.compare import compare_images

from errors import Failure, report_failures
from report import page, terminal
from servers import port_holder

TEMPLATE, PAGE = "scripts/report/template.md", "annotations.md"
HISTORIES = ["user-history.txt", "spark_history.py"]
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


def what_counts(text):
    """text with what varies masked. Where something is masked, spaces do not count either: the
    width of a column depends on the value."""
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    if not re.search(r"TIME|SIZE|PID|ADDRESS|SECONDS", text):
        return text
    return re.sub(r" *\| *", "|", re.sub(r" +|--+", " ", text))


def copy_of_the_project(folder):
    """Copies the files that git knows, as they are now. Packages and jars are linked."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(list_files, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and os.path.exists(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, folder / name)
    (folder / ".venv").symlink_to(pathlib.Path(".venv").resolve())
    data = pathlib.Path(os.environ["DATA"])
    (folder / "data").mkdir(exist_ok=True)
    shutil.copy2(data, folder / "data")  # no link: containers see only this folder
    for path in (folder, folder / "data"):  # through group 0, as their user
        path.chmod(0o750)
    run_dir = folder / ".run"
    run_dir.mkdir()
    for name in ("run-folder", "java_home"):
        shutil.copy2(f"{os.environ['RUN_DIR']}/{name}", run_dir)
    shutil.copytree(f"{os.environ['RUN_DIR']}/jars", run_dir / "jars", copy_function=os.link)
    for made in (*HISTORIES, "plots"):  # the session makes them
        if (folder / made).is_dir():
            shutil.rmtree(folder / made)
        else:
            (folder / made).unlink(missing_ok=True)
    (folder / "home").mkdir()


def environment(folder):
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
    for pair in os.environ["KNOB_ORIGINS"].split():
        name, origin = pair.split("=")
        if name not in (*knobs, "DATA_URL") and origin != "file":
            raise Failure(
                f"{name} is set to {os.environ[name]}",
                "the report is that of a stack with every knob at its default",
                "unset it, then again",
            )
    # DATA_URL is not needed: the file has been downloaded.
    env = {name: value for name, value in os.environ.items() if name != "DATA_URL"}
    origins = os.environ["KNOB_ORIGINS"]
    for origin in ("=command_line", "=environment"):
        origins = origins.replace(origin, "=file")
    home = str(folder / "home")  # a new one: the histories contain nothing but this session
    return (
        env
        | knobs
        | {
            "HOME": home,
            "USER_HOME": home,
            "HOST_UID": str(os.getuid() or 1000),  # of the containers, see docker-compose.yml
            "KNOB_ORIGINS": origins,
        }
    )


def run_commands(folder, check):
    """Writes the page and what its commands leave into the folder."""
    old = page.shown(pathlib.Path(PAGE).read_text()) if check else []
    known = {(language, code): output for language, code, output in old}
    has_docker = (
        bool(shutil.which("docker-compose"))
        and not subprocess.run(["docker", "info"], capture_output=True).returncode
    )
    env = environment(folder)
    try:
        session = terminal.Terminal(folder, env)

        def run(block):
            begin, line = time.monotonic(), " ".join(block.code.split())[:100]
            if block.code.startswith("docker") and not has_docker:
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
            "what may be quoted is explained at the top of scripts/report/page.py",
            "correct the quotation, then: make annotate",
        ) from None
    finally:
        downs = [["scripts/lib/env.sh", "python", "scripts/down.py"]]
        downs += [["docker-compose", "down", "--volumes"]] if has_docker else []
        for down in downs:
            subprocess.run(down, cwd=folder, env=env, capture_output=True)
    (folder / PAGE).write_text(text)
    return has_docker


def masked(name, text, has_docker):
    """The lines of a page or history without what varies between runs."""
    if name == PAGE:
        text = page.SHOWN.sub(lambda block: what_counts(block[0]), text)
    elif not has_docker:
        text = "\n".join(line for line in text.splitlines() if line[7:13] != "docker")
        text = re.sub(r"(?m)^ *\d+  ", "", text)
    return text.splitlines()


def differences(folder, has_docker):
    """Yields, in words, what this run made that differs from what is here."""
    for name in (PAGE, *HISTORIES):
        old = pathlib.Path(name).read_text() if os.path.exists(name) else ""
        sides = (masked(name, side, has_docker) for side in (old, (folder / name).read_text()))
        yield from difflib.unified_diff(*sides, name, f"{name} of this run", lineterm="", n=1)
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
            yield f"plots/{name} shows something else now: {' '.join(differs.split())}"


def main(check):
    if not os.path.exists(os.environ["DATA"]):
        raise Failure(
            "the report is about the assignment's file, which is not here",
            f"looked for {os.environ['DATA']}",
            "make data DATA_URL=… (an address, or file:///path/to/a/copy)",
        )
    folder = pathlib.Path(os.environ["RUN_DIR"]) / "report"
    copy_of_the_project(folder)
    has_docker = run_commands(folder, check)
    if check:
        found = list(differences(folder, has_docker))
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
    with report_failures():
        main("--check" in sys.argv[1:])
