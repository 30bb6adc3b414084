"""The parts of a file in queries/: comment lines that begin with --, and one statement."""


def head(text: str) -> list[str]:
    """The comment lines, without the dashes: the question, then its assumption."""
    return [line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")]


def statement(text: str) -> str:
    """The text without its comment lines."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))
