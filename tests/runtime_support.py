"""One test for each app end: on trio over our own transport and trio-websocket, and on asyncio.

The fixture ``each_end`` says which it is; ``virtual`` runs the test on its runtime. The tests wait
and start tasks by anyio, which is the same on both, but the calls know nothing of that.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial, wraps
from typing import Any, Final, Protocol, TypeAlias

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
from trio.testing import lockstep_stream_pair, memory_stream_pair

from listenproto import (
    DOCUMENTED,
    FLICKS,
    Answering,
    AppMessage,
    Close,
    Closed,
    Dtmf,
    HandlerCall,
    Heard,
    Limits,
    ListenResult,
    ListenTask,
    ListenVerb,
    Payload,
    Profile,
    Statistics,
)
from listenproto.asyncio import answer
from listenproto_trio import Call as TrioCall
from listenproto_trio import Key, PlatformCall, open_call_on, serve_stream
from listenproto_trio import talk as trio_talk
from listenproto_trio._driver import IDLE
from tests import asyncio_support, call_support, trio_support
from tests.asyncio_support import JumpingLoop, MemoryPlatform
from tests.call_support import ATTRIBUTES, FILLER, PROBE, RATE, News
from tests.recorded_playout import RecordedPlayout
from tests.trio_support import AppEnd, Far, bare_platform

ENDS: Final = (*AppEnd.ALL, "asyncio")
"""The app ends; all but the last are on trio."""

BUSY: Final = (trio.BusyResourceError, RuntimeError)
"""What is raised if two tasks do what only one can."""

Handler: TypeAlias = Callable[[Any], Awaitable[None]]


class _Now:
    end = ENDS[0]


def is_asyncio() -> bool:
    """Whether the calls of the test are on asyncio."""
    return _Now.end == "asyncio"


@contextmanager
def on_end(end: str) -> Iterator[None]:
    """Have the calls of a test on this app end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Now, "end", end)
        if not is_asyncio():
            patch.setattr(AppEnd, "serve", staticmethod(AppEnd.ALL[end]))
        yield


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on its runtime with a clock that jumps as soon as all tasks wait."""
    on_trio, on_asyncio = trio_support.virtual(test), asyncio_support.virtual(test)

    @wraps(test)
    def run(**fixtures: object) -> None:
        (on_asyncio if is_asyncio() else on_trio)(**fixtures)

    return run


def current_time() -> float:
    """Seconds since the test began."""
    return anyio.current_time() - (JumpingLoop.START if is_asyncio() else 0.0)


async def sleep_until(time: float) -> None:
    await anyio.sleep(time - current_time())


async def all_blocked() -> None:
    """Wait until all other tasks wait."""
    await (asyncio_support.all_blocked() if is_asyncio() else trio.testing.wait_all_tasks_blocked())


async def settled() -> None:
    """Wait until all that was sent is there, as the clock stands but for a moment."""
    if not is_asyncio():
        await trio.sleep(2 * IDLE)  # until the task that stands by reads
    await all_blocked()


class Shut(Protocol):
    """What carries nothing while it is shut."""

    def shut(self) -> None: ...
    def open(self) -> None: ...


class Platform(Protocol):
    """The platform's end of a call, on either runtime."""

    task: ListenTask

    @property
    def result(self) -> ListenResult | None: ...
    @property
    def closed(self) -> Closed | None: ...
    @property
    def error(self) -> Exception | None: ...
    @property
    def statistics(self) -> Statistics: ...
    def play(self, flicks: int) -> list[Heard]: ...
    def key(self, digit: str) -> None: ...
    def hang_up(self) -> None: ...
    async def capture(self, pcm: bytes) -> object: ...
    async def over(self) -> None: ...


class Line:
    """A call with both its ends, ``taken`` is what the platform took of the app's messages."""

    def __init__(self, app: HandlerCall, platform: Any, taken: list[AppMessage]) -> None:
        self.app: Any = app
        self.platform: Platform = platform
        self.taken = taken
        self.app_stream: Shut
        """The connection at the app."""
        self.platform_stream: Shut
        """The connection at the platform."""

    async def hear(self, seconds: float) -> None:
        """Let the caller hear so much, once all that was sent is there."""
        await all_blocked()
        self.platform.play(round(seconds * FLICKS))

    async def lose(self) -> None:
        """Lose the connection."""
        if isinstance(self.platform, MemoryPlatform):
            self.platform.lose()
        else:
            assert isinstance(self.platform_stream, trio.abc.AsyncResource)
            await trio.aclose_forcefully(self.platform_stream)

    def carry(self) -> None:
        """Carry over what was sent by the task of the platform itself."""
        if isinstance(self.platform, MemoryPlatform):
            self.platform.changed()
        else:
            assert isinstance(self.platform, PlatformCall)
            self.platform._driver.changed()


