"""HTTP/1.1 upgrade and WebSocket framing (RFC 6455), one class for each role.

What both share, the frames and the buffer, is :mod:`listenproto._framing`.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import h11
from wsproto.utilities import generate_accept_token, generate_nonce

from listenproto._choices import check_texts
from listenproto._errors import LocalProtocolError, RemoteProtocolError
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
from listenproto._upgrade import TOKEN, Accepted, HttpHeaders, Rejected, Request

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
_BLANK_LINES: Final = re.compile(rb"(?:\r?\n)+")
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]"
    rb"|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""The value of a Host header (RFC 9110, 7.2; RFC 3986, 3.2.2)."""


class ServerWire(Wire):
    """The server: one Request, whatever it asks for, waits for accept() or reject(); then frames.

    Anything else, and a head that is too long, is answered (400, 431, 501, 505) before events()
    raises. ``date`` is called for the Date of each answer (RFC 9110, 6.6.1), such as ``"Sun, 06 Nov
    1994 08:49:37 GMT"``; without it, an answer has none.
    """

    _request: Request | None = None

    def __init__(
        self,
        *,
        max_head: int = DEFAULT_MAX_HEAD,
        max_message: int = DEFAULT_MAX_MESSAGE,
        lenient_first_text: bool = False,
        date: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(
            max_head=max_head, max_message=max_message, lenient_first_text=lenient_first_text
        )
        self._date = date

    @property
    def _dated(self) -> list[tuple[str, str]]:
        """The Date of an answer that is made now, as headers."""
        return [] if self._date is None else [("Date", self._date())]

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
            *self._dated,
            *headers,
        ]
        if subprotocol is not None:
            answer.append(("Sec-WebSocket-Protocol", subprotocol))
        with _local_errors("response"):
            response = h11.InformationalResponse(
                status_code=101, headers=answer, reason="Switching Protocols"
            )
        self._out.append(self._http.send(response))
        self._open()

    def reject(self, status: int, headers: Pairs = (), body: str = "") -> None:
        """Answer with a final status and a text; the wire is finished then.

        Content-Type, Content-Length, Connection and Date are added. LocalProtocolError if no
        request waits, or if the status (200 to 999) or the headers cannot be sent.
        """
        self._require("reject", "RFC 6455 4.2.2", WireState.ANSWERING)
        content = body.encode(errors="replace")
        framing = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
            *self._dated,
        ]
        # A new h11 connection: if it refuses this, ours is unchanged, and it does not know the
        # request's method (HEAD, CONNECT), which would limit what may be written.
        with _local_errors("response"):
            response = h11.Response(status_code=status, headers=[*headers, *framing])
            self._out.append(h11.Connection(h11.SERVER).send(response))
        if self._request is None or self._request.method != "HEAD":
            self._out.append(content)
        self._end()

    def _next_handshake(self) -> Request | None:
        if self.state is WireState.ANSWERING:
            if len(self._buffer) > self._max_message + MAX_FRAME_HEADER:
                said = "too much data before the answer"
                raise RemoteProtocolError(said, clause="RFC 6455 7.4.1", close_code=1009)
            return None
        blank = _BLANK_LINES.match(self._buffer)  # ignored in front of a request (RFC 9112, 2.2)
        if blank is not None:
            self._take(blank.end())
        if self._buffer == b"\r":
            return None  # half a blank line
        try:
            head = self._next_head()
            if isinstance(head, h11.Request):
                _check_request(head)
        except h11.RemoteProtocolError as error:
            said = f"not a valid HTTP request: {error}"
            if self._buffer.startswith(_TLS_HANDSHAKE):
                said += " (a TLS client? this end has no TLS)"
            self.state = WireState.ANSWERING
            self.reject(error.error_status_hint, body="This is not a valid HTTP request.\n")
            raise RemoteProtocolError(said, clause="RFC 9110 15.5") from error
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
    _head_start = b"HTTP/1."
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
        _check_offers(subprotocols)
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
            self._out.append(
                self._http.send(h11.Request(method="GET", target=target, headers=asked))
            )

    def _next_handshake(self) -> Accepted | Rejected | None:
        if self.state is WireState.HANDSHAKE:
            try:
                head = self._next_head()
                while isinstance(head, h11.InformationalResponse) and head.status_code != 101:
                    head = self._next_head()
            except h11.RemoteProtocolError as error:
                said = f"not a valid HTTP response: {error}"
                raise RemoteProtocolError(said, clause="RFC 9112 4") from error
            if head is None:
                return None
            assert isinstance(head, h11.InformationalResponse | h11.Response)
            if head.status_code == 101:
                return self._judge(_decoded(head.headers), head.http_version)
            self._refusal = head.status_code, _decoded(head.headers)
            self.state = WireState.REJECTED
        return self._read_body()

    def _judge(self, headers: HttpHeaders, version: bytes) -> Accepted:
        """Check a 101 response (RFC 6455, 4.1)."""
        answer = Accepted(None, headers)
        chosen = answer.header("sec-websocket-protocol")
        fault = None
        if version == b"1.0":  # which knows no upgrade (RFC 9110, 7.8)
            fault = "the 101 response is HTTP/1.0, not HTTP/1.1"
        elif not answer.is_upgrade:
            fault = "the 101 response must switch to WebSocket and to nothing else"
        elif answer.header("sec-websocket-accept") != self._accept_token:
            fault = "Sec-WebSocket-Accept is for another key"
        elif answer.header("sec-websocket-extensions") is not None:
            fault = "the server chose an extension, but none was offered"
        if fault is not None:
            raise RemoteProtocolError(fault, clause="RFC 6455 4.1")
        if chosen not in (None, *self._offered):
            offered = ", ".join(self._offered) or "none"
            message = f"the server chose subprotocol {chosen!r:.60}; this end offered {offered}"
            raise RemoteProtocolError(message, clause="LP-HS-18")
        self._open()
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
        self._end()
        return Rejected(*self._refusal, bytes(self._body))


def _check_request(head: h11.Request) -> None:
    """Raise h11.RemoteProtocolError, with a status, for what h11 does not look at."""
    if not head.http_version.startswith(b"1."):
        version = head.http_version.decode()
        raise h11.RemoteProtocolError(f"its HTTP version is {version}, not 1.1", 505)
    hosts = [value for name, value in head.headers if name == b"host"]
    if not hosts and head.http_version > b"1.0":
        raise h11.RemoteProtocolError("it has no Host")
    if not all(map(_HOST.fullmatch, hosts)):
        raise h11.RemoteProtocolError("its Host is not a host name or address with a port")


def _check_offers(subprotocols: Sequence[str]) -> None:
    """Raise LocalProtocolError for subprotocols that must not be offered (RFC 6455, 4.1)."""
    wrong = next((name for name in subprotocols if not TOKEN.fullmatch(name)), None)
    if wrong is not None:
        message = f"{wrong!r:.60} cannot be a subprotocol; use letters, digits and !#$%&'*+-.^_`|~"
        raise LocalProtocolError(message, clause="RFC 6455 4.1")
    if len(set(subprotocols)) < len(subprotocols):
        raise LocalProtocolError("a subprotocol is offered twice", clause="RFC 6455 4.1")


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> HttpHeaders:
    # Names are the same in all calls, and one of each is enough.
    return tuple((sys.intern(name.decode()), value.decode("latin-1")) for name, value in headers)


@contextlib.contextmanager
def _local_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        message = f"this {what} cannot be sent: {error}"
        raise LocalProtocolError(message, clause="RFC 9110 5.5") from error
