"""The two errors of the protocol, told apart by whose fault it is."""

from __future__ import annotations

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """A peer broke the protocol; the message names what was wrong and what would be right.

    ``clause`` is the requirement of ``spec/listen.md`` that was broken (an RFC section where the
    listen protocol has none of its own); ``close_code`` is the WebSocket close code
    (RFC 6455, 7.4.1) that answers it.
    """

    def __init__(self, message: str, *, clause: str, close_code: int = 1002) -> None:
        super().__init__(message)
        self.clause = clause
        self.close_code = close_code

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.clause}]"


class LocalProtocolError(ProtocolError):
    """You asked this end to do what the protocol forbids. Nothing was sent, no state changed."""


class RemoteProtocolError(ProtocolError):
    """The peer did what this end cannot go on from; close with ``close_code``."""
