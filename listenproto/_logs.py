"""The log of calls: the logger ``listenproto``, with the same fields on every record.

For adapters; nothing else in the package logs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from listenproto._account import account, why_not_ready
from listenproto._app_call import AppCall
from listenproto._ends import CallEnded
from listenproto._handshake import Reject
from listenproto._link import CallNote
from listenproto._messages import Metadata
from listenproto._runtime import Runtime
from listenproto._waiting import HandlerCall

__all__ = ["CallLog", "LoggedCall", "about", "log"]

log: Final = logging.getLogger("listenproto")


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """Logs to ``listenproto``; each record has ``is_call`` and what is known of the call.

    ``is_call`` is false for a connection that is not a call, or not yet: a scanner, a health check,
    a refused request. A request that was accepted and ended without usable metadata is a call, and
    lost. ``call_sid``, ``call_id``, ``peer`` and ``path`` are None if they are not known; a call
    may also come without the first two. ``is_end`` is true on the one record that says how a call
    ended, and absent on all others; ``refused_by``, the clause by which a request was refused, is
    only on the record of that. Your own ``extra`` is kept.
    """

    def __init__(self, fields: Callable[[], Mapping[str, object]]) -> None:
        super().__init__(log, {})
        self._fields = fields

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **self._fields()}}


def about(
    metadata: Metadata | None, path: str | None, peer: str | None, *, is_call: bool
) -> dict[str, str | bool | None]:
    """The fields of a record. ``path`` must be without its query, which may hold tokens."""
    call_id = metadata.attributes.get("callId") if metadata else None
    return {
        "is_call": is_call,
        "call_sid": metadata.call_sid if metadata else None,
        "call_id": call_id if isinstance(call_id, str) else None,
        "peer": peer,
        "path": path,
    }


class LoggedCall(HandlerCall):
    """A call with a log."""

    def __init__(self, core: AppCall, runtime: Runtime, *, peer: str | None) -> None:
        super().__init__(core, runtime, peer=peer)
        self.log: Final[logging.LoggerAdapter[logging.Logger]] = CallLog(self._about)
        """A log for the handler's own lines; their records have the fields of the call."""

    def _about(self) -> dict[str, str | bool | None]:
        return about(self.core.metadata, self.path, self.peer, is_call=self._is_call)

    def _log_notes(self) -> None:
        """Log what the call without IO has to say."""
        notes = self.core.notes
        while notes:
            note = notes.popleft()
            self.log.log(_level(note), "%s: %s", self, note.text, exc_info=note.error)

    def _log_warning(self, said: str) -> None:
        self.log.warning("%s: %s", self, said)

    def _tell_of_lost(self) -> None:
        """The call was accepted, but its handler cannot start."""
        self.core.is_lost = True
        if self.answering.on_lost is not None:
            try:
                self.answering.on_lost(self.session, why_not_ready(self.core))
            except Exception as exc:
                self.log.error("%s: on_lost failed", self, exc_info=exc)

    def _not_started(self) -> CallEnded:
        """What to raise as no handler starts; ``on_lost`` is told."""
        self._tell_of_lost()
        ended = CallEnded(why_not_ready(self.core))
        ended.__cause__ = self.error
        return ended

    def _log_end(self, code: int | None, reason: str, failure: BaseException | None = None) -> None:
        """Log how it ended, before it is closed with this code: one line per call.

        The code is None if this end is cancelled, which drops the connection without a close.
        ``failure`` is what the handler raised.
        """
        failure = failure or self.core.link.failure
        note = account(self.core, code, reason, self.runtime.now())
        extra: dict[str, object] = {"is_end": True} if self._is_call else {}
        verdict = self.core.verdict
        if not self._is_call and isinstance(verdict, Reject):
            extra["refused_by"] = verdict.clause
        level = logging.ERROR if failure else _level(note)
        self.log.log(level, "%s: %s", self, note.text, exc_info=failure, extra=extra)


def _level(note: CallNote) -> int:
    return logging.getLevelNamesMapping()[note.level.upper()]
