"""Gaps in the platform's audio: samples that never came, found with this end's clock.

Audio is late if it comes later than its media time says, compared with the earliest arrival so
far. Audio that was delayed on the way catches up: once the line is free, it comes faster than it
plays. If the platform dropped audio, everything after it stays late. So there is a gap if all audio
after it was late by more than :data:`LATE`, for :data:`PATIENCE` or until the end of the recording.
The gap is as long as the smallest of those delays.

A pause of the listen looks the same here and counts as a gap. Short losses add up to a gap, and so
do clocks that differ: 50 parts per million make half a second in three hours.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

__all__ = ["JITTER", "LATE", "PATIENCE", "Gap", "GapFinder"]

JITTER: Final = 0.1
"""Seconds by which audio may be late on any line. Up to this, the audio that came shows how far the
call is; beyond it, the clock does."""

LATE: Final = 0.5
"""Seconds. A bad line delays audio by some hundreds of milliseconds; deployed platforms drop
seconds of it."""

PATIENCE: Final = 10.0
"""Seconds. Deployed platforms buffer up to five seconds of audio; a line that carries it 1.5 times
as fast as it plays takes ten to deliver that."""


@attrs.define(eq=False)
class Gap:
    """A gap, or what may turn out to be one, after the first ``position`` samples that came."""

    position: int
    since: float
    """When the first audio after it came, on this end's clock."""
    late: float
    """The smallest delay of all audio after it, in seconds."""
    samples: int = 0
    """Its length, once it is known to be a gap."""
    at: int | None = None
    """Its place in a recording, once the recording has reached it."""


class GapFinder:
    """Finds the gaps in audio at ``rate`` Hz, as it comes.

    ``now`` is the time in seconds, on any clock that never goes back.
    """

    def __init__(self, rate: int) -> None:
        self.pending: list[Gap] = []
        """What may turn out to be a gap, first to last."""
        self._rate = rate
        self._received = 0
        self._missing = 0
        """How many samples were found missing."""
        self._on_time = math.inf
        """By how much audio that is not late comes later than its media time, in seconds."""

    def came(self, position: int, samples: int, now: float) -> list[Gap]:
        """``samples`` came after ``position`` others; returns the gaps that are now certain."""
        self._received = position + samples
        late = now - self._received / self._rate
        self._on_time = min(self._on_time, late)
        gap = Gap(position, now, late)
        while self.pending and self.pending[-1].late > late:
            gap = self.pending.pop()
            gap.late = late
        before = self.pending[-1].late if self.pending else self._on_time
        if late - before > LATE:
            self.pending.append(gap)
        return self._find([gap for gap in self.pending if now - gap.since >= PATIENCE])

    def end(self) -> list[Gap]:
        """No more audio will come; returns the gaps that were not certain until now."""
        return self._find([*self.pending])

    def _find(self, gaps: list[Gap]) -> list[Gap]:
        """These, the first of those that were pending, are gaps."""
        del self.pending[: len(gaps)]
        for gap in gaps:
            gap.samples = round((gap.late - self._on_time) * self._rate)
            self._missing += gap.samples
            self._on_time += gap.samples / self._rate
        return gaps

    def reached(self, now: float) -> int:
        """How far the call is, in samples: those that came, are missing or are overdue."""
        overdue = now - self._received / self._rate - self._on_time
        there = self._received + self._missing
        return there + round(overdue * self._rate) if overdue > JITTER else there
