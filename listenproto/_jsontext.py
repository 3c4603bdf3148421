"""JSON texts, bounded: what the protocol accepts as JSON (LP-ODD-2).

``json.loads`` alone accepts NaN and 1e999, recurses as deep as the text is nested, and returns lone
surrogates that cannot be encoded again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs

__all__ = [
    "DECODER",
    "TOO_LARGE",
    "same",
    "values",
    "well_formed",
    "whole_number",
]

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 10_000
MAX_NUMBER: Final = 64
"""Bounds: nesting, values in all, characters of a number."""
TOO_LARGE: Final = 10**15
"""Whole numbers in messages, such as rates, are below this."""


def _check_length(literal: str) -> str:
    if len(literal) > MAX_NUMBER:
        raise ValueError(
            f"a number has {len(literal)} characters, at most {MAX_NUMBER} are allowed"
        )
    return literal


def _integer(literal: str) -> int:
    return int(_check_length(literal))


def _real(literal: str) -> float:
    value = float(_check_length(literal))
    if math.isinf(value):
        raise ValueError(f"the number {literal} is too large")
    return value


def _constant(literal: str) -> Any:
    raise ValueError(f"{literal} is not JSON")


DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_constant)
"""Reads JSON; raises ValueError for NaN, infinities and very long numbers, too."""
_LOOSE: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_real, parse_constant=_constant, strict=False
)
_STRUCTURE: Final = re.compile(r'\\.|["\[\]{},]', re.DOTALL)
_NO_SPACE: Final = re.compile(r"[^ \t\r\n]")
_CLOSING: Final = ("]", "}")
_LONE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def _skip_space(text: str, at: int) -> int:
    match = _NO_SPACE.search(text, at)
    return match.start() if match else len(text)


@attrs.frozen
class _Excess:
    """What a text has too much of, and where the value that holds it starts."""

    reason: str
    value: int


def _excess(text: str) -> _Excess | None:
    """The first excess in a text, found before the parser spends memory or stack on it."""
    if text.count("[") + text.count("{") + text.count(",") <= MAX_DEPTH:
        return None  # the usual message: no need to scan it
    depth = count = value = 0
    quoted = False
    inside: int | None = None  # where the innermost container starts, while it may be empty
    for match in _STRUCTURE.finditer(text):
        token = match[0]
        if inside is not None:
            count += token not in _CLOSING or _skip_space(text, inside) < match.start()
            inside = None
        if token == '"':
            quoted = not quoted
        elif quoted or token[0] == "\\":
            continue
        elif token in _CLOSING:
            depth -= 1
        else:
            if depth == 0:
                value = match.start()
            count += token == "," or depth == 0
            if token != ",":
                depth += 1
                inside = match.end()
            if depth > MAX_DEPTH:
                return _Excess(f"nested deeper than {MAX_DEPTH}", value)
        if count > MAX_VALUES:
            return _Excess(f"more than {MAX_VALUES} values", value)
    return None


def _check_encodable(value: Any, piece: str) -> None:
    suspect = _SURROGATE.search(piece) or not piece.isascii()
    if suspect and well_formed(value) != value:
        raise ValueError("a lone surrogate is not valid text")


def well_formed(value: Any) -> Any:
    """The same JSON with U+FFFD for each lone surrogate, in values and in names."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {well_formed(name): well_formed(item) for name, item in value.items()}
    return [well_formed(item) for item in value] if isinstance(value, list) else value


def values(
    text: str, *, lone_surrogates: bool = False, control_characters: bool = False
) -> Iterator[tuple[Any, int, int]]:
    """Each JSON value of a text, with its start and end in the text.

    With ``lone_surrogates`` these are let through, for :func:`well_formed` to replace; with
    ``control_characters`` those that are not escaped in strings, for metadata that is damaged.

    Raises ValueError with the reason where the text is not JSON; the values before that place have
    been yielded by then.
    """
    excess = _excess(text)
    at = _skip_space(text, 0)
    if at == len(text):
        raise ValueError("it is empty")
    value: Any = None
    decoder = _LOOSE if control_characters else DECODER
    for number in range(MAX_VALUES):
        if excess and at >= excess.value:
            raise ValueError(excess.reason)
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as exc:
            if number == 0:
                raise
            kind = "object" if isinstance(value, dict) else "value"
            said = f"there is other text behind the JSON {kind}, from character {at + 1} on"
            raise ValueError(said) from exc
        if not lone_surrogates:
            _check_encodable(value, text[at:end])
        yield value, at, end
        at = _skip_space(text, end)
        if at == len(text):
            return
    raise ValueError(f"more than {MAX_VALUES} values")


def whole_number(value: Any) -> int | None:
    """A whole number, written as a number or as a string of digits; None for anything else.

    In JSON, 8000 and 8000.0 are the same number. It has at most 15 digits, in either form.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < TOO_LARGE else None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; in Python, true would equal 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)
