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
from listenproto._playout import Heard, Playout, PlayoutEnd, PlayoutFate, PlayoutMark, Sound
from listenproto._profile import Profile

__all__ = ["FramedPlayout", "playout_for"]

FRAME: Final = FLICKS // 50

PIECE: Final = 1024
"""In pieces of how many bytes a message is taken."""

MARKER: Final = b"\xff\xff"
"""A sample of -1."""


def playout_for(profile: Profile, *, stream_rate: int, max_seconds: float) -> Playout:
    """What plays a stream to the caller on a platform of that profile."""
    kind = FramedPlayout if profile.frames_streams else Playout
    return kind(stream_rate=stream_rate, profile=profile, max_seconds=max_seconds)


class FramedPlayout(Playout):
    """The same as :class:`Playout`, for a stream alone: no clips are added."""

    def __init__(self, *, stream_rate: int, profile: Profile, max_seconds: float) -> None:
        super().__init__(stream_rate=stream_rate, profile=profile, max_seconds=max_seconds)
        self._channel_rate = profile.channel_rate
        self._unit = SAMPLE_BYTES * max(1, stream_rate // profile.channel_rate)
        """Bytes of the stream that are converted together."""
        self._first = bytearray()
        self._enough = self._bytes_of(profile.prebuffer)
        self._batch = self._bytes_of(profile.stream_batch)
        self._second = bytearray()
        self._behind: deque[PlayoutMark] = deque()
        self._inside: deque[PlayoutMark] = deque()
        self._swallowed = 0
        """How many of the next samples of -1 answer no mark."""
        self._is_killed = False
        """Whether a killAudio waits for the next frame."""

    def _bytes_of(self, seconds: float) -> int:
        """So much of the stream; media servers count in samples, as if every call had 8000 Hz."""
        return round(seconds * 8000) * self._unit

    @property
    def buffered(self) -> int:
        """How much the caller still has to hear, in flicks, unless more audio comes."""
        samples = len(self._second) // SAMPLE_BYTES
        return self._buffered + flicks_of(samples, self._channel_rate)

    def add_stream(self, pcm: bytes) -> bool:
        """Put a message of the stream after what is buffered; it may be cut anywhere (LP-AUD-3).

        Returns False if there is no room for it, and it is refused.
        """
        whole = self._aligner.whole(pcm)
        if not self.has_room(flicks_of(len(whole) // SAMPLE_BYTES, self._stream_rate)):
            return False
        for at in range(0, len(whole), PIECE):
            self._take(whole[at : at + PIECE])
        return True

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

    def add_mark(self, name: str) -> list[PlayoutEnd]:
        """Put a mark after what has come of the stream."""
        self._behind.append(PlayoutMark(name))
        return []

    def clear_marks(self) -> list[PlayoutEnd]:
        """Remove all marks (LP-MARK-15)."""
        self._swallowed += len(self._inside) + len(self._behind)
        return self._end_marks(PlayoutFate.FORGOTTEN)

    def kill(self) -> list[PlayoutEnd]:
        """Empty the second buffer at the next frame."""
        self._is_killed = True
        return []

    def flush(self) -> list[PlayoutEnd]:
        """The listen is over: drop everything, and tell the app nothing (LP-END-4)."""
        self._is_killed = False
        self._first.clear()
        self._second.clear()
        return super().flush() + self._end_marks(PlayoutFate.FLUSHED)

    def _end_marks(self, fate: PlayoutFate) -> list[PlayoutEnd]:
        over = [PlayoutEnd(mark, fate, self.now) for mark in (*self._inside, *self._behind)]
        self._inside.clear()
        self._behind.clear()
        return over

    def play(self, flicks: int) -> list[Heard | PlayoutEnd]:
        """Let media time pass; returns what is heard and what is over, in order."""
        end = self.now + flicks
        items: list[Heard | PlayoutEnd] = []
        while self._second or self._is_killed or self._answers_behind:
            at = (self.now // FRAME + 1) * FRAME
            if at > end:
                break
            items += super().play(at - self.now)
            items += self._frame()
        return items + super().play(end - self.now)

    @property
    def _answers_behind(self) -> bool:
        """Whether a frame that finds nothing to play answers a mark behind the audio."""
        return bool(self._behind) and not (self._inside or self._swallowed)

    def _frame(self) -> list[PlayoutEnd]:
        """Take the next frame out of the second buffer; returns which marks are over."""
        if self._is_killed:
            self._is_killed = False
            self._second.clear()
            self._swallowed += len(self._inside)
            return self._drop_all() + self._end_marks(PlayoutFate.KILLED)
        size = SAMPLE_BYTES * (self._channel_rate // 50)
        frame = bytes(self._second[:size])
        del self._second[:size]
        over: list[PlayoutEnd] = []
        if self._inside or self._swallowed:
            frame, over = self._without_markers(frame)
        elif not frame and self._behind:
            over = [PlayoutEnd(self._behind.popleft(), PlayoutFate.PLAYED, self.now)]
        if frame:
            self._append(Sound(frame, self._channel_rate))
        if over:
            self._note_told()
        return over

    def _without_markers(self, frame: bytes) -> tuple[bytes, list[PlayoutEnd]]:
        """The frame with its samples of -1 moved to its end, as silence, and the marks answered."""
        over: list[PlayoutEnd] = []
        samples = [frame[at : at + SAMPLE_BYTES] for at in range(0, len(frame), SAMPLE_BYTES)]
        kept = [sample for sample in samples if sample != MARKER]
        for _ in range(len(samples) - len(kept)):
            if self._swallowed:
                self._swallowed -= 1
            elif self._inside:
                over.append(PlayoutEnd(self._inside.popleft(), PlayoutFate.PLAYED, self.now))
        return b"".join(kept).ljust(len(frame), b"\0"), over
