"""What a call held is freed as soon as it has ended, without the cyclic garbage collector."""

from __future__ import annotations

import gc
import json
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs
import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from listenproto import (
    Answering,
    AppSession,
    CallEnded,
    Close,
    Dtmf,
    HandlerCall,
    Limits,
    ListenTask,
    Mode,
    Payload,
)
from listenproto._logs import log
from listenproto_trio import CallRejected, Tap, open_call_on, serve_stream
from tests import trio_support
from tests.call_support import CALL_SID, STREAM, audio
from tests.runtime_support import calling, over, pipe, virtual
from tests.trio_support import bare_platform

pytestmark = pytest.mark.usefixtures("no_collector")

METADATA: Final = json.dumps({"callSid": CALL_SID})
STREAMING: Final = Answering(mode=Mode.STREAMING)
HOLDING: Final = attrs.evolve(STREAMING, unread="hold")


@pytest.fixture
def no_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave cycles alone for the time of a test, and let pytest keep nothing of the log."""
    monkeypatch.setattr(log, "filters", [lambda record: False])
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Held:
    """What is still there of a call."""

    def __init__(self) -> None:
        self._parts: dict[str, weakref.ref[Any]] = {}

    def note(self, call: HandlerCall) -> None:
        core = call.core
        parts = {"call": call, "core": core, "session": core.session, "link": core.link}
        parts |= {"connection": core.link.connection, "runtime": call.runtime}
        self._parts = {name: weakref.ref(part) for name, part in parts.items()}

    def tap(self, session: AppSession) -> Tap:
        self._parts = {"session": weakref.ref(session)}
        return lambda sender, payload: None

    @property
    def parts(self) -> list[str]:
        assert self._parts
        return [name for name, part in self._parts.items() if part() is not None]


async def read_on(call: Any) -> None:
    async for event in call:
        if event == Dtmf("1", 800):
            break


async def speak(call: Any) -> None:
    playback = await call.mark("m")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.speak, audio(1))
        await anyio.sleep(0.1)
        await call.kill_audio()
        await playback.wait()
    await read_on(call)


async def go_on_in_a_task(call: Any) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_on, call)


async def send_on(call: Any) -> None:
    while True:
        await call.send_audio(audio(0.1))
        await anyio.sleep(0.1)


async def never_read(call: Any) -> None:
    await anyio.sleep(1)


@pytest.mark.parametrize("lost", [False, True], ids=["hung up", "lost"])
@pytest.mark.parametrize("handle", [read_on, speak, go_on_in_a_task, never_read])
@pytest.mark.usefixtures("each_end")
@virtual
async def test_a_call(handle: Callable[[Any], Awaitable[None]], lost: bool) -> None:
    held = Held()

    async def handler(call: HandlerCall) -> None:
        held.note(call)
        await handle(call)

    async with calling(handler, STREAM) as platform:
        await platform.capture(audio(0.02))
        await anyio.sleep(0.5)
        if not lost:
            platform.key("1")
            await anyio.sleep(2)
            platform.hang_up()
    assert held.parts == []


async def returns(call: Any, websocket: Any) -> None:
    await call.send_audio(audio(1))


async def fails(call: Any, websocket: Any) -> None:
    raise ValueError("broken")


async def fails_in_a_task(call: Any, websocket: Any) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fails, call, websocket)
        await anext(call)


async def goes_on_when_it_is_over(call: Any, websocket: Any) -> None:
    websocket.come(Close(1000))
    await read_on(call)
    await call.send_audio(audio(1))


async def ends_in_a_group(call: Any, websocket: Any) -> None:
    raise ExceptionGroup("two tasks", [CallEnded("over"), CallEnded("over")])


async def loses_the_connection(call: Any, websocket: Any) -> None:
    websocket.lose()
    await read_on(call)


async def leaves_much_unread(call: Any, websocket: Any) -> None:
    websocket.come(bytes(2**20))
    websocket.come(b"\0\0")  # so much that reading is held back
    await anyio.sleep(1)
    assert call.core.is_held


async def reads_late(call: Any, websocket: Any) -> None:
    await leaves_much_unread(call, websocket)
    await call.close()
    assert call.core.is_held
    await read_on(call)


BLOCKS = [
    returns,
    fails,
    fails_in_a_task,
    goes_on_when_it_is_over,
    ends_in_a_group,
    loses_the_connection,
    leaves_much_unread,
    reads_late,
]


async def run(held: Held, websocket: Any, handle: Any, **options: Any) -> None:
    with suppress(CallEnded, ValueError, ExceptionGroup):
        async with over(websocket, **options) as call:
            held.note(call)
            await handle(call, websocket)


@pytest.mark.parametrize("handle", BLOCKS)
@pytest.mark.usefixtures("each_runtime")
@virtual
async def test_a_block(handle: Callable[[Any, Any], Awaitable[None]]) -> None:
    held = Held()
    await run(held, pipe(METADATA), handle, answering=HOLDING)
    assert held.parts == []


@pytest.mark.usefixtures("each_runtime")
@virtual
async def test_a_block_that_is_cancelled() -> None:
    held = Held()

    async def wait(call: Any, websocket: Any) -> None:
        websocket.come(bytes(2**20))
        await anext(call)
        await anext(call)

    async with anyio.create_task_group() as tasks:  # a task has its last exception as it goes on
        tasks.start_soon(partial(run, held, pipe(METADATA), wait, answering=STREAMING))
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert held.parts == []


@trio_support.virtual
async def test_a_call_that_is_cancelled_as_too_much_comes() -> None:
    held = Held()

    def mode(request: object, metadata: object) -> Mode:
        scope.cancel()
        return Mode.STREAMING

    limits = Limits(unread_seconds=0.001)
    answering = Answering(mode=mode, tap=held.tap, unread="hold", limits=limits)
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        nursery.start_soon(partial(serve_stream, read_on, app_stream, answering=answering))
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA, *[audio(0.01)] * 5)
        await trio.sleep_forever()
    assert held.parts == []


@pytest.mark.parametrize("coming", [(), ("no JSON",), ("[]",), (Close(1000),)])
@pytest.mark.usefixtures("each_runtime")
@virtual
async def test_a_call_without_metadata(coming: tuple[Payload, ...]) -> None:
    held = Held()
    with suppress(CallEnded):
        async with over(pipe(*coming), answering=Answering(tap=held.tap)):
            pytest.fail("it has begun")
    assert held.parts == []


def broken(*_: object) -> Any:
    raise ValueError("broken")


class CannotBeCopied(Exception):
    def __init__(self, *, of: str) -> None:
        super().__init__(of)


@pytest.mark.parametrize("failing", ["mode", "tap", "receive", "send"])
@pytest.mark.usefixtures("each_runtime")
@virtual
async def test_a_call_whose_own_end_failed(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()

    def tap(session: AppSession) -> Tap:
        held.tap(session)
        return broken() if failing == "tap" else lambda sender, payload: None

    async def fail() -> None:
        async with over(websocket, answering=Answering(mode=mode, tap=tap)) as call:
            await call.send_audio(b"")
            await read_on(call)

    mode: Any = broken if failing == "mode" else Mode.STREAMING
    websocket = pipe(METADATA)
    if failing == "receive":
        websocket.come(ValueError("broken"))
    elif failing == "send":
        monkeypatch.setattr(websocket, "send", broken)
    with pytest.raises(ValueError, match="broken") as raised:
        await fail()
    assert raised.traceback[-1].name in ("broken", "receive")
    del raised
    await anyio.lowlevel.checkpoint()  # a task has its last exception until it goes on
    assert held.parts == []


@pytest.mark.usefixtures("each_runtime")
@virtual
async def test_what_failed_is_kept_as_a_value() -> None:
    calls: list[HandlerCall] = []

    async def fail(error: Exception) -> None:
        websocket = pipe(METADATA)
        websocket.come(error)
        async with over(websocket, answering=STREAMING) as call:
            calls.append(call)
            await read_on(call)

    for error in (KeyError("broken"), CannotBeCopied(of="broken")):
        with pytest.raises(type(error)) as raised:
            await fail(error)
        assert raised.value is error
        assert raised.traceback[-1].name == "receive"
    ends = [call.end for call in calls]
    assert [str(end) for end in ends] == [
        "the call failed: this end failed (KeyError)",
        "the call failed: this end failed (CannotBeCopied)",
    ]
    errors = [end.error for end in ends if end is not None]
    assert [type(error) for error in errors] == [KeyError, CannotBeCopied]
    assert errors[0] is not None
    assert (errors[0].args, errors[0].__traceback__) == (("broken",), None)


NOT_HERE: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
HEAD: Final = b"\x82\xff" + (2**24).to_bytes(8, "big") + b"mask"
"""Of a frame of 16 MiB."""
FRAGMENT: Final = b"\x02\xff" + (2**20).to_bytes(8, "big") + b"mask" + bytes(2**20)
"""A whole one, of a message that goes on."""


@pytest.mark.parametrize("way", ["lost", "cancelled", "broken"])
@trio_support.virtual
async def test_what_of_a_message_has_come(way: str) -> None:
    held = Held()

    async def handler(call: HandlerCall) -> None:
        held.note(call)
        await read_on(call)

    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, app_stream)
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        if way == "broken":
            await platform_stream.send_all(b"\xff" * 20)
        else:
            await platform_stream.send_all(HEAD + bytes(2**16))
        await wait_all_tasks_blocked()
        if way == "cancelled":
            nursery.cancel_scope.cancel()
        await platform_stream.aclose()
    assert held.parts == []


@pytest.mark.parametrize("fails", [False, True])
@trio_support.virtual
async def test_a_call_at_the_platform(fails: bool) -> None:
    held: list[weakref.ref[Any]] = []

    async def place() -> None:
        async with trio_support.calling(read_on, STREAM) as platform:
            held.extend(weakref.ref(part) for part in (platform, platform.link, platform.task))
            await platform.capture(audio(0.02))
            if fails:
                raise ValueError("broken")

    with suppress(ExceptionGroup):
        await place()
    assert [part() for part in held] == [None, None, None]


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200\0\r\n\r\n", NOT_HERE])
@trio_support.virtual
async def test_a_call_that_is_rejected(answer: bytes) -> None:
    async def place() -> weakref.ref[ListenTask]:
        platform_stream, app_stream = memory_stream_pair()
        task = ListenTask(STREAM, {})
        await app_stream.send_all(answer)
        await app_stream.send_eof()
        with pytest.raises(CallRejected) as rejected:
            async with open_call_on(platform_stream, task):
                pass
        del rejected
        return weakref.ref(task)

    assert (await place())() is None


@pytest.mark.parametrize("came", [HEAD + bytes(2**20), FRAGMENT], ids=["frame", "fragment"])
@trio_support.virtual
async def test_a_call_that_is_kept_keeps_nothing_of_what_came(came: bytes) -> None:
    calls = []

    async def handler(call: HandlerCall) -> None:
        calls.append(call)
        await read_on(call)

    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, app_stream)
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        tracemalloc.start()
        await platform_stream.send_all(came)
        await wait_all_tasks_blocked()
        before, _ = tracemalloc.get_traced_memory()
        await platform_stream.aclose()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert calls
    assert before - after > 2**20 - 2**16
