"""The application's end: answers calls and passes each to a handler."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import trio

from listenproto._connection import AppConnection
from listenproto._handshake import Accept, Reject, judge_request
from listenproto._upgrade import Request
from listenproto_trio.answering import Answering
from listenproto_trio.call import Call
from listenproto_trio.failures import check_trio
from listenproto_trio.logs import log
from listenproto_trio.transport import CallEnded, StreamCarrier

__all__ = ["Handler", "serve", "serve_stream"]

Handler: TypeAlias = Callable[[Call], Awaitable[None]]

SHUTTING_DOWN: Final = "the server is shutting down"
ASKING_TIME: Final = 1.0
"""Seconds that a connected client has to send its request once the server is stopping.

Its request may be on the way and not seen here yet, as during the TLS handshake."""


async def serve(
    handler: Handler,
    *,
    port: int,
    host: str | None = None,
    answering: Answering | None = None,
    ssl_context: ssl.SSLContext | None = None,
    stop: trio.Event | None = None,
    grace: float = 30.0,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls on ``port`` until cancelled or stopped, each in its own task.

    The handler starts once the metadata has been read. When it returns, the call is closed with
    1000; when it raises, with 1011, which is logged and does not affect other calls.
    :class:`CallEnded` is not an error. A hang-up does not cancel the handler: iterating ends, and
    sending raises, so a handler that does neither runs until it returns. ``task_status`` returns
    the listeners once the port is open; port 0 picks a free one. Raises OSError if the port cannot
    be opened.

    Each connection leaves one line in the log ``listenproto``, with the fields of
    :attr:`Call.log`: an ordinary end at level INFO, a health check at DEBUG, a call that was
    accepted but sent no usable metadata at WARNING (see ``on_lost`` of :class:`Answering`).
    ``is_call`` is false in the record of a connection that never became a call; the other fields
    are ``call_sid``, ``call_id``, ``peer`` and ``path``.

    Once ``stop`` is set, the port is closed and no more calls are answered. A client that has
    connected but not sent its request has a second to do so (``grace``, if that is shorter) and
    gets 503; then it is disconnected. Open calls may go on for ``grace`` seconds. After that, their
    handlers are cancelled, the calls are closed with 1001, and this returns. A handler sees
    ``stop`` as :attr:`Call.stopping`. With a ``grace`` of ``math.inf`` no call is cut short; a
    negative one, or NaN, raises ValueError.
    """
    check_trio("serve()")
    if not grace >= 0:
        raise ValueError(f"grace must be 0 or more seconds; it is {grace:g}")
    stop = trio.Event() if stop is None else stop
    server = _Server(handler, answering or Answering(), stop)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except UnicodeError as exc:
        raise OSError(f"{host!r} is not a host name or an address") from exc
    served: list[trio.abc.Listener[trio.abc.Stream]] = [*listeners]
    if ssl_context is not None:
        served = [trio.SSLListener(listener, ssl_context) for listener in listeners]
    async with trio.open_nursery() as calls:
        async with trio.open_nursery() as listening:
            await listening.start(
                partial(trio.serve_listeners, server.answer, served, handler_nursery=calls)
            )
            for listener in listeners:
                log.info("listening on %s port %d", *listener.socket.getsockname()[:2])
            task_status.started(listeners)
            await server.stopping.wait()
            listening.cancel_scope.cancel()
        server.stop(grace)
    log.info("stopped; calls cut short: %d", server.calls_cut)


async def serve_stream(
    handler: Handler, stream: trio.abc.Stream, *, answering: Answering | None = None
) -> None:
    """Answer one call on a stream that is already open; closes the stream."""
    check_trio("serve_stream()")
    await _Server(handler, answering or Answering(), trio.Event()).answer(stream)


