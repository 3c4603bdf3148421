"""What is logged about calls: one line each, always with the same fields, never a secret."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
import trio_websocket
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from listenproto import (
    DEPLOYED,
    SUBPROTOCOL,
    HandshakePolicy,
    ListenTask,
    ListenVerb,
    Mode,
    PlayAudio,
    Request,
    WsAuth,
    basic_credentials,
)
from listenproto._wav import wav_header
from listenproto_trio import (
    Answering,
    Call,
    CallEnded,
    CallRejected,
    EndedCall,
    Ending,
    EndKind,
    Handler,
    Limits,
    TrioWebSocket,
    open_call,
    open_call_on,
    serve,
    serve_stream,
)
from listenproto_trio._failures import in_words
from tests.trio_support import (
    CLIPS,
    Bare,
    Valve,
    asking,
    bare_platform,
    line,
    real,
    serve_over,
    virtual,
)

FIELDS = ("is_call", "call_sid", "call_id", "peer", "path")
METADATA = '{"callSid":"call-1","callId":"id-1"}'
HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "listenproto")


def fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in FIELDS}


async def read_on(call: Call) -> None:
    async for _ in call:
        pass


async def fail(call: Call) -> None:
    raise ValueError("broken")


async def leave(call: Call) -> None:
    pass


@asynccontextmanager
async def answered(
    handler: Handler = read_on,
    answering: Answering | None = None,
    *,
    target: str = "/",
    metadata: Sequence[str | bytes] = (METADATA,),
) -> AsyncIterator[Bare]:
    """A bare platform in a call with a handler."""
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, handler, app_stream, answering=answering))
        platform = asking(platform_stream, target)
        await platform.flush()
        await platform.hear()
        await platform.say(*metadata)
        yield platform


@virtual
async def test_an_ordinary_end_is_a_line_with_how_and_what_passed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with answered(target="/calls?token=secret") as platform:
        await platform.say(bytes(320))
        platform.wire.close(1000)
        await platform.flush()
        await platform.closing()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("listenproto", logging.INFO)
    assert record.getMessage() == (
        "call call-1: the other end closed with 1000; received 2 messages, 320 bytes of audio, "
        "up to 0.000 s late; sent 0 messages, 0 bytes of audio"
    )
    assert fields(record) == {
        "is_call": True,
        "call_sid": "call-1",
        "call_id": "id-1",
        "peer": None,
        "path": "/calls",
    }
    assert record.is_end  # type: ignore[attr-defined]


@virtual
async def test_a_wav_with_a_wrong_header_is_logged_once_a_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A header that is right, or that leaves the length open, is not."""

    async def play(call: Call) -> None:
        for claimed in (4, 0xFFFFFFFF, 0x7FFFFFFF, 99):
            await call.play(PlayAudio(wav_header(claimed, 8000) + bytes(4), "wav"))

    answering = Answering(mode=Mode.CLIPS)
    async with answered(play, answering) as platform:
        await platform.closing()
    first, last = caplog.records
    assert first.levelno == logging.WARNING
    assert first.getMessage() == (
        "call call-1: a WAV clip was sent with its header corrected: its data chunk claims "
        "2147483647 bytes but has 4"
    )
    assert fields(first)["call_sid"] == "call-1"
    assert "this end closes with 1000" in last.getMessage()


@virtual
async def test_a_raw_clip_that_goes_out_as_a_wav_is_logged_once_a_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play(call: Call) -> None:
        for rate in (8000, 24000, 48000):
            await call.play(PlayAudio(bytes(4), sample_rate=rate))
        await call.play(PlayAudio(wav_header(99, 8000) + bytes(4), "wav"))

    async with answered(play, Answering(mode=Mode.CLIPS, profile=DEPLOYED)) as platform:
        await platform.closing()
    first, second, _ = caplog.records
    assert first.levelno == logging.INFO
    assert first.getMessage() == (
        "call call-1: raw clips of 24000 Hz are sent as WAV: platforms misread them"
    )
    assert "with its header corrected" in second.getMessage()


RESERVED_BITS = b"\xf2\x80" + bytes(4)

