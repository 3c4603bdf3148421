"""Platforms that do wrong, and handlers: each costs its own connection, one line, nothing else.

Each is met by a server that has a good call, which must not notice; behind each, no task is left.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from listenproto import (
    Audio,
    Closed,
    HandshakePolicy,
    ListenEnd,
    ListenTask,
    Mode,
    WsAuth,
    basic_credentials,
)
from listenproto_trio import (
    Answering,
    AppMessage,
    Call,
    CallEvent,
    CallRejected,
    Dropped,
    Handler,
    Limits,
    PlatformCall,
    open_call,
    open_call_on,
    serve,
    serve_stream,
    talk,
)
from listenproto_trio._carriers import StreamCarrier
from tests.trio_support import (
    ATTRIBUTES,
    STREAM,
    Listening,
    Valve,
    audio,
    bare_app,
    bare_platform,
    living,
    real,
    virtual,
)

# The branches that it takes are counted elsewhere, and counting takes time.
pytestmark = pytest.mark.no_cover

HOST = "127.0.0.1"
METADATA = '{"callSid":"bad"}'
GOOD = attrs.evolve(STREAM, ws_auth=WsAuth(username="me", password="secret"))


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "listenproto")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged about connections, but for the good call."""
    said = [record.getMessage() for record in caplog.records if hasattr(record, "call_sid")]
    return [line for line in said if not line.startswith("call call-1")]


def choosing(bad: Handler) -> Handler:
    """Echo the good call, and have all others handled by ``bad``."""

    async def handler(call: Call) -> None:
        if call.call_sid == "bad":
            return await bad(call)
        async for event in call:
            if isinstance(event, Audio):
                await call.send_audio(event.pcm)
        return None

    return handler


async def read_on(call: Call) -> None:
    async for _ in call:
        pass


@attrs.define
class GoodCall:
    platform: PlatformCall
    taken: list[AppMessage]

    async def check(self) -> None:
        """It still echoes."""
        pcm = audio(0.02, len(self.taken) + 1)
        await self.platform.capture(pcm)
        await wait_all_tasks_blocked()
        assert self.taken[-1] == Audio(pcm)


@asynccontextmanager
async def beside_a_good_call(
    handler: Handler = read_on, answering: Answering | None = None
) -> AsyncIterator[Listening]:
    answering = attrs.evolve(answering or Answering(), mode=Mode.STREAMING)
    before = living()
    listener = Listening()
    taken: list[AppMessage] = []
    with listener.instead_of_a_port():
        async with trio.open_nursery() as nursery:
            options = {"port": 0, "answering": answering}
            await nursery.start(partial(serve, choosing(handler), **options))
            task = ListenTask(GOOD, ATTRIBUTES)
            async with open_call_on(listener.dial(), task, on_message=taken.append) as platform:
                good = GoodCall(platform, taken)
                await good.check()
                running = living()
                yield listener
                await good.check()
                await wait_all_tasks_blocked()
                assert living() == running
                platform.hang_up()
                await platform.over()
                assert platform.closed == Closed(1000, "", clean=True)
            nursery.cancel_scope.cancel()
    assert living() == before


async def to_the_end(stream: trio.abc.Stream) -> bytes:
    with suppress(trio.BrokenResourceError):
        return b"".join([bytes(data) async for data in stream])
    return b""


async def say_nothing(stream: trio.abc.Stream) -> None:
    assert await to_the_end(stream) == b""


