"""Starting, killing and cleaning a stack, and what commands say when it cannot start."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import time

import psutil
import pytest

from messages import good
from stacks import ROOT, Stack, clean_environment, wait_until


@pytest.mark.thorough
def test_a_stack_killed_outright_comes_up_again_with_its_data(stack, synthetic):
    before = stack.table("synthetic_a", "attempts")
    pids = stack.pids()
    assert len(pids) == 3
    scratch = ROOT / stack.run_dir / "tmp"
    assert {str(pid) for pid in pids} <= set(os.listdir(scratch))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)  # as in a power failure: the pid files stay
    assert "down" in stack.make("status")
    stack.make("up")
    assert not set(stack.pids()) & set(pids)
    assert stack.table("synthetic_a", "attempts") == before
    output = stack.make("status")
    assert re.search(r"synthetic_a +0 +700 +700 +0\n", output), output
    # Any command removes the scratch folders of dead processes, once their parent has reaped them.
    limit = time.monotonic() + 60
    while {str(pid) for pid in pids} & set(os.listdir(scratch)):
        assert time.monotonic() < limit
        stack.make("status")


@pytest.mark.thorough
def test_a_server_whose_pid_cannot_be_noted_is_not_left_running(stack):
    os.kill(stack.service_pids()["kafka"], signal.SIGKILL)
    in_the_way = ROOT / stack.run_dir / "pids" / "kafka"  # fails the write, as a full disk does
    in_the_way.unlink()
    in_the_way.mkdir()
    try:
        assert "error: " in stack.make("up", ok=False)
        commands = [process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"])]
        assert not [
            command
            for command in commands
            if "kafka.Kafka" in command and f"{stack.run_dir}/" in " ".join(command)
        ]
    finally:
        in_the_way.rmdir()
    stack.make("up")


def listens(address):
    host, port = address.split(":")
    with socket.socket() as attempt:
        return attempt.connect_ex((host, int(port))) == 0


@pytest.mark.thorough
def test_a_landing_beside_a_make_up_that_is_not_done_waits_for_it(stack):
    """The NameNode listens again, but no DataNode has registered: nothing can be written yet."""
    stack.run("topic", TOPIC="beside_up")
    stack.kcat("beside_up", good())
    pids = stack.service_pids()
    run = {
        "cwd": ROOT,
        "env": clean_environment(),
        "stdin": subprocess.DEVNULL,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    try:
        os.kill(pids["datanode"], signal.SIGSTOP)
        os.kill(pids["namenode"], signal.SIGKILL)
        up = subprocess.Popen(stack.command("up"), stdout=subprocess.DEVNULL, **run)
        address, limit = stack.hdfs.removeprefix("hdfs://"), time.monotonic() + 60
        while stack.service_pids()["namenode"] == pids["namenode"] or not listens(address):
            assert time.monotonic() < limit, "the new NameNode does not listen"
            time.sleep(0.2)
        command = stack.command("land", TOPIC="beside_up")
        land = subprocess.Popen(command, stdout=subprocess.PIPE, **run)
        output = ""
        while "waiting for it" not in output:
            line = land.stdout.readline()
            assert line, output
            output += line
    finally:
        os.kill(pids["datanode"], signal.SIGCONT)
    assert up.wait(120) == 0
    output += land.communicate(timeout=120)[0]
    assert land.returncode == 0, output
    assert len(stack.table("beside_up", "attempts")) == 1


def test_a_set_up_beside_another_one_waits_for_it_and_says_so(stack, tmp_path):
    said = tmp_path / "said"
    with open(ROOT / ".setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        setup = stack.start("setup", said)
        wait_until(lambda: "another set-up is at work here" in said.read_text(), said.read_text)
    assert setup.wait(120) == 0
    assert "everything is in place" in said.read_text()


def test_clean_removes_no_folder_of_somebody_else(stack, tmp_path):
    (tmp_path / "photo").write_text("mine")
    for where in "local", "docker":
        output = stack.make("setup", ok=False, RUN_DIR=tmp_path, STACK=where)
        assert "holds something already" in output
    assert "is not a run folder" in stack.make("clean", ok=False, RUN_DIR=tmp_path, YES=1)
    assert (tmp_path / "photo").exists()


def test_a_running_stack_is_not_mistaken_for_one_on_other_ports(stack):
    with socket.create_server(("127.0.0.1", 0)) as other:  # such as another stack's broker
        for port in 20998, other.getsockname()[1]:
            output = stack.make("topic", ok=False, KAFKA=f"127.0.0.1:{port}")
            assert "runs on other ports" in output


def test_a_port_that_is_taken_is_named_with_its_holder(stack):
    other = Stack(".run-test-2")
    code = (
        "import socket, time; s = socket.socket(); "
        f"s.bind(('127.0.0.1', {other.kafka.split(':')[1]})); s.listen(); "
        "print('ready', flush=True); time.sleep(100)"
    )
    holder = subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        output = other.make("up", ok=False)
        assert "is taken" in output and f"pid {holder.pid}" in output
        assert f"KAFKA={other.kafka}" in output
    finally:
        holder.kill()
        holder.wait()
        other.make("down", ok=None)
        other.make("clean", YES=1)
