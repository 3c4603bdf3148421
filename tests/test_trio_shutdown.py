"""Stopping a server: no new calls, a grace period for those that run, an end to those left."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from listenproto import Closed, ListenEnd, ListenTask, Mode, Rejected
from listenproto_trio import (
    Answering,
    Call,
    CallRejected,
    Handler,
    Limits,
    Outcome,
    Playback,
    open_call,
    open_call_on,
    serve,
    talk,
)
from tests.trio_support import (
    ATTRIBUTES,
    CLIPS,
    STREAM,
    Bare,
    Listening,
    asking,
    audio,
    bare_platform,
    clip,
    identities,
    living,
    real,
    virtual,
)

CUT = Closed(1001, "the server is shutting down", clean=True)


@attrs.define
class Server:
    """A server in memory that is about to be stopped."""

    listener: Listening
    stop: trio.Event
    ended: trio.Event
    dial: Callable[[], trio.abc.Stream]

    async def call(self) -> Bare:
        """A platform in a call."""
        platform = await bare_platform(self.dial())
        await platform.say('{"callSid":"c"}')
        await wait_all_tasks_blocked()
        return platform


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    grace: float = 30.0,
    answering: Answering | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """A server; in the end it must have stopped by itself, and left nothing behind."""
    before = living()
    listener = Listening()
    server = Server(listener, trio.Event(), trio.Event(), listener.dial)

    async def run(task_status: trio.TaskStatus[object]) -> None:
        await serve(
            handler,
            port=0,
            answering=answering,
            ssl_context=ssl_context,
            stop=server.stop,
            grace=grace,
            task_status=task_status,  # type: ignore[arg-type]
        )
        server.ended.set()

    with listener.instead_of_a_port():
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield server
    assert living() == before


def log_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "listenproto"]


async def read_on(call: Call) -> None:
    async for _ in call:
        pass


async def send_for_ever(call: Call) -> None:
    while True:
        await call.send_audio(audio(1))


async def never_end(call: Call) -> None:
    await trio.sleep_forever()


@virtual
async def test_who_has_no_call_open_is_gone_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(read_on) as server:
        server.stop.set()
        await server.ended.wait()
        assert trio.current_time() == 0
        assert server.listener.closed
    assert log_of(caplog)[1:] == [
        "stopping; calls open: 0; they have 30 s to end",
        "stopped; calls cut short: 0",
    ]


@virtual
async def test_calls_go_on_for_as_long_as_they_have(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(read_on) as server:
        task = ListenTask(STREAM, ATTRIBUTES)
        async with open_call_on(server.dial(), task) as call:
            await call.capture(audio(0.02))
            server.stop.set()
            await wait_all_tasks_blocked()
            assert server.listener.closed
            result = await talk(call, audio(29))
        assert result.end is ListenEnd.HANGUP
        await server.ended.wait()
        assert trio.current_time() == pytest.approx(29)
    assert log_of(caplog)[1] == "stopping; calls open: 1; they have 30 s to end"
    assert log_of(caplog)[-1] == "stopped; calls cut short: 0"


@virtual
async def test_a_call_that_is_left_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ends: list[str] = []

    async def record(call: Call) -> None:
        try:
            await read_on(call)
        finally:
            ends.append("recorded to its end")

    async with serving(record, grace=5) as server:
        first, second = await server.call(), await server.call()
        server.stop.set()
        await trio.sleep(1)
        second.wire.close()
        await second.flush()
        await second.closing()
        assert ends == ["recorded to its end"]
        assert await first.closing() == CUT
        await first.flush()
        assert ends == ["recorded to its end"] * 2
        await server.ended.wait()
        assert trio.current_time() == 5
    assert log_of(caplog)[-1] == "stopped; calls cut short: 1"


@virtual
async def test_a_handler_that_is_cut_short_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    async def record(call: Call) -> None:
        try:
            await read_on(call)
        finally:
            said.append(call.how_it_ended())
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            said.append(call.how_it_ended())

    async with serving(record, grace=5) as server:
        platform = await server.call()
        server.stop.set()
        assert await platform.closing() == CUT
        await platform.flush()
        await server.ended.wait()
    assert said == ["the call is over: cut short by the shutdown of the server"] * 2
    (line,) = [line for line in log_of(caplog) if line.startswith("call c")]
    assert line.startswith("call c: cut short by the shutdown of the server; received 1 messages")


@virtual
async def test_a_handler_that_lingers_behind_its_call_is_not_told_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    said: list[str] = []

    async def linger(call: Call) -> None:
        try:
            await read_on(call)
            await trio.sleep_forever()
        finally:
            said.append(call.how_it_ended())

    async with serving(linger, grace=5) as server:
        platform = await server.call()
        platform.wire.close()
        await platform.flush()
        await platform.closing()
        server.stop.set()
        await server.ended.wait()
    assert said == ["the call is over: the other end closed with 1000"]
    assert log_of(caplog)[-1] == "stopped; calls cut short: 0"
    (line,) = [line for line in log_of(caplog) if line.startswith("call c")]
    assert line.startswith("call c: the other end closed with 1000; received 1 messages")


@virtual
async def test_without_grace_calls_are_cut_at_once() -> None:
    async with serving(never_end, grace=0) as server:
        platform = await server.call()
        server.stop.set()
        assert await platform.closing() == CUT
        await platform.flush()
        await server.ended.wait()
        assert trio.current_time() == 0


@pytest.mark.parametrize("grace", [math.nan, -1.0, -math.inf])
@virtual
async def test_a_grace_that_is_no_time_is_refused_at_the_start(grace: float) -> None:
    listener = Listening()
    with (
        listener.instead_of_a_port(),
        pytest.raises(ValueError, match=f"grace must be 0 or more seconds; it is {grace:g}"),
    ):
        await serve(read_on, port=0, grace=grace)
    assert not listener.opened


@virtual
async def test_with_a_grace_of_infinity_no_call_is_cut() -> None:
    answering = Answering(limits=Limits(ping_interval=math.inf))
    async with serving(read_on, grace=math.inf, answering=answering) as server:
        platform = await server.call()
        server.stop.set()
        await trio.sleep(36000)
        platform.wire.close()
        await platform.flush()
        assert await platform.closing() == Closed(1000, "", clean=True)
        await platform.flush()


@virtual
async def test_a_handler_sees_it_and_may_say_goodbye() -> None:
    playbacks: list[Playback] = []

    async def say_goodbye(call: Call) -> None:
        await call.stopping.wait()
        playbacks.append(await call.play(clip(2)))
        await playbacks[0].wait()

    async with serving(say_goodbye) as server:
        async with open_call_on(server.dial(), ListenTask(CLIPS, ATTRIBUTES)) as call:
            server.stop.set()
            result = await talk(call, audio(60))
        assert (result.end, result.duration) == (ListenEnd.APP_CLOSED, 2)
        await server.ended.wait()
    assert playbacks[0].outcome is Outcome.PLAYED


@virtual
async def test_who_asks_too_late_is_told_so() -> None:
    async with serving(read_on) as server:
        platform = asking(server.dial())
        await wait_all_tasks_blocked()
        server.stop.set()
        await trio.sleep(0.9)
        await platform.flush()
        refusal = await platform.hear()
        assert isinstance(refusal, Rejected)
        assert (refusal.status, refusal.body) == (503, b"This server is shutting down.\n")
        await platform.stream.aclose()
        await server.ended.wait()
        assert trio.current_time() == 0.9


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: a"])
@pytest.mark.parametrize(("grace", "end"), [(30, 1), (math.inf, 1), (0.5, 0.5), (0, 0)])
@virtual
async def test_who_does_not_ask_has_a_second_to(
    grace: float, end: float, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(read_on, grace=grace) as server:
        stream = server.dial()
        await stream.send_all(said)
        await wait_all_tasks_blocked()
        server.stop.set()
        assert await stream.receive_some() == b""
        assert trio.current_time() == end
        await server.ended.wait()
        assert trio.current_time() == end
    assert "connection: the server is shutting down" in log_of(caplog)


@virtual
async def test_who_was_connected_as_it_stopped_has_that_second_too() -> None:
    async with serving(read_on) as server:
        await wait_all_tasks_blocked()
        stream = server.dial()
        server.stop.set()
        assert await stream.receive_some() == b""
        await server.ended.wait()
        assert trio.current_time() == 1


@virtual
async def test_who_was_let_in_before_has_its_call() -> None:
    async with serving(read_on) as server:
        platform = await bare_platform(server.dial())
        server.stop.set()
        await trio.sleep(1)
        await platform.say("{}")
        platform.wire.close()
        await platform.flush()
        assert await platform.closing() == Closed(1000, "", clean=True)


@pytest.mark.parametrize("asks", [True, False])
@virtual
async def test_a_handshake_that_is_left_is_cut_too(
    asks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lost: list[str] = []
    answering = Answering(
        limits=Limits(handshake_time=60), on_lost=lambda session, why: lost.append(why)
    )
    async with serving(read_on, grace=5, answering=answering) as server:
        stream = server.dial()
        platform = await bare_platform(stream) if asks else asking(stream)
        await wait_all_tasks_blocked()
        server.stop.set()
        assert await platform.closing() == (CUT if asks else Closed(1006, "", clean=False))
        await platform.flush()
        await server.ended.wait()
        assert trio.current_time() == (5 if asks else 1)
    assert log_of(caplog)[-1] == "stopped; calls cut short: 0"
    assert lost == []


@virtual
async def test_waiting_for_what_still_plays_is_cut_too() -> None:
    async def play(call: Call) -> None:
        await call.play(clip(60))

    answering = Answering(drain=True)
    async with serving(play, grace=5, answering=answering) as server:
        platform = await server.call()
        server.stop.set()
        assert await platform.closing() == CUT


@virtual
async def test_a_handler_that_fails_while_it_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("broken")

    async with serving(fail, grace=5) as server:
        platform = await server.call()
        server.stop.set()
        assert await platform.closing() == CUT
    assert "ValueError: broken" in caplog.text


@virtual
async def test_a_peer_that_answers_no_close_has_the_close_time() -> None:
    answering = Answering(mode=Mode.STREAMING, limits=Limits(close_time=3))
    for handler in (never_end, send_for_ever):
        began = trio.current_time()
        async with serving(handler, grace=5, answering=answering) as server:
            app_stream, platform_stream = lockstep_stream_pair()
            server.listener.take(app_stream)
            platform = await bare_platform(platform_stream)
            await platform.say("{}")
            server.stop.set()
            await server.ended.wait()
            assert trio.current_time() == began + 5 + 3


@pytest.mark.parametrize("handler", [read_on, send_for_ever])
@virtual
async def test_a_tls_peer_that_reads_no_more_has_no_more(handler: Handler) -> None:
    """TLS has a goodbye of its own, which waits for room."""
    limits = Limits(close_time=3)
    answering = Answering(mode=Mode.STREAMING, limits=limits)
    identity, trusting = identities()
    async with serving(handler, grace=0, answering=answering, ssl_context=identity) as server:
        app_stream, platform_stream = lockstep_stream_pair()
        server.listener.take(app_stream)
        secured = trio.SSLStream(platform_stream, trusting, server_hostname="app.example")
        platform = await bare_platform(secured)
        await platform.say("{}")
        if handler is read_on:
            platform.wire.close()
            await platform.flush()
            await platform.closing()
        server.stop.set()
        await server.ended.wait()
        assert trio.current_time() == 3


@virtual
async def test_a_server_that_is_to_stop_already_takes_no_call() -> None:
    listener, stop = Listening(), trio.Event()
    stop.set()
    with listener.instead_of_a_port():
        await serve(read_on, port=0, stop=stop)
    assert listener.closed


@virtual
async def test_stopping_may_be_cancelled_like_all_else() -> None:
    listener, stop = Listening(), trio.Event()
    with listener.instead_of_a_port(), trio.move_on_after(7):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve, never_end, port=0, stop=stop))
            platform = await bare_platform(listener.dial())
            await platform.say("{}")
            stop.set()
    assert trio.current_time() == 7


@real
async def test_the_port_is_closed_as_soon_as_it_stops() -> None:
    stop, ended = trio.Event(), trio.Event()

    async def run(task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
        await serve(read_on, port=0, host="127.0.0.1", stop=stop, task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(run)
        port = listener.socket.getsockname()[1]
        verb = attrs.evolve(STREAM, url=f"ws://127.0.0.1:{port}/")
        async with open_call(ListenTask(verb, ATTRIBUTES)) as call:
            stop.set()
            await wait_all_tasks_blocked()
            with pytest.raises((OSError, CallRejected)):
                async with open_call(ListenTask(verb, ATTRIBUTES)):
                    raise AssertionError("a second call was let in")
            assert not ended.is_set()
            call.hang_up()
            await call.over()
            assert call.closed == Closed(1000, "", clean=True)
        await ended.wait()
