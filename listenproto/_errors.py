"""The two errors of the protocol, told apart by whose fault it is."""

from __future__ import annotations

from typing import Final

__all__ = [
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "check_close_code",
    "is_close_code",
]

SENDABLE_CODES: Final = (range(1000, 1004), range(1007, 1015), range(3000, 5000))


class ProtocolError(Exception):
    """A peer broke the protocol; the message says what was wrong and what would be right.

    ``clause`` is the requirement of ``spec/listen.md`` that was broken, or a section of an RFC if
    the listen protocol has none of its own; ``close_code`` is the WebSocket close code
    (RFC 6455, 7.4.1) that answers it.
    """

    def __init__(self, message: str, *, clause: str, close_code: int = 1002) -> None:
        super().__init__(message)
        self.clause: str = clause
        self.close_code: int = close_code

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.clause}]"


class LocalProtocolError(ProtocolError):
    """You asked for something that the protocol forbids. Nothing was sent, no state changed."""


class RemoteProtocolError(ProtocolError):
    """The peer did something after which this end cannot go on; close with ``close_code``."""


def is_close_code(code: int) -> bool:
    """Whether a close frame may have this code (RFC 6455, 7.4, and IANA's registry)."""
    return any(code in codes for codes in SENDABLE_CODES)


def check_close_code(code: int) -> None:
    """Raise :class:`LocalProtocolError` for a code that must not be sent (RFC 6455, 7.4)."""
    if not is_close_code(code):
        said = f"close code {code} must not be sent; use 1000-1003, 1007-1014 or 3000-4999"
        raise LocalProtocolError(said, clause="RFC 6455 7.4")