def calling(
    handler: Handler,
    verb: ListenVerb,
    *,
    answering: Answering | None = None,
    **options: Any,
) -> AbstractAsyncContextManager[Any]:
    """A platform in a call with a handler; at the end both are closed.

    Options: the ``profile`` of the platform, its ``limits``, ``on_message`` and ``tap``; in
    ``lockstep`` what is sent waits until it is read.
    """
    if is_asyncio():
        return asyncio_support.calling(handler, verb, answering=answering, **options)
    pair = lockstep_stream_pair if options.pop("lockstep", False) else memory_stream_pair
    options["platform"] = options.pop("profile", DOCUMENTED)
    return trio_support.calling(handler, verb, answering=answering, pair=pair, **options)


@asynccontextmanager
async def line(
    verb: ListenVerb,
    *,
    platform: Profile = DOCUMENTED,
    answering: Answering | None = None,
    limits: Limits | None = None,
    lockstep: bool = False,
    step: int = 65536,
) -> AsyncIterator[Line]:
    """A call of which the test holds both ends; on trio, streams carry ``step`` bytes at a time."""
    options: dict[str, Any] = {"answering": answering, "limits": limits}
    if is_asyncio():
        async with _asyncio_line(verb, profile=platform, lockstep=lockstep, **options) as both:
            yield both
    else:
        pair = lockstep_stream_pair if lockstep else memory_stream_pair
        options |= {"platform": platform, "pair": pair, "step": step}
        async with trio_support.line(verb, **options) as ends:
            both = Line(ends.app, ends.platform, ends.taken)
            both.app_stream, both.platform_stream = ends.app_stream, ends.platform_stream
            yield both


@asynccontextmanager
async def _asyncio_line(verb: ListenVerb, **options: Any) -> AsyncIterator[Line]:
    answered, done = asyncio.Event(), asyncio.Event()
    calls: list[HandlerCall] = []
    taken: list[AppMessage] = []

    async def handler(call: HandlerCall) -> None:
        calls.append(call)
        answered.set()
        await done.wait()

    async with asyncio_support.calling(
        handler, verb, on_message=taken.append, **options
    ) as platform:
        await answered.wait()
        both = Line(calls[0], platform, taken)
        both.app_stream, both.platform_stream = platform.to_app, platform.to_platform
        try:
            yield both
        finally:
            done.set()


async def still_works(both: Line | trio_support.Line) -> None:
    """A message passes in both directions, and neither end found anything wrong."""
    await both.app.send(PROBE)
    both.platform.key("9")
    async for event in both.app:
        if event == Dtmf("9", 800):
            break
    await settled()
    assert both.taken[-1] == PROBE
    assert both.app.error is None
    assert both.platform.error is None


async def fill_the_outbox(both: Line | trio_support.Line) -> int:
    """Send while the platform reads nothing, until sending waits; gives how many messages went."""
    both.platform_stream.shut()
    await all_blocked()
    sent = 0
    while True:
        await both.app.send(FILLER)
        sent += 1
        await all_blocked()
        if both.app.core.link.connection.waiting >= both.app.answering.limits.outbox_size:
            return sent


def over(websocket: Any, **options: Any) -> AbstractAsyncContextManager[Any]:
    """A call on a :func:`pipe`; the block is the handler."""
    return answer(websocket, **options) if is_asyncio() else TrioCall.over(websocket, **options)


def pipe(*coming: Payload, answers: bool = True) -> Any:
    """A WebSocket of which a test is the other end."""
    return (call_support.Pipe if is_asyncio() else trio_support.Pipe)(*coming, answers=answers)


class Scripted:
    """A platform's WebSocket of which a test says what comes; what is sent is lost."""

    def __init__(self) -> None:
        self._coming: deque[Payload] = deque(['{"callSid": "c"}'])
        self._news = News()

    async def receive(self) -> Payload:
        await self._news.until(lambda: bool(self._coming))
        return self._coming.popleft()

    async def send(self, payload: str | bytes) -> None:
        await anyio.lowlevel.checkpoint()

    async def close(self, code: int, reason: str) -> None:
        self._come(Close(code, reason))

    def _come(self, payload: Payload) -> None:
        self._coming.append(payload)
        self._news.tell()

    async def tell(self, payload: Payload) -> None:
        """Send that, and have it read."""
        self._come(payload)
        await all_blocked()

    async def came(self, name: str) -> None:
        """Tell that playout is at a mark."""
        await self.tell(json.dumps({"type": "mark", "data": {"name": name, "event": "playout"}}))

    async def done(self, name: str, **figures: object) -> None:
        """Tell that a clip is done."""
        await self.tell(json.dumps({"type": "playDone", "data": {"id": name, **figures}}))


