"""Calls as tests make them, on any runtime."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import anyio

from listenproto import (
    Answering,
    BidirectionalAudio,
    Close,
    Limits,
    ListenVerb,
    Payload,
    PlayAudio,
    UnknownMessage,
)
from listenproto._l16 import SAMPLE_BYTES

RATE: Final = 8000
CALL_SID: Final = "call-1"
ATTRIBUTES: Final = {"callSid": CALL_SID, "from": "+15550100", "direction": "inbound"}

CLIPS: Final = ListenVerb(url="ws://app.example/", pass_dtmf=True)
STREAM: Final = ListenVerb(
    url="ws://app.example/",
    pass_dtmf=True,
    bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=RATE),
)

FILLER: Final = UnknownMessage({"type": "filler", "text": "." * 200})
PROBE: Final = UnknownMessage({"type": "probe"})


def audio(seconds: float, level: int = 1000) -> bytes:
    """So many seconds of one sample value, one channel at 8000 samples a second."""
    return level.to_bytes(SAMPLE_BYTES, "little", signed=True) * round(seconds * RATE)


def clip(seconds: float, **options: Any) -> PlayAudio:
    return PlayAudio(audio(seconds), sample_rate=RATE, **options)


def small_outbox(verb: ListenVerb, size: int = 1000) -> Answering:
    return Answering(mode=verb.mode(), limits=Limits(outbox_size=size))


class News:
    """Wakes all who wait for a change."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def tell(self) -> None:
        self._event.set()
        self._event = anyio.Event()

    async def until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            await self._event.wait()


DROPPED: Final = "dropped"


class Pipe:
    """A WebSocket of which a test is the other end."""

    lost: Callable[[], Exception] = ConnectionResetError
    """What is raised if the connection is lost."""

    def __init__(self, *coming: Payload, answers: bool = True) -> None:
        self.sent: list[Payload] = []
        self.broken = False
        self._coming: deque[Payload | Exception] = deque(coming)
        self._news = News()
        self._answers = answers
        self._busy = False

    def come(self, payload: Payload | Exception) -> None:
        """Have that received; an exception is raised."""
        self._coming.append(payload)
        self._news.tell()

    def lose(self) -> None:
        """Lose the connection, behind all that has come."""
        self.come(self.lost())

    async def receive(self) -> Payload:
        await self._news.until(lambda: bool(self._coming))
        payload = self._coming.popleft()
        if isinstance(payload, Exception):
            try:
                raise payload
            finally:
                del payload  # its traceback leads here
        return payload

    async def send(self, payload: str | bytes) -> None:
        await self._write(payload)

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._write(Close(code, reason))
            if not self._answers:
                await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.sent.append(DROPPED)
            raise
        self.come(Close(code))

    async def _write(self, payload: Payload) -> None:
        assert not self._busy, "one writer owns the WebSocket"
        self._busy = True
        try:
            await anyio.sleep(0.1)
        finally:
            self._busy = False
        if self.broken:
            raise self.lost()
        self.sent.append(payload)
