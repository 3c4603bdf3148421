"""What became of the clips and marks that this end sent."""

from __future__ import annotations

import enum
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Final

import trio

from listenproto.app_session import ClipDone
from listenproto.codec import clip_flicks
from listenproto.l16 import FLICKS, SAMPLE_BYTES
from listenproto.messages import (
    Audio,
    ClearMarks,
    ClipId,
    KillAudio,
    Mark,
    MarkEvent,
    Message,
    PlayAudio,
)
from listenproto_trio.unread import Unread

__all__ = ["Outcome", "Playback", "Playbacks", "UnreadAudioError"]

PATIENCE: Final = 10.0
"""Seconds that an answer may take beyond the time that playing takes."""


class Outcome(enum.Enum):
    """How a clip or a mark ended."""

    PLAYED = "played"
    CLEARED = "cleared"
    """The platform says that a killAudio took the mark."""
    FLUSHED = "flushed"
    """A killAudio or clearMarks of this end took it; the platform does not say."""
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
        self, name: ClipId, patience: float, lot: trio.lowlevel.ParkingLot, unread: Unread
    ) -> None:
        self.name: Final = name
        """The clip's id, or the mark's name."""
        self.outcome: Outcome | None = None
        """How it ended; None while it is under way."""
        self._deadline = trio.current_time() + patience
        self._lot = lot
        self._unread = unread

    def __repr__(self) -> str:
        how = self.outcome.value if self.outcome else "under way"
        return f"<Playback of {self.name!r}: {how}>"

    async def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until it is over, at most ``timeout`` seconds, whether or not anybody iterates.

        Without a timeout: until ten seconds after all that was sent up to it can have played.
        Raises :class:`UnreadAudioError` where reading is held back by unread audio and no
        other task than this one reads it.
        """
        now = trio.current_time()
        with trio.move_on_at(self._deadline if timeout is None else now + timeout):
            await trio.lowlevel.checkpoint()
            while self.outcome is None:
                self._check_reader()
                await self._lot.park()
        return self.outcome or Outcome.TIMED_OUT

    @property
    def overdue(self) -> bool:
        """Whether its answer should have come; marks do get lost."""
        return trio.current_time() >= self._deadline

    def _check_reader(self) -> None:
        if self._unread.held and self._unread.reader in (None, trio.lowlevel.current_task()):
            raise UnreadAudioError(
                f"the answer to {self.name!r} is behind unread audio and this task is the one to "
                "read it: iterate over the call in another task, or let the oldest be dropped"
            )


class Playbacks:
    """Those under way, found again by what the platform answers; and how long they last.

    ``stream_rate`` is the rate of a stream to the caller, in samples a second.
    """

    def __init__(self, stream_rate: int) -> None:
        self._stream_rate = stream_rate
        self._clips: dict[ClipId, Playback] = {}
        self._marks: defaultdict[str, deque[Playback]] = defaultdict(deque)
        self._lot = trio.lowlevel.ParkingLot()
        self._until = -math.inf

    @property
    def ahead(self) -> float:
        """For how many seconds there is something to play, if it plays as soon as it is sent."""
        return max(0.0, self._until - trio.current_time())

    def sent(self, message: Message, unread: Unread) -> None:
        """Remember what is under way by a message."""
        if isinstance(message, Audio):
            self._lasts(len(message.pcm) / SAMPLE_BYTES / self._stream_rate)
        elif isinstance(message, PlayAudio):
            assert message.id is not None  # the session gives it one
            self._lasts(clip_flicks(message) / FLICKS)
            self._clips[message.id] = self._playback(message.id, unread)
        elif isinstance(message, Mark):
            self._marks[message.name].append(self._playback(message.name, unread))
        elif isinstance(message, KillAudio):
            self._until = -math.inf
            self._killed()
        elif isinstance(message, ClearMarks):
            self._marks_cleared()

    def _lasts(self, seconds: float) -> None:
        """So much more is to be played."""
        self._until = trio.current_time() + self.ahead + seconds

    def _playback(self, name: ClipId, unread: Unread) -> Playback:
        """A playback that waits with the others."""
        return Playback(name, self.ahead + PATIENCE, self._lot, unread)

    def refused(self, name: ClipId, unread: Unread) -> Playback:
        """One that was not sent."""
        playback = self._playback(name, unread)
        playback.outcome = Outcome.REFUSED
        return playback

    def clip(self, clip_id: ClipId) -> Playback:
        return self._clips[clip_id]

    def newest_mark(self, name: str) -> Playback:
        return self._marks[name][-1]

    def answered(self, answer: ClipDone | MarkEvent) -> None:
        """The platform says that one is over."""
        if isinstance(answer, ClipDone):
            playback = None if answer.id is None else self._clips.pop(answer.id, None)
            outcome = Outcome.PLAYED
        else:
            marks = self._marks.get(answer.name) or deque()
            while len(marks) > 1 and marks[0].overdue:
                self._resolve([marks.popleft()], Outcome.TIMED_OUT)
            playback = marks.popleft() if marks else None
            if not marks:
                self._marks.pop(answer.name, None)
            outcome = Outcome.CLEARED if answer.event == "cleared" else Outcome.PLAYED
        if playback is not None:
            self._resolve([playback], outcome)

    def _killed(self) -> None:
        """A killAudio was sent: the clips are gone, the marks will be heard of."""
        self._resolve(self._clips.values(), Outcome.FLUSHED)
        self._clips.clear()

    def _marks_cleared(self) -> None:
        """A clearMarks was sent: the marks are gone."""
        self._resolve(self._all_marks(), Outcome.FLUSHED)
        self._marks.clear()

    def lost(self) -> None:
        """The call is over."""
        self._resolve([*self._clips.values(), *self._all_marks()], Outcome.LOST)
        self._clips.clear()
        self._marks.clear()

    def under_way(self) -> list[Playback]:
        return [*self._clips.values(), *self._all_marks()]

    def recheck(self) -> None:
        """Let those who wait look again whether they still can."""
        self._lot.unpark_all()

    def _all_marks(self) -> Iterator[Playback]:
        return (playback for marks in self._marks.values() for playback in marks)

    def _resolve(self, playbacks: Iterable[Playback], outcome: Outcome) -> None:
        for playback in playbacks:
            playback.outcome = outcome
        self._lot.unpark_all()
