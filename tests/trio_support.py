"""Both ends of a call in one test: streams in memory, a clock that jumps, peers that misbehave."""

from __future__ import annotations

import ssl
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache, partial, wraps
from types import SimpleNamespace
from typing import Final, Protocol, TypeAlias

import pytest
import trio
import trio_websocket
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from listenproto import (
    DOCUMENTED,
    FLICKS,
    SUBPROTOCOL,
    ListenTask,
    ListenVerb,
    Profile,
)
from listenproto._upgrade import Accepted, Request
from listenproto._wire import ClientWire, Closed, ServerWire, Wire, WireEvent
from listenproto_trio import (
    Answering,
    AppMessage,
    Call,
    CallEnded,
    Handler,
    Limits,
    PlatformCall,
    Tap,
    TrioWebSocket,
    _carriers,
    open_call_on,
    serve_stream,
)
from tests import call_support
from tests.call_support import ATTRIBUTES as ATTRIBUTES
from tests.call_support import CALL_SID as CALL_SID
from tests.call_support import CLIPS as CLIPS
from tests.call_support import DROPPED as DROPPED
from tests.call_support import FILLER as FILLER
from tests.call_support import PROBE as PROBE
from tests.call_support import RATE as RATE
from tests.call_support import STREAM as STREAM
from tests.call_support import audio as audio
from tests.call_support import clip as clip
from tests.call_support import small_outbox as small_outbox
from tests.depth import DEEP


def _running(
    test: Callable[..., Awaitable[None]], seconds: float, clock: Callable[[], trio.abc.Clock | None]
) -> Callable[..., None]:
    @wraps(test)
    def run(**fixtures: object) -> None:
        async def limited() -> None:
            with trio.fail_after(seconds):
                await test(**fixtures)

        trio.run(limited, clock=clock())

    return run


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on trio with a clock that jumps as soon as all tasks wait.

    A test in which everything is stuck fails at once, as the clock jumps to the end of the day.
    """
    return _running(test, 86400, lambda: MockClock(autojump_threshold=0))


def real(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on trio with real sockets and real time."""
    return _running(test, 30, lambda: None)


class Valve(trio.abc.Stream):
    """A stream that carries little at a time, and receives nothing while it is shut."""

    def __init__(self, stream: trio.abc.Stream, most: int = 65536) -> None:
        self._stream = stream
        self._most = most
        self._opened = trio.Event()
        self._opened.set()

    def shut(self) -> None:
        self._opened = trio.Event()

    def open(self) -> None:
        self._opened.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        opened = self._opened
        await opened.wait()
        return await self._stream.receive_some(min(max_bytes or self._most, self._most))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for start in range(0, len(data), self._most):
            await self._stream.send_all(data[start : start + self._most])

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.open()
        await self._stream.aclose()


class Far(trio.abc.Stream):
    """A stream over which everything comes ``delay`` seconds later."""

    def __init__(self, stream: trio.abc.Stream, delay: float) -> None:
        self._stream = stream
        self._delay = delay
        self._came: deque[tuple[float, bytes]] = deque()
        self._news = trio.Event()

    async def pump(self) -> None:
        """Note when it came; a task of its own."""
        while True:
            try:
                data = bytes(await self._stream.receive_some())
            except trio.ClosedResourceError:
                data = b""
            self._came.append((trio.current_time() + self._delay, data))
            self._news.set()
            if not data:
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while not self._came:
            self._news = trio.Event()
            await self._news.wait()
        await trio.sleep_until(self._came[0][0])
        return self._came.popleft()[1]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Line:
    """A call with both its ends, ``taken`` is what the platform took of the app's messages."""

    def __init__(self, app_stream: Valve, platform_stream: Valve) -> None:
        self.app_stream = app_stream
        self.platform_stream = platform_stream
        self.taken: list[AppMessage] = []
        self.app: Call
        self.platform: PlatformCall

    async def hear(self, seconds: float) -> None:
        """Let the caller hear so much, once all that was sent is there."""
        await wait_all_tasks_blocked()
        self.platform.play(round(seconds * FLICKS))


# Streams in memory lose nothing either, so that tests in virtual time read as calls on sockets do.
_carriers.CANCEL_SAFE = (*_carriers.CANCEL_SAFE, trio.StapledStream, Valve)


async def serve_over(
    handler: Handler, stream: trio.abc.Stream, *, answering: Answering | None = None
) -> None:
    """As serve_stream, but with trio-websocket between the stream and the call."""
    async with stream, trio.open_nursery() as nursery:
        asked = await trio_websocket.wrap_server_stream(nursery, stream)
        websocket = await asked.accept(subprotocol=SUBPROTOCOL)
        with suppress(CallEnded):
            async with Call.over(
                TrioWebSocket(websocket), request=Request(asked.path, ()), answering=answering
            ) as call:
                await handler(call)
        nursery.cancel_scope.cancel()


