"""A platform's end on trio: the call it opens, the caller it plays, the files of a call."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked
from wsproto.utilities import generate_accept_token

from listenproto import (
    FLICKS,
    SUBPROTOCOL,
    Audio,
    Close,
    Closed,
    HandshakePolicy,
    Heard,
    ListenEnd,
    ListenTask,
    Mode,
    Payload,
    Peer,
    TraceHeader,
    TraceMoment,
    VerbError,
    WsAuth,
    judge_trace,
    read_trace,
)
from listenproto._trace import TraceLine
from listenproto._wire import ServerWire
from listenproto_trio import (
    Answering,
    Call,
    CallEvent,
    CallRejected,
    HeardWav,
    Key,
    Limits,
    Outcome,
    Playback,
    TraceFile,
    hear_beep,
    open_call,
    open_call_on,
    serve_stream,
    talk,
)
from tests.recording_support import heard_in
from tests.trio_support import (
    ATTRIBUTES,
    CALL_SID,
    CLIPS,
    RATE,
    STREAM,
    Bare,
    Valve,
    audio,
    bare_app,
    calling,
    clip,
    line,
    real,
    virtual,
)

STEP = 0.02


async def read_on(call: Call) -> None:
    async for _ in call:
        pass


class Clocked:
    """Notes when each payload of the platform passed, in seconds since the metadata."""

    def __init__(self) -> None:
        self.passed: list[tuple[float, Payload | TraceMoment]] = []
        self._began: float | None = None

    def __call__(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        if sender is not Peer.PLATFORM:
            return
        now = trio.current_time()
        if self._began is None:
            self._began = now
        else:
            self.passed.append((round(now - self._began, 6), payload))

    @property
    def audio(self) -> list[float]:
        return [at for at, payload in self.passed if isinstance(payload, bytes)]


def steps(first: int, last: int, speed: float = 1.0) -> list[float]:
    return [round(number * STEP / speed, 6) for number in range(first, last + 1)]


@pytest.mark.parametrize("speed", [1.0, 4.0, 0.5])
@virtual
async def test_audio_goes_out_every_20_ms_of_media_time(speed: float) -> None:
    clocked = Clocked()
    async with calling(read_on, STREAM, tap=clocked) as platform:
        result = await talk(platform, audio(2), speed=speed)
    assert clocked.audio == steps(1, 100, speed)
    assert result.end is ListenEnd.HANGUP
    assert result.duration == 2


@virtual
async def test_a_step_that_is_late_delays_no_other() -> None:
    clocked = Clocked()
    heard: list[int] = []

    def hear(pieces: list[Heard]) -> None:
        heard.append(len(pieces))
        if len(heard) == 10:
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, MockClock)
            clock.jump(0.05)

    async with calling(read_on, STREAM, tap=clocked) as platform:
        await talk(platform, audio(0.4), hear=hear)
    assert clocked.audio == [*steps(1, 9), 0.25, 0.25, 0.25, *steps(13, 20)]


@virtual
async def test_keys_are_pressed_at_their_moments_and_in_their_order() -> None:
    clocked = Clocked()
    keys = [Key("3", at=1.0), Key("1", at=0.5, duration=1600), Key("2", at=0.5), Key("4", at=9.0)]
    async with calling(read_on, STREAM, tap=clocked) as platform:
        await talk(platform, audio(2), keys=keys)
    pressed = [
        (at, json.loads(payload)["dtmf"], json.loads(payload)["duration"])
        for at, payload in clocked.passed
        if isinstance(payload, str)
    ]
    assert pressed == [(0.5, "1", "1600"), (0.5, "2", "800"), (1.0, "3", "800")]
    before = clocked.passed[: [payload for _, payload in clocked.passed].index(pressed_text("3"))]
    assert sum(isinstance(payload, bytes) for _, payload in before) == 49


def pressed_text(digit: str) -> str:
    return f'{{"event":"dtmf","dtmf":"{digit}","duration":"800"}}'


@virtual
async def test_the_caller_says_all_of_it_and_then_nothing() -> None:
    said = b"".join(audio(STEP, number) for number in range(25)) + audio(0.01, 7)
    recorded = bytearray()

    async def record(call: Call) -> None:
        async for event in call:
            assert isinstance(event, Audio)
            recorded.extend(event.pcm)

    async with calling(record, STREAM) as platform:
        await talk(platform, said, hang_up_after=1.0)
    assert bytes(recorded) == said.ljust(16000, b"\0")


@virtual
async def test_the_caller_hangs_up_when_it_has_said_all() -> None:
    async with calling(read_on, STREAM) as platform:
        began = trio.current_time()
        result = await talk(platform, audio(1.01))
    assert result.end is ListenEnd.HANGUP
    assert platform.task.clock == 51 * 160
    assert trio.current_time() == pytest.approx(began + 1.02)


@virtual
async def test_the_caller_hears_at_the_same_pace() -> None:
    async def speak(call: Call) -> None:
        await call.send_audio(audio(0.5, 5))
        await call.send_audio(audio(0.5, 6))
        await read_on(call)

    heard: list[tuple[float, list[Heard]]] = []

    def hear(pieces: list[Heard]) -> None:
        heard.append((round(trio.current_time(), 6), pieces))

    async with calling(speak, STREAM) as platform:
        await talk(platform, audio(2), hear=hear)
    assert [at for at, _ in heard] == steps(1, 100)
    assert b"".join(piece.pcm for _, pieces in heard for piece in pieces) == (
        audio(0.5, 5) + audio(0.5, 6)
    )
    for at, pieces in heard:
        for piece in pieces:
            assert piece.end <= round(at * FLICKS) < piece.end + FLICKS // 50


@virtual
async def test_what_was_due_in_a_step_goes_out_before_the_end_that_it_brings() -> None:
    playbacks: list[Playback] = []

    async def speak(call: Call) -> None:
        playbacks.append(await call.play(clip(1)))
        await read_on(call)

    verb = attrs.evolve(CLIPS, max_length=1)
    async with calling(speak, verb) as platform:
        result = await talk(platform, audio(5))
    assert result.end is ListenEnd.MAX_LENGTH
    assert playbacks[0].outcome is Outcome.PLAYED


@virtual
async def test_a_key_that_finishes_is_in_the_action_hook() -> None:
    verb = attrs.evolve(STREAM, finish_on_key="#*")
    async with calling(read_on, verb) as platform:
        result = await talk(platform, audio(9), keys=[Key("5", at=1.0), Key("*", at=3.5)])
    assert result is platform.result
    assert result.end is ListenEnd.KEY
    assert result.action_hook() == {
        "call_sid": "call-1",
        "from": "+15550100",
        "direction": "inbound",
        "dial_call_duration": 3,
        "digits": "*",
    }


@virtual
async def test_talking_ends_when_the_app_ends_the_call() -> None:
    async def leave(call: Call) -> None:
        await trio.sleep(1)
        await call.disconnect()
        await read_on(call)

    async def close(call: Call) -> None:
        await trio.sleep(1)

    for handler, end in [(leave, ListenEnd.DISCONNECT), (close, ListenEnd.APP_CLOSED)]:
        async with calling(handler, STREAM) as platform:
            result = await talk(platform, audio(60))
        assert (result.end, result.duration) == (end, 1)


@virtual
async def test_a_call_that_ends_with_its_answer_was_a_call() -> None:
    async def accept_and_close(stream: trio.abc.Stream) -> None:
        app = Bare(stream, ServerWire())
        await app.hear()
        app.wire.accept(SUBPROTOCOL)
        app.wire.close(1001)
        await app.flush()
        await app.closing()

    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_close, app_stream)
        async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)) as platform:
            result = await talk(platform, audio(60))
    assert result.end is ListenEnd.APP_CLOSED


@virtual
async def test_talking_ends_when_the_app_closes_without_having_read() -> None:
    options = {"limits": Limits(outbox_size=1000), "pair": lockstep_stream_pair, "step": 100}
    async with line(STREAM, **options) as both:
        both.app_stream.shut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, both.platform, audio(60))
            await trio.sleep(2)
            assert both.platform.statistics.audio_sent < 2 * RATE
            await both.app.close()
        assert both.platform.result is not None
        assert both.platform.result.end is ListenEnd.APP_CLOSED


@virtual
async def test_the_caller_waits_for_no_app() -> None:
    clocked = Clocked()
    heard: list[float] = []

    async def never_read(call: Call) -> None:
        await call.send_audio(audio(4, 5))
        await call.mark("m")
        await trio.sleep(60)

    answering = Answering(
        mode=Mode.STREAMING, unread="hold", limits=Limits(unread_seconds=0.5, ping_interval=1)
    )
    options = {"answering": answering, "limits": Limits(outbox_size=1000, close_time=3)}
    async with calling(
        never_read, STREAM, pair=lockstep_stream_pair, tap=clocked, **options
    ) as platform:
        result = await talk(
            platform,
            audio(9),
            keys=[Key("1", at=3.0)],
            hang_up_after=5.0,
            hear=lambda pieces: heard.append(round(trio.current_time(), 6)),
        )
        assert trio.current_time() == 5 + 3
    assert (result.end, result.duration) == (ListenEnd.HANGUP, 5)
    assert heard == steps(1, 250)
    mark = '{"type":"mark","data":{"name":"m","event":"playout"}}'
    assert clocked.passed[-3:] == [(3.0, pressed_text("1")), (4.0, mark), (5.0, Close(1000, ""))]
    statistics = platform.statistics
    assert 0.5 * RATE < statistics.audio_sent // 2 < RATE
    assert statistics.audio_sent // 2 + statistics.samples_dropped == 5 * RATE


@virtual
async def test_what_would_not_be_sent_cannot_be_lost() -> None:
    limits = Limits(outbox_size=1000)
    async with line(STREAM, limits=limits, pair=lockstep_stream_pair) as both:
        both.app_stream.shut()
        for _ in range(5):
            await both.platform.capture(audio(1), patience=0)
            await wait_all_tasks_blocked()
        lost = both.platform.samples_dropped
        assert lost >= RATE
        both.platform.task.pause()
        assert await both.platform.capture(audio(1), patience=0) is False
        assert both.platform.samples_dropped == lost
        both.platform.task.pause(silence=True)
        assert await both.platform.capture(audio(1), patience=0) is False
        assert both.platform.samples_dropped == lost + RATE
        both.app_stream.open()


@pytest.mark.parametrize("ping_time", [2, 0.5])
@virtual
async def test_a_caller_in_a_hurry_waits_for_an_app_until_that_is_stuck(ping_time: float) -> None:
    limits = Limits(outbox_size=1000, ping_time=ping_time, close_time=3)
    async with line(STREAM, limits=limits, pair=lockstep_stream_pair) as both:
        both.app_stream.shut()
        result = await talk(both.platform, audio(5), speed=math.inf)
        assert trio.current_time() == ping_time + 3
        assert both.platform.task.session.playout.now == 5 * FLICKS
        both.app_stream.open()
    assert (result.end, result.duration) == (ListenEnd.HANGUP, 5)
    assert 4 * RATE < both.platform.statistics.samples_dropped < 5 * RATE


@pytest.mark.parametrize("speed", [2, 50])
@virtual
async def test_an_app_that_is_slower_than_a_caller_in_a_hurry_loses_nothing(speed: float) -> None:
    recorded = bytearray()

    async def record_slowly(call: Call) -> None:
        async for event in call:
            assert isinstance(event, Audio)
            recorded.extend(event.pcm)
            await trio.sleep(5 * STEP)

    said = b"".join(audio(STEP, number) for number in range(200))
    answering = Answering(unread="hold", limits=Limits(unread_seconds=0.1))
    options = {"answering": answering, "limits": Limits(outbox_size=1000)}
    async with calling(record_slowly, STREAM, pair=lockstep_stream_pair, **options) as platform:
        result = await talk(platform, said, speed=speed)
    assert bytes(recorded) == said
    assert (result.end, result.duration) == (ListenEnd.HANGUP, 4)
    assert platform.statistics.samples_dropped == 0


@pytest.mark.parametrize("speed", [0, -1, math.nan])
@virtual
async def test_a_speed_that_leads_nowhere_is_refused_at_once(speed: float) -> None:
    async with line(STREAM) as both:
        with pytest.raises(ValueError, match="speed must be more than 0"):
            await talk(both.platform, audio(1), speed=speed)
        assert both.platform.task.clock == 0
    with pytest.raises(ValueError, match="speed must be more than 0"):
        await hear_beep(ListenTask(STREAM, ATTRIBUTES), speed=speed)


@virtual
async def test_talking_ends_when_the_app_closes_and_reads_no_more() -> None:
    app_stream, platform_stream = lockstep_stream_pair()

    async def close_and_stay() -> None:
        app = await bare_app(app_stream)
        app.wire.close()
        await app.flush()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_and_stay)
        async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)) as platform:
            result = await talk(platform, audio(60))
        nursery.cancel_scope.cancel()
    assert result.end is ListenEnd.APP_CLOSED


@virtual
async def test_talking_ends_though_nobody_answers_the_close() -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bare_app, app_stream)
        task, limits = ListenTask(STREAM, ATTRIBUTES), Limits(close_time=3)
        async with open_call_on(platform_stream, task, limits=limits) as platform:
            began = trio.current_time()
            result = await talk(platform, audio(1))
            assert trio.current_time() == began + 1 + 3
    assert result.end is ListenEnd.HANGUP
    assert platform.closed == Closed(1006, "", clean=False)


@virtual
async def test_an_app_that_answers_no_ping_is_left() -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bare_app, app_stream)
        task, limits = ListenTask(STREAM, ATTRIBUTES), Limits(ping_interval=20, ping_time=10)
        async with open_call_on(platform_stream, task, limits=limits) as platform:
            began = trio.current_time()
            result = await talk(platform, audio(60))
            assert trio.current_time() == pytest.approx(began + 30, abs=STEP)
    assert result.end is ListenEnd.LOST


@virtual
async def test_the_beep_is_heard_before_the_connection_and_by_the_caller_only() -> None:
    verb = attrs.evolve(STREAM, play_beep=True)
    task = ListenTask(verb, ATTRIBUTES)
    heard: list[Heard] = []
    await hear_beep(task, hear=heard.extend, speed=2.0)
    assert trio.current_time() == pytest.approx(0.25)
    assert sum(len(piece.pcm) for piece in heard) == RATE
    assert list(task.data_to_send()) == []

    recorded: list[object] = []
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note_all, app_stream, recorded)
        async with open_call_on(platform_stream, task) as platform:
            await talk(platform, audio(0.04), hear=heard.extend)
    assert recorded[1:] == [audio(0.02)] * 2
    assert sum(len(piece.pcm) for piece in heard) == RATE


async def note_all(stream: trio.abc.Stream, said: list[object]) -> None:
    app = await bare_app(stream)
    while not isinstance(event := await app.hear(), Closed):
        said.append(event)
    await app.flush()


@virtual
async def test_a_verb_without_beep_has_none() -> None:
    await hear_beep(ListenTask(STREAM, ATTRIBUTES))
    assert trio.current_time() == 0


REFUSALS = [
    (
        HandshakePolicy(credentials=("me", "secret")),
        401,
        "LP-HS-13",
        "Wrong or missing credentials.",
    ),
    (HandshakePolicy(paths=["/calls"]), 404, None, "This server has no path /; check the URL."),
    (HandshakePolicy(max_calls=0), 503, None, "reached (0); try again later."),
    (
        HandshakePolicy(subprotocols=("other",)),
        400,
        "LP-HS-8",
        "audio.jambonz.org; supported: other.",
    ),
]


@pytest.mark.parametrize(("policy", "status", "kind", "words"), REFUSALS)
@virtual
async def test_a_refused_call_says_why(
    policy: HandshakePolicy, status: int, kind: str | None, words: str
) -> None:
    app_stream, platform_stream = memory_stream_pair()
    serving = partial(serve_stream, read_on, app_stream, answering=Answering(policy=policy))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving)
        with pytest.raises(CallRejected, match=f"refused the call with {status}") as refused:
            async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)):
                raise AssertionError("the call was let in")
    assert str(refused.value).endswith(words)
    assert refused.value.kind == kind
    assert refused.value.rejected is not None
    assert refused.value.rejected.status == status


@virtual
async def test_the_verbs_credentials_open_the_door() -> None:
    verb = attrs.evolve(STREAM, ws_auth=WsAuth(username="me", password="secret"))
    answering = Answering(mode=Mode.STREAMING, policy=HandshakePolicy(credentials=("me", "secret")))
    async with calling(read_on, verb, answering=answering) as platform:
        assert (await talk(platform, audio(0.1))).end is ListenEnd.HANGUP


async def say_and_close(data: bytes, stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.receive_some()
        await stream.send_all(data)


async def accept(subprotocol: str | None, stream: trio.abc.Stream) -> None:
    assert await (await bare_app(Valve(stream, 20), subprotocol)).closing() == Closed(
        1002,
        "the server chose no subprotocol; this end offered audio.jambonz.org [LP-HS-5]",
        clean=True,
    )


NO_SERVERS = [
    (
        partial(say_and_close, b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        "it does not start with HTTP/1. [RFC 9112 4]; it sent 'SSH-2",
    ),
    (partial(say_and_close, b"HTTP/2 200\r\n\r\n"), "not a valid HTTP response: "),
    (partial(say_and_close, b"HTTP/1.1 2"), "the call to app.example:80 failed: connection lost"),
    (partial(say_and_close, b"HTTP/1.1 426 No\r\nContent-Length: 4\r\n\r\nwhy?"), "426: why?"),
    (
        partial(say_and_close, b"HTTP/1.1 200 OK\r\n\r\n"),
        "answered 200 instead of accepting the call: no reason given",
    ),
    (
        partial(say_and_close, b""),
        "the call to app.example:80 failed: connection lost; is it a wss server?",
    ),
    (
        partial(say_and_close, b"\x15\x03\x01\x00\x02\x02\x46"),
        "it starts with byte 0x15 [RFC 9112 4]; it sent a TLS alert: is it a wss server?",
    ),
    (
        partial(accept, None),
        "the call to app.example:80 failed: the server chose no subprotocol; this end offered "
        "audio.jambonz.org [LP-HS-5]; pass a name that it knows in subprotocols, or "
        "allow_no_subprotocol=True",
    ),
    (
        partial(say_and_close, b"HTTP/1.1 302 Found\r\n\r\n"),
        "answered 302 instead of accepting the call: no reason given",
    ),
    (
        partial(say_and_close, b"HTTP/1.1 201 Made\r\nLocation: /a\r\n\r\n"),
        "answered 201 instead of accepting the call: no reason given",
    ),
]


@pytest.mark.parametrize(("server", "words"), NO_SERVERS)
@virtual
async def test_what_is_no_listen_server_is_no_call(
    server: Callable[[trio.abc.Stream], Awaitable[None]], words: str
) -> None:
    app_stream, platform_stream = memory_stream_pair()
    task = ListenTask(STREAM, ATTRIBUTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server, app_stream)
        with pytest.raises(CallRejected) as refused:
            async with open_call_on(Valve(platform_stream, 20), task):
                raise AssertionError("there is no call")
    assert words in str(refused.value)
    assert ("wss" in str(refused.value)) is ("wss" in words)
    assert task.result is not None
    assert "dial_call_duration" not in task.result.action_hook()


@virtual
async def test_without_a_tap_what_passed_is_left_to_whoever_asked_for_it() -> None:
    app_stream, platform_stream = memory_stream_pair()
    task = ListenTask(STREAM, ATTRIBUTES, keep_passed=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, read_on, app_stream))
        async with open_call_on(platform_stream, task) as call:
            await call.capture(audio(0.02))
    assert [(sender, type(payload)) for sender, payload in task.passed()] == [
        (Peer.PLATFORM, str),
        (Peer.PLATFORM, bytes),
        (Peer.PLATFORM, Close),
        (Peer.APP, Close),
    ]


REDIRECTS = [
    (b"https://app.example/calls", "'https://app.example/calls'"),
    (b"/calls?to=1", "'ws://app.example/calls?to=1'"),
    (b"//other.example/", "'ws://other.example/'"),
    (b"https://me:secret@app.example/", "'https://***@app.example/'"),
    (b"wss://app.example/listen?agent=joe@x.org", "'wss://app.example/listen?agent=joe@x.org'"),
    (b"/call/joe@x.org", "'ws://app.example/call/joe@x.org'"),
    (b"http://[", "'http://['"),
    (b"http://me:secret@[", "'http://***@['"),
    (b"https://app.example/\x9b2J", r"'https://app.example/\x9b2J'"),
]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("location", "shown"), REDIRECTS)
@virtual
async def test_a_redirect_says_where_it_leads(status: int, location: bytes, shown: str) -> None:
    app_stream, platform_stream = memory_stream_pair()
    head = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\n\r\n" % (status, location)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_and_close, head, app_stream)
        with pytest.raises(CallRejected) as refused:
            async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)):
                raise AssertionError("there is no call")
    assert str(refused.value) == (
        f"app.example:80 answered {status}, a redirect: call {shown} instead"
    )


@virtual
async def test_a_redirect_to_nowhere_is_no_advice_to_call_the_same_url_again() -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_and_close, b"HTTP/1.1 302 Found\r\nLocation:\r\n\r\n", app_stream)
        with pytest.raises(CallRejected) as refused:
            async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)):
                raise AssertionError("there is no call")
    assert str(refused.value) == (
        "app.example:80 answered 302 instead of accepting the call: no reason given"
    )


@virtual
async def test_a_redirect_to_a_long_url_is_cut_short() -> None:
    app_stream, platform_stream = memory_stream_pair()
    head = b"HTTP/1.1 302 Found\r\nLocation: https://app.example/%b\r\n\r\n" % (b"a" * 10000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_and_close, head, app_stream)
        with pytest.raises(CallRejected, match="a" * 100) as refused:
            async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)):
                raise AssertionError("there is no call")
    assert len(str(refused.value)) < 400


@virtual
async def test_a_subprotocol_that_was_not_offered_is_no_call() -> None:
    async def other(stream: trio.abc.Stream) -> None:
        await stream.send_all(upgrade_response(bytes(await stream.receive_some()), "other"))

    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other, app_stream)
        with pytest.raises(
            CallRejected, match="the server chose subprotocol 'other'; this end offered"
        ) as refused:
            async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)):
                raise AssertionError("there is no call")
    assert str(refused.value) == f"{refused.value.reason}; pass that one in subprotocols"
    assert refused.value.kind == "LP-HS-18"


def upgrade_response(request: bytes, subprotocol: str) -> bytes:
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    head = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {generate_accept_token(key).decode()}",
        f"Sec-WebSocket-Protocol: {subprotocol}",
    ]
    return "\r\n".join([*head, "", ""]).encode()


@virtual
async def test_a_platform_can_do_without_a_subprotocol() -> None:
    app_stream, platform_stream = memory_stream_pair()
    task = ListenTask(STREAM, ATTRIBUTES)
    heard: list[object] = []

    async def app() -> None:
        app = await bare_app(app_stream, None)
        heard.append(await app.hear())
        await app.closing()
        await app.flush()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(app)
        async with open_call_on(platform_stream, task, allow_no_subprotocol=True):
            await wait_all_tasks_blocked()
    assert isinstance(heard[0], str)
    assert json.loads(heard[0])["callSid"] == "call-1"


@virtual
async def test_a_server_that_says_nothing_has_the_handshake_time() -> None:
    _, platform_stream = memory_stream_pair()
    limits = Limits(handshake_time=7)
    with pytest.raises(CallRejected, match=r"no answer from app\.example:80 to .* within 7 s"):
        async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES), limits=limits):
            raise AssertionError("there is no call")
    assert trio.current_time() == 7


@real
async def test_a_refused_connection_is_an_os_error() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    verb = attrs.evolve(STREAM, url=f"ws://127.0.0.1:{port}/")
    task = ListenTask(verb, ATTRIBUTES)
    with pytest.raises(OSError, match="connect"):
        async with open_call(task):
            raise AssertionError("there is no call")
    assert task.result is not None
    assert task.result.end is ListenEnd.NOT_CONNECTED


@virtual
async def test_a_tap_that_would_be_told_nothing_is_refused_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(trio, "open_tcp_stream", opened.append)
    with pytest.raises(ValueError, match="keep_passed"):
        async with open_call(ListenTask(STREAM, ATTRIBUTES), tap=lambda sender, payload: None):
            raise AssertionError("there is no call")
    assert opened == []


@virtual
async def test_a_relative_url_is_no_address() -> None:
    with pytest.raises(VerbError, match="resolve"):
        async with open_call(ListenTask(attrs.evolve(STREAM, url="/calls"), ATTRIBUTES)):
            raise AssertionError("there is no call")


@virtual
async def test_leaving_the_block_hangs_up() -> None:
    recorded: list[CallEvent] = []

    async def record(call: Call) -> None:
        async for event in call:
            recorded.append(event)

    async with calling(record, STREAM) as platform:
        await platform.capture(audio(0.03))
        assert platform.result is None
    assert platform.result is not None
    assert platform.result.end is ListenEnd.HANGUP
    assert platform.closed == Closed(1000, "", clean=True)
    assert recorded == [Audio(audio(0.02)), Audio(audio(0.01))]


@virtual
async def test_what_is_raised_in_a_call_comes_out_as_it_is() -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bare_app, app_stream)
        with pytest.raises(ValueError, match="mine") as error:
            async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)):
                raise ValueError("mine")
    assert type(error.value) is ValueError


@virtual
async def test_a_whole_call_is_heard_sample_for_sample(tmp_path: Path) -> None:
    async def speak(call: Call) -> None:
        await trio.sleep(0.5)
        await call.send_audio(audio(0.25, 5))
        await trio.sleep(1)
        await call.send_audio(audio(0.25, 6))
        async for _ in call:
            pass

    with HeardWav(tmp_path / "heard.wav", RATE) as file:
        async with calling(speak, STREAM) as platform:
            await talk(platform, audio(2), hear=file.hear)
        file.fill(platform.task.session.playout.now)
    heard = heard_in(file.path)
    first, second = heard.index(audio(0.25, 5)) // 2, heard.index(audio(0.25, 6)) // 2
    assert first in (4000, 4160)
    assert second in (12000, 12160)
    assert heard.replace(audio(0.25, 5), b"").replace(audio(0.25, 6), b"") == audio(1.5, 0)


@pytest.mark.parametrize("with_audio", [True, False])
@virtual
async def test_a_trace_reads_back(tmp_path: Path, with_audio: bool) -> None:
    async def speak(call: Call) -> None:
        await call.send_audio(audio(0.1, 5))
        await call.mark("m")
        await read_on(call)

    header = TraceHeader(vantage=Peer.PLATFORM, way=STREAM, attributes=ATTRIBUTES)
    file = TraceFile(
        tmp_path / "trace.jsonl", header, with_audio=with_audio, clock=trio.current_time
    )
    passed: list[tuple[Peer, Payload | TraceMoment]] = []

    def tap(sender: Peer, payload: Payload | TraceMoment) -> None:
        passed.append((sender, payload))
        file(sender, payload)

    async with calling(speak, STREAM, tap=tap) as platform:
        file.position = lambda: platform.task.clock
        await talk(platform, audio(0.2), keys=[Key("5", at=0.1)])
    file.close()
    with open(file.path, encoding="utf-8") as lines:
        trace = read_trace(lines)
    assert trace.header == header
    assert judge_trace(trace) == []
    if not with_audio:
        passed = [(who, bytes(len(p)) if isinstance(p, bytes) else p) for who, p in passed]
    assert [(one.sender, one.payload) for one in trace.lines] == passed
    key = next(one for one in trace.lines if one.payload == pressed_text("5"))
    assert (key.at, key.position) == (100_000, 640)
    assert trace.lines[-1] == TraceLine(200_000, Peer.APP, 1600, Close(1000, ""))


@virtual
async def test_a_lost_connection_is_on_record(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "trace.jsonl", TraceHeader(vantage=Peer.PLATFORM, way=STREAM))
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bare_app, app_stream)
        task = ListenTask(STREAM, ATTRIBUTES, keep_passed=True)
        async with open_call_on(platform_stream, task, tap=file) as platform:
            await wait_all_tasks_blocked()
            await app_stream.aclose()
            await platform.over()
    file.close()
    with open(file.path, encoding="utf-8") as lines:
        last = read_trace(lines).lines[-1]
    assert (last.sender, last.payload) == (Peer.APP, TraceMoment.LOST)


@virtual
async def test_a_body_that_raises_hangs_up_and_closes() -> None:
    platform_stream, app_stream = memory_stream_pair()
    ended: list[Closed | None] = []

    async def handler(call: Call) -> None:
        async for _ in call:
            pass
        ended.append(call.closed)

    task = ListenTask(STREAM, ATTRIBUTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, handler, app_stream))
        with pytest.raises(KeyError):
            async with open_call_on(platform_stream, task):
                raise KeyError("in the body")
    assert task.result is not None
    assert task.result.end is ListenEnd.HANGUP
    assert ended == [Closed(1000, "", clean=True)]


@pytest.mark.parametrize("entrance", ["open_call", "open_call_on"])
@virtual
async def test_one_subprotocol_alone_is_no_collection(entrance: str) -> None:
    """Nothing is connected or sent before that is told."""
    task = ListenTask(STREAM, ATTRIBUTES)
    _, platform_stream = memory_stream_pair()
    calls = {
        "open_call": partial(open_call, task),
        "open_call_on": partial(open_call_on, platform_stream, task),
    }
    with pytest.raises(ValueError, match=r"^subprotocols must be a tuple or set of strings"):
        async with calls[entrance](subprotocols=SUBPROTOCOL):
            raise AssertionError("it is not opened")  # pragma: no cover


@pytest.mark.parametrize("which", ["tap", "on_message"])
@virtual
async def test_what_fails_to_listen_is_told_no_more_and_the_call_goes_on(
    which: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def fail(*told: object) -> None:
        heard.append(told)
        raise OSError("disk full")

    async def handler(call: Call) -> None:
        for name in ("a", "b"):
            mark = await call.mark(name)
            assert await mark.wait() is Outcome.PLAYED

    options = {which: fail}
    async with calling(handler, STREAM, **options) as platform:  # type: ignore[arg-type]
        await platform.over()
    assert platform.closed == Closed(1000, "", clean=True)
    assert len(heard) == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (
        record.getMessage()
        == f"{'the tap' if which == 'tap' else which} failed and is not called again"
    )
    assert record.call_sid == CALL_SID  # type: ignore[attr-defined]
    assert record.path == "/"  # type: ignore[attr-defined]
    assert record.exc_info and str(record.exc_info[1]) == "disk full"
