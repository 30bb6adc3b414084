"""Random messages: both fast decoders and the validator agree, and examine() judges any bytes.

Each message is a valid one, or one of the corpus, with one to three random edits of its JSON tokens
or its bytes. `pytest tests/unit/test_random_messages.py --examples 100000` makes more of them.
"""

import itertools
import json
import random
import re
import struct
from collections import Counter
from unittest import mock

import numpy
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, configuration, given, note, seed, settings
from hypothesis import strategies as st

from messages import CASES, GOOD
from pipeline.message import batch_decoder, columns, decoder, validator
from pipeline.publishing.synthetic import deliveries
from stacks import ROOT

PARTS = 10  # tests of equal size, each with its own seed: pytest's workers share them
VERDICTS = (ROOT / "docs/tables.md").read_text().partition("\n## Verdicts\n")[2]
WORDS = {*re.findall(r"^\| `(\w+)` \|", VERDICTS, re.M)} - {"conflicts_with", "duplicate_of"}
UNREADABLE = {"empty", "not_utf8", "not_json"}

# Values and pieces of text, in the spelling of JSON, or nearly so.
NUMBERS = [
    *"0 -0 1 2 -1 1.0 1.5 1e0 10e-1 1E2 -1e-400 1e400 -1e400 1e999999999 01 -01 + 1. .5 1e".split(),
    *(f"{sign}{2**bits + more}" for sign in ("", "-") for bits in (31, 63, 64) for more in (-1, 0)),
    *"-2147483649 -9223372036854775809 2147483647.0 2147483648.0 0x10 1_0 +1 ١ - --1".split(),
    *("9.223372036854775807e18", "7" * 5000, "0." + "0" * 5000, "1" + "0" * 5000 + "e-5000"),
    *("NaN", "Infinity", "-Infinity"),
]
DATES = "2018-01-23 2016-02-29 1970-01-01 9999-12-31 2018-12-31 2018-02-28".split()
CLOCKS, FRACTIONS = ["T14:23:19", "T00:00:00", "T23:59:59"], ["", ".0", ".082", ".999999"]
TIMES = [
    f'"{"".join(parts)}"'
    for dates, clocks, fractions, zones in (
        (DATES, CLOCKS, FRACTIONS, ["Z"] * 4),
        (
            "2018-02-29 2018-04-31 1900-02-29 1969-12-31 10000-01-01 2018-13-01 2018-00-10 "
            "٢018-01-01".split(),
            *(CLOCKS, FRACTIONS, ["Z"] * 4),
        ),
        (DATES, ["T23:59:60", "T24:00:00", " 14:23:19", "t00:00:00", "T00:00"], FRACTIONS, ["Z"]),
        (DATES, CLOCKS, [".9999999", ".0000000001", ".", ",5"], ["Z", "+02:00"]),
        (DATES, CLOCKS, FRACTIONS, ["", *"z +02:00 +18:00 -18:01 +0200 Z\\n".split()]),
        (["1970-01-01"], ["T00:00:00"], FRACTIONS, ["+00:00", "+00:01", "+02:00", "-02:00"] * 6),
        (["9999-12-31"], ["T23:59:59"], FRACTIONS, ["+00:00", "-00:01", "+02:00", "-02:00"] * 6),
    )
    for parts in itertools.product(dates, clocks, fractions, zones)
]
EPOCHS = [
    f'"{seconds}{fraction}"'
    for seconds, fraction in itertools.product(
        "0 007 -1 1516717442 9999999999 10000000000 253402300799 253402300800".split(),
        ["", ".7352669", ".999999999999", ".0", ".", "e0", "\\n", " ", ".٣"],
    )
]
TEXTS = [
    json.dumps(text, ensure_ascii=ascii_only)
    for ascii_only in (True, False)
    for text in (
        *("", "x", "false", "true", "1.0", "1e2", "correct", "missed_some", "null", "1516717442.7"),
        *('\x1b\x7f\x00\u00e9\U0001f600\u2028"\\/', 'say "hi": x', "a :b", '":', "[{", "\ud800"),
        *("2018-01-23T14:23:19.082Z", "2016-02-29T00:00:00Z", "2018-02-29T00:00:00Z"),
        *("2018-01-23T14:23:19+01:00", "\udc00\ud800", "\ufeff", "x" * 5000),
    )
] + [r'"\u0022:"', r'"\"\u003a"', r'"\"\u003A"'] * 4
RESULTS = ['"correct"', '"incorrect"', '"missed_some"', '"unanswered"', '"perfect"', "null"]
BOOLEANS = [*["true", "false"] * 3, "null"]
OTHERS = [*BOOLEANS, *"[] {} [null] [{}] True nul '' undefined".split()]
ANY = [*OTHERS, *NUMBERS, *TEXTS, *EPOCHS, *RESULTS]
OF_KEY = {  # the usual values of each key, valid or nearly so
    **dict.fromkeys(("keen_timestamp", "keen_created_at"), EPOCHS),
    **dict.fromkeys(("started_at", "at"), TIMES),
    **dict.fromkeys(("attempt", "submitted", "total", "incorrect"), NUMBERS),
    **dict.fromkeys(("checked", "correct", "all_correct", "user_correct"), BOOLEANS),
    **dict.fromkeys(("user_incomplete", "user_submitted"), BOOLEANS),
    **dict.fromkeys(("id", "keen_id", "exam_name", "base_exam_id", "user_exam_id"), TEXTS),
    **dict.fromkeys(("sequences", "questions", "options", "counts"), OTHERS),
    "max_attempts": [f'"{number}"' for number in NUMBERS],
    "certification": ['"true"', '"false"', "null", '"True"', "true"],
    "user_result": RESULTS,
}
KEYS = [f'"{key}"' for key in OF_KEY]
BLANKS = [*" \t\n\r", " \r\n\t", "  ", *"\f\v\xa0\x00\x1f\x85\u2028\ufeff", "/**/", "\\n"]
PIECES = [  # of a text
    *r"\u0022: \u0022: \u0022: \u0022 \": \" \\ \/ \b \n \u0000 \u001b \u001B \u007F \x41".split(),
    *r"\"\u003a \"\u003A".split(),
    *r"\ud83d\ude00 \uD83D\uDE00 \ud800 \udc00 \ude00\ud83d \u12 \U0001f600 \ é : ".split(),
    *('"', '":', *"\n\t\x00\x1f\x7f\x85\u2028\ufeff\uffff\U0001f600\ud800\udfff"),
]
BYTES = [
    *(b"\xef\xbb\xbf", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc3", b"\x80"),
    *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\x00", b'"', b"\\", b" ", b"0"),
]
AROUND = [
    *(b" ", b"\n", b"\t\r\n", b"\f", b"\xc2\xa0", b"\xef\xbb\xbf", b"\x00", b"\xff", b"\x1f\x8b"),
    *(b",", b"{", b"}", b"[", b"]", b"{}", b"\n{}", b"null", b'"', b"x", b"//", b"# x\n", b"1"),
]
ENCODINGS = "utf-8-sig utf-16 utf-16-le utf-16-be utf-32 latin-1 cp1252 cp037 utf-7".split()


def spelled(message):
    """Yields the message as JSON in several layouts."""
    for layout in (
        {"ensure_ascii": False},
        {"separators": (",", ":")},
        {"indent": 2},
        {"separators": (" ,\n", ":\t")},
    ):
        yield json.dumps(message, **layout)


def tokens_of(text):
    """Splits JSON, or any other text, into tokens; a token ends with the blanks that follow it."""
    return re.findall(r'(?s)(?:"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+|.)\s*', text)


def in_utf8(value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


SYNTHETIC = [attempt.message for attempt, _ in deliveries(random.Random(1), 3)]
VALID = [tokens_of(text) for message in [GOOD, GOOD, *SYNTHETIC] for text in spelled(message)]
VALID += [tokens_of(json.dumps(GOOD, separators=(" ,", " :")))]  # is not plain
SHORT = [in_utf8(value) for value, _ in CASES.values() if value and len(value) < 6000]
CORPUS = [tokens_of(text) for text in SHORT if text]


# Edits. Each gets two random integers up to 65,535. An edit of tokens changes the list in place, an
# edit of bytes returns new ones.
def part_at(tokens, place):
    """Returns where a member or an array's element begins, and where its value does and ends."""
    at = place % len(tokens)
    while at and tokens[at][0] in "]},:":
        at -= 1
    begin = at - 2 if at > 1 and tokens[at - 1][0] == ":" else at
    value = at + 2 if tokens[at + 1 : at + 2] and tokens[at + 1][0] == ":" else at
    depth, end = 0, value
    while end < len(tokens):
        depth += (tokens[end][0] in "[{") - (tokens[end][0] in "]}")
        end += 1
        if depth <= 0:
            break
    return begin, value, end


def value_for(key, choice):
    values = OF_KEY.get(key.strip()[1:-1], TEXTS) if choice % 8 else ANY
    return values[choice // 8 % len(values)]


def set_value(tokens, place, choice):
    """Changes a value. Mostly chooses the key's name first, because most keys are of options."""
    key = KEYS[place % len(KEYS)]
    found = [at for at, token in enumerate(tokens) if token.rstrip() == key] if choice % 8 else ()
    begin, value, end = part_at(tokens, found[place // 32 % len(found)] if found else place)
    tokens[value:end] = [value_for(tokens[begin], choice)]


def add_member(tokens, place, choice):
    """Adds a key that is there already, in any spelling, or an unknown one."""
    begin, value, end = part_at(tokens, place)
    key, number = tokens[begin].rstrip() or "x", choice // 16
    escaped = f'"\\u{ord(key[1]):04x}{key[2:]}' if len(key) > 2 else key
    others = key.upper(), '"browser"', '"id"', '"\\ud800"'
    names = [key, escaped, key + " \t\n\r"[number % 4], others[number % 4]]
    at = (begin, end, part_at(tokens, number)[0])[number % 3]
    its = tokens[value:end] if choice % 2 else [value_for(key, number)]
    member = [names[choice // 2 % 4], ":", *its]
    tokens[at:at] = [",", *member] if at == end else [*member, ","]


def repeat(tokens, place, choice):
    begin, _, end = part_at(tokens, place)
    tokens[end:end] = [",", *tokens[begin:end]]


def remove(tokens, place, choice):
    begin, _, end = part_at(tokens, place)
    if "".join(tokens[end : end + 1]).startswith(","):
        end += 1
    elif begin and tokens[begin - 1][0] == ",":
        begin -= 1
    del tokens[begin:end]


def swap(tokens, place, choice):
    begin, _, end = part_at(tokens, place)
    if "".join(tokens[end : end + 1]).startswith(",") and end + 1 < len(tokens):
        last = part_at(tokens, end + 1)[2]
        tokens[begin:last] = [*tokens[end + 1 : last], tokens[end], *tokens[begin:end]]


def add_blank(tokens, place, choice):
    # Four of five are blanks of JSON.
    tokens[place % len(tokens)] += BLANKS[choice % (len(BLANKS) if choice % 5 == 0 else 6)]


def change_text(tokens, place, choice):
    """Escapes a character of a key or a text, or puts something in its place or before it."""
    at = place % len(tokens)
    while at and tokens[at][0] != '"':
        at -= 1
    text = tokens[at]
    within = 1 + choice // 8 % max(len(text.rstrip()) - 2, 1)
    piece = PIECES[choice // 8 % len(PIECES)]
    if choice % 2:
        piece = json.dumps(text[within : within + 1])[1:-1]
        piece = (
            f"\\u{ord(piece):{'04x' if choice % 4 > 1 else '04X'}}" if len(piece) == 1 else piece
        )
    tokens[at] = text[:within] + piece + text[within + (choice % 4 > 0) :]


def nest(tokens, place, choice):
    _, value, end = part_at(tokens, place)
    levels = (1, 2, 9, 500, 990, 997, 998, 999, 1000, 1001, 3000)[choice // 4 % 11]
    tokens[value:value] = ["[" if choice % 4 else '{"a":'] * levels
    tokens[end + levels : end + levels] = ["]" if choice % 4 else "}"] * levels


def damage(tokens, place, choice):
    at = place % len(tokens)
    others = [
        tokens[at] * 2,
        *'{ } [ ] , : " /**/ // true null 0'.split(),
        tokens[choice % len(tokens)],
    ]
    tokens[at : at + 1] = [others[choice % len(others)]] if choice % 3 else []


def change_bytes(value, place, choice):
    at = place % (len(value) + 1)
    piece = BYTES[choice // 4 % len(BYTES)] if choice % 4 > 1 else bytes([choice // 4 % 256])
    return value[:at] + piece + value[at + choice % 2 :]


def truncate(value, place, choice):
    return value[: place % (len(value) + 1)]


def surround(value, place, choice):
    piece = [*AROUND, value][choice // 2 % (len(AROUND) + 1)]
    return value + piece if choice % 2 else piece + value


def encode(value, place, choice):
    return value.decode("utf-8", "replace").encode(ENCODINGS[choice % len(ENCODINGS)], "replace")


OF_BYTES = [change_bytes, truncate, surround, encode]
OF_TOKENS = [
    *([set_value] * 9 + [swap] * 5 + [add_blank] * 5 + [change_text] * 5 + [add_member] * 3),
    *(remove, remove, repeat, nest, damage),
]
EDITS = OF_TOKENS + OF_BYTES


def edited(choices):
    """Makes a message: the first two bytes choose a valid one or a case, each five more an edit."""
    base, numbers = int.from_bytes(choices[:2], "big"), choices[2 : 2 + (len(choices) - 2) // 5 * 5]
    bases = VALID if base % 8 else CORPUS
    tokens = [*bases[base // 8 % len(bases)]]
    edits = [
        (EDITS[kind % len(EDITS)], *rest) for kind, *rest in struct.iter_unpack(">BHH", numbers)
    ]
    for edit, place, choice in edits:
        if edit in OF_TOKENS and tokens:
            edit(tokens, place, choice)
    value = "".join(tokens).encode("utf-8", "surrogatepass")
    for edit, place, choice in edits:
        if edit in OF_BYTES:
            value = edit(value, place, choice)
    note(f"edits: {[(edit.__name__, place, choice) for edit, place, choice in edits]}")
    return value


def levels(value):
    """Counts the levels of nested objects and arrays."""
    number, layer = 0, [value]
    while layer := [each for each in layer if isinstance(each, (dict, list))]:
        number += 1
        layer = [
            inner for each in layer for inner in (each.values() if type(each) is dict else each)
        ]
    return number


def parsed(value):
    """Parses strict JSON by json.loads, without the pipeline; raises a ValueError."""

    def each_once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is twice in an object")
        return dict(pairs)

    def refuse(word):
        raise ValueError(word)

    # As floats, because Python refuses integers of more than 4,300 digits.
    hooks = {"object_pairs_hook": each_once, "parse_constant": refuse, "parse_int": float}
    found = json.loads(value.decode("utf-8"), **hooks)
    json.dumps(found, ensure_ascii=False).encode()  # fails on half a surrogate pair
    if levels(found) > 1000:
        raise ValueError("too many levels")
    return found


def check(value):
    """Asserts what must hold for any bytes.

    Returns what examine() finds, what it finds by the validator alone, and whether it is plain.
    """
    plain, found = decoder.plain(value), decoder.examine(value)
    with mock.patch.object(decoder, "plain", lambda value: None):
        exact = decoder.examine(value)
    assert found[1:] == exact[1:], value
    word, _, detail = (found.reason or "").partition(": ")
    assert (found.text is None) == (exact.text is None) == bool(word), value
    assert not word or (word in WORDS and detail), value
    if plain:
        reason, keen_id, content = validator.examine(value)
        assert reason is None and keen_id == plain[0].keen_id, value
        assert json.loads(plain[1]) == content and plain[1] == decoder.encode(content), value
    try:
        kind = type(parsed(value))
    except ValueError:
        kind = None
    assert (kind is None) == (word in UNREADABLE), value
    assert (kind not in (None, dict)) == (word == "not_an_object"), value
    return found, exact, plain is not None


def rows(messages, hashes):
    numbers = numpy.arange(len(messages))
    return columns.tables(messages, numbers, numbers, hashes).tables


def rows_of(examined):
    messages = [json.loads(each.text) for each in examined]
    hashes = [each.content_hash for each in examined]
    return rows(pa.array(messages, columns.MESSAGES), hashes)


def difference(checked):
    """Returns what differs between the batch and its messages one by one; None if nothing does.

    checked: (value, found, exact) of each message.
    """
    values, of_each, exact = zip(*checked, strict=True)
    found = batch_decoder.examine(values)
    verdicts = [*zip(found.keen_ids, found.hashes, found.reasons, strict=True)]
    if verdicts != [each[1:] for each in exact]:
        return "verdicts"
    valid = [place for place, each in enumerate(exact) if not each.reason]
    if [row >= 0 for row in found.rows] != [not each.reason for each in exact]:
        return "valid messages"
    messages = found.messages.take(pa.array(found.rows[valid]))
    messages.validate(full=True)
    hashes = [found.hashes[place] for place in valid]
    try:
        expected = rows_of([exact[place] for place in valid])
        same = rows(messages, hashes) == expected == rows_of([of_each[place] for place in valid])
        return None if same else "rows"
    except pa.ArrowException as error:
        return str(error)


def check_batch(checked):
    """Asserts that a batch of messages leads to the same verdicts and rows as the messages alone.

    One call for all messages, because it takes milliseconds. Returns how many the batch decoder
    decoded together.
    """
    if difference(checked):
        found = ((difference([each]), each[0]) for each in checked)
        pytest.fail(str(next((each for each in found if each[0]), "only together")))
    # Now the same without the bounds that make it quick: all that can be decoded together is.
    with mock.patch.multiple(batch_decoder, FEW=0, SMALL=1, AGAIN=len(checked)):
        assert not difference(checked)
        return len(batch_decoder.decode([value for value, *_ in checked])[0])


def test_all_decoders_agree_on_the_corpus():
    values = [value for value, _ in CASES.values() if value is not None]
    assert check_batch([(value, *check(value)[:2]) for value in values]) > 10


@pytest.mark.parametrize("part", range(PARTS))
def test_all_decoders_agree_on_random_messages(part, pytestconfig, tmp_path):
    configuration.set_hypothesis_home_dir(tmp_path)  # otherwise it is in the current directory
    decoder.examine(b"{}")  # raises the recursion limit: Hypothesis warns if an example does
    checked, kinds = [], Counter()

    @seed(part)
    @settings(
        max_examples=pytestconfig.getoption("--examples") // PARTS,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.binary(min_size=7, max_size=17))  # one draw: each costs as much as a check
    def check_one(choices):
        value = edited(choices)
        found, exact, is_plain = check(value)
        checked.append((value, found, exact))
        kinds["plain" if is_plain else "rejected" if found.reason else "accepted"] += 1

    check_one()
    together = check_batch(checked)
    # With smaller shares, the edits would test too little.
    least = {"plain": 0.1, "accepted": 0.02, "rejected": 0.2}
    assert all(kinds[kind] > share * kinds.total() for kind, share in least.items()), kinds
    assert together > 0.1 * len(checked)
