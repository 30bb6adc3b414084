"""New files in HDFS: closed early, and whole."""

import time
from unittest import mock

import hdfs_native
import pytest

from pipeline.tables import hdfs


@pytest.fixture
def client(stack):
    client = hdfs_native.Client(stack.hdfs)
    client.mkdirs("/new files")
    yield client
    client.delete("/new files", recursive=True)


def check_closed(client, path, content):
    """Another client may append to a file only when it is closed."""
    with client.append(path) as more:
        more.write(b"more")
    assert client.read(path).read() == content + b"more"


@pytest.mark.parametrize("size", [0, 1, 40 * 2**20])  # the last one has two blocks
def test_a_new_file_is_whole_and_closed_when_close_returns(stack, client, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with hdfs.NewFile(hdfs.client(stack.hdfs), "/new files/one") as file:
        file.write(content[: size // 3])
        file.write(memoryview(content)[size // 3 :])
    assert file.size == size
    check_closed(client, "/new files/one", content)


def test_a_new_file_is_closed_early_and_its_block_is_not_recovered(stack, client, monkeypatch):
    its_client, answers = hdfs.client(stack.hdfs), []
    recover_lease = its_client.recover_lease

    def note(path):
        answers.append(recover_lease(path))
        return answers[-1]

    monkeypatch.setattr(its_client, "recover_lease", note)
    for number in range(20):
        with hdfs.NewFile(its_client, f"/new files/{number}") as file:
            file.write(b"content")
    # False: a recovery of the block has begun.
    assert answers and all(answers)


def test_a_new_file_is_closed_where_leases_are_not_recovered(stack, client, monkeypatch):
    def refuse(path):
        raise RuntimeError("AccessControlException")

    its_client = hdfs.client(stack.hdfs)
    monkeypatch.setattr(its_client, "recover_lease", refuse)
    with hdfs.NewFile(its_client, "/new files/one") as file:
        file.write(b"content")
    check_closed(client, "/new files/one", b"content")


def test_a_file_whose_write_failed_is_not_closed_early(stack, client, monkeypatch):
    its_client, asked = hdfs.client(stack.hdfs), []
    file = hdfs.NewFile(its_client, "/new files/one")
    monkeypatch.setattr(file, "file", mock.Mock(wraps=file.file))
    monkeypatch.setattr(its_client, "recover_lease", asked.append)
    file.file.write.side_effect = OSError("the DataNode has ended")
    file.file.close.side_effect = lambda: time.sleep(0.1)
    with pytest.raises(OSError, match="has ended"), file:
        file.write(b"content")
    assert not asked


def test_a_new_file_does_not_replace_another_one(stack, client):
    hdfs.NewFile(client, "/new files/one").close()
    with pytest.raises(FileExistsError):
        hdfs.NewFile(client, "/new files/one")


def test_a_file_that_was_deleted_while_it_was_written_is_an_error(stack, client):
    file = hdfs.NewFile(hdfs.client(stack.hdfs), "/new files/one")
    file.write(b"content")
    client.delete("/new files/one")
    with pytest.raises(OSError):
        file.close()
