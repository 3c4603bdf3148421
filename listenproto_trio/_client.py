"""The platform's end: opens the WebSocket of a listen verb and carries out the verb."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import trio

from listenproto._choices import check_texts
from listenproto._connection import ConnectionEvent, PlatformConnection
from listenproto._ends import Ending
from listenproto._errors import ProtocolError
from listenproto._handshake import SUBPROTOCOL
from listenproto._heard import Heard
from listenproto._l16 import FLICKS, SAMPLE_BYTES
from listenproto._limits import Limits
from listenproto._link import CallNote, Link, Tap
from listenproto._listen_result import ListenResult
from listenproto._logs import CallLog, about
from listenproto._messages import Peer
from listenproto._platform_session import AppMessage
from listenproto._statistics import Lateness, Statistics
from listenproto._task import ListenTask
from listenproto._upgrade import Accepted, Rejected
from listenproto._violation import Violation
from listenproto._wire import Closed, Pong
from listenproto_trio._carriers import StreamCarrier, peer_of
from listenproto_trio._connecting import connected
from listenproto_trio._driver import Driver, check_trio
from listenproto_trio._rejection import CallRejected, hint_of, refused_by, why_not

__all__ = ["AppMessage", "PlatformCall", "open_call", "open_call_on"]


class PlatformCall:
    """One call at the platform's end; see :func:`open_call`.

    It is run by ``task``, a :class:`~listenproto.ListenTask`; the methods here call the task's and
    also send the messages that result.
    """

    def __init__(
        self,
        connection: PlatformConnection,
        link: Link[bytes],
        driver: Driver,
        carrier: StreamCarrier,
        task: ListenTask,
        stream: trio.abc.Stream,
    ) -> None:
        self.task: ListenTask = task
        self.link: Link[bytes] = link
        """The connection."""
        self.stream: trio.abc.Stream = stream
        """The stream that the call runs on."""
        self.peer: str | None = peer_of(stream)
        """The address of the app, as host:port; None if it is not known."""
        self.accepted: Accepted | None = None
        """The app's answer to the upgrade request."""
        self._connection = connection
        self._driver = driver
        self._carrier = carrier
        self._pings = 0
        self._pinged_at = 0.0
        self._on_pong: Callable[[float], None] | None = None
        """What is told of the answer to the newest ping; None if it has come."""
        self.lateness: Lateness = Lateness(soonest=0.0)
        """How late the caller's steps are, in seconds; set by :func:`~listenproto_trio.talk`."""
        self.samples_dropped: int = 0
        """Captured samples of each channel that there was no room to send."""
        self.events_dropped: int = 0
        """Messages of the app that were out of place, broken, or for which there was no room."""

    @property
    def result(self) -> ListenResult | None:
        """How the listen ended; None until then."""
        return self.task.result

    @property
    def tls(self) -> bool:
        """Whether the connection has TLS."""
        return isinstance(self.stream, trio.SSLStream)

    @property
    def closed(self) -> Closed | None:
        """How the app ended the connection; None until then.

        ``clean`` is false if it did so without a close.
        """
        return self.link.closed

    @property
    def error(self) -> ProtocolError | None:
        """What the app did wrong, if that ended the connection."""
        return self.link.error

    def how_it_ended(self) -> str:
        """How the connection ended, in one sentence; :attr:`result` says it in one word."""
        return str(self.end or "the call goes on")

    @property
    def end(self) -> Ending | None:
        """How the connection ended; None until nothing more can be sent."""
        return self.link.ending() if self.link.ended else None

    @property
    def statistics(self) -> Statistics:
        """What passed so far, what was dropped, and how late the caller was."""
        return Statistics.of(
            self.task.session.received,
            self.task.session.sent,
            self.lateness,
            buffered=self.task.buffered / FLICKS,
            events_dropped=self.events_dropped,
            samples_dropped=self.samples_dropped,
        )

    async def capture(self, pcm: bytes, *, patience: float = math.inf) -> bool:
        """Send the next audio of the call, as :meth:`ListenTask.capture`; waits for room.

        If there is no room within ``patience`` seconds, the audio is dropped and counted in
        :attr:`samples_dropped`. Returns whether there was room.
        """
        link = self.link
        await trio.lowlevel.checkpoint()
        if not (link.ended or link.has_room):
            until = trio.current_time() + patience
            await self._driver.until(lambda: link.ended or link.has_room, until)
        return self.capture_now(pcm)

    def capture_now(self, pcm: bytes) -> bool:
        """As :meth:`capture`, without waiting for room."""
        link = self.link
        if link.ended:
            return True
        room = link.has_room
        if not room and self.task.sends_audio:
            self.samples_dropped += len(pcm) // (SAMPLE_BYTES * self.task.verb.channels)
        self.task.capture(pcm, lost=not room)
        self._driver.changed()
        return room

    def play(self, flicks: int) -> list[Heard]:
        """Play the next ``flicks`` to the caller, as :meth:`ListenTask.play`."""
        heard = self.task.play(flicks)
        if self._connection.has_data_to_send:
            self._driver.changed()
        return heard

    def key(self, digit: str, *, duration: int = 800) -> None:
        """Press a key, as :meth:`ListenTask.key`."""
        self.task.key(digit, duration=duration)
        self._driver.changed()

    def hang_up(self) -> None:
        """Hang up, as the caller."""
        self.task.hang_up()
        self._driver.changed()

    def _ping(self, answered: Callable[[float], None]) -> None:
        """Send a ping, unless one still waits for its answer.

        ``answered`` is called with the seconds from the ping to its answer.
        """
        if self._on_pong is None and not self.link.ended:
            self._pings += 1
            self._pinged_at, self._on_pong = trio.current_time(), answered
            self._connection.ping(b"%d" % self._pings)
            self._driver.changed()

    def _answered(self, pong: Pong) -> None:
        if self._on_pong is not None and pong.payload == b"%d" % self._pings:
            answered, self._on_pong = self._on_pong, None
            answered(trio.current_time() - self._pinged_at)

    def _lend(self) -> int | None:
        """Leave reading to :meth:`_read_now`; returns the file descriptor that says when.

        None, and nothing changes, if reading needs a task of its own, as with TLS.
        """
        if self._carrier.descriptor is not None:
            self._driver.lend(True)
        return self._carrier.descriptor

    def _read_now(self) -> bool:
        """Take what has come; returns whether more may come."""
        if (data := self._carrier.receive_now()) is not None:
            self._driver.take(data)
        return self.link.reads

    def _take_back(self) -> None:
        """Read by itself again."""
        self._driver.lend(False)

    async def over(self) -> None:
        """Wait until the connection is over, close handshake included."""
        await self._driver.over()