@asynccontextmanager
async def far_away(
    verb: ListenVerb, profile: Profile, *, there: float, back: float
) -> AsyncIterator[tuple[HandlerCall, RecordedPlayout]]:
    """A call whose caller listens in silence, with so many seconds between its ends."""
    playout = RecordedPlayout(stream_rate=verb.stream_rate or RATE, profile=profile)
    answered, done = anyio.Event(), anyio.Event()
    calls: list[HandlerCall] = []

    async def handler(call: HandlerCall) -> None:
        calls.append(call)
        answered.set()
        await done.wait()

    answering = Answering(mode=verb.mode(), profile=profile)
    async with anyio.create_task_group() as tasks:
        if is_asyncio():
            memory = asyncio_support.calling(
                handler, verb, answering=answering, profile=profile, there=there, back=back
            )
            opened: AbstractAsyncContextManager[Any] = memory
        else:
            platform_stream, app_stream = memory_stream_pair()
            at_platform, at_app = Far(platform_stream, there), Far(app_stream, back)
            for far in (at_platform, at_app):
                tasks.start_soon(far.pump)
            tasks.start_soon(partial(serve_stream, handler, at_app, answering=answering))
            opened = open_call_on(at_platform, ListenTask(verb, ATTRIBUTES, profile=profile))
        async with opened as platform:
            platform.task.session.playout = playout
            tasks.start_soon(partial(talk, platform, b"", hang_up_after=math.inf))
            await answered.wait()
            yield calls[0], playout
            done.set()
            await platform.over()


class Bare(Protocol):
    """A platform that says what a test tells it to."""

    async def say(self, *payloads: str | bytes) -> None: ...


@asynccontextmanager
async def bare(
    handler: Handler, *, answering: Answering | None = None, lockstep: bool = False
) -> AsyncIterator[tuple[Bare, Callable[[], None]]]:
    """A bare platform in a call that has been accepted, and what cancels the app's end."""
    answering = answering or Answering()
    async with anyio.create_task_group() as tasks:
        if is_asyncio():
            platform = _BareMemory(lockstep)
            tasks.start_soon(partial(asyncio_support.serve, handler, platform, answering=answering))
            yield platform, tasks.cancel_scope.cancel
        else:
            pair = lockstep_stream_pair if lockstep else memory_stream_pair
            app_stream, platform_stream = pair()
            tasks.start_soon(partial(AppEnd.serve, handler, app_stream, answering=answering))
            yield await bare_platform(platform_stream), tasks.cancel_scope.cancel
        tasks.cancel_scope.cancel()


class _BareMemory:
    """A WebSocket on which a test says what comes, and what is sent is lost."""

    def __init__(self, lockstep: bool) -> None:
        self._coming: deque[str | bytes] = deque()
        self._lockstep = lockstep
        self._news = asyncio.Event()

    async def say(self, *payloads: str | bytes) -> None:
        self._coming += payloads
        await self._until(lambda: not (self._lockstep and self._coming))

    async def receive(self) -> Payload:
        await self._until(lambda: bool(self._coming))
        payload = self._coming.popleft()
        self._tell()
        return payload

    async def send(self, payload: str | bytes) -> None:
        await asyncio.sleep(0)

    async def close(self, code: int, reason: str) -> None:
        await asyncio.sleep(math.inf)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _until(self, ready: Callable[[], bool]) -> None:
        self._tell()
        while not ready():
            await self._news.wait()


async def talk(
    platform: Any,
    audio: bytes,
    *,
    keys: Iterable[Key] = (),
    hang_up_after: float | None = None,
    hear: Callable[[list[Heard]], None] = lambda heard: None,
    speed: float = 1.0,
) -> ListenResult:
    """Be the caller until the listen ends, as :func:`listenproto_trio.talk`."""
    options: dict[str, Any] = {"hang_up_after": hang_up_after, "hear": hear, "speed": speed}
    if isinstance(platform, PlatformCall):
        return await trio_talk(platform, audio, keys=keys, **options)
    assert isinstance(platform, MemoryPlatform)
    pressed = [(key.at, key.digit) for key in keys]
    return await asyncio_support.be_the_caller(platform, audio, keys=pressed, **options)
