"""How a value is shown in an error."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["masked", "masked_line", "shown"]

MOST_URLS: Final = 8
"""How many URLs of one text are told apart: a peer may send one of millions."""


def masked(text: str) -> str:
    """The text without the user name and password of each URL in it.

    Nothing else is left out of a valid URL. People also leave out the scheme, and do not escape
    slashes in passwords: of what cannot be a URL, all up to the last ``@`` is left out. So it is
    from the last of :data:`MOST_URLS` on, if there are more.
    """
    if "@" not in text:
        return text
    done, *left = re.split("(^//|://)", text, maxsplit=MOST_URLS)
    if not left:
        before, _, behind = text.rpartition("@")
        return f"***@{behind}" if ":" in before and not text.startswith("/") else text
    for index in range(0, len(left), 2):
        slashes, url = left[index : index + 2]
        end = len(re.split("[/?#]", url, maxsplit=1)[0])
        _, at, host = url[:end].rpartition("@")
        if "://" in url or not _is_host(host):
            _, at, behind = "".join(left[index + 1 :]).rpartition("@")
            return f"{done}{slashes}{'***@' if at else ''}{behind}"
        done += f"{slashes}{'***@' if at else ''}{host}{url[end:]}"
    return done


def _is_host(text: str) -> bool:
    """Whether a URL can have this host, and this port if there is one."""
    try:
        authority = urlsplit(f"//{text}")
        return authority.port != 0 and bool(authority.hostname)
    except ValueError:
        return False


def masked_line(text: str) -> str:
    """A line in which there may be a URL as somebody typed it, without its user and password."""
    return re.sub(r"(?<![^\s'\"])[^\s'\"]*//\S*", lambda word: masked(word[0]), text)


SECRET: Final = ("auth", "password", "wsAuth")
"""Members of an object that are not shown."""


class _Short(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(masked(x), level)

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        return super().repr_dict({k: "***" if k in SECRET else x[k] for k in x}, level)

    repr_mappingproxy = repr_FrozenMapping = repr_dict

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print an integer of thousands of digits
        return super().repr_int(x, level) if abs(x) < 10**40 else "a very long number"


_short = _Short()
_short.maxstring = _short.maxother = 80


def shown(value: object) -> str:
    """A short repr of any value, without passwords."""
    return _short.repr(value)
