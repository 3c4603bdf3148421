"""Speech at the pace of playout: little is sent ahead, so little is lost on an interruption."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from listenproto._l16 import SAMPLE_BYTES
from listenproto_trio.playback import Timekeeper

__all__ = ["Speech", "check_speech", "chunks_of"]

LEAST: Final = 0.02
"""The shortest piece that is sent before the end, in seconds."""

ROUNDING: Final = 1e-6
"""Rounding error of the clock, in seconds: far less than a sample."""


class Speech:
    """Sends speech as a stream, at most ``lead`` seconds before it is played.

    The first piece is as long as the lead, the others are a quarter of it, each sent when there is
    room. With a lead of ``math.inf``, everything is sent as it comes. ``rate`` is in Hz.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        timekeeper: Timekeeper,
        *,
        rate: int,
        lead: float,
    ) -> None:
        if not lead >= 2 * LEAST:
            raise ValueError(f"lead must be at least {2 * LEAST:g} s; it is {lead:g}")
        self._send = send
        self._timekeeper = timekeeper
        self._rate = rate
        self._lead = lead
        self._waiting = bytearray()

    async def say(self, chunk: bytes) -> None:
        """Send this chunk and what waits; less than the shortest piece waits for the next chunk."""
        self._waiting += chunk
        await self._send_down_to(round(LEAST * self._rate))

    async def finish(self) -> int:
        """Send the rest; returns how many bytes of an incomplete sample are left."""
        await self._send_down_to(1)
        return len(self._waiting)

    async def _send_down_to(self, least: int) -> None:
        while (samples := len(self._waiting) // SAMPLE_BYTES) >= least:
            await self._wait_for_room(samples / self._rate)
            room = (self._lead - self._timekeeper.ahead + ROUNDING) * self._rate
            size = int(min(samples, room)) * SAMPLE_BYTES
            piece = bytes(self._waiting[:size])
            del self._waiting[:size]
            await self._send(piece)

    async def _wait_for_room(self, seconds: float) -> None:
        """Wait until a piece of a quarter of the lead, or of these ``seconds``, may be sent."""
        piece = min(seconds, max(self._lead / 4, LEAST))
        while (too_much := self._timekeeper.ahead + piece - self._lead) > ROUNDING:
            await self._timekeeper.news(trio.current_time() + too_much)


def check_speech(speech: object) -> None:
    """Raise TypeError for what is not speech, such as a bytearray or a plain generator."""
    if not isinstance(speech, bytes | AsyncIterable):
        kind = type(speech).__name__
        raise TypeError(f"speech must be bytes of L16 or an async iterable of bytes, not {kind}")


@asynccontextmanager
async def chunks_of(
    speech: bytes | AsyncIterable[bytes],
) -> AsyncIterator[AsyncIterable[bytes]]:
    """The speech in chunks; a generator is closed at the end, even if some of it was not read."""
    chunks = _at_once(speech) if isinstance(speech, bytes) else speech
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


async def _at_once(pcm: bytes) -> AsyncGenerator[bytes, None]:
    yield pcm
