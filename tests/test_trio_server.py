"""Taking calls on trio: handlers and their ends, refusals, limits, platforms that do wrong."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

import attrs
import pytest
import trio
from trio.testing import (
    lockstep_stream_pair,
    memory_stream_pair,
    open_stream_to_socket_listener,
    wait_all_tasks_blocked,
)

from listenproto import (
    AppSession,
    Audio,
    Closed,
    Dtmf,
    HandshakePolicy,
    ListenEnd,
    ListenTask,
    ListenVerb,
    Metadata,
    Mode,
    Payload,
    Rejected,
    Request,
    basic_credentials,
)
from listenproto_trio import (
    Answering,
    AppMessage,
    Call,
    CallEnded,
    CallEvent,
    CallRejected,
    Handler,
    Limits,
    Outcome,
    PlatformCall,
    Playback,
    Tap,
    open_call,
    open_call_on,
    serve,
    serve_stream,
    talk,
)
from tests.trio_support import (
    ATTRIBUTES,
    CALL_SID,
    CLIPS,
    STREAM,
    Bare,
    Valve,
    asking,
    audio,
    bare_platform,
    calling,
    clip,
    line,
    real,
    repeatable,
    virtual,
)

METADATA = f'{{"callSid":"{CALL_SID}"}}'


async def read_on(call: Call) -> None:
    async for _ in call:
        pass


@asynccontextmanager
async def served(
    handler: Handler, answering: Answering | None = None
) -> AsyncIterator[trio.abc.Stream]:
    """The platform's end of a narrow stream that is served; in the end serving has ended too."""
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        narrow = Valve(app_stream, 20)
        nursery.start_soon(partial(serve_stream, handler, narrow, answering=answering))
        yield platform_stream


@asynccontextmanager
async def answered(
    handler: Handler, answering: Answering | None = None, *payloads: str | bytes
) -> AsyncIterator[Bare]:
    """A bare platform in a call with a handler, ``payloads`` is what it has said first."""
    async with served(handler, answering) as stream:
        platform = await bare_platform(stream)
        await platform.say(*payloads or [METADATA])
        yield platform


async def raise_value_error(call: Call) -> None:
    raise ValueError("broken")


async def raise_call_ended(call: Call) -> None:
    raise CallEnded("over")


async def send_for_ever_in_tasks(call: Call) -> None:
    async def send() -> None:
        while True:
            await call.send_audio(audio(0.1))

    async with trio.open_nursery() as outer:
        outer.start_soon(send)
        async with trio.open_nursery() as inner:
            inner.start_soon(send)
            inner.start_soon(send)


async def raise_both(call: Call) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_call_ended, call)
        nursery.start_soon(raise_value_error, call)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@virtual
