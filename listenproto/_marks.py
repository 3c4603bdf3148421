"""The marks of a conversation in their order, and which of them a mark event is for (D13 to D15).

Events come in the order of their marks; only forgotten marks, and those that a platform loses, are
passed over. If names repeat, it may be uncertain which mark an event is for; then every possible
place is kept. Only what is wrong at all of them is a breach; the outcome is given to one.
"""

from __future__ import annotations

import enum
import math
from itertools import pairwise
from typing import Final

import attrs

from listenproto._messages import Mark, MarkEvent
from listenproto._profile import Profile
from listenproto._sent import MAX_REMEMBERED, PATIENCE, ROUND_TRIP, Outcome, Record, Sent

__all__ = ["AppMarks", "MarkMatch", "MarkSent", "PlatformMarks"]

MAX_MARKS: Final = 10_000
"""How many marks are remembered."""


class _State(enum.Enum):
    PENDING = enum.auto()
    KILLED = enum.auto()
    FORGOTTEN = enum.auto()


@attrs.define(eq=False)
class MarkSent(Sent):
    """A mark, and which events can come for it."""

    kill: int = attrs.field(kw_only=True, repr=False)
    """Which killAudio took it or may do so, counted from 1; 0 if none."""
    doubtful: bool = attrs.field(kw_only=True, repr=False)
    """Whether there may have been no room for it."""
    state: _State = attrs.field(default=_State.PENDING, repr=False)


@attrs.frozen
class MarkMatch:
    """Which marks a mark event can be for: the places in the line after them.

    ``clause`` is what it breaks even so; ``kill`` is the killAudio that the platform must have
    read, 0 if none. Without places it is for a mark that was passed over.
    """

    places: frozenset[int]
    clause: str | None = None
    kill: int = 0


class _Marks:
    """The marks whose event has not passed, oldest first: what both ends have in common."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._line: list[MarkSent] = []
        self._counts = dict.fromkeys(_State, 0)
        """How many marks of the line are in each state."""
        self.size = 0
        """The length of all names together, in characters."""
        self._places = frozenset({0})
        self._overtaken: list[MarkSent] = []
        """Those without an event before one that had its own."""
        self._kills = 0
        self._kills_read = 0
        """How many of them the platform is known to have read."""

    @property
    def pending(self) -> int:
        """How many marks count against the limit (LP-MARK-2)."""
        killed = self._counts[_State.KILLED] if self._profile.plays_in_frames else 0
        return self._counts[_State.PENDING] + killed

    def sent(self, message: Mark) -> Sent:
        """A mark passes."""
        # A killAudio that waits for its frame takes what comes until then as well.
        kill = self._kills if self._profile.plays_in_frames else 0
        mark = MarkSent(
            message.name, kill=kill, doubtful=self.pending >= self._profile.pending_marks
        )
        self._line.append(mark)
        self._counts[mark.state] += 1
        self.size += len(message.name)
        if len(self._line) > MAX_MARKS:
            self._places = frozenset(max(0, place - 1) for place in self._places)
            self._give_up(self._line[0], Outcome.TIMED_OUT)
            self._remove(1)
        return mark

    def _remove(self, number: int) -> None:
        """Take so many marks off the front of the line."""
        for mark in self._line[:number]:
            self._counts[mark.state] -= 1
            self.size -= len(str(mark.name))
        del self._line[:number]

    def _turn(self, mark: MarkSent, state: _State) -> None:
        """Have a mark of the line be in that state."""
        self._counts[mark.state] -= 1
        self._counts[state] += 1
        mark.state = state

    def _give_up(self, mark: MarkSent, why: Outcome) -> None:
        """No event is expected for a mark any more."""

    def killed(self) -> None:
        """A killAudio passes: the pending marks come back as cleared (LP-KILL-5)."""
        self._kills += 1
        for mark in self._line:
            if mark.state is _State.PENDING:
                self._turn(mark, _State.KILLED)
                mark.kill = self._kills

    def match(self, name: str, event: str) -> MarkMatch | None:
        """Which marks an event for ``name`` can be for; None if it matches none."""
        places = self._reach(name)
        if not places:
            anywhere = [i + 1 for i, mark in enumerate(self._line) if mark.name == name]
            known = anywhere or any(mark.name == name for mark in self._overtaken)
            return MarkMatch(frozenset(anywhere[:1]), "LP-MARK-14") if known else None
        fitting = frozenset(i for i in places if self._fits(self._line[i - 1], event))
        if fitting:
            kill = min(self._line[i - 1].kill for i in fitting) if event == "cleared" else 0
            return MarkMatch(fitting, kill=kill)
        return MarkMatch(places, "LP-KILL-6" if event == "cleared" else "LP-KILL-7")

    def _reach(self, name: str) -> frozenset[int]:
        """The places after the marks of that name that the next event can be for."""
        places = set()
        reached = set(self._places)
        furthest = max(reached)
        for index, mark in enumerate(self._line):
            if index > furthest:
                break
            if index not in reached:
                continue
            if mark.name == name:
                places.add(index + 1)
            if mark.state is _State.FORGOTTEN or self._may_be_lost(mark):
                reached.add(index + 1)
                furthest = max(furthest, index + 1)
        return frozenset(places)

    def _may_be_lost(self, mark: MarkSent) -> bool:
        """Whether the event of a mark may never come although nothing took the mark."""
        lost = self._profile.plays_in_frames or mark.doubtful
        return lost or mark.outcome is Outcome.TIMED_OUT

    def _fits(self, mark: MarkSent, event: str) -> bool:
        """Whether a mark can come back with that event."""
        if event == "cleared":
            return mark.kill > 0
        at_once = not self._profile.plays_in_frames
        return not (at_once and mark.state is _State.KILLED and mark.kill <= self._kills_read)

    def done(self, message: MarkEvent, match: MarkMatch) -> Sent:
        """An event passes: remove the marks that are certainly over."""
        if not match.places:
            mark = next(mark for mark in self._overtaken if mark.name == message.name)
            self._overtaken.remove(mark)
            return mark
        over = min(match.places)
        self._kills_read = max(self._kills_read, match.kill)
        before = self._line[: over - 1]
        self._overtaken += [mark for mark in before if mark.state is not _State.FORGOTTEN]
        del self._overtaken[:-MAX_REMEMBERED]
        for mark in before:
            self._give_up(mark, Outcome.SKIPPED)
        answered = self._answered(message, match)
        self._remove(over)
        self._places = frozenset(place - over for place in match.places)
        return answered

    def _answered(self, message: MarkEvent, match: MarkMatch) -> MarkSent:
        """Which of the marks that an event can be for it is taken to be for."""
        return self._line[min(match.places) - 1]


class PlatformMarks(_Marks):
    """The marks as the platform's end sees them."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self._forgotten: list[MarkSent] = []

    def killed(self) -> None:
        super().killed()
        self._kills_read = self._kills

    def cleared(self) -> None:
        """A clearMarks has come: the pending marks are forgotten (LP-MARK-15)."""
        self._forgotten = [*self._line]
        self._remove(len(self._line))
        self._places = frozenset({0})

    def was_forgotten(self, name: str) -> bool:
        """Whether an event that matches no mark is for one that a clearMarks took."""
        return any(mark.name == name for mark in self._forgotten)


