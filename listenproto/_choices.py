"""Values of a fixed set, checked where they are given.

A member of an enum may be given as its value, and is converted once. Anything else raises
ValueError at once, in a sentence that says which field it is, what is allowed and what it was.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Container, Iterable
from typing import Any, TypeVar

import attrs

from listenproto._shown import shown

__all__ = ["check_texts", "chosen", "listed", "member", "one_of"]

_Member = TypeVar("_Member", bound=enum.Enum)


def listed(values: Iterable[object], *, or_else: str = "") -> str:
    """The values in words, ``'raw' or 'wav'``; ``or_else`` says what else is allowed."""
    words = [*map(repr, values)]
    if or_else:
        words.append(or_else)
    *front, last = words
    return f"{', '.join(front)} or {last}" if front else last


def member(kind: type[_Member], value: object, name: str, *, or_else: str = "") -> _Member:
    """The member of ``kind`` that ``value`` is, or is the value of. Raises ValueError.

    ``name`` is what the value is called where it was given; ``or_else`` is what else is allowed
    there.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        for choice in kind:
            if choice.value == value:
                return choice
    allowed = listed((choice.value for choice in kind), or_else=or_else)
    raise ValueError(f"{name} must be {allowed}; it is {shown(value)}")


def chosen(allowed: Iterable[str], value: object, name: str) -> str:
    """The value, if it is one of these texts. Raises ValueError."""
    texts = tuple(allowed)
    if isinstance(value, str) and value in texts:
        return value
    raise ValueError(f"{name} must be {listed(texts)}; it is {shown(value)}")


def one_of(allowed: Iterable[str]) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator for a field that is one of these texts."""
    texts = tuple(allowed)

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        chosen(texts, value, attribute.name)

    return check


def check_texts(value: object, name: str) -> None:
    """Raise ValueError unless the value holds texts.

    A text alone does not, though Python takes it for the collection of its parts. What only answers
    ``in`` is not looked into.
    """
    text = isinstance(value, str | bytes | bytearray)
    others = isinstance(value, Collection) and not all(isinstance(part, str) for part in value)
    if text or others or not isinstance(value, Container):
        raise ValueError(f"{name} must be a tuple or set of strings; it is {shown(value)}")
