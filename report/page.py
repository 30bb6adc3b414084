"""The report from its template: commands are run and their outputs inserted, prose quotes them.

A template is Markdown. What is between ```bash or ```python and ``` is run, in one session. After
the language may follow a name; the prose quotes the answer by it:
    ```python git                            a name for the answer
    ```python git = queries/03_name.sql      the code is spark.sql(…) with that file's statement
    {git.attempts:,} attempts                column of the answer's first row (format: Python's)
    {git[2].attempts} of {git.rows} rows     of its third row; the number of rows
    {in_topic:,} messages                    an output that is one whole number
"""

import pathlib
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.spark import questions

BLOCK = re.compile(r"^```(bash|python)(?: (\w+))?(?: = (\S+))?\n(.*?)^```\n", re.MULTILINE | re.S)
OTHER_BLOCK = re.compile(r"^```\w*\n.*?^```\n", re.MULTILINE | re.S)
SHOWN = re.compile(r"^```(bash|python)\n(.*?)\n```\n(?:```text\n(.*?)\n```$)?", re.MULTILINE | re.S)


class Block(NamedTuple):
    """Commands of the template."""

    language: str  # bash or python
    name: str | None
    code: str


class Answer:
    """An output, for the prose: its table's rows, or a whole number."""

    def __init__(self, output: str):
        self._output = output
        self._rows = [types.SimpleNamespace(**row) for row in table(output)]
        self.rows = len(self._rows)

    def __getitem__(self, number: int) -> types.SimpleNamespace:
        return self._rows[number]

    def __getattr__(self, column: str) -> Any:
        return getattr(self._rows[0], column)

    def __format__(self, spec: str) -> str:
        return format(int(self._output), spec)


def table(text: str) -> list[dict[str, Any]]:
    """The rows of the first table that Spark showed in text: [{column: value}].

    Numbers are int or float, NULL is None, everything else is text.
    """
    shown = re.search(r"(?:^[+|].*\n?)+", text, re.MULTILINE)
    lines = [line for line in shown[0].splitlines() if line.startswith("|")] if shown else ["|"]
    names, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, map(_value, row), strict=False)) for row in rows]


def _value(text: str) -> int | float | str | None:
    if text == "NULL":
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def parts(template: str) -> Iterator[str | Block]:
    """The template's prose and blocks, in its order."""
    at = 0
    for found in BLOCK.finditer(template):
        language, name, file, code = found.groups()
        yield template[at : found.start()]
        if file:
            statement = questions.statement(pathlib.Path(file).read_text().rstrip())
            code = f'spark.sql("""\n{statement}\n""").show(40, truncate=False)\n'
        yield Block(language, name, code.rstrip("\n"))
        at = found.end()
    yield template[at:]


def write(template: str, run: Callable[[Block], str]) -> str:
    """The page: run(block) returns a block's output. LookupError, AttributeError or ValueError when
    the prose quotes what nothing showed."""
    # All runs first: the prose at the top quotes outputs from further down.
    ran = [(part, run(part) if isinstance(part, Block) else "") for part in parts(template)]
    facts = {
        part.name: Answer(output) for part, output in ran if isinstance(part, Block) and part.name
    }
    return "".join(
        _block(part, output) if isinstance(part, Block) else _quoted(part, facts)
        for part, output in ran
    )


def _block(block: Block, output: str) -> str:
    """The commands and their output, as the page shows them."""
    shown = f"```{block.language}\n{block.code}\n```\n"
    return shown + (f"```text\n{output}\n```\n" if output else "")


def _quoted(prose: str, facts: Mapping[str, Answer]) -> str:
    """Prose with its quotations filled in; other blocks in it (a diagram) as they are."""
    texts, blocks = OTHER_BLOCK.split(prose), OTHER_BLOCK.findall(prose)
    filled = [text.format_map(facts) for text in texts]
    return "".join(a + b for a, b in zip(filled, [*blocks, ""], strict=True))


def shown(page: str) -> list[tuple[str, str, str]]:
    """[(language, what was typed, what came back)] of the page's blocks, in its order."""
    return SHOWN.findall(page)
