"""What deployed platforms make of metadata and playDones before they send them (LP-META-11).

The feature server gives both to the media server in a command line, as one argument in single
quotes: the metadata between bars, a playDone between spaces. The media server splits and cleans
such a line as follows:

- A backslash goes with the character behind it.
- A quote opens or closes a quoted part and vanishes. One that would open a part stays as it is if
  no other follows. A bar, or a space, outside quoted parts ends the argument.
- An escaped quote, double quote, backslash or bar loses its backslash; an escaped n, r, t and s
  becomes a line feed, a carriage return, a tab and a space. Other backslashes stay.
- Spaces at the end vanish, if they are outside quoted parts.

So JSON loses its backslashes. The feature server makes up for that in the strings of the outermost
object, which it escapes twice, and in no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

__all__ = ["arrives_whole", "damaged_metadata", "split_argument"]

_SEPARATORS: Final = {end: re.compile(rf"\\.|['{end}]", re.DOTALL) for end in "| "}
_PARTS: Final = re.compile(r"\\['\"\\|nrts]|'|[^'\\]+|\\")
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "s": " "}


def damaged_metadata(members: Mapping[str, Any]) -> str:
    """The text as which a deployed media server gets the metadata of these members."""
    escaped = {
        key: _json(value)[1:-1] if isinstance(value, str) else value
        for key, value in members.items()
    }
    return split_argument(_json(escaped))


def arrives_whole(key: str, value: Any) -> bool:
    """Whether a member comes out of the command line as it was, if its text is not cut."""
    bare = _json([key] if isinstance(value, str) else [key, value])
    return "\\" not in bare and "'" not in bare and "'" not in _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def split_argument(text: str, end: Literal["|", " "] = "|") -> str:
    """What is left of a text in single quotes, as an argument between bars or between spaces."""
    line = f"'{text}'"
    argument = line[: _end(line, end)]
    last = argument.rfind("'")
    is_quoted = False
    kept: list[str] = []
    spaces = 0  # how many stand at the end, outside quoted parts
    for match in _PARTS.finditer(argument):
        part = match[0]
        if part == "'" and (is_quoted or match.start() < last):
            is_quoted = not is_quoted
            if is_quoted:
                spaces = 0
            continue
        if len(part) == 2 and part[0] == "\\":
            part = _ESCAPED.get(part[1], part[1])
            spaces = 0
        elif is_quoted:
            spaces = 0
        else:
            bare = part.rstrip(" ")
            spaces = len(part) - len(bare) + (0 if bare else spaces)
        kept.append(part)
    whole = "".join(kept)
    return whole[: len(whole) - spaces]


def _end(line: str, end: str) -> int:
    """Where the argument ends that the line starts with."""
    last = line.rfind("'")
    is_quoted = False
    for match in _SEPARATORS[end].finditer(line):
        if match[0] == end and not is_quoted:
            return match.start()
        if match[0] == "'" and (is_quoted or match.start() < last):
            is_quoted = not is_quoted
    return len(line)
