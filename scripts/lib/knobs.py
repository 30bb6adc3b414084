"""Prints the knobs in force, and shortens paths, for people to read."""

import os
import pathlib
import shlex
import subprocess

import config


def relative(path: pathlib.Path) -> pathlib.Path:
    """The path relative to this project's folder when it is inside, otherwise the path itself."""
    return path.relative_to(os.environ["ROOT"]) if path.is_relative_to(os.environ["ROOT"]) else path


def changed(name: str) -> str:
    """The knob as one types it behind a make command; empty when it is at its default."""
    value = os.environ[name]
    makefile = pathlib.Path(config.ROOT, "Makefile").read_text()
    is_default = f"{name} ?= {value}".strip() in makefile.splitlines()
    return "" if is_default else f" {name}={shlex.quote(value)}"


def of_stack() -> str:
    """For messages: what makes a make command mean this stack. Empty for the default one."""
    return config.STACK_KNOBS


def of_feed() -> str:
    """For messages: what makes a make command mean this stack and feed."""
    return of_stack() + changed("TOPIC")


def of_file() -> str:
    """For messages: what makes a make command mean this stack, feed and data file."""
    return of_feed() + changed("DATA")


def print_knobs() -> None:
    """Prints each knob that has a value, and where the value came from."""
    subprocess.run([pathlib.Path(__file__).with_name("print_knobs.sh")], check=True)
