"""Open JupyterLab with a notebook to start from; or execute that notebook and exit.

Run by: make notebook [TOPIC=…] [NOTEBOOK_CHECK=1]
    scripts/env.sh python scripts/notebook.py

JupyterLab listens on 127.0.0.1, and the address that it prints contains its token. It shows the
folder $RUN_DIR/notebooks, with a copy of notebooks/attempts.ipynb that is made once: what you save
there stays. Ctrl-C stops it; the server of make serve continues.
"""

import os
import re
import shutil
import subprocess

from pipeline import script
from pipeline.errors import Failure
from pipeline.serving import service
from pipeline.settings import ROOT, Feed, Settings
from pipeline.spark import views

NOTEBOOK = ROOT / "notebooks/attempts.ipynb"
BIN = ROOT / ".venv-notebook/bin"
JUPYTER = f"{BIN}/jupyter"
PASSED_ON = "HOME LANG TZ TERM PYTHONUTF8".split()


def main(settings: Settings) -> None:
    views.check_landed(settings.feed())
    # What the notebooks see: nothing of this project but the feed's name and the server.
    environment = {name: value for name, value in os.environ.items() if name in PASSED_ON} | {
        "TOPIC": settings.topic,
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "SPARK_REMOTE": service.url(settings),  # what PySpark's client connects to
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": service.token(settings),
    }
    if settings.notebook_check:
        return check(settings.feed(), environment)
    folder = settings.in_run_dir("notebooks")
    folder.mkdir(exist_ok=True)
    if not (folder / NOTEBOOK.name).exists():
        shutil.copyfile(NOTEBOOK, folder / NOTEBOOK.name)
    shown = f"{settings.run_dir}/notebooks"
    print(f"Your notebooks are in {shown}. Ctrl-C stops JupyterLab.", flush=True)
    options = "--no-browser --allow-root --log-level=WARN --ip=127.0.0.1".split()
    options.append("-y")  # Ctrl-C stops it without a question
    options += [f"--notebook-dir={folder}", f"--LabApp.default_url=/lab/tree/{NOTEBOOK.name}"]
    os.execve(JUPYTER, [JUPYTER, "lab", *options], environment)


def check(feed: Feed, environment: dict[str, str]) -> None:
    """Executes the notebook from top to bottom. Failure when a cell fails."""
    log = feed.settings.in_run_dir("logs/notebook-check.log")
    with open(log, "w") as file:
        command = [JUPYTER, "execute", str(NOTEBOOK)]
        done = subprocess.run(command, env=environment, stdout=file, stderr=file)
    if done.returncode:
        said = re.sub(r"\x1b\[[\d;]*m", "", log.read_text())  # without colours
        raise Failure(
            f"a cell of notebooks/{NOTEBOOK.name} failed: {said.rstrip().splitlines()[-1]}",
            f"the cell and its trace: {log}",
            f"correct the notebook, then: {feed.make('notebook', NOTEBOOK_CHECK=1)}",
        )
    print(f"notebooks/{NOTEBOOK.name}: every cell runs, on feed {feed.topic}")


if __name__ == "__main__":
    script.run(main)
