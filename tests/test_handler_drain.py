"""Waiting until the caller has heard all that was sent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio
import pytest

from listenproto import (
    FLICKS,
    Answering,
    CallEnded,
    HandlerCall,
    Heard,
    ListenEnd,
    Mode,
    Outcome,
)
from tests.call_support import CLIPS, STREAM, audio, clip
from tests.runtime_support import all_blocked, calling, current_time, line, talk, virtual

pytestmark = pytest.mark.usefixtures("each_end")

MARGIN = 0.5


@pytest.mark.parametrize("lead", [0.2, math.inf])
@pytest.mark.parametrize("by", ["drain()", "the handler's end"])
@virtual
async def test_the_last_words_are_heard_before_the_call_is_closed(by: str, lead: float) -> None:
    async def handler(call: HandlerCall) -> None:
        await call.speak(audio(3), lead=lead)
        if by == "drain()":
            await call.drain()

    heard: list[Heard] = []
    answering = Answering(mode=Mode.STREAMING, drain=by != "drain()")
    async with calling(handler, STREAM, answering=answering) as platform:
        result = await talk(platform, audio(10), hear=heard.extend)
    assert result.end is ListenEnd.APP_CLOSED
    assert b"".join(piece.pcm for piece in heard) == audio(3)


@virtual
async def test_a_stream_that_the_network_delays_is_heard_to_its_end() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        both.platform_stream.shut()
        await both.app.send_audio(audio(1))

        async def deliver() -> None:
            await anyio.sleep(MARGIN - 0.1)
            both.platform_stream.open()

        heard: list[Heard] = []
        nursery.start_soon(deliver)
        with anyio.move_on_after(10) as playing:

            async def drain() -> None:
                await both.app.drain()
                playing.cancel()

            nursery.start_soon(drain)
            while True:
                await anyio.sleep(0.02)
                heard += both.platform.play(FLICKS // 50)
        assert sum(len(piece.pcm) for piece in heard) == len(audio(1))


@virtual
async def test_the_event_of_a_mark_behind_all_tells_when_that_is() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        nursery.start_soon(hear_on, both.hear)
        await both.app.send_audio(audio(1))
        mark = await both.app.mark("m")
        await both.app.drain()
        assert mark.outcome is Outcome.PLAYED
        assert current_time() == pytest.approx(1)
        nursery.cancel_scope.cancel()


@virtual
async def test_a_mark_with_a_stream_behind_it_tells_nothing_of_that() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        nursery.start_soon(hear_on, both.hear)
        await both.app.mark("m")
        await both.app.send_audio(audio(1))
        await both.app.drain()
        assert current_time() == pytest.approx(1 + MARGIN)
        nursery.cancel_scope.cancel()


async def hear_on(hear: Callable[[float], Awaitable[None]]) -> None:
    """Be a caller who hears what there is, in real time."""
    while True:
        await hear(0.02)
        await anyio.sleep(0.02)


@virtual
async def test_what_is_sent_meanwhile_is_waited_for() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        await both.app.send_audio(audio(1))

        async def say_more() -> None:
            await anyio.sleep(1)
            await both.app.send_audio(audio(2))

        nursery.start_soon(say_more)
        await both.app.drain()
        assert current_time() == pytest.approx(3 + MARGIN)


@virtual
async def test_where_nothing_is_to_be_heard_there_is_nothing_to_wait_for() -> None:
    async with line(STREAM) as both:
        await both.app.drain()
        await both.app.send_audio(audio(1))
        await anyio.sleep(5)
        await both.app.drain()
        assert current_time() == 5


async def kill(call: HandlerCall) -> None:
    await call.kill_audio()


async def disconnect(call: HandlerCall) -> None:
    await call.disconnect()


@pytest.mark.parametrize("how", [kill, disconnect])
@virtual
async def test_what_leaves_nothing_to_be_heard_ends_it_at_once(
    how: Callable[[HandlerCall], Awaitable[None]],
) -> None:
    """Though the platform, which reads nothing, does not say so."""
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        both.platform_stream.shut()
        await both.app.send_audio(audio(60))
        await both.app.mark("m")
        await both.app.send_audio(audio(60))

        async def interrupt() -> None:
            await anyio.sleep(1)
            await how(both.app)

        nursery.start_soon(interrupt)
        await both.app.drain()
        assert current_time() == 1
        assert both.app.ahead == 0
        both.platform_stream.open()


@pytest.mark.parametrize("how", [kill, disconnect])
@virtual
async def test_clips_that_are_flushed_are_not_waited_for(
    how: Callable[[HandlerCall], Awaitable[None]],
) -> None:
    async with line(CLIPS) as both:
        both.platform_stream.shut()
        for _ in range(2):
            await both.app.play(clip(0.5))  # so near their ends that an answer may be on its way
        await how(both.app)
        await both.app.drain()
        assert current_time() == 0
        both.platform_stream.open()


@virtual
async def test_marks_that_are_forgotten_are_not_waited_for() -> None:
    async with line(STREAM) as both:
        both.platform_stream.shut()
        await both.app.mark("m")
        await both.app.clear_marks()
        await both.app.drain()
        assert current_time() == 0
        both.platform_stream.open()


@virtual
async def test_a_mark_that_never_comes_back_is_waited_for_up_to_a_limit() -> None:
    async with line(STREAM) as both:
        await both.app.send_audio(audio(1))
        mark = await both.app.mark("m")
        await both.app.drain()
        assert current_time() == 11
        assert mark.outcome is Outcome.TIMED_OUT


async def drain(call: HandlerCall) -> None:
    await call.send_audio(audio(60))
    await call.drain()


async def drain_behind_a_mark(call: HandlerCall) -> None:
    await call.send_audio(audio(60))
    await call.mark("m")
    await call.drain()


async def speak_far_ahead(call: HandlerCall) -> None:
    with pytest.raises(CallEnded):
        await call.speak(audio(120), lead=60)


async def send_behind_a_guard(call: HandlerCall) -> None:
    await call.kill_audio(guard=60)
    with pytest.raises(CallEnded):
        await call.send_audio(audio(1))


@pytest.mark.parametrize("wait", [drain, drain_behind_a_mark, speak_far_ahead, send_behind_a_guard])
@virtual
async def test_the_end_of_the_call_ends_every_wait_at_once(
    wait: Callable[[HandlerCall], Awaitable[None]],
) -> None:
    ended_at: list[float] = []

    async def handler(call: HandlerCall) -> None:
        await wait(call)
        ended_at.append(current_time())
        assert call.ahead == 0

    async with calling(handler, STREAM) as platform:
        await anyio.sleep(1)
        platform.hang_up()
        await platform.over()
        await all_blocked()
    assert ended_at == [1]
