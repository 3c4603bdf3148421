"""Joins wire and session: bytes in, events out; messages in, bytes out.

It has the verbs of a session, with bytes in the place of messages: iterate over what
:meth:`Connection.receive` makes of what the network gave, send messages, and write what
:meth:`Connection.data_to_send` returns, all from one task. It has no state of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit

from listenproto._app_session import AppEvent, AppSession
from listenproto._errors import ProtocolError, RemoteProtocolError
from listenproto._handshake import SUBPROTOCOL, Accept, Reject, basic_credentials
from listenproto._messages import Close, Message, Payload, Peer
from listenproto._platform_session import PlatformEvent
from listenproto._sent import Sent
from listenproto._task import ListenTask
from listenproto._upgrade import Accepted, Rejected, Request
from listenproto._wire import (
    DEFAULT_MAX_HEAD,
    DEFAULT_MAX_MESSAGE,
    ClientWire,
    Closed,
    Ping,
    Pong,
    ServerWire,
    Wire,
    WireState,
)

__all__ = ["AppConnection", "ConnectionEvent", "PlatformConnection"]

ConnectionEvent: TypeAlias = (
    AppEvent | PlatformEvent | Request | Accepted | Rejected | Ping | Pong | Closed
)
"""What a session or a wire may give; ``Closed`` is the last event of a connection."""


class _End(Protocol):
    """What a connection needs of the session that it drives."""

    @property
    def ended(self) -> bool: ...
    @property
    def left(self) -> bool: ...
    @property
    def waiting(self) -> int: ...
    @property
    def has_data_to_send(self) -> bool: ...
    def take(self, limit: int) -> list[Payload]: ...
    def passed(self) -> Iterator[tuple[Peer, Payload]]: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def closed(
        self, code: int = 1000, reason: str = ""
    ) -> Sequence[AppEvent | PlatformEvent | Close]: ...
    def connection_lost(self) -> Sequence[AppEvent | PlatformEvent]: ...


_EndT = TypeVar("_EndT", bound=_End)

# Constants, as each message needs them, and Python 3.11 looks up members of an enum slowly.
_CLOSED: Final = WireState.CLOSED
_ENDED: Final = (WireState.FAILED, WireState.CLOSED)
_SENDING: Final = (WireState.OPEN, WireState.FAILED)


class Connection(Generic[_EndT]):
    """What both ends share; see :class:`AppConnection` and :class:`PlatformConnection`."""

    no_data: Final[bytes] = b""
    """What :meth:`data_to_send` gives if there is none."""

    def __init__(
        self,
        wire: Wire,
        end: _EndT,
        take: Callable[[str | bytes, float], Sequence[AppEvent | PlatformEvent]],
    ) -> None:
        self._wire = wire
        self._end = end
        self._take = take
        """Gives a message to the session, with the time."""
        self._error: RemoteProtocolError | None = None
        self._failed = False

    @property
    def finished(self) -> bool:
        """Whether nothing more will be received: write what is left, then close the transport."""
        wire_is_over = self._wire.state is _CLOSED
        return wire_is_over or self._error is not None or self._failed

    @property
    def ended(self) -> bool:
        """Whether no more messages can be sent."""
        return self._end.ended or self._wire.state in _ENDED

    @property
    def left(self) -> bool:
        """Whether this end has closed, and the other end had not closed before."""
        return self._end.left

    @property
    def waiting(self) -> int:
        """About how many bytes wait to be sent."""
        return self._end.waiting + self._wire.pending

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` gives anything."""
        wire = self._wire
        return wire.has_data_to_send or (wire.state in _SENDING and self._end.has_data_to_send)

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """What passed since the last call, sender and payload, if the session keeps it."""
        return self._end.passed()

    def receive(self, data: bytes, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """Take bytes from the network, ``b""`` if the peer has closed its side; iterate over what
        they meant.

        ``now`` is the time in seconds, for an :class:`AppSession`. What is not taken from the
        iterator comes with the next one. It raises :class:`RemoteProtocolError` exactly where the
        fault is, and so does each later one; answer that with :meth:`fail`. Data after a fault is
        ignored. Raises TypeError for what is not bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"pass bytes from the network, not {type(data).__name__}")
        if self._error is None:
            self._wire.feed(data)
        return self.events(now)

    def connection_lost(self, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """The network connection is gone: as :meth:`receive` with ``b""``."""
        return self.receive(b"", now)

    def events(self, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """What :meth:`receive` has taken, but not given yet.

        An app needs this if it answers the request only after the loop over :meth:`receive`: more
        may have come with it.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            while (event := self._wire.next_event()) is not None:
                if isinstance(event, (str, bytes)):
                    yield from self._take(event, now)
                elif isinstance(event, Closed):
                    self._pass_time(now)
                    if event.clean:
                        yield from self._end.closed(event.code, event.reason)
                    else:
                        yield from self._end.connection_lost()
                    yield event
                else:
                    self._on_handshake(event)
                    yield event
        except RemoteProtocolError as error:
            self._pass_time(now)
            self._error = error
            raise

    def _pass_time(self, now: float) -> None:
        """Tell a session that has a clock when its conversation ends."""

    def _on_handshake(self, event: Request | Accepted | Rejected | Ping | Pong) -> None:
        """Act on an event of the wire that the session does not see."""

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of up to 125 bytes; the answer comes as a Pong event."""
        self._wire.ping(payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what has been sent; what the peer sent before still arrives."""
        self._end.close(code, reason)

    def fail(self, error: ProtocolError) -> None:
        """Close with the error's code after what has been sent; nothing more is received."""
        self._failed = True
        self._end.close(error.close_code, str(error))

    def data_to_send(self, limit: int = 65536) -> bytes:
        """The bytes to write next, about ``limit`` of them; empty if there are none."""
        wire = self._wire
        if wire.state in _SENDING:
            for payload in self._end.take(limit):
                if isinstance(payload, Close):
                    wire.close(payload.code, payload.reason)
                    break
                wire.send(payload)
        return wire.data_to_send()


class AppConnection(Connection[AppSession]):
    """The application's end of one connection: a server.

    The first event is the :class:`~listenproto.Request`; the connection then waits for
    :meth:`answer`. ``max_head`` and ``max_message`` are the largest head of a request and the
    largest message that it takes, in bytes. ``date`` is called for the Date of the answer
    (RFC 9110, 6.6.1), as ``lambda: email.utils.formatdate(usegmt=True)``; without it, an answer has
    none.
    """

    _wire: ServerWire

    def __init__(
        self,
        session: AppSession,
        *,
        max_head: int = DEFAULT_MAX_HEAD,
        max_message: int = DEFAULT_MAX_MESSAGE,
        date: Callable[[], str] | None = None,
    ) -> None:
        wire = ServerWire(
            max_head=max_head,
            max_message=max_message,
            lenient_first_text=session.salvages_metadata,
            date=date,
        )
        super().__init__(wire, session, session.receive)
        self.session: AppSession = session
        """The session of the call."""

    def _pass_time(self, now: float) -> None:
        self.session.pass_time(now)

    def _on_handshake(self, event: Request | Accepted | Rejected | Ping | Pong) -> None:
        if isinstance(event, Request):
            self.session.request = event

    def answer(self, verdict: Accept | Reject) -> None:
        """Accept or refuse the request, as :func:`~listenproto.judge_request` decided."""
        if isinstance(verdict, Accept):
            self._wire.accept(verdict.subprotocol)
        else:
            body = verdict.reason + "\n" if verdict.page is None else verdict.page
            self._wire.reject(verdict.status, verdict.headers, body)

    def send(self, message: Message, now: float = 0.0) -> Sent | None:
        """Send a message; as :meth:`AppSession.send`."""
        return self.session.send(message, now)


class PlatformConnection(Connection[ListenTask]):
    """The platform's end of one connection: a client that carries out a listen verb.

    It requests the verb's URL with the verb's credentials (LP-HS-2, LP-HS-4), and adds ``headers``
    as they are. A server that names no subprotocol is refused, unless ``allow_no_subprotocol`` is
    true; None leaves that to the task's profile. ``subprotocols`` are those that it offers, the
    preferred one first. ``max_head`` and ``max_message`` are the largest head of an answer and the
    largest message that it takes, in bytes. Raises :class:`~listenproto.VerbError` for a
    relative URL.
    """

    def __init__(
        self,
        task: ListenTask,
        *,
        subprotocols: Sequence[str] = (SUBPROTOCOL,),
        allow_no_subprotocol: bool | None = None,
        headers: Sequence[tuple[str, str]] = (),
        max_head: int = DEFAULT_MAX_HEAD,
        max_message: int = DEFAULT_MAX_MESSAGE,
    ) -> None:
        auth = task.verb.ws_auth
        if auth is not None:
            credentials = basic_credentials(auth.username, auth.password)
            headers = [("Authorization", credentials), *headers]
        wire = ClientWire(
            urlsplit(task.verb.websocket_url).netloc,
            task.verb.target,
            subprotocols=subprotocols,
            headers=headers,
            max_head=max_head,
            max_message=max_message,
        )
        super().__init__(wire, task, lambda payload, now: task.receive(payload))
        self.task: ListenTask = task
        """The verb that is carried out."""
        if allow_no_subprotocol is None:
            allow_no_subprotocol = task.profile.accepts_no_subprotocol
        self._allow_no_subprotocol = allow_no_subprotocol
        self._offers = ", ".join(subprotocols) or "none"

    def _on_handshake(self, event: Request | Accepted | Rejected | Ping | Pong) -> None:
        if isinstance(event, Rejected):
            self.task.not_connected()
        elif isinstance(event, Accepted):
            if event.subprotocol is None and not self._allow_no_subprotocol:
                self.task.not_connected()
                raise RemoteProtocolError(
                    f"the server chose no subprotocol; this end offered {self._offers}",
                    clause="LP-HS-5",
                )
            self.task.connected()
