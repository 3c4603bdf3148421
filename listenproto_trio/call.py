"""A call at the application's end, as a handler gets it.

:meth:`Call.over` and :mod:`listenproto_trio.server` run calls, and use the private parts of Call.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import trio

from listenproto._app_session import AppSession, PlaybackDone
from listenproto._connection import ConnectionEvent
from listenproto._errors import ProtocolError
from listenproto._handshake import Reject
from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import Audio, Metadata, Mode, Peer
from listenproto._profile import Profile
from listenproto._trace import TraceMoment
from listenproto._upgrade import Request
from listenproto._way import stream_rate_for
from listenproto._wire import Closed
from listenproto_trio.answering import Answering
from listenproto_trio.failures import check_trio, peer_of
from listenproto_trio.logs import CallLog, about
from listenproto_trio.playback import Timekeeper
from listenproto_trio.sending import Sending
from listenproto_trio.statistics import Lateness, Statistics
from listenproto_trio.transport import CallEnded, Carrier, Connection, Transport
from listenproto_trio.unread import CallEvent, Unread
from listenproto_trio.websocket import MessageCarrier, MessageConnection, WebSocket

__all__ = ["Call"]

_Data = TypeVar("_Data")


class Call(Sending):
    """One call at the application's end.

    :func:`~listenproto_trio.serve` passes it to a handler; :meth:`over` makes one on a WebSocket.
    Any task may send; one task iterates over the events. Sending waits while the outbox is full. It
    raises :class:`~listenproto_trio.CallEnded` once the call is over, and
    :class:`~listenproto.LocalProtocolError` for what the protocol forbids. If it raises or is
    cancelled, nothing was sent.
    """

    def __init__(
        self,
        connection: Connection[_Data],
        carrier: Carrier[_Data],
        session: AppSession,
        answering: Answering,
        *,
        stream: trio.abc.Stream | None = None,
        peer: str | None = None,
        on_request: Callable[[Request], None] = lambda request: None,
    ) -> None:
        log = CallLog(self._about)
        stream_rate = stream_rate_for(answering.verb, answering.stream_rate)
        timekeeper = Timekeeper(session, self._dispatch)
        unread = Unread(answering.unread, answering.limits, on_hold=timekeeper.held_back)
        transport = Transport(
            connection,
            carrier,
            answering.limits,
            peer=Peer.PLATFORM,
            dispatch=self._dispatch,
            may_read=unread.may_read,
            log=log,
        )
        super().__init__(session, transport, timekeeper, unread, stream_rate=stream_rate, log=log)
        self.answering = answering
        """The options with which the call is answered."""
        self.stream = stream
        """The stream of the call; None on another library's WebSocket."""
        self.peer = peer or peer_of(stream)
        """The address of the other end, as host:port; None if it is not known."""
        self.stopping = trio.Event()
        """Set once the server is stopping; the call then has the server's ``grace`` to end."""
        self._ready = trio.Event()
        """Set once the metadata has come, or never will."""
        self._late = False
        """Whether the metadata did not come in time."""
        self._accepted = False
        """Whether a server has accepted the upgrade request."""
        self._lost = False
        """Whether a server accepted the call, but it ended before its handler could start."""
        self._refusal: Reject | None = None
        """The answer to the upgrade request, if it was a refusal."""
        self._on_request = on_request
        self._lateness = Lateness()
        self._bytes_per_second = 0

    @staticmethod
    @asynccontextmanager
    async def over(
        websocket: WebSocket,
        *,
        request: Request | None = None,
        peer: str | None = None,
        answering: Answering | None = None,
    ) -> AsyncIterator[Call]:
        """Run a call on a WebSocket that another library has accepted; the block is the handler.

        The block starts once the metadata has been read. At its end the WebSocket is closed with
        1000, or with 1011 if the block raises. If the block is cancelled, the connection is dropped
        without a close. Exceptions propagate unchanged, except that a group of only
        :class:`CallEnded` becomes one. Raises :class:`CallEnded` if no usable metadata came. What a
        mode function or reading the WebSocket raises propagates too, and closes with 1011.

        ``request`` is the upgrade request, for :attr:`request` and a mode function; ``peer`` is the
        address of the other end. The policy of ``answering`` is not used. It is up to the other
        library to limit the size of heads and messages, and to check that the other end is alive.
        """
        check_trio("Call.over()")
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
            peer=peer,
        )
        error: Exception | None = None  # kept out of the nursery, which would wrap it in a group
        try:
            if answering.tap is not None:
                call.transport.tap = answering.tap(session)
            call.transport.tell(Peer.APP, TraceMoment.OPEN)
            async with trio.open_nursery() as nursery:
                code, reason = None, ""
                try:
                    if await call._begin(nursery):
                        try:
                            yield call
                        except Exception as exc:
                            error = _only_call_ended(exc) or exc
                        call._stop_reading()
                        if answering.drain and error is None:
                            await call.drain()
                    else:
                        error = CallEnded(call._why_not())
                        error.__cause__ = call.error
                    code, reason = call._close_for(error)
                finally:
                    if session.metadata is not None:
                        call._log_end(code, reason)
                await call.close(code, reason)
                nursery.cancel_scope.cancel()
        finally:
            await carrier.drop()
        if call.transport.failure is not None and isinstance(error, CallEnded | None):
            error = call.transport.failure
        if error is not None:
            raise error

    async def _begin(self, nursery: trio.Nursery) -> bool:
        """Start the tasks of the call in ``nursery``; returns whether the metadata came in time."""
        limits = self.transport.limits
        nursery.start_soon(self._read)
        nursery.start_soon(self.transport.write)
        with trio.move_on_after(limits.handshake_time) as waiting:
            await self._ready.wait()
        self._late = waiting.cancelled_caught
        if self.session.metadata is None:
            return False
        nursery.start_soon(self.transport.keep_alive)
        nursery.start_soon(self._timekeeper.run)
        nursery.start_soon(self._close_after_disconnect)
        return True

    def _why_not(self) -> str:
        """Why no metadata came, in one sentence."""
        if self._refusal is not None:
            return f"answered {self._refusal.status}: {self._refusal.reason}"
        if self._late:
            asked = self.stream is None or self.session.request is not None
            what = "metadata" if asked else "upgrade request"
            return f"no {what} within {self.transport.limits.handshake_time:g} s"
        closed, failed = self.closed, self.error or self.transport.failure or self.transport.was_cut
        if closed is not None and closed.clean and not failed:
            reason = f": {closed.reason}" if closed.reason else ""
            return f"the platform closed ({closed.code}{reason}) without sending metadata"
        return self.transport.ending()

    def _close_for(self, error: BaseException | None) -> tuple[int, str]:
        """The close code and reason once the handler is done, or if it could not start."""
        if self.transport.failure is not None:
            return 1011, ""
        if self.session.metadata is None:
            return 1002, "no metadata"
        if error is None or isinstance(error, CallEnded):
            return 1000, ""
        return 1011, "the handler failed"

    def __repr__(self) -> str:
        return f"<Call {self._sid()}>"

    def __str__(self) -> str:
        """Its name in logs."""
        what = "call" if self._is_call else "connection"
        if self.session.metadata is not None:
            what += f" {self._sid()}"
        return what + (f" from {self.peer}" if self.peer else "")

    def _about(self) -> dict[str, str | bool | None]:
        return about(self.session.metadata, self.path, self.peer, is_call=self._is_call)

    @property
    def _is_call(self) -> bool:
        return self.session.metadata is not None or self._lost

    def _sid(self) -> str:
        metadata = self.session.metadata
        if metadata is None:
            return "without metadata"
        sid = metadata.call_sid or "without a sid"
        return sid if sid.isprintable() else ascii(sid)  # one line of the log stays one line

    def _log_end(self, code: int | None, reason: str, failure: BaseException | None = None) -> None:
        """Log how it ended, before it is closed with this code: one line per call.

        The code is None if this end is cancelled, which drops the connection without a close.
        """
        cut, over = self.transport.was_cut or code is None, self.transport.ended
        how = self.transport.ending() if cut or over else f"this end closes with {code}"
        if reason and not cut:
            how += f": {reason}"
        unclean = code != 1000 or self.error is not None
        unclean = unclean or (self.closed is not None and not self.closed.clean)
        level = logging.ERROR if failure else logging.WARNING if unclean else logging.INFO
        self.log.log(
            level,
            "%s: %s; %s",
            self,
            how,
            self.statistics,
            exc_info=failure,
            extra={"is_end": True},
        )

    @property
    def request(self) -> Request:
        """The upgrade request: target, path, headers.

        Raises LookupError for a call :meth:`over` a WebSocket that was not given the request.
        """
        if self.session.request is None:
            raise LookupError("Call.over() was not given the request: over(…, request=…)")
        return self.session.request

    @property
    def path(self) -> str | None:
        """The path of the upgrade request; None if the call was not given the request."""
        return self.session.request.path if self.session.request else None

    @property
    def tls(self) -> bool:
        """Whether this end's own connection has TLS; the TLS of a proxy in front does not count."""
        return isinstance(self.stream, trio.SSLStream)

    @property
    def metadata(self) -> Metadata:
        """The attributes of the call, and the sample rate and channels of its audio."""
        assert self.session.metadata is not None  # a handler starts after it
        return self.session.metadata

    @property
    def call_sid(self) -> str | None:
        """The call's sid; several listens of one call share it."""
        return self.metadata.call_sid

    @property
    def mode(self) -> Mode | None:
        """What this end may send."""
        return self.session.mode

    @property
    def profile(self) -> Profile:
        """How the platform behaves."""
        return self.answering.profile

    @property
    def closed(self) -> Closed | None:
        """How the platform ended the call; None until then. Not ``clean``: without a close."""
        return self.transport.closed

    def how_it_ended(self) -> str:
        """How the call ended, in one sentence.

        In the ``finally`` of a handler that is cancelled it also says why: a server's shutdown, or
        this end was cancelled.
        """
        return self.transport.how_it_ended()

    @property
    def disconnected(self) -> bool:
        """Whether this end has sent a disconnect."""
        return self._disconnected.is_set()

    @property
    def error(self) -> ProtocolError | None:
        """What the platform did wrong, if that ended the call."""
        return self.transport.error

    @property
    def failure(self) -> Exception | None:
        """What made this end fail while it read, if that ended the call."""
        return self.transport.failure

    @property
    def samples_dropped(self) -> int:
        """Samples of each channel that were dropped because they were not read in time."""
        return self._unread.samples_dropped

    @property
    def statistics(self) -> Statistics:
        """What passed so far, what was dropped, and how late audio came."""
        return Statistics.of(
            self.session,
            self._lateness,
            buffered=self.ahead,
            events_dropped=self._unread.events_dropped,
            samples_dropped=self._unread.samples_dropped,
        )

    def _dispatch(self, event: ConnectionEvent) -> None:
        if isinstance(event, Audio):
            self._lateness.note(self.transport.heard_at - self._media_time())
            for watcher in self.watchers:
                watcher.received(event, trio.current_time())
            self._unread.put(event)
        elif isinstance(event, Request):
            self._on_request(event)
        elif isinstance(event, Metadata):
            frame = SAMPLE_BYTES * event.mix_type.channels
            self._bytes_per_second = event.sample_rate * frame
            self._unread.open(event)
            self._ready.set()
        elif isinstance(event, CallEvent):
            if isinstance(event, PlaybackDone):
                self._timekeeper.done(event.sent)
                if event.wrong_pace is not None:
                    self.log.warning("%s: %s", self, event.wrong_pace)
            self._unread.put(event)

    def _media_time(self) -> float:
        """Seconds of the platform's audio that have come."""
        return self.session.received.audio / self._bytes_per_second

    async def _read(self) -> None:
        """Read until the connection is over."""
        try:
            await self.transport.read()
        except Exception as exc:
            # From what is called while reading: a mode function, the maker of a tap, another
            # library's WebSocket. If it left this task, it would cancel the one that closes.
            self.transport.failure = exc
            self.transport.connection.close(1011, "the app failed")
            self.transport.wake()
        finally:
            for event in self.session.connection_lost():
                self._dispatch(event)
            self._timekeeper.changed()
            self._unread.end()
            self._ready.set()

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        return self

    async def __anext__(self) -> CallEvent:
        """The next event; the iteration ends with the call, however that ends.

        Raises trio.BusyResourceError if another task is iterating.
        """
        event = await self._unread.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def _stop_reading(self) -> None:
        """Nobody will iterate any more: drop what comes, and hold nothing back."""
        self._unread.abandon()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what still waits, close the connection, and wait for the platform's answer."""
        await self.transport.close(code, reason)

    async def _close_after_disconnect(self) -> None:
        """Close if a disconnect is not answered (LP-END-2)."""
        await self._disconnected.wait()
        await trio.sleep(self.transport.limits.close_time)
        await self.close()


def _only_call_ended(error: Exception) -> CallEnded | None:
    """The CallEnded that an exception is, or of which a group consists; else None."""
    if isinstance(error, CallEnded):
        return error
    if not isinstance(error, ExceptionGroup):
        return None
    found = [_only_call_ended(one) for one in error.exceptions]
    return None if None in found else found[0]
