"""The events of a call that wait to be read: bounded, and nothing lost in silence."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs
import trio

from listenproto.app_session import ClipDone
from listenproto.l16 import SAMPLE_BYTES
from listenproto.messages import Audio, Dtmf, Malformed, MarkEvent, Metadata, UnknownMessage
from listenproto.observer import Violation
from listenproto_trio.limits import Limits

__all__ = ["CallEvent", "Dropped", "Unread", "UnreadPolicy"]

UnreadPolicy: TypeAlias = Literal["hold", "drop_oldest"]
"""What to do when events are not read in time: stop reading, or drop the oldest and say so."""


@attrs.frozen
class Dropped:
    """Not read in time and dropped here: so many samples of each channel, so many other events."""

    samples: int = 0
    events: int = 0


CallEvent: TypeAlias = Audio | Dropped | Dtmf | ClipDone | MarkEvent | UnknownMessage | Violation
"""What iterating a call gives."""

OVERHEAD: Final = 64
"""What a message of audio counts beside its bytes, so that tiny ones cannot hoard memory."""


@attrs.define
class _Share:
    """How much of one kind waits, and may wait."""

    max_size: int
    max_events: float = float("inf")
    size: int = 0
    events: int = 0

    @property
    def full(self) -> bool:
        return self.size > self.max_size or self.events > self.max_events

    def count(self, size: int, events: int) -> None:
        self.size += size
        self.events += events


class Unread:
    """A queue of events, with a bound on the audio in it and one on all the others."""

    def __init__(
        self, policy: UnreadPolicy, limits: Limits, *, on_hold: Callable[[], None]
    ) -> None:
        self.reader: trio.lowlevel.Task | None = None
        """The task that reads the queue."""
        self.samples_dropped = self.events_dropped = 0
        self._drops = policy == "drop_oldest"
        self._seconds = limits.unread_seconds
        self._on_hold = on_hold
        self._events: deque[CallEvent] = deque()
        self._frame = SAMPLE_BYTES
        self._audio = _Share(limits.message_size)
        self._others = _Share(limits.message_size, limits.unread_events)
        self._over = False
        self._abandoned = False
        self._getting = False
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    def open(self, metadata: Metadata) -> None:
        """The rate and the channels of the audio are known."""
        self._frame = SAMPLE_BYTES * metadata.mix_type.channels
        second = metadata.sample_rate * self._frame + 50 * OVERHEAD
        self._audio.max_size = int(self._seconds * second)

    @property
    def held(self) -> bool:
        """Whether reading is held back."""
        return self._audio.full or self._others.full

    def put(self, event: CallEvent) -> None:
        """Add an event."""
        if self._abandoned:
            return
        self._events.append(event)
        share = self._share(event)
        share.count(_size(event), 1)
        while self._drops and share.full:
            self._drop_oldest(share)
        self._news.unpark_all()

    def _share(self, event: CallEvent) -> _Share:
        return self._audio if isinstance(event, Audio) else self._others

    def _drop_oldest(self, share: _Share) -> None:
        """Put a note of what was dropped in the place of the oldest event of that share."""
        index, event = next(
            (index, event)
            for index, event in enumerate(self._events)
            if not isinstance(event, Dropped) and self._share(event) is share
        )
        share.count(-_size(event), -1)
        samples = len(event.pcm) // self._frame if isinstance(event, Audio) else 0
        note = Dropped(samples, 0 if isinstance(event, Audio) else 1)
        self.samples_dropped += note.samples
        self.events_dropped += note.events
        before = self._events[index - 1] if index else None
        if isinstance(before, Dropped):
            note = Dropped(before.samples + note.samples, before.events + note.events)
            del self._events[index]
            index -= 1
        self._events[index] = note

    def end(self) -> None:
        """No more will come."""
        self._over = True
        self._news.unpark_all()

    def abandon(self) -> None:
        """Nobody will read any more: keep nothing, and hold nothing back."""
        self._abandoned = True
        self._events.clear()
        for share in (self._audio, self._others):
            share.size = share.events = 0
        self._room.unpark_all()

    async def may_read(self) -> None:
        """Wait until there is room for what reading may bring."""
        await trio.lowlevel.checkpoint()
        while self.held:
            self._on_hold()
            await self._room.park()

    async def get(self) -> CallEvent | None:
        """The next event; None when there is no more.

        Raises trio.BusyResourceError while another task waits for one.
        """
        if self._getting:
            raise trio.BusyResourceError("another task iterates over this call")
        self.reader = trio.lowlevel.current_task()
        self._getting = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._events:
                if self._over:
                    return None
                await self._news.park()
        finally:
            self._getting = False
        event = self._events.popleft()
        if not isinstance(event, Dropped):
            self._share(event).count(-_size(event), -1)
        self._room.unpark_all()
        return event


def _size(event: CallEvent) -> int:
    """About how many bytes an event holds on to."""
    if isinstance(event, Audio):
        return len(event.pcm) + OVERHEAD
    if isinstance(event, Violation) and isinstance(event.message, Malformed):
        return len(event.message.text)
    if isinstance(event, UnknownMessage):
        return len(repr(event.body))
    return OVERHEAD
