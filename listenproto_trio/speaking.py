"""Speech at the pace of playout: little is ahead, so a barge-in has little to take back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from listenproto.l16 import SAMPLE_BYTES
from listenproto_trio.playback import Playbacks

__all__ = ["Speech", "chunks_of"]

LEAST: Final = 0.02
"""The shortest piece that is sent before the end, in seconds."""

ROUNDING: Final = 1e-6
"""What a clock may make of a moment that has come, in seconds: far less than a sample."""


class Speech:
    """Audio on its way into a stream, never more than ``lead`` seconds ahead of playout.

    With a lead of ``math.inf`` all of it goes out as it comes.

    It goes out in pieces as large as the lead allows, so the first is all of it; then a quarter at
    a time, as playout makes room. ``rate`` is in samples a second.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        playbacks: Playbacks,
        *,
        rate: int,
        lead: float,
    ) -> None:
        if not lead >= 2 * LEAST:
            raise ValueError(f"a lead of {lead:g} s is too short, it takes {2 * LEAST:g} s")
        self._send = send
        self._playbacks = playbacks
        self._rate = rate
        self._lead = lead
        self._waiting = bytearray()

    async def say(self, chunk: bytes) -> None:
        """Send what there is with this chunk; less than the shortest piece waits for the next."""
        self._waiting += chunk
        await self._send_down_to(round(LEAST * self._rate))

    async def finish(self) -> int:
        """Send the rest; gives how many bytes are left, of half a sample."""
        await self._send_down_to(1)
        return len(self._waiting)

    async def _send_down_to(self, least: int) -> None:
        while (samples := len(self._waiting) // SAMPLE_BYTES) >= least:
            await self._wait_for_room(samples / self._rate)
            room = (self._lead - self._playbacks.ahead + ROUNDING) * self._rate
            size = int(min(samples, room)) * SAMPLE_BYTES
            piece = bytes(self._waiting[:size])
            del self._waiting[:size]
            await self._send(piece)

    async def _wait_for_room(self, seconds: float) -> None:
        """Wait until a piece may be sent, of all these ``seconds`` or of a quarter of the lead."""
        piece = min(seconds, max(self._lead / 4, LEAST))
        while (too_much := self._playbacks.ahead + piece - self._lead) > ROUNDING:
            await self._playbacks.news(trio.current_time() + too_much)


@asynccontextmanager
async def chunks_of(
    speech: bytes | AsyncIterable[bytes],
) -> AsyncIterator[AsyncIterable[bytes]]:
    """The speech in chunks; a generator that was not read to its end is closed."""
    chunks = _at_once(speech) if isinstance(speech, bytes) else speech
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


async def _at_once(pcm: bytes) -> AsyncGenerator[bytes, None]:
    yield pcm
