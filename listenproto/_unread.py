"""The events of a call that wait to be read, up to a limit; what is dropped is reported.

Audio has one bound and all other events another, so that a flood of one does not push out the
other. Dropped events leave no entry: each event carries the count of what came before it, so a gap
shows when its turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from listenproto._app_session import PlaybackDone
from listenproto._l16 import SAMPLE_BYTES
from listenproto._limits import Limits
from listenproto._messages import Audio, Dtmf, Metadata, UnknownMessage
from listenproto._violation import Violation

__all__ = ["CallEvent", "Dropped", "Unread", "UnreadPolicy"]

UnreadPolicy: TypeAlias = Literal["hold", "drop_oldest"]
"""What happens to events that are not read in time.

``hold`` stops reading the connection; ``drop_oldest`` drops the oldest and reports it.
"""


@attrs.frozen
class Dropped:
    """Events not read in time: ``samples`` of audio (of each channel), other ``events``."""

    samples: int = 0
    events: int = 0


CallEvent: TypeAlias = Audio | Dropped | Dtmf | PlaybackDone | UnknownMessage | Violation
"""What iterating over a call gives."""

OVERHEAD: Final = 64
"""Bytes that each value counts beside its content, so that tiny ones cannot fill the memory."""


@attrs.define
class _Waiting:
    """An event that waits, with the count of samples and other events before and after it."""

    event: CallEvent
    size: int
    before: tuple[int, int]
    after: tuple[int, int]


@attrs.define
class _Share:
    """The waiting events of one kind, oldest first, and how much may wait."""

    max_size: int
    max_events: float = float("inf")
    size: int = 0
    waiting: list[_Waiting] = attrs.field(factory=list)

    @property
    def full(self) -> bool:
        return self.size > self.max_size or len(self.waiting) > self.max_events

    def take(self) -> _Waiting:
        oldest = self.waiting.pop(0)
        self.size -= oldest.size
        return oldest


class Unread:
    """A queue of events, with a bound on the audio in it and one on all the others."""

    def __init__(self, policy: UnreadPolicy, limits: Limits, chunk: float = 0.0) -> None:
        self.samples_dropped = self.events_dropped = 0
        self._chunk = chunk
        """How many seconds of audio make one event; less does when something else follows."""
        self._chunk_size = 0
        """The same in bytes, once that is known."""
        self._ended = False
        self._drops = policy == "drop_oldest"
        self._seconds = limits.unread_seconds
        self._frame = SAMPLE_BYTES
        self._audio = _Share(limits.message_size)
        self._others = _Share(limits.message_size, limits.unread_events)
        self._came = self._told = (0, 0)
        """Samples and other events that were put, and how many of them get() has returned."""
        self._abandoned = False
        self.held = False
        """Whether the connection is not to be read for now."""

    def open(self, metadata: Metadata) -> None:
        """Take the rate and the channels of the audio, now that they are known."""
        self._frame = SAMPLE_BYTES * metadata.mix_type.channels
        second = metadata.sample_rate * self._frame + 50 * OVERHEAD
        self._chunk_size = round(self._chunk * metadata.sample_rate) * self._frame
        # At least 1, so that with a limit of no time two messages are still too many.
        self._audio.max_size = max(1, int(self._seconds * second))

    @property
    def waiting(self) -> bool:
        """Whether :meth:`get` gives something."""
        if self._came == self._told or not self._chunk_size or self._ended:
            return self._came != self._told
        audio = self._audio
        size = audio.size - OVERHEAD * len(audio.waiting)
        # What may wait is not to overflow for want of a little audio.
        is_whole = size >= self._chunk_size or audio.size * 2 > audio.max_size
        return is_whole or bool(self._others.waiting)

    def put(self, event: CallEvent) -> None:
        """Add an event."""
        if self._abandoned:
            return
        before = samples, events = self._came
        if isinstance(event, Audio):
            share, size = self._audio, len(event.pcm) + OVERHEAD
            self._came = samples + len(event.pcm) // self._frame, events
        else:
            share, size = self._others, _size(event)
            self._came = samples, events + 1
        # An event counts at most what may wait in all, so that any event fits on its own.
        size = min(size, share.max_size)
        share.waiting.append(_Waiting(event, size, before, self._came))
        share.size += size
        if not share.full:
            return
        self.held = not self._drops
        while self._drops and share.full:
            oldest = share.take()
            self.samples_dropped += oldest.after[0] - oldest.before[0]
            self.events_dropped += oldest.after[1] - oldest.before[1]

    def end(self) -> None:
        """No more comes: what waits is complete."""
        self._ended = True

    def abandon(self) -> None:
        """Nobody will read any more: keep nothing, and hold nothing back."""
        self._abandoned = True
        self._told = self._came
        self._audio.waiting.clear()
        self._others.waiting.clear()
        self.held = False

    def get(self) -> CallEvent | None:
        """Take the next event, or a Dropped for what is missing before it; None if none waits."""
        if not self.waiting:
            return None
        audio, others = self._audio.waiting, self._others.waiting
        # If both have the same count before them, the audio came first: it had no samples.
        is_audio = bool(audio) and not (others and others[0].before < audio[0].before)
        share = self._audio if is_audio else self._others
        before = share.waiting[0].before if share.waiting else self._came
        if before != self._told:
            samples, events = self._told
            self._told = before
            return Dropped(before[0] - samples, before[1] - events)
        oldest = share.take()
        self._told = oldest.after
        event = oldest.event
        if isinstance(event, Audio) and len(event.pcm) < self._chunk_size:
            event = self._joined(event)
        self.held = self.held and (self._audio.full or self._others.full)
        return event

    def _joined(self, audio: Audio) -> Audio:
        """That with what follows, up to a chunk; whole messages, and nothing is between them."""
        pieces, size = [audio.pcm], len(audio.pcm)
        waiting = self._audio.waiting
        while size < self._chunk_size and waiting and waiting[0].before == self._told:
            piece = self._audio.take()
            self._told = piece.after
            assert isinstance(piece.event, Audio)
            pieces.append(piece.event.pcm)
            size += len(piece.event.pcm)
        return Audio(b"".join(pieces))


def _size(event: CallEvent) -> int:
    """About how many bytes an event keeps in memory: each value in it counts, however small."""
    size = 0
    held: list[object] = [event]
    while held:
        value = held.pop()
        kind = type(value)
        size += OVERHEAD
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, Mapping):
            held += value.keys()
            held += value.values()
        elif isinstance(value, list | tuple):
            held += value
        elif attrs.has(kind):
            held += (getattr(value, field.name) for field in attrs.fields(kind))
    return size
