"""Calls on asyncio: in memory, on a clock that jumps. Nothing here imports trio."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any, Final, TypeAlias

from listenproto import (
    DOCUMENTED,
    FLICKS,
    Answering,
    AppMessage,
    CallEnded,
    Close,
    Closed,
    Heard,
    Lateness,
    Limits,
    ListenResult,
    ListenTask,
    ListenVerb,
    Payload,
    Peer,
    Profile,
    Request,
    Statistics,
    Tap,
    TraceMoment,
    Violation,
)
from listenproto.asyncio import Call, answer
from tests.call_support import ATTRIBUTES, RATE, News

STEP: Final = 0.02
"""Seconds of a message of the platform."""


class _Jumping(selectors.DefaultSelector):
    """Waits no time at all: the clock jumps to when the wait would be over."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout != 0 and not self.loop.wake_who_waits_for_all():
            assert timeout is not None, "all tasks wait for something that never comes"
            self.loop.jump(timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock that jumps as soon as all tasks wait."""

    START: Final = 1024.0
    """As of a machine that has run for a while."""

    def __init__(self) -> None:
        selector = _Jumping()
        selector.loop = self
        self._virtual_now = self.START
        self._wait_for_all: list[asyncio.Future[None]] = []
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Go on to the next timer, or by so many seconds if that is sooner."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._virtual_now = min(self._virtual_now + seconds, timers[0].when())

    def wake_who_waits_for_all(self) -> bool:
        """All tasks wait: wake who wants to know. Gives whether there is anybody."""
        waiting, self._wait_for_all = self._wait_for_all, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return bool(waiting)

    async def all_blocked(self) -> None:
        """Wait until all other tasks wait, as trio's wait_all_tasks_blocked."""
        future = self.create_future()
        self._wait_for_all.append(future)
        await future


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on asyncio with a clock that jumps as soon as all tasks wait.

    A test in which everything is stuck fails at once. At its end no task may be left.
    """

    @wraps(test)
    def run(**fixtures: object) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(_awaited(test(**fixtures)))

    return run


async def _awaited(test: Awaitable[None]) -> None:
    async with asyncio.timeout(86400):
        await test
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def all_blocked() -> None:
    """Wait until all other tasks wait."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    await loop.all_blocked()


async def sleep_until(time: float) -> None:
    await asyncio.sleep(time - asyncio.get_running_loop().time())


class Gate:
    """One direction of a connection, on which all takes so many seconds.

    Nothing is read through it while it is shut.
    """

    def __init__(self, changed: Callable[[], None], delay: float) -> None:
        self._is_open = True
        self._waiting: deque[tuple[float, Payload]] = deque()
        self._changed = changed
        self._delay = delay

    def shut(self) -> None:
        self._is_open = False

    def open(self) -> None:
        self._is_open = True
        self._changed()

    def put(self, payload: Payload) -> None:
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + self._delay, payload))
        if self._delay:
            loop.call_at(self._waiting[-1][0], self._changed)

    def take(self) -> Payload:
        return self._waiting.popleft()[1]

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def has_payload(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._is_open and not self.is_empty and self._waiting[0][0] <= now


class MemorySocket:
    """The WebSocket that the app has of a :class:`MemoryPlatform`."""

    def __init__(self, platform: MemoryPlatform) -> None:
        self._platform = platform

    async def receive(self) -> Payload:
        platform = self._platform
        await platform.news.until(lambda: platform.to_app.has_payload or platform.is_lost)
        if not platform.to_app.has_payload:
            raise ConnectionResetError
        payload = platform.to_app.take()
        if isinstance(payload, Close):
            platform.app_closed(payload.code, "")
        platform.changed()
        return payload

    async def send(self, payload: str | bytes) -> None:
        await self._write(payload)

    async def close(self, code: int, reason: str) -> None:
        platform = self._platform
        try:
            await self._write(Close(code, reason))
            await platform.news.until(lambda: platform.closed is not None)
        except asyncio.CancelledError:
            platform.lose()
            raise

    async def _write(self, payload: Payload) -> None:
        platform = self._platform
        if platform.is_lost:
            raise ConnectionResetError
        platform.to_platform.put(payload)
        platform.changed()
        if platform.is_lockstep:
            await platform.news.until(lambda: platform.to_platform.is_empty or platform.is_lost)


class MemoryPlatform:
    """The platform's end of a call in memory, with the methods of a PlatformCall on trio.

    What one end sends is at the other at once, or after ``there`` and ``back`` seconds. In
    lockstep, sending waits until it has been read.
    """

    def __init__(
        self,
        verb: ListenVerb,
        *,
        profile: Profile = DOCUMENTED,
        limits: Limits | None = None,
        on_message: Callable[[AppMessage], None] = lambda message: None,
        tap: Tap | None = None,
        lockstep: bool = False,
        there: float = 0.0,
        back: float = 0.0,
    ) -> None:
        self.task = ListenTask(verb, ATTRIBUTES, profile=profile, keep_passed=tap is not None)
        self.socket = MemorySocket(self)
        self.closed: Closed | None = None
        self.is_lost = False
        self.is_lockstep = lockstep
        self.samples_dropped = self.events_dropped = 0
        self.news = News()
        self.to_app = Gate(self.changed, back)
        self.to_platform = Gate(self.changed, there)
        self._limits = limits or Limits()
        self._on_message = on_message
        self._tap = tap
        self._tell(Peer.APP, TraceMoment.OPEN)
        self.task.connected()
        self.changed()

    error = None
    """A MemorySocket breaks no rule of WebSockets."""

    @property
    def result(self) -> ListenResult | None:
        return self.task.result

    @property
    def statistics(self) -> Statistics:
        return Statistics.of(
            self.task.session.received,
            self.task.session.sent,
            Lateness(soonest=0.0),
            buffered=self.task.buffered / FLICKS,
            events_dropped=self.events_dropped,
            samples_dropped=self.samples_dropped,
        )

    def play(self, flicks: int) -> list[Heard]:
        heard = self.task.play(flicks)
        self.changed()
        return heard

    def key(self, digit: str) -> None:
        self.task.key(digit)
        self.changed()

    def hang_up(self) -> None:
        self.task.hang_up()
        self.changed()

    async def capture(self, pcm: bytes) -> None:
        await asyncio.sleep(0)
        await self.news.until(lambda: self.closed is not None or self._has_room)
        self.task.capture(pcm)
        self.changed()

    @property
    def _has_room(self) -> bool:
        return self.task.waiting < self._limits.outbox_size

    async def over(self) -> None:
        await self.news.until(lambda: self.closed is not None)

    def say(self, payload: Payload) -> None:
        """Send that, as no task would."""
        self.to_app.put(payload)
        self.changed()

    def lose(self) -> None:
        """The connection is lost."""
        if not self.is_lost and self.closed is None:
            self.is_lost = True
            self.task.connection_lost()
            self._tell(Peer.APP, TraceMoment.LOST)
            self.closed = Closed(1006, "", clean=False)
            self.changed()

    def app_closed(self, code: int, reason: str) -> None:
        """The app has closed, or answered a close."""
        if self.closed is None:
            self.task.closed(code, reason)
            self.closed = Closed(code, reason, clean=True)

    def changed(self) -> None:
        """Something was done at one of the ends: carry over what the other can read."""
        while self.to_platform.has_payload and self.closed is None:
            payload = self.to_platform.take()
            if isinstance(payload, Close):
                self._carry()
                self.to_app.put(Close(payload.code))
                self.app_closed(payload.code, payload.reason)
            else:
                for event in self.task.receive(payload):
                    if isinstance(event, AppMessage):
                        self.events_dropped += isinstance(event, Violation) and event.dropped
                        self._on_message(event)
        self._carry()
        self.news.tell()

    def _carry(self) -> None:
        """Carry to the app what the task has sent."""
        while self.closed is None and self.task.has_data_to_send:
            if self.is_lockstep and not self.to_app.is_empty:
                break
            self.to_app.put(next(self.task.data_to_send()))
        if self._tap is not None:
            for sender, payload in self.task.passed():
                self._tell(sender, payload)

    def _tell(self, sender: Peer, passed: Payload | TraceMoment) -> None:
        if self._tap is not None:
            self._tap(sender, passed)


Handler: TypeAlias = Callable[[Call], Awaitable[None]]

REQUEST: Final = Request("/", ())


async def serve(handler: Handler, websocket: object, *, answering: Answering) -> None:
    """Answer a call as a framework's handler does."""
    with suppress(CallEnded):
        async with answer(websocket, request=REQUEST, answering=answering) as call:
            await handler(call)


@asynccontextmanager
async def calling(
    handler: Handler,
    verb: ListenVerb,
    *,
    answering: Answering | None = None,
    **options: Any,
) -> AsyncIterator[MemoryPlatform]:
    """A platform in a call with a handler; at the end both are closed."""
    answering = answering or Answering(mode=verb.mode())
    platform = MemoryPlatform(verb, **options)
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(handler, platform.socket, answering=answering))
        try:
            yield platform
        finally:
            platform.hang_up()
            await platform.over()


