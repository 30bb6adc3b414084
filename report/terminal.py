"""A real terminal: an interactive bash in the project's environment, and pyspark inside it."""

import pathlib
import re

import pexpect

ANSWERS_WITHIN_S = 300
BASH, BASH_CONTINUES = r"report (\d+)> ", "report continues> "
PYTHON, PYTHON_CONTINUES = r"\r\n>>> ", r"\r\n\.\.\. "


class CommandFailed(Exception):
    """A command failed, did not end, or was typed at the wrong prompt. The text has its output."""


class Terminal:
    """Types commands as a user would, and returns what came back."""

    def __init__(
        self, folder: pathlib.Path, environment: dict[str, str], variables: dict[str, str]
    ):
        """environment: that of scripts/env.sh; variables: those that it would not pass on."""
        # The prompt shows the exit code. It is set by PROMPT_COMMAND, because bash ignores a PS1 of
        # root's environment. PYTHON_BASIC_REPL: newer Pythons redraw the line while it is typed.
        prompt = f"PS1='report $?> ' PS2='{BASH_CONTINUES}'"
        variables |= {"PROMPT_COMMAND": prompt, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
        self.shell = pexpect.spawn(
            "scripts/env.sh",
            ["env", *map("=".join, variables.items()), "scripts/shell.sh"],
            cwd=folder,
            encoding="utf-8",
            timeout=ANSWERS_WITHIN_S,
            dimensions=(100, 2000),
            env=environment,
        )
        self.shell.delaybeforesend = None
        self.shell.expect(BASH, timeout=20)

    def type(self, language: str, code: str) -> str:
        """Types the lines of a bash command or of Python code, and returns the output.

        Raises CommandFailed, also for an exit code other than 0 and for a Python exception.
        """
        at_python = bool(re.match(PYTHON, self.shell.after))
        if at_python != (language == "python"):
            raise CommandFailed(f"the terminal is at the prompt of the other language: {code}")
        shown, prompts = [], [BASH, BASH_CONTINUES, PYTHON, PYTHON_CONTINUES]
        lines = code.split("\n")
        if language == "python" and lines[-1].startswith(" "):
            lines.append("")  # an empty line ends an indented block
        for line in lines:
            self.shell.sendline(line)
            try:
                self.shell.expect(prompts)
            except (pexpect.TIMEOUT, pexpect.EOF):
                end = self.shell.before[-2000:]
                raise CommandFailed(f"no end within {ANSWERS_WITHIN_S} s: {line}\n{end}") from None
            output = self.shell.before.partition("\r\n")[2]  # the first line is the echo
            output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).replace("\r", "")
            shown += ["\n".join(text.rstrip() for text in output.splitlines())] if output else []
            ended = re.match(BASH, self.shell.after)
            if ended and ended[1] != "0":
                raise CommandFailed(f"this ended with {ended[1]}: {line}\n" + "\n".join(shown))
        text = "\n".join(shown)
        if re.match(f"{BASH_CONTINUES}|{PYTHON_CONTINUES}", self.shell.after):
            raise CommandFailed(f"the shell waits for more after:\n{code}")
        if language == "python" and "Traceback (most recent call last)" in text:
            raise CommandFailed(f"this ended with an exception:\n{code}\n{text}")
        return text