class _Server:
    """Answers connections, and counts the open calls."""

    def __init__(self, handler: Handler, answering: Answering, stopping: trio.Event) -> None:
        self.stopping = stopping
        self.calls_cut = 0
        self._handler = handler
        self._answering = answering
        self._open_calls = 0
        self._running: dict[trio.CancelScope, Call] = {}
        self._cut_at = self._ask_by = math.inf

    def stop(self, grace: float) -> None:
        """End every connection within ``grace`` seconds, those without a request sooner."""
        self._cut_at = trio.current_time() + grace
        self._ask_by = min(self._cut_at, trio.current_time() + ASKING_TIME)
        for scope, call in self._running.items():
            scope.deadline = self._end_of(call)
        log.info("stopping; calls open: %d; they have %g s to end", self._open_calls, grace)

    async def answer(self, stream: trio.abc.Stream) -> None:
        """Answer a connection; closes it."""
        accepted = False
        session, limits = self._answering.session(), self._answering.limits
        connection = AppConnection(
            session, max_head=limits.head_size, max_message=limits.message_size
        )

        def on_request(request: Request) -> None:
            nonlocal accepted
            verdict = self._judge(request)
            accepted = isinstance(verdict, Accept)
            self._open_calls += accepted
            call._refusal = verdict if isinstance(verdict, Reject) else None
            if accepted and self._answering.tap is not None:
                try:
                    call.transport.tap = self._answering.tap(session)
                except Exception:
                    connection.answer(Reject(500, "This server failed."))
                    raise
            connection.answer(verdict)
            call._accepted = accepted

        call = Call(
            connection,
            StreamCarrier(stream),
            session,
            self._answering,
            stream=stream,
            on_request=on_request,
        )
        call.stopping = self.stopping
        try:
            async with _closing(stream, call), trio.open_nursery() as nursery:
                await self._run(call, nursery)
                nursery.cancel_scope.cancel()
        except* Exception as failure:
            # A stream that fails as none of trio's does; other calls go on.
            call.log.error("%s: the call failed", call, exc_info=failure)
        finally:
            self._open_calls -= accepted

    def _end_of(self, call: Call) -> float:
        """When a connection must end, as far as that is known by now."""
        return self._ask_by if call.session.request is None else self._cut_at

    def _judge(self, request: Request) -> Accept | Reject:
        if self.stopping.is_set():
            return Reject(503, "This server is shutting down.")
        return judge_request(request, self._answering.policy, open_calls=self._open_calls)

    async def _run(self, call: Call, nursery: trio.Nursery) -> None:
        """Answer, handle and close a call; a shutdown can cut it short until it is closed."""
        failure: BaseException | None = None
        code, reason = None, ""
        try:
            with trio.CancelScope(deadline=self._end_of(call)) as scope:
                self._running[scope] = call
                call.transport.cut_by = scope
                try:
                    if await call._begin(nursery):
                        await self._handle(call)
                except* CallEnded:
                    pass
                except* Exception as group:
                    failure = group
                    while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
                        (failure,) = failure.exceptions  # as the handler raised it
                finally:
                    del self._running[scope]
            code, reason = call._close_for(failure)
            if call.transport.was_cut:  # not if only the handler of an ended call was left
                code, reason = 1001, SHUTTING_DOWN
                self.calls_cut += call.session.metadata is not None
            elif call._accepted and call.session.metadata is None:
                call._lost = True
                self._tell_of_lost(call)
        finally:
            _log_end(call, code, reason, failure or call.transport.failure)
        if call._ready.is_set() or call.session.request is not None:
            await call.close(code, reason)

    def _tell_of_lost(self, call: Call) -> None:
        if self._answering.on_lost is not None:
            try:
                self._answering.on_lost(call.session, call._why_not())
            except Exception as exc:
                call.log.error("%s: on_lost failed", call, exc_info=exc)

    async def _handle(self, call: Call) -> None:
        try:
            await self._handler(call)
        finally:
            call._stop_reading()
        if self._answering.drain:
            await call.drain()


def _log_end(call: Call, code: int | None, reason: str, failure: BaseException | None) -> None:
    """Log how a connection ended, whether it was a call or not; no code if it was cancelled."""
    if call.session.metadata is not None:
        call._log_end(code, reason, failure)
        return
    asked_for_health = call._refusal is not None and call._refusal.status == 200
    level = logging.DEBUG if asked_for_health else logging.INFO
    level = logging.WARNING if call._lost else level
    why = reason if code == 1001 else call._why_not()
    extra: dict[str, object] = {"is_end": True} if call._lost else {}
    if call._refusal is not None:
        extra["refused_by"] = call._refusal.clause
    level = logging.ERROR if failure else level
    call.log.log(level, "%s: %s", call, why, exc_info=failure, extra=extra)


@asynccontextmanager
async def _closing(stream: trio.abc.Stream, call: Call) -> AsyncIterator[None]:
    """Close the stream at the end, with a TLS shutdown unless that is cancelled.

    It has a time limit, as it would wait for ever for another end that does not read.
    """
    try:
        yield
    finally:
        with trio.move_on_after(call.transport.limits.close_time):
            await stream.aclose()
