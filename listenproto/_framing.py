"""WebSocket framing (RFC 6455) and the receive buffer, for both roles: bytes in, events out.

h11 reads and writes the HTTP heads, wsproto the frames. The receive buffer is ours, and only whole
heads, frame headers and frames leave it. So limits hold before memory is used, nothing after a head
is lost, and the same bytes give the same events in any chunks. wsproto is given text as binary (the
opcode is rewritten on the way in and out), as it cannot carry text that is not UTF-8.
"""

from __future__ import annotations

import abc
import enum
import re
from collections.abc import Iterator
from typing import ClassVar, Final, TypeAlias

import attrs
import h11
from wsproto import events as ws
from wsproto.connection import Connection, ConnectionState, ConnectionType

from listenproto._errors import LocalProtocolError, RemoteProtocolError, check_close_code
from listenproto._upgrade import Accepted, Rejected, Request

__all__ = [
    "DEFAULT_MAX_HEAD",
    "DEFAULT_MAX_MESSAGE",
    "MAX_FRAME_HEADER",
    "Closed",
    "Ping",
    "Pong",
    "Wire",
    "WireEvent",
    "WireState",
]

DEFAULT_MAX_HEAD: Final = 16384  # bytes of an HTTP head (request or response)
DEFAULT_MAX_MESSAGE: Final = 16 * 2**20  # bytes of one WebSocket message, all fragments together

