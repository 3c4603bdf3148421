"""A call on another library's WebSocket: whole messages instead of bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

import trio
import trio_websocket

from listenproto._app_session import AppSession
from listenproto._connection import ConnectionEvent
from listenproto._errors import ProtocolError
from listenproto._messages import Close, Payload, Peer
from listenproto._session import ABNORMAL
from listenproto._wire import Closed
from listenproto_trio.failures import in_words

__all__ = ["MessageCarrier", "MessageConnection", "TrioWebSocket", "WebSocket"]

BATCH: Final = 65536
"""About how many bytes, or characters of text, are taken from the outbox at a time."""


class WebSocket(Protocol):
    """A WebSocket that another library has accepted: the methods that :meth:`Call.over` needs.

    Each method is called by one task at a time, but the three may run at the same time.
    """

    async def receive(self) -> Payload:
        """Return the next message, or a ``Close``. If cancelled, it must not lose a message.

        If the connection is lost without a close, return a ``Close`` with code 1006 or raise
        trio.BrokenResourceError or trio.ClosedResourceError.
        """

    async def send(self, payload: str | bytes) -> None:
        """Send a message. It is cancelled only when the connection is given up.

        Raises trio.BrokenResourceError or trio.ClosedResourceError if it cannot be sent.
        """

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait for the answer. Called once; nothing is sent after it.

        If cancelled, it must drop the connection at once, even in the middle of a message, as
        trio's ``aclose`` methods do; nothing may be received after that.
        """


class MessageConnection:
    """Joins a session and a WebSocket: like a connection, with messages instead of bytes."""

    def __init__(self, session: AppSession) -> None:
        self._session = session
        self._received: deque[Payload] = deque()
        self._closed = False
        self._last: list[Payload] | None = None
        """What is still to be sent after a failure."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will be received."""
        return self._closed or self._last is not None

    @property
    def ended(self) -> bool:
        """Whether no more messages can be sent."""
        return self._session.ended

    @property
    def waiting(self) -> int:
        """About how many bytes wait to be sent."""
        return self._session.waiting

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` gives anything."""
        if self._last is not None:
            return bool(self._last)
        return not self._closed and self._session.has_outgoing

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """What passed since the last call, sender and payload."""
        return self._session.passed()

    def feed(self, data: list[Payload]) -> None:
        """Take what the WebSocket gave."""
        self._received += data

    def events(self, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """The events of the messages; :class:`~listenproto.RemoteProtocolError` at a fault."""
        while self._received and not self.finished:
            payload = self._received.popleft()
            if isinstance(payload, Close):
                self._closed = True
                yield from self._session.closed(payload.code, payload.reason)
                yield Closed(payload.code, payload.reason, clean=payload.code != ABNORMAL)
            else:
                yield from self._session.receive(payload, now)

    def ping(self) -> None:
        """Do nothing: the WebSocket's library sends pings."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, after what has been sent."""
        self._session.close(code, reason)

    def fail(self, error: ProtocolError) -> None:
        """Close at once with the error's code; what waits to be sent is dropped."""
        self._session.close(error.close_code, str(error))
        self._last = [one for one in self._session.outgoing() if isinstance(one, Close)]

    def data_to_send(self) -> list[Payload]:
        """The messages to send next, and the close; empty if there are none."""
        data: list[Payload] = []
        if self._last is not None:
            data, self._last = self._last, []
        elif not self._closed:
            size = 0
            for payload in self._session.outgoing():
                data.append(payload)
                size += 0 if isinstance(payload, Close) else len(payload)
                if size >= BATCH:
                    break
        return data


class MessageCarrier:
    """Sends and receives messages on another library's WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self.failure = ""
        self._websocket = websocket
        self._closed = False
        """Whether it is closed or being closed: that is done once, and cancelling it drops it."""

    async def receive(self) -> list[Payload]:
        payload: Payload = Close(ABNORMAL)
        try:
            payload = await self._websocket.receive()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self.failure = in_words(exc)
        self._closed = self._closed or isinstance(payload, Close)
        return [payload]

    async def send(self, data: list[Payload]) -> None:
        for payload in data:
            if isinstance(payload, Close):
                self._closed = True
                await self._websocket.close(payload.code, payload.reason)
            else:
                await self._websocket.send(payload)

    async def drop(self) -> None:
        if not self._closed:
            self._closed = True
            with trio.CancelScope() as at_once:
                at_once.cancel()
                await self._websocket.close(1001, "")


class TrioWebSocket:
    """trio-websocket's WebSocket, for :meth:`Call.over`.

    It cannot say whether our own close was answered before the connection was lost.
    """

    def __init__(self, websocket: trio_websocket.WebSocketConnection) -> None:
        self._websocket = websocket
        self._closing: trio.Event | None = None

    async def receive(self) -> Payload:
        try:
            return await self._websocket.get_message()
        except trio_websocket.ConnectionClosed:
            if self._closing is not None:  # until then, ``closed`` is our own close
                await self._closing.wait()
        how = self._websocket.closed
        return Close(ABNORMAL) if how is None else Close(how.code, how.reason or "")

    async def send(self, payload: str | bytes) -> None:
        try:
            await self._websocket.send_message(payload)
        except trio_websocket.ConnectionClosed as exc:
            raise trio.BrokenResourceError from exc

    async def close(self, code: int, reason: str) -> None:
        closing = self._closing = trio.Event()
        try:
            await self._websocket.aclose(code, reason)
        finally:
            closing.set()