async def test_a_handler_that_returns_closes_with_1000(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(call: Call) -> None:
        await call.play(clip(0.1))

    async with answered(handler) as platform:
        assert isinstance(await platform.hear(), str)
        assert await platform.hear() == Closed(1000, "", clean=True)
    assert errors(caplog) == []


@pytest.mark.parametrize("handler", [raise_value_error, raise_both])
@virtual
async def test_a_handler_that_raises_closes_with_1011_and_is_logged(
    caplog: pytest.LogCaptureFixture, handler: Handler
) -> None:
    async with answered(handler) as platform:
        assert (await platform.closing()).code == 1011
    (record,) = errors(caplog)
    assert record.name == "listenproto"
    assert record.call_sid == CALL_SID  # type: ignore[attr-defined]
    assert CALL_SID in record.getMessage()
    assert "ValueError: broken" in caplog.text


@virtual
async def test_call_ended_out_of_a_handler_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with answered(raise_call_ended) as platform:
        assert (await platform.closing()).code == 1000
    async with answered(send_for_ever_in_tasks, Answering(mode=Mode.STREAMING)) as platform:
        assert isinstance(await platform.hear(), bytes)
        platform.wire.close()
        await platform.flush()
        assert (await platform.closing()).code == 1000
    assert errors(caplog) == []


@pytest.mark.parametrize("verb", [CLIPS, STREAM], ids=["clips", "streaming"])
@virtual
async def test_drain_waits_for_clips_and_marks(verb: ListenVerb) -> None:
    playbacks: list[Playback] = []

    async def handler(call: Call) -> None:
        if call.mode is Mode.CLIPS:
            playbacks.extend([await call.play(clip(1)), await call.play(clip(1))])
        else:
            await call.send_audio(audio(2))
            playbacks.extend([await call.mark("a"), await call.mark("b")])

    for drain, outcome in [(True, Outcome.PLAYED), (False, Outcome.LOST)]:
        playbacks.clear()
        answering = Answering(mode=verb.mode(), drain=drain)
        async with calling(handler, verb, answering=answering) as platform:
            result = await talk(platform, audio(10))
        assert result.end is ListenEnd.APP_CLOSED
        assert [playback.outcome for playback in playbacks] == [outcome] * 2
        assert platform.task.clock == (16000 if drain else 0)


@virtual
async def test_a_handler_that_has_returned_holds_nothing_back() -> None:
    playbacks: list[Playback] = []

    async def handler(call: Call) -> None:
        await call.send_audio(audio(5))
        playbacks.append(await call.mark("m"))
        await anext(call)

    for drain, seconds in [(True, 5.0), (False, 0.1)]:
        playbacks.clear()
        answering = Answering(
            mode=Mode.STREAMING, drain=drain, unread="hold", limits=Limits(unread_seconds=1)
        )
        began = trio.current_time()
        options = {"pair": lockstep_stream_pair, "answering": answering}
        async with calling(handler, STREAM, **options) as platform:
            await talk(platform, audio(60))
        assert playbacks[0].outcome is (Outcome.PLAYED if drain else Outcome.LOST)
        assert trio.current_time() - began == pytest.approx(seconds, abs=0.1)
        assert platform.closed == Closed(1000, "", clean=True)


@virtual
async def test_what_is_called_while_reading_may_fail_without_harm_to_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def mode(request: Request | None, metadata: Metadata) -> Mode:
        return Mode(metadata.attributes["mode"])

    async def handler(call: Call) -> None:
        raise AssertionError("it has begun")

    async with answered(handler, Answering(mode=mode)) as platform:
        await platform.say(audio(0.02))
        assert await platform.closing() == Closed(1011, "the app failed", clean=True)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "call: this end failed (KeyError)"
    assert record.exc_info and repr(record.exc_info[1]) == "KeyError('mode')"
    assert f"raised by the mode function, for call '{CALL_SID}'" in caplog.text


REFUSALS: list[tuple[HandshakePolicy, dict[str, str], int]] = [
    (HandshakePolicy(max_calls=0), {}, 503),
    (HandshakePolicy(paths=["/other"]), {}, 404),
    (HandshakePolicy(credentials=("me", "secret")), {}, 401),
    (
        HandshakePolicy(credentials=("me", "secret")),
        {"Authorization": basic_credentials("me", "wrong")},
        401,
    ),
    (HandshakePolicy(subprotocols=("other",)), {}, 400),
    (HandshakePolicy(), {"Sec-WebSocket-Extensions": "x" * 20000}, 431),
]


@pytest.mark.parametrize(("policy", "headers", "status"), REFUSALS)
@virtual
async def test_a_refusal_is_written_to_its_end(
    policy: HandshakePolicy, headers: dict[str, str], status: int
) -> None:
    async with served(raise_value_error, Answering(policy=policy)) as stream:
        platform = asking(stream, **headers)
        await platform.flush()
        refusal = await platform.hear()
        assert isinstance(refusal, Rejected)
        assert refusal.status == status
        assert refusal.body.endswith(b".\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"426"),
        (b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"\r\nGET /alive HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /alive HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
        (b"\x16\x03\x01", b"400"),
        (b"what is this\r\n\r\n", b"400"),
    ],
)
@virtual
async def test_what_asks_for_no_call_has_an_answer(request_: bytes, status: bytes) -> None:
    answering = Answering(policy=HandshakePolicy(health_path="/alive"))
    async with served(raise_value_error, answering) as stream:
        await stream.send_all(request_)
        answer = b"".join([bytes(data) async for data in stream])
        assert answer.startswith(b"HTTP/1.1 " + status)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        (date,) = re.findall(rb"\r\nDate: (.*)", head)
        assert abs(datetime.now(UTC) - parsedate_to_datetime(date.decode())).days < 1


@real
async def test_a_page_of_the_servers_own_is_shown_to_a_plain_get() -> None:
    def broken() -> str:
        raise ValueError("no figures")

    pages = {"/figures": lambda: "calls 0\n", "/broken": broken}
    answering = Answering(policy=HandshakePolicy(max_calls=0))
    start = partial(serve, read_on, host="127.0.0.1", port=0, answering=answering, pages=pages)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(start)
        for line, status, told in (
            ("GET /figures", b"200", b"calls 0\n"),
            ("HEAD /figures", b"200", b""),
            ("POST /figures", b"503", b"The limit"),
            ("GET /broken", b"500", b"This server failed."),
        ):
            async with await open_stream_to_socket_listener(listener) as stream:
                await stream.send_all(f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answer = b"".join([bytes(data) async for data in stream])
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + status)
            assert body.startswith(told) and (told or not body)
        nursery.cancel_scope.cancel()


@virtual
async def test_a_peer_that_says_nothing_has_the_handshake_time() -> None:
    for said in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n"):
        began = trio.current_time()
        async with served(raise_value_error, Answering(limits=Limits(handshake_time=7))) as stream:
            if said:
                await stream.send_all(said)
            assert await stream.receive_some() == b""
            assert trio.current_time() == began + 7


@virtual
async def test_metadata_has_the_handshake_time_too() -> None:
    async with served(raise_value_error, Answering(limits=Limits(handshake_time=7))) as stream:
        platform = await bare_platform(stream)
        assert await platform.closing() == Closed(1002, "no metadata", clean=True)
        assert trio.current_time() == 7


BAD_METADATA = [
    (b"\0\0", 1002),
    ("this is no JSON", 1007),
    ('{"callSid":"cut of', 1007),
    ("[]", 1002),
    ('{"sampleRate":44100}', 1002),
    ('{"mixType":"loud"}', 1002),
]


@pytest.mark.parametrize(("payload", "code"), BAD_METADATA)
@virtual
async def test_unusable_metadata_is_answered_with_a_close(
    caplog: pytest.LogCaptureFixture, payload: str | bytes, code: int
) -> None:
    caplog.set_level(logging.INFO)
    async with answered(raise_value_error, None, payload) as platform:
        closed = await platform.closing()
        assert closed.clean
        assert closed.code == code
    assert errors(caplog) == []
    (record,) = caplog.records
    assert "LP-META-" in record.getMessage() or "LP-ODD-" in record.getMessage()


MASKED = b"\x80"
BREACHES = [
    (b"\x82\x02hi", 1002),
    (b"\xf2" + MASKED + bytes(4), 1002),
    (b"\x81\x81\0\0\0\0\xff", 1007),
    (b"\x82\xfe" + (200).to_bytes(2) + bytes(4), 1009),
]


@pytest.mark.parametrize(
    ("frame", "code"), BREACHES, ids=["unmasked", "reserved bits", "no UTF-8", "too long"]
)
@virtual
async def test_a_breach_in_mid_call_ends_that_call(
    caplog: pytest.LogCaptureFixture, frame: bytes, code: int
) -> None:
    events: list[CallEvent] = []
    failed: list[int] = []

    async def handler(call: Call) -> None:
        async for event in call:
            events.append(event)
        assert call.error is not None
        failed.append(call.error.close_code)
        with pytest.raises(CallEnded, match="the call failed"):
            await call.play(clip(1))

    answering = Answering(limits=Limits(message_size=100))
    async with answered(handler, answering) as platform:
        key = b'{"event":"dtmf","dtmf":"1"}'
        platform.wire.send(key.decode())
        await platform.stream.send_all(platform.wire.data_to_send() + frame)
        closed = await platform.closing()
        assert closed.clean
        assert closed.code == code
    assert events == [Dtmf("1")]
    assert failed == [code]
    assert errors(caplog) == []
    (warning,) = caplog.records
    assert warning.call_sid == CALL_SID  # type: ignore[attr-defined]


@virtual
async def test_a_peer_that_answers_no_ping_is_dropped() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await read_on(call)

    limits = Limits(ping_interval=20, ping_time=10)
    async with answered(handler, Answering(limits=limits)):
        await trio.sleep(29)
        assert calls[0].closed is None
        await trio.sleep(2)
        assert calls[0].closed == Closed(1006, "", clean=False)


@repeatable
@virtual
async def test_a_call_that_closes_as_a_ping_is_due(order: None) -> None:
    class Slow(Valve):
        """It has sent what it is given by the moment at which all happens."""

        moment = 0.0

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await super().send_all(data)
            if trio.current_time() < self.moment:
                await trio.sleep_until(self.moment)

    for _ in range(40):  # in as many orders of the tasks of that moment
        app_stream, platform_stream = memory_stream_pair()
        slow = Slow(app_stream)

        async def handler(call: Call, slow: Slow = slow) -> None:
            slow.moment = call.core.next_timeout()
            await call.send_audio(audio(0.02))
            await trio.sleep_until(slow.moment)

        answering = Answering(mode=Mode.STREAMING, limits=Limits(ping_interval=20))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve_stream, handler, slow, answering=answering))
            platform = await bare_platform(platform_stream)
            await platform.say(METADATA)
            assert await platform.closing() == Closed(1000, "", clean=True)
            await platform.flush()


