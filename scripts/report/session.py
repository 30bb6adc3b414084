"""The terminal behind annotations.md: an interactive bash, in which pyspark is started.

The cog blocks of annotations.md call these functions (`make annotate`, see annotate.py). Each types
a command at the prompt, waits for the next prompt, and writes the command and its output into the
page.

The prose quotes numbers by name: `learn(attempts=…)` takes one from an output, and
`say("{attempts:,} …")` writes it. cog processes the page twice: first with the terminal, then with
the recorded outputs, so that the summary at the top can quote results from further down.
"""

import atexit
import json
import os
import re
import time
from collections.abc import Callable

import cog
import pexpect

import questions
from annotate import table, what_counts

ANSWERS_WITHIN_S = 300
BASH_PROMPT, PYTHON_PROMPT, PYTHON_CONTINUES = r"report (\d+)> ", r"\r\n>>> ", r"\r\n\.\.\. "
CHECKING = os.environ.get("ANNOTATE") == "check"
# [facts, outputs] of the first pass, for the second
RECORD = os.path.join(os.environ["RUN_DIR"], "session.json")


class Shown(str):
    """The output of a command."""

    @property
    def rows(self) -> list[dict]:
        """The rows of the first table in it: [{column: value}]"""
        return table(self)

    @property
    def row(self) -> dict:
        """The only row of the table."""
        (only,) = self.rows
        return only

    @property
    def number(self) -> int:
        """The output as a whole number."""
        return int(self)


_terminal = None  # starts with the first command
_typed, _facts, _replay = [], {}, None
if os.path.exists(RECORD):
    with open(RECORD) as file:
        _facts, _replay = json.load(file)
    _replay = iter(_replay)


@atexit.register
def _save():
    with open(RECORD, "w") as file:
        json.dump([_facts, _typed], file)


def _start():
    global _terminal
    # The prompt shows the exit code. It is set by PROMPT_COMMAND, because bash ignores a PS1 of
    # root's environment. PYTHON_BASIC_REPL: newer Pythons redraw the line while it is typed.
    prompt = {"PROMPT_COMMAND": 'PS1="report $?> "', "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    _terminal = pexpect.spawn(
        "scripts/lib/env.sh",
        ["scripts/shell.sh"],
        encoding="utf-8",
        timeout=ANSWERS_WITHIN_S,
        dimensions=(100, 2000),
        env=os.environ | prompt,
    )
    _terminal.delaybeforesend = None
    _terminal.expect(BASH_PROMPT, timeout=20)


def _type(line, *prompts):
    """Types a line and waits for one of the prompts. Returns the output, and which prompt it is."""
    if _terminal is None:
        _start()
    _terminal.sendline(line)
    try:
        _terminal.expect([*prompts])
    except (pexpect.TIMEOUT, pexpect.EOF):
        raise SystemExit(
            f"this command did not come back within {ANSWERS_WITHIN_S} s: {line}\n"
            f"{_terminal.before[-2000:]}"
        ) from None
    shown = _terminal.before.partition("\r\n")[2]  # the first line is the echo of the input
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    return "\n".join(text.rstrip() for text in shown.splitlines()), _terminal.after


def _write(language: str, command: str, work: Callable[[], str]) -> Shown:
    """Writes the command and its output, which work() returns, or the record of the first pass."""
    if _replay:
        shown = next(_replay)
    else:
        begin = time.monotonic()
        shown = work()
        prompt, line = "$" if language == "bash" else ">>>", " ".join(command.split())
        print(f"  {time.monotonic() - begin:5.1f} s  {prompt} {line[:100]}", flush=True)
        _typed.append(shown)
    new = f"```{language}\n{command}\n```\n" + (f"```text\n{shown}\n```\n" if shown else "")
    # A check keeps the old output when the new one differs only in what varies between runs.
    same = CHECKING and what_counts(new) == what_counts(cog.previous)
    cog.out(cog.previous if same else new)
    return Shown(shown)


def console(command: str, fails: bool = False) -> Shown:
    """Types one line in bash (`pyspark` starts pyspark). SystemExit when its exit code is not 0, or
    is 0 although `fails`."""

    def work():
        if re.match(PYTHON_PROMPT, str(_terminal and _terminal.after)):
            raise SystemExit(f"pyspark is still open; this is for the console: {command}")
        shown, prompt = _type(command, BASH_PROMPT, PYTHON_PROMPT)
        code = re.match(BASH_PROMPT, prompt)
        if code and (code[1] != "0") != fails:
            raise SystemExit(f"this command ended with {code[1]}: {command}\n{shown}")
        return shown

    return _write("bash", command, work)


def pyspark(code: str, fails: bool = False) -> Shown:
    """Types these lines at pyspark's prompt (`exit()` returns to bash). SystemExit after an
    exception, or without one although `fails`."""
    code = code.strip("\n")
    if code.splitlines()[-1].startswith(" "):
        code += "\n"  # an empty line ends an indented block

    def work():
        parts = []
        for line in code.split("\n"):
            shown, prompt = _type(line, PYTHON_PROMPT, PYTHON_CONTINUES, BASH_PROMPT)
            parts += [shown] if shown else []
        shown = "\n".join(parts)
        if re.match(PYTHON_CONTINUES, prompt):
            raise SystemExit(f"python waits for more after:\n{code}")
        if ("Traceback (most recent call last)" in shown) != fails:
            raise SystemExit(
                f"this ended {'without' if fails else 'with'} an exception:\n{code}\n{shown}"
            )
        return shown

    return _write("python", code, work)


def _question(name):
    """(the comment lines of queries/<name>.sql, its statement)"""
    with open(f"queries/{name}.sql") as file:
        text = file.read().rstrip()
    return questions.head(text), questions.statement(text)


def assumption(name: str) -> None:
    """Writes the assumption behind queries/<name>.sql: its comment without the first line."""
    cog.outl(f"**Assumption.** {' '.join(_question(name)[0][1:])}")


def question(name: str) -> Shown:
    """Runs queries/<name>.sql in pyspark."""
    return pyspark(f'spark.sql("""\n{_question(name)[1]}\n""").show(40, truncate=False)')


def learn(**facts: object) -> None:
    """Records facts (numbers or names) for the prose."""
    _facts.update(facts)


def say(text: str) -> None:
    """Writes a sentence of the prose, with {facts} filled in. In the first pass unknown facts are
    written as …, in the second they are an error."""

    class Facts(dict):
        def __missing__(self, name):
            if _replay:
                raise SystemExit(f"the page quotes {{{name}}}, which nothing showed")
            return Later()

    class Later(str):
        """A fact that the first pass does not know yet."""

        def __format__(self, spec):
            return "…"

    cog.outl(text.format_map(Facts(_facts)))
