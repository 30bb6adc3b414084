"""Injections that a stranger may try in a knob. They would only create the file `owned`."""

HOSTILE = [
    *("a; touch owned", "a && touch owned", "$(touch owned)", "`touch owned`"),
    *("$(shell touch owned)", "a\ntouch owned", "| touch owned", "../x", "a b", "ünïcode", "-rf"),
    *("a'b", 'a"b', "a\x1b[31m", "*", "{a,b}", "~root", "%s", "a\\b"),
]
# make expands the second one.
HOSTILE_TO_MAKE = [HOSTILE[0], HOSTILE[4]]