@virtual
async def test_a_peer_that_is_merely_silent_is_kept() -> None:
    limits = Limits(ping_interval=20, ping_time=10)
    async with line(STREAM, answering=Answering(mode=Mode.STREAMING, limits=limits)) as both:
        both.platform.task.pause()
        await talk_for(both.platform, 3600)
        both.platform.task.resume()
        await both.platform.capture(audio(0.02))
        assert await anext(both.app) == Audio(audio(0.02))


async def talk_for(platform: PlatformCall, seconds: float) -> None:
    for _ in range(round(seconds)):
        await trio.sleep(1)
        await platform.capture(audio(1))


@virtual
async def test_a_peer_that_is_not_read_is_not_taken_for_dead() -> None:
    limits = Limits(ping_interval=20, ping_time=10, unread_seconds=1)
    answering = Answering(mode=Mode.STREAMING, limits=limits, unread="hold")
    options = {"pair": lockstep_stream_pair, "answering": answering}
    async with trio.open_nursery() as nursery, line(STREAM, **options) as both:
        nursery.start_soon(both.platform.capture, audio(10))
        await trio.sleep(3600)
        heard = 0
        while heard < 80000:
            event = await anext(both.app)
            assert isinstance(event, Audio)
            heard += len(event.pcm) // 2


