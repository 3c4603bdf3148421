"""What is told of a call as it happens, however late its events are read."""

from __future__ import annotations

from typing import Protocol

from listenproto._messages import Audio, Message

__all__ = ["Watcher"]


class Watcher(Protocol):
    """Is called with what passes in a call, as it happens; must not raise.

    ``now`` is the time in seconds, on the clock of the call.
    """

    def received(self, audio: Audio, now: float) -> None:
        """Audio came from the platform; nobody has read it yet."""

    def sent(self, message: Message, now: float) -> None:
        """A message of the app is being sent."""
