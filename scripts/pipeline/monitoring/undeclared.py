"""Fields of accepted messages that declaration.py does not declare. make verify lists them."""

import collections
import json
from collections.abc import Iterator
from typing import Any

import pyarrow.compute
from deltalake import DeltaTable

from pipeline.message.declaration import MESSAGE, Array, Object

MOST_FIELDS = 10_000  # distinct paths that are counted; a publisher may send any number
MESSAGES_A_SLICE = 1000


def count(ledger: DeltaTable) -> collections.Counter[str]:
    """{path of an undeclared field: number of accepted messages that have it}

    Reads the messages in slices and keeps at most about MOST_FIELDS paths, so that memory does not
    grow with the feed.
    """
    counts: collections.Counter[str] = collections.Counter()
    scanner = ledger.to_pyarrow_dataset().scanner(
        columns=["status", "value"],
        batch_size=MESSAGES_A_SLICE,
        batch_readahead=2,
        fragment_readahead=1,
    )
    for batch in scanner.to_reader():
        for value in batch.filter(pyarrow.compute.equal(batch["status"], "accepted"))["value"]:
            # Numbers stay text: Python rejects integers of more than 4,300 digits.
            content = json.loads(value.as_py(), parse_int=str, parse_float=str)
            found = set(paths(content, MESSAGE))
            counts.update(found if len(counts) < MOST_FIELDS else found & counts.keys())
    return counts


def paths(value: Any, declared: object, path: str = "") -> Iterator[str]:
    """Yields the path of each undeclared field of a valid message: sequences.questions[].hint

    declared: the declaration of `value` (an Object, Array or Kind), which is at `path`. Does not
    descend into an undeclared field.
    """
    if isinstance(declared, Array):
        for element in value:
            yield from paths(element, declared.element, path + "[]")
    elif isinstance(declared, Object):
        kinds = {field.name: field.kind for field in declared.fields}
        for name, inner in value.items():
            inner_path = f"{path}.{name}" if path else name
            if name not in kinds:
                yield inner_path
            elif inner is not None:
                yield from paths(inner, kinds[name], inner_path)
