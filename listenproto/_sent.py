"""What an app sent and what became of it: one entry per clip and mark, from send to its end.

The platform answers a clip with a playDone and a mark with a mark event. It says nothing of what a
killAudio flushes, of what it had no room for, of what it loses. Two kinds of time tell the rest:

- *Order* is on the wire: ids, names, the order of messages, and the media time of the platform's
  audio, which comes in one order with the answers. Order alone decides which entry an answer is
  for, and which answers can still come. :mod:`listenproto._clips` and :mod:`listenproto._marks`
  know it, for either end.
- *Expiry* is the time that is passed in as ``now``, in seconds, from whatever clock the runtime
  has. It decides when to stop waiting for an answer, and it is what this end computes playout from.
  :class:`Record` does that, for the app's end.

An outcome is *known* if the platform told it: by an answer, by the answer to a later entry, by the
figures of a playDone. Everything else is *computed*, as if messages took no time and everything
played as soon as it is its turn: when an entry is due, how much is ahead, how much of a clip was
heard before it was cut short. What starts a clip and what stops it are delayed alike, so only a
change of the delay makes an error. An entry that may have ended before a killAudio or a clearMarks
was read stays under way for a round trip, and counts as flushed if no answer comes.

An outcome is final, except TIMED_OUT: that only says that nothing came, and a late answer replaces
it.

Nothing depends on being called in time. With a clock that stands still nothing expires; after a
jump ahead everything has expired, and late answers still count; a step back changes nothing.
"""

from __future__ import annotations

import enum
import math
from typing import Final

import attrs

from listenproto._choices import member
from listenproto._l16 import FLICKS, SAMPLE_BYTES, flicks_of
from listenproto._messages import ClipId, Mark, PlayAudio
from listenproto._pace import Clocks, Expected, Pace

__all__ = ["MAX_REMEMBERED", "PATIENCE", "ROUND_TRIP", "Outcome", "Record", "Sent", "outcome_of"]

ROUND_TRIP: Final = 1.0
"""Seconds that an answer may be on its way while what stops it is sent (LP-CLIP-30)."""

PATIENCE: Final = 10.0
"""Seconds that an answer may take beyond the time that playing takes (LP-MARK-17)."""

MARGIN: Final = 0.5
"""Seconds by which a stream may be heard later than computed.

It plays when it has arrived, and the close after it, which flushes the rest, may be faster.
"""

MAX_REMEMBERED: Final = 100
"""How many are remembered that are over, so that a very late answer is not taken for a breach."""

MAX_ENDED: Final = 1000
"""How many ends are kept if nobody asks for them: the newest."""


class Outcome(enum.Enum):
    """How a clip or a mark ended."""

    PLAYED = "played"
    """It was heard to its end; a mark was reached."""
    CLEARED = "cleared"
    """A killAudio removed the mark, and the platform said so."""
    FLUSHED = "flushed"
    """A killAudio, a clearMarks or a clip that did not wait dropped it, or the rest of it."""
    SKIPPED = "skipped"
    """A later one was answered first: the platform had no room for this one, or lost it."""
    EARLY = "early"
    """The event of the mark came before the audio in front of it can have been heard: deployed
    platforms take a sample of -1 for the mark, and some drop audio."""
    REFUSED = "refused"
    """It was not sent, as too many were under way."""
    LOST = "lost"
    """The call ended first."""
    TIMED_OUT = "timed out"
    """No answer came within ten seconds after it can have played."""


def outcome_of(value: Outcome | str) -> Outcome:
    """The outcome, which may be given by its name. Raises ValueError."""
    return member(Outcome, value, "outcome")


