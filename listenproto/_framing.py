"""WebSocket framing (RFC 6455) and the receive buffer, for both roles: bytes in, events out.

h11 reads and writes the HTTP heads, :mod:`listenproto._frames` the frames. The receive buffer is
ours, and only whole heads leave it. So limits hold before memory is used, nothing after a head is
lost, and the same bytes give the same events in any chunks.
"""

from __future__ import annotations

import abc
import enum
import re
from collections.abc import Iterator
from typing import ClassVar, Final, TypeAlias

import h11

from listenproto._errors import LocalProtocolError, RemoteProtocolError, check_close_code
from listenproto._frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Closed,
    FrameEvent,
    FrameReader,
    Ping,
    Pong,
    frame,
)
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

MAX_FRAME_HEADER: Final = 14
_ANSWERED_PINGS: Final = 64  # that wait to be sent; the oldest give way (RFC 6455, 5.5.3)
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")  # as h11 reads it: a bare LF ends a line too


class WireState(enum.Enum):
    """The state of a wire; it only ever moves down this list."""

    HANDSHAKE = "handshake"  # waiting for an HTTP head
    ANSWERING = "answering"  # server: the request waits for accept() or reject()
    REJECTED = "rejected"  # client: the body of the server's refusal is being read
    OPEN = "open"
    CLOSING = "closing"  # our close frame is sent; waiting for the peer's
    FAILED = "failed"  # the peer broke the framing: nothing more is read, send() and close() go on
    CLOSED = "closed"


WireEvent: TypeAlias = Request | Accepted | Rejected | FrameEvent
"""What a wire yields; each str or bytes is one whole message, its fragments joined."""


_OPEN: Final = WireState.OPEN  # in Python 3.11 it is slow to look it up in its class
_FRAMED: Final = (WireState.OPEN, WireState.CLOSING)
_SENDING: Final = (WireState.OPEN, WireState.FAILED)


