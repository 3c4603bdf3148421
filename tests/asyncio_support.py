"""Calls on asyncio: in memory, on a clock that jumps. Nothing here imports trio."""

from __future__ import annotations

import asyncio
import logging
import selectors
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

from listenproto import (
    DOCUMENTED,
    FLICKS,
    AppSession,
    Audio,
    CallEnded,
    CallEvent,
    Close,
    Closed,
    Disconnect,
    Heard,
    ListenTask,
    ListenVerb,
    Message,
    Metadata,
    Payload,
    Peer,
    ProtocolError,
    TraceMoment,
    Watcher,
)
from listenproto.recording import TraceFile
from tests.call_support import ATTRIBUTES, RATE

STEP: Final = 0.02
"""Seconds of a message of the platform."""


class _Jumping(selectors.DefaultSelector):
    """Waits no time at all: the clock jumps to when the wait would be over."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "all tasks wait for something that never comes"
        self.now += max(0.0, timeout)
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock that jumps as soon as all tasks wait."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on asyncio with a clock that jumps as soon as all tasks wait."""

    @wraps(test)
    def run(**fixtures: object) -> None:
        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            runner.run(_awaited(test(**fixtures)))

    return run


async def _awaited(test: Awaitable[None]) -> None:
    await test


async def sleep_until(time: float) -> None:
    await asyncio.sleep(time - asyncio.get_running_loop().time())


class MemoryCall:
    """A call on asyncio with both its ends; what one sends is at the other at once.

    The application's end is what a recorder needs of a call, and what handlers use most.
    """

    def __init__(self, verb: ListenVerb, *, trace: TraceFile | None = None) -> None:
        self.task = ListenTask(verb, ATTRIBUTES)
        self.session = AppSession(verb=verb, keep_passed=True)
        self.stream_rate = RATE
        self.profile = DOCUMENTED
        self.watchers: list[Watcher] = []
        self.log = logging.getLogger("listenproto")
        self.samples_dropped = 0
        self.closed: Closed | None = None
        self.error: ProtocolError | None = None
        self.failure: Exception | None = None
        self.disconnected = False
        self._trace = trace
        self._clock = asyncio.get_running_loop().time
        self._events: asyncio.Queue[CallEvent | None] = asyncio.Queue()
        self._tell(Peer.APP, TraceMoment.OPEN)
        self.task.connected()
        self.exchange()

    @property
    def metadata(self) -> Metadata:
        assert self.session.metadata is not None
        return self.session.metadata

    async def send(self, message: Message) -> None:
        """Send a message of the app."""
        if self.session.ended:
            raise CallEnded("the call is over")
        self.disconnected = self.disconnected or isinstance(message, Disconnect)
        now = self._clock()
        self.session.send(message, now)
        for watcher in self.watchers:
            watcher.sent(message, now)
        self.exchange()

    def __aiter__(self) -> MemoryCall:
        return self

    async def __anext__(self) -> CallEvent:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def exchange(self) -> None:
        """Carry to each end what the other has sent."""
        while self.task.has_outgoing or self.session.has_outgoing:
            for payload in self.task.outgoing():
                if isinstance(payload, Close):
                    self.session.closed(payload.code, payload.reason)
                    self._over(Closed(payload.code, payload.reason, clean=True))
                else:
                    self._receive(payload)
                self._note()
            for payload in self.session.outgoing():
                if isinstance(payload, Close):
                    self.task.closed(payload.code, payload.reason)
                else:
                    self.task.receive(payload)
            self._note()

    def key(self, digit: str) -> None:
        """The caller presses a key."""
        self.task.key(digit)
        self.exchange()

    def hang_up(self) -> None:
        """The caller hangs up."""
        self.task.hang_up()
        self.exchange()

    def lose(self) -> None:
        """The connection is lost."""
        self.session.connection_lost()
        self._tell(Peer.PLATFORM, TraceMoment.LOST)
        self._over(Closed(1006, "", clean=False))

    def _receive(self, payload: str | bytes) -> None:
        now = self._clock()
        for event in self.session.receive(payload, now):
            if isinstance(event, Audio):
                for watcher in self.watchers:
                    watcher.received(event, now)
            if isinstance(event, CallEvent):
                self._events.put_nowait(event)

    def _over(self, closed: Closed) -> None:
        self.closed = closed
        self._events.put_nowait(None)

    def _note(self) -> None:
        for sender, payload in self.session.passed():
            self._tell(sender, payload)

    def _tell(self, sender: Peer, passed: Payload | TraceMoment) -> None:
        if self._trace is not None:
            self._trace(sender, passed)


async def talk(
    call: MemoryCall,
    said: bytes,
    *,
    lost: Callable[[float], bool] = lambda at: False,
    hear: Callable[[list[Heard]], None] = lambda heard: None,
) -> None:
    """Say that in real time, and hear what the app plays meanwhile; of some audio all is lost."""
    size = round(STEP * RATE) * 2 * call.task.verb.channels
    start = asyncio.get_running_loop().time()
    for number in range(len(said) // size):
        await sleep_until(start + (number + 1) * STEP)
        hear(call.task.play(round(STEP * FLICKS)))
        pcm = said[number * size : (number + 1) * size]
        call.task.capture(pcm, lost=lost(number * STEP))
        call.exchange()