class Listening(trio.abc.Listener[trio.abc.Stream]):
    """A listener in memory."""

    socket = SimpleNamespace(getsockname=lambda: ("memory", 0))

    def __init__(self) -> None:
        self.opened = self.accepted = self.closed = False
        self._taken, self._dialled = trio.open_memory_channel[trio.abc.Stream](10)

    @contextmanager
    def instead_of_a_port(self) -> Iterator[None]:
        """Have it opened where a port is."""

        async def open_tcp_listeners(port: int, host: str | None) -> list[Listening]:
            await trio.lowlevel.checkpoint()
            self.opened = True
            return [self]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trio, "open_tcp_listeners", open_tcp_listeners)
            yield

    def take(self, stream: trio.abc.Stream) -> None:
        """Have this stream accepted."""
        self._taken.send_nowait(stream)

    def dial(self) -> trio.abc.Stream:
        """The other end of a narrow stream that is accepted."""
        app_stream, platform_stream = memory_stream_pair()
        self.take(Valve(app_stream, 1000))
        return platform_stream

    async def accept(self) -> trio.abc.Stream:
        stream = await self._dialled.receive()
        self.accepted = True
        return stream

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class AppEnd:
    """Which app end the calls of a test have; see the fixture each_app_end."""

    ALL: Final = {"our transport": serve_stream, "trio-websocket": serve_over}
    serve = staticmethod(serve_stream)


class _Pair(Protocol):
    def __call__(self) -> tuple[trio.abc.Stream, trio.abc.Stream]: ...


@asynccontextmanager
async def calling(
    handler: Handler,
    verb: ListenVerb,
    *,
    platform: Profile = DOCUMENTED,
    answering: Answering | None = None,
    limits: Limits | None = None,
    pair: _Pair = memory_stream_pair,
    on_message: Callable[[AppMessage], None] | None = None,
    tap: Tap | None = None,
) -> AsyncIterator[PlatformCall]:
    """A platform in a call with a handler; at the end both are closed."""
    platform_stream, app_stream = pair()
    answering = answering or Answering(mode=verb.mode())
    task = ListenTask(verb, ATTRIBUTES, profile=platform, keep_passed=tap is not None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(AppEnd.serve, handler, app_stream, answering=answering))
        async with open_call_on(
            platform_stream, task, limits=limits, on_message=on_message, tap=tap
        ) as call:
            yield call


@asynccontextmanager
async def line(
    verb: ListenVerb,
    *,
    platform: Profile = DOCUMENTED,
    answering: Answering | None = None,
    limits: Limits | None = None,
    pair: _Pair = memory_stream_pair,
    step: int = 65536,
) -> AsyncIterator[Line]:
    """A call of which the test holds both ends."""
    platform_stream, app_stream = (Valve(stream, step) for stream in pair())
    both = Line(app_stream, platform_stream)
    answered, done = trio.Event(), trio.Event()

    async def handler(call: Call) -> None:
        both.app = call
        answered.set()
        await done.wait()

    async with calling(
        handler,
        verb,
        platform=platform,
        answering=answering,
        limits=limits,
        pair=lambda: (platform_stream, app_stream),
        on_message=both.taken.append,
    ) as both.platform:
        await answered.wait()
        try:
            yield both
        finally:
            done.set()


@cache
def identities() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client which trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("app.example").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def when_stuck(then: Callable[[], None]) -> None:
    await wait_all_tasks_blocked()
    then()


Place: TypeAlias = tuple[str, ...]
"""Where a task waits: the lines of the package and of the tests that are on its stack."""


def place_of(task: trio.lowlevel.Task) -> Place:
    """Where a task waits now, as far as it is of an operation that can be interrupted.

    How a library waits is its own affair.
    """
    lines: list[str] = []
    for frame, line in task.iter_await_frames():
        if frame.f_code is Interruption.of.__code__:
            lines.clear()
        elif frame.f_globals["__name__"].startswith(("listenproto_trio.", "tests.")):
            lines.append(f"{frame.f_code.co_qualname}:{line}")
    return task.name, *lines


