"""Another library's WebSocket under a call: whole messages instead of bytes."""

from __future__ import annotations

from typing import Protocol

import trio
import trio_websocket

from listenproto._message_connection import checked
from listenproto._messages import Close, Payload
from listenproto._session import ABNORMAL
from listenproto_trio._failures import in_words

__all__ = ["MessageCarrier", "TrioWebSocket", "WebSocket"]


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

        Raises trio.BrokenResourceError or trio.ClosedResourceError if the connection is lost.
        If cancelled, it must drop the connection at once, even in the middle of a message, as
        trio's ``aclose`` methods do; nothing may be received after that.
        """


class MessageCarrier:
    """Sends and receives messages on another library's WebSocket."""

    hands_over = False
    sends_at_once = False

    def __init__(self, websocket: WebSocket) -> None:
        self.failure = ""
        self._websocket = websocket
        self._closed = False
        """Whether it is closed or being closed: that is done once, and cancelling it drops it."""

    async def receive(self) -> list[Payload]:
        payload: Payload = Close(ABNORMAL)
        try:
            payload = checked(await self._websocket.receive(), self._websocket)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self.failure = in_words(exc)
        self._closed = self._closed or isinstance(payload, Close)
        return [payload]

    def wake(self) -> None:
        raise NotImplementedError  # it does not hand over

    def took(self, seconds: float) -> None:
        """It receives one message at a time anyway."""

    def send_now(self, data: list[Payload]) -> list[Payload]:
        return data

    async def send(self, data: list[Payload]) -> None:
        try:
            for payload in data:
                if isinstance(payload, Close):
                    self._closed = True
                    await self._websocket.close(payload.code, payload.reason)
                else:
                    await self._websocket.send(payload)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self.failure = self.failure or in_words(exc)
            raise

    async def finish(self) -> None:
        """Nothing is left to do: closing it is up to the other library."""

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
        """Return the next message, or the close."""
        try:
            return await self._websocket.get_message()
        except trio_websocket.ConnectionClosed:
            if self._closing is not None:  # until then, ``closed`` is our own close
                await self._closing.wait()
        how = self._websocket.closed
        return Close(ABNORMAL) if how is None else Close(how.code, how.reason or "")

    async def send(self, payload: str | bytes) -> None:
        """Send a message."""
        try:
            await self._websocket.send_message(payload)
        except trio_websocket.ConnectionClosed:
            raise trio.BrokenResourceError from None  # its text is no sentence

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait for the answer."""
        closing = self._closing = trio.Event()
        try:
            await self._websocket.aclose(code, reason)
        finally:
            closing.set()
