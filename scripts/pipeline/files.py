"""Files that are whole or absent, and locks between processes."""

import contextlib
import fcntl
import fnmatch
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import IO, Any


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], mode: str = "w", permission: int = 0o666
) -> Iterator[IO[Any]]:
    """Opens a new file that gets the name `path` when the block ends; after an error it is deleted.

    Creates the folder where it is missing. Several processes may write the same path.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, permission)

    try:
        with open(new, mode, encoding=None if "b" in mode else "utf-8", opener=opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def replace(path: str | os.PathLike[str], text: str, permission: int = 0o666) -> None:
    """Writes the whole file, as replacing() does."""
    with replacing(path, permission=permission) as file:
        file.write(text)


def of_project(root: pathlib.Path, *options: str) -> list[str]:
    """The paths of the project's files: those that git tracks, or by other options of git ls-files.

    Without git (an archive of make dist): all that .gitignore does not exclude.
    """
    if (root / ".git").exists() and shutil.which("git"):
        listing = ["git", "ls-files", "-z", *options]
        done = subprocess.run(listing, cwd=root, capture_output=True, check=True, text=True)
        found = done.stdout.split("\0")[:-1]
        return sorted(name for name in found if (root / name).is_file())
    lines = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    # A pattern that begins with a slash is for the top folder only.
    ignored = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    found = []
    for folder, folders, names in os.walk(root):
        top = "/" if folder == str(root) else "//"
        for listed in folders, names:
            listed[:] = [
                name
                for name in listed
                if not any(
                    fnmatch.fnmatchcase(name, pattern) or pattern == top + name
                    for pattern in ignored
                )
            ]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], when_held: Callable[[str], object]) -> Iterator[IO[str]]:
    """Holds the lock on a file while the block runs. The system frees it when the process ends.

    when_held(what the holder wrote into the file) is called when another process has it; if that
    raises nothing, this one waits. Yields the file.
    """
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            when_held(file.read().strip())
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
