"""HDFS without a JVM."""

import concurrent.futures
import io
import itertools
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

import hdfs_native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Value = TypeVar("Value")
Result = TypeVar("Result")

AT_ONCE = 32  # threads, which wait most of the time
client = hdfs_native.Client  # client("hdfs://HOST:PORT")
FIRST_CHECK_S = 0.002  # mostly the NameNode has heard of a file's last block by then


class NewFile(io.RawIOBase):
    """A new file in HDFS, created at once. FileExistsError where there is one.

    To close a file, a client tells the NameNode that it is complete. The NameNode refuses that
    until a DataNode has reported the last block, which nearly always takes a few ms longer. Then
    hdfs-native waits for half a second; here the file is closed as soon as the block is reported.
    """

    def __init__(self, client: hdfs_native.Client, path: str, overwrite: bool = False):
        # Not client.create(): what that returns closes itself once more when it is collected, and
        # tries for minutes where HDFS has ended since.
        self.file = client.inner.create(path, hdfs_native.WriteOptions(overwrite=overwrite))
        self.client, self.path, self.size = client, path, 0

    def __del__(self) -> None:
        """Does not close the file, as Python would: who has not closed it has failed."""

    def writable(self) -> bool:
        return True

    def write(self, content: "ReadableBuffer", /) -> int:
        """Writes all of it."""
        self.size += memoryview(content).nbytes  # first: a file whose write fails is never whole
        return self.file.write(content)

    def close(self) -> None:
        """Returns when the file is on the disk, and closed. Raises hdfs-native's errors."""
        if self.closed:
            return
        super().close()
        closing = concurrent.futures.Future[None]()

        def close() -> None:
            try:
                self.file.close()
                closing.set_result(None)
            except BaseException as error:
                closing.set_exception(error)

        # A daemon: where HDFS has ended since, hdfs-native tries for minutes to repeat its request.
        threading.Thread(target=close, daemon=True).start()
        for checks in itertools.count(1):
            if concurrent.futures.wait([closing], FIRST_CHECK_S * checks).done:
                return closing.result()
            if self._close_early():
                return

    def _close_early(self) -> bool:
        """Closes the file, if it is whole; -> whether it is closed."""
        # A reader's length counts reported blocks only. When all are, the NameNode closes a file on
        # recoverLease; before that it would begin to recover the block. The client's own request,
        # repeated later, changes nothing.
        try:
            is_whole = len(self.client.read(self.path)) == self.size
            return is_whole and self.client.recover_lease(self.path)
        except Exception:  # close() itself says what is wrong
            return False


def exists(address: str, path: str) -> bool:
    """Whether there is such a file or folder. path: without the file system's address."""
    try:
        client(address).get_file_info(path)
        return True
    except FileNotFoundError:
        return False


def at_once(function: Callable[[Value], Result], values: Collection[Value]) -> list[Result]:
    """Calls the function with each value, side by side; -> the results, in order.

    A single value is processed in this thread, whose connections are open already.
    """
    if len(values) == 1:
        return [function(value) for value in values]
    with concurrent.futures.ThreadPoolExecutor(min(len(values), AT_ONCE) or 1) as pool:
        return list(pool.map(function, values))
