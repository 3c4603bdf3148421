"""Many simulated callers at once, in real time, as a load for an app.

A task for each caller would be woken twice in 20 ms, once by the clock and once by the network,
and waking a task costs more than what it then does. So one task does it for all: it takes the steps
that are due, then reads what has come on all their sockets, then waits. The calls are spread over
the 20 ms, so that they are not all due at once. What has come is read up to a millisecond late.
"""

from __future__ import annotations

import heapq
import selectors
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs
import trio

from listenproto._listen_result import ListenResult
from listenproto._task import MESSAGES_PER_SECOND
from listenproto_trio._caller import STEP_TIME, Caller, Hear, Key
from listenproto_trio._client import PlatformCall

__all__ = ["Spread", "Stage"]

TURN: Final = 0.001
"""The shortest time between two turns, in seconds."""
APART: Final = (5**0.5 - 1) / 2
"""The golden ratio: its multiples, less their whole parts, are evenly spread however many."""
GRAIN: Final = 1e-4
"""How exact a :class:`Spread` is, in seconds."""


class Spread:
    """How many seconds things took: any number of them, in little memory."""

    def __init__(self) -> None:
        self.worst = 0.0
        """The greatest, exactly; 0 without any."""
        self._counts: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, seconds: float) -> None:
        """Another one."""
        self._counts[round(seconds / GRAIN)] += 1
        if seconds > self.worst:
            self.worst = seconds

    def below(self, share: float) -> float:
        """The time that this share of them did not exceed, to 0.1 ms; 0 without any."""
        left = share * self._counts.total()
        for grains in sorted(self._counts):
            left -= self._counts[grains]
            if left <= 0:
                return grains * GRAIN
        return 0.0


@attrs.define(eq=False)
class _Actor:
    """A caller on the stage."""

    call: PlatformCall
    caller: Caller
    start: float
    steps: int = 1
    """The number of the next step."""
    done: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None
    """What it raised: that is its own call's fault alone."""

    @property
    def due(self) -> float:
        """When the next step is due."""
        return self.start + self.steps * STEP_TIME


class Stage:
    """Run :meth:`run` as a task, and :meth:`talk` for each call."""

    def __init__(self) -> None:
        self.late = Spread()
        """How late the steps were: the sends of each call, every 20 ms."""
        self.round_trips = Spread()
        """How long the apps took to answer pings, one a second for each call."""
        self._due: list[tuple[float, int, _Actor]] = []
        self._came = trio.Event()
        """Set if there is somebody new."""
        self._placed = 0
        self._sockets = selectors.DefaultSelector()

    async def talk(
        self,
        call: PlatformCall,
        audio: bytes,
        *,
        keys: Iterable[Key] = (),
        hang_up_after: float | None = None,
        hear: Hear = lambda heard: None,
    ) -> ListenResult:
        """As :func:`~listenproto_trio.talk`, in real time, up to 20 ms after it is called."""
        caller = Caller(call, audio, keys=keys, hang_up_after=hang_up_after, hear=hear)
        self._placed += 1
        phase = self._placed * APART % 1 * STEP_TIME
        actor = _Actor(call, caller, trio.current_time() + phase)
        descriptor = call._lend()
        if descriptor is not None:
            if descriptor in self._sockets.get_map():  # a socket that was closed had this number
                self._sockets.unregister(descriptor)
            self._sockets.register(descriptor, selectors.EVENT_READ, call)
        try:
            heapq.heappush(self._due, (actor.due, self._placed, actor))
            self._came.set()
            await actor.done.wait()
        finally:
            actor.done.set()
            self._leave(descriptor, call)
            call._take_back()
        if actor.error is not None:
            raise actor.error
        await call.over()
        assert call.task.result is not None
        return call.task.result

    def _leave(self, descriptor: int | None, call: PlatformCall) -> None:
        key = None if descriptor is None else self._sockets.get_map().get(descriptor)
        if key is not None and key.data is call:
            self._sockets.unregister(key.fd)

    async def run(self) -> None:
        """Take the steps of all calls; runs until it is cancelled."""
        try:
            while True:
                now = trio.current_time()
                self._step(now)
                for key, _ in self._sockets.select(0):
                    if not key.data._read_now():
                        self._sockets.unregister(key.fd)
                await self._wait(now + TURN)
        finally:
            self._sockets.close()

    def _step(self, now: float) -> None:
        """Take each step that is due."""
        while self._due and self._due[0][0] <= now:
            due, number, actor = heapq.heappop(self._due)
            call = actor.call
            if actor.done.is_set():  # cancelled
                continue
            late = trio.current_time() - due
            call.lateness.note(late)
            self.late.add(late)
            try:
                self._act(actor)
            except Exception as exc:
                actor.error = exc
            if actor.error is not None or call.task.result is not None:
                actor.done.set()
            else:
                heapq.heappush(self._due, (actor.due, number, actor))

    def _act(self, actor: _Actor) -> None:
        call, caller = actor.call, actor.caller
        call.capture_now(caller.step(actor.steps))
        caller.leave()
        if actor.steps % MESSAGES_PER_SECOND == 1:
            call._ping(self.round_trips.add)
        actor.steps += 1

    async def _wait(self, turn: float) -> None:
        """Wait until a step is due or something comes, not before the next turn."""
        if not self._due:
            self._came = trio.Event()
            await self._came.wait()
            return
        due = self._due[0][0]
        if due <= turn:
            await trio.sleep_until(turn)
            return
        await trio.sleep_until(turn)
        with trio.move_on_at(due):
            await trio.lowlevel.wait_readable(self._sockets.fileno())
