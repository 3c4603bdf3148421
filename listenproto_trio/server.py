"""The application's end: takes calls and hands each to a handler."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from listenproto.connection import AppConnection
from listenproto.handshake import Accept, Reject, judge
from listenproto.upgrade import Request
from listenproto_trio.answering import Answering
from listenproto_trio.call import Call
from listenproto_trio.transport import CallEnded, StreamCarrier

__all__ = ["Handler", "serve", "serve_stream"]

Handler: TypeAlias = Callable[[Call], Awaitable[None]]

_log: Final = logging.getLogger("listenproto")


class _Open:
    """How many calls a server has open."""

    calls = 0


async def serve(
    handler: Handler,
    *,
    port: int,
    host: str | None = None,
    answering: Answering | None = None,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take calls on ``port`` until cancelled; each is handled in a task of its own.

    The handler starts once the metadata has been read. When it returns the call is closed with
    1000; when it raises, with 1011, which is logged and leaves other calls alone.
    :class:`CallEnded` out of it is no error. ``task_status`` gives the listeners, once they are
    there: port 0 means any free one. Raises OSError if the port cannot be had.
    """
    answering = answering or Answering()
    opened = _Open()
    listeners = await trio.open_tcp_listeners(port, host=host)
    served: list[trio.abc.Listener[trio.abc.Stream]] = [*listeners]
    if ssl_context is not None:
        served = [trio.SSLListener(listener, ssl_context) for listener in listeners]

    async def answer(stream: trio.abc.Stream) -> None:
        await _answer(handler, stream, answering, opened)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, answer, served)
        for listener in listeners:
            _log.info("listening on %s port %d", *listener.socket.getsockname()[:2])
        task_status.started(listeners)


async def serve_stream(
    handler: Handler, stream: trio.abc.Stream, *, answering: Answering | None = None
) -> None:
    """Answer one call on a stream that is already there; closes the stream."""
    await _answer(handler, stream, answering or Answering(), _Open())


async def _answer(
    handler: Handler, stream: trio.abc.Stream, answering: Answering, opened: _Open
) -> None:
    accepted = False
    session, limits = answering.session(), answering.limits
    connection = AppConnection(session, max_head=limits.head_size, max_message=limits.message_size)

    def on_request(request: Request) -> None:
        nonlocal accepted
        verdict = judge(request, answering.policy, open_calls=opened.calls)
        accepted = isinstance(verdict, Accept)
        opened.calls += accepted
        call.refused = verdict if isinstance(verdict, Reject) else None
        if accepted and answering.tap is not None:
            call.transport.tap = answering.tap(session)
        connection.answer(verdict)

    call = Call(connection, StreamCarrier(stream), session, answering, on_request=on_request)
    call.stream = stream
    try:
        async with stream, trio.open_nursery() as nursery:
            if await call.begin(nursery):
                await _handle(handler, call, drain=answering.drain)
            else:
                await _give_up(call)
            nursery.cancel_scope.cancel()
    except* Exception as failure:  # of what is called while reading: a tap, a function of the mode
        _log.error("%r: the call failed", call, exc_info=failure, extra=_about(call))
    finally:
        opened.calls -= accepted


async def _handle(handler: Handler, call: Call, *, drain: bool) -> None:
    code, reason = 1000, ""
    try:
        await _run(handler, call, drain=drain)
    except* CallEnded:
        pass
    except* Exception as failure:
        code, reason = 1011, "the handler failed"
        _log.error("%r: the handler failed", call, exc_info=failure, extra=_about(call))
    if call.error is not None:
        _log.warning("%r: %s", call, call.error, extra=_about(call))
    await call.close(code, reason)


async def _run(handler: Handler, call: Call, *, drain: bool) -> None:
    try:
        await handler(call)
    finally:
        call.stop_reading()
    if drain:
        await call.drain()


async def _give_up(call: Call) -> None:
    """No metadata came: say why, where it was not a refusal that the other end has been told."""
    _log.info("no call: %s", call.why_not())
    if call.ready.is_set() or call.session.request is not None:
        await call.close(1002, "no metadata")


def _about(call: Call) -> dict[str, object]:
    metadata = call.session.metadata
    return {"call_sid": metadata.call_sid if metadata else None}