@virtual
async def test_an_unanswered_close_has_the_close_time() -> None:
    async def handler(call: Call) -> None:
        await trio.sleep(1)

    async with answered(handler, Answering(limits=Limits(close_time=3))) as platform:
        assert await until_eof(platform.stream)
        assert trio.current_time() == 4


@virtual
async def test_an_unanswered_disconnect_closes_by_itself() -> None:
    """LP-END-2."""
    events: list[CallEvent] = []

    async def handler(call: Call) -> None:
        await call.disconnect()
        async for event in call:
            events.append(event)

    async with answered(handler, Answering(limits=Limits(close_time=3))) as platform:
        assert await platform.hear() == '{"type":"disconnect"}'
        await platform.say('{"event":"dtmf","dtmf":"1"}')
        assert await platform.closing() == Closed(1000, "", clean=True)
        assert trio.current_time() == 3
    assert events == [Dtmf("1")]


@virtual
async def test_a_platform_that_answers_nothing_at_all_is_left() -> None:
    async def handler(call: Call) -> None:
        await call.disconnect()
        await read_on(call)
        assert call.closed == Closed(1006, "", clean=False)
        left.append(trio.current_time())

    left: list[float] = []
    async with answered(handler, Answering(limits=Limits(close_time=3))) as platform:
        assert await until_eof(platform.stream)
    assert left == [6]


async def until_eof(stream: trio.abc.Stream) -> bytes:
    """All that comes, without an answer to any of it."""
    return b"".join([bytes(data) async for data in stream])


@asynccontextmanager
async def listening(handler: Handler, answering: Answering) -> AsyncIterator[ListenVerb]:
    """A server on loopback; gives a verb that calls it."""
    start = partial(serve, handler, port=0, host="127.0.0.1", answering=answering)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(start)
        port = listener.socket.getsockname()[1]
        yield attrs.evolve(STREAM, url=f"ws://127.0.0.1:{port}/")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("alone", [True, False])
