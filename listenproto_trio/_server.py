"""The application's end: answers calls and passes each to a handler."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate
from functools import partial
from typing import Final, TypeAlias

import trio

from listenproto._answering import Answering
from listenproto._app_call import AppCall
from listenproto._handshake import Accept, Reject, judge_request
from listenproto._logs import log
from listenproto._upgrade import Request
from listenproto_trio._call import Call
from listenproto_trio._carriers import StreamCarrier
from listenproto_trio._driver import check_trio
from listenproto_trio._listening import (
    Certificate,
    log_listening,
    open_listeners,
    secured,
    take_connections,
)

__all__ = ["Handler", "serve", "serve_stream"]

Handler: TypeAlias = Callable[[Call], Awaitable[None]]
"""What :func:`serve` runs for each call, until it returns or raises."""

ASKING_TIME: Final = 1.0
"""Seconds that a connected client has to send its request once the server is stopping.

Its request may be on the way and not seen here yet, as during the TLS handshake."""
_http_date: Final = partial(formatdate, usegmt=True)
"""The date of now for a header (RFC 9110, 5.6.7)."""


async def serve(
    handler: Handler,
    *,
    port: int | None = None,
    host: str | None = None,
    reuse_port: bool = False,
    listeners: Sequence[trio.SocketListener] | None = None,
    answering: Answering | None = None,
    ssl_context: ssl.SSLContext | Certificate | None = None,
    stop: trio.Event | None = None,
    grace: float = 30.0,
    pages: Mapping[str, Callable[[], str]] | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls until cancelled or stopped, each in its own task.

    The handler starts once the metadata has been read. When it returns, the call is closed with
    1000; when it raises, with 1011, which is logged and does not affect other calls.
    :class:`CallEnded` is not an error. A hang-up does not cancel the handler: iterating ends, and
    sending raises, so a handler that does neither runs until it returns.

    It listens on ``port`` of the address ``host``, None for all; port 0 picks a free one. With
    ``reuse_port`` other processes can listen there as well, and the system shares new connections
    out. Or pass ``listeners`` that are open already, as a supervisor hands them over; they are
    closed at the end. ``task_status`` returns the listeners once they are open. With an
    ``ssl_context`` calls come over TLS; a :class:`Certificate` can be replaced meanwhile. Raises
    OSError if the port cannot be opened, and ValueError without exactly one of ``port`` and
    ``listeners``.

    ``pages`` are answers to a plain GET, by path: functions that return a text, such as figures for
    operators. They are also answered where no more calls are taken.

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
    server = _Server(handler, answering or Answering(), stop, pages or {})
    if (port is None) is (listeners is None):
        raise ValueError("serve() needs port or listeners, and not both")
    opened = [*(listeners or ())]
    if port is not None:
        opened = await open_listeners(port, host=host, reuse_port=reuse_port)
    served: list[trio.abc.Listener[trio.abc.Stream]] = [*opened]
    if isinstance(ssl_context, ssl.SSLContext):
        context = ssl_context
        ssl_context = Certificate(lambda: context)
    if ssl_context is not None:
        served = secured(opened, ssl_context)
    async with trio.open_nursery() as calls:
        async with trio.open_nursery() as listening:
            for listener in served:
                listening.start_soon(take_connections, listener, server.answer, calls)
            log_listening(opened)
            task_status.started(opened)
            await server.stopping.wait()
            listening.cancel_scope.cancel()
        server.stop(grace)
    log.info("stopped; calls cut short: %d", server.calls_cut)


async def serve_stream(
    handler: Handler, stream: trio.abc.Stream, *, answering: Answering | None = None
) -> None:
    """Answer one call on a stream that is already open; closes the stream."""
    check_trio("serve_stream()")
    await _Server(handler, answering or Answering(), trio.Event(), {}).answer(stream)


class _Server:
    """Answers connections, and counts the open calls."""

    def __init__(
        self,
        handler: Handler,
        answering: Answering,
        stopping: trio.Event,
        pages: Mapping[str, Callable[[], str]],
    ) -> None:
        self.stopping = stopping
        self._pages = pages
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
            self._limit(scope, call)
        log.info("stopping; calls open: %d; they have %g s to end", self._open_calls, grace)

    def _limit(self, scope: trio.CancelScope, call: Call) -> None:
        """Cut a connection short when it must end, as far as that is known by now."""
        at = self._ask_by if call.session.request is None else self._cut_at
        scope.deadline = call.core.link.cut_at = at

    async def answer(self, stream: trio.abc.Stream) -> None:
        """Answer a connection; closes it."""
        accepted = False

        def judged(request: Request) -> Accept | Reject:
            nonlocal accepted
            is_get = request.method in ("GET", "HEAD") and not request.is_upgrade
            if is_get and request.path in self._pages:
                return Reject(200, "OK", page=self._pages[request.path]())
            if self.stopping.is_set():
                return Reject(503, "This server is shutting down.")
            verdict = judge_request(request, self._answering.policy, open_calls=self._open_calls)
            accepted = isinstance(verdict, Accept)
            self._open_calls += accepted
            return verdict

        now = trio.current_time()
        core = AppCall(self._answering, now=now, judge_request=judged, date=_http_date)
        call = Call(core, StreamCarrier(stream), stream=stream)
        call.stopping = self.stopping
        try:
            async with _closing(stream, call), trio.open_nursery() as nursery:
                call._driver.start(nursery)
                async with call._ending(raises=False):
                    with self._cut_short(call):
                        async with call._handling():
                            await self._handler(call)
                nursery.cancel_scope.cancel()
        except* Exception as failure:
            # A stream that fails as none of trio's does; other calls go on.
            call.log.error("%s: the call failed", str(call), exc_info=failure)
        finally:
            self._open_calls -= accepted
            call._let_go()

    @contextmanager
    def _cut_short(self, call: Call) -> Iterator[None]:
        """Cancel the block when a shutdown is to end the call."""
        link = call.core.link
        scope = trio.CancelScope()
        self._running[scope] = call
        self._limit(scope, call)
        try:
            with scope:
                yield
        finally:
            del self._running[scope]
            if not scope.cancel_called:
                link.cut_at = math.inf
            elif link.was_cut(trio.current_time()):  # not if only a handler was left
                self.calls_cut += call.core.metadata is not None


@asynccontextmanager
async def _closing(stream: trio.abc.Stream, call: Call) -> AsyncIterator[None]:
    """Close the stream at the end, with a TLS shutdown unless that is cancelled.

    It has a time limit, as it would wait for ever for another end that does not read.
    """
    try:
        yield
    finally:
        with trio.move_on_after(call.answering.limits.close_time):
            await stream.aclose()
