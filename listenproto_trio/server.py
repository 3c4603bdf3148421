"""The application's end: takes calls and hands each to a handler."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs
import trio

from listenproto.app_session import AppSession, ModeOf
from listenproto.handshake import Accept, Policy, Verdict, judge
from listenproto.messages import Mode
from listenproto.profile import DOCUMENTED, Profile
from listenproto.upgrade import Request
from listenproto_trio.call import Call
from listenproto_trio.limits import Limits
from listenproto_trio.transport import CallEnded, Tap
from listenproto_trio.unread import UnreadPolicy

__all__ = ["Answering", "Handler", "serve", "serve_stream"]

Handler: TypeAlias = Callable[[Call], Awaitable[None]]

_log: Final = logging.getLogger("listenproto")


@attrs.frozen(kw_only=True)
class Answering:
    """How calls are answered; one value for all calls of a server.

    ``mode`` is the mode of the way back, or a function of request and metadata that tells it;
    ``stream_rate`` the rate of a stream back in samples a second, from which waits compute how
    long playing takes. ``unread`` says what happens to audio that is not read in time. With
    ``drain``, a call whose handler has returned is closed only when its clips and marks are over.
    ``tap`` gives, for each call, what is told of every payload.
    """

    mode: Mode | ModeOf = Mode.CLIPS
    stream_rate: int = 8000
    profile: Profile = DOCUMENTED
    policy: Policy = attrs.field(factory=Policy)
    limits: Limits = attrs.field(factory=Limits)
    unread: UnreadPolicy = "drop_oldest"
    drain: bool = False
    max_clips: int | None = 10
    max_marks: int | None = 30
    salvage_metadata: bool = False
    tap: Callable[[AppSession], Tap] | None = None

    def session(self) -> AppSession:
        """The session of a new call."""
        return AppSession(
            mode=self.mode,
            profile=self.profile,
            max_clips=self.max_clips,
            max_marks=self.max_marks,
            salvage_metadata=self.salvage_metadata,
            keep_passed=self.tap is not None,
        )


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

    def judge_request(request: Request) -> Verdict:
        nonlocal accepted
        verdict = judge(request, answering.policy, open_calls=opened.calls)
        accepted = isinstance(verdict, Accept)
        opened.calls += accepted
        if accepted and answering.tap is not None:
            call.transport.tap = answering.tap(session)
        return verdict

    session = answering.session()
    call = Call(
        stream,
        session,
        answering.limits,
        judge=judge_request,
        stream_rate=answering.stream_rate,
        unread=answering.unread,
    )
    try:
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(call.read)
            nursery.start_soon(call.transport.write)
            with trio.move_on_after(answering.limits.handshake_time):
                await call.ready.wait()
            if session.metadata is not None:
                nursery.start_soon(call.transport.keep_alive)
                nursery.start_soon(call.close_after_disconnect)
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
    if call.ready.is_set():
        why = call.transport.how_it_ended()
    else:
        why = f"no metadata within {call.transport.limits.handshake_time:g} s"
    if call.refused is not None:
        why = f"refused with {call.refused.status}: {call.refused.reason}"
    _log.info("no call: %s", why)
    if call.ready.is_set() or call.session.request is not None:
        await call.close(1002, "no metadata")


def _about(call: Call) -> dict[str, object]:
    metadata = call.session.metadata
    return {"call_sid": metadata.call_sid if metadata else None}
