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
    Close,
    Closed,
    Dtmf,
    ListenTask,
    ListenVerb,
    Metadata,
    Mode,
    Payload,
    Peer,
    PlaybackDone,
    RemoteProtocolError,
    Request,
    Trace,
    TraceHeader,
    TraceLine,
    TraceMoment,
    judge_trace,
)
from listenproto_trio import (
    Answering,
    Call,
    CallEnded,
    CallEvent,
    Limits,
    Outcome,
    TrioWebSocket,
    open_call,
)
from tests.trio_support import (
    ATTRIBUTES,
    CALL_SID,
    DROPPED,
    STREAM,
    Bare,
    Pipe,
    audio,
    bare_platform,
    clip,
    real,
    serve_over,
    virtual,
)

METADATA: Final = json.dumps({"callSid": CALL_SID})
STREAMING: Final = Answering(mode=Mode.STREAMING)


async def read_on(call: Call) -> list[CallEvent]:
    return [event async for event in call]


@virtual
async def test_the_block_is_a_handler() -> None:
    pipe = Pipe(METADATA, audio(0.02))
    async with Call.over(pipe, answering=STREAMING) as call:
        assert call.metadata == Metadata({"callSid": CALL_SID})
        assert call.mode is Mode.STREAMING
        assert call.stream is None
        assert await anext(call) == Audio(audio(0.02))
        await call.send_audio(audio(0.1))
        await call.send_audio(b"")
        await call.send_audio(audio(0.2))
    assert pipe.sent == [audio(0.1), b"", audio(0.2), Close(1000, "")]
    assert call.closed == Closed(1000, "", clean=True)
    with pytest.raises(CallEnded, match="the other end closed with 1000"):
        await call.send_audio(audio(0.1))


@virtual
async def test_nothing_is_sent_before_the_metadata_has_come() -> None:
    pipe = Pipe()

    async def platform() -> None:
        await trio.sleep(5)
        assert pipe.sent == []
        pipe.coming.send_nowait(METADATA)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(platform)
        async with Call.over(pipe, answering=STREAMING) as call:
            assert trio.current_time() == 5
            await call.send_audio(audio(0.1))


