"""Values of a type, checked where they are given: anything else raises ValueError at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from listenproto._shown import shown

__all__ = [
    "a_duration",
    "a_function",
    "a_number",
    "a_size",
    "a_switch",
    "a_time",
    "a_while",
    "instance_of",
]


def _validator(
    is_right: Callable[[object], bool], words: str
) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not is_right(value):
            raise ValueError(f"{attribute.name} must be {words}; it is {shown(value)}")

    return check


def instance_of(kind: type) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator for a field with a value of this class."""
    return _validator(lambda value: isinstance(value, kind), f"a {kind.__name__}")


def _is_a_number(value: object) -> bool:
    return value is None or (type(value) is int and value >= 0)


a_number = _validator(_is_a_number, "a whole number of 0 or more, or None")
"""A validator for a field that says how many; None if nothing is said."""


def _is_a_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


a_time = _validator(_is_a_time, "a number of seconds, 0 or more")
"""A validator for a field that says how long; infinite for any time."""
a_duration = _validator(
    lambda value: _is_a_time(value) and value != math.inf, "a finite number of seconds, 0 or more"
)
"""A validator for a field that says how long something is."""
a_while = _validator(
    lambda value: _is_a_time(value) and value != 0, "a number of seconds, more than 0"
)
"""A validator for a field that says how long, which must not be no time at all."""
a_size = _validator(lambda value: type(value) is int and value >= 0, "a whole number of 0 or more")
"""A validator for a field that says how much."""
a_switch = _validator(lambda value: isinstance(value, bool), "True or False")
"""A validator for a field that is on or off."""
a_function = _validator(lambda value: value is None or callable(value), "a function, or None")
"""A validator for a field with a function; None if there is none."""
