"""The platform's end: opens the WebSocket of a listen verb and carries out the verb."""

from __future__ import annotations

import math
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import trio

from listenproto._choices import check_texts
from listenproto._connection import ConnectionEvent, PlatformConnection
from listenproto._ends import Ending
from listenproto._errors import ProtocolError
from listenproto._handshake import SUBPROTOCOL
from listenproto._l16 import FLICKS, SAMPLE_BYTES
from listenproto._limits import Limits
from listenproto._link import CallNote, Link, Tap
from listenproto._listen_result import ListenResult
from listenproto._logs import CallLog, about
from listenproto._messages import Peer
from listenproto._platform_session import AppMessage
from listenproto._playout import Heard
from listenproto._shown import shown
from listenproto._statistics import Lateness, Statistics
from listenproto._task import ListenTask
from listenproto._upgrade import Accepted, Rejected
from listenproto._violation import Violation
from listenproto._wire import Closed
from listenproto_trio._driver import Driver, StreamCarrier
from listenproto_trio._failures import (
    check_trio,
    first,
    in_words,
    is_untrusted,
    peer_of,
    redirect_from,
)

__all__ = ["UNTRUSTED", "AppMessage", "CallRejected", "PlatformCall", "open_call", "open_call_on"]

REDIRECTS: Final = (301, 302, 303, 307, 308)
"""Answers that name another URL to call (RFC 9110, 15.4)."""

TLS_ALERT: Final = b"\x15\x03"
"""How an alert of any TLS version starts."""


_SUBPROTOCOL: Final = re.compile(rb"sub-?protocol|websocket-protocol", re.IGNORECASE)
"""What a refusal of the subprotocols offered calls them."""

UNTRUSTED: Final = "untrusted"

REMEDIES: Final = {
    "LP-HS-5": "pass a name that it knows in subprotocols, or allow_no_subprotocol=True",
    "LP-HS-18": "pass that one in subprotocols",
    UNTRUSTED: "pass an ssl_context that trusts its CA",
}
"""Which arguments of :func:`open_call` help, by the kind of a :class:`CallRejected`."""


