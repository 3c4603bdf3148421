"""A stream as deployed media servers play it: in frames, from buffers, with the marks inside.

What comes is joined in a *first buffer*, until there is enough of it. Then all of it is converted
to the sample rate of the call and moved to a *second buffer*; from then on less is enough. What
stays in the first buffer waits for more audio, and a killAudio does not touch it. At the end of
every 20 ms one frame is taken out of the second buffer, to be heard in the next 20 ms.

A mark has no place of its own in these buffers. It is *behind* the audio until more audio comes;
then it is *inside*, as a sample of -1 in front of that audio. The first -1 in a frame answers the
oldest mark inside, whether it was put there for a mark or is a sample of the app's. Conversion to
another rate blurs these samples, so marks inside get lost, and other samples become -1. A mark
behind the audio is answered by a frame that finds the second buffer empty, one mark a frame, unless
others are still inside.

A killAudio empties the second buffer at the next frame, and all marks come back as cleared. But of
each mark that was inside it is remembered that its -1 may still come, wherever it was: so many of
the next samples of -1 *are swallowed*. The marks that these stood for stay inside, and are answered
by the -1 of later ones. A clearMarks does the same with every mark, and sends no event.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from listenproto._l16 import FLICKS, SAMPLE_BYTES, converted, flicks_of
from listenproto._profile import Profile

__all__ = ["FRAME", "FramedStream"]

FRAME: Final = FLICKS // 50

PIECE: Final = 1024
"""In pieces of how many bytes a message is taken."""

MARKER: Final = b"\xff\xff"
"""A sample of -1."""


class FramedStream:
    """What has come of a stream and is not yet taken out in a frame, with its marks.

    Audio is L16 of one channel in whole samples: it comes at ``stream_rate`` and is taken out at
    the ``channel_rate`` of ``profile``. Marks are known by their names.
    """

    def __init__(self, *, stream_rate: int, profile: Profile) -> None:
        self._stream_rate = stream_rate
        self._channel_rate = profile.channel_rate
        self._unit = SAMPLE_BYTES * max(1, stream_rate // profile.channel_rate)
        """Bytes of the stream that are converted together."""
        self._first = bytearray()
        self._enough = self._bytes_of(profile.prebuffer)
        self._batch = self._bytes_of(profile.stream_batch)
        self._second = bytearray()
        self._behind: deque[str] = deque()
        self._inside: deque[str] = deque()
        self._swallowed = 0
        """How many of the next samples of -1 answer no mark."""

    def _bytes_of(self, seconds: float) -> int:
        """So much of the stream; media servers count in samples, as if every call had 8000 Hz."""
        return round(seconds * 8000) * self._unit

    @property
    def flicks(self) -> int:
        """How long the frames last that can be taken out."""
        return flicks_of(len(self._second) // SAMPLE_BYTES, self._channel_rate)

    @property
    def has_frame(self) -> bool:
        """Whether the next frame has audio in it, or answers a mark."""
        answers_behind = bool(self._behind) and not (self._inside or self._swallowed)
        return bool(self._second) or answers_behind

    def add(self, pcm: bytes) -> None:
        """Take a message of the stream."""
        for at in range(0, len(pcm), PIECE):
            self._take(pcm[at : at + PIECE])

    def _take(self, pcm: bytes) -> None:
        self._first += MARKER * len(self._behind) + pcm
        self._inside += self._behind
        self._behind.clear()
        if len(self._first) < self._enough:
            return
        self._enough = self._batch
        size = len(self._first) // self._unit * self._unit
        whole = bytes(self._first[:size])
        self._second += converted(whole, self._stream_rate, self._channel_rate)
        del self._first[:size]

    def add_mark(self, name: str) -> None:
        """Put a mark behind what has come of the stream."""
        self._behind.append(name)

    def clear_marks(self) -> list[str]:
        """Remove all marks; returns them."""
        self._swallowed += len(self._inside) + len(self._behind)
        return self._take_marks()

    def kill(self) -> list[str]:
        """Empty the second buffer and remove all marks; returns these."""
        self._second.clear()
        self._swallowed += len(self._inside)
        return self._take_marks()

    def flush(self) -> list[str]:
        """Drop everything; returns the marks."""
        self._first.clear()
        self._second.clear()
        return self._take_marks()

    def _take_marks(self) -> list[str]:
        marks = [*self._inside, *self._behind]
        self._inside.clear()
        self._behind.clear()
        return marks

    def next_frame(self) -> tuple[bytes, list[str]]:
        """Take out the next frame, which may be short or empty; returns it and the marks answered.

        The audio is at the rate of the call.
        """
        size = SAMPLE_BYTES * (self._channel_rate // 50)
        frame = bytes(self._second[:size])
        del self._second[:size]
        if self._inside or self._swallowed:
            return self._without_markers(frame)
        if not frame and self._behind:
            return frame, [self._behind.popleft()]
        return frame, []

    def _without_markers(self, frame: bytes) -> tuple[bytes, list[str]]:
        """The frame with its samples of -1 moved to its end, as silence, and the marks answered."""
        answered: list[str] = []
        samples = [frame[at : at + SAMPLE_BYTES] for at in range(0, len(frame), SAMPLE_BYTES)]
        kept = [sample for sample in samples if sample != MARKER]
        for _ in range(len(samples) - len(kept)):
            if self._swallowed:
                self._swallowed -= 1
            elif self._inside:
                answered.append(self._inside.popleft())
        return b"".join(kept).ljust(len(frame), b"\0"), answered