OnMessage: TypeAlias = Callable[[AppMessage], None]


@asynccontextmanager
async def open_call(
    task: ListenTask,
    *,
    limits: Limits | None = None,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    allow_no_subprotocol: bool | None = None,
    ssl_context: ssl.SSLContext | None = None,
    on_message: OnMessage | None = None,
    tap: Tap | None = None,
) -> AsyncIterator[PlatformCall]:
    """Open the WebSocket of ``task``'s verb, with its credentials; at the end, hang up and close.

    ``on_message`` is called with each message of the app, once it was acted on. A ``tap`` needs a
    task made with ``keep_passed=True``. If either raises, that is logged, it is not called again,
    and the call goes on. ``subprotocols`` are offered in that order; a server that names none is
    refused, unless ``allow_no_subprotocol`` is true (None leaves that to the task's profile).
    ``ssl_context`` is for a wss URL; by default certificates are checked against the system's.
    Raises OSError if the connection fails, :class:`CallRejected` if the
    server does not accept the call, and :class:`~listenproto.VerbError` for a relative URL.
    """
    check_trio("open_call()")
    _check_tap(tap, task)
    check_texts(subprotocols, "subprotocols")
    limits = limits or Limits()
    try:
        stream = await connected(task, limits, ssl_context)
    except (OSError, CallRejected, trio.Cancelled):
        task.not_connected()
        raise
    async with open_call_on(
        stream,
        task,
        limits=limits,
        subprotocols=subprotocols,
        allow_no_subprotocol=allow_no_subprotocol,
        on_message=on_message,
        tap=tap,
    ) as call:
        yield call


