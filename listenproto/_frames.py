"""WebSocket frames (RFC 6455, 5): how they are read, and how one is written.

wsproto judges what is unusual; a message in one short frame, as all audio comes, is read here. Both
give the same. wsproto is given text as binary and a close as a ping, by rewriting the opcode: it
cannot carry text that is not UTF-8, and does not know all close codes.
"""

from __future__ import annotations

import codecs
import os
import struct
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

import attrs
from wsproto import events as ws
from wsproto.connection import Connection, ConnectionType
from wsproto.frame_protocol import XorMaskerSimple

from listenproto._errors import RemoteProtocolError, is_close_code

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "Closed",
    "FrameEvent",
    "FrameReader",
    "Ping",
    "Pong",
    "frame",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_OPCODES: Final = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
_FIN: Final = 0x80
_PLAIN_BINARY: Final = _FIN | BINARY
_PLAIN: Final = (_PLAIN_BINARY, _FIN | TEXT)  # first bytes
_MASK: Final = 0x80  # in the second byte
_PIECE: Final = 65536  # bytes of a payload that wsproto gets at once, as it holds the last of them
_from_bytes: Final = int.from_bytes
_pack_short: Final = struct.Struct(">BBH").pack
_SHORT: Final = 4096  # bytes; beyond, a mask is not applied fastest as one long number


@attrs.frozen
class Ping:
    """The peer's ping; the pong is in data_to_send(), unless our close was sent before."""

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


FrameEvent: TypeAlias = str | bytes | Ping | Pong | Closed
"""What frames mean; each str or bytes is one whole message, its fragments joined."""


class FrameReader:
    """Reads the frames of a client, which are ``masked``, or of a server.

    ``max_message`` is in bytes. With ``lenient_first_text`` the first message, if it is text, is
    decoded with surrogateescape instead of failing.
    """

    _first: int  # byte of the frame being received
    _second: int
    _text: bool  # the message being received, not binary
    _as_it_comes: bool  # whether the payload being received may be wrong before it is whole

    def __init__(self, *, masked: bool, max_message: int, lenient_first_text: bool) -> None:
        self._masked = masked
        self._max_message = max_message
        self._lenient = lenient_first_text
        self._left = 0  # bytes still to come of a frame whose header wsproto has
        self._message = bytearray()  # what came of a message that is not whole
        self._fragmented = False  # whether that message goes on in another frame
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def next(self, buffer: bytearray) -> FrameEvent | None:
        """Take the next event off the front of the buffer; None if more must come for it.

        What is taken is whole headers, and payloads in pieces; of a text, all that came. So limits
        hold before memory is used, and the same bytes give the same events in any chunks. Raises
        RemoteProtocolError.
        """
        while buffer:
            header = 0
            if not self._left:
                header = self._header(buffer)
                if not header:
                    break
            most = min(self._left, _PIECE)
            part = min(most, len(buffer) - header)
            if part < most and not self._as_it_comes:
                part = 0
            size = header + part
            if not size:
                break
            self._left -= part
            event = self._judged(buffer, size)
            if isinstance(event, ws.BytesMessage):
                message = self._join(bytes(event.data), event.message_finished)
                if message is not None:
                    return message
            elif isinstance(event, ws.Ping):
                payload = bytes(event.payload)
                return _closed(payload) if self._opcode == CLOSE else Ping(payload)
            elif isinstance(event, ws.Pong):
                return Pong(bytes(event.payload))
        return None

    def clear(self) -> None:
        """Hold nothing more of what came."""
        self._message.clear()

    def next_plain(self, buffer: bytearray) -> str | bytes | None:
        """The next message, if it is one short frame, all here, with nothing unusual about it.

        If not, None: :meth:`next` reads it. wsproto would give the same, for several times the
        work.
        """
        here = len(buffer)
        if here < 2 or self._left or self._fragmented:
            return None
        masked = self._masked
        length, start = buffer[1] - _MASK if masked else buffer[1], 2
        if length == 126 and here >= 4:
            length, start = buffer[2] << 8 | buffer[3], 4
            if not 126 <= length <= _SHORT:
                return None
        elif not 0 <= length < 126:
            return None
        end = start + length + 4 if masked else start + length
        first = buffer[0]
        if here < end or length > self._max_message or first not in _PLAIN:
            return None
        payload = _xor(buffer[start:end]) if masked else bytes(buffer[start:end])
        del buffer[:end]
        if first == _PLAIN_BINARY and not self._lenient:
            return payload
        return self._whole(payload, text=first != _PLAIN_BINARY)

    def _header(self, buffer: bytearray) -> int:
        """The size of the next frame's header; 0 while it is not whole."""
        if len(buffer) < 2:
            return 0
        length = buffer[1] & 0x7F
        extended = 8 if length == 127 else 2 if length == 126 else 0
        size = 2 + extended + (4 if buffer[1] & _MASK else 0)
        if len(buffer) < size:
            return 0
        if extended:
            length = int.from_bytes(buffer[2 : 2 + extended], "big")
        self._first, self._second = buffer[0], buffer[1]
        opcode = self._opcode
        if opcode == CLOSE:
            buffer[0] ^= CLOSE ^ PING
        elif opcode <= BINARY:
            if (opcode == CONTINUATION) is not self._fragmented:
                said = "inside another one" if self._fragmented else "without its first frame"
                raise RemoteProtocolError(f"a message {said}", clause="RFC 6455 5.4")
            if opcode != CONTINUATION:
                self._text = opcode == TEXT
            if opcode == TEXT:
                buffer[0] ^= TEXT ^ BINARY
            if len(self._message) + length > self._max_message:
                self._judged(buffer, size)  # other faults of the header count first
                said = f"a message of more than {self._max_message} bytes"
                raise RemoteProtocolError(said, clause="RFC 6455 7.4.1", close_code=1009)
            self._fragmented = not self._first & _FIN
        self._left = length
        self._as_it_comes = opcode <= BINARY and self._text and not self._lenient
        return size

    @cached_property
    def _judge(self) -> Connection:
        """What judges all that is unusual; most calls need none, and it takes kilobytes."""
        return Connection(ConnectionType.SERVER if self._masked else ConnectionType.CLIENT)

    @property
    def _opcode(self) -> int:
        return self._first & 0x0F

    def _judged(self, buffer: bytearray, size: int) -> ws.Event | None:
        """What wsproto makes of the front of the buffer, which has no more than one frame."""
        judge = self._judge
        judge.receive_data(bytes(buffer[:size]))
        del buffer[:size]
        event = next(judge.events(), None)
        if isinstance(event, ws.CloseConnection):  # so wsproto words a fault that it found
            said, code = event.reason or "a bad frame", int(event.code)
            raise RemoteProtocolError(said, clause=self._broken(), close_code=code)
        return event

    def _broken(self) -> str:
        """The section of RFC 6455 that is broken by a frame that wsproto refuses."""
        if self._first & 0x70 or self._opcode not in _OPCODES:
            return "RFC 6455 5.2"
        if bool(self._second & _MASK) is not self._masked:
            return "RFC 6455 5.1"
        return "RFC 6455 5.5" if self._opcode >= CLOSE else "RFC 6455 5.2"

    def _join(self, data: bytes, last: bool) -> str | bytes | None:
        """The whole message, if ``data`` is the last of it. A text is judged as it comes."""
        if last and not self._message:
            return self._whole(data, text=self._text)
        self._message += data
        if not last:
            if self._text and not self._lenient:
                try:
                    self._utf8.decode(data)
                except UnicodeDecodeError:
                    self._whole(bytes(self._message), text=True)  # raises, with the place
            return None
        data = bytes(self._message)
        self._message.clear()
        self._utf8.reset()
        return self._whole(data, text=self._text)

    def _whole(self, data: bytes, *, text: bool) -> str | bytes:
        """A message from the bytes of all its frames."""
        lenient, self._lenient = self._lenient, False
        if not text:
            return data
        try:
            return data.decode(errors="surrogateescape" if lenient else "strict")
        except UnicodeDecodeError as error:
            said = f"a text that is not UTF-8: {error}"
        # unchained, as the error holds the whole message
        raise RemoteProtocolError(said, clause="RFC 6455 8.1", close_code=1007)


