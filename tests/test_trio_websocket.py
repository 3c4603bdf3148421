"""A call over somebody else's WebSocket: how it begins and ends, and what it asks of one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import pytest
import trio
import trio_websocket
from trio.testing import memory_stream_pair

from listenproto import (
    Audio,
    Closed,
    Dtmf,
    ListenTask,
    ListenVerb,
    Mode,
)
from listenproto_trio import (
    Answering,
    Call,
    CallEvent,
    Limits,
    TrioWebSocket,
    open_call,
)
from tests.differing import first_difference
from tests.trio_support import (
    ATTRIBUTES,
    CALL_SID,
    STREAM,
    Bare,
    audio,
    bare_platform,
    real,
    serve_over,
    virtual,
)

METADATA: Final = json.dumps({"callSid": CALL_SID})
STREAMING: Final = Answering(mode=Mode.STREAMING)


async def read_on(call: Call) -> list[CallEvent]:
    return [event async for event in call]


@asynccontextmanager
async def answered(
    calls: list[Call], answering: Answering = STREAMING
) -> AsyncIterator[tuple[Bare, trio.Event]]:
    """A bare platform in a call over trio-websocket, which lasts until the event is set."""
    app_stream, platform_stream = memory_stream_pair()
    begun, done = trio.Event(), trio.Event()

    async def handler(call: Call) -> None:
        calls.append(call)
        begun.set()
        await done.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_over, handler, app_stream, answering=answering))
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        await begun.wait()
        yield platform, done
        done.set()


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "away"), (3000, "enough")])
@virtual
async def test_the_platforms_close_is_told_with_its_code(code: int, reason: str) -> None:
    calls: list[Call] = []
    async with answered(calls) as (platform, _):
        await platform.say('{"event":"dtmf","dtmf":"1"}')
        platform.wire.close(code, reason)
        await platform.flush()
        assert await read_on(calls[0]) == [Dtmf("1")]
        assert calls[0].closed == Closed(code, reason, clean=True)
        assert calls[0].error is None
        assert await platform.closing() == Closed(code, reason, clean=True)


@pytest.mark.parametrize("sending", [True, False])
@virtual
async def test_a_platform_that_vanishes_is_no_close(sending: bool) -> None:
    calls: list[Call] = []
    async with answered(calls) as (platform, _):
        if sending:
            await calls[0].send_audio(audio(1))
        await trio.aclose_forcefully(platform.stream)
        assert await read_on(calls[0]) == []
        assert calls[0].closed == Closed(1006, "", clean=False)


@virtual
async def test_this_ends_close_has_the_platforms_answer() -> None:
    calls: list[Call] = []
    async with answered(calls) as (platform, _), trio.open_nursery() as nursery:
        nursery.start_soon(calls[0].close, 3001, "that is all")
        assert await platform.closing() == Closed(3001, "that is all", clean=True)
        assert calls[0].closed is None
        await platform.flush()
        assert await read_on(calls[0]) == []
        assert calls[0].closed == Closed(3001, "", clean=True)


@virtual
async def test_an_unanswered_close_ends_the_stream() -> None:
    calls: list[Call] = []
    async with answered(calls) as (platform, done):
        began = trio.current_time()
        done.set()
        heard = b"".join([bytes(data) async for data in platform.stream])
        assert trio.current_time() - began == Limits().close_time
        platform.wire.feed(heard)
        assert await platform.hear() == Closed(1000, "", clean=True)
        assert calls[0].closed == Closed(1006, "", clean=False)


@real
async def test_a_call_over_loopback() -> None:
    said, heard = audio(1.0), bytearray()
    calls: list[Call] = []

    async def handler(asked: trio_websocket.WebSocketRequest) -> None:
        websocket = TrioWebSocket(await asked.accept(subprotocol=asked.proposed_subprotocols[0]))
        async with Call.over(websocket, answering=STREAMING) as call:
            calls.append(call)
            async for event in call:
                assert isinstance(event, Audio)
                await call.send_audio(event.pcm)

    async with trio.open_nursery() as nursery:
        serving = partial(trio_websocket.serve_websocket, handler, "127.0.0.1", 0, None)
        listening = await nursery.start(serving)
        verb: ListenVerb = attrs.evolve(STREAM, url=f"ws://127.0.0.1:{listening.port}/")
        received = trio.Event()

        def hear(message: object) -> None:
            assert isinstance(message, Audio)
            heard.extend(message.pcm)
            if len(heard) == len(said):
                received.set()

        async with open_call(ListenTask(verb, ATTRIBUTES), on_message=hear) as platform:
            for start in range(0, len(said), 320):
                await platform.capture(said[start : start + 320])
            await received.wait()
        nursery.cancel_scope.cancel()
    assert not first_difference(heard, said)
    assert platform.closed == Closed(1000, "", clean=True)
    assert calls[0].closed == Closed(1000, "", clean=True)
