"""Runs a script, with a pause before each commit of a batch, so that a test can kill it there.

Run by: the tests
    scripts/env.sh --up python tests/slowly.py scripts/land.py
"""

import runpy
import sys
import time

import hdfs_native

PAUSE_S = 0.5
rename = hdfs_native.Client.rename  # gives a commit its name


def rename_slowly(client, path, named, overwrite=False):
    time.sleep(PAUSE_S)
    rename(client, path, named, overwrite)


hdfs_native.Client.rename = rename_slowly
_, *sys.argv = sys.argv
runpy.run_path(sys.argv[0], run_name="__main__")
