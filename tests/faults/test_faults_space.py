"""The disk is full while a landing runs, on a stack of its own."""

import contextlib
import shutil
import subprocess

import psutil
import pytest

from faults_feeds import say, synthetic_feed
from faults_landings import TRIES, Landing
from faults_reader import Reader
from stacks import ROOT, Stack


@pytest.mark.timeout(1800)
def test_a_full_disk_stops_landing_and_harms_nothing(tmp_path):
    stack = Stack(".run-full")
    storage = ROOT / stack.run_dir / "storage"
    if storage.parent.exists():  # left by an interrupted run
        (storage / "filler").unlink(missing_ok=True)
        stack.make("down", ok=None)
        if storage.is_mount():
            subprocess.run(["umount", storage], check=True)
        shutil.rmtree(storage.parent)
    # On exit, every step is taken, last first, even when another one fails.
    with contextlib.ExitStack() as leave:
        stack.make("setup")
        leave.callback(stack.make, "clean", YES=1)
        storage.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=1000m", "tmpfs", storage]
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
        if mounted:
            leave.callback(subprocess.run, ["umount", storage], check=True)
        leave.callback(stack.make, "down")
        stack.make("up")
        feed = synthetic_feed(stack, tmp_path, "full")

        def limit_files(most):
            for pid in stack.pids():
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (most, psutil.RLIM_INFINITY))

        def fill():
            if mounted:
                with contextlib.suppress(OSError), open(storage / "filler", "wb") as filler:
                    while True:
                        filler.write(b"0" * 2**20)
                        filler.flush()
                say(
                    "  the disk is full: a file system of 1,000 MB in memory, "
                    "mounted as the run folder's storage, filled to its last byte"
                )
            else:
                limit_files(4096)
                say(
                    "  the disk is full: nothing can be mounted here, so the servers are forbidden "
                    "to write beyond the first 4 kB of any file (RLIMIT_FSIZE)"
                )

        def empty():
            (storage / "filler").unlink(missing_ok=True)
            limit_files(psutil.RLIM_INFINITY)

        leave.callback(empty)  # without space, the servers could not stop cleanly
        with Reader(stack, feed.topic, may_refuse=True) as reader:
            for _ in range(TRIES):  # a landing may have written everything before the disk was full
                feed.publish(20)
                landing = Landing(feed)
                if not landing.wait_for("options begun"):
                    landing.ended_by_itself()
                    continue
                fill()
                said = landing.wait()
                if landing.process.returncode != 0:
                    break
                empty()
                stack.make("up")
            else:
                raise AssertionError("no landing was at work when the disk was full")
            assert "error: landing was interrupted" in said, said
            said = stack.make("land", ok=False, TOPIC=feed.topic)
            assert "error: " in said
            assert "the disk is full" in said or not mounted, said
            # Space again; then the documented command.
            empty()
            stack.make("land", TOPIC=feed.topic)
        reader.check()
        feed.check()
