"""Waiting for what becomes of the clips and marks that this end sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

import trio

from listenproto._app_session import AppSession, PlaybackDone
from listenproto._sent import Outcome, Sent
from listenproto_trio.unread import Unread

__all__ = ["Outcome", "Playback", "Timekeeper", "UnreadAudioError"]


class UnreadAudioError(Exception):
    """Waiting would never end: the answer comes after audio that no other task reads."""


class Playback:
    """A clip or a mark that was sent."""

    def __init__(self, sent: Sent, unread: Unread) -> None:
        assert sent.name is not None  # the session gives each clip an id
        self.name: Final = sent.name
        """The clip's id, or the mark's name."""
        self.sent: Final = sent
        """What the session knows of it; the :class:`PlaybackDone` event has the same."""
        self._unread = unread
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it is under way.

        If a killAudio or a clearMarks takes it within a second of its end, it may have been played
        all the same: then it stays under way for a second more, in case an answer comes.
        """
        return self.sent.outcome

    @property
    def heard(self) -> float:
        """Once it has ended: how many seconds of it the caller has heard (:attr:`Sent.heard`)."""
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
        until = math.inf if timeout is None else trio.current_time() + timeout
        await trio.lowlevel.checkpoint()
        while self.sent.is_open and trio.current_time() < until:
            if timeout is None and self.outcome is not None:
                break
            self.check_reader()
            with trio.move_on_at(until):
                await self._waiting.park()
        return self.outcome or Outcome.TIMED_OUT

    def check_reader(self) -> None:
        """Raise :class:`UnreadAudioError` if the answer waits for this task to read."""
        if self._unread.held and self._unread.reader in (None, trio.lowlevel.current_task()):
            raise UnreadAudioError(
                f"the answer to {self.name!r} comes after unread audio that no other task reads; "
                "iterate over the call in another task, or pass Answering(unread='drop_oldest')"
            )

    def recheck(self) -> None:
        """Let the waiting tasks check whether it is over, and whether they may still wait."""
        self._waiting.unpark_all()


class Timekeeper:
    """Calls the session when it asks for it, and wakes the tasks that wait for what has changed.

    ``dispatch`` gets the events of the session.
    """

    def __init__(self, session: AppSession, dispatch: Callable[[PlaybackDone], None]) -> None:
        self._session = session
        self._dispatch = dispatch
        self._playbacks = WeakValueDictionary[Sent, Playback]()
        self._due = math.inf
        self._sooner = trio.lowlevel.ParkingLot()
        self._news = trio.lowlevel.ParkingLot()

    @property
    def ahead(self) -> float:
        """Seconds of audio that the caller is still to hear, as far as this end can compute."""
        return self._session.ahead(trio.current_time())

    def playback(self, sent: Sent, unread: Unread) -> Playback:
        """The :class:`Playback` of that entry."""
        return self._playbacks.setdefault(sent, Playback(sent, unread))

    def done(self, sent: Sent) -> None:
        """It has ended: wake the tasks that wait for it."""
        playback = self._playbacks.get(sent)
        if playback is not None:
            playback.recheck()
        self.changed()

    def changed(self) -> None:
        """Something was sent or received: wake the tasks that wait for what it may change."""
        self._news.unpark_all()
        due = self._session.next_timeout()
        if due is not None and due < self._due:
            self._sooner.unpark_all()

    def recheck(self) -> None:
        """Let all waiting tasks check whether they may still wait."""
        self._news.unpark_all()
        for playback in [*self._playbacks.values()]:
            playback.recheck()

    def held_back(self) -> None:
        """Reading is held back, or was until now."""
        self._session.held_back(trio.current_time())
        self.recheck()

    async def news(self, until: float) -> None:
        """Wait until that time, or until something was sent or received."""
        with trio.move_on_at(until):
            await self._news.park()
        self._keep_time()

    def _keep_time(self) -> None:
        now, due = trio.current_time(), self._session.next_timeout()
        if due is not None and due <= now:
            for event in self._session.handle_timeout(now):
                self._dispatch(event)

    async def run(self) -> None:
        """Call the session in time; to be run as a task of the call."""
        while True:
            due = self._session.next_timeout()
            self._due = math.inf if due is None else due
            with trio.move_on_at(self._due):
                await self._sooner.park()
            self._keep_time()
