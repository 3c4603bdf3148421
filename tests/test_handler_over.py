"""A call over somebody else's WebSocket: how it begins and ends, and what it asks of one."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

import anyio
import pytest

from listenproto import (
    Answering,
    Audio,
    CallEnded,
    CallEvent,
    Close,
    Closed,
    HandlerCall,
    Limits,
    Metadata,
    Mode,
    Outcome,
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
from tests.call_support import CALL_SID, DROPPED, audio, clip
from tests.runtime_support import current_time, over, pipe, virtual

pytestmark = pytest.mark.usefixtures("each_runtime")

METADATA: Final = json.dumps({"callSid": CALL_SID})
STREAMING: Final = Answering(mode=Mode.STREAMING)


async def read_on(call: HandlerCall) -> list[CallEvent]:
    return [event async for event in call]


@virtual
async def test_the_block_is_a_handler() -> None:
    websocket = pipe(METADATA, audio(0.02))
    async with over(websocket, answering=STREAMING) as call:
        assert call.metadata == Metadata({"callSid": CALL_SID})
        assert call.mode is Mode.STREAMING
        assert await anext(call) == Audio(audio(0.02))
        await call.send_audio(audio(0.1))
        await call.send_audio(b"")
        await call.send_audio(audio(0.2))
    assert websocket.sent == [audio(0.1), b"", audio(0.2), Close(1000, "")]
    assert call.closed == Closed(1000, "", clean=True)
    with pytest.raises(CallEnded, match="this end closed it"):
        await call.send_audio(audio(0.1))


@virtual
async def test_nothing_is_sent_before_the_metadata_has_come() -> None:
    websocket = pipe()

    async def platform() -> None:
        await anyio.sleep(5)
        assert websocket.sent == []
        websocket.come(METADATA)

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(platform)
        async with over(websocket, answering=STREAMING) as call:
            assert current_time() == 5
            await call.send_audio(audio(0.1))


async def raise_in_tasks(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with anyio.create_task_group() as nursery:
        for error in errors:
            nursery.start_soon(fail, error)


@virtual
async def test_what_is_raised_in_the_block_comes_out_as_it_is() -> None:
    websocket = pipe(METADATA)
    with pytest.raises(ValueError, match=r"^broken$"):
        async with over(websocket):
            raise ValueError("broken")
    assert websocket.sent == [Close(1011, "the handler failed")]
    websocket = pipe(METADATA)
    with pytest.raises(ExceptionGroup) as group:
        async with over(websocket):
            await raise_in_tasks(CallEnded("over"), ValueError("broken"))
    assert {type(error) for error in group.value.exceptions} == {CallEnded, ValueError}
    assert websocket.sent == [Close(1011, "the handler failed")]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("a handler's own"), [f"call {CALL_SID}: the handler failed"]),
        (CallEnded("over"), []),
    ],
)
@virtual
async def test_what_the_block_raised_is_logged_if_the_close_after_it_is_cancelled(
    raised: Exception, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    websocket = pipe(METADATA, answers=False)
    with anyio.move_on_after(1) as scope:
        async with over(websocket, answering=STREAMING):
            raise raised
    assert scope.cancelled_caught
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == said
    assert all(record.exc_info and record.exc_info[1] is raised for record in errors)


@virtual
async def test_call_ended_comes_out_alone_and_closes_with_1000() -> None:
    websocket = pipe(METADATA)
    with pytest.raises(CallEnded, match=r"^over$"):
        async with over(websocket):
            raise CallEnded("over")
    assert websocket.sent == [Close(1000, "")]
    websocket = pipe(METADATA)
    with pytest.raises(CallEnded, match=r"^over$"):
        async with over(websocket), anyio.create_task_group() as nursery:
            nursery.start_soon(raise_in_tasks, CallEnded("over"), CallEnded("over"))
    assert websocket.sent == [Close(1000, "")]


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
    websocket = pipe(*coming)
    with pytest.raises(CallEnded, match=why) as ended:
        async with over(websocket):
            pytest.fail("it has begun")
    assert [payload.code for payload in websocket.sent] == [code][code is None :]
    assert isinstance(ended.value.__cause__, RemoteProtocolError) is why.startswith("LP-")


@pytest.mark.parametrize("sending", [True, False])
@virtual
async def test_a_block_that_is_cancelled_drops_the_connection(sending: bool) -> None:
    websocket = pipe(METADATA)
    with anyio.move_on_after(5) as scope:
        async with over(websocket, answering=STREAMING) as call:
            await call.send_audio(audio(1))
            await anyio.sleep(4.95)
            if sending:
                await call.send_audio(audio(2))
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert websocket.sent == [audio(1), DROPPED]


@virtual
async def test_a_close_that_is_not_answered_drops_the_connection() -> None:
    websocket = pipe(METADATA, answers=False)
    async with over(websocket) as call:
        pass
    assert current_time() == pytest.approx(Limits().close_time)
    assert websocket.sent == [Close(1000, ""), DROPPED]
    assert call.closed == Closed(1006, "", clean=False)
    websocket = pipe(METADATA, answers=False)
    began = current_time()
    async with over(websocket) as call:
        await call.disconnect()
        with pytest.raises(CallEnded, match="this end has disconnected"):
            await call.play(clip(1))
        while DROPPED not in websocket.sent:
            await anyio.sleep(0.1)
        assert current_time() - began == pytest.approx(2 * Limits().close_time, abs=0.2)
        websocket.lose()
        assert await read_on(call) == []
    assert websocket.sent == ['{"type":"disconnect"}', Close(1000, ""), DROPPED]


@virtual
async def test_a_loss_is_told_from_a_close() -> None:
    websocket = pipe(METADATA)
    async with over(websocket) as call:
        playback = await call.play(clip(1))
        websocket.lose()
        assert await read_on(call) == [PlaybackDone(playback.sent, Outcome.LOST)]
        assert call.closed == Closed(1006, "", clean=False)
        assert await playback.wait() is Outcome.LOST
        with pytest.raises(CallEnded, match="connection lost"):
            await call.kill_audio()


@virtual
async def test_a_sender_learns_that_nothing_can_be_sent_any_more() -> None:
    websocket = pipe(METADATA)
    async with over(websocket, answering=STREAMING) as call:
        websocket.broken = True
        await call.send_audio(audio(1))
        await anyio.sleep(1)
        with pytest.raises(CallEnded, match="connection lost"):
            await call.send_audio(audio(1))
        websocket.lose()
    assert websocket.sent == []


@virtual
async def test_a_platform_that_says_nothing_for_hours_is_kept() -> None:
    async with over(pipe(METADATA)) as call:
        await anyio.sleep(7200)
        await call.play(clip(1))


@pytest.mark.parametrize("cancelled", [True, False])
@virtual
async def test_a_connection_that_is_lost_as_it_is_dropped_hides_nothing(
    cancelled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    websocket = pipe(METADATA)
    caught: list[Exception] = []
    with anyio.move_on_after(60) as scope:
        try:
            async with over(websocket, answering=STREAMING) as call:
                websocket.broken = True
                if not cancelled:
                    await call.send_audio(audio(1))
                    await anyio.sleep(1)
                    raise KeyError("a handler's own")
                await anyio.sleep_forever()
        except Exception as exc:
            caught.append(exc)
    assert scope.cancelled_caught is cancelled
    assert [type(exc) for exc in caught] == ([] if cancelled else [KeyError])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@virtual
async def test_a_websocket_that_fails_as_it_is_dropped_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close(code: int, reason: str) -> None:
        raise ValueError("close is broken")

    websocket = pipe(METADATA)
    monkeypatch.setattr(websocket, "close", close)
    with anyio.move_on_after(5) as scope:
        async with over(websocket, answering=STREAMING):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    failure = caplog.records[-1]
    assert failure.levelname == "ERROR"
    assert failure.getMessage() == f"call {CALL_SID}: the connection could not be given up"
    assert failure.exc_info is not None
    assert str(failure.exc_info[1]) == "close is broken"


@pytest.mark.parametrize("reading", [True, False])
@virtual
async def test_a_connection_that_breaks_says_why(
    reading: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    websocket = pipe(METADATA)
    lost = type(websocket).lost

    async def send(payload: object) -> None:
        raise lost("the line was cut")

    monkeypatch.setattr(websocket, "send", send)
    async with over(websocket, answering=STREAMING) as call:
        if reading:
            websocket.come(lost("the line was cut"))
            assert await read_on(call) == []
        else:
            await call.send_audio(audio(1))
            await anyio.sleep(1)
        assert call.how_it_ended() == "the call is over: connection lost: the line was cut"
    (record,) = caplog.records
    assert record.levelname == "WARNING"  # also if it broke while writing
    assert "connection lost: the line was cut; " in record.getMessage()


@virtual
async def test_the_request_is_for_whoever_asks() -> None:
    asked: list[Request | None] = []

    def mode(request: Request | None, metadata: Metadata) -> Mode:
        asked.append(request)
        return Mode.OFF

    request = Request("/call?id=7", (("x-trunk", "north"),))
    async with over(pipe(METADATA), request=request, answering=Answering(mode=mode)) as call:
        assert call.request is request
        assert call.mode is Mode.OFF
    async with over(pipe(METADATA), answering=Answering(mode=mode)) as call:
        with pytest.raises(LookupError, match="request="):
            _ = call.request
    assert asked == [request, None]


@pytest.mark.parametrize("drain", [True, False])
@virtual
async def test_drain_waits_for_marks(drain: bool) -> None:
    websocket = pipe(METADATA)
    answering = Answering(mode=Mode.STREAMING, drain=drain)
    async with over(websocket, answering=answering) as call:
        await call.send_audio(audio(1))
        mark = await call.mark("m")
    assert mark.outcome is (Outcome.TIMED_OUT if drain else Outcome.LOST)
    assert current_time() == pytest.approx(11 if drain else 0, abs=0.5)


@pytest.mark.parametrize("lost", [True, False])
@virtual
async def test_a_call_is_on_record(lost: bool) -> None:
    lines: list[TraceLine] = []

    def tap(sender: Peer, payload: Payload | TraceMoment) -> None:
        lines.append(TraceLine(round(current_time() * 1e6), sender, 0, payload))

    websocket = pipe(METADATA, audio(0.02))
    answering = Answering(mode=Mode.STREAMING, tap=lambda session: tap)
    async with over(websocket, answering=answering) as call:
        assert await anext(call) == Audio(audio(0.02))
        await call.mark("m")
        if lost:
            websocket.lose()
        await anyio.sleep(1)
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

    websocket = pipe(METADATA, audio(0.02))
    with pytest.raises(KeyError, match="no such tenant"):
        async with over(websocket, answering=Answering(mode=mode)):
            pytest.fail("it has begun")
    assert websocket.sent == [Close(1011, "the app failed")]


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
    async def handle(call: HandlerCall) -> None:
        assert await read_on(call) == []
        assert call.how_it_ended() == "the call failed: this end failed (ValueError)"
        with pytest.raises(CallEnded, match="the call failed"):
            await call.disconnect()
        if raised is not None:
            raise raised

    websocket = pipe(METADATA)
    websocket.come(ValueError("a library's own"))
    with pytest.raises(ValueError, match=f"^{comes_out}$"):
        async with over(websocket) as call:
            await handle(call)
    assert websocket.sent == [Close(1011, "the app failed")]


@pytest.mark.parametrize("answered", [None, 5, bytearray(b"\1\0"), memoryview(b"\1\0")])
@virtual
async def test_what_is_no_message_is_refused_with_the_name_of_the_class(answered: Any) -> None:
    async def handle(call: HandlerCall) -> None:
        assert await read_on(call) == []

    websocket = pipe(METADATA, answered)
    returned = f"{type(websocket).__name__} returned {type(answered).__name__}"
    with pytest.raises(
        TypeError, match=rf"^receive\(\) must return str, bytes or Close; {returned}$"
    ):
        async with over(websocket) as call:
            await handle(call)
    assert websocket.sent == [Close(1011, "the app failed")]


@pytest.mark.parametrize("peer", ["192.0.2.1:5060", None])
@virtual
async def test_a_tap_that_cannot_be_made_is_logged_and_ends_the_call(
    peer: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    def no_tap(session: object) -> None:
        raise OSError("disk full")

    lost: list[str] = []
    answering = Answering(tap=no_tap, on_lost=lambda session, why: lost.append(why))
    websocket = pipe(METADATA)
    with pytest.raises(OSError, match="disk full"):
        async with over(websocket, answering=answering, peer=peer):
            pytest.fail("it has begun")
    assert websocket.sent == [Close(1011, "the app failed")]
    assert lost == ["this end failed (OSError)"]
    (record,) = caplog.records
    where = f" from {peer}" if peer else ""
    assert record.getMessage() == f"call{where}: this end failed (OSError)"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "disk full"
    assert record.levelno == logging.ERROR
    assert (record.is_call, record.is_end) == (True, True)  # type: ignore[attr-defined]
