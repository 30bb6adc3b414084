"""What the tables must hold, calculated in plain Python from the messages, without the product."""

import collections
import datetime
import json
import re

UTC = datetime.timezone.utc
ATTEMPT = (
    "keen_id user_exam_id base_exam_id exam_name started_at keen_timestamp keen_created_at "
    "certification max_attempts attempt sequences_id total correct incorrect incomplete "
    "unanswered submitted all_correct question_count"
).split()
EXAM = ["keen_id", "base_exam_id", "exam_name", "question_position", "question_id"]
QUESTION = [
    *EXAM,
    *("user_result", "user_correct", "user_incomplete", "user_submitted", "option_count"),
]
RESULT = QUESTION.index("user_result")
RESULTS = (None, "correct", "incorrect", "missed_some", "unanswered")
OPTION = [*EXAM, "option_position", "option_id", "checked", "clicked_at", "submitted", "correct"]
QUESTION_KEY = ("keen_id", "question_position")
OPTION_KEY = ("keen_id", "question_position", "option_position")


def moment(text):
    """Returns a time of the source as the tables hold it: microseconds, finer digits truncated."""
    if text is None:
        return None
    if re.fullmatch(r"\d+\.?\d*", text):
        seconds, _, fraction = text.partition(".")
        return datetime.datetime.fromtimestamp(int(seconds), UTC) + datetime.timedelta(
            microseconds=int(fraction[:6].ljust(6, "0"))
        )
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def truth_rows(line, **changed):
    """Turns a line of synthetic.py's truth into table rows.

    changed: columns of all three tables in which the message that was sent differs.
    Returns the row of attempts (without its offset), the rows of questions, the rows of options.
    """
    attempt = dict(zip(ATTEMPT, line["attempt"], strict=True)) | changed
    for name in ("started_at", "keen_timestamp", "keen_created_at"):
        attempt[name] = moment(attempt[name])
    questions = [dict(zip(QUESTION, each, strict=True)) | changed for each in line["questions"]]
    options = [dict(zip(OPTION, each, strict=True)) | changed for each in line["options"]]
    for option in options:
        option["clicked_at"] = moment(option["clicked_at"])
    return attempt, questions, options


def tables_of(lines):
    """Turns all lines of synthetic.py's truth into {table: rows}, published to one partition.

    Without content_hash, and in messages without value and kafka_timestamp.
    """
    tables, first = {"messages": [], "attempts": [], "questions": [], "options": []}, {}
    for offset, line in enumerate(lines):
        keen_id, place = line["keen_id"], {"kafka_partition": 0, "kafka_offset": offset}
        if keen_id in first:
            status, reason = "duplicate", f"duplicate_of: 0-{first[keen_id]}"
        else:
            status, reason = "accepted", None
        first.setdefault(keen_id, offset)
        sent = {"key": keen_id.encode(), "keen_id": keen_id}
        tables["messages"].append({**place, **sent, "status": status, "reason": reason})
        if status == "accepted":
            attempt, its_questions, its_options = truth_rows(line)
            tables["attempts"].append(attempt | place)
            tables["questions"] += its_questions
            tables["options"] += its_options
    return tables


def check_tables(landed, lines):
    """Asserts that {table: landed rows} hold the truth row by row; returns the truth's tables."""
    tables = tables_of(lines)
    found = without(landed["attempts"], "content_hash")
    assert by(found, "keen_id") == by(tables["attempts"], "keen_id")
    assert by(landed["questions"], *QUESTION_KEY) == by(tables["questions"], *QUESTION_KEY)
    assert by(landed["options"], *OPTION_KEY) == by(tables["options"], *OPTION_KEY)
    ledger = without(landed["messages"], "value", "kafka_timestamp", "content_hash")
    assert by(ledger, "kafka_offset") == tables["messages"]
    return tables


def verdicts(records):
    """Judges records (partition, offset, value), given in the order of acceptance.

    Knows what the tests of faults send: synthetic messages unchanged, truncated, with one field
    changed, or with an unknown result. Returns {(partition, offset): (status, reason)}.
    """
    first, found = {}, {}
    for partition, offset, value in records:
        try:
            message = json.loads(value)
        except ValueError:
            found[partition, offset] = ("rejected", "not_json")
            continue
        questions = message["sequences"]["questions"]
        if any(question.get("user_result") not in RESULTS for question in questions):
            found[partition, offset] = ("rejected", "unknown_result")
            continue
        keen_id = message["keen_id"]
        at, text = first.setdefault(keen_id, (f"{partition}-{offset}", value))
        if at == f"{partition}-{offset}":
            found[partition, offset] = ("accepted", None)
        elif text == value:
            found[partition, offset] = ("duplicate", f"duplicate_of: {at}")
        else:
            found[partition, offset] = ("rejected", f"conflicts_with: {at}")
    return found


def by(items, *names):
    return sorted(items, key=lambda row: [row[name] for name in names])


def without(items, *names):
    return [{name: value for name, value in row.items() if name not in names} for row in items]


def retakes(attempts, within=60):
    """Returns the keen_ids of attempts that start at most so many seconds after the end of another
    attempt at the same exam."""
    ended = collections.defaultdict(list)
    for attempt in attempts:
        ended[attempt["base_exam_id"]].append((attempt["keen_timestamp"], attempt["keen_id"]))
    return {
        attempt["keen_id"]
        for attempt in attempts
        for end, other in ended[attempt["base_exam_id"]]
        if other != attempt["keen_id"]
        and 0 <= (attempt["started_at"] - end).total_seconds() <= within
    }


def broken_promises(attempts, questions, options):
    """Checks invariant 4 for a reader who opened the three tables (Arrow tables) in this order.

    Returns a text for each attempt that lacks a child row or has one twice.
    """

    def columns(table, *names):
        return zip(*(table[name].to_pylist() for name in names), strict=True)

    positions, wanted, counts, seen = {}, {}, {}, set()
    for keen_id, position, option_count in columns(questions, *QUESTION_KEY, "option_count"):
        positions.setdefault(keen_id, []).append(position)
        wanted[keen_id, position] = option_count
    for keen_id, position, place in columns(options, *OPTION_KEY):
        counts.setdefault((keen_id, position), []).append(place)
    broken = []
    for keen_id, question_count in columns(attempts, "keen_id", "question_count"):
        if keen_id in seen:
            broken.append(f"attempt {keen_id} is listed twice")
        seen.add(keen_id)
        found = sorted(positions.get(keen_id, []))
        if found != list(range(question_count)):
            broken.append(f"attempt {keen_id} has {question_count} questions, found are {found}")
        for position in found:
            places = sorted(counts.get((keen_id, position), []))
            if places != list(range(wanted[keen_id, position])):
                broken.append(
                    f"attempt {keen_id} question {position} has {wanted[keen_id, position]} "
                    f"options, found are {places}"
                )
    return broken