ENDS = {
    "it leaves": (read_on, "", logging.INFO, "the other end closed with 1000"),
    "the handler returns": (leave, None, logging.INFO, "this end closes with 1000;"),
    "the handler fails": (fail, None, logging.ERROR, "this end closes with 1011: the handler f"),
    "it breaks the rules": (read_on, RESERVED_BITS, logging.WARNING, "RFC 6455"),
    "it vanishes": (read_on, b"", logging.WARNING, "connection lost"),
}


@pytest.mark.parametrize(("handler", "said", "level", "how"), ENDS.values(), ids=ENDS.keys())
@virtual
async def test_each_end_is_one_line(
    caplog: pytest.LogCaptureFixture, handler: Handler, said: object, level: int, how: str
) -> None:
    async with answered(handler) as platform:
        await wait_all_tasks_blocked()
        if said == "":
            platform.wire.close()
            await platform.flush()
        elif said:
            assert isinstance(said, bytes)
            await platform.stream.send_all(said)
        if said == b"":
            await platform.stream.aclose()
        else:
            await platform.closing()
            await platform.flush()
    (record,) = caplog.records
    assert record.levelno == level
    assert how in record.getMessage()
    assert "; received " in record.getMessage()
    assert fields(record)["call_sid"] == "call-1"


@virtual
async def test_a_peer_that_is_given_up_is_said_why(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(ping_interval=20, ping_time=10, close_time=5)
    async with answered(answering=Answering(limits=limits)) as platform:
        await trio.sleep(60)
        await platform.closing()
    (record,) = caplog.records
    assert "connection lost: no answer to a ping within 10 s" in record.getMessage()


@pytest.mark.parametrize("closing", [True, False])
@virtual
async def test_what_broke_a_connection_is_said_though_it_was_not_read(
    caplog: pytest.LogCaptureFixture, closing: bool
) -> None:
    class Reset(Valve):
        broken = False

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            if self.broken:
                raise broken_by(ConnectionResetError(104, "Connection reset by peer"))
            await super().send_all(data)

    why = "connection lost: Connection reset by peer"
    app_stream, platform_stream = memory_stream_pair()
    stream = Reset(app_stream)

    async def handler(call: Call) -> None:
        await trio.sleep(1)
        stream.broken = True
        await call.disconnect()
        if closing:
            await call.close()
        await trio.sleep(60)
        assert call.how_it_ended() == f"the call is over: {why}"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, stream)
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
    (record,) = caplog.records
    assert f": {why}; received " in record.getMessage()


async def fail_when_cancelled(call: Call) -> None:
    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("not cleaned up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(trio.sleep_forever)


CALLED = "call call-1"
CANCELLED = {
    "a handler": (serve_stream, read_on, METADATA, CALLED, logging.WARNING),
    "one that fails then": (serve_stream, fail_when_cancelled, METADATA, CALLED, logging.ERROR),
    "no call yet": (serve_stream, read_on, None, "connection", logging.INFO),
    "a block": (serve_over, read_on, METADATA, CALLED, logging.WARNING),
}


@pytest.mark.parametrize(
    ("serving", "handler", "metadata", "name", "level"), CANCELLED.values(), ids=CANCELLED.keys()
)
@pytest.mark.parametrize("turn", range(4))  # trio shuffles its tasks
@virtual
async def test_what_is_cancelled_from_outside_leaves_its_line(
    caplog: pytest.LogCaptureFixture,
    turn: int,
    serving: Callable[[Handler, trio.abc.Stream], Awaitable[None]],
    handler: Handler,
    metadata: str | None,
    name: str,
    level: int,
) -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving, handler, app_stream)
        platform = await bare_platform(platform_stream)
        if metadata is not None:
            await platform.say(metadata)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{name}: this end was cancelled")
    assert record.levelno == level
    assert ("not cleaned up" in caplog.text) is (level == logging.ERROR)


@virtual
async def test_the_line_of_the_end_has_the_figures_as_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with answered() as platform:
        await platform.say(bytes(320))
        platform.wire.close(1000)
        await platform.flush()
        await platform.closing()
    (record,) = caplog.records
    figures = ("messages_received", "messages_sent", "audio_received", "samples_dropped")
    assert [getattr(record, name) for name in figures] == [2, 0, 320, 0]
    assert record.worst_lateness == 0.0  # type: ignore[attr-defined]


