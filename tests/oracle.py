"""What the tables must hold, reckoned in plain Python from what was made or published; never by the code under test."""
import datetime
import json
import re

UTC = datetime.timezone.utc
ATTEMPT = ["keen_id", "user_exam_id", "base_exam_id", "exam_name", "started_at", "keen_timestamp", "keen_created_at", "certification", "max_attempts", "attempt",
           "sequences_id", "total", "correct", "incorrect", "incomplete", "unanswered", "submitted", "all_correct", "question_count"]
EXAM = ["keen_id", "base_exam_id", "exam_name", "question_position", "question_id"]
QUESTION = [*EXAM, "user_result", "user_correct", "user_incomplete", "user_submitted", "option_count"]
RESULT = QUESTION.index("user_result")
RESULTS = (None, "correct", "incorrect", "missed_some", "unanswered")
OPTION = [*EXAM, "option_position", "option_id", "checked", "clicked_at", "submitted", "correct"]


def moment(text):
    """The source's times as the tables hold them: to the microsecond, what is finer cut off."""
    if text is None:
        return None
    if re.fullmatch(r"\d+\.?\d*", text):
        seconds, _, fraction = text.partition(".")
        return datetime.datetime.fromtimestamp(int(seconds), UTC) + datetime.timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def truth_rows(line, **changed):
    """A line of synthetic.py's truth -> (row of attempts without its position, rows of questions, rows of options).
    changed: columns of all three in which the message that was sent differs."""
    attempt = dict(zip(ATTEMPT, line["attempt"], strict=True)) | changed
    for name in ("started_at", "keen_timestamp", "keen_created_at"):
        attempt[name] = moment(attempt[name])
    options = [dict(zip(OPTION, each, strict=True)) | changed for each in line["options"]]
    for option in options:
        option["clicked_at"] = moment(option["clicked_at"])
    return attempt, [dict(zip(QUESTION, each, strict=True)) | changed for each in line["questions"]], options


def verdicts(records):
    """(partition, offset, value) in the order in which they were accepted or not -> {(partition, offset): (status, reason)}.
    Knows synthetic messages as they are, cut off, with one field changed, and with a result that is none: all that the
    tests of faults send."""
    first, found = {}, {}
    for partition, offset, value in records:
        try:
            message = json.loads(value)
        except ValueError:
            found[partition, offset] = ("rejected", "not_json")
            continue
        if any(question.get("user_result") not in RESULTS for question in message["sequences"]["questions"]):
            found[partition, offset] = ("rejected", "unknown_result")
            continue
        keen_id = message["keen_id"]
        at, text = first.setdefault(keen_id, (f"{partition}-{offset}", value))
        if at == f"{partition}-{offset}":
            found[partition, offset] = ("accepted", None)
        else:
            found[partition, offset] = ("duplicate", f"duplicate_of: {at}") if text == value else ("rejected", f"conflicts_with: {at}")
    return found


def by(items, *names):
    return sorted(items, key=lambda row: [row[name] for name in names])


def without(items, *names):
    return [{name: value for name, value in row.items() if name not in names} for row in items]


def broken_promises(attempts, questions, options):
    """Invariant 4 for a reader who opened the three in this order (Arrow tables): a text for each attempt that lacks a
    child, or has one twice."""
    positions, wanted, counts, seen = {}, {}, {}, set()
    for keen_id, position, option_count in zip(*(questions[name].to_pylist() for name in ("keen_id", "question_position", "option_count")), strict=True):
        positions.setdefault(keen_id, []).append(position)
        wanted[keen_id, position] = option_count
    for keen_id, position, place in zip(*(options[name].to_pylist() for name in ("keen_id", "question_position", "option_position")), strict=True):
        counts.setdefault((keen_id, position), []).append(place)
    broken = []
    for keen_id, question_count in zip(attempts["keen_id"].to_pylist(), attempts["question_count"].to_pylist(), strict=True):
        if keen_id in seen:
            broken.append(f"attempt {keen_id} is listed twice")
        seen.add(keen_id)
        found = sorted(positions.get(keen_id, []))
        if found != list(range(question_count)):
            broken.append(f"attempt {keen_id} has {question_count} questions, found are {found}")
        for position in found:
            places = sorted(counts.get((keen_id, position), []))
            if places != list(range(wanted[keen_id, position])):
                broken.append(f"attempt {keen_id} question {position} has {wanted[keen_id, position]} options, found are {places}")
    return broken