@virtual
async def test_what_a_handler_raises_is_logged_as_it_raised_it(
    alone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            if not alone:
                nursery.start_soon(fail)

    async def fail() -> None:
        raise ValueError("broken")

    async with calling(handler, STREAM) as platform:
        await platform.over()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    error = record.exc_info[1]
    assert isinstance(error, ValueError if alone else ExceptionGroup)


@real
async def test_calls_of_one_call_sid_are_two_calls() -> None:
    async def echo(call: Call) -> None:
        async for event in call:
            if isinstance(event, Audio):
                await call.send_audio(event.pcm)
            elif isinstance(event, Dtmf):
                raise ValueError("broken")

    async with listening(echo, Answering(mode=Mode.STREAMING)) as verb:
        first: list[AppMessage] = []
        second: list[AppMessage] = []
        async with (
            open_call(ListenTask(verb, ATTRIBUTES), on_message=first.append) as one,
            open_call(ListenTask(verb, ATTRIBUTES), on_message=second.append) as other,
        ):
            await one.capture(audio(0.02, 1))
            await other.capture(audio(0.02, 2))
            one.key("1")
            await one.over()
            assert one.closed == Closed(1011, "the handler failed", clean=True)
            await other.capture(audio(0.02, 3))
            other.key("1")
            await other.over()
        assert first == [Audio(audio(0.02, 1))]
        assert second == [Audio(audio(0.02, 2)), Audio(audio(0.02, 3))]


@real
async def test_a_fault_of_one_platform_is_not_anothers() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await read_on(call)

    async with listening(handler, Answering()) as verb:
        url = urlsplit(verb.url)
        assert url.hostname and url.port
        stream = await trio.open_tcp_stream(url.hostname, url.port)
        async with open_call(ListenTask(verb, ATTRIBUTES)) as good, stream:
            bad = await bare_platform(stream)
            await bad.say(b"no metadata")
            assert (await bad.closing()).code == 1002
            good.key("1")
            good.hang_up()
            await good.over()
            assert good.closed == Closed(1000, "", clean=True)
        assert len(calls) == 1


@real
async def test_calls_beyond_the_limit_are_refused_until_one_ends() -> None:
    ended = trio.Event()

    async def handler(call: Call) -> None:
        await read_on(call)
        ended.set()

    async with listening(handler, Answering(policy=HandshakePolicy(max_calls=1))) as verb:
        async with open_call(ListenTask(verb, ATTRIBUTES)):
            with pytest.raises(CallRejected, match="503") as refused:
                async with open_call(ListenTask(verb, ATTRIBUTES)):
                    raise AssertionError("a second call was let in")
            assert refused.value.rejected is not None
            assert refused.value.rejected.status == 503
        await ended.wait()
        await wait_all_tasks_blocked()
        async with open_call(ListenTask(verb, ATTRIBUTES)) as call:
            assert call.result is None


@pytest.mark.parametrize("said", [METADATA, "no metadata", b""])
@real
async def test_a_call_that_failed_makes_room_for_another(said: str | bytes) -> None:
    async with listening(raise_value_error, Answering(policy=HandshakePolicy(max_calls=1))) as verb:
        url = urlsplit(verb.url)
        assert url.hostname and url.port
        for _ in range(3):
            async with await trio.open_tcp_stream(url.hostname, url.port) as stream:
                platform = await bare_platform(stream)
                if said:
                    await platform.say(said)
                    assert (await platform.closing()).clean
            await wait_all_tasks_blocked()


@real
async def test_a_port_that_is_taken_is_an_os_error() -> None:
    async with listening(raise_value_error, Answering()) as verb:
        port = urlsplit(verb.url).port
        assert port
        with pytest.raises(OSError, match="in use"):
            await serve(raise_value_error, port=port, host="127.0.0.1")


@virtual
async def test_a_tap_that_cannot_be_made_costs_its_call_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tap(session: AppSession) -> Tap:
        raise FileExistsError("there already")

    async def handler(call: Call) -> None:
        raise AssertionError("no call can come of it")

    platform_stream, app_stream = memory_stream_pair()
    task = ListenTask(ListenVerb(url="ws://app.example/"), {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, handler, app_stream, answering=Answering(tap=tap)))
        with pytest.raises(CallRejected, match="refused the call with 500: This server failed"):
            async with open_call_on(platform_stream, task):
                pass
    (record,) = caplog.records
    assert record.getMessage() == "connection: this end failed (FileExistsError)"
    assert record.exc_info and repr(record.exc_info[1]) == "FileExistsError('there already')"


@pytest.mark.parametrize(
    ("function", "start"),
    [
        ("serve()", lambda: serve(read_on, port=0)),
        ("serve_stream()", lambda: serve_stream(read_on, memory_stream_pair()[0])),
        ("open_call()", lambda: _entered(open_call(ListenTask(CLIPS, {})))),
        (
            "open_call_on()",
            lambda: _entered(open_call_on(memory_stream_pair()[0], ListenTask(CLIPS, {}))),
        ),
        ("Call.over()", lambda: _entered(Call.over(NoWebSocket()))),
    ],
)
def test_under_asyncio_it_is_said_that_trio_is_needed(
    function: str, start: Callable[[], Awaitable[None]]
) -> None:
    async def run() -> None:
        await start()

    said = re.escape(f"{function} runs on trio; start it with trio.run()")
    with pytest.raises(RuntimeError, match=f"^{said}$"):
        asyncio.run(run())


async def _entered(block: AbstractAsyncContextManager[object]) -> None:
    async with block:
        raise AssertionError("there is no call")


class NoWebSocket:
    """A WebSocket that is never asked for anything."""

    async def receive(self) -> Payload:
        raise AssertionError

    async def send(self, payload: str | bytes) -> None:
        raise AssertionError

    async def close(self, code: int, reason: str) -> None:
        raise AssertionError