@attrs.define(eq=False)
class Sent:
    """A clip or a mark that was sent, and how it ended. All times are on the clock of ``now``."""

    name: ClipId | None
    """The clip's id, or the mark's name."""
    flicks: int = 0
    """How long the clip is; for a mark, how long the stream since the last mark or killAudio is."""
    due: float = attrs.field(default=0.0, repr=False)
    """When it has been heard to its end, at the earliest, as far as this end can compute."""
    outcome: Outcome | None = attrs.field(default=None, init=False)
    """How it ended; None while it is under way. Only TIMED_OUT can still change, if an answer comes
    late."""
    heard: float = 0.0
    """Once it has ended: how many seconds of it the caller has heard, as the platform says. If it
    does not say: all of it if PLAYED, 0 for a clip that is SKIPPED, else computed from when it was
    cut short."""
    silence: float = attrs.field(default=0.0, repr=False)
    """How many seconds of silence in front of a mark the platform may keep back."""
    was_reset: bool = attrs.field(default=False, repr=False)
    """Whether the stream was reset as its event was overdue: how late that comes shows nothing."""
    cut_at: float = attrs.field(default=math.inf, repr=False)
    """When this end sent the message that cuts it short."""
    is_silenced: bool = attrs.field(default=False, repr=False)
    """Whether nothing more of it is heard, although an answer may come."""
    expires_at: float = attrs.field(default=math.inf, repr=False)
    """When to stop waiting for an answer."""
    expires_as: Outcome = attrs.field(default=Outcome.TIMED_OUT, init=False, repr=False)
    """The outcome then."""
    _expected: Expected | None = attrs.field(default=None, init=False, repr=False)
    """When its answer is due if the platform plays at the pace that this end computes with."""
    message: PlayAudio | Mark | None = attrs.field(default=None, repr=False)
    """The message as it was sent; None once it has ended, so that no audio is kept."""

    @classmethod
    def refused(cls, name: ClipId) -> Sent:
        """One that was not sent, as too many are under way."""
        sent = cls(name)
        sent.outcome = Outcome.REFUSED
        return sent

    @property
    def is_open(self) -> bool:
        """Whether an answer would still set the outcome."""
        return self.outcome is None or self.outcome is Outcome.TIMED_OUT

    @property
    def seconds(self) -> float:
        """Its length in seconds; see ``flicks``."""
        return self.flicks / FLICKS

    def heard_by(self, now: float) -> float:
        """How many seconds of it have been heard by then, as far as this end can compute."""
        started = self.due - self.seconds
        return min(max(0.0, min(now, self.cut_at) - started), self.seconds)


