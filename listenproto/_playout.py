"""What the caller hears, exact to the sample: clips, stream, marks (LP-CLIP, LP-STRM, LP-MARK).

Playout is one line of sounds and marks, moved on by flicks of media time. A sound starts where the
one before it ends, or now if nothing plays; a sample has been heard when its whole duration has
passed. All positions are whole flicks since the start, so the number of steps in which time passes
makes no difference.

Where the profile plays in frames, a stream and its marks are kept in a
:class:`~listenproto._framed_stream.FramedStream`. At the end of each frame, a killAudio that waits
takes effect, or the next frame of the stream is put into the line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import attrs

from listenproto._clips import starts_at_once
from listenproto._framed_stream import FRAME, FramedStream
from listenproto._heard import Heard, PlayoutClip, PlayoutEnd, PlayoutFate, PlayoutGaps, PlayoutMark
from listenproto._l16 import FLICKS, SAMPLE_BYTES, Aligner, check_stream_rate, flicks_of
from listenproto._messages import ClipId
from listenproto._profile import DOCUMENTED, Profile, profile_of

__all__ = ["Playout"]


MAX_JOINED: Final = 8192
"""Messages of a stream are joined up to this many bytes."""

LONGEST_GAP: Final = FLICKS
"""The longest silence that counts as a gap and not as a pause in speech, in flicks."""


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
    clips wait, and whether audio is played in frames.
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
        """How much is in the line, and suspended."""
        self._stream: FramedStream | None = None
        if self._profile.plays_in_frames:
            self._stream = FramedStream(stream_rate=stream_rate, profile=self._profile)
        self._kill_waits = False
        """Whether a killAudio waits for the end of the frame."""
        self.gaps = PlayoutGaps()
        self._heard_until: int | None = None
        """The end of what was heard last; None if silence after it is not a gap."""
        self.now: int = 0
        """How much media time has passed, in flicks."""

    @property
    def buffered(self) -> int:
        """How much the caller still has to hear, in flicks, unless more audio comes."""
        return self._buffered + (0 if self._stream is None else self._stream.flicks)

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
        if self._stream is None:
            return  # a killAudio takes effect at once, and stops the clip that plays
        frame = self.now // FRAME
        if self._started_over is None or self._started_over[0] != frame:
            self._started_over = frame, front

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
        if self._stream is not None:
            self._stream.add(sound.pcm)
        elif sound.pcm:
            self._append(sound)
        return True

    def add_mark(self, name: str) -> list[PlayoutEnd]:
        """Put a mark after what is buffered; if nothing is, it is over at once, or in a frame."""
        if self._stream is not None:
            self._stream.add_mark(name)
            return []
        self._append(PlayoutMark(name))
        return self._settle()

    def clear_marks(self) -> list[PlayoutEnd]:
        """Remove all marks (LP-MARK-15)."""
        if self._stream is not None:
            return self._over(self._stream.clear_marks(), PlayoutFate.FORGOTTEN)
        marks = [item.name for item in self._line if isinstance(item, PlayoutMark)]
        self._line = _joined(item for item in self._line if isinstance(item, Sound))
        return self._over(marks, PlayoutFate.FORGOTTEN)

    def _over(self, marks: Iterable[str], fate: PlayoutFate) -> list[PlayoutEnd]:
        return [PlayoutEnd(PlayoutMark(name), fate, self.now) for name in marks]

    def kill(self) -> list[PlayoutEnd]:
        """Stop what plays and flush what waits, now or at the end of the frame (LP-KILL)."""
        if self._stream is None:
            return self._kill()
        self._kill_waits = True
        return []

    def flush(self) -> list[PlayoutEnd]:
        """The listen is over: drop everything, and tell the app nothing (LP-END-4)."""
        self._kill_waits = False
        marks = [] if self._stream is None else self._stream.flush()
        return self._drop_all() + self._over(marks, PlayoutFate.FLUSHED)

    def play(self, flicks: int) -> list[Heard | PlayoutEnd]:
        """Let media time pass; returns what is heard and what is over, in order.

        ``play(a)`` then ``play(b)`` equals ``play(a + b)``, except for where :class:`Heard` is cut.
        """
        end = self.now + flicks
        items: list[Heard | PlayoutEnd] = []
        while self._stream is not None and (self._kill_waits or self._stream.has_frame):
            frame_end = (self.now // FRAME + 1) * FRAME
            if frame_end > end:
                break
            items += self._advance(frame_end)
            self.now = frame_end
            items += self._next_frame(self._stream)
        items += self._advance(end)
        self.now = end
        return items

    def _next_frame(self, stream: FramedStream) -> list[PlayoutEnd]:
        """Do what is due at the end of a frame; returns what is over."""
        if self._kill_waits:
            self._kill_waits = False
            return self._kill() + self._over(stream.kill(), PlayoutFate.KILLED)
        pcm, marks = stream.next_frame()
        if pcm:
            self._append(Sound(pcm, self._profile.channel_rate))
        if marks:
            self._note_told()
        return self._over(marks, PlayoutFate.PLAYED)

    def _append(self, item: _Item) -> None:
        if isinstance(item, Sound):
            self._buffered += item.flicks
        if not self._line:
            self._head = self.now
        _join(self._line, item)

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
        ends_now = (frame + 1) * FRAME == self.now
        return front if ends_now and front in self._suspended else None

    def _drop_all(self, *, told: bool = False) -> list[PlayoutEnd]:
        """Empty the line; with ``told``, the app is told of its marks."""
        over: list[PlayoutEnd] = []
        for item in (*self._line, *reversed(self._suspended)):
            killed = told and isinstance(item, PlayoutMark)
            over += self._drop(item, PlayoutFate.KILLED if killed else PlayoutFate.FLUSHED)
        self._line.clear()
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
