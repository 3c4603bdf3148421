"""What a recorder needs of a call, on any runtime."""

from __future__ import annotations

import logging
from typing import Protocol

from listenproto._app_session import AppSession
from listenproto._ends import CallEnded
from listenproto._errors import ProtocolError
from listenproto._messages import JSON, Metadata
from listenproto._profile import Profile
from listenproto._watcher import Watcher
from listenproto._wire import Closed

__all__ = ["RecordedCall", "how_it_ended"]


class RecordedCall(Protocol):
    """What a :class:`Recorder` needs of a call at the application's end, on any runtime."""

    @property
    def metadata(self) -> Metadata:
        """The attributes of the call, and the sample rate and channels of its audio."""

    @property
    def session(self) -> AppSession:
        """The session of the call."""

    @property
    def stream_rate(self) -> int:
        """The sample rate of this end's stream in Hz."""

    @property
    def profile(self) -> Profile:
        """How the platform behaves."""

    @property
    def watchers(self) -> list[Watcher]:
        """Who is told what passes, as it happens; a recording adds its own until it ends."""

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
        """A log for lines about this call."""

    @property
    def samples_dropped(self) -> int:
        """Samples of each channel that were dropped because they were not read in time."""

    @property
    def closed(self) -> Closed | None:
        """How the platform ended the call; None until then. Not ``clean``: without a close."""

    @property
    def error(self) -> ProtocolError | None:
        """What the platform did wrong, if that ended the call."""

    @property
    def failure(self) -> Exception | None:
        """What made this end fail while it read, if that ended the call."""

    @property
    def disconnected(self) -> bool:
        """Whether this end has sent a disconnect."""


def how_it_ended(call: RecordedCall, raised: BaseException | None) -> dict[str, JSON]:
    """How a recording ended."""
    failure, closed = _failure(raised) or call.failure, call.closed
    clean = closed is not None and closed.clean
    error: str | None = None
    clause: str | None = None
    if failure is not None:
        how, error = "failed", type(failure).__name__  # its message may have a password in it
    elif call.error is not None:
        how, error, clause = "protocol error", str(call.error), call.error.clause
    elif closed is not None and not clean:
        how = "lost"
    elif call.disconnected:
        how = "disconnected"
    elif clean:
        how = "closed"
    elif raised is None:
        how = "left"
    elif isinstance(raised, Exception):  # CallEnded, before the reader has met the end
        how = "left" if call.session.ended else "lost"
    else:
        how = "cancelled"
    return {
        "how": how,
        "code": closed.code if closed and clean else None,
        "reason": closed.reason if closed and clean else None,
        "error": error,
        "clause": clause,
    }


def _failure(raised: BaseException | None) -> Exception | None:
    """The exception that made a handler fail; CallEnded and cancelling are not failures."""
    if isinstance(raised, BaseExceptionGroup):
        return next(filter(None, map(_failure, raised.exceptions)), None)
    return raised if isinstance(raised, Exception) and not isinstance(raised, CallEnded) else None