class Wire(abc.ABC):
    """What both roles share. ``max_head`` and ``max_message`` are in bytes.

    With ``lenient_first_text`` the first message, if it is text, is decoded with surrogateescape
    instead of failing: some peers cut their first text off inside a character.
    """

    _http_role: ClassVar[type] = h11.SERVER
    _head_start: ClassVar = b""
    """What each HTTP head of the peer starts with."""

    def __init__(
        self,
        *,
        max_head: int = DEFAULT_MAX_HEAD,
        max_message: int = DEFAULT_MAX_MESSAGE,
        lenient_first_text: bool = False,
    ) -> None:
        self.state = WireState.HANDSHAKE
        self._http = h11.Connection(self._http_role)
        self._max_head = max_head
        self._max_message = max_message
        self._masks = self._http_role is h11.CLIENT  # our frames; if not, the peer masks its own
        self._frames = FrameReader(
            masked=not self._masks, max_message=max_message, lenient_first_text=lenient_first_text
        )
        self._error: RemoteProtocolError | None = None
        self._out: list[bytes] = []
        # The answers to a peer that asks and never reads must not pile up.
        self._pongs: list[bytes] = []
        self._buffer = bytearray()
        self._eof = False

    @property
    def is_open(self) -> bool:
        """Whether messages may pass both ways."""
        return self.state is _OPEN

    @property
    def finished(self) -> bool:
        """Nothing more will come: write what is pending and close the transport."""
        return self.state is WireState.CLOSED

    @property
    def pending(self) -> int:
        """Bytes waiting in data_to_send()."""
        return sum(map(len, self._out))

    @property
    def has_data_to_send(self) -> bool:
        """Whether data_to_send() would return anything."""
        return bool(self._out or self._pongs)

    def feed(self, data: bytes) -> None:
        """Take bytes from the transport; b"" is its end. What follows a close is ignored."""
        if self.state in (WireState.FAILED, WireState.CLOSED):
            return
        self._buffer += data
        self._eof |= not data

    def events(self) -> Iterator[WireEvent]:
        """Yield what the bytes mean; RemoteProtocolError at a fault of the peer, and ever after."""
        while (event := self.next_event()) is not None:
            yield event

    def send(self, payload: str | bytes) -> None:
        """Send one message, unfragmented (RFC 6455, 6.1); LocalProtocolError if neither open nor
        failed: what an end has said before it learns of a fault goes out in front of its close.

        Surrogates that surrogateescape made of raw bytes are sent as these bytes, although the
        frame is text; LocalProtocolError for any other. TypeError for anything but str and bytes.
        """
        if isinstance(payload, bytes):
            opcode, data = BINARY, payload
        elif isinstance(payload, str):
            opcode, data = TEXT, _encoded(payload)
        else:
            raise TypeError(f"a message must be str or bytes, not {type(payload).__name__}")
        if self.state is not _OPEN:
            self._require("send", "RFC 6455 6.1", *_SENDING)
        self._write(opcode, data)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of at most 125 bytes (RFC 6455, 5.5.2); LocalProtocolError if not open."""
        self._require("ping", "RFC 6455 5.5.2", WireState.OPEN)
        if len(payload) > 125:
            raise LocalProtocolError("a ping carries at most 125 bytes", clause="RFC 6455 5.5")
        self._write(PING, payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send the close frame, ``reason`` cut to 123 bytes of UTF-8 (RFC 6455, 7.1.2).

        It can also be sent after the peer broke the framing. LocalProtocolError for a second close,
        if nothing is open yet, and for codes that must not be sent (RFC 6455, 7.4).
        """
        self._require("close", "RFC 6455 5.5.1", *_SENDING)
        check_close_code(code)
        cut = reason.encode(errors="replace")[:123].decode(errors="ignore")
        self._write(CLOSE, code.to_bytes(2, "big") + cut.encode())
        self.state = WireState.CLOSING if self.state is WireState.OPEN else WireState.CLOSED

    def data_to_send(self) -> bytes:
        """The bytes for the transport; each is returned once."""
        if self._pongs:
            self._answer_pings()
        data = b"".join(self._out)  # the frame itself, if it is the only one
        self._out.clear()
        return data

    def _write(self, opcode: int, payload: bytes) -> None:
        """Add a frame to what is to be sent, behind the answers that are due."""
        if self._pongs:
            self._answer_pings()
        self._out.append(frame(opcode, payload, masked=self._masks))

    def _answer_pings(self) -> None:
        for payload in self._pongs:
            self._out.append(frame(PONG, payload, masked=self._masks))
        self._pongs.clear()

    def _require(self, verb: str, clause: str, *allowed: WireState) -> None:
        if self.state not in allowed:
            states = " or ".join(state.value for state in allowed)
            message = f"{verb}() needs a wire that is {states}; this one is {self.state.value}"
            raise LocalProtocolError(message, clause=clause)

    def _end(self, state: WireState = WireState.CLOSED) -> None:
        """Read no more, and hold nothing of what came."""
        self.state = state
        self._buffer.clear()
        self._frames.clear()

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def next_event(self) -> WireEvent | None:
        """The next of :meth:`events`; None if more must come for it."""
        if self._error is not None:
            raise self._error.with_traceback(None)
        event: WireEvent | None = None
        try:
            if self.state in _FRAMED:
                if self._buffer:
                    event = self._frames.next_plain(self._buffer)
                    if event is not None:
                        return event
                    event = self._next_frame()
            elif self.state is not WireState.CLOSED:
                event = self._next_handshake()
        except RemoteProtocolError as error:
            self._end(WireState.FAILED if self.is_open else WireState.CLOSED)
            self._error = error
            # The frames of its traceback would hold what came.
            raise error.with_traceback(None) from error.__cause__
        if event is None and self._eof and self.state is not WireState.CLOSED:
            self._end()
            self._pongs.clear()
            return Closed(1006, "", clean=False)
        return event

    def _open(self) -> None:
        """The handshake is done, and what was for it alone is no longer needed."""
        self.state = _OPEN
        del self._http

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
        event = self._frames.next(self._buffer)
        if isinstance(event, Ping):
            if self.is_open:  # nothing may be sent behind our close
                self._pongs.append(event.payload)
                del self._pongs[:-_ANSWERED_PINGS]
        elif isinstance(event, Closed):
            if self.is_open:
                code = 1000 if event.code == 1005 else event.code
                self._write(CLOSE, code.to_bytes(2, "big"))
            self._end()
        return event


def _encoded(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(
            f"this text cannot be sent: {error}", clause="RFC 6455 8.1"
        ) from error
