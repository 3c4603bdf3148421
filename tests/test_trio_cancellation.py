"""Cancelling at every checkpoint of every await: nothing half sent, nothing left, nothing wrong.

A send says how many checkpoints it has: one, and more only where it has something to wait for.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import attrs
import pytest
import trio
import trio_websocket
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

import listenproto_trio
from listenproto import (
    SUBPROTOCOL,
    Audio,
    ClearMarks,
    Closed,
    Disconnect,
    Dtmf,
    KillAudio,
    ListenEnd,
    ListenTask,
    ListenVerb,
    Mark,
    Message,
)
from listenproto._messages import Close, Payload
from listenproto._wire import WireEvent
from listenproto_trio import (
    Answering,
    Call,
    CallEnded,
    CallEvent,
    Key,
    Limits,
    Outcome,
    TrioWebSocket,
    hear_beep,
    talk,
)
from tests import cancelled_calls
from tests.differing import first_difference
from tests.runtime_support import fill_the_outbox, still_works
from tests.trio_support import (
    ATTRIBUTES,
    CLIPS,
    FILLER,
    STREAM,
    Bare,
    Interruption,
    Line,
    Scenario,
    Valve,
    audio,
    bare_platform,
    clip,
    line,
    name_of,
    repeatable,
    small_outbox,
    virtual,
    walk,
    when_stuck,
)

on_each_app_end = pytest.mark.usefixtures("each_app_end")

# What a call's holder awaits.

CLIP = clip(0.1, id="c")
SENDS: Final[dict[str, tuple[ListenVerb, Callable[[Call], Awaitable[object]], Message]]] = {
    "send_audio": (STREAM, lambda app: app.send_audio(audio(0.1)), Audio(audio(0.1))),
    "send": (STREAM, lambda app: app.send(Mark("m")), Mark("m")),
    "mark": (STREAM, lambda app: app.mark("m"), Mark("m")),
    "clear_marks": (STREAM, lambda app: app.clear_marks(), ClearMarks()),
    "kill_audio": (STREAM, lambda app: app.kill_audio(), KillAudio()),
    "stop_clips": (CLIPS, lambda app: app.stop_clips(), KillAudio()),
    "play": (CLIPS, lambda app: app.play(CLIP), attrs.evolve(CLIP, queue_play=True)),
    "disconnect": (CLIPS, lambda app: app.disconnect(), Disconnect()),
}
each_send = pytest.mark.parametrize(("verb", "send", "message"), SENDS.values(), ids=SENDS.keys())


async def check(both: Line, taken: list[Message]) -> None:
    """The platform has taken these messages whole, both ends agree, and the call goes on."""
    await wait_all_tasks_blocked()
    assert both.taken == taken
    assert both.app.statistics.messages_sent == len(taken)
    assert both.platform.error is None
    if Disconnect() not in taken:
        await still_works(both)
        assert both.app.statistics.messages_sent == len(taken) + 1


@each_send
@on_each_app_end
@repeatable
@virtual
async def test_a_send_is_sent_whole_or_not_at_all(
    verb: ListenVerb,
    send: Callable[[Call], Awaitable[object]],
    message: Message,
    order: None,
) -> None:
    async def scenario(interruption: Interruption) -> None:
        async with line(verb, pair=lockstep_stream_pair, step=3) as both:
            cancelled = await interruption.of(lambda: send(both.app))
            await check(both, [message][cancelled:])

    assert await walk(scenario) == 1


@each_send
@on_each_app_end
@repeatable
@virtual
async def test_a_send_that_waits_for_room(
    verb: ListenVerb,
    send: Callable[[Call], Awaitable[object]],
    message: Message,
    order: None,
) -> None:
    async def scenario(interruption: Interruption) -> None:
        options = {"pair": lockstep_stream_pair, "answering": small_outbox(verb), "step": 100}
        async with line(verb, **options) as both:
            fillers = await fill_the_outbox(both)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(when_stuck, both.platform_stream.open)
                cancelled = await interruption.of(lambda: send(both.app))
            await check(both, [FILLER] * fillers + [message][cancelled:])

    assert await walk(scenario) >= 2


@pytest.mark.parametrize(
    ("verb", "send", "message"), [SENDS[name] for name in ("send_audio", "mark", "play")]
)
@on_each_app_end
@repeatable
@virtual
async def test_a_send_that_waits_for_the_guard_time(
    verb: ListenVerb,
    send: Callable[[Call], Awaitable[object]],
    message: Message,
    order: None,
) -> None:
    async def scenario(interruption: Interruption) -> None:
        async with line(verb) as both:
            await both.app.kill_audio(guard=0.1)
            killed_at = trio.current_time()
            cancelled = await interruption.of(lambda: send(both.app))
            assert cancelled or trio.current_time() == killed_at + 0.1
            await check(both, [KillAudio(), *[message][cancelled:]])

    assert await walk(scenario) >= 2


async def waiting_for_a_mark(interruption: Interruption) -> None:
    async with trio.open_nursery() as nursery, line(STREAM) as both:
        await both.app.send_audio(audio(1))
        mark = await both.app.mark("m")
        nursery.start_soon(both.hear, 1.0)
        await interruption.of(mark.wait)
        assert await mark.wait() is Outcome.PLAYED
        await check(both, [Audio(audio(1)), Mark("m")])


async def waiting_for_a_clip_with_a_timeout(interruption: Interruption) -> None:
    async with line(CLIPS) as both:
        playback = await both.app.play(CLIP)
        await interruption.of(lambda: playback.wait(timeout=1.0))
        assert playback.outcome is None
        await both.hear(0.1)
        assert await playback.wait() is Outcome.PLAYED
        await check(both, [attrs.evolve(CLIP, queue_play=True)])


async def draining(interruption: Interruption) -> None:
    async with trio.open_nursery() as nursery, line(STREAM) as both:
        marks = []
        for name in ("a", "b"):
            await both.app.send_audio(audio(1))
            marks.append(await both.app.mark(name))

        async def hear() -> None:
            for _ in range(2):
                await both.hear(1.0)

        nursery.start_soon(hear)
        await interruption.of(both.app.drain)
        await both.app.drain()
        assert [mark.outcome for mark in marks] == [Outcome.PLAYED] * 2
        await check(both, [Audio(audio(1)), Mark("a"), Audio(audio(1)), Mark("b")])


async def draining_a_stream(interruption: Interruption) -> None:
    async with line(STREAM) as both:
        await both.app.send_audio(audio(1))
        until = trio.current_time() + 1
        await interruption.of(both.app.drain)
        await both.app.drain()
        assert trio.current_time() > until
        await check(both, [Audio(audio(1))])


async def speaking(interruption: Interruption) -> None:
    async with line(STREAM) as both:
        pcm = b"".join(audio(0.01, number) for number in range(40))

        async def synthesize() -> AsyncIterator[bytes]:
            for start in range(0, len(pcm), 1111):
                await trio.lowlevel.checkpoint()
                yield pcm[start : start + 1111]

        cancelled = await interruption.of(lambda: both.app.speak(synthesize()))
        await wait_all_tasks_blocked()
        said = b"".join(message.pcm for message in both.taken if isinstance(message, Audio))
        assert pcm.startswith(said)
        assert cancelled or said == pcm
        await check(both, [*both.taken])
        await both.app.kill_audio(guard=0.1)
        assert await both.app.speak(pcm)


async def iterating(interruption: Interruption) -> None:
    async with trio.open_nursery() as nursery, line(STREAM) as both:
        nursery.start_soon(when_stuck, lambda: both.platform.key("5"))
        heard: list[CallEvent] = []

        async def hear() -> None:
            heard.append(await anext(both.app))

        if await interruption.of(hear):
            assert heard == []
            await hear()
        assert heard == [Dtmf("5", 800)]
        await check(both, [])


async def resuming_a_held_reader(interruption: Interruption) -> None:
    """Reading was held back by what is unread; the next event that is taken makes room."""
    answering = Answering(mode=STREAM.mode(), unread="hold", limits=Limits(unread_seconds=0.05))
    async with line(STREAM, answering=answering, pair=lockstep_stream_pair, step=100) as both:
        for number in range(10):
            await both.platform.capture(audio(0.02, number))
        await wait_all_tasks_blocked()
        came = both.app.statistics.audio_received
        assert came < 10 * len(audio(0.02))
        heard: list[CallEvent] = []

        async def hear() -> None:
            heard.append(await anext(both.app))

        cancelled = await interruption.of(hear)
        await wait_all_tasks_blocked()
        assert len(heard) == 1 - cancelled
        assert (both.app.statistics.audio_received > came) is not cancelled
        while len(heard) < 10:
            await hear()
        assert heard == [Audio(audio(0.02, number)) for number in range(10)]
        await check(both, [])


async def closing(interruption: Interruption) -> None:
    async with line(STREAM, pair=lockstep_stream_pair, step=3) as both:
        await both.app.send_audio(audio(0.01))
        await interruption.of(lambda: both.app.close(3000, "enough"))
        with pytest.raises(CallEnded):
            await both.app.send_audio(audio(0.01))
        await both.platform.over()
        await both.app.close()
        assert both.taken == [Audio(audio(0.01))]
        assert both.platform.closed == Closed(3000, "enough", clean=True)
        assert both.app.closed is not None
        assert both.app.closed.code == 3000


async def capturing(interruption: Interruption) -> None:
    answering = Answering(mode=STREAM.mode(), unread="hold")
    options = {"pair": lockstep_stream_pair, "answering": answering, "step": 100}
    async with (
        trio.open_nursery() as nursery,
        line(STREAM, limits=Limits(outbox_size=1000), **options) as both,
    ):
        both.app_stream.shut()
        captured = 0
        while both.platform.link.connection.waiting < 1000:
            await both.platform.capture(audio(0.02, captured))
            captured += 1
            await wait_all_tasks_blocked()
        nursery.start_soon(when_stuck, both.app_stream.open)
        cancelled = await interruption.of(lambda: both.platform.capture(audio(0.02, captured)))
        for number in range(captured + 1 - cancelled):
            assert await anext(both.app) == Audio(audio(0.02, number))
        await check(both, [])


async def waiting_for_the_end(interruption: Interruption) -> None:
    async with line(CLIPS, pair=lockstep_stream_pair, step=3) as both:
        both.platform.hang_up()
        await interruption.of(both.platform.over)
        await both.platform.over()
        assert both.platform.closed == Closed(1000, "", clean=True)


async def talking(interruption: Interruption) -> None:
    async with line(STREAM, pair=lockstep_stream_pair, step=100) as both:
        said = b"".join(audio(0.02, number) for number in range(3))
        cancelled = await interruption.of(lambda: talk(both.platform, said))
        await wait_all_tasks_blocked()
        assert both.platform.error is None
        sent = both.platform.task.clock
        assert sent % 160 == 0
        if cancelled and both.platform.result is None:
            both.platform.hang_up()
        heard = b"".join([event.pcm async for event in both.app if isinstance(event, Audio)])
        assert not first_difference(heard, said[: 2 * sent])
        assert both.app.closed == Closed(1000, "", clean=True)
        assert both.platform.result is not None
        assert both.platform.result.end is ListenEnd.HANGUP


async def talking_with_keys(interruption: Interruption) -> None:
    async with line(STREAM, pair=lockstep_stream_pair, step=100) as both:
        keys = [Key("1", at=0.02), Key("2", at=0.04), Key("3", at=0.04)]
        said = audio(0.06)
        cancelled = await interruption.of(lambda: talk(both.platform, said, keys=keys))
        await wait_all_tasks_blocked()
        assert both.platform.error is None
        if cancelled and both.platform.result is None:
            both.platform.hang_up()
        heard = [event async for event in both.app]
        pressed = [event.digit for event in heard if isinstance(event, Dtmf)]
        assert pressed == ["1", "2", "3"][: len(pressed)]
        assert len(heard) == len(pressed) + sum(isinstance(event, Audio) for event in heard)
        assert cancelled or len(pressed) == 3
        assert both.app.closed == Closed(1000, "", clean=True)


async def hearing_the_beep(interruption: Interruption) -> None:
    task = ListenTask(attrs.evolve(STREAM, play_beep=True), ATTRIBUTES)
    heard: list[int] = []
    hear = partial(hear_beep, task, hear=lambda pieces: heard.extend(len(p.pcm) for p in pieces))
    await interruption.of(hear)
    await hear()
    assert sum(heard) == 2 * 4000


WAITS: Final[list[Scenario]] = [
    waiting_for_a_mark,
    waiting_for_a_clip_with_a_timeout,
    draining,
    draining_a_stream,
    speaking,
    iterating,
    resuming_a_held_reader,
    closing,
    capturing,
    waiting_for_the_end,
    talking,
    talking_with_keys,
    hearing_the_beep,
]


@pytest.mark.parametrize("scenario", WAITS, ids=name_of)
@on_each_app_end
@repeatable
@virtual
async def test_a_wait(scenario: Scenario, order: None) -> None:
    await walk(scenario)


@on_each_app_end
@given(tasks=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=1, max_size=4))
@virtual
async def test_any_tasks_may_send_and_be_cancelled_at_any_time(tasks: list[list[int]]) -> None:
    expected: list[list[str]] = [[] for _ in tasks]

    async def send(app: Call, number: int, interruptions: list[int]) -> None:
        for count, nth in enumerate(interruptions):
            name = f"{number}.{count}"
            if not await Interruption(nth).of(partial(app.mark, name)):
                expected[number].append(name)

    options = {"pair": lockstep_stream_pair, "answering": small_outbox(STREAM, 1), "step": 5}
    async with line(STREAM, **options) as both:
        async with trio.open_nursery() as nursery:
            for number, interruptions in enumerate(tasks):
                nursery.start_soon(send, both.app, number, interruptions)
        await wait_all_tasks_blocked()
        names = [message.name for message in both.taken if isinstance(message, Mark)]
        assert len(names) == len(both.taken)
        for number, sent in enumerate(expected):
            assert [name for name in names if name.startswith(f"{number}.")] == sent
        await still_works(both)


# The adapter of trio-websocket, awaited directly.


@asynccontextmanager
async def adapter() -> AsyncIterator[tuple[TrioWebSocket, Bare]]:
    """The adapter at the app's end, accepted, and a platform."""
    platform_stream, app_stream = lockstep_stream_pair()
    platforms: list[Bare] = []

    async def ask() -> None:
        platforms.append(await bare_platform(platform_stream))

    async with app_stream, trio.open_nursery() as nursery:
        async with trio.open_nursery() as opening:
            opening.start_soon(ask)
            asked = await trio_websocket.wrap_server_stream(nursery, Valve(app_stream, 9))
            connection = await asked.accept(subprotocol=SUBPROTOCOL)
        yield TrioWebSocket(connection), *platforms
        nursery.cancel_scope.cancel()