@virtual
async def test_the_hook_of_the_end_has_what_the_platform_broke() -> None:
    ended: list[EndedCall] = []
    answering = Answering(on_end=ended.append)
    async with answered(answering=answering, metadata=[METADATA, "no JSON", "none", "[]"]):
        pass
    async with answered(answering=answering) as platform:
        await platform.stream.send_all(b"\x93\x00")  # reserved bits and opcode, no mask
        await platform.closing()
    async with answered(fail, answering=answering) as platform:
        await platform.closing()
        await platform.flush()
    texts, frame, failed = ended
    assert texts.violations == {"LP-ODD-2": 2, "LP-ODD-3": 1}
    assert isinstance(texts.end, Ending)
    assert texts.end.kind is EndKind.LOST
    assert frame.end.kind is EndKind.PROTOCOL_ERROR
    (clause,) = frame.violations
    assert clause.startswith("RFC 6455 ")
    assert (failed.end.kind, failed.close_code) == (EndKind.LEFT, 1011)


@virtual
async def test_no_call_is_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    policy = HandshakePolicy(paths=["/calls"], health_path="/alive")
    async with answered(answering=Answering(policy=policy), metadata=()):
        pass
    async with answered(metadata=["no JSON"]) as platform:
        await platform.closing()
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        answering = Answering(policy=policy)
        nursery.start_soon(partial(serve_stream, read_on, app_stream, answering=answering))
        await platform_stream.send_all(b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")
        await platform_stream.send_eof()
    refused, broken, healthy = caplog.records
    why = "This server has no path /; check the URL."
    assert refused.getMessage() == f"connection: answered 404: {why}"
    assert "LP-META-" in broken.getMessage() or "LP-ODD-" in broken.getMessage()
    assert broken.getMessage().startswith("call: ")
    assert (refused.levelno, broken.levelno) == (logging.INFO, logging.WARNING)
    assert (healthy.levelno, healthy.getMessage()) == (
        logging.DEBUG,
        "connection: answered 200: OK",
    )
    for record in caplog.records:
        assert fields(record)["call_sid"] is None
        assert fields(record)["is_call"] is (record is broken)


@virtual
async def test_a_call_without_a_sid_is_a_call(caplog: pytest.LogCaptureFixture) -> None:
    async with answered(metadata=["{}"]) as platform:
        platform.wire.close()
        await platform.flush()
        await platform.closing()
    (record,) = caplog.records
    assert fields(record) == {
        "is_call": True,
        "call_sid": None,
        "call_id": None,
        "peer": None,
        "path": "/",
    }


@virtual
async def test_a_handler_logs_with_the_same_fields(caplog: pytest.LogCaptureFixture) -> None:
    async with line(CLIPS) as both:
        both.app.log.info("the caller wants %s", "tea", extra={"cups": 2, "path": "elsewhere"})
        assert not both.app.log.isEnabledFor(logging.DEBUG - 1)
    handled, ended = caplog.records
    assert handled.getMessage() == "the caller wants tea"
    assert handled.cups == 2  # type: ignore[attr-defined]
    assert fields(handled) == fields(ended)
    assert fields(handled)["path"] == "/"


@virtual
async def test_what_a_platform_says_of_itself_cannot_forge_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forged = '{"callSid":"x\\nERROR root: the moon has fallen","callId":7}'
    async with answered(fail, metadata=[forged]) as platform:
        await platform.closing()
        await platform.flush()
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert fields(record)["call_id"] is None
    async with answered(fail, metadata=["{}"]) as platform:
        await platform.closing()
        await platform.flush()
    assert caplog.records[1].getMessage().startswith("call without a sid: ")


@virtual
async def test_a_call_over_somebody_elses_websocket_is_logged_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    platform_stream, app_stream = memory_stream_pair()

    async def handle(call: Call) -> None:
        assert (call.peer, call.path, call.tls) == ("198.51.100.7:4000", "/calls", False)
        await read_on(call)

    async def serve_over() -> None:
        async with app_stream, trio.open_nursery() as nursery:
            asked = await trio_websocket.wrap_server_stream(nursery, app_stream)
            websocket = TrioWebSocket(await asked.accept(subprotocol=SUBPROTOCOL))
            request = Request("/calls?token=secret", ())
            with suppress(CallEnded):
                async with Call.over(websocket, request=request, peer="198.51.100.7:4000") as call:
                    await handle(call)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_over)
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        platform.wire.close()
        await platform.flush()
        await platform.closing()
    (record,) = caplog.records
    assert record.getMessage().startswith("call call-1 from 198.51.100.7:4000: the other end clos")
    assert fields(record)["peer"] == "198.51.100.7:4000"


