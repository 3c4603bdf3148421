"""Speech at the pace of playout: little is sent ahead, so little is lost on an interruption.

The first piece is as long as the lead, the others are a quarter of it, each sent when there is
room. What the caller has heard of it is computed, as for everything that is streamed: a piece plays
as soon as it is sent, or after what was sent before it, until something cuts it short.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from listenproto._l16 import SAMPLE_BYTES

__all__ = ["Speech", "Spoken", "check_speech", "chunks_of"]

LEAST: Final = 0.02
"""The shortest piece that is sent before the end, in seconds."""

MOST: Final = 1.0
"""The longest piece in seconds, so that no message gets too large however long the lead is."""

ROUNDING: Final = 1e-6
"""Rounding error of the clock, in seconds: far less than a sample."""


class Speech:
    """One utterance: L16 of one channel at ``rate`` Hz, sent at most ``lead`` seconds ahead.

    With a lead of ``math.inf``, everything is sent as it comes. ``padding`` seconds of silence are
    sent behind it, more if all of it would be shorter than ``least`` seconds. Raises ValueError for
    a lead under 0.04 seconds or NaN.
    """

    def __init__(self, *, rate: int, lead: float, padding: float = 0.0, least: float = 0.0) -> None:
        if not lead >= 2 * LEAST:
            raise ValueError(f"lead must be at least {2 * LEAST:g} s; it is {lead:g}")
        self.interrupted: bool = False
        """Whether something stopped it before all of it was sent."""
        self._rate = rate
        self._lead = lead
        self._padding = padding
        self._least = least
        self._fed = 0
        """How many bytes it has, without the padding."""
        self._waiting = bytearray()
        self._complete = False
        self._sent = 0
        """How many samples were sent."""
        self._heard = 0.0
        self._playing: deque[tuple[float, float]] = deque()
        """When what was sent begins and ends to play, without what has been heard already."""

    def feed(self, pcm: bytes) -> None:
        """Add what comes next, cut anywhere; once it is finished or interrupted, nothing is."""
        if not (self._complete or self.interrupted):
            self._waiting += pcm
            self._fed += len(pcm)

    def finish(self) -> None:
        """Nothing more comes; an incomplete sample at the end is left out."""
        if self._complete or self.interrupted:
            return
        self._complete = True
        spoken = self._fed // SAMPLE_BYTES
        if self._fed % SAMPLE_BYTES:
            del self._waiting[-1:]
        if spoken:
            least = round(self._least * self._rate) - spoken
            padding = max(round(self._padding * self._rate), least)
            self._waiting += bytes(padding * SAMPLE_BYTES)

    @property
    def seconds(self) -> float:
        """How many seconds of it were sent, without the padding."""
        return min(self._sent, self._fed // SAMPLE_BYTES) / self._rate

    @property
    def left_over(self) -> int:
        """How many bytes of an incomplete sample were left out at the end."""
        return self._fed % SAMPLE_BYTES if self._complete else 0

    @property
    def wants_more(self) -> bool:
        """Whether all is sent but what is too short: feed it, or finish."""
        return not self._samples

    @property
    def over(self) -> bool:
        """Whether nothing more of it will be sent."""
        return self.interrupted or (self._complete and not self._samples)

    @property
    def _samples(self) -> int:
        """How many samples wait, if they are enough for a piece."""
        samples = len(self._waiting) // SAMPLE_BYTES
        least = 1 if self._complete else round(LEAST * self._rate)
        return samples if samples >= least else 0

    def due_in(self, ahead: float) -> float:
        """In how many seconds the next piece may be sent, with so many of playout ``ahead``.

        0 is now. Infinite if there is none to send.
        """
        if not self._samples:
            return math.inf
        piece = min(self._samples, max(self._lead / 4, LEAST) * self._rate)
        return 0.0 if piece <= self._room(ahead) else ahead + piece / self._rate - self._lead

    def _room(self, ahead: float) -> float:
        """How many samples may be sent now."""
        return (self._lead - ahead + ROUNDING) * self._rate

    def take(self, now: float, ahead: float) -> bytes:
        """Take the next piece, which is sent now."""
        samples = int(min(self._samples, self._room(ahead), MOST * self._rate))
        piece = bytes(self._waiting[: samples * SAMPLE_BYTES])
        del self._waiting[: samples * SAMPLE_BYTES]
        self._sent += samples
        while self._playing and self._playing[0][1] <= now:
            begin, end = self._playing.popleft()
            self._heard += end - begin
        self._playing.append((now + ahead, now + ahead + samples / self._rate))
        return piece

    def heard_by(self, now: float) -> float:
        """How many seconds of it the caller has heard by then, as far as this end can compute."""
        heard = self._heard + sum(max(0.0, min(now, end) - begin) for begin, end in self._playing)
        return min(heard, self.seconds)

    def is_heard(self, now: float) -> bool:
        """Whether all that was sent of it has been heard, or cut off."""
        return not self._playing or self._playing[-1][1] <= now

    def interrupt(self) -> None:
        """Send no more of it. What was sent ahead is heard all the same, unless it is cut off."""
        if not self.over:
            self.interrupted = True
            self._waiting.clear()

    def cut_off(self, now: float) -> None:
        """Nothing more is heard of what was sent: :meth:`heard_by` is final."""
        self._heard = self.heard_by(now)
        self._playing.clear()


class Spoken:
    """What became of a :meth:`HandlerCall.speak`; true if all was sent."""

    def __init__(self, speech: Speech, now: Callable[[], float]) -> None:
        self._speech = speech
        self._now = now

    @property
    def interrupted(self) -> bool:
        """Whether a killAudio or a disconnect stopped it before all was sent."""
        return self._speech.interrupted

    @property
    def seconds(self) -> float:
        """How many seconds of it were sent."""
        return self._speech.seconds

    @property
    def heard(self) -> float:
        """How many seconds of it the caller has heard by now, as far as this end can compute.

        Once something has cut it short, that is final: so much of its text the caller knows.
        """
        return self._speech.heard_by(self._now())

    def __bool__(self) -> bool:
        return not self.interrupted

    def __repr__(self) -> str:
        how = "interrupted" if self.interrupted else "sent"
        return f"<Spoken: {how}, {self.heard:.2f} of {self.seconds:.2f} s heard>"


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
