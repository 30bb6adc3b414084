"""The terminal behind annotations.md: one interactive bash, and the pysparks that are started in it.

annotations.md calls these functions from its cog blocks (`make annotate`, see annotate.py). Each types a command as a
person would, waits for the prompt, and writes the command and what the terminal showed into the page.

The prose quotes numbers by name: `learn(attempts=…)` takes one from what a command showed, `say("{attempts:,} …")`
writes it. cog goes through the page twice: first with the terminal, then with what it showed, so that the summary at
the top can quote what comes later.
"""
import atexit
import json
import os
import re
import time

import cog
import pexpect

from annotate import table, what_counts

ANSWERS_WITHIN_S = 300
BASH_PROMPT, PYTHON_PROMPT, PYTHON_CONTINUES = r"report (\d+)> ", r"\r\n>>> ", r"\r\n\.\.\. "
CHECKING = os.environ.get("ANNOTATE") == "check"
RECORD = os.path.join(os.environ["RUN_DIR"], "session.json")  # of the first pass, for the second

class Shown(str):
    """What a command printed."""

    @property
    def rows(self):
        return table(self)

    @property
    def row(self):
        """The only row of the table."""
        only, = self.rows
        return only

    @property
    def number(self):
        """The only number that was printed."""
        return int(self)


_terminal = None
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
    _terminal = pexpect.spawn(
        "scripts/env.sh", ["scripts/shell.sh"], encoding="utf-8", timeout=ANSWERS_WITHIN_S, dimensions=(100, 2000),
        # The prompt tells the exit code (bash takes no PS1 from root's environment). PYTHON_BASIC_REPL: newer Pythons
        # redraw the line while it is typed.
        env=os.environ | {"PROMPT_COMMAND": 'PS1="report $?> "', "TERM": "dumb", "PYTHON_BASIC_REPL": "1"})
    _terminal.delaybeforesend = None
    _terminal.expect(BASH_PROMPT, timeout=20)


def _type(line, *prompts):
    """Types a line, waits for one of the prompts; -> what was shown in between, and the prompt."""
    if _terminal is None:
        _start()
    _terminal.sendline(line)
    try:
        _terminal.expect([*prompts])
    except (pexpect.TIMEOUT, pexpect.EOF):
        raise SystemExit(f"this command did not come back within {ANSWERS_WITHIN_S} s: {line}\n{_terminal.before[-2000:]}") from None
    shown = _terminal.before.partition("\r\n")[2]  # the first line is the echo of what was typed
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    return "\n".join(text.rstrip() for text in shown.splitlines()), _terminal.after


def _write(language, command, work):
    """Does the work (not when the first pass did it), and writes command and output; -> Shown."""
    if _replay:
        shown = next(_replay)
    else:
        begin = time.monotonic()
        shown = work()
        print(f"  {time.monotonic() - begin:5.1f} s  {'$' if language == 'bash' else '>>>'} {' '.join(command.split())[:100]}", flush=True)
        _typed.append(shown)
    new = f"```{language}\n{command}\n```\n" + (f"```text\n{shown}\n```\n" if shown else "")
    # When only checking: an output that differs only in what must vary is no difference.
    same = CHECKING and what_counts(new) == what_counts(cog.previous)
    cog.out(cog.previous if same else new)
    return Shown(shown)


def console(command, fails=False):
    """Types one line in bash (`pyspark` starts one)."""
    def work():
        if re.match(PYTHON_PROMPT, str(_terminal and _terminal.after)):
            raise SystemExit(f"pyspark is still open; this is for the console: {command}")
        shown, prompt = _type(command, BASH_PROMPT, PYTHON_PROMPT)
        code = re.match(BASH_PROMPT, prompt)
        if code and (code[1] != "0") != fails:
            raise SystemExit(f"this command ended with {code[1]}: {command}\n{shown}")
        return shown
    return _write("bash", command, work)


def pyspark(code, fails=False):
    """Types these lines at pyspark's prompt; an empty line ends an indented block. `exit()` goes back to bash."""
    code = code.strip("\n")
    if code.splitlines()[-1].startswith(" "):
        code += "\n"  # ends the block

    def work():
        parts = []
        for line in code.split("\n"):
            shown, prompt = _type(line, PYTHON_PROMPT, PYTHON_CONTINUES, BASH_PROMPT)
            parts += [shown] if shown else []
        shown = "\n".join(parts)
        if re.match(PYTHON_CONTINUES, prompt):
            raise SystemExit(f"python waits for more after:\n{code}")
        if ("Traceback (most recent call last)" in shown) != fails:
            raise SystemExit(f"this ended {'without' if fails else 'with'} an exception:\n{code}\n{shown}")
        return shown
    return _write("python", code, work)


def _question(name):
    """-> (the lines of the comment at the head of queries/<name>.sql, its statement)"""
    with open(f"queries/{name}.sql") as file:
        lines = file.read().rstrip().splitlines()
    head = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    return head, "\n".join(line for line in lines if not line.startswith("--"))


def assumption(name):
    """The assumption behind queries/<name>.sql, as the file itself says it."""
    cog.outl(f"**Assumption.** {' '.join(_question(name)[0][1:])}")


def question(name):
    """Asks queries/<name>.sql in pyspark."""
    return pyspark(f'spark.sql("""\n{_question(name)[1]}\n""").show(40, truncate=False)')


def learn(**facts):
    """Numbers (or names) of what was shown, for the prose."""
    _facts.update(facts)


def say(text):
    """A sentence of the prose, with {facts} in it."""
    class Facts(dict):
        def __missing__(self, name):
            if _replay:
                raise SystemExit(f"the page quotes {{{name}}}, which nothing showed")
            return Later()

    class Later(str):
        def __format__(self, spec):
            return "…"
    cog.outl(text.format_map(Facts(_facts)))