class Interruption(trio.abc.Instrument):
    """Cancels an operation at its ``nth`` checkpoint, all its tasks together; never for 0.

    With a ``place`` those count that are there. ``met`` has the place of each checkpoint that the
    operation came to, up to that.
    """

    def __init__(self, nth: int, place: Place | None = None) -> None:
        self._left = nth
        self._place = place
        self._scope = trio.CancelScope()
        self._task: trio.lowlevel.Task | None = None
        self.met: list[Place] = []

    @property
    def reached(self) -> bool:
        """Whether the operation had so many checkpoints at all."""
        return self._scope.cancel_called

    async def of(self, operation: Callable[[], Awaitable[object]]) -> bool:
        """Run the operation; whether it was cut short."""
        self._task = trio.lowlevel.current_task()
        self._outside = set(self._task.child_nurseries)
        trio.lowlevel.add_instrument(self)
        try:
            with self._scope:
                await operation()
        finally:
            trio.lowlevel.remove_instrument(self)
        return self._scope.cancelled_caught

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.reached or not self._belongs(task):
            return
        place = place_of(task)
        self.met.append(place)
        if self._place in (None, place):
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()

    def _belongs(self, task: trio.lowlevel.Task | None) -> bool:
        """Whether a task is the operation's, or was started by one that is."""
        while task is not None and task is not self._task:
            nursery = task.parent_nursery
            if nursery is None or nursery in self._outside:
                return False
            task = nursery.parent_task
        return task is not None


Scenario: TypeAlias = Callable[[Interruption], Awaitable[None]]
"""What is interrupted in it, it says itself."""


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


def living() -> int:
    """How many tasks there are."""
    return trio.lowlevel.current_statistics().tasks_living


SMALL: Final = 20
"""A scenario with so many checkpoints is always interrupted at each of them."""


async def walk(scenario: Scenario) -> int:
    """Play a scenario whole, and interrupted at each of its checkpoints in turn.

    Gives how many these are. Of more than SMALL it is by default interrupted at two for each place
    where it waits: the first there, and the last. No task is left behind each time.
    """
    tasks = living()

    async def play(interruption: Interruption) -> bool:
        await scenario(interruption)
        assert living() == tasks
        return interruption.reached

    whole = Interruption(0)
    await play(whole)
    if DEEP or len(whole.met) <= SMALL:
        walked = 0
        while await play(Interruption(walked + 1)):
            walked += 1
        assert walked > 0
        return walked
    for place, times in Counter(whole.met).items():
        assert await play(Interruption(1, place)), place
        if times > 1:
            await play(Interruption(times, place))  # its order may differ, and have less of them
    return len(whole.met)


def repeatable(test: Callable[..., None]) -> Callable[..., None]:
    """Have trio choose the same order of tasks each time: hypothesis sees to that."""
    return settings(max_examples=1, database=None)(given(order=st.none())(test))


class Bare:
    """The WebSocket of one end and nothing behind it: it says what a test tells it to."""

    def __init__(self, stream: trio.abc.Stream, wire: Wire) -> None:
        self.stream = stream
        self.wire = wire
        self._events: list[WireEvent] = []

    async def flush(self) -> None:
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(self.wire.data_to_send())

    async def say(self, *payloads: str | bytes) -> None:
        for payload in payloads:
            self.wire.send(payload)
        await self.flush()

    async def hear(self) -> WireEvent:
        """The next event, answered as the wire answers by itself; Closed at the end."""
        while not self._events:
            try:
                data = bytes(await self.stream.receive_some())
            except trio.BrokenResourceError:
                data = b""
            self.wire.feed(data)
            self._events += self.wire.events()
        return self._events.pop(0)

    async def closing(self) -> Closed:
        """How the other end closes; what comes in front of it is passed over."""
        while not isinstance(event := await self.hear(), Closed):
            pass
        return event


def asking(stream: trio.abc.Stream, target: str = "/", **headers: str) -> Bare:
    """A platform's WebSocket that is about to ask for a call."""
    asked = [(name.replace("_", "-"), value) for name, value in headers.items()]
    wire = ClientWire("app.example", target, subprotocols=[SUBPROTOCOL], headers=asked)
    return Bare(stream, wire)


async def bare_platform(stream: trio.abc.Stream) -> Bare:
    """A platform's WebSocket that the app has accepted; the metadata is still to be sent."""
    platform = asking(stream)
    await platform.flush()
    assert isinstance(await platform.hear(), Accepted)
    return platform


async def bare_app(stream: trio.abc.Stream, subprotocol: str | None = SUBPROTOCOL) -> Bare:
    """An app's WebSocket that has accepted the platform's request."""
    wire = ServerWire()
    app = Bare(stream, wire)
    assert isinstance(await app.hear(), Request)
    wire.accept(subprotocol)
    await app.flush()
    return app


class Pipe(call_support.Pipe):
    """A WebSocket of which a test is the other end."""

    lost = trio.BrokenResourceError