async def hear_to_the_end(platform: Bare, heard: list[WireEvent]) -> None:
    while not heard or not isinstance(heard[-1], Closed):
        heard.append(await platform.hear())
    await platform.flush()


async def receiving(interruption: Interruption) -> None:
    """Cancelled, it has lost no message."""
    said: list[str | bytes] = ["one", audio(0.01), "three"]
    async with adapter() as (websocket, platform):
        got: list[Payload] = []

        async def receive() -> None:
            while len(got) < len(said):
                got.append(await websocket.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(platform.say, *said)
            await interruption.of(receive)
            await receive()
        assert got == said


async def sending(interruption: Interruption) -> None:
    """Cancelled, the connection is given up: the other end sees whole messages, and no more."""
    async with adapter() as (websocket, platform):
        heard: list[WireEvent] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_to_the_end, platform, heard)
            cancelled = await interruption.of(lambda: websocket.send("a message of the app"))
            with trio.CancelScope() as at_once:
                if cancelled:
                    at_once.cancel()
                await websocket.close(1000, "")
        *messages, end = heard
        assert messages == ["a message of the app"][: len(messages)]
        if cancelled:
            assert end == Closed(1006, "", clean=False)
        else:
            assert len(messages) == 1
            assert end == Closed(1000, "", clean=True)


