"""Fixtures of the container tests: one stack of each service, shared by the test files."""

import subprocess

import pytest

from docker_stacks import IMAGE, SERVICES, SMALL, Docker, compose_alone, seconds


@pytest.fixture(scope="session")
def docker():
    """One of each service, started by Compose alone."""
    stack = Docker(".run-test-docker")
    stack.clean()
    try:
        image = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True)
        if image.returncode == 0:  # make rebuilds an outdated image; Compose builds a missing one
            stack.make("setup")
        print(compose_alone(stack, "up", "-d")[-300:])
        stack.wait_healthy(*SERVICES)
        SMALL.append(stack)
        yield stack
    finally:
        SMALL.clear()
        stack.clean()


@pytest.fixture(scope="session")
def both(docker, stack, real_file):
    """Lands the real file in both stacks; returns the output of make all on Docker."""
    stack.run("publish land", TOPIC="assessments", DATA=real_file.resolve())
    said = docker.make("all", TOPIC="assessments", DATA=real_file.resolve())
    print("docker:", seconds(said))
    return said
