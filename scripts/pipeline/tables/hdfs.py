"""HDFS without a JVM."""

import concurrent.futures
import io
import itertools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

import hdfs_native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Value = TypeVar("Value")
Result = TypeVar("Result")

AT_ONCE = 32  # threads, which wait most of the time
client = hdfs_native.Client  # client("hdfs://HOST:PORT")
FIRST_LOOK_S = 0.002  # after a file's last block was written; a NameNode hears of it about then
_closing = concurrent.futures.ThreadPoolExecutor(256, "closing")


class NewFile(io.RawIOBase):
    """A new file in HDFS, created at once. FileExistsError where there is one.

    A client closes a file by telling the NameNode that it is complete. Nearly always that comes a
    moment before the DataNode reports the last block, and is refused. hdfs-native repeats it after
    half a second; here the file is closed as soon as the block is reported.
    """

    def __init__(self, client: hdfs_native.Client, path: str, overwrite: bool = False):
        self.file = client.create(path, hdfs_native.WriteOptions(overwrite=overwrite))
        self.client, self.path, self.size = client, path, 0
        self.closing: concurrent.futures.Future[None] | None = None

    def writable(self) -> bool:
        return True

    def write(self, content: "ReadableBuffer", /) -> int:
        """Writes all of it."""
        written = self.file.write(content)
        self.size += written
        return written

    def close(self) -> None:
        """Returns when the file is on the disk, and closed. Raises hdfs-native's errors."""
        if self.closing is None:
            self.closing = _closing.submit(self.file.close)
            for looks in itertools.count(1):
                if concurrent.futures.wait([self.closing], FIRST_LOOK_S * looks).done:
                    return self.closing.result()
                if self._is_closed_early():
                    return None
        return None

    def _is_closed_early(self) -> bool:
        # A reader's length counts reported blocks only. When all are, the NameNode closes the file
        # for whoever asks it to recover the lease; asked earlier, it would begin to recover the
        # block. The client's own request comes later, and changes nothing.
        try:
            is_reported = len(self.client.read(self.path)) == self.size
            return is_reported and self.client.recover_lease(self.path)
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
    """Calls the function with each value, side by side; -> the results, in order."""
    with concurrent.futures.ThreadPoolExecutor(min(len(values), AT_ONCE) or 1) as pool:
        return list(pool.map(function, values))
