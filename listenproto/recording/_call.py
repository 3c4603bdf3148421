"""What a recorder needs of a call, on any runtime."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from listenproto._ends import CallEnded, Ending, EndKind
from listenproto._errors import ProtocolError
from listenproto._messages import JSON, Metadata
from listenproto._profile import Profile
from listenproto._watcher import Watcher

__all__ = ["RecordedCall", "how_it_ended"]


class RecordedCall(Protocol):
    """What a :class:`Recorder` needs of a call at the application's end, on any runtime."""

    @property
    def metadata(self) -> Metadata:
        """The attributes of the call, and the sample rate and channels of its audio."""

    @property
    def stream_rate(self) -> int:
        """The sample rate of this end's stream in Hz."""

    @property
    def profile(self) -> Profile:
        """How the platform behaves."""

    @property
    def watchers(self) -> list[Watcher]:
        """What is told of each message as it passes; a recording adds its own until it ends."""

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
        """A log for lines about this call."""

    @property
    def samples_dropped(self) -> int:
        """Samples of each channel that were dropped because they were not read in time."""

    @property
    def end(self) -> Ending | None:
        """How the call ended; None until nothing more can be sent."""

    @property
    def disconnected(self) -> bool:
        """Whether this end has sent a disconnect."""


HOW: Final = {
    EndKind.CLOSED: "closed",
    EndKind.LEFT: "left",
    EndKind.LOST: "lost",
    EndKind.PROTOCOL_ERROR: "protocol error",
    EndKind.FAILED: "failed",
    EndKind.CUT: "cancelled",
    EndKind.CANCELLED: "cancelled",
}
"""How a recording says that its call ended."""


def how_it_ended(call: RecordedCall, raised: BaseException | None) -> dict[str, JSON]:
    """How a recording ended; ``raised`` is what its block raised."""
    failure, end = _failure(raised), call.end
    error = failure or (end and end.error)
    clause = error.clause if isinstance(error, ProtocolError) and failure is None else None
    if failure is not None:
        how = "failed"
    elif call.disconnected and (end is None or end.kind is EndKind.CLOSED):
        how = "disconnected"
    elif end is not None:
        how = HOW[end.kind]
    elif raised is None:
        how = "left"
    else:  # CallEnded, which the call is about to know, or this end is cancelled
        how = "lost" if isinstance(raised, Exception) else "cancelled"
    return {
        "how": how,
        "code": end and end.code,
        "reason": end.reason if end and end.code is not None else None,
        # the message of what failed at this end may have a password in it
        "error": str(error) if clause else error and type(error).__name__,
        "clause": clause,
    }


def _failure(raised: BaseException | None) -> Exception | None:
    """The exception that made a handler fail; CallEnded and cancelling are not failures."""
    if isinstance(raised, BaseExceptionGroup):
        return next(filter(None, map(_failure, raised.exceptions)), None)
    return raised if isinstance(raised, Exception) and not isinstance(raised, CallEnded) else None