@asynccontextmanager
async def open_call_on(
    stream: trio.abc.Stream,
    task: ListenTask,
    *,
    limits: Limits | None = None,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    allow_no_subprotocol: bool | None = None,
    on_message: OnMessage | None = None,
    tap: Tap | None = None,
) -> AsyncIterator[PlatformCall]:
    """As :func:`open_call`, on a stream that is already open; closes the stream."""
    check_trio("open_call_on()")
    _check_tap(tap, task)
    check_texts(subprotocols, "subprotocols")
    limits = limits or Limits()
    rejected: Rejected | None = None

    def tell(message: AppMessage) -> None:
        nonlocal on_message
        if on_message is not None:
            try:
                on_message(message)
            except Exception as exc:
                on_message = None
                link.notes.append(
                    CallNote("error", "on_message failed and is not called again", exc)
                )

    def dispatch(event: ConnectionEvent) -> None:
        nonlocal rejected
        if isinstance(event, Accepted):
            call.accepted = event
        elif isinstance(event, Rejected):
            rejected = event
        elif isinstance(event, Pong):
            call._answered(event)
        elif isinstance(event, AppMessage):
            call.events_dropped += isinstance(event, Violation) and event.dropped
            tell(event)

    def log_notes() -> None:
        while link.notes:
            note = link.notes.pop(0)
            said.error(note.text, exc_info=note.error)

    connection = PlatformConnection(
        task,
        subprotocols=subprotocols,
        allow_no_subprotocol=allow_no_subprotocol,
        max_head=limits.head_size,
        max_message=limits.message_size,
    )
    path = urlsplit(task.verb.websocket_url).path or "/"
    said = CallLog(lambda: about(task.metadata, path, call.peer, is_call=call.accepted is not None))
    carrier = StreamCarrier(stream)
    now = trio.current_time()
    link = Link(connection, limits, peer=Peer.APP, dispatch=dispatch)
    link.tap = tap
    driver = Driver(link, link, carrier, after=log_notes)
    call = PlatformCall(connection, link, driver, carrier, task, stream)

    def is_answered() -> bool:
        return call.accepted is not None or rejected is not None or not link.reads

    error: Exception | None = None
    try:
        async with stream, trio.open_nursery() as nursery:
            try:
                driver.start(nursery)
                await driver.begin(is_answered, now + limits.handshake_time)
                if call.accepted is None:
                    if answered := is_answered():
                        await _close(link, driver)
                    why = why_not(link, task, rejected, answered)
                    if answered and rejected is None:
                        why += hint_of(task, carrier.front)
                    fault = link.error
                    kind = fault.clause if fault else refused_by(rejected)
                    raise CallRejected(why, rejected, kind=kind) from fault
                link.keep_alive(trio.current_time())
                yield call
            except Exception as exc:  # kept out of the nursery, which would wrap it in a group
                error = exc
            finally:
                if call.accepted is None:
                    task.not_connected()
                else:
                    task.hang_up()
                    await _close(link, driver)
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error
    finally:
        driver.let_go()
        del error  # its traceback leads here


async def _close(link: Link[bytes], driver: Driver) -> None:
    """Close after what is in the outbox, and wait for the answer."""
    link.close(1000, "", trio.current_time())
    driver.changed()
    await driver.over()


def _check_tap(tap: Tap | None, task: ListenTask) -> None:
    if tap is not None and not task.session.keeps_passed:
        raise ValueError("a tap needs a task made with keep_passed=True")
