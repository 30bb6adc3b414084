"""Prints the knobs in force, and shortens paths, for people to read."""

import os
import pathlib
import re

import config
from printable import printable


def relative(path: pathlib.Path) -> pathlib.Path:
    """The path relative to this project's folder when it is inside, otherwise the path itself."""
    return path.relative_to(os.environ["ROOT"]) if path.is_relative_to(os.environ["ROOT"]) else path


def of_feed() -> str:
    """For messages: what makes a make command mean this feed. Empty for the default feed."""
    return "" if config.TOPIC == "assessments" else f" TOPIC={config.TOPIC}"


def print_knobs() -> None:
    """Prints each knob that has a value, and where the value came from."""
    words = {
        "file": "default",
        "command_line": "make",
        "environment": "environment",
        "environment_override": "environment",
    }
    origins = dict(pair.split("=", 1) for pair in os.environ["KNOB_ORIGINS"].split())
    for name, origin in origins.items():
        value = os.environ.get(name, "")
        if name == "RUN_DIR":
            value = str(relative(pathlib.Path(config.RUN_DIR)))
        if name == "DATA_URL":  # hides secrets, as without_secrets in common.sh
            value = re.sub(r"[?]\S*", "?…", re.sub(r"//[^/\s]*@", "//…@", value))
        if value:
            print(f"  {name:<12} {printable(value):<62} {words.get(origin, origin)}")
