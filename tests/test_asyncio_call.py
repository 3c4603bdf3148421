"""What is asyncio's own in a call: cancelling, timeouts, task groups, the WebSockets it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import pytest
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketState

from listenproto import (
    FLICKS,
    SUBPROTOCOL,
    Answering,
    AppMessage,
    AppSession,
    Audio,
    CallEnded,
    CallEvent,
    ClearMarks,
    Close,
    Closed,
    Dtmf,
    HandshakePolicy,
    KillAudio,
    Limits,
    Mark,
    Message,
    Metadata,
    Mode,
    Outcome,
    Payload,
    Peer,
    Playback,
    Request,
    TraceMoment,
    UnknownMessage,
    UnreadAudioError,
)
from listenproto.asyncio import Call, answer
from tests.asyncio_support import JumpingLoop, MemoryPlatform, all_blocked, calling, virtual
from tests.call_support import DROPPED, STREAM, Pipe, audio

METADATA: Final = '{"callSid": "c"}'
STREAMING: Final = Answering(mode=Mode.STREAMING)


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time() - JumpingLoop.START


def pipe(*coming: Payload, answers: bool = True) -> Pipe:
    """A WebSocket of a call that has begun."""
    return Pipe(METADATA, *coming, answers=answers)


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@virtual
async def test_a_task_that_has_waited_and_sends_and_sends_lets_others_run() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    platform = MemoryPlatform(STREAM)
    async with answer(platform.socket, answering=STREAMING) as call:
        platform.key("5")
        await anext(call)
        counting = asyncio.create_task(count())
        for _ in range(40):
            await call.send_audio(audio(0.02))
        counting.cancel()
    assert turns > 30


# Cancelling.


@virtual
async def test_a_timeout_around_the_block_is_one() -> None:
    websocket = pipe()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), answer(websocket, answering=STREAMING) as call:
            await anext(call)
    assert websocket.sent == [DROPPED]
    assert this_task().cancelling() == 0
    assert call.how_it_ended() == "the call is over: this end was cancelled"
    with pytest.raises(CallEnded, match="this end was cancelled"):
        await call.send_audio(audio(1))


@virtual
async def test_a_timeout_inside_the_block_leaves_the_call_as_it_was() -> None:
    platform = MemoryPlatform(STREAM)
    async with answer(platform.socket, answering=STREAMING) as call:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await anext(call)
        platform.key("5")
        assert await anext(call) == Dtmf("5", 800)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await call.speak(audio(60))
        await call.kill_audio()
        assert await call.speak(audio(0.1))
    assert platform.closed == Closed(1000, "", clean=True)
    assert this_task().cancelling() == 0


@virtual
async def test_a_task_that_is_cancelled_in_the_block_ends_cancelled() -> None:
    websocket = pipe()
    said: list[str] = []

    async def handle() -> None:
        async with answer(websocket, answering=STREAMING) as call:
            said.append(call.how_it_ended())
            try:
                await anext(call)
            finally:
                said.append(call.how_it_ended())

    task = asyncio.create_task(handle())
    await all_blocked()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    assert said == ["the call goes on", "the call is over: this end was cancelled"]
    assert websocket.sent == [DROPPED]


@virtual
async def test_a_task_group_cancels_the_block_when_another_task_fails() -> None:
    websocket = pipe()

    async def handle() -> None:
        async with answer(websocket, answering=STREAMING) as call:
            await anext(call)

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError("broken")

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(handle())
            tasks.create_task(fail())

    with pytest.raises(ExceptionGroup) as group:
        await run()
    assert [str(error) for error in group.value.exceptions] == ["broken"]
    assert websocket.sent == [DROPPED]


@virtual
async def test_what_waits_elsewhere_is_woken_when_the_block_is_cancelled() -> None:
    calls: list[Call] = []

    async def handle() -> None:
        async with answer(pipe(), answering=STREAMING) as call:
            calls.append(call)
            await asyncio.get_running_loop().create_future()

    handling = asyncio.create_task(handle())
    await all_blocked()
    mark = await calls[0].mark("m")
    waiting = asyncio.create_task(mark.wait())
    speaking = asyncio.create_task(calls[0].speak(audio(60)))
    await all_blocked()
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert await waiting is Outcome.LOST
    with pytest.raises(CallEnded, match="this end was cancelled"):
        await speaking


@pytest.mark.parametrize("when", ["before the metadata", "while it closes", "while it drops"])
@virtual
async def test_cancelling_at_either_end_of_the_block(when: str) -> None:
    websocket = Pipe() if when == "before the metadata" else pipe(answers=False)

    async def handle() -> None:
        async with answer(websocket):
            pass

    task = asyncio.create_task(handle())
    await asyncio.sleep(1)
    task.cancel()
    if when == "while it drops":
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    closes = [] if when == "before the metadata" else [Close(1000, "")]
    assert websocket.sent == [*closes, DROPPED]


@virtual
async def test_cancelling_while_a_message_is_written_drops_the_connection() -> None:
    websocket = pipe()

    async def handle() -> None:
        async with answer(websocket, answering=STREAMING) as call:
            await call.send_audio(audio(1))
            await asyncio.sleep(1)
            await call.send_audio(audio(2))
            await anext(call)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle(), 1.05)
    assert websocket.sent == [audio(1), DROPPED]


@virtual
async def test_a_loop_that_ends_cancels_the_tasks_of_the_call() -> None:
    """As asyncio.run does with all tasks that are left; the handler learns of it."""
    async with answer(pipe(), answering=STREAMING) as call:
        for task in asyncio.all_tasks() - {this_task()}:
            task.cancel()
        assert [event async for event in call] == []
        assert call.how_it_ended() == "the call is over: this end was cancelled"


class Cancelling:
    """Cancels its task at the ``nth`` time that an operation waits, as asyncio would."""

    def __init__(self, operation: Coroutine[Any, Any, object], nth: int) -> None:
        self._operation = operation
        self._left = nth

    def __await__(self) -> Any:
        step = self._operation.send
        what: Any = None
        while True:
            try:
                waits_for = step(what)
            except StopIteration as done:
                return done.value
            self._left -= 1
            if self._left == 0:
                this_task().cancel()
            try:
                what = yield waits_for
                step = self._operation.send
            except BaseException as exc:
                what = exc
                step = self._operation.throw


PROBE: Final = UnknownMessage({"type": "probe"})
Operation: TypeAlias = Callable[[Call], Coroutine[Any, Any, object]]
SENDS: Final[dict[str, tuple[Operation, Message]]] = {
    "send": (lambda call: call.send(Mark("m")), Mark("m")),
    "send_audio": (lambda call: call.send_audio(audio(1)), Audio(audio(1))),
    "mark": (lambda call: call.mark("m"), Mark("m")),
    "kill_audio": (lambda call: call.kill_audio(guard=0.1), KillAudio()),
    "clear_marks": (lambda call: call.clear_marks(), ClearMarks()),
}


@asynccontextmanager
async def interrupted(
    operation: Callable[[Call, MemoryPlatform], Coroutine[Any, Any, object]],
    nth: int,
    taken: list[AppMessage],
    **options: Any,
) -> AsyncIterator[tuple[Call, bool]]:
    """A call in which an operation is cancelled at its ``nth`` wait, if it has so many.

    Afterwards a message passes in either direction.
    """
    platform = MemoryPlatform(STREAM, on_message=taken.append, **options)
    async with answer(platform.socket, answering=STREAMING) as call:
        try:
            await Cancelling(operation(call, platform), nth)
        except asyncio.CancelledError:
            assert this_task().uncancel() == 0
            yield call, True
        else:
            yield call, False
        platform.key("9")
        await call.send(PROBE)
        async for event in call:
            if event == Dtmf("9", 800):
                break
    assert platform.closed == Closed(1000, "", clean=True)
    assert taken.pop() == PROBE


async def walk(scenario: Callable[[int], Awaitable[bool]]) -> int:
    """Play a scenario, cancelled at each of its waits in turn; gives how many these are.

    It says itself what is cancelled in it, and gives whether that has waited so often.
    """
    nth = 1
    while await scenario(nth):
        nth += 1
    return nth - 1


@pytest.mark.parametrize("name", SENDS)
@virtual
async def test_what_is_cancelled_was_not_sent(name: str) -> None:
    send, message = SENDS[name]

    async def scenario(nth: int) -> bool:
        taken: list[AppMessage] = []
        async with interrupted(lambda call, _: send(call), nth, taken) as (_, cancelled):
            pass
        assert taken == ([] if cancelled else [message])
        return cancelled

    assert await walk(scenario) >= 1


@virtual
async def test_cancelled_reading_loses_nothing() -> None:
    async def scenario(nth: int) -> bool:
        async def read(call: Call, platform: MemoryPlatform) -> None:
            asyncio.get_running_loop().call_later(1, platform.key, "5")
            heard.append(await anext(call))

        heard: list[CallEvent] = []
        async with interrupted(read, nth, []) as (call, cancelled):
            if cancelled:
                assert heard == []
                heard.append(await anext(call))
        assert heard == [Dtmf("5", 800)]
        return cancelled

    assert await walk(scenario) >= 2


@virtual
async def test_cancelled_waiting_waits_again() -> None:
    async def scenario(nth: int) -> bool:
        async def wait(call: Call, platform: MemoryPlatform) -> None:
            asyncio.get_running_loop().call_later(2, platform.play, 3 * FLICKS)
            await call.send_audio(audio(1))
            marks.append(await call.mark("m"))
            await marks[0].wait()
            await call.drain()

        marks: list[Playback] = []
        taken: list[AppMessage] = []
        async with interrupted(wait, nth, taken) as (call, cancelled):
            await call.drain()
            assert [mark.outcome for mark in marks] == [Outcome.PLAYED] * len(marks)
        assert taken == [Audio(audio(1)), Mark("m")][: len(taken)]
        return cancelled

    assert await walk(scenario) >= 4


@virtual
async def test_cancelled_speech_is_sent_in_whole_messages_and_no_further() -> None:
    pcm = b"".join(audio(0.01, number) for number in range(40))

    async def scenario(nth: int) -> bool:
        async def speak(call: Call, platform: MemoryPlatform) -> None:
            assert await call.speak(pcm)

        taken: list[AppMessage] = []
        async with interrupted(speak, nth, taken) as (call, cancelled):
            sent = call.statistics.messages_sent
            await asyncio.sleep(5)
            assert call.statistics.messages_sent == sent
        said = b"".join(message.pcm for message in taken if isinstance(message, Audio))
        assert pcm.startswith(said)
        assert cancelled or said == pcm
        return cancelled

    assert await walk(scenario) >= 2


@virtual
async def test_a_cancelled_close_has_closed() -> None:
    async def scenario(nth: int) -> bool:
        platform = MemoryPlatform(STREAM)
        cancelled = False
        async with answer(platform.socket, answering=STREAMING) as call:
            try:
                await Cancelling(call.close(3000, "enough"), nth)
            except asyncio.CancelledError:
                assert this_task().uncancel() == 0
                cancelled = True
            with pytest.raises(CallEnded):
                await call.send_audio(audio(1))
        assert platform.closed == Closed(3000, "enough", clean=True)
        return cancelled

    assert await walk(scenario) >= 1


@virtual
async def test_a_cancelled_send_has_not_sent() -> None:
    platform = MemoryPlatform(STREAM, lockstep=True)
    platform.to_platform.shut()
    answering = Answering(mode=Mode.STREAMING, limits=Limits(outbox_size=1000))
    async with answer(platform.socket, answering=answering) as call:
        await call.send_audio(audio(1))  # being written
        await all_blocked()
        await call.send_audio(audio(1))
        sending = asyncio.create_task(call.send_audio(audio(2)))
        await all_blocked()
        sending.cancel()
        await asyncio.wait([sending])
        platform.to_platform.open()
        await call.send_audio(audio(3))
        await all_blocked()
        assert call.statistics.messages_sent == 3
        assert platform.task.session.received.audio == len(audio(1 + 1 + 3))


# Interrupting speech, which cancels what the synthesizer waits for.


@virtual
async def test_interrupted_speech_leaves_no_cancelling_behind() -> None:
    closed: list[float] = []

    async def slow() -> AsyncIterator[bytes]:
        try:
            yield audio(0.1)
            await asyncio.sleep(60)
        finally:
            closed.append(now())

    async with answer(pipe(), answering=STREAMING) as call:
        asyncio.get_running_loop().call_later(1, lambda: tasks.append(kill()))
        tasks: list[asyncio.Task[None]] = []

        def kill() -> asyncio.Task[None]:
            return asyncio.create_task(call.kill_audio())

        spoken = await call.speak(slow())
        assert (bool(spoken), now(), closed) == (False, 1, [1])
        assert this_task().cancelling() == 0
        await asyncio.sleep(1)


@virtual
async def test_speech_that_interrupts_itself_ends() -> None:
    """The synthesizer runs in the task that speaks, and kills; it may never wait after that."""
    for waits in (False, True):

        async def kills(waits: bool = waits) -> AsyncIterator[bytes]:
            yield audio(0.1)
            await call.kill_audio()
            yield audio(0.1)
            if waits:
                await asyncio.sleep(60)

        async with answer(pipe(), answering=STREAMING) as call:
            assert not await call.speak(kills())
            assert this_task().cancelling() == 0
            await asyncio.sleep(1)
            assert now() <= 5


@virtual
async def test_a_cancellation_that_meets_an_interruption_is_not_lost() -> None:
    async def handle() -> None:
        async with answer(pipe(), answering=STREAMING) as call:
            calls.append(call)
            await call.speak(audio(60))
            pytest.fail("it was not cancelled")

    calls: list[Call] = []
    task = asyncio.create_task(handle())
    await asyncio.sleep(1)
    await calls[0].kill_audio()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual
async def test_a_generator_that_fails_as_it_is_interrupted_is_heard_of() -> None:
    async def fails() -> AsyncIterator[bytes]:
        try:
            yield audio(0.1)
            await asyncio.sleep(60)
        finally:
            raise ValueError("cannot close")

    async with answer(pipe(), answering=STREAMING) as call:

        async def kill() -> None:
            await asyncio.sleep(1)
            await call.kill_audio()

        killing = asyncio.create_task(kill())
        with pytest.raises(ValueError, match="cannot close"):
            await call.speak(fails())
        assert this_task().cancelling() == 0
        await killing


@virtual
async def test_one_task_at_a_time() -> None:
    async with answer(pipe(), answering=STREAMING) as call, asyncio.TaskGroup() as group:
        waiting = [group.create_task(call.__anext__()), group.create_task(call.speak(audio(9)))]
        await all_blocked()
        with pytest.raises(RuntimeError, match="another task iterates"):
            await anext(call)
        with pytest.raises(RuntimeError, match="another task is speaking"):
            await call.speak(audio(1))
        for task in waiting:
            task.cancel()


@virtual
async def test_only_those_whose_condition_is_true_are_woken() -> None:
    """A hundred who wait for marks are not woken by each message that comes."""
    platform = MemoryPlatform(STREAM)
    async with answer(platform.socket, answering=STREAMING) as call, asyncio.TaskGroup() as group:
        await call.send_audio(audio(60))
        marks = [await call.mark(f"m{number}") for number in range(30)]
        woken: list[str] = []

        async def wait(name: str, operation: Awaitable[object]) -> None:
            await Noting(operation, lambda: woken.append(name))

        tasks = [group.create_task(wait(str(mark.name), mark.wait())) for mark in marks]
        await all_blocked()
        woken.clear()
        for _ in range(10):
            await platform.capture(audio(0.02))
            assert isinstance(await anext(call), Audio)
        assert woken == []
        for task in tasks:
            task.cancel()


class Noting:
    """Tells each time that an operation goes on after a wait."""

    def __init__(self, operation: Awaitable[object], tell: Callable[[], None]) -> None:
        self._operation = operation
        self._tell = tell

    def __await__(self) -> Any:
        steps = self._operation.__await__()
        while True:
            try:
                waits_for = next(steps)
            except StopIteration as done:
                return done.value
            yield waits_for
            self._tell()


# What ends a call.


@virtual
async def test_a_reader_whose_task_has_ended_is_noticed() -> None:
    """Nobody reads any more, so a wait for what is behind unread audio would never end."""
    answering = Answering(mode=Mode.STREAMING, unread="hold", limits=Limits(unread_seconds=0.1))
    platform = MemoryPlatform(STREAM, lockstep=True)
    async with answer(platform.socket, answering=answering) as call:
        await call.send_audio(audio(1))
        mark = await call.mark("m")

        async def read_a_little() -> None:
            await anext(call)
            await asyncio.sleep(5)

        reading = asyncio.create_task(read_a_little())
        for _ in range(20):
            await platform.capture(audio(0.02))
            await all_blocked()
        with pytest.raises(UnreadAudioError):
            await mark.wait()
        assert now() == 5
        with pytest.raises(UnreadAudioError):
            await mark.wait()
        await reading


class Failing:
    """A WebSocket of which one method fails, in a way that no lost connection does."""

    def __init__(self, method: str) -> None:
        self._pipe = pipe()
        self._method = method
        self.sent = self._pipe.sent

    def _check(self, method: str) -> None:
        if method == self._method:
            raise ValueError(f"{method} is broken")

    async def receive(self) -> Payload:
        payload = await self._pipe.receive()
        if payload != METADATA:
            self._check("receive")
        return payload

    async def send(self, payload: str | bytes) -> None:
        self._check("send")
        await self._pipe.send(payload)

    async def close(self, code: int, reason: str) -> None:
        self._check("close")
        await self._pipe.close(code, reason)

    def go_on(self) -> None:
        self._pipe.come(b"")


@pytest.mark.parametrize(
    ("method", "sent"), [("receive", [Close(1011, "the app failed")]), ("send", [DROPPED])]
)
@virtual
async def test_a_websocket_that_fails_ends_the_call(method: str, sent: list[Payload]) -> None:
    websocket = Failing(method)

    async def handle() -> None:
        async with answer(websocket, answering=STREAMING) as call:
            await call.send_audio(b"")
            websocket.go_on()
            assert [event async for event in call if event != Audio(b"")] == []

    with pytest.raises(ValueError, match=f"^{method} is broken$"):
        await handle()
    assert [one for one in websocket.sent if one != b""] == sent


@virtual
async def test_a_websocket_that_fails_once_the_handler_is_done_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "listenproto")

    async def handle() -> None:
        async with answer(Failing("send"), answering=STREAMING) as call:
            await call.send_audio(b"\1\0")

    with pytest.raises(ValueError, match=r"^send is broken$"):
        await handle()
    ended, failed = caplog.records
    assert ended.getMessage().startswith("call c: this end closes with 1000; ")
    assert failed.getMessage() == "call c: this end failed (ValueError)"
    assert failed.levelno == logging.ERROR
    assert failed.exc_info is not None
    assert str(failed.exc_info[1]) == "send is broken"


@pytest.mark.parametrize("cancelled", [True, False])
@virtual
async def test_a_websocket_that_cannot_close_is_heard_of(
    cancelled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle() -> None:
        async with answer(Failing("close"), answering=STREAMING) as call:
            if cancelled:
                await anext(call)

    task = asyncio.create_task(handle())
    await all_blocked()
    if cancelled:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        failure = caplog.records[-1]
        assert failure.getMessage() == "call c: the connection could not be given up"
        assert failure.exc_info is not None
        assert str(failure.exc_info[1]) == "close is broken"
    else:
        with pytest.raises(ValueError, match=r"^close is broken$"):
            await task


@virtual
async def test_a_lost_connection_says_why() -> None:
    websocket = pipe()
    async with answer(websocket, answering=STREAMING) as call:
        websocket.come(ConnectionResetError(104, "Connection reset by peer"))
        assert [event async for event in call] == []
        assert call.how_it_ended() == (
            "the call is over: connection lost: Connection reset by peer"
        )
    assert websocket.sent == []


@virtual
async def test_a_platform_that_reads_nothing_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    platform = MemoryPlatform(STREAM, lockstep=True)
    platform.to_platform.shut()
    async with answer(platform.socket, answering=STREAMING) as call:
        await call.send_audio(audio(1))
        assert [event async for event in call] == []
        assert now() == Limits().write_time
        assert call.how_it_ended() == (
            "the call is over: connection lost: nothing could be written for 60 s"
        )
        await all_blocked()
        assert platform.is_lost  # at once, though the handler goes on
        await asyncio.sleep(5)


@virtual
async def test_a_mode_function_sees_the_request_and_may_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost: list[str] = []

    def mode(request: Request | None, metadata: Metadata) -> Mode:
        assert request == Request("/call?id=7", ())
        raise KeyError("no such tenant")

    def on_lost(session: AppSession, why: str) -> None:
        lost.append(why)
        raise OSError("disk full")

    websocket = pipe()
    with pytest.raises(KeyError, match="no such tenant"):
        async with answer(
            websocket,
            answering=Answering(mode=mode, on_lost=on_lost),
            request=Request("/call?id=7", ()),
            peer="192.0.2.1:5060",
        ):
            pytest.fail("it has begun")
    assert websocket.sent == [Close(1011, "the app failed")]
    assert lost == ["this end failed (KeyError)"]
    failed, ended = caplog.records
    assert failed.getMessage() == "call from 192.0.2.1:5060: on_lost failed"
    assert (ended.levelno, ended.is_call, ended.is_end) == (logging.ERROR, True, True)  # type: ignore[attr-defined]


@virtual
async def test_a_call_without_metadata_is_lost_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(CallEnded, match="no metadata within 10 s"):
        async with answer(Pipe()):
            pytest.fail("it has begun")
    (record,) = caplog.records
    assert record.getMessage() == "call: no metadata within 10 s"
    assert (record.levelno, record.is_call) == (logging.WARNING, True)  # type: ignore[attr-defined]


# The WebSockets it takes.


@pytest.mark.parametrize("websocket", [None, "ws://app.example/", object()])
@virtual
async def test_what_is_no_websocket_is_refused(websocket: object) -> None:
    kind = type(websocket).__name__
    with pytest.raises(
        TypeError, match=rf"this is no WebSocket that answer\(\) knows: {kind}; pass one of FastAPI"
    ):
        async with answer(websocket):
            pytest.fail("it has begun")


def test_answer_needs_asyncio() -> None:
    async def handle() -> None:
        async with answer(pipe()):
            pytest.fail("it has begun")

    said = r"^answer\(\) runs on asyncio; start it with asyncio\.run\(\)$"
    with pytest.raises(RuntimeError, match=said):
        handle().send(None)  # as another runtime would


@virtual
async def test_answer_needs_a_task_of_asyncio() -> None:
    """As another runtime's guest in the loop of asyncio, code has a loop but no task."""

    async def handle() -> None:
        async with answer(pipe()):
            pytest.fail("it has begun")

    ended = asyncio.get_running_loop().create_future()

    def step() -> None:
        try:
            handle().send(None)
        except RuntimeError as exc:
            ended.set_result(str(exc))

    asyncio.get_running_loop().call_soon(step)
    assert await ended == "answer() runs on asyncio; start it with asyncio.run()"