class CallRejected(Exception):
    """The app refused the call, or the server there is not a listen app.

    ``reason`` is what is wrong, in one sentence. The message also says what helps, if an argument
    of :func:`open_call` does. ``rejected`` is the app's refusal, if it sent one. ``kind`` is the
    clause that the app broke, or that it refused the call by (LP-HS-13 for credentials, LP-HS-8 for
    subprotocols), ``"untrusted"`` if its certificate is not trusted, else None. The cause is the
    error that broke the connection or the protocol, if there was one.
    """

    def __init__(
        self, reason: str, rejected: Rejected | None = None, *, kind: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.rejected: Rejected | None = rejected
        self.kind: str | None = kind

    def __str__(self) -> str:
        return self.advised(REMEDIES)

    def advised(self, remedies: Mapping[str, str]) -> str:
        """The reason, and what helps according to ``remedies``, which are by kind."""
        remedy = remedies.get(self.kind) if self.kind else None
        return f"{self.reason.removesuffix('.')}; {remedy}" if remedy else self.reason


class PlatformCall:
    """One call at the platform's end; see :func:`open_call`.

    It is run by ``task``, a :class:`~listenproto.ListenTask`; the methods here call the task's and
    also send the messages that result.
    """

    def __init__(
        self, link: Link[bytes], driver: Driver, task: ListenTask, stream: trio.abc.Stream
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
        self._driver = driver
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
        stream = await _connected(task, limits, ssl_context)
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


async def _connected(
    task: ListenTask, limits: Limits, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Connect to the host of the verb's URL, with TLS if the URL asks for it."""
    url = urlsplit(task.verb.websocket_url)
    secure, there = url.scheme == "wss", _host_of(task)
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    lack = f"no connection to {there}", "check the address, and firewalls on the way"
    with trio.move_on_after(limits.handshake_time):
        try:
            # As bytes: Python would encode text as IDNA, and raise UnicodeError for some.
            stream: trio.abc.Stream = await trio.open_tcp_stream(host.encode(), port)
        except OSError as exc:
            attempt = first(exc.__cause__ or exc)  # of several, the first
            cause = attempt if isinstance(attempt, OSError) else exc
            raise type(cause)(f"no connection to {there}: {_plainly(cause)}") from exc
        if not secure:
            return stream
        lack = f"TLS with {there} failed: no answer", "check that it is a wss server"
        return await _secured(stream, host, there, context or ssl.create_default_context())
    raise CallRejected(f"{lack[0]} within {limits.handshake_time:g} s; {lack[1]}")


def _plainly(error: OSError) -> str:
    """Why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens there ({in_words(error)})"
    if isinstance(error, socket.gaierror):
        return f"host not found ({in_words(error)})"
    return in_words(error)


async def _secured(
    stream: trio.abc.Stream, host: str, there: str, context: ssl.SSLContext
) -> trio.abc.Stream:
    """The stream with TLS, its handshake done."""
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    async with AsyncExitStack() as failing:
        failing.push_async_callback(trio.aclose_forcefully, secured)
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as exc:
            why = in_words(exc) or "the server closed the connection during the handshake"
            kind = UNTRUSTED if is_untrusted(exc) else None
            raise CallRejected(f"TLS with {there} failed: {why}", kind=kind) from exc
        failing.pop_all()
    return secured


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
        elif isinstance(event, AppMessage):
            call.events_dropped += isinstance(event, Violation) and event.dropped
            tell(event)

    def log_notes() -> None:
        while link.notes:
            note = link.notes.popleft()
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
    call = PlatformCall(link, driver, task, stream)

    def is_answered() -> bool:
        return call.accepted is not None or rejected is not None or not link.reads

    error: Exception | None = None
    async with stream, trio.open_nursery() as nursery:
        try:
            driver.start(nursery)
            await driver.begin(is_answered, now + limits.handshake_time)
            if call.accepted is None:
                if answered := is_answered():
                    await _close(link, driver)
                why = _why_not(link, task, rejected, answered)
                if answered and rejected is None:
                    why += _hint(task, carrier.front)
                fault = link.error
                kind = fault.clause if fault else _refused_by(rejected)
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


async def _close(link: Link[bytes], driver: Driver) -> None:
    """Close after what is in the outbox, and wait for the answer."""
    link.close(1000, "", trio.current_time())
    driver.changed()
    await driver.over()


def _check_tap(tap: Tap | None, task: ListenTask) -> None:
    if tap is not None and not task.session.keeps_passed:
        raise ValueError("a tap needs a task made with keep_passed=True")


def _why_not(link: Link[bytes], task: ListenTask, rejected: Rejected | None, answered: bool) -> str:
    there = _host_of(task)
    if rejected is not None:
        where = redirect_from(task.verb.websocket_url, rejected.header("location"))
        if rejected.status in REDIRECTS and where is not None:
            return f"{there} answered {rejected.status}, a redirect: call {where} instead"
        said = rejected.body.decode(errors="replace").strip() or "no reason given"
        if rejected.status < 400:
            return f"{there} answered {rejected.status} instead of accepting the call: {said}"
        return f"{there} refused the call with {rejected.status}: {said}"
    if not answered:
        limit = link.limits.handshake_time
        return f"no answer from {there} to the upgrade request within {limit:g} s"
    return f"the call to {there} failed: {link.ending().why}"


def _refused_by(rejected: Rejected | None) -> str | None:
    """The clause by which the app refused the call, if that can be told from its answer."""
    if rejected is None:
        return None
    if rejected.status == 401:
        return "LP-HS-13"
    about_subprotocols = rejected.status == 400 and _SUBPROTOCOL.search(rejected.body)
    return "LP-HS-8" if about_subprotocols else None


def _hint(task: ListenTask, front: bytes) -> str:
    """What kind of server it may be, judging by the first bytes that it sent."""
    if front.startswith(TLS_ALERT):
        return "; it sent a TLS alert: is it a wss server?"
    if not front:  # OpenSSL disconnects at an HTTP request, without an alert
        return "; is it a wss server?" if task.verb.websocket_url.startswith("ws:") else ""
    if front[0] > 0x20 and not b"HTTP/".startswith(front[:5]):
        said = front.splitlines()[0].decode(errors="replace")
        return f"; it sent {shown(said)}"
    return ""


def _host_of(task: ListenTask) -> str:
    """The host and port of the verb's URL."""
    url = urlsplit(task.verb.websocket_url)
    return f"{url.hostname}:{url.port or (443 if url.scheme == 'wss' else 80)}"
