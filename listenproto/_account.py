"""How a call ended, or why none began, in words: for its handler, its close and the log.

:attr:`AppCall.end` is how it ended; here are the sentences and codes that adapters make of it.
"""

from __future__ import annotations

from typing import Any

from listenproto._app_call import AppCall
from listenproto._ends import CallEnded, EndKind
from listenproto._handshake import Accept, Reject
from listenproto._link import CallNote

__all__ = [
    "account",
    "close_for",
    "how_it_ended",
    "was_accepted",
    "was_requested",
    "why_not_ready",
]


def was_requested(call: AppCall[Any]) -> bool:
    """Whether the upgrade request has come; over messages it came before."""
    return call.over_messages or call.session.request is not None


def was_accepted(call: AppCall[Any]) -> bool:
    """Whether the upgrade request was accepted."""
    return isinstance(call.verdict, Accept) or (call.over_messages and call.verdict is None)


def close_for(call: AppCall[Any], error: BaseException | None) -> tuple[int, str]:
    """The close code and reason once the handler is done, or if it could not start.

    ``error`` is what it raised.
    """
    if call.link.failure is not None:
        return 1011, ""
    if call.metadata is None:
        return 1002, "no metadata"
    if error is None or isinstance(error, CallEnded):
        return 1000, ""
    return 1011, "the handler failed"


def how_it_ended(call: AppCall[Any], now: float, *, cancelled: bool = False) -> str:
    """How the call ended, in one sentence; for a task that is cancelled, it is over."""
    if not (call.link.ended or call.link.was_cut(now) or cancelled):
        return "the call goes on"
    return str(call.link.ending(now))


def why_not_ready(call: AppCall[Any]) -> str:
    """Why no metadata came, in one sentence."""
    if isinstance(call.verdict, Reject) and call.link.failure is None:
        return f"answered {call.verdict.status}: {call.verdict.reason}"
    if call.is_late:
        what = "metadata" if was_requested(call) else "upgrade request"
        return f"no {what} within {call.answering.limits.handshake_time:g} s"
    end = call.link.ending(call.now)
    if end.code is not None:
        reason = f": {end.reason}" if end.reason else ""
        if not call.link.tells_who_closed:
            return f"the connection was closed ({end.code}{reason}) before metadata came"
        return f"the platform closed ({end.code}{reason}) without sending metadata"
    return end.why


def account(call: AppCall[Any], code: int | None, reason: str, now: float) -> CallNote:
    """What the log says of the end, before it is closed with this code and reason.

    The code is None if this end is cancelled, which drops the connection without a close.
    """
    if call.metadata is None:
        why = reason if code == 1001 else why_not_ready(call)
        asked_for_health = isinstance(call.verdict, Reject) and call.verdict.status == 200
        return CallNote("warning" if call.is_lost else "debug" if asked_for_health else "info", why)
    cut = call.link.was_cut(now) or code is None
    ending = call.link.ending(now)
    how = ending.why
    if not (cut or call.link.ended):
        how = f"this end closes with {code}"
    if reason and not cut:
        how += f": {reason}"
    unclean = ending.kind in (EndKind.LOST, EndKind.PROTOCOL_ERROR) or call.link.closed_by_itself
    unclean = unclean or code != 1000
    return CallNote("warning" if unclean else "info", f"{how}; {call.statistics(now)}")
