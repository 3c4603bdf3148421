"""A connection and its carrier: one task reads, one writes, all others only queue messages.

Only the writer uses the sending side of the carrier, and messages are put into the outbox without
awaiting. So cancelling a task that sends, at any await, never leaves half a message on the wire.
The writer itself is cancelled only when the connection is given up.

The data of a connection is that of its carrier: bytes on a stream (:class:`StreamCarrier`), whole
messages on another library's WebSocket (:mod:`listenproto_trio.websocket`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import trio

from listenproto._connection import ConnectionEvent
from listenproto._ends import CallEnded
from listenproto._errors import ProtocolError, RemoteProtocolError
from listenproto._messages import Payload, Peer
from listenproto._trace import TraceMoment
from listenproto._upgrade import Accepted, Request
from listenproto._wire import Closed
from listenproto_trio.failures import in_words
from listenproto_trio.limits import Limits
from listenproto_trio.logs import CallLog

__all__ = ["CallEnded", "Carrier", "Connection", "StreamCarrier", "Tap", "Transport"]

READ_SIZE: Final = 4096
"""Bytes that are handled before other tasks get a turn: at worst, all are frames of two bytes."""

FRONT_SIZE: Final = 60
"""How many of the first bytes are kept, to tell what kind of server it is."""

Tap = Callable[[Peer, Payload | TraceMoment], None]
"""Called with each payload as it passes, in order, and with what happens to the connection.

