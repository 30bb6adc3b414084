"""Open JupyterLab with a notebook to start from; or execute that notebook and exit.

Run by: make notebook [TOPIC=…] [NOTEBOOK_CHECK=1]
    scripts/lib/env.sh python scripts/notebook.py

JupyterLab listens on 127.0.0.1, and the address that it prints contains its token. It shows the
folder $RUN_DIR/notebooks, with a copy of notebooks/attempts.ipynb that is made once: what you save
there stays. Ctrl-C stops it; the server of make serve continues.
"""

import os
import pathlib
import re
import shutil
import subprocess

import config
import connect
import errors
import knobs
import spark_session
import storage

NOTEBOOK = "attempts.ipynb"
PASSED_ON = "HOME LANG TZ TERM PYTHONUTF8 TOPIC".split()


def environment(bin: pathlib.Path) -> dict[str, str]:
    """What the notebooks see: nothing of this project but the feed's name and the server."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return environment | {
        "PATH": f"{bin}:/usr/local/bin:/usr/bin:/bin",
        # What PySpark's client connects to.
        "SPARK_REMOTE": connect.url(),
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": connect.token(),
    }


def check(jupyter: pathlib.Path, notebook: pathlib.Path, environment: dict[str, str]) -> None:
    """Executes the notebook from top to bottom. Failure when a cell fails."""
    log = storage.run_dir("logs", "notebook-check.log")
    command = [jupyter, "execute", notebook]
    with open(log, "w") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    lines = re.sub(r"\x1b\[[\d;]*m", "", log.read_text()).split("\n")  # without colours
    if done.returncode:
        raise errors.Failure(
            f"a cell of notebooks/{NOTEBOOK} failed: {[line for line in lines if line][-1]}",
            f"the cell and its trace: {log}",
            f"correct the notebook, then: make notebook NOTEBOOK_CHECK=1{knobs.of_feed()}",
        )
    print(f"notebooks/{NOTEBOOK}: every cell runs, on feed {config.TOPIC}")


def main():
    spark_session.check_landed()
    bin = pathlib.Path(config.ROOT, ".venv-notebook/bin")
    source = pathlib.Path(config.ROOT, "notebooks", NOTEBOOK)
    if os.environ["NOTEBOOK_CHECK"]:
        check(bin / "jupyter", source, environment(bin))
        return
    folder = storage.run_dir("notebooks")
    folder.mkdir(exist_ok=True)
    if not (folder / NOTEBOOK).exists():
        shutil.copyfile(source, folder / NOTEBOOK)
    print(f"Your notebooks are in {knobs.relative(folder)}. Ctrl-C stops JupyterLab.", flush=True)
    options = ["--no-browser", "--allow-root", "--log-level=WARN", "-y"]  # y: Ctrl-C stops it
    options += ["--ip=127.0.0.1", f"--notebook-dir={folder}"]
    options += [f"--LabApp.default_url=/lab/tree/{NOTEBOOK}"]
    command = [bin / "jupyter", "lab", *options]
    os.execve(command[0], [str(each) for each in command], environment(bin))


if __name__ == "__main__":
    errors.run(main)
