"""What a handler holds: one call, at the application's end."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import trio

from listenproto.app_session import AppSession, ClipDone
from listenproto.connection import ConnectionEvent
from listenproto.errors import ProtocolError
from listenproto.handshake import Reject
from listenproto.l16 import SAMPLE_BYTES
from listenproto.messages import (
    Audio,
    Dtmf,
    MarkEvent,
    Metadata,
    Mode,
    Peer,
    UnknownMessage,
)
from listenproto.observer import Violation
from listenproto.trace import Moment
from listenproto.upgrade import Request
from listenproto.wire import Closed
from listenproto_trio.answering import Answering
from listenproto_trio.logs import CallLog, about
from listenproto_trio.sending import Sending
from listenproto_trio.statistics import Lateness, Statistics
from listenproto_trio.transport import CallEnded, Carrier, Connection, Transport
from listenproto_trio.unread import CallEvent
from listenproto_trio.websocket import MessageCarrier, MessageConnection, WebSocket

__all__ = ["Call"]

_Data = TypeVar("_Data")


class Call(Sending):
    """One call at the application's end.

    :func:`~listenproto_trio.serve` gives it to a handler, :meth:`over` to whoever has a WebSocket.
    Any task may send; one iterates over the events. Sending waits while the outbox is full. It
    raises :class:`~listenproto_trio.CallEnded` once the call is over, and
    :class:`~listenproto.LocalProtocolError` for what the protocol forbids; nothing was sent then,
    nor where it was cancelled.
    """

    def __init__(
        self,
        connection: Connection[_Data],
        carrier: Carrier[_Data],
        session: AppSession,
        answering: Answering,
        *,
        peer: str | None = None,
        on_request: Callable[[Request], None] = lambda request: None,
    ) -> None:
        super().__init__(session, answering)
        self.log = CallLog(lambda: about(session.metadata, session.request, self.peer))
        """For the handler's own lines, which then say which call they are about."""
        self.peer = peer
        """The address of the other end of the connection, as far as it is known."""
        self.stream: trio.abc.Stream | None = None
        """What the call runs on, if that is not somebody else's WebSocket."""
        self.stopping = trio.Event()
        """Set once the server takes no more calls, and this one has its grace period to end."""
        self.ready = trio.Event()
        """Set once the metadata has come, or never will."""
        self.refused: Reject | None = None
        """The answer to the upgrade request, if it was a refusal."""
        self._on_request = on_request
        self.transport = Transport(
            connection,
            carrier,
            answering.limits,
            peer=Peer.PLATFORM,
            dispatch=self._dispatch,
            may_read=self._unread.may_read,
        )
        self._lateness = Lateness()
        self._bytes_per_second = 0

    @staticmethod
    @asynccontextmanager
    async def over(
        websocket: WebSocket,
        *,
        request: Request | None = None,
        answering: Answering | None = None,
    ) -> AsyncIterator[Call]:
        """A call over a WebSocket that somebody else has accepted; the block is its handler.

        The block starts once the metadata has been read. At its end the WebSocket is closed: with
        1000, with 1011 where an exception leaves the block, without a word where it is cancelled.
        Exceptions come out as they are, of groups of nothing but :class:`CallEnded` one. Raises
        :class:`CallEnded` where there is no metadata to start with.

        ``request`` is what :attr:`request` and a function of the mode are to know. Of
        ``answering``, the policy is not asked; how large heads and messages may be, and whether
        the other end is alive, is for the WebSocket's library to see to.
        """
        answering = answering or Answering()
        limits = attrs.evolve(answering.limits, ping_interval=math.inf)
        session = answering.session()
        session.request = request
        carrier = MessageCarrier(websocket)
        call = Call(
            MessageConnection(session),
            carrier,
            session,
            attrs.evolve(answering, limits=limits),
        )
        error: Exception | None = None  # carried around the nursery, which would wrap it in a group
        try:
            if answering.tap is not None:
                call.transport.tap = answering.tap(session)
            call.transport.tell(Peer.APP, Moment.OPEN)
            async with trio.open_nursery() as nursery:
                code, reason = 1000, ""
                if await call.begin(nursery):
                    try:
                        yield call
                    except Exception as exc:
                        error = _only_call_ended(exc) or exc
                        if not isinstance(error, CallEnded):
                            code, reason = 1011, "the handler failed"
                    call.stop_reading()
                    if answering.drain and error is None:
                        await call.drain()
                else:
                    error = CallEnded(call.why_not())
                    error.__cause__ = call.error
                    code, reason = 1002, "no metadata"
                await call.close(code, reason)
                nursery.cancel_scope.cancel()
        finally:
            await carrier.drop()
        if error is not None:
            raise error

    async def begin(self, nursery: trio.Nursery) -> bool:
        """Start what the call needs, in ``nursery``; whether the metadata came in time."""
        limits = self.transport.limits
        nursery.start_soon(self.read)
        nursery.start_soon(self.transport.write)
        with trio.move_on_after(limits.handshake_time):
            await self.ready.wait()
        if self.session.metadata is None:
            return False
        nursery.start_soon(self.transport.keep_alive)
        nursery.start_soon(self.close_after_disconnect)
        return True

    def why_not(self) -> str:
        """One sentence on why no metadata came."""
        if self.refused is not None:
            return f"refused with {self.refused.status}: {self.refused.reason}"
        if not self.ready.is_set():
            return f"no metadata within {self.transport.limits.handshake_time:g} s"
        return self.transport.how_it_ended()

    def __repr__(self) -> str:
        metadata = self.session.metadata
        return f"<Call {metadata.call_sid if metadata else 'without metadata'}>"

    @property
    def request(self) -> Request:
        """The upgrade request: target, path, headers.

        Raises LookupError for a call :meth:`over` a WebSocket that was not told of it.
        """
        if self.session.request is None:
            raise LookupError("Call.over() was not given the request: over(…, request=…)")
        return self.session.request

    @property
    def metadata(self) -> Metadata:
        """The attributes of the call; the rate and the channels of its audio."""
        assert self.session.metadata is not None  # a handler starts behind it
        return self.session.metadata

    @property
    def call_sid(self) -> str | None:
        """The call's sid; several listens of one call share it."""
        return self.metadata.call_sid

    @property
    def mode(self) -> Mode | None:
        """What this end may send back."""
        return self.session.mode

    @property
    def closed(self) -> Closed | None:
        """How the platform ended the call; None while it has not. Not ``clean``: it vanished."""
        return self.transport.closed

    @property
    def error(self) -> ProtocolError | None:
        """What the platform did wrong, if the call ended by that."""
        return self.transport.error

    @property
    def samples_dropped(self) -> int:
        """How many samples of each channel were dropped because nobody read them in time."""
        return self._unread.samples_dropped

    @property
    def statistics(self) -> Statistics:
        """What passed so far, what was dropped, how late it came."""
        return Statistics.of(
            self.session,
            self._lateness,
            buffered=self._playbacks.ahead,
            events_dropped=self._unread.events_dropped,
            samples_dropped=self._unread.samples_dropped,
        )

    def _dispatch(self, event: ConnectionEvent) -> None:
        if isinstance(event, Audio):
            media_time = self.session.received.audio / self._bytes_per_second
            self._lateness.note(self.transport.heard_at - media_time)
            self._unread.put(event)
        elif isinstance(event, Request):
            self._on_request(event)
        elif isinstance(event, Metadata):
            frame = SAMPLE_BYTES * event.mix_type.channels
            self._bytes_per_second = event.sample_rate * frame
            self._unread.open(event)
            self.ready.set()
        elif isinstance(event, Dtmf | ClipDone | MarkEvent | UnknownMessage | Violation):
            if isinstance(event, ClipDone | MarkEvent):
                self._playbacks.answered(event)
            self._unread.put(event)

    async def read(self) -> None:
        """Read until the connection is over; a task of whoever runs the call."""
        try:
            await self.transport.read()
        finally:
            self._playbacks.lost()
            self._unread.end()
            self.ready.set()

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        return self

    async def __anext__(self) -> CallEvent:
        """The next event; the iteration ends with the call, however that ends.

        Raises trio.BusyResourceError where another task iterates already.
        """
        event = await self._unread.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def stop_reading(self) -> None:
        """Nobody will iterate any more: what comes is thrown away, and nothing is held back."""
        self._unread.abandon()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, behind what was sent; waits for the platform's answer."""
        await self.transport.close(code, reason)

    async def close_after_disconnect(self) -> None:
        """Close where a disconnect goes unanswered (LP-END-2); a task of whoever runs the call."""
        await self._disconnected.wait()
        await trio.sleep(self.transport.limits.close_time)
        await self.close()


def _only_call_ended(error: Exception) -> CallEnded | None:
    """The CallEnded that an exception is, or that is all there is in a group."""
    if isinstance(error, CallEnded):
        return error
    if not isinstance(error, ExceptionGroup):
        return None
    found = [_only_call_ended(one) for one in error.exceptions]
    return None if None in found else found[0]
