"""Chapters 4 and 10 of the report: what it counts in the file, the topic and the tables."""

import collections
import json
import re

from report_fixtures import (  # noqa: F401
    answers,
    output,
    rounded,
    says,
    the_attempts,
    the_messages,
)

LEAVES = (
    "keen_id",
    "sequences.counts.total",
    "sequences.questions[].user_result",
    "sequences.questions[].options[].checked",
)


def counted(counter):
    """Returns what uniq -c prints of [(value, count)]."""
    return "\n".join(f"{count:7} {value}" for value, count in counter)


def leaves(value, path=""):
    """Yields the path and value of each single value of a message that is not null."""
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else (("[]", each) for each in value)
        for name, each in inner:
            dot = "." if path and name != "[]" else ""
            yield from leaves(each, f"{path}{dot}{name}")
    elif value is not None:
        yield path, value


def rows_of(messages):
    """Returns how many questions and options the messages have."""
    questions = [q for message in messages for q in message["sequences"]["questions"]]
    return len(questions), sum(len(q["options"]) for q in questions)


def test_the_file(messages):
    assert output('jq length "$DATA"') == str(len(messages))
    one = messages[0]
    question = one["sequences"]["questions"][0]
    lines = output("del(.sequences.questions)").splitlines()
    shown = [json.loads(line) for line in lines[:3]]
    assert shown[0].pop("sequences") == {
        key: value for key, value in one["sequences"].items() if key != "questions"
    }
    assert shown == [
        {key: value for key, value in one.items() if key != "sequences"},
        {key: value for key, value in question.items() if key != "options"},
        question["options"][0],
    ]
    names = collections.Counter(message["exam_name"] for message in messages).most_common()
    by_sort_rn = sorted(names, key=lambda pair: (pair[1], pair[0]), reverse=True)
    assert "\n".join(lines[3:]) == counted(by_sort_rn[:5])


def test_the_topic(messages):
    n = len(messages)
    says(
        f"The topic holds as many messages as the file has objects ({n:,})",
        f"one JSON array of {n:,} objects",
        f"nothing to publish: all {n} messages of",
    )
    assert output("-e -q -f '.\\n' | wc -l").endswith(f"\n{n}")
    assert f"\n{n}\n[" in output("messages.count()")
    assert f"\n{n}\n" in output("-o beginning -e -q | wc -l")


def test_what_the_courses_extraction_keeps(messages):
    """A map of booleans keeps the flags of the questions; a field of text is kept as it is."""
    before = [leaf for message in messages for leaf in leaves(message)]
    kept = [
        path
        for path, value in before
        if "." not in path
        or re.fullmatch(r"sequences\.questions\[\]\.\w+", path)
        and isinstance(value, bool)
    ]
    paths = collections.Counter(path for path, _ in before), collections.Counter(kept)
    counts = [(path, *(of[path] for of in paths)) for path in LEAVES]
    counts += [("all values", len(before), len(kept))]
    share = rounded(100 * len(kept) / len(before), 0)
    rows = [tuple(row.values()) for row in answers("verifySchema=False")]
    assert rows == [(name, n, left, rounded(100 * left / n, 0)) for name, n, left in counts]
    says(f"{share} % of the values survive", f"keeps {share} % of the values")
    assert output("left.total()") == f"{len(before)} of {len(before)} values"


def test_the_grain(messages):
    totals = [
        (message["sequences"].get("counts", {}).get("total", 0), *rows_of([message]))
        for message in messages
    ]
    sums = [
        sum(total for total, *_ in totals),
        sum(total * questions for total, questions, _ in totals),
        sum(total * options for total, _, options in totals),
    ]
    rows = zip(
        ("a message", "a question", "an option"),
        (len(messages), *rows_of(messages)),
        sums,
        strict=True,
    )
    assert [tuple(row.values()) for row in answers("AS a_row_is")] == [*rows]
    says("gives {:,}, {:,} or {:,}".format(*sums))


def test_one_message_is_taken_apart(messages):
    """Checks the number of rows read back, and the first of them, which are truncated."""
    options = [
        (messages[0]["keen_id"], q["id"], q["user_result"], o["id"], o["checked"], o.get("correct"))
        for q in messages[0]["sequences"]["questions"]
        for o in q["options"]
    ]
    text = output("F.explode(")
    assert text.endswith(f"\n{len(options)}")
    names = ("keen_id", "question", "user_result", "option", "checked", "correct")
    words = {True: "true", False: "false", None: None}
    expected = []
    for row in options[:4]:
        cells = [words[cell] if cell in words else cell for cell in row]
        cells = [cell and (cell if len(cell) <= 13 else f"{cell[:10]}...") for cell in cells]
        expected.append(dict(zip(names, cells, strict=True)))
    assert answers("F.explode(") == expected


def test_the_tables(messages, attempts):
    sent, taken = len(messages), len(attempts)
    landed = rf"0: 0-{sent - 1} +{taken:,} +{sent - taken} +0 "
    assert re.search(landed, output('make land\nhadoop fs -ls "$WAREHOUSE'))
    status = rf"assessments +0 +{sent:,} +{sent:,} +0\n +messages +{taken:,} accepted, "
    assert re.search(rf"{status}{sent - taken:,} duplicate, 0 rejected\n", output("make status"))
    in_container = output("docker-compose exec -T spark python /opt/pipeline/scripts/land.py")
    assert re.search(rf"0: 0-{sent - 1} +{taken:,} +{sent - taken} +0 ", in_container)
    assert answers("PYSPARK_DRIVER_PYTHON_OPTS=-i") == [{"attempts": taken}]


def test_every_count_agrees(messages, attempts):
    sent, taken = len(messages), len(attempts)
    questions, options = rows_of([a.message for a in attempts])
    text = output("make verify")
    pairs = re.findall(r" ([\d,]+) \w[^\d]*? ([\d,]+) \w[^\d]* ok$", text, re.MULTILINE)
    expected = [sent, 1, *[sent] * 4, *[taken] * 3, questions, options, questions, 0, options, 0, 0]
    assert pairs == [(f"{n:,}", f"{n:,}") for n in expected]
    assert re.search(rf"^accepted +{taken:,}\nduplicate .* {sent - taken}$", text, re.MULTILINE)
