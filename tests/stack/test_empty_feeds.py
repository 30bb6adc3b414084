"""Every target works on a feed with no accepted message, with no score, and with one attempt."""

import hdfs_native
import pytest

import plots
from messages import good

pytestmark = pytest.mark.thorough

ONE_OPTION = {"questions": [{"id": "q", "options": []}], "attempt": 1, "id": "s"}
FEEDS = {
    "only_rejected": [b"{}", b"", good(exam_name=None)],
    "no_score": [good(sequences=ONE_OPTION), good(keen_id="second", sequences=ONE_OPTION)],
    "one_attempt": [good()],
    "one_exam": [good(keen_id=str(n)) for n in range(3)],
}
READERS = "verify query plots export status land reprocess verify query backup"


@pytest.mark.parametrize("topic", FEEDS)
def test_every_target_works_on_a_feed_with_little_in_it(stack, topic, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "FOLDER", tmp_path / "plots")
    feed = {"TOPIC": topic, "DATA": "none", "OUT": tmp_path / "out", "BACKUP": tmp_path / "f.tar"}
    stack.run("topic", **feed)
    stack.kcat(topic, *FEEDS[topic])
    stack.run("land", **feed)
    stack.run(READERS, **feed)
    assert len([*(tmp_path / "plots").iterdir()]) == 5
    hdfs_native.Client(stack.hdfs).delete(f"/warehouse/{topic}", recursive=True)
    stack.run("restore verify", **feed)