@virtual
async def test_a_request_must_be_one() -> None:
    with pytest.raises(TypeError, match=r"request must be a listenproto\.Request, not a str"):
        async with answer(pipe(), request="/"):
            pytest.fail("it has begun")


@virtual
async def test_a_tap_that_fails_is_logged_and_the_call_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tap(sender: Peer, payload: Payload | TraceMoment) -> None:
        if payload == audio(0.1):
            raise OSError("disk full")

    answering = Answering(mode=Mode.STREAMING, tap=lambda session: tap)
    async with answer(pipe(audio(0.1)), answering=answering) as call:
        assert await anext(call) == Audio(audio(0.1))
    (record,) = caplog.records
    assert record.getMessage() == "call c: the tap failed and is not called again"


class Asgi:
    """An ASGI server's end of a WebSocket, of which a test says what comes."""

    def __init__(self, *coming: str | bytes, **scope: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.breaks = ""
        """The kind of message at which the connection turns out to be lost."""
        self._coming = asyncio.Queue[dict[str, Any]]()
        self._coming.put_nowait({"type": "websocket.connect"})
        for payload in coming:
            kind = "text" if isinstance(payload, str) else "bytes"
            self._coming.put_nowait({"type": "websocket.receive", kind: payload})
        offered = [(b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode())]
        self.scope = {
            "type": "websocket",
            "path": "/grüße",
            "headers": offered,
            "subprotocols": [SUBPROTOCOL],
            **scope,
        }
        self.websocket = StarletteWebSocket(self.scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return await self._coming.get()

    async def _send(self, message: Any) -> None:
        if message["type"] == self.breaks:
            raise OSError("gone")
        self.sent.append(message)
        if message["type"] == "websocket.close":
            self.leave(code=message["code"])

    def leave(self, **how: object) -> None:
        self._coming.put_nowait({"type": "websocket.disconnect", **how})


ACCEPTED: Final = {"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": []}


@virtual
async def test_a_scope_with_the_least_that_asgi_asks_for() -> None:
    asgi = Asgi(METADATA, b"\1\0", headers=[])
    async with answer(asgi.websocket, answering=STREAMING) as call:
        assert await anext(call) == Audio(b"\1\0")
        assert call.request == Request("/gr%C3%BC%C3%9Fe", ())
        assert call.peer is None
        await call.mark("m")
    assert asgi.sent == [
        ACCEPTED,
        {"type": "websocket.send", "text": '{"type":"mark","data":{"name":"m"}}'},
        {"type": "websocket.close", "code": 1000, "reason": ""},
    ]


@pytest.mark.parametrize("address", [["2001:db8::1", 5060], "/run/app.sock", None])
@virtual
async def test_the_address_of_the_other_end(address: object) -> None:
    async with answer(Asgi(METADATA, client=address).websocket) as call:
        assert call.peer == ("[2001:db8::1]:5060" if isinstance(address, list) else None)


@virtual
async def test_an_asgi_server_that_cannot_refuse_with_a_text() -> None:
    asgi = Asgi()
    answering = Answering(policy=HandshakePolicy(paths=["/other"]))
    with pytest.raises(CallEnded, match="answered 404: This server has no path /gr%C3%BC%C3%9Fe"):
        async with answer(asgi.websocket, answering=answering):
            pytest.fail("it has begun")
    (refusal,) = asgi.sent
    assert (refusal["type"], refusal["code"]) == ("websocket.close", 1008)


@virtual
async def test_headers_of_a_refusal_are_lower_case() -> None:
    """ASGI asks for that."""
    asgi = Asgi(extensions={"websocket.http.response": {}})
    answering = Answering(policy=HandshakePolicy(credentials=("user", "secret")))
    with pytest.raises(CallEnded, match="answered 401"):
        async with answer(asgi.websocket, answering=answering):
            pytest.fail("it has begun")
    start, body = asgi.sent
    assert start == {
        "type": "websocket.http.response.start",
        "status": 401,
        "headers": [
            (b"www-authenticate", b'Basic realm="listen", charset="UTF-8"'),
            (b"content-type", b"text/plain; charset=utf-8"),
        ],
    }
    assert body["body"] == b"Wrong or missing credentials.\n"


@virtual
async def test_a_close_without_a_code() -> None:
    asgi = Asgi(METADATA)
    async with answer(asgi.websocket) as call:
        asgi.leave(code=None)
        assert [event async for event in call] == []
        assert call.closed == Closed(1005, "", clean=True)


@virtual
async def test_an_asgi_server_does_not_tell_who_closed() -> None:
    asgi = Asgi(METADATA)
    async with answer(asgi.websocket) as call:
        asgi.leave(code=1012, reason="restart")
        assert [event async for event in call] == []
        assert call.how_it_ended() == (
            "the call is over: the connection was closed with 1012 (restart)"
        )
    asgi = Asgi()
    asgi.leave(code=1012)
    with pytest.raises(
        CallEnded, match=r"^the connection was closed \(1012\) before metadata came$"
    ):
        async with answer(asgi.websocket):
            pytest.fail("it has begun")


@pytest.mark.parametrize("breaks", ["websocket.accept", "websocket.send", "websocket.close"])
@virtual
async def test_a_connection_that_is_lost_as_the_app_sends(breaks: str) -> None:
    async def handle(call: Call) -> None:
        if breaks == "websocket.send":
            await call.send_audio(b"\1\0")
            with pytest.raises(CallEnded, match="connection lost"):
                await call.speak(audio(60))
        asgi.leave(code=1006)

    asgi = Asgi(METADATA)
    asgi.breaks = breaks
    if breaks == "websocket.accept":
        with pytest.raises(CallEnded, match="connection lost: gone"):
            async with answer(asgi.websocket, answering=STREAMING):
                pytest.fail("it has begun")
        assert asgi.sent == []
    else:
        async with answer(asgi.websocket, answering=STREAMING) as call:
            await handle(call)
        assert asgi.sent == [ACCEPTED]
        assert asgi.websocket.application_state is WebSocketState.DISCONNECTED


@virtual
async def test_a_server_that_fails_is_heard_of() -> None:
    async def handle() -> None:
        async with answer(asgi.websocket, answering=STREAMING) as call:
            asgi.websocket._send = fail
            await call.send_audio(b"\1\0")
            assert [event async for event in call] == []

    async def fail(message: object) -> None:
        raise RuntimeError("broken server")

    asgi = Asgi(METADATA)
    with pytest.raises(RuntimeError, match="broken server"):
        await handle()


@virtual
async def test_a_handler_that_is_gone_before_the_caller_hears_all() -> None:
    async def handler(call: Call) -> None:
        await call.send_audio(audio(1))

    answering = Answering(mode=Mode.STREAMING, drain=True)
    async with calling(handler, STREAM, answering=answering) as platform:
        await platform.over()
        assert now() == 1.5
