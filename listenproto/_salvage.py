"""What is whole in metadata that is damaged (LP-META-12).

Deployed platforms pass the metadata through a command line (:mod:`listenproto._splitter`). That
takes the backslashes out of nested values and keys, so that quotes and newlines stand bare in
strings; it loses apostrophes and leaves one behind the text; it cuts, anywhere. Text may also stand
in front. None of this adds or removes a quote, which is what this reader goes by:

- A string closes at the first quote, not escaped, that is followed by what JSON allows there:
  behind a name its colon; behind a value a comma and the next name or value, or the bracket that
  closes what it is in, and again what may follow that, or the end of the text. Bare quotes inside a
  string are followed by something else, unless the string itself looks like JSON.
- Strings that hold JSON are not rare. Inside them the brackets are not balanced, so a string with
  bare quotes does not close there, and behind the first damage no other string does.
- So the members of the outermost object can be told apart, whatever is in them. A member counts if
  it is JSON by itself and a comma or the closing bracket follows: what looks whole at the end of
  the text may have been cut (8000 of 80000). Only a bare control character in a string is let
  through, for it can only be one that was escaped. Nothing is repaired.
- Where anything else is out of place, and behind what is too deep or too much, nothing counts any
  more. Of a member that stands twice the first counts: the platform's own stand in front, and the
  second may be the text of a damaged string.

The text is scanned once, with a look ahead of a few quotes at each, and each member is parsed
once, so the time is linear.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Any, Final

from listenproto._jsontext import MAX_DEPTH, MAX_VALUES, values

__all__ = ["whole_members"]

_START: Final = re.compile(r'\{(?=[ \t\r\n]*")')
_TOKEN: Final = re.compile(r'["\[\]{},]')
_IN_STRING: Final = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_STEPS: Final = {"{": 1, "[": 1, "}": -1, "]": -1}
_CLOSES: Final = {"{": "}", "[": "]"}


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.VERBOSE)


# What may follow a string.
_COLON: Final = _pattern(r"[ \t\r\n]* :")
_TEXT: Final = r'(?: [^"\\] | \\[\s\S] )*+'
_NAME: Final = rf'" (?: {_TEXT} " | [^",]* (?: " [^",]* ){{1,4}} " ) [ \t\r\n]* :'
_CUT_NAME: Final = rf'" {_TEXT} (?: \\ | " [ \t\r\n]* )? \Z'
_NEXT_NAME: Final = rf"[ \t\r\n]* , [ \t\r\n]* (?: \Z | {_NAME} | {_CUT_NAME} )"
_CLOSING: Final = r"[ \t\r\n]* (?: [,}\]] | \Z )"
_NEXT_VALUE: Final = r'[ \t\r\n]* , [ \t\r\n]* (?: \Z | ["\[{\d-] | true | false | null )'
_IN_OUTERMOST: Final = _pattern(rf'{_NEXT_NAME} | [ \t\r\n]* \}} (?: [^"]* \Z | [ \t\r\n]* \{{ )')
_IN_CONTAINER: Final = {
    "{": _pattern(rf"{_NEXT_NAME} | [ \t\r\n]* \}} {_CLOSING}"),
    "[": _pattern(rf"{_NEXT_VALUE} | [ \t\r\n]* \] {_CLOSING}"),
}


def whole_members(text: str) -> dict[str, Any]:
    """The members of the outermost object of ``text`` that are whole.

    Text in front of the object is passed over if the object has a ``sampleRate``, as metadata has.
    """
    members: dict[str, Any] = {}
    start = _START.search(text)
    if start is None:
        return members
    for piece in _pieces(text, start.end()):
        try:
            ((member, _, _),) = values(f"{{{piece}}}", control_characters=True)
        except ValueError:
            continue  # it is damaged
        for key, value in member.items():
            members.setdefault(key, value)
    in_front = text[: start.start()].strip()
    return {} if in_front and "sampleRate" not in members else members


class _Place(enum.Enum):
    NAME = enum.auto()
    VALUE = enum.auto()
    BEHIND = enum.auto()


def _pieces(text: str, at: int) -> Iterator[str]:
    """The text of each member of the object that is open at ``at``, damaged ones included."""
    containers = ["{"]
    place = _Place.NAME
    is_damaged = False
    start, count = at, 0
    while match := _TOKEN.search(text, at):
        token, inside = match[0], containers[-1]
        has_gap = text[at : match.start()].strip(" \t\r\n")
        at = match.end()
        if place is not _Place.VALUE and has_gap:
            return
        if token == '"':
            if place is _Place.BEHIND or has_gap:
                return
            follows = _IN_CONTAINER[inside] if len(containers) > 1 else _IN_OUTERMOST
            follows = _COLON if place is _Place.NAME else follows
            end, is_bare = _string_end(text, at, follows, is_damaged=is_damaged)
            if end is None:
                return
            is_damaged = is_damaged or is_bare
            if place is _Place.NAME:
                colon = _COLON.match(text, end)
                assert colon is not None
                at, place = colon.end(), _Place.VALUE
            else:
                at, place = end, _Place.BEHIND
            continue
        count += 1
        if token in _CLOSES:
            if place is not _Place.VALUE or has_gap:
                return
            containers.append(token)
            place = _Place.NAME if token == "{" else _Place.VALUE
        elif token == ",":
            place = _Place.NAME if inside == "{" else _Place.VALUE
            if len(containers) == 1:
                yield text[start : match.start()]
                start = at
        elif token != _CLOSES[inside]:
            return
        else:
            containers.pop()
            place = _Place.BEHIND
            if not containers:
                yield text[start : match.start()]
                return
        if len(containers) > MAX_DEPTH or count > MAX_VALUES:
            return


def _string_end(
    text: str, at: int, follows: re.Pattern[str], *, is_damaged: bool
) -> tuple[int | None, bool]:
    """Where the string ends that is open at ``at``, and whether it has bare quotes."""
    depth = 0
    is_bare = False
    for match in _IN_STRING.finditer(text, at):
        token = match[0]
        depth += _STEPS.get(token, 0)
        if token == '"':
            is_certain = depth == 0 or not (is_bare or is_damaged)
            if is_certain and follows.match(text, match.end()):
                return match.end(), is_bare
            is_bare = True
    return None, is_bare
