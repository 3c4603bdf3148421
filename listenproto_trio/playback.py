"""What became of the clips and marks that this end sent."""

from __future__ import annotations

import enum
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile, pairwise
from typing import Final

import trio

from listenproto.app_session import ClipDone
from listenproto.codec import clip_flicks
from listenproto.l16 import FLICKS, SAMPLE_BYTES
from listenproto.ledger import GRACE
from listenproto.messages import (
    Audio,
    ClearMarks,
    ClipId,
    Disconnect,
    KillAudio,
    Mark,
    MarkEvent,
    Message,
    PlayAudio,
    PlayDone,
)
from listenproto.profile import Profile
from listenproto_trio.pace import Clocks, Expected, Pace
from listenproto_trio.unread import Unread

__all__ = ["Outcome", "Playback", "Playbacks", "UnreadAudioError"]

PATIENCE: Final = 10.0
"""Seconds that an answer may take beyond the time that playing takes."""

ROUND_TRIP: Final = GRACE / FLICKS
"""Seconds that an answer may be on its way while what stops it is sent (LP-CLIP-30)."""

MARGIN: Final = 0.5
"""Seconds that a stream may be heard later than reckoned from when it was sent.

It starts to play once it has come there, and the close that flushes the rest may come faster.
"""

FRAME: Final = 0.02
"""Seconds that platforms play at a time."""


class Outcome(enum.Enum):
    """How a clip or a mark ended."""

    PLAYED = "played"
    CLEARED = "cleared"
    """The platform says that a killAudio took the mark."""
    FLUSHED = "flushed"
    """A killAudio, a clearMarks or a clip that does not wait took it, all of it or the rest."""
    REFUSED = "refused"
    """It was not sent: as many as may be are under way."""
    LOST = "lost"
    """The call ended first."""
    TIMED_OUT = "timed out"


class UnreadAudioError(Exception):
    """Waiting would never end: the answer is behind audio that this very task should read."""


class Playback:
    """A clip or a mark that was sent."""

    def __init__(
        self,
        name: ClipId,
        due: float,
        seconds: float,
        expected: Expected,
        lot: trio.lowlevel.ParkingLot,
        unread: Unread,
    ) -> None:
        self.name: Final = name
        """The clip's id, or the mark's name."""
        self._due = due
        """When playout is behind it at the earliest, on trio's clock, as all of these times."""
        self._seconds = seconds
        """How long it plays."""
        self._expected = expected
        """When its answer comes if the platform plays as fast as reckoned."""
        self._deadline = due + PATIENCE
        self._flushed_at = math.inf
        """When it is flushed if no answer has come by then."""
        self._killed = False
        """Whether a killAudio was sent behind it that its answer can speak of."""
        self._stopped = False
        """Whether it should be this one that it stops, which will be answered even so."""
        self._taken = False
        """Whether what was sent behind it leaves nothing of it to be heard: an answer may come."""
        self._stand_in: Playback | None = None
        """What the killAudio stops instead, if it comes too late for this one."""
        self._outcome: Outcome | None = None
        self._lot = lot
        self._unread = unread

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it is under way.

        What is taken by a killAudio or a clearMarks within a second of its end may have come to it:
        it stays under way while an answer can still come, for a second.
        """
        flushing = self._outcome is None and self._flushed_at < math.inf
        if flushing and trio.current_time() >= self._flushed_at:
            return Outcome.FLUSHED
        return self._outcome

    def __repr__(self) -> str:
        how = self.outcome.value if self.outcome else "under way"
        return f"<Playback of {self.name!r}: {how}>"

    async def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until it is over, at most ``timeout`` seconds, whether or not anybody iterates.

        Without a timeout: until ten seconds after all that was sent up to it can have played.
        Raises :class:`UnreadAudioError` where reading is held back by unread audio and no
        other task than this one reads it.
        """
        until = self._deadline if timeout is None else trio.current_time() + timeout
        await trio.lowlevel.checkpoint()
        while self.outcome is None and trio.current_time() < until:
            self._check_reader()
            with trio.move_on_at(min(until, self._flushed_at)):
                await self._lot.park()
        return self.outcome or Outcome.TIMED_OUT

    def _check_reader(self) -> None:
        if self._unread.held and self._unread.reader in (None, trio.lowlevel.current_task()):
            raise UnreadAudioError(
                f"the answer to {self.name!r} is behind unread audio and this task is the one to "
                "read it: iterate over the call in another task, or let the oldest be dropped"
            )


