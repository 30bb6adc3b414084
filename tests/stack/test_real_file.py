"""The assignment's file, landed in full; and the synthetic data, compared with it."""

import collections
import json

from oracle import OPTION_KEY, QUESTION_KEY, by, moment, retakes, without

COUNTS = "total correct incorrect incomplete unanswered submitted all_correct".split()
FLAGS = "user_result user_correct user_incomplete user_submitted".split()
CERTIFICATION = {"true": True, "false": False, None: None}


def picked(fields, names):
    return {name: fields.get(name) for name in names}


def flattened(messages):
    """Flattens messages as the contract says, in plain Python.

    Returns the rows of attempts, questions and options, and for each message
    (offset, keen_id, status, reason).
    """
    attempts, questions, options, statuses, first = [], [], [], [], {}
    for offset, m in enumerate(messages):
        keen_id = m["keen_id"]
        if keen_id in first:
            statuses.append((offset, keen_id, "duplicate", f"duplicate_of: 0-{first[keen_id]}"))
            continue
        first[keen_id] = offset
        statuses.append((offset, keen_id, "accepted", None))
        s = m["sequences"]
        attempts.append(
            {
                **{n: m[n] for n in ("keen_id", "user_exam_id", "base_exam_id", "exam_name")},
                **{n: moment(m[n]) for n in ("started_at", "keen_timestamp", "keen_created_at")},
                "certification": CERTIFICATION[m["certification"]],
                "max_attempts": int(float(m["max_attempts"])),
                "attempt": s["attempt"],
                "sequences_id": s["id"],
                **picked(s.get("counts", {}), COUNTS),
                "question_count": len(s["questions"]),
                "kafka_partition": 0,
                "kafka_offset": offset,
            }
        )
        for place, q in enumerate(s["questions"]):
            exam = {n: m[n] for n in ("keen_id", "base_exam_id", "exam_name")}
            exam |= {"question_position": place, "question_id": q["id"]}
            questions.append({**exam, **picked(q, FLAGS), "option_count": len(q["options"])})
            for number, o in enumerate(q["options"]):
                options.append(
                    {
                        **exam,
                        "option_position": number,
                        "option_id": o["id"],
                        "checked": o["checked"],
                        "clicked_at": moment(o.get("at")),
                        "submitted": o.get("submitted", 0) == 1,
                        "correct": o.get("correct", False),
                    }
                )
    return attempts, questions, options, statuses


def test_the_real_file_lands_right_in_every_row(stack, real_file):
    stack.make("publish land", DATA=real_file.resolve())
    records = json.loads(real_file.read_text())
    attempts, questions, options, statuses = flattened(records)
    assert (len(records), len(attempts), len(questions), len(options)) == (3280, 3242, 14555, 55112)
    landed = without(stack.table("assessments", "attempts"), "content_hash")
    assert by(landed, "kafka_offset") == attempts
    landed = stack.table("assessments", "questions")
    assert by(landed, *QUESTION_KEY) == by(questions, *QUESTION_KEY)
    landed = stack.table("assessments", "options")
    assert by(landed, *OPTION_KEY) == by(options, *OPTION_KEY)
    ledger = by(stack.table("assessments", "messages"), "kafka_offset")
    assert [(r["kafka_offset"], r["keen_id"], r["status"], r["reason"]) for r in ledger] == statuses
    assert [json.loads(r["value"]) for r in ledger] == records
    assert [r["key"].decode() for r in ledger] == [m["keen_id"] for m in records]
    assert len({r["content_hash"] for r in ledger}) == 3242
    assert "DIFFERS" not in stack.run("verify", DATA=real_file.resolve())


def form(path):
    """Returns the text of a file, the sets of keys its objects have, and counts of its values."""
    messages = json.loads(path.read_text())
    keys, share = set(), collections.Counter()
    for m in messages:
        keys.add(("message", tuple(m)))
        keys.add(("sequences", tuple(m["sequences"])))
        keys.add(("counts", tuple(m["sequences"].get("counts", ()))))
        share["certification is null"] += m["certification"] is None
        share["no counts"] += "counts" not in m["sequences"]
        for q in m["sequences"]["questions"]:
            share["questions"] += 1
            keys.add(("question", tuple(q)))
            share["result", q.get("user_result")] += 1
            for o in q["options"]:
                share["options"] += 1
                keys.add(("option", tuple(o)))
    share["delivered again"] = len(messages) - len({m["keen_id"] for m in messages})
    share["exams"] = len({m["base_exam_id"] for m in messages})
    share["names"] = len({m["exam_name"] for m in messages})
    share["exams whose certification is null"] = len(
        {m["base_exam_id"] for m in messages if m["certification"] is None}
    )
    once = {m["keen_id"]: m for m in messages}.values()
    times = ("started_at", "keen_timestamp")
    share["retakes"] = len(retakes([m | {name: moment(m[name]) for name in times} for m in once]))
    questions = {(m["exam_name"], q["id"]) for m in messages for q in m["sequences"]["questions"]}
    share["question ids"] = len({question_id for _, question_id in questions})
    share["questions by exam and id"] = len(questions)
    share["ids of sequences"] = len({m["sequences"]["id"] for m in messages})
    return path.read_bytes(), keys, share


def test_the_synthetic_data_have_the_form_and_the_shares_of_the_real(stack, real_file, tmp_path):
    made = tmp_path / "like-the-real.json"
    stack.run("data", SYNTHETIC=3280, SEED=11, DATA=made)
    (real, real_keys, real_share), (text, keys, share) = form(real_file), form(made)
    assert keys == real_keys
    assert text[:20] == real[:20] and text[-3:] == real[-3:] and text.count(b"\n") == 1
    # Within half and twice; small numbers may differ by more.
    for name, number in real_share.items():
        assert number / 2 - 4 <= share[name] <= 2 * number + 4, (name, number, share[name])