async def raise_in_tasks(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with trio.open_nursery() as nursery:
        for error in errors:
            nursery.start_soon(fail, error)


@virtual
async def test_what_is_raised_in_the_block_comes_out_as_it_is() -> None:
    pipe = Pipe(METADATA)
    with pytest.raises(ValueError, match=r"^broken$"):
        async with Call.over(pipe):
            raise ValueError("broken")
    assert pipe.sent == [Close(1011, "the handler failed")]
    pipe = Pipe(METADATA)
    with pytest.raises(ExceptionGroup) as group:
        async with Call.over(pipe):
            await raise_in_tasks(CallEnded("over"), ValueError("broken"))
    assert {type(error) for error in group.value.exceptions} == {CallEnded, ValueError}
    assert pipe.sent == [Close(1011, "the handler failed")]


@virtual
async def test_call_ended_comes_out_alone_and_closes_with_1000() -> None:
    pipe = Pipe(METADATA)
    with pytest.raises(CallEnded, match=r"^over$"):
        async with Call.over(pipe):
            raise CallEnded("over")
    assert pipe.sent == [Close(1000, "")]
    pipe = Pipe(METADATA)
    with pytest.raises(CallEnded, match=r"^over$"):
        async with Call.over(pipe), trio.open_nursery() as nursery:
            nursery.start_soon(raise_in_tasks, CallEnded("over"), CallEnded("over"))
    assert pipe.sent == [Close(1000, "")]


NO_METADATA = [
    ([b"\0\0"], 1002, "LP-META-"),
    (["this is no JSON"], 1007, "LP-ODD-"),
    (["[]"], 1002, "LP-META-"),
    (['{"sampleRate":44100}'], 1002, "LP-META-"),
    ([], 1002, "no metadata within 10 s"),
    ([Close(1001, "gone")], None, r"the platform closed \(1001: gone\) without sending metadata"),
    ([Close(1006)], None, "connection lost"),
]


@pytest.mark.parametrize(("coming", "code", "why"), NO_METADATA)
@virtual
async def test_a_call_without_metadata_does_not_begin(
    coming: list[Payload], code: int | None, why: str
) -> None:
    pipe = Pipe(*coming)
    with pytest.raises(CallEnded, match=why) as ended:
        async with Call.over(pipe):
            pytest.fail("it has begun")
    assert [payload.code for payload in pipe.sent] == [code][code is None :]
    assert isinstance(ended.value.__cause__, RemoteProtocolError) is why.startswith("LP-")


@pytest.mark.parametrize("sending", [True, False])
@virtual
async def test_a_block_that_is_cancelled_drops_the_connection(sending: bool) -> None:
    pipe = Pipe(METADATA)
    with trio.move_on_after(5) as scope:
        async with Call.over(pipe, answering=STREAMING) as call:
            await call.send_audio(audio(1))
            await trio.sleep(4.95)
            if sending:
                await call.send_audio(audio(2))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert pipe.sent == [audio(1), DROPPED]


@virtual
async def test_a_close_that_is_not_answered_drops_the_connection() -> None:
    pipe = Pipe(METADATA, answers=False)
    async with Call.over(pipe) as call:
        pass
    assert trio.current_time() == pytest.approx(Limits().close_time)
    assert pipe.sent == [Close(1000, ""), DROPPED]
    assert call.closed == Closed(1006, "", clean=False)
    pipe = Pipe(METADATA, answers=False)
    began = trio.current_time()
    async with Call.over(pipe) as call:
        await call.disconnect()
        with pytest.raises(CallEnded, match="this end has disconnected"):
            await call.play(clip(1))
        while DROPPED not in pipe.sent:
            await trio.sleep(0.1)
        assert trio.current_time() - began == pytest.approx(2 * Limits().close_time, abs=0.2)
        pipe.coming.close()
        assert await read_on(call) == []
    assert pipe.sent == ['{"type":"disconnect"}', Close(1000, ""), DROPPED]


@virtual
async def test_a_loss_is_told_from_a_close() -> None:
    pipe = Pipe(METADATA)
    async with Call.over(pipe) as call:
        playback = await call.play(clip(1))
        pipe.coming.close()
        assert await read_on(call) == [PlaybackDone(playback.sent, Outcome.LOST)]
        assert call.closed == Closed(1006, "", clean=False)
        assert await playback.wait() is Outcome.LOST
        with pytest.raises(CallEnded, match="connection lost"):
            await call.kill_audio()


@virtual
async def test_a_sender_learns_that_nothing_can_be_sent_any_more() -> None:
    pipe = Pipe(METADATA)
    async with Call.over(pipe, answering=STREAMING) as call:
        pipe.broken = True
        await call.send_audio(audio(1))
        await trio.sleep(1)
        with pytest.raises(CallEnded, match="connection lost"):
            await call.send_audio(audio(1))
        pipe.coming.close()
    assert pipe.sent == []


@virtual
async def test_a_platform_that_says_nothing_for_hours_is_kept() -> None:
    async with Call.over(Pipe(METADATA)) as call:
        await trio.sleep(7200)
        await call.play(clip(1))


@virtual
async def test_the_request_is_for_whoever_asks() -> None:
    asked: list[Request | None] = []

    def mode(request: Request | None, metadata: Metadata) -> Mode:
        asked.append(request)
        return Mode.OFF

    request = Request("/call?id=7", (("x-trunk", "north"),))
    async with Call.over(Pipe(METADATA), request=request, answering=Answering(mode=mode)) as call:
        assert call.request is request
        assert call.mode is Mode.OFF
    async with Call.over(Pipe(METADATA), answering=Answering(mode=mode)) as call:
        with pytest.raises(LookupError, match="request="):
            _ = call.request
    assert asked == [request, None]


@pytest.mark.parametrize("drain", [True, False])
@virtual
async def test_drain_waits_for_marks(drain: bool) -> None:
    pipe = Pipe(METADATA)
    answering = Answering(mode=Mode.STREAMING, drain=drain)
    async with Call.over(pipe, answering=answering) as call:
        await call.send_audio(audio(1))
        mark = await call.mark("m")
    assert mark.outcome is (Outcome.TIMED_OUT if drain else Outcome.LOST)
    assert trio.current_time() == pytest.approx(11 if drain else 0, abs=0.5)


@pytest.mark.parametrize("lost", [True, False])
@virtual
async def test_a_call_is_on_record(lost: bool) -> None:
    lines: list[TraceLine] = []

    def tap(sender: Peer, payload: Payload | TraceMoment) -> None:
        lines.append(TraceLine(round(trio.current_time() * 1e6), sender, 0, payload))

    pipe = Pipe(METADATA, audio(0.02))
    answering = Answering(mode=Mode.STREAMING, tap=lambda session: tap)
    async with Call.over(pipe, answering=answering) as call:
        assert await anext(call) == Audio(audio(0.02))
        await call.mark("m")
        if lost:
            pipe.coming.close()
        await trio.sleep(1)
    ends = [(Peer.PLATFORM, TraceMoment.LOST)]
    if not lost:
        ends = [(Peer.APP, Close(1000, "")), (Peer.PLATFORM, Close(1000, ""))]
    assert [(line.sender, line.payload) for line in lines] == [
        (Peer.APP, TraceMoment.OPEN),
        (Peer.PLATFORM, METADATA),
        (Peer.PLATFORM, audio(0.02)),
        (Peer.APP, '{"type":"mark","data":{"name":"m"}}'),
        *ends,
    ]
    header = TraceHeader(vantage=Peer.APP, way=Mode.STREAMING, profile="documented")
    assert list(judge_trace(Trace(header, tuple(lines)))) == []


@virtual
async def test_a_mode_that_cannot_be_told_comes_out_as_it_is() -> None:
    def mode(request: Request | None, metadata: Metadata) -> Mode:
        raise KeyError("no such tenant")

    pipe = Pipe(METADATA, audio(0.02))
    with pytest.raises(KeyError, match="no such tenant"):
        async with Call.over(pipe, answering=Answering(mode=mode)):
            pytest.fail("it has begun")
    assert pipe.sent == [Close(1011, "the app failed")]


@pytest.mark.parametrize(
    ("raised", "comes_out"),
    [
        (None, "a library's own"),
        (CallEnded("over"), "a library's own"),
        (ValueError("a handler's own"), "a handler's own"),
    ],
)
@virtual
async def test_a_websocket_that_fails_in_mid_call_ends_it(
    raised: Exception | None, comes_out: str
) -> None:
    class Broken(Pipe):
        async def receive(self) -> Payload:
            if isinstance(payload := await super().receive(), Close):
                raise ValueError("a library's own")
            return payload

    async def handle(call: Call) -> None:
        assert await read_on(call) == []
        assert call.how_it_ended() == "the call failed: this end failed (ValueError)"
        with pytest.raises(CallEnded, match="the call failed"):
            await call.disconnect()
        if raised is not None:
            raise raised

    pipe = Broken(METADATA, Close(1000))
    with pytest.raises(ValueError, match=f"^{comes_out}$"):
        async with Call.over(pipe) as call:
            await handle(call)
    assert pipe.sent == [Close(1011, "the app failed")]


@virtual
async def test_a_tap_that_cannot_be_made_leaves_no_connection_behind() -> None:
    def no_tap(session: object) -> None:
        raise OSError("disk full")

    pipe = Pipe(METADATA)
    with pytest.raises(OSError, match="disk full"):
        async with Call.over(pipe, answering=Answering(tap=no_tap)):
            pytest.fail("it has begun")
    assert pipe.sent == [DROPPED]


# On trio-websocket. What a call does there in general, tests/test_trio_call.py shows.


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
    assert heard == said
    assert platform.closed == Closed(1000, "", clean=True)
    assert calls[0].closed == Closed(1000, "", clean=True)
