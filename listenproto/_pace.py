"""Checks that the platform plays as fast as this end expects.

The sample rate of the app's stream is not on the wire. An app that sends at another rate than the
verb's can see that only from when its marks come back, and for a clip from when its playDone does.
Two clocks are used: this end's own, and the platform's audio as it comes. Either alone can mislead:
a test's caller may run faster than real time, an app that does not read sees everything late, a
pause stops the audio. Only what both show counts.

An app that reads too slowly finds both clocks late, as the answers wait behind audio that it has
not read yet. That shows when reading is held back, so nothing is late then, nor shortly after.

No answer can come before its audio was played, as the network only delays it: an early one is
proof. A late one proves little, so it must be very late.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import attrs

from listenproto._messages import ClipId

__all__ = ["Clocks", "Due", "Expected", "Pace"]

Clocks: TypeAlias = tuple[float, float]
"""The time on this end's clock and the length of the platform's audio so far, in seconds."""

EARLY: Final = 0.025
"""Seconds: platforms play 20 ms at a time, and may start a sound that much before it comes; clocks
differ a little."""

LATE: Final = 1.0
"""Seconds: networks and busy ends delay answers, and platforms leave gaps between clips."""

CATCH_UP: Final = 5.0
"""Seconds after which everything has been read that waited while reading was held back; deployed
platforms buffer so much audio."""

PART: Final = 0.1
"""Part of the audio to be played: less than this may be a clock that is a bit off."""


@attrs.define
class _Line:
    """The audio to be played, on one clock, if it plays as soon as it is sent."""

    began: float = -math.inf
    """When the current playout began."""
    until: float = -math.inf


@attrs.frozen
class Due:
    """When the answer to a clip or a mark is due, on one clock."""

    sent: float
    began: float
    """When the audio before it began to play without a pause."""
    at: float

    def is_early(self, now: float, silence: float) -> bool:
        """Whether an answer at ``now`` comes before its audio can have been played.

        The last ``silence`` seconds need not have been.
        """
        return self.at - silence - now > max(EARLY, PART * (self.at - self.sent))

    def is_late(self, now: float, since: float) -> bool:
        """Whether an answer at ``now`` is very late, even if it was due only at ``since``."""
        return now - max(self.at, since) > max(LATE, PART * (self.at - self.began))


Expected: TypeAlias = tuple[Due, Due]
"""When an answer is due on both clocks."""


class Pace:
    """Compares when answers come with when they are due; reports the first that does not fit.

    ``stream_rate`` is the sample rate that this end assumes for its stream, in Hz.
    """

    def __init__(self, stream_rate: int) -> None:
        self._stream_rate = stream_rate
        self._lines = (_Line(), _Line())
        self._doubtful_until = -math.inf
        self._behind_until = -math.inf
        self._clip_done: Clocks = (-math.inf, -math.inf)
        self._told = False

    def plays(self, now: Clocks, seconds: float) -> None:
        """``seconds`` more are to be played."""
        own, audio = self._lines  # without a loop, as each message of audio comes here
        time, media_time = now
        if own.until <= time:
            own.began = own.until = time
        own.until += seconds
        if audio.until <= media_time:
            audio.began = audio.until = media_time
        audio.until += seconds

    def stopped(self, doubtful_until: float) -> None:
        """Some or all of what plays is stopped; this end cannot know when and where.

        So nothing is checked that is sent before ``doubtful_until``, on this end's clock, or that
        plays on from there without a pause.
        """
        self._doubtful_until = max(self._doubtful_until, doubtful_until)

    def held_back(self, now: float) -> None:
        """Reading was held back until ``now``, on this end's clock: what comes late is its own."""
        self._behind_until = now + CATCH_UP

    def expect(self, now: Clocks) -> Expected:
        """When the answer to a clip or mark after all audio so far is due."""
        own, audio = (
            Due(time, line.began, line.until) if line.until > time else Due(time, time, time)
            for line, time in zip(self._lines, now, strict=True)
        )
        return own, audio

    def is_early(self, expected: Expected, now: Clocks, silence: float = 0.0) -> bool:
        """Whether an answer comes before its audio can have been played, as both clocks show.

        The last ``silence`` seconds of it need not have been.
        """
        if expected[0].began < self._doubtful_until:
            return False
        return all(due.is_early(time, silence) for due, time in zip(expected, now, strict=True))

    def mark_came(
        self, name: ClipId | None, expected: Expected, now: Clocks, silence: float = 0.0
    ) -> str | None:
        """A mark was played; returns a sentence if that does not fit.

        The last ``silence`` seconds in front of it need not have been played.
        """
        rate = self._stream_rate
        check = (
            f"is the verb's bidirectionalAudio.sampleRate really {rate}, this app's stream_rate?"
        )
        never = (-math.inf, -math.inf)
        return self._judge(f"mark {name!r:.60}", expected, now, never, check, silence)

    def clip_done(
        self, clip_id: ClipId | None, seconds: float, expected: Expected, now: Clocks
    ) -> str | None:
        """A clip of ``seconds`` was played to its end; returns a sentence if that does not fit."""
        own, audio = self._clip_done  # platforms may leave a gap behind each clip
        self._clip_done = now
        since = own + seconds, audio + seconds
        check = "can the platform play clips of that sample rate?"
        return self._judge(f"the playDone of clip {clip_id!r:.60}", expected, now, since, check)

    def _judge(
        self,
        what: str,
        expected: Expected,
        now: Clocks,
        since: Clocks,
        check: str,
        silence: float = 0.0,
    ) -> str | None:
        if self._told or expected[0].began < self._doubtful_until:
            return None
        on_both = [*zip(expected, now, since, strict=True)]
        if self.is_early(expected, now, silence):
            how = "too fast, drops some of it or answers too early"
        elif expected[0].sent >= self._behind_until and all(
            due.is_late(time, start) for due, time, start in on_both
        ):
            how = "too slowly, pauses or answers too late"
        else:
            return None
        self._told = True
        due, time, _ = min(on_both, key=lambda one: abs(one[0].at - one[1]))
        return (
            f"{what} was due after {due.at - due.sent:.2f} s and came after "
            f"{time - due.sent:.2f} s: the platform plays this app's audio {how}; {check}"
        )
