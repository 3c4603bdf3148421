"""Whole calls in which all tasks of one end can be cancelled together, at any point.

The other end only reads frames: it fails if a frame is broken or if anything follows a message that
was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Final

import attrs
import pytest
import trio
import trio_websocket
from trio.testing import lockstep_stream_pair

from listenproto import (
    SUBPROTOCOL,
    Closed,
    Dtmf,
    ListenEnd,
    ListenTask,
    ListenVerb,
)
from listenproto._messages import Peer
from listenproto._upgrade import Accepted, Request
from listenproto._wire import ServerWire, WireEvent
from listenproto.codec import encode
from listenproto_trio import (
    Answering,
    Call,
    CallRejected,
    Handler,
    Limits,
    Outcome,
    PlatformCall,
    Playback,
    TrioWebSocket,
    open_call,
    open_call_on,
    serve,
    serve_stream,
    talk,
)
from tests.trio_support import (
    ATTRIBUTES,
    STREAM,
    AppEnd,
    Bare,
    Interruption,
    Listening,
    Scenario,
    Valve,
    asking,
    audio,
    identities,
)


async def converse(call: Call) -> None:
    """Say something, wait for it and for a key, and go."""
    await call.send_audio(audio(0.01))
    mark = await call.mark("m")
    async for event in call:
        if isinstance(event, Dtmf):
            break
    await mark.wait()
    await call.kill_audio()
    await call.drain()


SAID_BY_APP: Final = [
    Accepted,
    audio(0.01),
    '{"type":"mark","data":{"name":"m"}}',
    '{"type":"killAudio"}',
    Closed(1000, "", clean=True),
]


async def check_silent(stream: trio.abc.Stream) -> None:
    """Nothing more comes; TLS breaks where the other end is gone before its close is answered."""
    more = bytearray()
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            more += data
    assert more == b""


async def hear_on(bare: Bare, heard: list[WireEvent], *, patience: float = 0.0) -> None:
    """Hear the other end to its end of stream; say what a platform has to say.

    ``patience`` is how long it plays until it is at the mark.
    """

    async def play() -> None:
        await trio.sleep(patience)
        await bare.say('{"type":"mark","data":{"name":"m","event":"playout"}}')

    await bare.flush()
    async with trio.open_nursery() as nursery:
        while not heard or not isinstance(heard[-1], Closed):
            event = await bare.hear()
            heard.append(event)
            if isinstance(event, Accepted):
                await bare.say('{"callSid":"c"}', audio(0.01))
            elif isinstance(event, str) and "mark" in event:
                await bare.say('{"event":"dtmf","dtmf":"5"}')
                nursery.start_soon(play)
        nursery.cancel_scope.cancel()
    await bare.flush()
    if heard[-1] == Closed(1000, "", clean=True):
        await check_silent(bare.stream)


def check_heard(heard: list[WireEvent], said: list[object], cancelled: bool) -> None:
    """The whole of what was to be said; less, if it was cancelled, but then that whole."""
    *messages, end = [
        type(event) if isinstance(event, Accepted | Request) else event for event in heard
    ]
    if end == said[-1]:
        assert messages == said[:-1]
    else:
        assert cancelled
        assert end == Closed(1006, "", clean=False)
        assert messages == said[: len(messages)]


async def answer(
    handler: Handler, said: list[object], interruption: Interruption, **options: Any
) -> bool:
    """Answer a call, on whatever the app's end is; whether it was cut short."""
    app_stream, platform_stream = lockstep_stream_pair()
    heard: list[WireEvent] = []
    answering = Answering(mode=STREAM.mode(), **options)
    stream = Valve(app_stream, 9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(hear_on, asking(platform_stream), heard, patience=1.0))
        if AppEnd.serve is serve_stream:
            cancelled = await interruption.of(
                lambda: serve_stream(handler, stream, answering=answering)
            )
        else:
            cancelled = await over(handler, stream, answering, interruption)
    check_heard(heard, said, cancelled)
    return cancelled