@asynccontextmanager
async def listening(
    handler: Handler, answering: Answering, host: str = HOST
) -> AsyncIterator[ListenVerb]:
    """A server on loopback; gives a verb that calls it."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(serve, handler, port=0, host=host, answering=answering)
        )
        port = listener.socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        yield attrs.evolve(CLIPS, url=f"ws://{shown}:{port}/calls?token=s3cret")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("given", ["hunter2", "wrong-s3cret"])
@real
async def test_credentials_are_in_no_line(caplog: pytest.LogCaptureFixture, given: str) -> None:
    policy = HandshakePolicy(credentials=("me", "hunter2"))
    async with listening(fail, Answering(policy=policy)) as verb:
        verb = attrs.evolve(verb, ws_auth=WsAuth(username="me", password=given))
        with suppress(CallRejected):
            async with open_call(ListenTask(verb, {"callSid": "call-1"})) as call:
                await call.over()
        while len(caplog.records) < 2:
            await trio.sleep(0)
    said = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    for secret in ("hunter2", "s3cret", basic_credentials("me", given)):
        assert secret not in said


@virtual
async def test_credentials_are_in_no_line_about_a_broken_head(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, read_on, app_stream)
        await platform_stream.send_all(
            b"GET / HTTP/1.1\r\nAuthorization: Basic aHVudGVyMg==\r\nAuthorization Basic x\r\n\r\n"
        )
        assert b" 400 " in b"".join([bytes(data) async for data in platform_stream])
    assert len(caplog.records) == 1
    assert "aHVudGVyMg" not in caplog.text


@pytest.mark.parametrize("host", [HOST, "::1"])
@real
async def test_both_ends_know_each_other(caplog: pytest.LogCaptureFixture, host: str) -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await read_on(call)

    async with listening(handler, Answering(), host) as verb:
        async with open_call(ListenTask(verb, {"callSid": "call-1"})) as platform:
            while not calls:
                await trio.sleep(0)
            assert isinstance(platform.stream, trio.SocketStream)
            there = platform.stream.socket.getsockname()
            here = platform.stream.socket.getpeername()
        shown = f"[{host}]" if ":" in host else host
        assert calls[0].peer == f"{shown}:{there[1]}"
        assert platform.peer == f"{shown}:{here[1]}"
        assert (calls[0].path, calls[0].tls, platform.tls) == ("/calls", False, False)
        assert platform.accepted is not None
        assert platform.accepted.subprotocol == SUBPROTOCOL
        assert platform.how_it_ended() == "the call is over: this end closed it"
        while len(caplog.records) < 2:
            await trio.sleep(0)
    assert fields(caplog.records[1])["peer"] == calls[0].peer


@virtual
async def test_who_is_refused_is_told_by_whom() -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        answering = Answering(policy=HandshakePolicy(max_calls=0))
        nursery.start_soon(partial(serve_stream, read_on, app_stream, answering=answering))
        with pytest.raises(
            CallRejected, match=r"^app\.example:80 refused the call with 503: The limit"
        ):
            async with open_call_on(platform_stream, ListenTask(CLIPS, {})):
                raise AssertionError("there is no call")


def broken_by(cause: Exception) -> trio.BrokenResourceError:
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (trio.BrokenResourceError(), ""),
        (trio.BrokenResourceError("somehow"), "somehow"),
        (broken_by(ConnectionResetError(104, "Connection reset by peer")), "Connection reset by p"),
        (broken_by(broken_by(OSError("just so"))), "just so"),
        (broken_by(ssl.SSLError(1, "[SSL: ODD] odd")), "TLS failed ("),
        (broken_by(RuntimeError("a library's own")), "a library's own"),
    ],
)
def test_what_broke_a_connection_is_the_cause_behind_it(error: Exception, words: str) -> None:
    assert in_words(error).startswith(words)
    assert bool(in_words(error)) is bool(words)