class Playbacks:
    """Those under way, found again by what the platform answers; and how long they last.

    ``stream_rate`` is the rate of a stream to the caller, in samples a second; ``media_time`` says
    how many seconds of the platform's audio have come.
    """

    def __init__(
        self, stream_rate: int, profile: Profile, *, media_time: Callable[[], float]
    ) -> None:
        self._stream_rate = stream_rate
        self._media_time = media_time
        self._pace = Pace(stream_rate)
        self._profile = profile
        self._clips: dict[ClipId, Playback] = {}
        self._marks: defaultdict[str, deque[Playback]] = defaultdict(deque)
        self._lot = trio.lowlevel.ParkingLot()
        self._until = self._stream_heard_by = -math.inf

    @property
    def ahead(self) -> float:
        """For how many seconds there is something to play, if it plays as soon as it is sent."""
        return max(0.0, self._until - trio.current_time())

    def sent(self, message: Message, unread: Unread) -> None:
        """Remember what is under way by a message."""
        if isinstance(message, Audio):
            self._lasts(len(message.pcm) / SAMPLE_BYTES / self._stream_rate)
            self._stream_heard_by = self._until + MARGIN
        elif isinstance(message, PlayAudio):
            assert message.id is not None  # the session gives it one
            if not (self._profile.clips_wait_unasked or message.queue_play):
                self._replaced()
            seconds = clip_flicks(message) / FLICKS
            self._lasts(seconds)
            self._clips[message.id] = self._playback(message.id, unread, seconds)
        elif isinstance(message, Mark):
            self._marks[message.name].append(self._playback(message.name, unread))
        elif isinstance(message, KillAudio):
            self._killed()
        elif isinstance(message, ClearMarks):
            self._marks_cleared()
        elif isinstance(message, Disconnect):
            self._silenced()
            for playback in self.under_way():
                playback._taken = True

    def _lasts(self, seconds: float) -> None:
        """So much more is to be played."""
        self._until = trio.current_time() + self.ahead + seconds
        self._pace.plays(self._clocks(), seconds)

    def _clocks(self) -> Clocks:
        return trio.current_time(), self._media_time()

    def _playback(self, name: ClipId, unread: Unread, seconds: float = 0.0) -> Playback:
        """A playback that waits with the others, behind all that is to be played."""
        expected = self._pace.expect(self._clocks())
        due = trio.current_time() + self.ahead
        return Playback(name, due, seconds, expected, self._lot, unread)

    def refused(self, name: ClipId, unread: Unread) -> Playback:
        """One that was not sent."""
        playback = self._playback(name, unread)
        playback._outcome = Outcome.REFUSED
        return playback

    def clip(self, clip_id: ClipId) -> Playback:
        return self._clips[clip_id]

    def newest_mark(self, name: str) -> Playback:
        return self._marks[name][-1]

    def answered(self, answer: ClipDone | MarkEvent) -> str | None:
        """The platform says that one is over; gives a sentence on its pace, if that is wrong."""
        if isinstance(answer, MarkEvent):
            playback = self._mark_of(answer)
            outcome = Outcome.CLEARED if answer.event == "cleared" else Outcome.PLAYED
        else:
            playback = None if answer.id is None else self._clips.pop(answer.id, None)
            outcome = Outcome.PLAYED
            if playback is not None and playback._killed:
                if _was_cut_short(playback, answer.message):
                    outcome = Outcome.FLUSHED
                elif playback._stopped and playback._stand_in is not None:
                    self._cut_short(playback._stand_in)
        if playback is None:
            return None
        self._resolve(playback, outcome)
        if outcome is Outcome.PLAYED and playback._due >= self._until:  # it was the last
            self._stream_heard_by = min(self._stream_heard_by, self._until)
        return self._check_pace(playback, answer)

    def _check_pace(self, playback: Playback, answer: ClipDone | MarkEvent) -> str | None:
        """A sentence on the platform's pace, if it is certain which one was played, and when."""
        expected, now = playback._expected, self._clocks()
        if playback.outcome is not Outcome.PLAYED:
            return None
        if isinstance(answer, MarkEvent):
            namesake = answer.name in self._marks
            return None if namesake else self._pace.mark_came(answer.name, expected, now)
        if answer.guessed:
            return None
        return self._pace.clip_done(playback.name, playback._seconds, expected, now)

    def _pace_is_doubtful(self) -> None:
        """What plays is stopped, or some of it: the platform may play on to its end even so."""
        self._pace.stopped(trio.current_time() + self.ahead + ROUND_TRIP)

    def _mark_of(self, answer: MarkEvent) -> Playback | None:
        """The mark that an event is for: of those of that name the oldest, as a rule.

        One that was forgotten, or whose event is overdue as marks do get lost, is passed over for
        the next one, if that can have come to such an event, or no event can come for the first.
        """
        marks = self._marks.get(answer.name)
        if marks is None:
            return None
        now = trio.current_time()
        while len(marks) > 1:
            first, second = marks[0], marks[1]
            forgotten = first._flushed_at < math.inf
            doubtful = forgotten or first._deadline <= now
            reached = second._killed if answer.event == "cleared" else second._due <= now
            if first.outcome is None and not (doubtful and reached):
                break
            self._resolve(first, Outcome.FLUSHED if forgotten else Outcome.TIMED_OUT)
            marks.popleft()
        playback = marks.popleft()
        if not marks:
            del self._marks[answer.name]
        return playback

    def _killed(self) -> None:
        """A killAudio was sent: the clips are gone, or the first of them; marks are heard of."""
        for mark in self._all_marks():
            mark._killed = mark._taken = True
        self._forget_those_over()
        self._pace_is_doubtful()
        waiting = [clip for clip in self._clips.values() if not clip._stopped]
        if not (self._profile.kill_spares_waiting_clips and self._clips):
            self._silenced()
            self._flush(waiting)
        elif waiting:
            for clip in waiting:
                clip._killed = True
            for clip, behind in pairwise(waiting):
                clip._stand_in = behind
            self._cut_short(waiting[0])

    def _cut_short(self, clip: Playback) -> None:
        """A clip is stopped, and what is behind it plays from now on.

        It may play on all the same, as one of two kills within a frame does nothing (LP-CLIP-29).
        """
        now = trio.current_time()
        self._stop(clip, answered_by=max(clip._due, now) + ROUND_TRIP)
        spared = max(0.0, clip._due - now)
        self._until -= spared
        _, *behind = dropwhile(lambda other: other is not clip, self._clips.values())
        for other in behind:
            other._due -= spared

    def _replaced(self) -> None:
        """A clip that does not wait was sent: those in front of it are gone."""
        self._forget_those_over()
        if self.ahead:
            self._pace_is_doubtful()
        self._until = -math.inf
        for clip in self._clips.values():
            self._stop(clip, answered_by=trio.current_time() + ROUND_TRIP)

    def _stop(self, clip: Playback, *, answered_by: float) -> None:
        """If no answer comes by then, there was none to come."""
        clip._killed = clip._stopped = True
        clip._flushed_at = min(clip._flushed_at, answered_by)
        self.recheck()

    def _marks_cleared(self) -> None:
        """A clearMarks was sent: the marks are gone."""
        self._forget_those_over()
        self._flush(self._all_marks())

    def _silenced(self) -> None:
        """Nothing of what was sent will be heard any more."""
        self._until = self._stream_heard_by = -math.inf
        self.recheck()

    def _flush(self, playbacks: Iterable[Playback]) -> None:
        """They are gone, but for those whose answer may be on its way."""
        now = trio.current_time()
        for playback in playbacks:
            playback._taken = True
            on_its_way = playback._killed or playback._due <= now + ROUND_TRIP
            over = now + ROUND_TRIP if on_its_way else now
            playback._flushed_at = min(playback._flushed_at, over)
        self.recheck()

    def _forget_those_over(self) -> None:
        """Those that were flushed without an answer are not answered any more."""
        self._clips = {name: clip for name, clip in self._clips.items() if clip.outcome is None}
        for name, marks in list(self._marks.items()):
            left = deque(mark for mark in marks if mark.outcome is None)
            if left:
                self._marks[name] = left
            else:
                del self._marks[name]

    def lost(self) -> None:
        """The call is over."""
        self._silenced()
        for playback in self.under_way():
            flushed = playback._flushed_at < math.inf
            self._resolve(playback, Outcome.FLUSHED if flushed else Outcome.LOST)
        self._clips.clear()
        self._marks.clear()

    def under_way(self) -> list[Playback]:
        return [p for p in (*self._clips.values(), *self._all_marks()) if p.outcome is None]

    async def all_heard(self) -> None:
        """Wait until nothing that was sent is still to be heard, what is sent meanwhile included.

        Of a stream the clock tells, unless a mark behind it does.
        """
        await trio.lowlevel.checkpoint()
        while (until := self._all_heard_by()) > trio.current_time():
            await self.news(until)

    def _all_heard_by(self) -> float:
        """When that is so at the latest."""
        now, until = trio.current_time(), self._stream_heard_by
        for playback in self.under_way():
            if now < playback._deadline and not playback._taken:
                playback._check_reader()
                until = max(until, min(playback._deadline, playback._flushed_at))
        return until

    async def news(self, until: float) -> None:
        """Wait until that time, or until something has become of what was sent."""
        with trio.move_on_at(until):
            await self._lot.park()

    def recheck(self) -> None:
        """Let those who wait look again whether they still can."""
        self._lot.unpark_all()

    def _all_marks(self) -> Iterator[Playback]:
        return (playback for marks in self._marks.values() for playback in marks)

    def _resolve(self, playback: Playback, outcome: Outcome) -> None:
        playback._outcome = playback.outcome or outcome  # what it has told, it stays with
        self.recheck()


def _was_cut_short(clip: Playback, done: PlayDone) -> bool:
    """Whether a clip that may have been stopped was so before its end, to within a frame.

    The platform's figures tell, where it gives them; else the time does: it came too early.
    """
    milliseconds = done.playback.get("playbackMilliseconds")
    try:
        played = float(milliseconds) / 1000 if isinstance(milliseconds, str | int | float) else None
    except ValueError:
        played = None
    if played is not None:
        return played < clip._seconds - FRAME
    return clip._stopped and trio.current_time() < clip._due
