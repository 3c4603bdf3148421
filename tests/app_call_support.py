"""The platform's side of a call without IO, over bytes and over messages; time is a number."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

from listenproto import (
    SUBPROTOCOL,
    Answering,
    AppCall,
    CallEvent,
    Close,
    Closed,
    Payload,
    Ping,
)
from listenproto._session import ABNORMAL
from listenproto._wire import ClientWire, WireEvent
from tests.wire_support import cut

__all__ = [
    "RATE",
    "SIDES",
    "OverBytes",
    "OverMessages",
    "Side",
    "answering",
    "done",
    "mark_event",
    "pcm",
    "read",
]

RATE: Final = 8000


def pcm(seconds: float, value: int = 0) -> bytes:
    """L16 at 8000 Hz, each sample the same."""
    return value.to_bytes(2, "little") * round(seconds * RATE)


def answering(mode: str = "streaming", **options: Any) -> Answering:
    """How a call is answered."""
    return Answering(mode=mode, **options)


def mark_event(name: str, event: str = "playout") -> str:
    return json.dumps({"type": "mark", "data": {"name": name, "event": event}})


def done(name: str, **figures: object) -> str:
    """A playDone with an id."""
    return json.dumps({"type": "playDone", "data": {"id": name} | figures})


def read(call: AppCall[Any], now: float = 0.0) -> list[CallEvent]:
    """All events that wait to be read."""
    events = []
    while (event := call.next_event(now)) is not None:
        events.append(event)
    return events


class Side(ABC):
    """A call, and the platform's side of its connection.

    With ``metadata``, the WebSocket is open and the metadata has come at the time ``now``.
    """

    call: AppCall[Any]
    answers = True
    """Whether closes, and pings, are answered."""

    def __init__(
        self,
        how: Answering | None = None,
        *,
        now: float = 0.0,
        metadata: str | None = "{}",
        **options: Any,
    ) -> None:
        self.call = self.begin(how or answering(), now=now, **options)
        self.open(now)
        if metadata is not None:
            self.say(metadata, now=now)

    @abstractmethod
    def begin(self, how: Answering, *, now: float, **options: Any) -> AppCall[Any]:
        """Make the call."""

    @abstractmethod
    def open(self, now: float) -> None:
        """Open the WebSocket."""

    @abstractmethod
    def say(self, *payloads: Payload, now: float, cuts: Iterable[int] = ()) -> None:
        """Send something, in pieces cut at these places."""

    @abstractmethod
    def hear(self, now: float) -> list[Payload]:
        """Take all that the call sends; the WebSocket answers a close by itself."""

    @abstractmethod
    def vanish(self, now: float) -> None:
        """Break the connection without a close."""


class OverBytes(Side):
    """A WebSocket client that has nothing of its own to say."""

    def begin(self, how: Answering, *, now: float, **options: Any) -> AppCall[Any]:
        return AppCall(how, now=now, **options)

    def open(self, now: float) -> None:
        self.wire = ClientWire("app.example", subprotocols=[SUBPROTOCOL])
        self.events: list[WireEvent] = []
        """What came of pings and of the handshake."""
        self.call.receive(self.wire.data_to_send(), now)
        self.hear(now)

    def say(self, *payloads: Payload, now: float, cuts: Iterable[int] = ()) -> None:
        for payload in payloads:
            if isinstance(payload, Close):
                self.wire.close(payload.code, payload.reason)
            else:
                self.wire.send(payload)
        for chunk in cut(self.wire.data_to_send(), cuts):
            self.call.receive(chunk, now)

    def hear(self, now: float) -> list[Payload]:
        heard: list[Payload] = []
        while data := self.call.data_to_send(now):
            self.wire.feed(data)
            for event in self.wire.events():
                if isinstance(event, Closed):
                    heard.append(Close(event.code, event.reason))
                elif isinstance(event, str | bytes):
                    heard.append(event)
                else:
                    self.events.append(event)
            if self.answers and (answer := self.wire.data_to_send()):
                self.call.receive(answer, now)
        return heard

    def vanish(self, now: float) -> None:
        self.call.receive(b"", now)

    def pinged(self) -> int:
        """How many pings have come since the last call."""
        pings = [event for event in self.events if isinstance(event, Ping)]
        self.events.clear()
        return len(pings)


class OverMessages(Side):
    """Another library's WebSocket."""

    def begin(self, how: Answering, *, now: float, **options: Any) -> AppCall[Any]:
        return AppCall(how, now=now, over_messages=True, **options)

    def open(self, now: float) -> None:
        self.closed = False

    def say(self, *payloads: Payload, now: float, cuts: Iterable[int] = ()) -> None:
        self.closed = self.closed or any(isinstance(one, Close) for one in payloads)
        edges = [0, *sorted({place % (len(payloads) + 1) for place in cuts}), len(payloads)]
        for start, end in pairwise(edges):
            self.call.receive([*payloads[start:end]], now)

    def hear(self, now: float) -> list[Payload]:
        heard: list[Payload] = []
        while data := self.call.data_to_send(now):
            heard += data
            for payload in data:
                if isinstance(payload, Close) and self.answers and not self.closed:
                    self.say(Close(payload.code), now=now)
        return heard

    def vanish(self, now: float) -> None:
        self.call.receive([Close(ABNORMAL)], now)


SIDES: Final = [OverBytes, OverMessages]