def _closed(payload: bytes) -> Closed:
    """What a close frame with this payload means (RFC 6455, 5.5.1)."""
    if not payload:
        return Closed(1005, "", clean=True)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not is_close_code(code):
        said = "half a code" if len(payload) == 1 else f"code {code}, which must not be sent"
        raise RemoteProtocolError(f"a close with {said}", clause="RFC 6455 5.5")
    try:
        return Closed(code, payload[2:].decode(), clean=True)
    except UnicodeDecodeError as error:
        said = f"a close whose reason is not UTF-8: {error}"
        raise RemoteProtocolError(said, clause="RFC 6455 5.5", close_code=1007) from error


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One whole frame; a masked one has a new mask, which nobody can foresee."""
    length = len(payload)
    first, bit = _FIN | opcode, _MASK if masked else 0
    if length < 126:
        header = bytes((first, bit | length))
    elif length < 65536:
        header = _pack_short(first, bit | 126, length)
    else:
        header = struct.pack(">BBQ", first, bit | 127, length)
    if not masked:
        return header + payload
    mask = os.urandom(4)
    return b"".join((header, mask, _xor(mask + payload)))


def _xor(data: bytes | bytearray) -> bytes:
    """The payload behind a mask, with the mask applied to it, or taken off."""
    if len(data) > _SHORT + 4:
        return bytes(XorMaskerSimple(data[:4]).process(bytearray(data[4:])))
    count = (len(data) + 3) // 4
    number = _from_bytes(data, "little")  # the mask is its low 32 bits
    number ^= (number & 0xFFFFFFFF) * _ones(count)
    return number.to_bytes(4 * count, "little")[4 : len(data)]


@lru_cache(maxsize=64)
def _ones(count: int) -> int:
    """So many numbers of 32 bits, each of them 1, as one long number."""
    return _from_bytes(b"\1\0\0\0" * count, "little")