async def over(
    handler: Handler, stream: trio.abc.Stream, answering: Answering, interruption: Interruption
) -> bool:
    """A call over trio-websocket; whoever has the WebSocket goes on where that is cancelled."""

    async def handle() -> None:
        async with Call.over(websocket, answering=answering) as call:
            await handler(call)

    async with stream, trio.open_nursery() as nursery:
        asked = await trio_websocket.wrap_server_stream(nursery, stream)
        connection = await asked.accept(subprotocol=SUBPROTOCOL)
        websocket = TrioWebSocket(connection)
        cancelled = await interruption.of(handle)
        with pytest.raises(trio_websocket.ConnectionClosed):
            await connection.send_message("a word more")
        await connection.aclose()
        nursery.cancel_scope.cancel()
    return cancelled


async def answering_a_call(interruption: Interruption) -> None:
    await answer(converse, SAID_BY_APP, interruption)


async def answering_and_draining(interruption: Interruption) -> None:
    """The handler returns while the caller still hears what it said."""
    marks: list[Playback] = []

    async def speak(call: Call) -> None:
        await call.send_audio(audio(0.01))
        marks.append(await call.mark("m"))

    said = [*SAID_BY_APP[:3], SAID_BY_APP[-1]]
    cancelled = await answer(speak, said, interruption, drain=True)
    assert cancelled or marks[0].outcome is Outcome.PLAYED


async def disconnecting_without_an_answer(interruption: Interruption) -> None:
    """A platform that goes on with the listen is closed once it had its time (LP-END-2)."""
    taken: list[float] = []

    async def leave(call: Call) -> None:
        await call.disconnect()
        left_at = trio.current_time()
        async for _ in call:
            pass
        taken.append(trio.current_time() - left_at)

    said = [Accepted, '{"type":"disconnect"}', Closed(1000, "", clean=True)]
    cancelled = await answer(leave, said, interruption, limits=Limits(close_time=3.0))
    assert cancelled or taken == [3.0]


def secured(
    stream: trio.abc.Stream, *, server_side: bool = False
) -> trio.SSLStream[trio.abc.Stream]:
    server, client = identities()
    return trio.SSLStream(
        stream,
        server if server_side else client,
        server_hostname="app.example",
        server_side=server_side,
        https_compatible=True,
    )


async def serving(interruption: Interruption, *, tls: bool = False) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    listener = Listening()
    heard: list[WireEvent] = []
    ended = trio.Event()

    async def call() -> None:
        # What TLS makes of a message is not always of one size, so it goes in one piece.
        listener.take(app_stream if tls else Valve(app_stream, 30))
        await hear_on(asking(secured(platform_stream) if tls else platform_stream), heard)
        ended.set()

    async def serve_one() -> None:
        async with trio.open_nursery() as nursery:
            answering = Answering(mode=STREAM.mode())
            context = identities()[0] if tls else None
            await nursery.start(
                partial(serve, converse, port=0, answering=answering, ssl_context=context)
            )
            await ended.wait()
            nursery.cancel_scope.cancel()

    with listener.instead_of_a_port():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            cancelled = await interruption.of(serve_one)
            if not listener.accepted:
                await app_stream.aclose()
    assert listener.closed is listener.opened
    check_heard(heard, SAID_BY_APP, cancelled)


async def serving_over_tls(interruption: Interruption) -> None:
    await serving(interruption, tls=True)


async def stopping(interruption: Interruption) -> None:
    """A server that is stopped in mid call: the handler is cancelled, the call closed."""
    app_stream, platform_stream = lockstep_stream_pair()
    listener = Listening()
    heard: list[WireEvent] = []
    ends: list[str] = []

    async def handler(call: Call) -> None:
        try:
            await call.send_audio(audio(0.01))
            async for _ in call:
                pass
        finally:
            ends.append("recorded to its end")

    async def call() -> None:
        listener.take(Valve(app_stream, 30))
        await hear_on(asking(platform_stream), heard)

    async def serve_until_stopped() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            answering = Answering(mode=STREAM.mode())
            nursery.start_soon(
                partial(serve, handler, port=0, answering=answering, stop=stop, grace=5)
            )
            await trio.sleep(1)
            stop.set()

    with listener.instead_of_a_port():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            cancelled = await interruption.of(serve_until_stopped)
            if not listener.accepted:
                await app_stream.aclose()
    assert listener.closed is listener.opened
    assert cancelled or ends == ["recorded to its end"]
    cut = Closed(1001, "the server is shutting down", clean=True)
    check_heard(heard, [Accepted, audio(0.01), cut], cancelled)