async def talk(
    platform: MemoryPlatform,
    said: bytes,
    *,
    lost: Callable[[float], bool] = lambda at: False,
    hear: Callable[[list[Heard]], None] = lambda heard: None,
) -> None:
    """Say that in real time, and hear what the app plays meanwhile; of some audio all is lost."""
    size = round(STEP * RATE) * 2 * platform.task.verb.channels
    start = asyncio.get_running_loop().time()
    for number in range(len(said) // size):
        await sleep_until(start + (number + 1) * STEP)
        hear(platform.play(round(STEP * FLICKS)))
        pcm = said[number * size : (number + 1) * size]
        platform.task.capture(pcm, lost=lost(number * STEP))
        platform.changed()


async def be_the_caller(
    platform: MemoryPlatform,
    audio: bytes,
    *,
    keys: Iterable[tuple[float, str]] = (),
    hang_up_after: float | None = None,
    hear: Callable[[list[Heard]], None] = lambda heard: None,
    speed: float = 1.0,
) -> ListenResult:
    """Be the caller until the listen ends: say that and then silence, press keys, and hear."""
    size = round(STEP * platform.task.verb.sample_rate) * 2 * platform.task.verb.channels
    if hang_up_after is None:
        hang_up_after = len(audio) / size * STEP
    pending = deque(sorted(keys))
    start, number = asyncio.get_running_loop().time(), 0
    while platform.result is None:
        number += 1
        await sleep_until(start + number * STEP / speed)
        hear(platform.play(round(STEP * FLICKS)))
        while pending and pending[0][0] <= number * STEP:
            platform.key(pending.popleft()[1])
        await platform.capture(audio[(number - 1) * size : number * size].ljust(size, b"\0"))
        if number * STEP >= hang_up_after:
            platform.hang_up()
    await platform.over()
    return platform.result