_CONTINUATION, _TEXT, _BINARY, _CONTROL = 0x0, 0x1, 0x2, 0x8  # opcodes; control: 0x8 and up
_OPCODES: Final = (_CONTINUATION, _TEXT, _BINARY, 0x8, 0x9, 0xA)
MAX_FRAME_HEADER: Final = 14
# wsproto words its own parse failure as a close by the peer, but does not move its state for it.
_NO_CLOSE_CAME: Final = (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")  # as h11 reads it: a bare LF ends a line too


class WireState(enum.Enum):
    """The state of a wire; it only ever moves down this list."""

    HANDSHAKE = "handshake"  # waiting for an HTTP head
    ANSWERING = "answering"  # server: the request waits for accept() or reject()
    REJECTED = "rejected"  # client: the body of the server's refusal is being read
    OPEN = "open"
    CLOSING = "closing"  # our close frame is sent; waiting for the peer's
    FAILED = "failed"  # the peer broke the framing: only close() is allowed
    CLOSED = "closed"


@attrs.frozen
class Ping:
    """The peer's ping; the pong is in data_to_send(), unless our close is already sent."""

    payload: bytes
    """Up to 125 bytes, which the pong repeats."""


@attrs.frozen
class Pong:
    """The peer's pong, whether or not a ping was sent."""

    payload: bytes
    """The bytes of the ping that it answers."""


@attrs.frozen
class Closed:
    """The connection has ended.

    ``clean``: with a close frame; the code is 1005 if it had none. Else without one: 1006.
    """

    code: int
    """The WebSocket close code (RFC 6455, 7.4)."""
    reason: str
    """The reason in the close; empty if there is none."""
    clean: bool


WireEvent: TypeAlias = Request | Accepted | Rejected | str | bytes | Ping | Pong | Closed
"""What a wire yields; each str or bytes is one whole message, its fragments joined."""


class Wire(abc.ABC):
    """What both roles share. ``max_head`` and ``max_message`` are in bytes.

    With ``lenient_first_text`` the first message, if it is text, is decoded with surrogateescape
    instead of failing: some peers cut their first text off inside a character.
    """

    _http_role: ClassVar[type] = h11.SERVER
    _head_start: ClassVar = b""
    """What each HTTP head of the peer starts with."""
    _frame_role: ClassVar = ConnectionType.SERVER

    _first: int  # byte of the frame being received
    _masked: bool  # that frame
    _text: bool  # the message being received, not binary

    def __init__(
        self,
        *,
        max_head: int = DEFAULT_MAX_HEAD,
        max_message: int = DEFAULT_MAX_MESSAGE,
        lenient_first_text: bool = False,
    ) -> None:
        self.state = WireState.HANDSHAKE
        self._http = h11.Connection(self._http_role)
        self._frames = Connection(self._frame_role)
        self._max_head = max_head
        self._max_message = max_message
        self._lenient = lenient_first_text
        self._error: RemoteProtocolError | None = None
        self._out = bytearray()
        self._pong: ws.Pong | None = None  # the answer to the newest ping
        self._buffer = bytearray()
        self._eof = False
        self._payload = 0  # bytes of a frame whose header went to wsproto ahead of them
        self._message = bytearray()  # fragments so far
        self._fragmented = False

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent."""
        return self.state is WireState.OPEN

    @property
    def finished(self) -> bool:
        """Nothing more will come: write what is pending and close the transport."""
        return self.state is WireState.CLOSED

    @property
    def pending(self) -> int:
        """Bytes waiting in data_to_send()."""
        return len(self._out)

    @property
    def has_data_to_send(self) -> bool:
        """Whether data_to_send() would return anything."""
        return bool(self._out) or (self._pong is not None and self.is_open)

    def feed(self, data: bytes) -> None:
        """Take bytes from the transport; b"" is its end. What follows a close is ignored."""
        if self.state in (WireState.FAILED, WireState.CLOSED):
            return
        self._buffer += data
        self._eof |= not data

    def events(self) -> Iterator[WireEvent]:
        """Yield what the bytes mean; RemoteProtocolError at a fault of the peer, and ever after."""
        while (event := self._next_event()) is not None:
            yield event

    def send(self, payload: str | bytes) -> None:
        """Send one message, unfragmented (RFC 6455, 6.1); LocalProtocolError if not open.

        Surrogates that surrogateescape made of raw bytes are sent as these bytes, although the
        frame is text; LocalProtocolError for any other. TypeError for anything but str and bytes.
        """
        if not isinstance(payload, (str, bytes)):
            raise TypeError(f"a message must be str or bytes, not {type(payload).__name__}")
        self._require("send", "RFC 6455 6.1", WireState.OPEN)
        try:
            data = payload.encode(errors="surrogateescape") if isinstance(payload, str) else payload
        except UnicodeEncodeError as error:
            raise LocalProtocolError(
                f"this text cannot be sent: {error}", clause="RFC 6455 8.1"
            ) from error
        self._answer_ping()
        first = len(self._out)
        self._out += self._frames.send(ws.BytesMessage(data))
        if isinstance(payload, str):
            self._out[first] ^= _BINARY ^ _TEXT  # the mask does not cover this byte

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of at most 125 bytes (RFC 6455, 5.5.2); LocalProtocolError if not open."""
        self._require("ping", "RFC 6455 5.5.2", WireState.OPEN)
        if len(payload) > 125:
            raise LocalProtocolError("a ping carries at most 125 bytes", clause="RFC 6455 5.5")
        self._out += self._frames.send(ws.Ping(payload))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send the close frame, ``reason`` cut to 123 bytes of UTF-8 (RFC 6455, 7.1.2).

        It can also be sent after the peer broke the framing. LocalProtocolError for a second close,
        if nothing is open yet, and for codes that must not be sent (RFC 6455, 7.4).
        """
        self._require("close", "RFC 6455 5.5.1", WireState.OPEN, WireState.FAILED)
        check_close_code(code)
        reason = reason.encode(errors="replace").decode()  # wsproto cuts, but fails on surrogates
        self._out += self._frames.send(ws.CloseConnection(code, reason))
        self.state = WireState.CLOSING if self.state is WireState.OPEN else WireState.CLOSED

    def data_to_send(self) -> bytes:
        """The bytes for the transport; each is returned once."""
        self._answer_ping()
        data = bytes(self._out)
        self._out.clear()
        return data

    def _answer_ping(self) -> None:
        """Add the pong for the newest ping to what is to be sent, if it may still be sent."""
        if self._pong is not None and self.is_open:
            self._out += self._frames.send(self._pong)
        self._pong = None

    def _require(self, verb: str, clause: str, *allowed: WireState) -> None:
        if self.state not in allowed:
            states = " or ".join(state.value for state in allowed)
            message = f"{verb}() needs a wire that is {states}; this one is {self.state.value}"
            raise LocalProtocolError(message, clause=clause)

    def _fail(self, message: str, clause: str, close_code: int = 1002) -> RemoteProtocolError:
        self.state = WireState.FAILED if self.state is WireState.OPEN else WireState.CLOSED
        self._buffer.clear()
        self._error = RemoteProtocolError(message, clause=clause, close_code=close_code)
        return self._error

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _next_event(self) -> WireEvent | None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self.state is WireState.CLOSED:
            return None
        framed = self.state in (WireState.OPEN, WireState.CLOSING)
        event = self._next_frame() if framed else self._next_handshake()
        if event is None and self._eof:
            self.state = WireState.CLOSED
            return Closed(1006, "", clean=False)
        return event

    @abc.abstractmethod
    def _next_handshake(self) -> WireEvent | None: ...

    def _next_head(self) -> h11.Event | None:
        """The next whole HTTP head; h11.RemoteProtocolError, with a status, if it is not one."""
        buffer = self._buffer
        if buffer and buffer[0] <= 0x20:  # e.g. a TLS hello, which may never have a blank line
            raise h11.RemoteProtocolError(f"it starts with byte {buffer[0]:#04x}")
        if not self._head_start.startswith(bytes(buffer[: len(self._head_start)])):  # nor would SSH
            raise h11.RemoteProtocolError(f"it does not start with {self._head_start.decode()}")
        # h11 would let a long head pass that comes in one piece.
        end = _BLANK_LINE.search(buffer, endpos=self._max_head)
        if end is None:
            if len(buffer) > self._max_head:
                raise h11.RemoteProtocolError(f"its head exceeds {self._max_head} bytes", 431)
            return None
        self._http.receive_data(self._take(end.end()))
        event = self._http.next_event()
        assert isinstance(event, h11.Event)
        return event

    def _next_frame(self) -> WireEvent | None:
        while size := self._frame_size():
            event = self._give(size)
            self._payload = 0
            if isinstance(event, ws.BytesMessage):
                message = self._join(bytes(event.data), event.message_finished)
                if message is not None:
                    return message
            elif isinstance(event, ws.Ping):
                # Only the newest is answered (RFC 6455, 5.5.3): the answers to a peer that asks and
                # never reads would pile up.
                self._pong = event.response()
                return Ping(bytes(event.payload))
            elif isinstance(event, ws.Pong):
                return Pong(bytes(event.payload))
            else:
                assert isinstance(event, ws.CloseConnection)
                if self.is_open:
                    code = 1000 if event.code == 1005 else event.code
                    self._out += self._frames.send(ws.CloseConnection(code))
                self.state = WireState.CLOSED
                return Closed(int(event.code), event.reason or "", clean=True)
        return None

    def _frame_size(self) -> int:
        """How much of the buffer completes the next frame; 0 while it is not whole."""
        buffer = self._buffer
        if self._payload > 0:
            return self._payload if len(buffer) >= self._payload else 0
        if len(buffer) < 2:
            return 0
        length = buffer[1] & 0x7F
        extended = 8 if length == 127 else 2 if length == 126 else 0
        header = 2 + extended + (4 if buffer[1] & 0x80 else 0)
        if len(buffer) < header:
            return 0
        if extended:
            length = int.from_bytes(buffer[2 : 2 + extended], "big")
        self._first, self._masked = buffer[0], bool(buffer[1] & 0x80)
        opcode = self._opcode
        if opcode <= _BINARY:
            if (opcode == _CONTINUATION) is not self._fragmented:
                said = "inside another one" if self._fragmented else "without its first frame"
                raise self._fail(f"a message {said}", "RFC 6455 5.4")
            if opcode != _CONTINUATION:
                self._text = opcode == _TEXT
            if opcode == _TEXT:
                buffer[0] ^= _TEXT ^ _BINARY
        fits = opcode >= _CONTROL or len(self._message) + length <= self._max_message
        if fits and len(buffer) >= header + length:
            return header + length
        # wsproto judges the header now: its faults must not wait for a payload that may not come.
        self._give(header)
        if not fits:
            message = f"a message of more than {self._max_message} bytes"
            raise self._fail(message, "RFC 6455 7.4.1", 1009)
        self._payload = length
        return 0

    def _give(self, size: int) -> ws.Event | None:
        """What wsproto makes of the front of the buffer."""
        self._frames.receive_data(self._take(size))
        event = next(self._frames.events(), None)
        if isinstance(event, ws.CloseConnection) and self._frames.state in _NO_CLOSE_CAME:
            raise self._fail(event.reason or "a bad frame", self._broken(), int(event.code))
        return event

    @property
    def _opcode(self) -> int:
        return self._first & 0x0F

    def _broken(self) -> str:
        """The section of RFC 6455 that is broken by a frame that wsproto refuses."""
        if self._first & 0x70 or self._opcode not in _OPCODES:
            return "RFC 6455 5.2"
        if self._masked is not (self._frame_role is ConnectionType.SERVER):
            return "RFC 6455 5.1"
        return "RFC 6455 5.5" if self._opcode >= _CONTROL else "RFC 6455 5.2"

    def _join(self, data: bytes, last: bool) -> str | bytes | None:
        """The whole message, if ``data`` is the last of it."""
        if self._fragmented or not last:
            self._message += data
            self._fragmented = not last
            if not last:
                return None
            data = bytes(self._message)
            self._message.clear()
        lenient, self._lenient = self._lenient, False
        if not self._text:
            return data
        try:
            return data.decode(errors="surrogateescape" if lenient else "strict")
        except UnicodeDecodeError as error:
            fault = str(error)  # unchained: the error holds the whole message
        raise self._fail(f"a text that is not UTF-8: {fault}", "RFC 6455 8.1", 1007)
