"""What was sent and has not come back: the clips and the marks of a conversation.

Each counter of the protocol is kept here, once. A ledger is seen from one end: at the platform's
end every answer is certain; at the app's end an answer can be on its way while a killAudio or a
clearMarks travels towards it, so what these concern is only *maybe* over (D9, D14).
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from listenproto.l16 import FLICKS
from listenproto.messages import ClipId, Peer
from listenproto.profile import Profile

__all__ = ["ClipLedger", "ClipMatch", "MarkLedger", "MarkMatch", "MarkState"]


@attrs.define
class _Clip:
    id: ClipId | None
    flicks: int
    ends_at: int
    """When it has played to its end, if it was under way for no time and nothing stopped it."""
    interrupts: bool
    """Whether it took the place of those in front of it, instead of waiting behind them."""
    over_at: int | None = None
    """None while outstanding; after a killAudio, until when its playDone may be on its way."""


@attrs.frozen
class ClipMatch:
    """The clip that a playDone stands for. ``guessed``: it could be another's (LP-CLIP-27).

    ``in_order`` is false where the playDone of a later clip has come before.
    """

    index: int
    id: ClipId | None
    guessed: bool
    in_order: bool = True


GRACE: Final = FLICKS
"""How long a round trip of messages takes at most, in flicks (LP-CLIP-30)."""

MAX_OVER: Final = 100
"""How many that are over are remembered, lest an answer that is very late be taken for a breach."""

MAX_CLIPS: Final = 1000
"""How many clips are remembered of an app that knows no limit."""

MAX_MARKS: Final = 10_000
"""How many marks are remembered, if killed or forgotten ones are among them."""


class ClipLedger:
    """The clips whose playDone has not been seen, oldest first.

    ``now`` is the clock of it: the media time of the platform's audio, in flicks. It keeps the
    order of the wire, so that a late reader is not misled.
    """

    def __init__(self, profile: Profile, vantage: Peer) -> None:
        self.now = 0
        self._profile = profile
        self._at_platform = vantage is Peer.PLATFORM
        self._clips: list[_Clip] = []
        self._killed: list[_Clip] = []
        self._passed_over: list[_Clip] = []
        self._last_ends_at = 0
        self._in_doubt = False
        """Whether a guess leaves open which of the clips behind it have finished."""

    @property
    def outstanding(self) -> int:
        """How many clips count against the limit (LP-CLIP-2, LP-CLIP-29)."""
        counts_killed = self._profile.kill_spares_waiting_clips
        return sum(
            clip.over_at is None or (counts_killed and not self._is_over(clip))
            for clip in self._clips
        )

    def _is_over(self, clip: _Clip) -> bool:
        return clip.over_at is not None and clip.over_at <= self.now

    def holds(self, clip_id: ClipId) -> bool:
        """Whether a clip of that id is outstanding or maybe done (LP-CLIP-15)."""
        return any(clip.id == clip_id and not self._is_over(clip) for clip in self._clips)

    def sent(self, clip_id: ClipId | None, flicks: int, *, waits: bool) -> None:
        """Enter a clip; ``waits``: behind those that are there, instead of in their place."""
        if self._at_platform:
            if not waits:
                # The one that played is done; it may be that this is still to be told of several.
                self._clips = self._clips[:1] + [c for c in self._clips[1:] if c.interrupts]
        elif not waits or (self._clips and self._clips[-1].interrupts):
            self._maybe_done(replaced=True)  # nothing waits behind one that did not wait
        self._last_ends_at = max(self._last_ends_at, self.now) + flicks
        self._clips.append(_Clip(clip_id, flicks, self._last_ends_at, interrupts=not waits))
        del self._clips[:-MAX_CLIPS]

    def killed(self) -> None:
        """A killAudio passed by."""
        if not self._at_platform:
            self._maybe_done()
        elif not self._profile.kill_spares_waiting_clips:
            self._killed, self._clips = (self._killed + self._clips)[-MAX_OVER:], []

    def _maybe_done(self, *, replaced: bool = False) -> None:
        """What is outstanding may be done; or it plays on, as killed clips deployed do.

        ``replaced``: by a clip that does not wait, which is told of by a playDone.
        """
        plays_on = self._profile.kill_spares_waiting_clips
        self._last_ends_at = max(self._last_ends_at, self.now) if plays_on else self.now
        for clip in self._clips:
            if clip.over_at is not None:
                continue
            if plays_on:
                clip.over_at = max(clip.ends_at, self.now) + GRACE
            elif replaced or clip.ends_at <= self.now + GRACE:
                clip.over_at = self.now + GRACE
            else:
                clip.over_at = self.now
        del self._clips[:-MAX_OVER]

    def match(self, clip_id: ClipId | None) -> ClipMatch | None:
        """The clip that a playDone with ``clip_id`` stands for; None if it fits none.

        Without an id: the oldest that is maybe done, else the oldest outstanding, else one that
        a killAudio must have stopped (LP-CLIP-27). It is the oldest that it can be: after a wrong
        guess it is a newer one, unless there is none.
        """
        if clip_id is not None:
            for clips, in_order in ((self._clips, True), (self._passed_over, False)):
                for index, clip in enumerate(clips):
                    if clip.id == clip_id:
                        return ClipMatch(index, clip_id, False, in_order)
            return None
        ranks = [
            (self._is_over(clip), clip.over_at is None, index)
            for index, clip in enumerate(self._clips)
        ]
        if not ranks:
            return None
        index = min(ranks)[-1]
        clip = self._clips[index]
        guessed = clip.over_at is not None or (self._in_doubt and self._has_newer(index))
        return ClipMatch(index, clip.id, guessed)

    def _has_newer(self, index: int) -> bool:
        """Whether a playDone can be for a clip behind that place."""
        return any(not self._is_over(clip) for clip in self._clips[index + 1 :])

    def was_killed(self, clip_id: ClipId | None) -> bool:
        """Whether a playDone that fits no clip stands for one that a killAudio took."""
        return any(clip_id in (None, clip.id) for clip in self._killed)

    def done(self, match: ClipMatch) -> None:
        """Strike the clip out, and where that is certain those before it.

        They were killed, or the platform had no room for them (LP-STRM-5).
        """
        if not match.in_order:
            del self._passed_over[match.index]
            return
        self._in_doubt = match.guessed and (self._in_doubt or self._has_newer(match.index))
        del self._clips[match.index]
        if match.guessed:
            return
        before = [clip for clip in self._clips[: match.index] if clip.over_at is None]
        self._passed_over = (self._passed_over + before)[-MAX_OVER:]
        del self._clips[: match.index]
        # The next one plays since then at the latest.
        ends_at = self.now
        for clip in self._clips:
            if clip.over_at is None:
                ends_at += clip.flicks
                clip.ends_at = min(clip.ends_at, ends_at)
        self._last_ends_at = min(self._last_ends_at, ends_at)


class MarkState(enum.Enum):
    PENDING = enum.auto()
    KILLED = enum.auto()
    FORGOTTEN = enum.auto()


@attrs.define
class _Mark:
    name: str
    kill: int
    """Which killAudio took it or may do so, counted from 1; 0 if none."""
    doubtful: bool
    """Whether there may have been no room for it."""
    state: MarkState = MarkState.PENDING


@attrs.frozen
class MarkMatch:
    """What a mark event can stand for: the places in the ledger behind the marks it may be for.

    ``clause`` is what it breaks even so; ``kill`` is the killAudio that it proves to have been
    read, 0 if none. Without places it is for a mark whose turn has passed.
    """

    places: frozenset[int]
    clause: str | None = None
    kill: int = 0


class MarkLedger:
    """The marks whose event has not been seen, oldest first.

    Events come in the order of their marks; only forgotten marks, and those that a platform
    loses, are passed over. Where names repeat it can be open how far the events have got, so the
    ledger holds every place where that can be.
    """

    def __init__(self, profile: Profile, vantage: Peer) -> None:
        self._profile = profile
        self._at_platform = vantage is Peer.PLATFORM
        self._marks: list[_Mark] = []
        self._places = frozenset({0})
        self._forgotten: list[str] = []
        self._overtaken: list[str] = []
        """Names of marks that were passed over by the event of a later one."""
        self._kills = 0
        self._kills_read = 0
        """How many of them the platform is known to have read."""

    @property
    def pending(self) -> int:
        """How many marks count against the limit (LP-MARK-2)."""
        states = [mark.state for mark in self._marks]
        killed = states.count(MarkState.KILLED) if self._profile.kill_grid else 0
        return states.count(MarkState.PENDING) + killed

    @property
    def size(self) -> int:
        """How many characters the names have of those that are remembered."""
        return sum(len(mark.name) for mark in self._marks)

    def sent(self, name: str, *, doubtful: bool) -> None:
        """Enter a mark. Of those that are not awaited any more, only so many are remembered."""
        # A kill that waits for its frame takes what comes until then as well.
        kill = self._kills if self._profile.kill_grid else 0
        self._marks.append(_Mark(name, kill, doubtful))
        if len(self._marks) > MAX_MARKS and self._marks[0].state is not MarkState.PENDING:
            del self._marks[0]
            self._places = frozenset(max(0, place - 1) for place in self._places)

    def killed(self) -> None:
        """A killAudio passed by: the pending marks come back as cleared (LP-KILL-5)."""
        self._kills += 1
        if self._at_platform:
            self._kills_read = self._kills
        for mark in self._marks:
            if mark.state is MarkState.PENDING:
                mark.state, mark.kill = MarkState.KILLED, self._kills

    def cleared(self) -> None:
        """A clearMarks passed by: the pending marks are forgotten (LP-MARK-15)."""
        if self._at_platform:
            self._forgotten = [mark.name for mark in self._marks]
            self._marks, self._places = [], frozenset({0})
            return
        for mark in self._marks:
            # A kill that waits for its frame may find its marks gone.
            if mark.state is MarkState.PENDING or self._profile.kill_grid:
                mark.state = MarkState.FORGOTTEN

    def match(self, name: str, event: str) -> MarkMatch | None:
        """What an event for ``name`` can stand for; None if for nothing."""
        places = self._reach(name)
        if not places:
            anywhere = [i + 1 for i, mark in enumerate(self._marks) if mark.name == name]
            known = anywhere or name in self._overtaken
            return MarkMatch(frozenset(anywhere[:1]), "LP-MARK-14") if known else None
        fitting = frozenset(i for i in places if self._fits(self._marks[i - 1], event))
        if fitting:
            kill = min(self._marks[i - 1].kill for i in fitting) if event == "cleared" else 0
            return MarkMatch(fitting, kill=kill)
        return MarkMatch(places, "LP-KILL-6" if event == "cleared" else "LP-KILL-7")

    def _reach(self, name: str) -> frozenset[int]:
        """The places behind a mark of that name that the next event can be for."""
        places = set()
        reached = set(self._places)
        for index, mark in enumerate(self._marks):
            if index not in reached:
                continue
            if mark.name == name:
                places.add(index + 1)
            lost = self._profile.marks_get_lost or mark.doubtful
            if lost or mark.state is MarkState.FORGOTTEN:
                reached.add(index + 1)
        return frozenset(places)

    def _fits(self, mark: _Mark, event: str) -> bool:
        """Whether a mark can come back with that event."""
        if event == "cleared":
            return mark.kill > 0
        at_once = not self._profile.kill_grid
        return not (at_once and mark.state is MarkState.KILLED and mark.kill <= self._kills_read)

    def was_forgotten(self, name: str) -> bool:
        """Whether an event that fits no mark stands for one that a clearMarks took."""
        return name in self._forgotten

    def done(self, name: str, match: MarkMatch) -> None:
        """The event has passed: the marks that it proves to be over are struck out."""
        if not match.places:
            self._overtaken.remove(name)
            return
        over = min(match.places)
        self._kills_read = max(self._kills_read, match.kill)
        passed = [m.name for m in self._marks[: over - 1] if m.state is not MarkState.FORGOTTEN]
        self._overtaken = (self._overtaken + passed)[-MAX_OVER:]
        del self._marks[:over]
        self._places = frozenset(place - over for place in match.places)
