"""How calls end."""

from __future__ import annotations

import copy
import enum

import attrs

from listenproto._choices import member

__all__ = ["CallEnded", "EndKind", "Ending", "failure_in", "only_call_ended", "without_frames"]


class CallEnded(Exception):
    """The call is over; nothing more can be sent. After a hang-up this is no fault of the app."""


def only_call_ended(error: Exception) -> CallEnded | None:
    """The CallEnded that an exception is, or of which a group consists; else None."""
    if isinstance(error, CallEnded):
        return error
    if not isinstance(error, ExceptionGroup):
        return None
    found = [only_call_ended(one) for one in error.exceptions]
    return None if None in found else found[0]


def failure_in(error: BaseException) -> BaseException | None:
    """What failed, as far as an exception tells: no CallEnded, no cancellation, no group of one."""
    found: BaseException | None = error if _is_failure(error) else None
    if isinstance(error, BaseExceptionGroup):
        found = error.subgroup(_is_failure)
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        (found,) = found.exceptions
    return found


def without_frames(error: Exception) -> Exception:
    """The error as a value, as where it was raised leads to all of the call.

    One that cannot be copied is returned as it is.
    """
    try:
        return copy.copy(error)
    except Exception:  # a class of the app's may raise anything
        return error


def _is_failure(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, CallEnded | ExceptionGroup)


class EndKind(enum.Enum):
    """Who or what ended a call."""

    CLOSED = "closed"
    """The other end closed the connection, with a close; or the server of an ASGI app did."""
    LEFT = "left"
    """This end closed it: the app, or the WebSocket's library by itself."""
    LOST = "lost"
    """The connection ended without a close, or the other end no longer answered."""
    PROTOCOL_ERROR = "protocol error"
    """The other end broke the protocol, so that this end could not go on."""
    FAILED = "failed"
    """Something of the app failed: a mode function, the maker of a tap, another library."""
    CUT = "cut short"
    """The shutdown of this end's server cut it short."""
    CANCELLED = "cancelled"
    """This end was cancelled."""


def _kind_of(value: EndKind | str) -> EndKind:
    return member(EndKind, value, "kind")


@attrs.frozen
class Ending:
    """How a call ended; ``str()`` of it is one sentence."""

    kind: EndKind = attrs.field(converter=_kind_of)
    """Who or what ended it."""
    why: str
    """The second half of the sentence."""
    code: int | None = None
    """The code of the other end's close, if it closed (RFC 6455, 7.4)."""
    reason: str = ""
    """The reason in that close."""
    error: Exception | None = None
    """What failed, or what the other end did wrong."""

    def __str__(self) -> str:
        return f"the call {'failed' if self.error else 'is over'}: {self.why}"