async def closing_the_websocket(interruption: Interruption) -> None:
    """Cancelled, it is closed all the same, and whoever receives is told."""
    async with adapter() as (websocket, platform):
        heard: list[WireEvent] = []
        got: list[Payload] = []

        async def receive() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                got.append(await websocket.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_to_the_end, platform, heard)
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            cancelled = await interruption.of(lambda: websocket.close(3000, "enough"))
        (end,) = heard
        closed = Closed(3000, "enough", clean=True)
        assert end == closed or (cancelled and end == Closed(1006, "", clean=False))
        with pytest.raises(trio.BrokenResourceError):
            await websocket.send("a word more")
        assert cancelled or got == [Close(3000)]
        assert all(isinstance(payload, Close) for payload in got)


ADAPTED: Final[list[Scenario]] = [
    receiving,
    sending,
    closing_the_websocket,
]


@pytest.mark.parametrize("scenario", ADAPTED, ids=name_of)
@repeatable
@virtual
async def test_the_adapter(scenario: Scenario, order: None) -> None:
    await walk(scenario)


# Nothing forgotten: whatever can be awaited, and the scenarios that do.

WALKED: Final[dict[str, set[object]]] = {
    "Call.__anext__": {iterating, resuming_a_held_reader},
    "Call.clear_marks": {"clear_marks"},
    "Call.close": {closing},
    "Call.disconnect": {"disconnect", cancelled_calls.disconnecting_without_an_answer},
    "Call.drain": {draining, draining_a_stream},
    "Call.kill_audio": {"kill_audio"},
    "Call.mark": {"mark"},
    "Call.over": {cancelled_calls.answering_a_call, cancelled_calls.answering_and_draining},
    "Call.play": {"play"},
    "Call.send": {"send"},
    "Call.send_audio": {"send_audio"},
    "Call.speak": {speaking},
    "Call.stop_clips": {"stop_clips"},
    "PlatformCall.capture": {capturing},
    "PlatformCall.over": {waiting_for_the_end},
    "Playback.wait": {waiting_for_a_mark, waiting_for_a_clip_with_a_timeout},
    "TrioWebSocket.close": {closing_the_websocket},
    "TrioWebSocket.receive": {receiving},
    "TrioWebSocket.send": {sending},
    "hear_beep": {hearing_the_beep},
    "open_call": {
        cancelled_calls.placing_a_call_to_a_host,
        cancelled_calls.placing_a_call_to_a_host_over_tls,
        cancelled_calls.shaking_hands_for_tls,
    },
    "open_call_on": {cancelled_calls.placing_a_call, cancelled_calls.placing_a_call_over_tls},
    "serve": {
        cancelled_calls.serving,
        cancelled_calls.serving_over_tls,
        cancelled_calls.stopping,
    },
    "serve_stream": {cancelled_calls.answering_a_call, cancelled_calls.answering_and_draining},
    "talk": {talking, talking_with_keys},
}


def waits(function: object) -> bool:
    function = inspect.unwrap(function)  # type: ignore[arg-type]
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def can_be_awaited() -> Iterator[str]:
    """The public functions and methods of the package that wait; not those of its protocols."""
    for name in listenproto_trio.__all__:
        public = getattr(listenproto_trio, name)
        if not inspect.isclass(public):
            if inspect.isfunction(public) and waits(public):
                yield name
        elif not getattr(public, "_is_protocol", False):
            for method, function in inspect.getmembers(public, inspect.isroutine):
                private = method.startswith("_") and not method.endswith("__")
                if not private and waits(function):
                    yield f"{name}.{method}"


def test_whatever_can_be_awaited_is_cancelled_everywhere() -> None:
    tables = [SENDS, WAITS, ADAPTED, cancelled_calls.CALLS, cancelled_calls.ANSWERED]
    assert sorted(WALKED) == sorted(can_be_awaited())
    assert set().union(*WALKED.values()) == set().union(*tables)
