"""Messages written by hand for the tests: one good one, and ways to spoil it."""
import copy
import json

GOOD = {
    "keen_timestamp": "1516717442.7352669", "max_attempts": "1.0", "started_at": "2018-01-23T14:23:19.082Z",
    "base_exam_id": "37f0a30a-7464-11e6-aa92-a8667f27e5dc", "user_exam_id": "6d4089e4-bde5-4a22-b65f-18bce9ab79c8",
    "sequences": {
        "questions": [
            {"user_incomplete": False, "user_correct": True, "user_submitted": True, "id": "q-sum", "user_result": "correct", "options": [
                {"checked": True, "at": "2018-01-23T14:23:24.670Z", "id": "o-four", "submitted": 1, "correct": True},
                {"checked": False, "at": "2018-01-23T14:23:22.100Z", "id": "o-five"}]},
            {"user_incomplete": False, "user_correct": False, "user_submitted": False, "id": "q-name", "user_result": "unanswered", "options": [
                {"checked": False, "correct": False, "id": "o-left"},
                {"checked": False, "correct": True, "id": "o-right"},
                {"checked": False, "id": "o-none"}]}],
        "attempt": 1, "id": "5b28a462-7a3b-42e0-b508-09f3906d1703",
        "counts": {"incomplete": 0, "submitted": 1, "incorrect": 0, "all_correct": False, "correct": 1, "total": 2, "unanswered": 1}},
    "keen_created_at": "1516717442.7352669", "certification": "false", "keen_id": "5a6745820eb8ab00016be1f1",
    "exam_name": "Learning Git"}


def spoil(path, value):
    """The good message as bytes with one thing changed. path: keys and positions, 'sequences.questions.0.id';
    value: what to put there, or ... to remove it."""
    message = copy.deepcopy(GOOD)
    at = message
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in parents:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(message).encode()


def good(**fields):
    """The good message as bytes, with other top-level fields."""
    return json.dumps({**GOOD, **fields}).encode()


_TEXT = json.dumps(GOOD)
Q, C = "sequences.questions", "sequences.counts"

