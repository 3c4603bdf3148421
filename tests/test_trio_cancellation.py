"""Cancelling at every checkpoint of every await: nothing half sent, nothing left, nothing wrong.

Each scenario is played over and over, cancelled one checkpoint later each time. The tables say how
many checkpoints that were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import Final

import attrs
import pytest
import trio
import trio_websocket
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from listenproto import (
    SUBPROTOCOL,
    Audio,
    ClearMarks,
    Closed,
    Disconnect,
    Dtmf,
    End,
    KillAudio,
    ListenTask,
    ListenVerb,
    Mark,
    Message,
)
from listenproto.codec import encode
from listenproto.messages import Peer
from listenproto.upgrade import Accepted, Request
from listenproto.wire import ServerWire, WireEvent
from listenproto_trio import (
    Answering,
    Call,
    CallEnded,
    CallEvent,
    CallRejected,
    Limits,
    Outcome,
    PlatformCall,
    TrioWebSocket,
    hear_beep,
    open_call,
    open_call_on,
    serve,
    serve_stream,
    talk,
)
from tests.trio_support import (
    ATTRIBUTES,
    CLIPS,
    FILLER,
    STREAM,
    AppEnd,
    Bare,
    Interruption,
    Line,
    Listening,
    Valve,
    asking,
    audio,
    clip,
    fill_the_outbox,
    line,
    repeatable,
    small_outbox,
    still_works,
    virtual,
    walk,
    when_stuck,
)

on_each_app_end = pytest.mark.usefixtures("each_app_end")

# What a call's holder awaits.

CLIP = clip(0.1, id="c")
SENDS: list[tuple[ListenVerb, Callable[[Call], Awaitable[object]], Message]] = [
    (STREAM, lambda app: app.send_audio(audio(0.1)), Audio(audio(0.1))),
    (STREAM, lambda app: app.send(Mark("m")), Mark("m")),
    (STREAM, lambda app: app.mark("m"), Mark("m")),
    (STREAM, lambda app: app.clear_marks(), ClearMarks()),
    (STREAM, lambda app: app.kill_audio(), KillAudio()),
    (CLIPS, lambda app: app.play(CLIP), attrs.evolve(CLIP, queue_play=True)),
    (CLIPS, lambda app: app.disconnect(), Disconnect()),
]
each_send = pytest.mark.parametrize(
    ("verb", "send", "message"),
    SENDS,
    ids=["send_audio", "send", "mark", "clear_marks", "kill_audio", "play", "disconnect"],
)


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

    assert await walk(scenario) == 2


@pytest.mark.parametrize(
    ("verb", "send", "message"), [SENDS[0], SENDS[2], SENDS[5]], ids=["audio", "mark", "clip"]
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

    assert await walk(scenario) == 3


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
        while both.platform.transport.connection.waiting < 1000:
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
        assert heard == said[: 2 * sent]
        assert both.app.closed == Closed(1000, "", clean=True)
        assert both.platform.result is not None
        assert both.platform.result.end is End.HANGUP


async def hearing_the_beep(interruption: Interruption) -> None:
    task = ListenTask(attrs.evolve(STREAM, play_beep=True), ATTRIBUTES)
    heard: list[int] = []
    hear = partial(hear_beep, task, hear=lambda pieces: heard.extend(len(p.pcm) for p in pieces))
    await interruption.of(hear)
    await hear()
    assert sum(heard) == 2 * 4000


WAITS: list[tuple[Callable[[Interruption], Awaitable[None]], int]] = [
    (waiting_for_a_mark, 2),
    (waiting_for_a_clip_with_a_timeout, 2),
    (draining, 4),
    (speaking, 20),
    (iterating, 2),
    (closing, 2),
    (capturing, 2),
    (waiting_for_the_end, 2),
    (talking, 8),
    (hearing_the_beep, 25),
]


@pytest.mark.parametrize(("scenario", "count"), WAITS, ids=[one.__name__ for one, _ in WAITS])
@on_each_app_end
@repeatable
@virtual
async def test_a_wait(
    scenario: Callable[[Interruption], Awaitable[None]], count: int, order: None
) -> None:
    assert await walk(scenario) == count


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


# Whole calls, all tasks of one end counted. The other end is a bare wire: it would not survive a
# broken frame, and nothing may come behind a message that was cut.


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


async def hear_on(bare: Bare, heard: list[WireEvent]) -> None:
    """Hear the other end to its end of stream; say what a platform has to say."""
    await bare.flush()
    while not heard or not isinstance(heard[-1], Closed):
        event = await bare.hear()
        heard.append(event)
        if isinstance(event, Accepted):
            await bare.say('{"callSid":"c"}', audio(0.01))
        elif isinstance(event, str) and "mark" in event:
            await bare.say('{"event":"dtmf","dtmf":"5"}')
            await bare.say('{"type":"mark","data":{"name":"m","event":"playout"}}')
    await bare.flush()
    if heard[-1] == Closed(1000, "", clean=True):
        assert [data async for data in bare.stream] == []


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


async def answering_a_call(interruption: Interruption) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    heard: list[WireEvent] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear_on, asking(platform_stream), heard)
        if AppEnd.serve is serve_stream:
            answering = Answering(mode=STREAM.mode())
            cancelled = await interruption.of(
                lambda: serve_stream(converse, Valve(app_stream, 9), answering=answering)
            )
        else:
            cancelled = await over(Valve(app_stream, 9), interruption)
    check_heard(heard, SAID_BY_APP, cancelled)


async def over(stream: trio.abc.Stream, interruption: Interruption) -> bool:
    """A call over trio-websocket; whoever has the WebSocket goes on where that is cancelled."""

    async def handle() -> None:
        async with Call.over(websocket, answering=Answering(mode=STREAM.mode())) as call:
            await converse(call)

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


async def serving(interruption: Interruption) -> None:
    app_stream, platform_stream = lockstep_stream_pair()
    listener = Listening()
    heard: list[WireEvent] = []
    ended = trio.Event()

    async def call() -> None:
        listener.take(Valve(app_stream, 30))
        await hear_on(asking(platform_stream), heard)
        ended.set()

    async def serve_one() -> None:
        async with trio.open_nursery() as nursery:
            answering = Answering(mode=STREAM.mode())
            await nursery.start(partial(serve, converse, port=0, answering=answering))
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
            options = {"answering": answering, "stop": stop, "grace": 5}
            nursery.start_soon(partial(serve, handler, port=0, **options))
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
            bare.wire.accept(SUBPROTOCOL)
            await bare.flush()
            await bare.say(audio(0.01), '{"type":"mark","data":{"name":"m"}}')
    await bare.flush()
    if heard[-1] == Closed(1000, "", clean=True):
        assert [data async for data in bare.stream] == []


SAID_BY_PLATFORM: Final = [
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
) -> None:
    task = ListenTask(STREAM, ATTRIBUTES)
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
    assert task.result.end is (End.HANGUP if answered else End.NOT_CONNECTED)


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


async def shaking_hands_for_tls(interruption: Interruption) -> None:
    """With a server that never answers."""
    app_stream, platform_stream = lockstep_stream_pair()
    secure = ListenTask(attrs.evolve(STREAM, url="wss://app.example/"), ATTRIBUTES)

    async def place() -> None:
        with pytest.raises(CallRejected, match=r"no TLS with app\.example:443 within 10 s"):
            async with open_call(secure):
                pytest.fail("it is open")

    async def read_to_the_end() -> None:
        with suppress(trio.BrokenResourceError):
            assert [data async for data in app_stream] != [b""]

    with dialling(platform_stream):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_to_the_end)
            await interruption.of(place)


CALLS: list[tuple[Callable[[Interruption], Awaitable[None]], int]] = [
    (serving, 146),
    (stopping, 124),
    (placing_a_call, 144),
    (placing_a_call_to_a_host, 144),
    (shaking_hands_for_tls, 10),
]


@pytest.mark.parametrize(("scenario", "count"), CALLS, ids=[one.__name__ for one, _ in CALLS])
@repeatable
@virtual
async def test_a_call(
    scenario: Callable[[Interruption], Awaitable[None]], count: int, order: None
) -> None:
    assert await walk(scenario) == count


@on_each_app_end
@repeatable
@virtual
async def test_a_call_that_is_answered(order: None) -> None:
    assert await walk(answering_a_call) == (323 if AppEnd.serve is serve_stream else 103)