async def answer_on(bare: Bare, heard: list[WireEvent]) -> None:
    """Hear a platform to its end of stream; say what an app has to say."""
    while not heard or not isinstance(heard[-1], Closed):
        event = await bare.hear()
        heard.append(event)
        if isinstance(event, Request):
            assert isinstance(bare.wire, ServerWire)
            bare.wire.accept(SUBPROTOCOL)
            await bare.flush()
            await bare.say(audio(0.01), '{"type":"mark","data":{"name":"m"}}')
    await bare.flush()
    if heard[-1] == Closed(1000, "", clean=True):
        await check_silent(bare.stream)


SAID_BY_PLATFORM: Final[list[object]] = [
    Request,
    encode(ListenTask(STREAM, ATTRIBUTES).metadata, Peer.PLATFORM),
    '{"type":"mark","data":{"name":"m","event":"playout"}}',
    audio(0.02, 0),
    audio(0.02, 1),
    Closed(1000, "", clean=True),
]


async def talk_over(
    open_it: Callable[[ListenTask], AbstractAsyncContextManager[PlatformCall]],
    app_stream: trio.abc.Stream,
    interruption: Interruption,
    verb: ListenVerb = STREAM,
) -> None:
    task = ListenTask(verb, ATTRIBUTES)
    heard: list[WireEvent] = []

    async def place() -> None:
        async with open_it(task) as call:
            await talk(call, audio(0.02, 0) + audio(0.02, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_on, Bare(app_stream, ServerWire()), heard)
        cancelled = await interruption.of(place)
    check_heard(heard, SAID_BY_PLATFORM, cancelled)
    answered = task.session.sent.messages > 0  # the metadata goes out at once
    assert task.result is not None
    assert task.result.end is (ListenEnd.HANGUP if answered else ListenEnd.NOT_CONNECTED)


async def placing_a_call(interruption: Interruption) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    open_it = partial(open_call_on, Valve(platform_stream, 30))
    await talk_over(open_it, app_stream, interruption)


@contextmanager
def dialling(stream: trio.abc.Stream) -> Iterator[None]:
    """Have ``stream`` opened where a connection to a host is; closed, if it never was."""

    async def open_tcp_stream(host: bytes, port: int) -> trio.abc.Stream:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_tcp_stream", open_tcp_stream)
        yield


async def placing_a_call_to_a_host(interruption: Interruption) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    with dialling(Valve(platform_stream, 30)):
        await talk_over(open_call, app_stream, interruption)


SECURE: Final = attrs.evolve(STREAM, url="wss://app.example/")


async def placing_a_call_over_tls(interruption: Interruption) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    open_it = partial(open_call_on, secured(platform_stream))
    await talk_over(open_it, secured(app_stream, server_side=True), interruption, SECURE)


async def placing_a_call_to_a_host_over_tls(interruption: Interruption) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    open_it = partial(open_call, ssl_context=identities()[1])
    with dialling(platform_stream):
        await talk_over(open_it, secured(app_stream, server_side=True), interruption, SECURE)


async def shaking_hands_for_tls(interruption: Interruption) -> None:
    """With a server that never answers."""
    app_stream, platform_stream = lockstep_stream_pair()
    secure = ListenTask(SECURE, ATTRIBUTES)

    async def place() -> None:
        with pytest.raises(
            CallRejected, match=r"TLS with app\.example:443 failed: no answer within 10 s"
        ):
            async with open_call(secure):
                pytest.fail("it is open")

    async def read_to_the_end() -> None:
        with suppress(trio.BrokenResourceError):
            assert [data async for data in app_stream] != [b""]

    with dialling(platform_stream):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_to_the_end)
            await interruption.of(place)


CALLS: Final[list[Scenario]] = [
    serving,
    serving_over_tls,
    stopping,
    placing_a_call,
    placing_a_call_over_tls,
    placing_a_call_to_a_host,
    placing_a_call_to_a_host_over_tls,
    shaking_hands_for_tls,
]
ANSWERED: Final[list[Scenario]] = [
    answering_a_call,
    answering_and_draining,
    disconnecting_without_an_answer,
]
"""On either app end; see the fixture each_app_end."""
