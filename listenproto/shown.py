"""How a value is shown in an error."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["masked", "shown"]


def masked(text: str) -> str:
    """The text without what may be the user name and password of a URL.

    It need not be a valid URL: people leave out the scheme, and do not escape slashes and spaces in
    passwords.
    """
    before, at, behind = text.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    if slashes:
        return f"{scheme}//***@{behind}"
    return f"***@{behind}" if at and ":" in before else text


SECRET: Final = ("auth", "password", "wsAuth")
"""Members of an object that are not shown."""


class _Short(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(masked(x), level)

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        return super().repr_dict({k: "***" if k in SECRET else x[k] for k in x}, level)

    repr_mappingproxy = repr_dict

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print an integer of thousands of digits
        return super().repr_int(x, level) if abs(x) < 10**40 else "a very long number"


_short = _Short()
_short.maxstring = _short.maxother = 80


def shown(value: object) -> str:
    """A short repr of any value, without passwords."""
    return _short.repr(value)
