"""A clip or a mark as a handler holds it: how it ended, and waiting for that."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from listenproto._link import Link
from listenproto._messages import ClipId
from listenproto._runtime import Runtime
from listenproto._sent import Outcome, Sent

__all__ = ["Playback"]


class Playback:
    """A clip or a mark that was sent."""

    def __init__(
        self,
        sent: Sent,
        link: Link[Any],
        runtime: Runtime,
        until_answered: Callable[[Callable[[], bool], Sent, float], Awaitable[None]],
    ) -> None:
        assert sent.name is not None  # the session gives each clip an id
        self.name: Final[ClipId | None] = sent.name
        """The clip's id, or the mark's name."""
        self.sent: Final[Sent] = sent
        """What the session knows of it; the :class:`PlaybackDone` event has the same."""
        self._link = link
        self._runtime = runtime
        self._until_answered = until_answered

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it is under way.

        If a killAudio or a clearMarks takes it within a second of its end, it may have been played
        all the same: then it stays under way for a second more, in case an answer comes.
        """
        return self.sent.outcome

    @property
    def heard(self) -> float:
        """How many seconds of it the caller has heard by now.

        Once it has ended, that is final (:attr:`Sent.heard`); until then it is computed.
        """
        if self.sent.outcome is None:
            return self.sent.heard_by(self._runtime.now())
        return self.sent.heard

    def __repr__(self) -> str:
        how = self.outcome.value if self.outcome else "under way"
        return f"<Playback of {self.name!r}: {how}>"

    async def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until it is over, at most ``timeout`` seconds, whether or not anybody iterates.

        Without a timeout, it waits until ten seconds after everything sent up to it can have been
        played. Returns TIMED_OUT after that; an answer that comes later still sets :attr:`outcome`.
        Raises :class:`UnreadAudioError` if the connection is not read because of unread audio, and
        no other task reads that.
        """
        runtime, sent = self._runtime, self.sent
        until = math.inf if timeout is None else runtime.now() + timeout
        await runtime.checkpoint()

        def is_over() -> bool:
            final = timeout is None or not self._link.reads
            return not sent.is_open or (final and sent.outcome is not None)

        while not is_over() and runtime.now() < until:
            await self._until_answered(is_over, sent, until)
        return self.outcome or Outcome.TIMED_OUT
