"""Safe names for the files of a call, whatever the platform sends."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Final

from listenproto._messages import JSON

__all__ = ["file_stem", "stems"]

LONGEST: Final = 100
"""Maximum characters of a name; file systems take some 255, suffixes included."""
RESERVED: Final = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)
"""Names of devices on some systems, with any suffix."""


def file_stem(wanted: JSON) -> str:
    """A portable file name without a suffix, as close to ``wanted`` as possible."""
    text = wanted[:LONGEST] if isinstance(wanted, str) else ""
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", text).strip("_-")
    return f"call-{stem}" if RESERVED.fullmatch(stem) else stem or "call"


def stems(wanted: str) -> Iterator[str]:
    """Names to try, without end; random ones after the first, as counting on would get slow."""
    yield wanted
    for number in range(2, 10):
        yield f"{wanted}-{number}"
    while True:
        yield f"{wanted}-{secrets.token_hex(4)}"
