"""How every script starts and ends: settings, --help, errors in three lines, the exit code."""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from pipeline import errors, settings
from pipeline.errors import DiskFull, Failure, Known, Outage
from pipeline.settings import Settings
from pipeline.text import printable

SPACE_OF_A_NAMENODE = 100 * 2**20  # bytes


def run(main: Callable[[Settings], object]) -> NoReturn:
    """Runs main(settings), reports what it raises, and ends the process with its exit code.

    -h and --help print the script's docstring.
    The interpreter is not finalized: Arrow's I/O threads call Python for files in HDFS, and one
    that does so during finalization aborts the process ("terminate called without an active
    exception").
    """
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print((sys.modules["__main__"].__doc__ or "").strip())
        code = 0
    else:
        code = _exit_code(main)
    for stream in sys.stdout, sys.stderr, sys.__stderr__:
        with contextlib.suppress(OSError, AttributeError):  # None: it was closed from the start
            stream.flush()  # type: ignore[union-attr]
    os._exit(code)


def _exit_code(main: Callable[[Settings], object]) -> int:
    """The exit code of main, after its errors are reported."""
    try:
        main(settings.load())
        return 0
    except Failure as failure:
        report(failure)
        return failure.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output ended (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:
        log_trace()
        report(unforeseen(error, settings.load()))
        return 1


def report(failure: Failure) -> None:
    """Prints a failure in three lines."""
    text = f"error: {failure.what}\n       {failure.why}\n       {failure.then}"
    # The message may quote published texts. Sessions of Spark redirect sys.stderr to Spark's log.
    print(printable(text, keep="\n"), file=sys.__stderr__)


def unforeseen(error: Exception, settings: Settings) -> Failure:
    """The Failure that says what is known of any other exception."""
    what = errors.cause(error)
    if errors.is_from_kafka(error):
        what = f"Kafka at {settings.kafka}: {what}"
    logs = settings.in_run_dir("logs")
    return Failure(
        what,
        f"the whole trace: {log_path(settings)}; Spark's own log: {logs}/spark.log",
        mend(error, settings)
        or "no cause of this is known: please report it, with the end of the trace",
    )


def mend(error: BaseException, settings: Settings) -> str | None:
    """What to type after an exception; None for an unknown kind of fault."""
    kind = errors.kind_of(error)
    # Kafka's broker halts without giving a reason to its clients.
    if kind is not None and kind.retriable and local_disk_is_full(settings):
        kind = DiskFull
    if isinstance(error, PermissionError) and error.filename:
        return f"give yourself the right to it: ls -ld {error.filename} shows who has it"
    if kind is None and isinstance(error, OSError) and error.filename:
        return f"mend what is at that path: ls -ld {shlex.quote(str(error.filename))}"
    if kind is None or not issubclass(kind, Known):
        return None
    return advice(kind, errors.root_cause(error), settings)


def advice(kind: type[Known], text: str, settings: Settings) -> str:
    """What to type after this kind of fault. text: of the exception."""
    found = re.search(kind.folder, text) if kind.folder else None
    return kind.then.format(
        status=settings.make("status"),
        shell=settings.make("shell"),
        run_dir=settings.in_run_dir(),
        warehouse=settings.warehouse,
        folder=found[1] if found else settings.warehouse,
    )


def local_disk_is_full(settings: Settings) -> bool:
    """Whether the local servers have less space than a NameNode needs to leave its safe mode."""
    with contextlib.suppress(FileNotFoundError):  # they were never started
        free = shutil.disk_usage(settings.in_run_dir("storage")).free
        return settings.stack == "local" and free < SPACE_OF_A_NAMENODE
    return False


def interrupted(
    work: str, error: Exception, harmless: str, again: str, settings: Settings
) -> Outage:
    """The Outage of a landing or reprocessing that an exception interrupted. Logs its trace.

    harmless: why nothing is lost; again: how to retry.
    """
    log_trace()
    known = mend(error, settings)
    report = "should it say the same again, please report it, with the end of the traces"
    logs = settings.in_run_dir("logs")
    return Outage(
        f"{work} was interrupted: {errors.cause(error)}",
        f"{harmless}; the traces: {log_path(settings)}, {logs}/spark.log",
        f"{known}; then: {again}" if known else f"{again}; {report}",
    )


def log_path(settings: Settings) -> pathlib.Path:
    """This script's log."""
    script = pathlib.Path(sys.argv[0])
    return settings.in_run_dir("logs", f"{script.stem}.log")


def log_trace() -> None:
    """Appends the trace of the current exception to the script's log, if the disk is not full."""
    with contextlib.suppress(OSError), open(log_path(settings.load()), "a") as file:
        traceback.print_exc(file=file)
