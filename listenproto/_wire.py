"""HTTP/1.1 upgrade and WebSocket framing (RFC 6455), one class for each role.

What both share, the frames and the buffer, is :mod:`listenproto._framing`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import h11
from wsproto.connection import ConnectionType
from wsproto.utilities import generate_accept_token, generate_nonce

from listenproto._choices import check_texts
from listenproto._errors import LocalProtocolError
from listenproto._framing import (
    DEFAULT_MAX_HEAD,
    DEFAULT_MAX_MESSAGE,
    MAX_FRAME_HEADER,
    Closed,
    Ping,
    Pong,
    Wire,
    WireEvent,
    WireState,
)
from listenproto._upgrade import Accepted, HttpHeaders, Rejected, Request

__all__ = [
    "DEFAULT_MAX_HEAD",
    "DEFAULT_MAX_MESSAGE",
    "ClientWire",
    "Closed",
    "Ping",
    "Pong",
    "ServerWire",
    "Wire",
    "WireEvent",
    "WireState",
]

Pairs: TypeAlias = Sequence[tuple[str, str]]

_TLS_HANDSHAKE: Final = b"\x16"
"""How the first record of a TLS client starts (RFC 8446, 5.1)."""


class ServerWire(Wire):
    """The server: one Request, whatever it asks for, waits for accept() or reject(); then frames.

    Anything else, and a head that is too long, is answered (400, 431) before events() raises.
    """

    _request: Request | None = None

    def accept(self, subprotocol: str | None = None, headers: Pairs = ()) -> None:
        """Answer 101 (RFC 6455, 4.2.2); frames that came early are in the next events().

        LocalProtocolError if no request waits, if it has an ``upgrade_fault`` or did not offer
        ``subprotocol``, or if the headers cannot be sent.
        """
        self._require("accept", "RFC 6455 4.2.2", WireState.ANSWERING)
        assert self._request is not None
        fault = self._request.upgrade_fault
        if fault is None and subprotocol not in (None, *self._request.subprotocols):
            fault = f"it does not offer subprotocol {subprotocol}"
        if fault is not None:
            raise LocalProtocolError(f"cannot accept this request: {fault}", clause="RFC 6455 4.2")
        answer = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", self._request.accept_token),
            *headers,
        ]
        if subprotocol is not None:
            answer.append(("Sec-WebSocket-Protocol", subprotocol))
        with _local_errors("response"):
            response = h11.InformationalResponse(
                status_code=101, headers=answer, reason="Switching Protocols"
            )
        self._out += self._http.send(response)
        self.state = WireState.OPEN

    def reject(self, status: int, headers: Pairs = (), body: str = "") -> None:
        """Answer with a final status and a text; the wire is finished then.

        Content-Type, Content-Length and Connection are added. LocalProtocolError if no request
        waits, or if the status (200 to 999) or the headers cannot be sent.
        """
        self._require("reject", "RFC 6455 4.2.2", WireState.ANSWERING)
        content = body.encode(errors="replace")
        framing = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        # A new h11 connection: if it refuses this, ours is unchanged, and it does not know the
        # request's method (HEAD, CONNECT), which would limit what may be written.
        with _local_errors("response"):
            response = h11.Response(status_code=status, headers=[*headers, *framing])
            self._out += h11.Connection(h11.SERVER).send(response)
        if self._request is None or self._request.method != "HEAD":
            self._out += content
        self.state = WireState.CLOSED

    def _next_handshake(self) -> Request | None:
        if self.state is WireState.ANSWERING:
            if len(self._buffer) > self._max_message + MAX_FRAME_HEADER:
                raise self._fail("too much data before the answer", "RFC 6455 7.4.1", 1009)
            return None
        try:
            head = self._next_head()
        except h11.RemoteProtocolError as error:
            self.state = WireState.ANSWERING
            self.reject(error.error_status_hint, body="This is not a valid HTTP request.\n")
            said = f"not a valid HTTP request: {error}"
            if self._buffer.startswith(_TLS_HANDSHAKE):
                said += " (a TLS client? this end has no TLS)"
            raise self._fail(said, "RFC 9110 15.5") from error
        if head is None:
            return None
        assert isinstance(head, h11.Request)
        headers = _decoded(head.headers)
        if head.http_version < b"1.1":  # RFC 9110, 7.8: there it is to be ignored
            headers = tuple(header for header in headers if header[0] != "upgrade")
        self._request = Request(head.target.decode(), headers, head.method.decode())
        self.state = WireState.ANSWERING
        return self._request


class ClientWire(Wire):
    """The client: sends its request at once, yields Accepted or Rejected; then frames.

    ``host`` is the Host header, port included. Whether an Accepted without a subprotocol is good
    enough is up to the caller. LocalProtocolError for what a request cannot carry; ValueError for
    subprotocols that are one text.
    """

    _http_role = h11.CLIENT
    _head_start = b"HTTP/"
    _frame_role = ConnectionType.CLIENT
    _refusal: tuple[int, HttpHeaders]
    """The status and the headers of a refusal whose body is being read."""

    def __init__(
        self,
        host: str,
        target: str = "/",
        *,
        subprotocols: Sequence[str] = (),
        headers: Pairs = (),
        max_head: int = DEFAULT_MAX_HEAD,
        max_message: int = DEFAULT_MAX_MESSAGE,
        lenient_first_text: bool = False,
    ) -> None:
        super().__init__(
            max_head=max_head, max_message=max_message, lenient_first_text=lenient_first_text
        )
        check_texts(subprotocols, "subprotocols")
        nonce = generate_nonce()
        self._accept_token = generate_accept_token(nonce).decode()
        self._offered = tuple(subprotocols)
        self._body = bytearray()
        self._body_room = max_head  # on the wire, chunk headers included
        asked = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", nonce.decode()),
            ("Sec-WebSocket-Version", "13"),
            *headers,
        ]
        if subprotocols:
            asked.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        with _local_errors("request"):
            self._out += self._http.send(h11.Request(method="GET", target=target, headers=asked))

    def _next_handshake(self) -> Accepted | Rejected | None:
        if self.state is WireState.HANDSHAKE:
            try:
                head = self._next_head()
                while isinstance(head, h11.InformationalResponse) and head.status_code != 101:
                    head = self._next_head()
            except h11.RemoteProtocolError as error:
                raise self._fail(f"not a valid HTTP response: {error}", "RFC 9112 4") from error
            if head is None:
                return None
            assert isinstance(head, h11.InformationalResponse | h11.Response)
            if head.status_code == 101:
                return self._judge(_decoded(head.headers))
            self._refusal = head.status_code, _decoded(head.headers)
            self.state = WireState.REJECTED
        return self._read_body()

    def _judge(self, headers: HttpHeaders) -> Accepted:
        """Check a 101 response (RFC 6455, 4.1)."""
        answer = Accepted(None, headers)
        chosen = answer.header("sec-websocket-protocol")
        if not answer.is_upgrade:
            raise self._fail("the 101 response does not upgrade to WebSocket", "RFC 6455 4.1")
        if answer.header("sec-websocket-accept") != self._accept_token:
            raise self._fail("Sec-WebSocket-Accept is for another key", "RFC 6455 4.1")
        if answer.header("sec-websocket-extensions"):
            raise self._fail("the server chose an extension, but none was offered", "RFC 6455 4.1")
        if chosen not in (None, *self._offered):
            offered = ", ".join(self._offered) or "none"
            message = f"the server chose subprotocol {chosen!r:.60}; this end offered {offered}"
            raise self._fail(message, "LP-HS-18")
        self.state = WireState.OPEN
        return attrs.evolve(answer, subprotocol=chosen)

    def _read_body(self) -> Rejected | None:
        data = self._take(self._body_room)
        self._body_room -= len(data)
        complete = self._eof or not self._body_room
        with contextlib.suppress(h11.RemoteProtocolError):  # the status is what counts
            if data:  # b"" would be EOF
                self._http.receive_data(data)
            while isinstance(event := self._http.next_event(), h11.Data):
                self._body += event.data
            if event is h11.NEED_DATA and not complete:
                return None
        self.state = WireState.CLOSED
        return Rejected(*self._refusal, bytes(self._body))


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> HttpHeaders:
    return tuple((name.decode(), value.decode("latin-1")) for name, value in headers)


@contextlib.contextmanager
def _local_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        message = f"this {what} cannot be sent: {error}"
        raise LocalProtocolError(message, clause="RFC 9110 5.5") from error
