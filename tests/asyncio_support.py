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
    Answering,
    AppCall,
    CallEvent,
    Close,
    Ending,
    Heard,
    ListenTask,
    ListenVerb,
    Message,
    Metadata,
)
from listenproto.recording import TraceFile
from tests.call_support import ATTRIBUTES, RATE

STEP: Final = 0.02
"""Seconds of a message of the platform."""


class _Jumping(selectors.DefaultSelector):
    """Waits no time at all: the clock jumps to when the wait would be over."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0  # as of a machine that has run for a while

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
        self._clock = asyncio.get_running_loop().time
        tap = None if trace is None else lambda session: trace
        self.core = AppCall(
            Answering(verb=verb, unread="hold", tap=tap), now=self._clock(), over_messages=True
        )
        self.session = self.core.session
        self.stream_rate = RATE
        self.profile = DOCUMENTED
        self.watchers = self.core.watchers
        self.log = logging.getLogger("listenproto")
        self.samples_dropped = 0
        self._news = asyncio.Event()
        self.task.connected()
        self.exchange()

    @property
    def metadata(self) -> Metadata:
        assert self.core.metadata is not None
        return self.core.metadata

    @property
    def end(self) -> Ending | None:
        return self.core.end

    @property
    def disconnected(self) -> bool:
        return self.core.disconnected

    async def send(self, message: Message) -> None:
        """Send a message of the app."""
        self.core.send(message, self._clock())
        self.exchange()

    def __aiter__(self) -> MemoryCall:
        return self

    async def __anext__(self) -> CallEvent:
        while (event := self.core.next_event(self._clock())) is None:
            if self.core.end is not None:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return event

    def exchange(self) -> None:
        """Carry to each end what the other has sent."""
        while self.task.has_outgoing or self.session.has_outgoing:
            self.core.receive([*self.task.outgoing()], self._clock())
            for payload in self.core.data_to_send(self._clock()) or ():
                if isinstance(payload, Close):
                    self.task.closed(payload.code, payload.reason)
                else:
                    self.task.receive(payload)
        self._news.set()

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
        self.core.receive([Close(1006)], self._clock())
        self._news.set()


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
