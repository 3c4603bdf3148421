"""A session on another library's WebSocket: like a connection, with messages instead of bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from listenproto._app_session import AppSession
from listenproto._connection import ConnectionEvent
from listenproto._errors import ProtocolError
from listenproto._messages import Close, Payload, Peer
from listenproto._session import ABNORMAL
from listenproto._wire import Closed

__all__ = ["MessageConnection", "checked"]

BATCH: Final = 65536
"""About how many bytes, or characters of text, are taken from the outbox at a time."""


def checked(payload: object, websocket: object) -> Payload:
    """What ``receive()`` of a WebSocket has returned; raises TypeError for what is no message."""
    if isinstance(payload, str | bytes | Close):
        return payload
    returned = f"{type(websocket).__name__} returned {type(payload).__name__}"
    raise TypeError(f"receive() must return str, bytes or Close; {returned}")


class MessageConnection:
    """Joins a session and a WebSocket.

    It has the methods of an :class:`~listenproto.AppConnection`, with a list of messages in the
    place of bytes; a ``Close`` is one of them. The WebSocket's library does the rest: upgrade,
    frames, pings.
    """

    def __init__(self, session: AppSession) -> None:
        self._session = session
        self._received: deque[Payload] = deque()
        self._closed = False
        self._failed = False
        """What is still to be sent after a failure."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will be received."""
        return self._closed or self._failed

    @property
    def ended(self) -> bool:
        """Whether no more messages can be sent."""
        return self._session.ended

    @property
    def left(self) -> bool:
        """Whether this end has closed, and the other end had not closed before."""
        return self._session.left

    @property
    def waiting(self) -> int:
        """About how many bytes wait to be sent."""
        return self._session.waiting

    @property
    def no_data(self) -> list[Payload]:
        """What :meth:`data_to_send` gives if there is none."""
        return []

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` gives anything."""
        return not self._closed and self._session.has_data_to_send

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """What passed since the last call, sender and payload."""
        return self._session.passed()

    def receive(self, data: list[Payload], now: float = 0.0) -> Iterator[ConnectionEvent]:
        """Take what the WebSocket gave; iterate over what it meant.

        What is not taken from the iterator comes with the next one. It raises
        :class:`~listenproto.RemoteProtocolError` at a fault; answer that with :meth:`fail`. Raises
        TypeError for what is no list of messages; none of it is taken then.
        """
        if not isinstance(data, list):
            kind = type(data).__name__
            raise TypeError(f"pass a list of messages, each str, bytes or Close, not a {kind}")
        for payload in data:
            if not isinstance(payload, str | bytes | Close):
                kind = type(payload).__name__
                raise TypeError(f"each message must be str, bytes or Close, not {kind}")
        self._received += data
        return self._events(now)

    def connection_lost(self, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """The WebSocket is gone, without a close."""
        return self.receive([Close(ABNORMAL)], now)

    def _events(self, now: float) -> Iterator[ConnectionEvent]:
        while self._received and not self.finished:
            payload = self._received.popleft()
            if isinstance(payload, Close):
                self._closed = True
                self._session.pass_time(now)
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
        """Close with the error's code after what has been sent; nothing more is received."""
        self._failed = True
        self._session.close(error.close_code, str(error))

    def data_to_send(self) -> list[Payload]:
        """The messages to send next, and the close; empty if there are none."""
        return [] if self._closed else self._session.take(BATCH)