async def half_a_handshake(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgr")
    assert await to_the_end(stream) == b""


async def no_metadata(stream: trio.abc.Stream) -> None:
    platform = await bare_platform(stream)
    assert await platform.closing() == Closed(1002, "no metadata", clean=True)
    await platform.flush()


async def half_a_message(stream: trio.abc.Stream) -> None:
    platform = await bare_platform(stream)
    platform.wire.send(METADATA)
    platform.wire.send(bytes(320))
    await stream.send_all(platform.wire.data_to_send()[:-100])


async def then_silence(stream: trio.abc.Stream) -> None:
    await half_a_message(stream)
    await to_the_end(stream)


async def then_a_reset(stream: trio.abc.Stream) -> None:
    await half_a_message(stream)
    await wait_all_tasks_blocked()
    await trio.aclose_forcefully(stream)


async def no_answer_to_the_close(stream: trio.abc.Stream) -> None:
    platform = await bare_platform(stream)
    await platform.say(METADATA)
    await to_the_end(stream)


Peer = Callable[[trio.abc.Stream], Awaitable[None]]

SILENT: list[tuple[Peer, float, str]] = [
    (say_nothing, 10, "connection: no upgrade request within 10 s"),
    (half_a_handshake, 10, "connection: no upgrade request within 10 s"),
    (no_metadata, 10, "call: no metadata within 10 s"),
    (then_silence, 40, "call bad: connection lost: no answer to a ping within 20 s; "),
    (then_a_reset, 0, "call bad: connection lost; "),
    (no_answer_to_the_close, 40, "call bad: connection lost: no answer to a ping within"),
]


@pytest.mark.parametrize(
    ("peer", "seconds", "line"), SILENT, ids=[peer[0].__name__ for peer in SILENT]
)
@virtual
async def test_who_comes_to_nothing_has_its_time(
    caplog: pytest.LogCaptureFixture, peer: Peer, seconds: float, line: str
) -> None:
    async with beside_a_good_call() as listener:
        began = trio.current_time()
        await peer(listener.dial())
        assert trio.current_time() == began + seconds
    (said,) = lines(caplog)
    assert said.startswith(line)


@pytest.mark.parametrize("policy", ["hold", "drop_oldest"])
@virtual
async def test_a_handler_that_never_reads(caplog: pytest.LogCaptureFixture, policy: str) -> None:
    """Its audio is dropped, at its platform's end or the oldest at its own; that is all."""
    calls: list[Call] = []

    async def sleep_for_a_while(call: Call) -> None:
        calls.append(call)
        await trio.sleep(60)

    limits = Limits(unread_seconds=1, unread_events=10)
    answering = Answering(limits=limits, unread=policy)  # type: ignore[arg-type]
    async with beside_a_good_call(sleep_for_a_while, answering) as listener:
        app_stream, platform_stream = lockstep_stream_pair()
        listener.take(app_stream)
        task = ListenTask(STREAM, {"callSid": "bad"})
        async with open_call_on(platform_stream, task, limits=Limits(outbox_size=1000)) as call:
            result = await talk(call, audio(120))
        assert result.end is ListenEnd.APP_CLOSED
        statistics = calls[0].statistics
    assert task.clock == pytest.approx(60 * 8000, abs=160)
    if policy == "hold":
        assert call.statistics.audio_sent < 1.5 * 16000
        assert call.statistics.samples_dropped > 58.5 * 8000
        assert statistics.samples_dropped == 0
    else:
        assert call.statistics.samples_dropped == 0
        assert statistics.samples_dropped == pytest.approx(59 * 8000, abs=1600)
    (said,) = lines(caplog)
    assert said.startswith("call bad: this end closes with 1000; ")
    assert ("; dropped " in said) is (policy == "drop_oldest")


FLOODS: dict[str, tuple[str | bytes, int]] = {
    "texts": ('{"type":"news"}', 5000),
    "no JSON": ("{", 5000),
    "keys": ('{"event":"dtmf","dtmf":"1"}', 5000),
    "tiny audio": (b"xy", 5000),
    "half samples": (b"x", 2500),
    "empty audio": (b"", 0),
}


def weight(event: CallEvent) -> int:
    """How many samples or other events it stands for."""
    if isinstance(event, Dropped):
        return event.samples + event.events
    return len(event.pcm) // 2 if isinstance(event, Audio) else 1


@pytest.mark.parametrize(("message", "total"), FLOODS.values(), ids=FLOODS.keys())
@virtual
async def test_a_flood_that_nobody_reads_is_bounded(
    caplog: pytest.LogCaptureFixture, message: str | bytes, total: int
) -> None:
    """What is kept of it and what is told as dropped is all of it."""
    kept: list[CallEvent] = []

    async def sleep_first(call: Call) -> None:
        await trio.sleep(1)
        kept.extend([event async for event in call])

    answering = Answering(limits=Limits(unread_seconds=0.5, unread_events=10))
    async with beside_a_good_call(sleep_first, answering) as listener:
        platform = await bare_platform(listener.dial())
        await platform.say(METADATA, *[message] * 5000)
        platform.wire.close()
        await platform.flush()
        await platform.closing()
        await trio.sleep(2)
    assert len(kept) < 600
    assert sum(weight(event) for event in kept) == total
    (said,) = lines(caplog)
    assert said.startswith("call bad: the other end closed with 1000; received 5001 messages, ")


@virtual
async def test_a_flood_of_pings_is_answered_or_not_and_held_nowhere() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await read_on(call)

    async with beside_a_good_call(handler) as listener:
        app_stream, platform_stream = lockstep_stream_pair()
        listener.take(app_stream)
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        for _ in range(300):
            for _ in range(100):
                platform.wire.ping(bytes(125))
            await platform_stream.send_all(platform.wire.data_to_send())
        assert calls[0].core.link.connection.waiting < 1000
        await trio.aclose_forcefully(platform_stream)


@virtual
async def test_a_handler_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(call: Call) -> None:
        await anext(call)
        raise ValueError("broken")

    async with beside_a_good_call(fail) as listener:
        platform = await bare_platform(listener.dial())
        await platform.say(METADATA, audio(0.02))
        assert await platform.closing() == Closed(1011, "the handler failed", clean=True)
        await platform.flush()
    (said,) = lines(caplog)
    assert said.startswith("call bad: this end closes with 1011: the handler failed; ")


KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
VERSION = "Sec-WebSocket-Version: 13\r\n"
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
OURS = "Sec-WebSocket-Protocol: audio.jambonz.org\r\n"
AUTH = f"Authorization: {basic_credentials('me', 'secret')}\r\n"
WRONG = f"Authorization: {basic_credentials('me', 'guess')}\r\n"

# In each row all that comes behind its own fault in the order of D3 is wrong as well.
REFUSALS: list[tuple[str, str, int, str, str]] = [
    ("full", "POST /nowhere", 503, "", "The limit of open calls is reached (1); try again later."),
    ("open", "GET /nowhere", 426, "", "This is a WebSocket server; send an upgrade request."),
    ("open", "GET /alive", 200, "", "OK"),
    ("open", "GET /nowhere", 404, UPGRADE, "This server has no path /nowhere; check the URL."),
    ("open", "GET /", 401, UPGRADE, "Wrong or missing credentials."),
    ("open", "GET /", 401, UPGRADE + WRONG, "Wrong or missing credentials."),
    (
        "open",
        "GET /",
        400,
        UPGRADE + AUTH + VERSION + OURS,
        "its Sec-WebSocket-Key is not 16 bytes",
    ),
    ("open", "GET /", 426, UPGRADE + AUTH + KEY + OURS + "Sec-WebSocket-Version: 8\r\n", "not 13"),
    ("open", "GET /", 400, UPGRADE + AUTH + KEY + VERSION, "Subprotocols offered: none; supported"),
    (
        "open",
        "GET /",
        400,
        UPGRADE + AUTH + KEY + VERSION + "Sec-WebSocket-Protocol: ws.jambonz.org\r\n",
        "Subprotocols offered: ws.jambonz.org; supported: audio.jambonz.org and",
    ),
]


@pytest.mark.parametrize(("room", "target", "status", "headers", "why"), REFUSALS)
@virtual
async def test_each_refusal_in_its_order(
    caplog: pytest.LogCaptureFixture, room: str, target: str, status: int, headers: str, why: str
) -> None:
    """D3: no session exists, and so no metadata is waited for."""
    policy = HandshakePolicy(
        paths=["/"],
        credentials=("me", "secret"),
        health_path="/alive",
        max_calls=1 if room == "full" else 2,
    )
    async with beside_a_good_call(answering=Answering(policy=policy)) as listener:
        stream = listener.dial()
        await stream.send_all(f"{target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
        answer = (await to_the_end(stream)).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert why in answer.partition("\r\n\r\n")[2]
    (said,) = lines(caplog)
    assert said.startswith(f"connection: answered {status}: ")
    assert why in said


# On loopback: who it was is in the line.


def reset(stream: trio.SocketStream) -> None:
    """Close so that the other end has a reset of it, instead of an end."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def logged(caplog: pytest.LogCaptureFixture) -> str:
    """The one line about a connection, once it is there."""
    while not lines(caplog):
        await trio.sleep(0)
    (said,) = lines(caplog)
    return said


@real
async def test_a_reset_in_mid_message_is_told_with_who_did_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(serve, read_on, port=0, host=HOST))
        stream = await trio.open_tcp_stream(HOST, listener.socket.getsockname()[1])
        address = f"{HOST}:{stream.socket.getsockname()[1]}"
        await half_a_message(stream)
        await wait_all_tasks_blocked(0.01)
        reset(stream)
        said = await logged(caplog)
        nursery.cancel_scope.cancel()
    assert said.startswith(f"call bad from {address}: connection lost: Connection reset")


# The same at a platform, whose app does wrong.


@asynccontextmanager
async def app_of(
    answer: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[ListenTask]:
    """An app on loopback that answers so; gives a task that calls it."""

    async def answer_all(stream: trio.SocketStream) -> None:
        await answer(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer_all, 0, host=HOST))
        port = listener.socket.getsockname()[1]
        yield ListenTask(attrs.evolve(STREAM, url=f"ws://{HOST}:{port}/"), ATTRIBUTES)
        nursery.cancel_scope.cancel()


async def reset_in_the_handshake(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 101 Swit")
    await wait_all_tasks_blocked()  # it is read
    reset(stream)


async def leave_in_the_handshake(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def reset_in_the_call(stream: trio.SocketStream) -> None:
    app = await bare_app(stream)
    await app.hear()
    reset(stream)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reset_in_the_handshake, "connection lost: Connection reset by peer"),
        (leave_in_the_handshake, r"connection lost; is it a wss server\?"),
    ],
)
@real
async def test_an_app_that_breaks_off_the_handshake(
    answer: Callable[[trio.SocketStream], Awaitable[None]], why: str
) -> None:
    async with app_of(answer) as task:
        with pytest.raises(CallRejected, match=rf"^the call to 127\.0\.0\.1:\d+ failed: {why}$"):
            async with open_call(task):
                raise AssertionError("there is no call")
        assert task.result is not None
        assert task.result.end is ListenEnd.NOT_CONNECTED


@real
async def test_an_app_that_breaks_off_the_call() -> None:
    async with app_of(reset_in_the_call) as task:
        async with open_call(task) as call:
            result = await talk(call, audio(60), speed=10)
        assert result.end is ListenEnd.LOST
        assert call.how_it_ended() == (
            "the call is over: connection lost: Connection reset by peer"
        )


@real
async def test_a_host_that_is_no_name_leads_nowhere() -> None:
    task = ListenTask(attrs.evolve(STREAM, url="ws://[v1.a..b]/"), ATTRIBUTES)
    with pytest.raises(OSError, match=r"^no connection to v1\.a\.\.b:80: host not found"):
        async with open_call(task):
            raise AssertionError("there is no call")
    assert task.result is not None
    assert task.result.end is ListenEnd.NOT_CONNECTED


@real
async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        task = ListenTask(attrs.evolve(STREAM, url=f"ws://{HOST}:{port}/"), ATTRIBUTES)
        with pytest.raises(
            ConnectionRefusedError,
            match=rf"^no connection to 127\.0\.0\.1:{port}: "
            r"nothing listens there \(Connection refused\)$",
        ):
            async with open_call(task):
                raise AssertionError("there is no call")


@pytest.mark.parametrize("turn", range(4))  # trio shuffles its tasks
@pytest.mark.parametrize("hangs_up", [True, False])
@virtual
async def test_an_app_that_answers_no_close(hangs_up: bool, turn: int) -> None:
    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bare_app, app_stream)
        async with open_call_on(platform_stream, ListenTask(STREAM, ATTRIBUTES)) as call:
            if hangs_up:
                call.hang_up()
    assert trio.current_time() == 5
    assert call.how_it_ended() == (
        "the call is over: connection lost: no answer to the close within 5 s"
    )


class Metered(Valve):
    """A stream that notes how much is received between two turns of another task."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.most = self._received = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await super().receive_some(max_bytes)
        self._received += len(data)
        self.most = max(self.most, self._received)
        return data

    async def take_turns(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self._received = 0


FLOODS = {
    "pings": b"\x89\x80mask",
    "pongs": b"\x8a\x80mask",
    "fragments of nothing": b"\x00\x80mask",
}
AT_MOST = 4096


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
@virtual
async def test_a_platform_that_floods_leaves_others_their_turns(flood: bytes) -> None:
    app_stream, platform_stream = memory_stream_pair()
    metered = Metered(app_stream)
    begun, ended = trio.Event(), trio.Event()

    async def handler(call: Call) -> None:
        begun.set()
        await read_on(call)
        assert call.closed == Closed(1000, "", clean=True)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, metered)
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        await begun.wait()
        nursery.start_soon(metered.take_turns)
        start, end = b"\x02\x80mask", b"\x80\x80mask"
        platform.wire.close()
        close = platform.wire.data_to_send()
        await platform_stream.send_all(start + flood * 10_000 + end + close)
        await ended.wait()
        nursery.cancel_scope.cancel()
    assert 0 < metered.most <= AT_MOST


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
@virtual
async def test_an_app_that_floods_leaves_others_their_turns(flood: bytes) -> None:
    platform_stream, app_stream = memory_stream_pair()
    metered = Metered(platform_stream)

    async def answer() -> None:
        app = await bare_app(app_stream)
        app.wire.close()
        close = app.wire.data_to_send()
        unmasked = bytes([flood[0], 0])
        await app_stream.send_all(b"\x02\x00" + unmasked * 30_000 + b"\x80\x00" + close)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(metered.take_turns)
        nursery.start_soon(answer)
        async with open_call_on(metered, ListenTask(STREAM, ATTRIBUTES)) as call:
            await call.over()
        nursery.cancel_scope.cancel()
    assert 0 < metered.most <= AT_MOST
    assert call.closed == Closed(1000, "", clean=True)


@virtual
async def test_what_takes_long_is_taken_in_small_pieces_until_it_no_longer_does() -> None:
    """So a flood of what costs much leaves others their turns, and all else is read at once."""
    app_stream, platform_stream = memory_stream_pair()
    carrier = StreamCarrier(app_stream)
    await platform_stream.send_all(bytes(100_000))

    async def sizes(*seconds: float) -> list[int]:
        found = []
        for took in seconds:
            data = await carrier.receive()
            assert data is not None
            found.append(len(data))
            carrier.took(took)
        return found

    assert await sizes(0.001, 0.0011, 0.1, 0.1, 0.1, 0.1) == [
        AT_MOST,
        AT_MOST,
        2048,
        1024,
        512,
        256,
    ]
    assert await sizes(0.1, 0.001, 0.0003, 0.0002, 0.0001, 0) == [256, 256, 256, 256, 512, 1024]
    assert await sizes(0, 0, 0) == [2048, AT_MOST, AT_MOST]


async def nowhere(host: bytes, port: int) -> trio.SocketStream:
    failed = [socket.gaierror(socket.EAI_NONAME, "Name or service not known")]
    raise failed[0]


async def unreachable(host: bytes, port: int) -> trio.SocketStream:
    failed = [OSError(101, "Network is unreachable"), OSError(113, "No route to host")]
    raise OSError("all attempts to connect failed") from ExceptionGroup("all", failed)


async def silent(host: bytes, port: int) -> trio.SocketStream:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(
    ("network", "kind", "why"),
    [
        (nowhere, OSError, r"app\.example:80: host not found \(Name or service"),
        (unreachable, OSError, r"app\.example:80: Network is unreachable$"),
        (silent, CallRejected, r"app\.example:80 within 10 s; check the address"),
    ],
)
@virtual
async def test_a_host_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
    network: Callable[[bytes, int], Awaitable[trio.SocketStream]],
    kind: type[Exception],
    why: str,
) -> None:
    monkeypatch.setattr(trio, "open_tcp_stream", network)
    with pytest.raises(kind, match=f"^no connection to {why}"):
        async with open_call(ListenTask(STREAM, ATTRIBUTES)):
            raise AssertionError("there is no call")
