"""What a recording learns from its call as it happens, however late the events are read."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Protocol

from listenproto._l16 import SAMPLE_BYTES, flicks_of
from listenproto._messages import Audio, Message
from listenproto.recording._call import RecordedCall
from listenproto.recording._gaps import Gap, GapFinder

__all__ = ["Arrivals", "Listener"]


class Listener(Protocol):
    """Follows what the app sends, and when in the call."""

    def reach(self, now: int) -> None:
        """It is ``now``, in flicks since the recording began."""

    def sent(self, message: Message) -> None:
        """The app sends a message now."""


class Arrivals:
    """The place of audio in its call, and the gaps in it, from now on.

    The platform's audio shows how far the call is; while that is overdue, this end's clock does.
    """

    def __init__(self, call: RecordedCall, listener: Listener | None = None) -> None:
        self.found: deque[Gap] = deque()
        """The gaps that were found, first to last; the reader removes those that it has handled."""
        self._call = call
        self._listener = listener
        self._rate = call.metadata.sample_rate
        self._frame = SAMPLE_BYTES * call.metadata.mix_type.channels
        self._finder = GapFinder(self._rate)
        self._received = 0
        """How many samples came since the recording began."""
        self._positions: dict[int, tuple[weakref.ref[Audio], int]] = {}
        """Positions of audio that can still be recorded, by identity, as pieces can be equal."""
        call.watchers.append(self)

    def end(self) -> None:
        """The recording ends; gaps that were not certain until now are gaps."""
        self._call.watchers.remove(self)
        self.found += self._finder.end()

    def gaps(self) -> Iterator[Gap]:
        """The gaps that were found, then what may still turn out to be one, first to last."""
        yield from self.found
        yield from self._finder.pending

    def position(self, audio: Audio) -> int | None:
        """How many samples came before a piece of audio; None if it came before the recording."""
        came = self._positions.pop(id(audio), None)
        return None if came is None else came[1]

    def received(self, audio: Audio, now: float) -> None:
        samples = len(audio.pcm) // self._frame
        position, self._received = self._received, self._received + samples
        # If the audio is dropped before it is recorded, its entry is removed with it.
        gone = partial(self._positions.pop, id(audio))
        self._positions[id(audio)] = weakref.ref(audio, gone), position
        self.found += self._finder.came(position, samples, now)
        self._reach(now)

    def sent(self, message: Message, now: float) -> None:
        if self._listener is not None:
            self._reach(now)
            self._listener.sent(message)

    def _reach(self, now: float) -> None:
        if self._listener is not None:
            samples = self._finder.reached(now)
            self._listener.reach(flicks_of(samples, self._rate))
