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

pytestmark = pytest.mark.thorough


class Disk:
    """The disk of a stack's servers, which can be filled.

    It is a file system of 1,000 MB in memory, mounted as the run folder's storage. Where nothing
    can be mounted, the servers are forbidden to write beyond the first 4 kB of any file.
    """

    def __init__(self, stack):
        self.stack = stack
        self.storage = ROOT / stack.run_dir / "storage"
        self.mounted = False

    def clear(self):
        """Removes what an interrupted run left."""
        if self.storage.parent.exists():
            (self.storage / "filler").unlink(missing_ok=True)
            self.stack.make("down", ok=None)
            if self.storage.is_mount():
                self.unmount()
            shutil.rmtree(self.storage.parent)

    def mount(self):
        self.storage.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=1000m", "tmpfs", self.storage]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0

    def unmount(self):
        if self.storage.is_mount():
            subprocess.run(["umount", self.storage], check=True)

    def limit_files(self, most):
        for pid in self.stack.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (most, psutil.RLIM_INFINITY))

    def fill(self):
        if self.mounted:
            with contextlib.suppress(OSError), open(self.storage / "filler", "wb") as filler:
                while True:
                    filler.write(b"0" * 2**20)
                    filler.flush()
            say(
                "  the disk is full: a file system of 1,000 MB in memory, "
                "mounted as the run folder's storage, filled to its last byte"
            )
        else:
            self.limit_files(4096)
            say(
                "  the disk is full: nothing can be mounted here, so the servers are forbidden "
                "to write beyond the first 4 kB of any file (RLIMIT_FSIZE)"
            )

    def empty(self):
        (self.storage / "filler").unlink(missing_ok=True)
        self.limit_files(psutil.RLIM_INFINITY)


def land_while_it_fills(feed, disk):
    """Fills the disk while a landing writes its files; returns what the failed landing said.

    The landing stands still meanwhile: it needs less time for its commits than the disk to fill.
    """
    for _ in range(TRIES):  # a landing may have committed everything before it was stopped
        feed.publish(20)
        landing = Landing(feed)
        if not landing.wait_for("options begun"):
            landing.ended_by_itself()
            continue
        with landing.paused():
            disk.fill()
        said = landing.wait()
        if landing.process.returncode != 0 and not landing.has_reached("messages"):
            return said
        disk.empty()
        feed.stack.make("up")
    raise AssertionError("no landing was at work when the disk was full")


@pytest.mark.timeout(1800)
def test_a_full_disk_stops_landing_and_harms_nothing(tmp_path):
    stack = Stack(".run-full")
    disk = Disk(stack)
    disk.clear()
    # On exit, every step is taken, last first, even when another one fails.
    with contextlib.ExitStack() as leave:
        stack.make("setup")
        leave.callback(stack.make, "clean", YES=1)
        disk.mount()
        leave.callback(disk.unmount)
        leave.callback(stack.make, "down")
        stack.make("up")
        feed = synthetic_feed(stack, tmp_path, "full")
        leave.callback(disk.empty)  # without space, the servers could not stop cleanly
        with Reader(stack, feed.topic, may_refuse=True) as reader:
            said = land_while_it_fills(feed, disk)
            assert "error: landing was interrupted" in said, said
            for _ in range(TRIES):
                said = stack.make("land", ok=False, TOPIC=feed.topic)
                if "the disk is full" in said or not disk.mounted:
                    break
                # The broker had answered before, and was still ending.
            assert "error: " in said
            assert "the disk is full" in said or not disk.mounted, said
            # Space again; then the documented command.
            disk.empty()
            stack.make("land", TOPIC=feed.topic)
        reader.check()
        feed.check()
