"""What a connection runs on: a carrier brings its data in and out, and knows nothing of calls."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import trio

from listenproto_trio._failures import in_words

__all__ = ["Carrier", "StreamCarrier", "peer_of"]

READ_SIZE: Final = 4096
"""The most bytes that are handled before other tasks get a turn."""

LEAST_SIZE: Final = 256
"""So many are handled however long that takes."""

TURN: Final = 0.001
"""Seconds that handling them should take at most: bytes may be frames of two bytes each."""

READ_OUT: Final = 2**24
"""Bytes that are read of another end that does not stop: more than the buffers of a connection."""

FRONT_SIZE: Final = 60
"""How many of the first bytes are kept, to tell what kind of server it is."""

CANCEL_SAFE: tuple[type, ...] = (trio.SocketStream,)
"""The streams of which any task may receive: one that is cancelled while it does loses nothing."""

_Data = TypeVar("_Data")


class Carrier(Protocol[_Data]):
    """What a connection runs on."""

    hands_over: bool
    """Whether any task may receive, and be cancelled while it does, without losing data."""
    sends_at_once: bool
    """Whether :meth:`send_now` usually takes everything."""

    @property
    def failure(self) -> str:
        """What broke it, in words; empty if nothing did, or if the reason is not known."""

    async def receive(self) -> _Data | None:
        """Wait for data. At any kind of end, return what tells the connection about it.

        Returns None if :meth:`wake` was called meanwhile, or for no reason.
        """

    def took(self, seconds: float) -> None:
        """The data that came last took so long to handle: bring less next time, or more again."""

    def wake(self) -> None:
        """Have :meth:`receive` return at once. Only if it hands over."""

    def send_now(self, data: _Data) -> _Data:
        """Send what can be sent without waiting; returns the rest.

        Raises trio.BrokenResourceError or trio.ClosedResourceError if it cannot be sent.
        """

    async def send(self, data: _Data) -> None:
        """Raises trio.BrokenResourceError or trio.ClosedResourceError if it cannot be sent."""

    async def finish(self) -> None:
        """All has been sent: tell the other end so, and read out what it still sends."""

    async def drop(self) -> None:
        """Give up the connection at once, even in the middle of a message; does not wait."""


class StreamCarrier:
    """Bytes on a trio stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.failure = ""
        self.front = b""
        """The start of the first data that came."""
        self.read_size = READ_SIZE
        """How many bytes are received at once: less where these take too long to handle."""
        self.hands_over = isinstance(stream, CANCEL_SAFE)
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self.sends_at_once = self._socket is not None

    async def receive(self) -> bytes | None:
        if self._socket is not None:
            return await self._receive_on(self._socket)
        with trio.CancelScope() as self._receiving:
            try:
                return self._received(bytes(await self._stream.receive_some(self.read_size)))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                return self._failed(exc)
        return None

    async def _receive_on(self, socket: trio.socket.SocketType) -> bytes | None:
        """As :meth:`receive`; it takes no scope for each message, and reads only once.

        How trio waits for a socket: it may be let go without reason, and so can look again.
        """
        if (descriptor := socket.fileno()) < 0:
            return b""
        try:
            await trio.lowlevel.wait_readable(descriptor)
        except trio.ClosedResourceError:
            return b"" if socket.fileno() < 0 else None
        return self.receive_now()

    def took(self, seconds: float) -> None:
        if seconds > TURN:
            self.read_size = max(self.read_size // 2, LEAST_SIZE)
        elif self.read_size < READ_SIZE and seconds < TURN / 4:
            self.read_size *= 2

    def wake(self) -> None:
        if self._socket is None:
            self._receiving.cancel()
        elif self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)  # it stays open: they only look again

    def _received(self, data: bytes) -> bytes:
        self.front = self.front or data[:FRONT_SIZE]
        return data

    def _failed(self, error: Exception) -> bytes:
        self.failure = self.failure or in_words(error)
        return b""

    @property
    def descriptor(self) -> int | None:
        """The file descriptor of its socket; None if it has none, or has TLS."""
        return None if self._socket is None else self._socket.fileno()

    def receive_now(self) -> bytes | None:
        """As :meth:`receive`, without waiting; None if nothing has come. Needs a descriptor."""
        assert self._socket is not None
        try:
            return self._received(os.read(self._socket.fileno(), self.read_size))
        except BlockingIOError:
            return None
        except OSError as exc:
            return self._failed(exc)

    def send_now(self, data: bytes) -> bytes:
        return data if self._socket is None else data[self._write(data) :]

    def _write(self, data: bytes | memoryview) -> int:
        """Write what can be written without waiting; returns how many bytes that was."""
        assert self._socket is not None
        try:
            return os.write(self._socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            self._failed(exc)
            raise trio.BrokenResourceError from exc

    async def send(self, data: bytes) -> None:
        if self._socket is not None:
            await self._send_on(self._socket, data)
            return
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as exc:
            self._failed(exc)
            raise

    async def _send_on(self, socket: trio.socket.SocketType, data: bytes) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                try:
                    await trio.lowlevel.wait_writable(socket)
                except trio.ClosedResourceError:
                    if socket.fileno() < 0:
                        raise
                done += self._write(view[done:])

    async def finish(self) -> None:
        # To close a socket with unread data resets it, and the other end loses what it has not read
        # by then: the close, or the refusal.
        stream = self._stream
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            if isinstance(stream, trio.SSLStream):
                if isinstance(stream.transport_stream, trio.SocketStream):
                    # TLS ends both ways at once; only its socket is open for longer.
                    async with trio.SocketStream(stream.transport_stream.socket.dup()) as kept:
                        await stream.aclose()
                        await _read_out(kept)
            elif isinstance(stream, trio.abc.HalfCloseableStream):
                await _read_out(stream)

    async def drop(self) -> None:
        await trio.aclose_forcefully(self._stream)


async def _read_out(stream: trio.abc.HalfCloseableStream) -> None:
    """End what is written, and read until the other end does the same, or has sent too much."""
    await stream.send_eof()
    left = READ_OUT
    while left > 0 and (data := await stream.receive_some(65536)):
        left -= len(data)


def peer_of(stream: trio.abc.Stream | None) -> str | None:
    """The address of the other end as host:port; None if it has none."""
    if isinstance(stream, trio.SSLStream):
        return peer_of(stream.transport_stream)
    if isinstance(stream, trio.SocketStream):
        with suppress(OSError, ValueError):  # it is gone already, or not an internet socket
            address: Any = stream.socket.getpeername()
            host, port = address[:2]
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return None
