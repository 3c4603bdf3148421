"""What the marks of an app leave behind in a deployed platform's stream, and how that is removed.

A deployed platform has no place of its own for a mark (D14). It puts a *marker*, a sample of -1,
into the stream in front of the audio that comes behind the mark; the first marker that is played
answers the oldest mark. Until audio comes, a mark has no marker: then it is answered once nothing
is left to be played. Such a mark is reliable at any rate, and a killAudio takes it cleanly. With a
marker, these things go wrong:

- A killAudio drops the marker, but the platform goes on to expect it: the marker is *stuck*, and
  so many of the next markers answer nothing. The marks that these were for stay without an answer,
  and keep later ones from having theirs, or get it in their place. A clearMarks does the same with
  marks that have no marker yet.
- If the stream has another rate than the call, resampling destroys the marker. The mark is *lost*,
  and blocks later ones in the same way.

A *reset* ends both: so many samples of -1 as there can be marks, which are markers to the
platform, and silence behind them, so that they do not stay in its buffer. Played behind everything
else, they can answer no mark too early: what is in front of the mark has been heard. But a mark
that is sent before they are played, and that has more audio in front of it, could be answered by
them. So marks wait until the reset has been played.

This end cannot see what is stuck. It knows which of its marks had audio behind them, and whether an
event came, so it knows what may be stuck. A mark whose event is overdue may be lost. A reset that
was not needed does no harm.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from listenproto._l16 import SAMPLE_BYTES
from listenproto._profile import Profile
from listenproto._sent import ROUND_TRIP, Outcome, Sent

__all__ = ["Markers"]

MARKER: Final = b"\xff\xff"
"""A sample of -1."""


@lru_cache(maxsize=16)
def _reset(markers: int, silence: int) -> bytes:
    """So many markers and samples of silence, once for all calls."""
    return MARKER * markers + bytes(silence * SAMPLE_BYTES)


class Markers:
    """Marks that have no event yet, and what may be stuck in a stream of ``rate`` Hz."""

    def __init__(self, profile: Profile, rate: int, *, resets: bool, holds: bool) -> None:
        # Resampling makes one marker of so many samples of -1.
        each = max(1, rate // profile.channel_rate)
        self._reset = _reset(profile.pending_marks * each, round(profile.prebuffer * rate))
        self.reset_seconds: Final = len(self._reset) / SAMPLE_BYTES / rate
        """How long a reset plays."""
        self._most = profile.pending_marks
        self._guard = profile.kill_guard
        self._resets = resets
        self._holds = holds
        self._marked: list[Sent] = []
        """Marks with audio behind them, without an event."""
        self._bare: list[Sent] = []
        """Marks with nothing behind them, without an event."""
        self._may_be_stuck = False
        self.in_doubt: bool = False
        """Whether the stream may have to be reset, now or later."""
        self._killed_until = -math.inf
        """Until when the platform may drop what comes, because of a killAudio."""
        self.reset_until: float = -math.inf
        """When the last reset has been played, as ``now``: marks wait until then."""

    def sent(self, mark: Sent) -> None:
        """A mark goes out."""
        self._bare.append(mark)
        self.in_doubt = self._resets

    def streamed(self) -> None:
        """Audio goes out."""
        if self._bare:
            self._marked += self._bare
            self._bare.clear()

    def killed(self, now: float) -> None:
        """A killAudio goes out."""
        self._look()
        self._may_be_stuck |= bool(self._marked) or now < self.reset_until
        self._killed_until = now + self._guard
        self._forget_marks()

    def cleared(self) -> None:
        """A clearMarks goes out."""
        self._look()
        self._may_be_stuck |= bool(self._marked or self._bare)
        self._forget_marks()

    def sticks(self) -> int:
        """How many markers a clearMarks would leave stuck now."""
        self._look()
        return len(self._bare)

    def end(self) -> None:
        """Nothing more goes out."""
        self._resets = self.in_doubt = False

    def _forget_marks(self) -> None:
        self._marked.clear()
        self._bare.clear()
        self.in_doubt = self._resets and self._may_be_stuck

    def _look(self) -> None:
        """See which marks have an event by now."""
        # Audio behind a killAudio can still be in time to be dropped with it.
        self._may_be_stuck |= any(mark.outcome is Outcome.CLEARED for mark in self._marked)
        self._marked = [mark for mark in self._marked if mark.is_open][-self._most :]
        self._bare = [mark for mark in self._bare if mark.is_open]
        unanswered = bool(self._marked or self._bare)
        self.in_doubt = self._resets and (self._may_be_stuck or unanswered)

    @property
    def reset_due(self) -> float:
        """When a reset is due; infinite for never.

        That is once no event is to be expected any more: all marks have theirs, or are overdue.
        """
        if not self.in_doubt:
            return math.inf
        if self._marked or self._bare:
            self._look()
        if self._marked or self._bare:
            last = max(mark.due for mark in (*self._marked, *self._bare))
            return max(last + ROUND_TRIP, self._killed_until)
        return self._killed_until if self._may_be_stuck else math.inf

    def reset(self, now: float) -> bytes:
        """A reset goes out, behind everything: returns its samples."""
        for mark in (*self._marked, *self._bare):
            mark.was_reset = True
        self._may_be_stuck = False
        self._forget_marks()
        self.reset_until = now + self.reset_seconds
        return self._reset

    @property
    def held_until(self) -> float:
        """Until when audio is kept back, as it would put markers into the stream."""
        if not (self._holds and self._bare):
            return -math.inf
        self._look()
        return max((mark.due + ROUND_TRIP for mark in self._bare), default=-math.inf)