class AppMarks(_Marks):
    """The marks as the app's end sees them; puts into a record how they end."""

    def __init__(self, profile: Profile, record: Record) -> None:
        super().__init__(profile)
        self._record = record

    def was_forgotten(self, name: str) -> bool:
        """Never, as seen from here: the event may have been on its way."""
        return False

    def sent(self, message: Mark) -> Sent:
        mark = super().sent(message)
        mark.message = message
        mark.flicks = self._record.take_unmarked()
        self._record.enter(mark)
        return mark

    def _give_up(self, mark: MarkSent, why: Outcome) -> None:
        self._record.give_up(mark, why)

    def killed(self) -> None:
        super().killed()
        now = self._record.now
        for mark in self._line:
            if mark.outcome is None:
                mark.cut_at, mark.is_silenced = min(mark.cut_at, now), True
                mark.expires_at = min(mark.expires_at, now + PATIENCE)

    def cleared(self) -> None:
        """A clearMarks goes out: the pending marks are forgotten (LP-MARK-16)."""
        now = self._record.now
        for mark in self._line:
            # A killAudio that waits for its frame may find its marks gone.
            if mark.state is _State.PENDING or self._profile.plays_in_frames:
                self._turn(mark, _State.FORGOTTEN)
            mark.is_silenced = True
            on_its_way = mark.cut_at < math.inf or mark.due <= now + ROUND_TRIP
            self._record.flush(mark, now + ROUND_TRIP if on_its_way else now)

    def _answered(self, message: MarkEvent, match: MarkMatch) -> MarkSent:
        """Which of the marks that an event can be for it is taken to be for: usually the oldest.

        A mark that has ended, was forgotten or is overdue is passed over for the next one, if the
        event can be due to that one by now, as far as this end can compute.
        """
        now = self._record.now
        cleared = message.event == "cleared"
        marks = [self._line[place - 1] for place in sorted(match.places)]
        answered = marks[-1]
        for mark, later in pairwise(marks):
            overdue = mark.expires_as is Outcome.FLUSHED or mark.expires_at <= now
            reached = later.cut_at < math.inf if cleared else later.due <= now
            if mark.is_open and not (overdue and reached):
                answered = mark
                break
            self._give_up(mark, Outcome.SKIPPED)
        if not cleared:
            early = self._record.is_early(answered)
            self._record.answered(answered, Outcome.EARLY if early else Outcome.PLAYED)
            if sum(mark.name == message.name for mark in self._line) == 1:  # it is certainly this
                self._record.check_mark(answered)
        elif answered.cut_at < math.inf:
            self._record.answered(answered, Outcome.CLEARED)
        else:  # by a killAudio before it, which waited for its frame
            self._record.answered(answered, Outcome.CLEARED, heard=0.0)
        return answered