If it raises, that is logged, it is not called again, and the call goes on.
"""


_Data = TypeVar("_Data")


class Connection(Protocol[_Data]):
    """What a transport needs of a connection; see :mod:`listenproto._connection`."""

    @property
    def finished(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def waiting(self) -> int: ...
    @property
    def has_data_to_send(self) -> bool: ...
    def feed(self, data: _Data) -> None: ...
    def events(self, now: float = 0.0) -> Iterator[ConnectionEvent]: ...
    def passed(self) -> Iterator[tuple[Peer, Payload]]: ...
    def data_to_send(self) -> _Data: ...
    def ping(self) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def fail(self, error: ProtocolError) -> None: ...


class Carrier(Protocol[_Data]):
    """What a connection runs on."""

    @property
    def failure(self) -> str:
        """What broke it, in words; empty if nothing did, or if the reason is not known."""

    async def receive(self) -> _Data:
        """Wait for data. At any kind of end, return what tells the connection about it."""

    async def send(self, data: _Data) -> None:
        """Raises trio.BrokenResourceError or trio.ClosedResourceError if it cannot be sent."""

    async def drop(self) -> None:
        """Give up the connection at once, even in the middle of a message; does not wait."""


class StreamCarrier:
    """Bytes on a trio stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.failure = ""
        self.front = b""
        """The start of the first data that came."""
        self._stream = stream

    async def receive(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(READ_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self.failure = self.failure or in_words(exc)
            return b""
        self.front = self.front or data[:FRONT_SIZE]
        return data

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as exc:
            self.failure = self.failure or in_words(exc)
            raise

    async def drop(self) -> None:
        await trio.aclose_forcefully(self._stream)


class Transport:
    """Drives one connection: run :meth:`read`, :meth:`write` and :meth:`keep_alive` as tasks.

    ``peer`` is the other end. ``dispatch`` is called with each event, in the order of the wire.
    ``may_read`` is awaited before each read; it can hold back reading.
    """

    def __init__(
        self,
        connection: Connection[_Data],
        carrier: Carrier[_Data],
        limits: Limits,
        *,
        peer: Peer,
        dispatch: Callable[[ConnectionEvent], None],
        may_read: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        tap: Tap | None = None,
        log: CallLog,
    ) -> None:
        self.connection: Connection[Any] = connection
        self.limits = limits
        self.closed: Closed | None = None
        self.error: ProtocolError | None = None
        self.failure: Exception | None = None
        """What made this end fail while it read; it ends the call."""
        self._carrier: Carrier[Any] = carrier
        self._peer = peer
        self._dispatch = dispatch
        self._may_read = may_read
        self.tap = tap
        self._log = log
        self._wake = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._ended = trio.Event()
        self._over = trio.Event()
        self._written = trio.Event()
        self._writing = trio.CancelScope()
        self.heard_at = trio.current_time()
        """When data last came, on trio's clock."""
        self.cut_by: trio.CancelScope | None = None
        """Its deadline cuts the call short when a server shuts down."""
        self._holding = False
        self._cancelled = False
        self._over_at = math.inf
        self._unanswered = ""
        """Why the other end was given up, if it did not answer."""

    @property
    def ended(self) -> bool:
        """Whether no more messages can be sent."""
        return self._over.is_set() or self._written.is_set() or self.connection.ended

    async def room(self, until: float = math.inf) -> bool:
        """Wait until the outbox has room, or until that time on trio's clock; returns which.

        Raises :class:`CallEnded` once the call is over.
        """
        await trio.lowlevel.checkpoint()
        while not self.ended and self.connection.waiting >= self.limits.outbox_size:
            with trio.move_on_at(until) as waiting:
                await self._room.park()
            if waiting.cancelled_caught:
                return False
            # If it is woken and cancelled in the same turn, it must not send any more.
            await trio.lowlevel.checkpoint_if_cancelled()
        if self.ended:
            raise CallEnded(self.how_it_ended())
        return True

    @property
    def was_cut(self) -> bool:
        """Whether a server's shutdown came before the end of the connection."""
        cut_by = self.cut_by
        return cut_by is not None and cut_by.cancel_called and cut_by.deadline <= self._over_at

    def how_it_ended(self) -> str:
        """How the call ended, in one sentence; for a task that is cancelled, the call is over."""
        if not (self.ended or self.was_cut or _is_cancelled()):
            return "the call goes on"
        failed = self.error is not None or self.failure is not None
        return f"the call {'failed' if failed else 'is over'}: {self.ending()}"

    def ending(self) -> str:
        """The second half of that sentence."""
        if self.error is not None:
            return str(self.error)
        if self.failure is not None:
            # not its message, which may have a password in it
            return f"this end failed ({type(self.failure).__name__})"
        if self.was_cut:
            return "cut short by the shutdown of the server"
        if self.closed is not None and self.closed.clean:
            reason = f" ({self.closed.reason})" if self.closed.reason else ""
            return f"the other end closed with {self.closed.code}{reason}"
        why = self._unanswered or self._carrier.failure
        if self._cancelled and not why:
            return "this end was cancelled"
        if self._over.is_set() or self._written.is_set():
            return f"connection lost{why and ': '}{why}"
        return "this end closed it" if self.connection.ended else "this end was cancelled"

    def wake(self) -> None:
        """Wake the writer if there is something to write; pass what is new to the tap."""
        self.note()
        if self.connection.has_data_to_send or self._over.is_set():
            self._wake.set()
        if self.connection.ended:
            self._ended.set()

    def note(self) -> None:
        """Pass what is new to the tap."""
        if self.tap is not None:
            for sender, payload in self.connection.passed():
                self.tell(sender, payload)

    def tell(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        """Pass a payload, or what happened to the connection, to the tap."""
        if self.tap is not None:
            try:
                self.tap(sender, payload)
            except Exception as exc:
                self.tap = _failed_tap
                self._log.error("the tap failed and is not called again", exc_info=exc)

    async def over(self) -> None:
        """Wait for the end of the connection, close handshake and last write included."""
        await self._over.wait()
        await self._written.wait()

    async def read(self) -> None:
        """Read until the connection is over."""
        try:
            while not self.connection.finished:
                self._holding = True
                await self._may_read()
                self._holding = False
                self._take(await self._carrier.receive())
        except RemoteProtocolError as exc:
            self.error = exc
            self.connection.fail(exc)
        except trio.Cancelled:
            self._cancelled = True
            raise
        finally:
            self._finish()

    def _take(self, data: Any) -> None:
        """Feed the connection; events before a fault are dispatched before the fault is raised."""
        self.heard_at = trio.current_time()
        self.connection.feed(data)
        try:
            for event in self.connection.events(self.heard_at):
                if isinstance(event, Accepted):
                    self.tell(Peer.APP, TraceMoment.OPEN)
                self.note()
                if isinstance(event, Closed):
                    self.closed = event
                    if not event.clean:
                        self.tell(self._peer, TraceMoment.LOST)
                self._dispatch(event)
                if isinstance(event, Request) and not self.connection.ended:
                    self.tell(Peer.APP, TraceMoment.OPEN)
        finally:
            self.wake()

    def _finish(self) -> None:
        self._over_at = trio.current_time()
        self._over.set()
        self._room.unpark_all()
        self.wake()

    async def write(self) -> None:
        """Write what is in the outbox until the connection is over and all is written."""
        try:
            with self._writing:
                while data := await self._to_write():
                    await self._carrier.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The reader meets the same end after the last data, or keep_alive ends the call.
            self._ended.set()
        except trio.Cancelled:
            self._cancelled = True
            raise
        finally:
            self._written.set()
            self._room.unpark_all()

    async def _to_write(self) -> Any:
        """Wait for the next data to write; empty once the connection is over and all is written."""
        while True:
            self._wake = trio.Event()
            data = self.connection.data_to_send()
            self._room.unpark_all()
            if data or self._over.is_set():
                return data
            await self._wake.wait()

    async def keep_alive(self) -> None:
        """End a dead connection: by pings while it is open, after a close by a time limit.

        A paused call is legally silent, so only pings can tell. If a ping or this end's close is
        not answered, the connection is lost.
        """
        while await self._is_alive():
            pass
        if self._ended.is_set():
            with trio.move_on_after(self.limits.close_time):
                await self.over()
                return
            self._close_was_unanswered()
        else:
            self._unanswered = f"no answer to a ping within {self.limits.ping_time:g} s"
        self._writing.cancel()
        await self._written.wait()
        await self._carrier.drop()

    async def _is_alive(self) -> bool:
        """Wait for data, and send a ping if none comes; returns whether the other end is alive."""
        quiet_since = self.heard_at
        with trio.move_on_at(quiet_since + self.limits.ping_interval):
            await self._ended.wait()
            return False
        if self._ended.is_set():  # in the same turn in which the time was up
            return False
        if self.heard_at != quiet_since:
            return True
        self.connection.ping()
        self.wake()
        with trio.move_on_after(self.limits.ping_time):
            await self._ended.wait()
            return False
        # While reading is held back, no answer can be read.
        return self.heard_at != quiet_since or self._holding

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what is in the outbox; waits for the answer, up to ``close_time``."""
        self.connection.close(code, reason)
        self.wake()
        with trio.move_on_after(self.limits.close_time) as waiting:
            await self.over()
        if waiting.cancelled_caught:
            self._close_was_unanswered()

    def _close_was_unanswered(self) -> None:
        if not self._written.is_set():  # else the writer broke, and its carrier knows why
            limit = self.limits.close_time
            self._unanswered = self._unanswered or f"no answer to the close within {limit:g} s"


def _failed_tap(sender: Peer, payload: Payload | TraceMoment) -> None:
    """Replaces a tap that has failed: what passes must still be taken out of the session."""


def _is_cancelled() -> bool:
    """Whether the current task is being cancelled."""
    return trio.current_effective_deadline() == -math.inf