class Record:
    """What an app has under way, what has ended, and how much is still to be heard.

    ``stream_rate`` is the sample rate of the app's stream in Hz.
    """

    def __init__(self, stream_rate: int) -> None:
        self.now = -math.inf
        """The latest time that was passed in."""
        self.media_time = 0
        """The length of the platform's audio so far, in flicks."""
        self.wrong_pace: str | None = None
        """One sentence if the newest answer shows that the platform plays at another pace."""
        self.ended: list[Sent] = []
        """What has ended, until somebody takes it out."""
        self.fills = False
        """Whether what is streamed does not belong to the app's speech."""
        self._stream_rate = stream_rate
        self.plays_until = -math.inf
        """When everything sent has been heard, if it plays as soon as it is sent."""
        self._stream_heard_by = -math.inf
        """When the stream has been heard, at the latest."""
        self._under_way: dict[Sent, None] = {}
        self._unmarked = 0
        """How many samples of the stream have no mark after them."""
        self._pace = Pace(stream_rate)
        self._clock_runs = False

    def pass_time(self, now: float) -> None:
        """Set the time; a time before the latest one changes nothing."""
        if now > self.now:
            self._clock_runs = self.now > -math.inf
            self.now = now

    def held_back(self) -> None:
        """Reading was held back until now, so answers may be late because of this end."""
        self._pace.held_back(self.now)

    @property
    def clocks(self) -> Clocks:
        """The time on both clocks, in seconds: the one passed in, and the platform's audio."""
        return self.now, self.media_time / FLICKS

    @property
    def ahead(self) -> float:
        """Seconds of audio still to be heard, if everything plays as soon as it is sent."""
        return self.plays_until - self.now if self.plays_until > self.now else 0.0

    @property
    def under_way(self) -> list[Sent]:
        """The entries without an outcome, in the order in which they were sent."""
        return [*self._under_way]

    def streamed(self, size: int) -> None:
        """``size`` bytes of the stream were sent."""
        samples = size // SAMPLE_BYTES
        self.lasts(samples / self._stream_rate)
        if not self.fills:
            self._unmarked += samples
            self._stream_heard_by = self.plays_until + MARGIN

    def take_unmarked(self) -> int:
        """The length of the stream since the last mark or killAudio, in flicks; starts anew."""
        samples, self._unmarked = self._unmarked, 0
        return flicks_of(samples, self._stream_rate)

    def lasts(self, seconds: float) -> None:
        """Something was sent that plays so long, after everything else."""
        now = self.now
        self.plays_until = (now if now > self.plays_until else self.plays_until) + seconds
        self._pace.plays((now, self.media_time / FLICKS), seconds)

    def cut(self, seconds: float) -> None:
        """So much of it will not be heard."""
        self.plays_until = self.now + self.ahead - seconds

    def stopping(self) -> None:
        """What plays is stopped, or some of it; the platform may still play it to its end."""
        self._pace.stopped(self.now + self.ahead + ROUND_TRIP)

    def stopped(self) -> None:
        """Nothing more will be heard of anything sent so far."""
        self.plays_until = self._stream_heard_by = -math.inf
        self._unmarked = 0

    def disconnected(self) -> None:
        """A disconnect was sent: nothing more will be heard, though answers may be on their way."""
        self.stopped()
        for sent in self._under_way:
            sent.cut_at, sent.is_silenced = min(sent.cut_at, self.now), True

    @property
    def all_heard_by(self) -> float:
        """When the caller has heard everything, at the latest; answers make it sooner."""
        awaited = (sent.expires_at for sent in self._under_way if not sent.is_silenced)
        return max(self._stream_heard_by, *awaited, -math.inf)

    def enter(self, sent: Sent) -> None:
        """Put an entry under way; it is heard after everything sent so far."""
        sent.due = max(self.now, self.plays_until)
        sent.expires_at = sent.due + PATIENCE
        sent._expected = self._pace.expect(self.clocks)
        self._under_way[sent] = None

    def flush(self, sent: Sent, at: float) -> None:
        """It counts as flushed if no answer comes until ``at``."""
        if sent.expires_as is Outcome.FLUSHED:
            at = min(at, sent.expires_at)
        sent.expires_at, sent.expires_as = at, Outcome.FLUSHED
        if sent.outcome is None and at <= self.now:
            self._end(sent, Outcome.FLUSHED, None)

    def answered(self, sent: Sent, outcome: Outcome, heard: float | None = None) -> None:
        """The platform says how it ended, and perhaps how many seconds of it were ``heard``."""
        if not sent.is_open:
            return
        self._end(sent, outcome, heard)
        if outcome is Outcome.PLAYED and sent.due >= self.plays_until:  # it was the last
            self._stream_heard_by = min(self._stream_heard_by, self.plays_until)

    def is_early(self, mark: Sent) -> bool:
        """Whether the event of a mark comes before the audio in front of it can have been heard.

        A clock that stands still says nothing.
        """
        assert mark._expected is not None
        clock_ran = self._clock_runs and self.now > mark._expected[0].sent
        return clock_ran and self._pace.is_early(mark._expected, self.clocks, mark.silence)

    def check_mark(self, mark: Sent) -> None:
        """Compare when the event of a mark came with when it was due; only for a certain match.

        A clock that stands still says nothing.
        """
        is_played = mark.outcome in (Outcome.PLAYED, Outcome.EARLY)
        if is_played and self._clock_runs and not mark.was_reset:
            assert mark._expected is not None
            self.wrong_pace = self._pace.mark_came(
                mark.name, mark._expected, self.clocks, mark.silence
            )

    def check_clip(self, clip: Sent) -> None:
        """Do the same for the playDone of a clip."""
        if clip.outcome is Outcome.PLAYED and self._clock_runs:
            assert clip._expected is not None
            seconds, clocks = clip.seconds, self.clocks
            self.wrong_pace = self._pace.clip_done(clip.name, seconds, clip._expected, clocks)

    def give_up(self, sent: Sent, why: Outcome, heard: float | None = None) -> None:
        """No answer will come: it ends as ``why``, or as flushed if it was about to be."""
        if sent.outcome is None:
            if sent.expires_as is Outcome.FLUSHED:
                why, heard = Outcome.FLUSHED, None
            self._end(sent, why, heard)

    def _end(self, sent: Sent, outcome: Outcome, heard: float | None) -> None:
        if heard is None:
            heard = sent.seconds if outcome is Outcome.PLAYED else sent.heard_by(self.now)
        sent.outcome, sent.heard, sent.message = outcome, heard, None
        self._under_way.pop(sent, None)
        self.ended.append(sent)
        del self.ended[:-MAX_ENDED]

    def next_timeout(self) -> float:
        """When :meth:`expire` is needed next; now, if something has ended; infinite for never."""
        if self.ended:
            return self.now
        if not self._under_way:
            return math.inf
        return min(sent.expires_at for sent in self._under_way)

    def expire(self) -> None:
        """Stop waiting for what is overdue."""
        for sent in self.under_way:
            if sent.expires_at <= self.now:
                self.give_up(sent, sent.expires_as)

    def lose(self) -> None:
        """The call is over: no more answers come."""
        self.expire()
        self.stopped()
        for sent in self.under_way:
            self.give_up(sent, Outcome.LOST)
