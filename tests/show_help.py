"""Runs each script that is named as an argument with --help; prints a JSON object of the results.

Each script runs in a fork, so that all of them import the packages only once.
"""

import json
import os
import pathlib
import runpy
import sys
import tempfile

# Imported for the forks.
import deltalake  # noqa: F401
import duckdb  # noqa: F401
import kafka  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import pyspark.sql  # noqa: F401


def run(script, output):
    """Becomes the script, as `python script --help` would."""
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    sys.argv = [script, "--help"]
    sys.path[0] = str(pathlib.Path(script).parent)
    if not script.startswith("scripts/"):
        sys.path.insert(1, "scripts")
    runpy.run_path(script, run_name="__main__")


def help_of(script):
    """Returns the exit code of the script and its output."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            code = 1
            try:
                run(script, output)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode()


if __name__ == "__main__":
    print(json.dumps({script: help_of(script) for script in sys.argv[1:]}))
