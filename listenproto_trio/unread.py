"""The events of a call that wait to be read: bounded, and nothing lost in silence."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs
import trio

from listenproto.app_session import ClipDone
from listenproto.l16 import SAMPLE_BYTES
from listenproto.messages import Audio, Dtmf, MarkEvent, Metadata, UnknownMessage
from listenproto.observer import Violation
from listenproto_trio.limits import Limits

__all__ = ["AudioDropped", "CallEvent", "Policy", "Unread"]

Policy: TypeAlias = Literal["hold", "drop_oldest"]
"""What to do when audio is not read in time: stop reading, or drop the oldest and say so."""


@attrs.frozen
class AudioDropped:
    """So many samples of each channel were dropped here, because they were not read in time."""

    samples: int


CallEvent: TypeAlias = (
    Audio | AudioDropped | Dtmf | ClipDone | MarkEvent | UnknownMessage | Violation
)
"""What iterating a call gives."""

OVERHEAD: Final = 64
"""What a message counts beside its bytes, so that tiny ones cannot hoard memory either."""


class Unread:
    """A queue of events that bounds the audio in it by a policy, all others by holding back."""

    def __init__(self, policy: Policy, limits: Limits, *, on_hold: Callable[[], None]) -> None:
        self.reader: trio.lowlevel.Task | None = None
        """The task that reads the queue."""
        self.samples_dropped = 0
        self._drops = policy == "drop_oldest"
        self._limits = limits
        self._on_hold = on_hold
        self._events: deque[CallEvent] = deque()
        self._frame = SAMPLE_BYTES
        self._audio = 0
        self._max_audio = 0
        self._others = 0
        self._over = False
        self._abandoned = False
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    def open(self, metadata: Metadata) -> None:
        """The rate and the channels of the audio are known."""
        self._frame = SAMPLE_BYTES * metadata.mix_type.channels
        second = metadata.sample_rate * self._frame + 50 * OVERHEAD
        self._max_audio = int(self._limits.unread_seconds * second)

    @property
    def held(self) -> bool:
        """Whether reading is held back."""
        return self._audio > self._max_audio > 0 or self._others > self._limits.unread_events

    def put(self, event: CallEvent) -> None:
        """Add an event."""
        if self._abandoned:
            return
        self._events.append(event)
        if isinstance(event, Audio):
            self._audio += _cost(event)
            while self._drops and self._audio > self._max_audio:
                self._drop_oldest()
        else:
            self._others += 1
        self._news.unpark_all()

    def _drop_oldest(self) -> None:
        """Put a note of what was dropped in the place of the oldest audio."""
        index = next(i for i, event in enumerate(self._events) if isinstance(event, Audio))
        audio = self._events[index]
        assert isinstance(audio, Audio)
        samples = len(audio.pcm) // self._frame
        self._audio -= _cost(audio)
        self.samples_dropped += samples
        before = self._events[index - 1] if index else None
        if isinstance(before, AudioDropped):
            self._events[index - 1] = AudioDropped(before.samples + samples)
            del self._events[index]
        else:
            self._events[index] = AudioDropped(samples)
            self._others += 1

    def end(self) -> None:
        """No more will come."""
        self._over = True
        self._news.unpark_all()

    def abandon(self) -> None:
        """Nobody will read any more: keep nothing, and hold nothing back."""
        self._abandoned = True
        self._events.clear()
        self._audio = self._others = 0
        self._room.unpark_all()

    async def may_read(self) -> None:
        """Wait until there is room for what reading may bring."""
        await trio.lowlevel.checkpoint()
        while self.held:
            self._on_hold()
            await self._room.park()

    async def get(self) -> CallEvent | None:
        """The next event; None when there is no more."""
        self.reader = trio.lowlevel.current_task()
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._over:
                return None
            await self._news.park()
        event = self._events.popleft()
        if isinstance(event, Audio):
            self._audio -= _cost(event)
        else:
            self._others -= 1
        self._room.unpark_all()
        return event


def _cost(audio: Audio) -> int:
    return len(audio.pcm) + OVERHEAD
