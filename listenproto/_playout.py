"""What the caller hears, exact to the sample: clips, stream, marks (LP-CLIP, LP-STRM, LP-MARK).

Playout is one line of sounds and marks, moved on by flicks of media time. A sound starts where the
one before it ends, or now if nothing plays; a sample has been heard when its whole duration has
passed. All positions are whole flicks since the start, so the number of steps in which time passes
makes no difference.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import attrs

from listenproto._choices import member
from listenproto._clips import starts_at_once
from listenproto._l16 import FLICKS, SAMPLE_BYTES, Aligner, check_stream_rate, flicks_of
from listenproto._messages import ClipId
from listenproto._profile import DOCUMENTED, Profile, profile_of

__all__ = ["Heard", "Playout", "PlayoutEnd", "PlayoutFate", "PlayoutGaps"]


MAX_JOINED: Final = 8192
"""Messages of a stream are joined up to this many bytes."""

LONGEST_GAP: Final = FLICKS
"""The longest silence that counts as a gap and not as a pause in speech, in flicks."""


class PlayoutFate(enum.Enum):
    """How a clip or a mark ended."""

    PLAYED = "played"
    """Played to its end; a mark was reached."""
    KILLED = "killed"
    """Stopped by a killAudio, and the app is told: a mark is cleared, a deployed clip is done."""
    FLUSHED = "flushed"
    """Dropped without telling the app: a clip by a killAudio, anything by the end of the listen."""
    FORGOTTEN = "forgotten"
    """A mark that was removed by a clearMarks."""


def _fate(value: PlayoutFate | str) -> PlayoutFate:
    return member(PlayoutFate, value, "fate")


@attrs.frozen
class Heard:
    """What the caller heard: L16 of one channel at ``rate``, from ``start`` (in flicks) on."""

    pcm: bytes = attrs.field(repr=lambda pcm: f"<{len(pcm)} bytes>")
    """The samples, as bytes of L16."""
    rate: int
    start: int

    @property
    def end(self) -> int:
        """Where it ends, in flicks."""
        return self.start + flicks_of(len(self.pcm) // SAMPLE_BYTES, self.rate)


@attrs.define
class PlayoutGaps:
    """How often playout ran out of audio while the app was speaking, and for how long in all.

    A gap is a silence of at most a second of media time between two sounds. A longer silence
    counts as a pause in speech, and silence after a killAudio is what the app asked for. So is
    silence after a playDone or a mark event told the app that everything was played: therefore only
    a stream has gaps, and pauses after a mark at the end of a sentence do not count.
    """

    count: int = 0
    """How many gaps there were."""
    flicks: int = 0
    """The length of all gaps together, in flicks."""

    @property
    def seconds(self) -> float:
        """The length of all gaps together."""
        return self.flicks / FLICKS


@attrs.frozen
class PlayoutEnd:
    """A clip or a mark is over, ``at`` flicks; ``samples`` of a clip were heard."""

    item: PlayoutClip | PlayoutMark
    """What is over."""
    fate: PlayoutFate = attrs.field(converter=_fate)
    """How it ended."""
    at: int
    samples: int = 0


@attrs.frozen
class PlayoutClip:
    """A clip in the line; two clips may have the same id."""

    id: ClipId | None
    """The id that the app gave it; None if it gave none."""
    rate: int
    """Its sample rate in Hz."""
    length: int
    """How many samples it has."""


@attrs.frozen
class PlayoutMark:
    """A mark in the line; two marks may have the same name."""

    name: str
    """The name that the app gave it."""


@attrs.define(eq=False)
class Sound:
    pcm: bytes
    rate: int
    clip: PlayoutClip | None = None
    queued: bool = True
    """Whether a queued clip waits behind it, if it is a clip itself (D8)."""
    played: int = 0

    def can_grow(self, more: Sound) -> bool:
        """Whether more of a stream is joined to this: tiny messages take more than their size."""
        streamed = self.clip is None and more.clip is None and self.rate == more.rate
        return streamed and len(self.pcm) + len(more.pcm) <= MAX_JOINED

    @property
    def left(self) -> int:
        """How many samples are still to be heard."""
        return len(self.pcm) // SAMPLE_BYTES - self.played

    @property
    def flicks(self) -> int:
        """How long these last."""
        return flicks_of(self.left, self.rate)


_Item: TypeAlias = "Sound | PlayoutMark"


def _join(line: deque[_Item], item: _Item) -> None:
    """Put an item at the end of a line, as part of the sound there if it can be."""
    last = line[-1] if line else None
    if isinstance(item, Sound) and isinstance(last, Sound) and last.can_grow(item):
        last.pcm += item.pcm
    else:
        line.append(item)


def _joined(items: Iterable[_Item]) -> deque[_Item]:
    line: deque[_Item] = deque()
    for item in items:
        _join(line, item)
    return line


class Playout:
    """The line of sounds and marks that are to be played to the caller, and how far it has got.

    ``stream_rate`` is the sample rate of :meth:`add_stream`'s audio in Hz; ValueError for one that
    no verb can have. ``max_seconds`` bounds what is buffered (LP-STRM-5); ``profile`` says which
    clips wait, and when a killAudio takes effect.
    """

    gaps: PlayoutGaps
    """The silences that the caller heard while the app was speaking."""
    _head: int
    """Where the next sample of the first item in the line starts, in flicks."""

    def __init__(
        self,
        *,
        stream_rate: int = 8000,
        profile: Profile | str = DOCUMENTED,
        max_seconds: float = 3600.0,
    ) -> None:
        check_stream_rate(stream_rate)
        self._profile = profile_of(profile)
        self._stream_rate = stream_rate
        self._aligner = Aligner(SAMPLE_BYTES)
        self.max_seconds: float = max_seconds
        self._max_flicks = int(max_seconds * FLICKS)
        self._clip_gap = round(self._profile.clip_gap * FLICKS)
        self._line: deque[_Item] = deque()
        self._suspended: list[Sound] = []
        """Clips over which others started; the last one resumes first, once the line is empty."""
        self._started_over: tuple[int, Sound] | None = None
        """The frame in which one started last, and the clip that played when that frame began."""
        self._buffered = 0
        self._kill_at: int | None = None
        self._doomed: deque[_Item] = deque()
        """What came while a kill waits for its frame."""
        self.gaps = PlayoutGaps()
        self._heard_until: int | None = None
        """The end of what was heard last; None if silence after it is not a gap."""
        self.now: int = 0
        """How much media time has passed, in flicks."""

    @property
    def buffered(self) -> int:
        """How much the caller still has to hear, in flicks."""
        return self._buffered

    def has_room(self, flicks: int) -> bool:
        """Whether ``flicks`` more of a stream can be buffered (LP-STRM-5)."""
        return self.buffered + flicks <= self._max_flicks

    def has_room_for_clip(self, flicks: int, *, queue_play: bool = False) -> bool:
        """Whether a clip of that length can be buffered, not counting what it would drop."""
        buffered = self._buffered
        if self._starts_at_once(queue_play):
            waiting = [*self._line][1:]
            buffered -= sum(item.flicks for item in waiting if isinstance(item, Sound))
        return buffered + flicks <= self._max_flicks

    def _starts_at_once(self, queue_play: bool) -> bool:
        """Whether a clip starts over what plays, instead of waiting behind it (D8)."""
        head = self._line[0] if self._line else None
        front_queued = isinstance(head, Sound) and head.queued
        return starts_at_once(self._profile, queued=queue_play, front_queued=front_queued)

    def add_clip(
        self, pcm: bytes, rate: int, clip_id: ClipId | None = None, *, queue_play: bool = False
    ) -> list[PlayoutEnd]:
        """Put a clip at the end of the line: one channel of L16, in whole samples.

        Returns what is over because of it. There must be room for it (:meth:`has_room_for_clip`).
        Under a profile in which clips do not always wait, a clip without ``queue_play``, or after
        one without it, starts at once: what waits is dropped, and the clip that plays is suspended
        until all that came later is over (D8).
        """
        over: list[PlayoutEnd] = []
        if self._line and self._starts_at_once(queue_play):
            front = self._line.popleft()
            for item in self._line:
                over += self._drop(item, PlayoutFate.FLUSHED)
            self._line.clear()
            assert isinstance(front, Sound)  # clips and marks do not mix
            front.queued = False  # nothing waits behind it when it resumes
            self._suspended.append(front)
            self._note_start(front)
        clip = PlayoutClip(clip_id, rate, len(pcm) // SAMPLE_BYTES)
        self._append(Sound(pcm, rate, clip, queue_play))
        return over + self._settle()

    def _note_start(self, front: Sound) -> None:
        grid = self._profile.kill_grid
        if grid and (self._started_over is None or self._started_over[0] != self.now // grid):
            self._started_over = self.now // grid, front

    def add_sound(self, pcm: bytes, rate: int) -> None:
        """Put a sound of the platform itself, such as a beep, at the end of the line."""
        self._append(Sound(pcm, rate))

    def add_stream(self, pcm: bytes) -> bool:
        """Put a message of the stream after what is buffered; it may be cut anywhere (LP-AUD-3).

        Returns False if there is no room for it, and it is refused.
        """
        sound = Sound(self._aligner.whole(pcm), self._stream_rate)
        if not self.has_room(sound.flicks):
            return False
        if sound.pcm:
            self._append(sound, doomed=self._kill_at is not None)
        return True

    def add_mark(self, name: str) -> list[PlayoutEnd]:
        """Put a mark after what is buffered; if nothing is buffered, it is over at once."""
        self._append(PlayoutMark(name), doomed=self._kill_at is not None)
        return self._settle()

    def clear_marks(self) -> list[PlayoutEnd]:
        """Remove all marks (LP-MARK-15)."""
        marks = [item for item in (*self._line, *self._doomed) if isinstance(item, PlayoutMark)]
        self._line = _joined(item for item in self._line if isinstance(item, Sound))
        self._doomed = _joined(item for item in self._doomed if isinstance(item, Sound))
        return [PlayoutEnd(mark, PlayoutFate.FORGOTTEN, self.now) for mark in marks]

    def kill(self) -> list[PlayoutEnd]:
        """Stop what plays and flush what waits, now or at the profile's next frame (LP-KILL).

        Streamed audio that comes before that frame is flushed as well, unheard.
        """
        grid = self._profile.kill_grid
        if not grid:
            return self._kill()
        if self._kill_at is None:
            self._kill_at = (self.now // grid + 1) * grid
        return []

    def flush(self) -> list[PlayoutEnd]:
        """The listen is over: drop everything, and tell the app nothing (LP-END-4)."""
        self._kill_at = None
        return self._drop_all()

    def play(self, flicks: int) -> list[Heard | PlayoutEnd]:
        """Let media time pass; returns what is heard and what is over, in order.

        ``play(a)`` then ``play(b)`` equals ``play(a + b)``, except for where :class:`Heard` is cut.
        """
        end = self.now + flicks
        heard: list[Heard | PlayoutEnd] = []
        if self._kill_at is not None and self._kill_at <= end:
            heard += self._advance(self._kill_at)
            self.now, self._kill_at = self._kill_at, None
            heard += self._kill()
        heard += self._advance(end)
        self.now = end
        return heard

    def _append(self, item: _Item, *, doomed: bool = False) -> None:
        if isinstance(item, Sound):
            self._buffered += item.flicks
        if not (doomed or self._line):
            self._head = self.now
        _join(self._doomed if doomed else self._line, item)

    def _advance(self, end: int) -> Iterator[Heard | PlayoutEnd]:
        """Play the line up to ``end``, from where the next sample of its first item starts."""
        while self._line or self._suspended:
            if not self._line:
                self._line.append(self._suspended.pop())
            if self._head > end:
                return  # in the gap between two clips
            item = self._line[0]
            if isinstance(item, PlayoutMark):
                self._line.popleft()
                self._note_told()
                yield PlayoutEnd(item, PlayoutFate.PLAYED, self._head)
                continue
            step = FLICKS // item.rate
            samples = min(item.left, (end - self._head) // step)
            if samples:
                first = item.played * SAMPLE_BYTES
                item.played += samples
                pcm = item.pcm[first : item.played * SAMPLE_BYTES]
                start, self._head = self._head, self._head + samples * step
                self._note_gap(start)
                self._buffered -= samples * step
                yield Heard(pcm, item.rate, start)
            if item.left:
                return
            self._line.popleft()
            if item.clip is not None:
                self._note_told()
                yield PlayoutEnd(item.clip, PlayoutFate.PLAYED, self._head, item.played)
                self._start_next_at(self._head)

    def _start_next_at(self, ended_at: int) -> None:
        """Have the clip that waits start, or the suspended one go on, behind one that ended."""
        self._head = ended_at
        if self._line and self._clip_gap:
            self._head += self._clip_gap
            self._heard_until = None  # the gap is the platform's own

    def _note_told(self) -> None:
        """The app is told that this was played: if that was all, silence after it is no gap."""
        if not self.buffered:
            self._heard_until = None

    def _note_gap(self, start: int) -> None:
        """Count a gap if the sound that starts there comes shortly after the last one."""
        if self._heard_until is not None and 0 < (gap := start - self._heard_until) <= LONGEST_GAP:
            self.gaps.count += 1
            self.gaps.flicks += gap
        self._heard_until = self._head

    def _settle(self) -> list[PlayoutEnd]:
        """What is over before any time passes: marks and empty clips at the head."""
        return [over for over in self._advance(self.now) if isinstance(over, PlayoutEnd)]

    def _kill(self) -> list[PlayoutEnd]:
        clips = any(isinstance(item, Sound) and item.clip for item in self._line)
        if self._profile.kill_spares_waiting_clips and clips:
            self._heard_until = None
            if front := self._just_suspended():
                self._suspended.remove(front)
                return self._drop(front, PlayoutFate.KILLED)
            over = self._drop(self._line.popleft(), PlayoutFate.KILLED)
            self._start_next_at(self.now)
            return over + self._settle()
        return self._drop_all(told=True)

    def _just_suspended(self) -> Sound | None:
        """The clip that played when this frame began, if others have started over it since.

        A clip takes longer to start than a killAudio to take effect, so it is that one which stops.
        """
        if self._started_over is None:
            return None
        frame, front = self._started_over
        ends_now = (frame + 1) * self._profile.kill_grid == self.now
        return front if ends_now and front in self._suspended else None

    def _drop_all(self, *, told: bool = False) -> list[PlayoutEnd]:
        """Empty the line; with ``told``, the app is told of its marks."""
        over: list[PlayoutEnd] = []
        for item in (*self._line, *self._doomed, *reversed(self._suspended)):
            killed = told and isinstance(item, PlayoutMark)
            over += self._drop(item, PlayoutFate.KILLED if killed else PlayoutFate.FLUSHED)
        self._line.clear()
        self._doomed.clear()
        self._suspended.clear()
        self._heard_until = None
        return over

    def _drop(self, item: _Item, fate: PlayoutFate) -> list[PlayoutEnd]:
        if isinstance(item, PlayoutMark):
            return [PlayoutEnd(item, fate, self.now)]
        self._buffered -= item.flicks
        if item.clip is None:
            return []
        return [PlayoutEnd(item.clip, fate, self.now, item.played)]
