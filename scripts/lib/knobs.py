"""Prints the knobs in force, and shortens paths, for people to read."""

import os
import pathlib
import subprocess

import config


def relative(path: pathlib.Path) -> pathlib.Path:
    """The path relative to this project's folder when it is inside, otherwise the path itself."""
    return path.relative_to(os.environ["ROOT"]) if path.is_relative_to(os.environ["ROOT"]) else path


def of_feed() -> str:
    """For messages: what makes a make command mean this feed. Empty for the default feed."""
    return "" if config.TOPIC == "assessments" else f" TOPIC={config.TOPIC}"


def print_knobs() -> None:
    """Prints each knob that has a value, and where the value came from."""
    subprocess.run([pathlib.Path(__file__).with_name("print_knobs.sh")], check=True)
