"""The life of a call that has a handler, the same on each runtime.

1. The call waits for the metadata. If it was accepted and none comes, ``on_lost`` is told, and no
   handler starts.
2. The handler runs. Once it is done, nobody reads events any more. If it did not raise, and the
   options say so, what it has sent is drained.
3. One line in the log tells how the call ended, even if this end is cancelled.
4. The call is closed. If this end is cancelled, its connection is dropped instead.
5. ``on_end`` is told.

The adapter drives the connection meanwhile. Around the handler it writes
``async with call._ending(), call._handling()``. What cuts a handler short, as the shutdown of a
server does, stands between the two: then the call is still logged and closed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from listenproto._account import account, close_for, was_accepted, was_requested, why_not_ready
from listenproto._app_call import AppCall
from listenproto._ended_call import EndedCall
from listenproto._ends import CallEnded, failure_in, only_call_ended
from listenproto._handshake import Reject
from listenproto._link import CallNote
from listenproto._logs import CallLog, about
from listenproto._runtime import Runtime
from listenproto._waiting import HandlerCall

__all__ = ["HandledCall"]

SHUTTING_DOWN: Final = "the server is shutting down"


class HandledCall(HandlerCall):
    """A call with a beginning, an end, and a log."""

    def __init__(self, core: AppCall[Any], runtime: Runtime, *, peer: str | None) -> None:
        super().__init__(core, runtime, peer=peer)
        self._logged_failure: Exception | None = None
        """What the line of the end has told of."""
        self._close_code: int | None = None
        """The code with which this end closes, once that is known."""

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A log for the handler's own lines; their records have the fields of the call."""
        return CallLog(self._about)

    @asynccontextmanager
    async def _handling(self) -> AsyncIterator[None]:
        """Wait for the metadata; the block is the handler; drain what it sent.

        Raises :class:`CallEnded` if no handler can start.
        """
        await self._until_ready()
        if self.core.metadata is None:
            raise CallEnded(why_not_ready(self.core)) from self.error
        try:
            yield
        finally:
            self._stop_reading()
        if self.answering.drain:
            await self.drain()

    async def _until_ready(self) -> None:
        """Wait until the handler can start, or never will."""
        raise NotImplementedError

    @asynccontextmanager
    async def _ending(self, *, raises: bool = True) -> AsyncIterator[None]:
        """Log how the block has ended, and close the call.

        Raises what the block raised, or what else made this end fail; with ``raises`` false, that
        is logged instead.
        """
        core = self.core
        error: Exception | None = None
        failure: BaseException | None = None
        code, reason = None, ""
        try:
            try:
                yield
            except BaseException as exc:
                failure = failure_in(exc)
                if not isinstance(exc, Exception):
                    raise
                error = only_call_ended(exc) or exc
                if error is not exc:  # out of a group, and raised it would lead back to that
                    error = CallEnded(*error.args)
            if core.link.was_cut(self.runtime.now()):
                code, reason = 1001, SHUTTING_DOWN
            else:
                if core.metadata is None and was_accepted(core):
                    self._tell_of_lost()
                code, reason = close_for(core, error)
        finally:
            self._log_end(code, reason, None if raises else failure)
        try:
            if was_requested(core) or not core.link.reads:
                await self.close(code, reason)
        except BaseException:  # this end is cancelled, and that is raised instead
            if raises and failure is not None:
                self.log.error("%s: the handler failed", str(self), exc_info=failure)
            raise
        if core.link.failure is not None and isinstance(error, CallEnded | None):
            error = core.link.failure
        try:
            if raises and error is not None:
                raise error
        finally:
            del error, failure  # their tracebacks lead here

    def _tell_of_lost(self) -> None:
        """The call was accepted, but its handler cannot start."""
        self.core.is_lost = True
        if self.answering.on_lost is not None:
            try:
                self.answering.on_lost(self.session, why_not_ready(self.core))
            except Exception as exc:
                self.log.error("%s: on_lost failed", str(self), exc_info=exc)

    def _about(self) -> dict[str, str | bool | None]:
        return about(self.core.metadata, self.path, self.peer, is_call=self._is_call)

    def _log_notes(self) -> None:
        """Log what the call without IO has to say."""
        notes = self.core.notes
        while notes:
            note = notes.pop(0)
            self.log.log(_level(note), "%s: %s", str(self), note.text, exc_info=note.error)

    def _log_warning(self, said: str) -> None:
        self.log.warning("%s: %s", str(self), said)

    def _log_end(self, code: int | None, reason: str, failure: BaseException | None = None) -> None:
        """Log how it ended, before it is closed with this code: one line per call.

        The code is None if this end is cancelled, which drops the connection without a close.
        ``failure`` is what the handler raised, if nobody else hears of it.
        """
        self._logged_failure, self._close_code = self.core.link.failure, code
        failure = failure or self.core.link.failure
        now = self.runtime.now()
        note = account(self.core, code, reason, now)
        extra: dict[str, object] = {}
        if self._is_call:
            extra = {"is_end": True, **self.core.statistics(now).to_json()}
        verdict = self.core.verdict
        if not self._is_call and isinstance(verdict, Reject):
            extra["refused_by"] = verdict.clause
        level = logging.ERROR if failure else _level(note)
        self.log.log(level, "%s: %s", str(self), note.text, exc_info=failure, extra=extra)

    def _conclude(self) -> None:
        """It is closed: log what failed since the line of the end, and tell ``on_end``."""
        failure = self.core.link.failure
        if failure is not self._logged_failure:
            why = self.core.link.ending().why
            self.log.error("%s: %s", str(self), why, exc_info=failure)
        if self.core.metadata is not None and self.answering.on_end is not None:
            try:
                self.answering.on_end(self._ended())
            except Exception as exc:
                self.log.error("%s: on_end failed", str(self), exc_info=exc)
        self._forget_frames()

    def _forget_frames(self) -> None:
        """What failed has been logged, and is raised: hold none of its frames, which lead here."""
        self._logged_failure = None
        self.core.link.forget_frames()
        self.session.forget_frames()

    def _ended(self) -> EndedCall:
        violations = Counter(self.core.violations)
        if self.error is not None:
            violations[self.error.clause] += 1
        return EndedCall(
            session=self.session,
            peer=self.peer,
            end=self.core.link.ending(),
            close_code=self._close_code,
            statistics=self.statistics,
            violations=violations,
        )


def _level(note: CallNote) -> int:
    return logging.getLevelNamesMapping()[note.level.upper()]