# Name of the defect: (bytes, how its reason must begin). None: it is valid.
CASES = {
    "a tombstone": (None, "empty: "),
    "no bytes": (b"", "empty: "),
    "blanks only": (b" \r\n\t ", "empty: "),
    "Latin-1": ("Café".encode("latin-1"), "not_utf8: byte 3 is 0xe9"),
    "UTF-16": (_TEXT.encode("utf-16"), "not_utf8: byte 0"),
    "text that is no JSON": (b"hello", "not_json: "),
    "cut off": (_TEXT[:-1].encode(), "not_json: "),
    "something after it": (_TEXT.encode() + b" x", "not_json: "),
    "two objects in one message": (_TEXT.encode() * 2, "not_json: "),
    "closes an array nobody opened": (_TEXT.encode() + b'],[' + _TEXT.encode(), "not_json: "),
    "tries to close the reader's own wrapping": (_TEXT.encode() + b',"z":0} {"message":' + _TEXT.encode(), "not_json: "),
    "byte order mark": (b"\xef\xbb\xbf" + _TEXT.encode(), "not_json: "),
    "NaN": (_TEXT.replace('"total": 2', '"total": NaN').encode(), "not_json: "),
    "a key twice": (_TEXT.replace('"attempt": 1', '"attempt": 1, "attempt": 2').encode(), "not_json: the key \"attempt\" stands twice"),
    "half a surrogate pair": (_TEXT.replace("Learning Git", "\\ud83d").encode(), "not_json: a text holds half a surrogate pair"),
    "ten thousand levels": (b"[" * 10000 + b"]" * 10000, "not_json: it is nested more than 1,000 levels"),
    "an array of attempts as one message": (f"[{_TEXT}, {_TEXT}]".encode(), "not_an_object: it is an array of 2"),
    "a number": (b"5", "not_an_object: it is a number (5)"),
    "null": (b"null", "not_an_object: it is null"),
    "no keen_id": (spoil("keen_id", ...), "missing: keen_id is absent"),
    "null keen_id": (spoil("keen_id", None), "missing: keen_id is null"),
    "no sequences": (spoil("sequences", ...), "missing: sequences is absent"),
    "no questions": (spoil(Q, []), "missing: sequences.questions is empty"),
    "a null question": (spoil(Q + ".1", None), "missing: sequences.questions[1] is null"),
    "a question without id": (spoil(Q + ".0.id", ...), "missing: sequences.questions[0].id is absent"),
    "a question without options": (spoil(Q + ".0.options", ...), "missing: sequences.questions[0].options is absent"),
    "an option without checked": (spoil(Q + ".1.options.2.checked", ...), "missing: sequences.questions[1].options[2].checked is absent"),
    "counts without total": (spoil(C + ".total", ...), "missing: sequences.counts.total is absent"),
    "missing comes before wrong_type": (spoil("sequences.counts", {"total": "2"}), "missing: sequences.counts.incomplete is absent"),
    "a number where text belongs": (spoil("exam_name", 5), "wrong_type: exam_name is a number (5), expected a text"),
    "text for a boolean": (spoil(Q + ".0.user_correct", "yes"), 'wrong_type: sequences.questions[0].user_correct is a text ("yes")'),
    "an object where an array belongs": (spoil(Q, {}), "wrong_type: sequences.questions is an object"),
    "a text where an object belongs": (spoil("sequences", "none"), "wrong_type: sequences is a text"),
    "counts no whole number": (spoil(C + ".total", 2.5), "wrong_type: sequences.counts.total is a number (2.5)"),
    "a number larger than all": (_TEXT.replace('"attempt": 1', '"attempt": 1e400').encode(), "wrong_type: sequences.attempt is a number (1e400)"),
    "max_attempts no number": (spoil("max_attempts", "many"), "wrong_type: max_attempts"),
    "certification no boolean": (spoil("certification", "yes"), "wrong_type: certification"),
    "started_at without zone": (spoil("started_at", "2018-01-23T14:23:19.082"), "bad_timestamp: started_at"),
    "a leap second": (spoil("started_at", "2016-12-31T23:59:60Z"), "bad_timestamp: started_at"),
    "30 February": (spoil("started_at", "2018-02-30T00:00:00Z"), "bad_timestamp: started_at"),
    "year 0": (spoil("started_at", "0000-01-01T00:00:00Z"), "bad_timestamp: started_at"),
    "before 1970": (spoil("started_at", "1969-12-31T23:59:59Z"), "bad_timestamp: started_at"),
    "year 10000 by its zone": (spoil("started_at", "9999-12-31T23:59:59-01:00"), "bad_timestamp: started_at"),
    "epoch in milliseconds": (spoil("keen_timestamp", "1516717442735"), "bad_timestamp: keen_timestamp"),
    "a click at no time": (spoil(Q + ".0.options.0.at", "now"), "bad_timestamp: sequences.questions[0].options[0].at"),
    "an unknown result": (spoil(Q + ".0.user_result", "perfect"), "unknown_result: sequences.questions[0].user_result is \"perfect\""),
    "total is not the number of questions": (spoil(C + ".total", 3), "counts_disagree: total is 3"),
    "counts that differ from the results": (spoil(Q + ".0.user_result", "incorrect"), "counts_disagree: correct is 1"),
    "all_correct though not all are": (spoil(C + ".all_correct", True), "counts_disagree: all_correct"),
    "control characters in a name": (spoil("exam_name", 5.0e0) .replace(b"5.0", b'["\\u001b[31m"]'), 'wrong_type: exam_name is an array (["\\u001b[31m"])'),

    "a line end behind a time": (spoil("started_at", "2018-01-23T14:23:19.082Z\n"), "bad_timestamp: started_at"),
    "a line end behind an epoch": (spoil("keen_timestamp", "1516717442.5\n"), "bad_timestamp: keen_timestamp"),
    "a line end behind a number": (spoil("max_attempts", "1.0\n"), "wrong_type: max_attempts"),
    "a count at the end of 64 bits": (spoil(C + ".submitted", 2**63 - 1), "wrong_type: sequences.counts.submitted"),
    "two counts that add up beyond 64 bits": (spoil(C + ".incorrect", 2**63 - 1), "wrong_type: sequences.counts.incorrect"),
    "a thousand levels, which are allowed, in the wrong place": (spoil("exam_name", 0).replace(b'"exam_name": 0', b'"exam_name": ' + b"[" * 999 + b"]" * 999), "wrong_type: exam_name is an array"),
    "a thousand and one levels": (spoil("exam_name", 0).replace(b'"exam_name": 0', b'"exam_name": ' + b"[" * 1000 + b"]" * 1000), "not_json: it is nested more than 1,000 levels"),
    "a thousand levels where nothing is declared": (spoil("browser", 0).replace(b'"browser": 0', b'"browser": ' + b"[" * 999 + b"]" * 999), None),

    "as it comes": (_TEXT.encode(), None),
    "no counts and no results": (spoil("sequences", {"attempt": 1, "id": "s", "questions": [{"id": "q", "options": [{"checked": True, "id": "o"}]}]}), None),
    "null certification": (spoil("certification", None), None),
    "no certification": (spoil("certification", ...), None),
    "certification true": (spoil("certification", "true"), None),
    "null for an optional field": (spoil(Q + ".0.options.1.at", None), None),
    "a field nobody declared": (spoil("browser", {"name": ["x"]}), None),
    "1.0 is a whole number": (_TEXT.replace('"attempt": 1', '"attempt": 1.0').encode(), None),
    "blanks and line ends between": (json.dumps(GOOD, indent=2).encode() + b"\r\n", None),
    "another time zone": (spoil("started_at", "2018-01-23T16:23:19.082+02:00"), None),
    "nine decimals": (spoil("started_at", "2018-01-23T14:23:19.082123456Z"), None),
    "an emoji as a surrogate pair": (_TEXT.replace("Learning Git", "\\ud83d\\ude00").encode(), None),
    "a name in another script": (json.dumps({**GOOD, "exam_name": "学ぶ Git عربى"}, ensure_ascii=False).encode(), None),
    "SQL and shell in a name": (spoil("exam_name", "'; DROP TABLE attempts; $(rm -rf /) ../../etc"), None),
    "a question without options to choose": (spoil(Q + ".1.options", []), None),
}
