"""A platform that is gone, or as good as gone, holds no place among the calls that may be open."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest
import trio
from trio.testing import (
    MockClock,
    lockstep_stream_one_way_pair,
    memory_stream_one_way_pair,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

from listenproto import Audio, Closed, HandshakePolicy, Mode, Ping
from listenproto._upgrade import Accepted, Rejected
from listenproto_trio import Answering, Call, Limits, serve, serve_stream
from tests.trio_support import Bare, Listening, asking, audio, bare_platform, virtual

LIMITS = Limits(
    handshake_time=10, ping_interval=20, ping_time=20, write_time=60, close_time=5, outbox_size=2000
)
METADATA = '{"callSid":"dead"}'
STEP = 0.5


async def say_on(platform: Bare, data: bytes) -> None:
    """Send it again and again."""
    while True:
        await platform.stream.send_all(data)
        await trio.sleep(STEP)


async def no_metadata(platform: Bare) -> None:
    await say_on(platform, b"\x89\x80mask")


async def silence(platform: Bare) -> None:
    await platform.say(METADATA)


async def an_endless_message(platform: Bare) -> None:
    """Whole frames that are no whole message."""
    await platform.say(METADATA)
    await platform.stream.send_all(b"\x02\x82mask\0\0")
    await say_on(platform, b"\x00\x82mask\0\0")


async def an_endless_frame(platform: Bare) -> None:
    await platform.say(METADATA)
    await platform.stream.send_all(b"\x82\xff" + (2**20).to_bytes(8, "big") + b"mask")
    await say_on(platform, b"?")


async def nothing_read(platform: Bare) -> None:
    """It sends audio on, and does not read the echo."""
    await platform.say(METADATA)
    platform.wire.send(audio(STEP))
    await say_on(platform, platform.wire.data_to_send())


async def no_answer_to_the_close(platform: Bare) -> None:
    await platform.say(METADATA, '{"event":"dtmf","dtmf":"#"}')
    platform.wire.send(audio(STEP))
    await say_on(platform, platform.wire.data_to_send())


async def no_end_after_a_fault(platform: Bare) -> None:
    await platform.say(METADATA)
    await platform.stream.send_all(b"\xff\x80mask")
    await say_on(platform, bytes(100))


async def echo(call: Call) -> None:
    async for event in call:
        if not isinstance(event, Audio):
            return  # a key
        await call.send_audio(event.pcm)


@pytest.mark.parametrize(
    ("peer", "seconds"),
    [
        (no_metadata, 15),  # and its close is not answered
        (silence, 40),
        (an_endless_message, 40),
        (an_endless_frame, 40),
        (nothing_read, 61),
        (no_answer_to_the_close, 5),
        (no_end_after_a_fault, 5),
    ],
)
@virtual
async def test_the_place_of_a_dead_peer_is_free_after_its_time(
    peer: Callable[[Bare], Awaitable[None]], seconds: float
) -> None:
    policy = HandshakePolicy(max_calls=1)
    answering = Answering(mode=Mode.STREAMING, policy=policy, limits=LIMITS)
    listener = Listening()

    async def answer_to_another() -> Accepted | Rejected:
        other = asking(listener.dial())
        await other.flush()
        answer = await other.hear()
        assert isinstance(answer, Accepted | Rejected)
        return answer

    async def be_dead() -> None:
        to_app, at_app = memory_stream_one_way_pair()
        to_platform, at_platform = lockstep_stream_one_way_pair()
        listener.take(trio.StapledStream(to_platform, at_app))
        platform = await bare_platform(trio.StapledStream(to_app, at_platform))
        try:
            await peer(platform)
            await trio.sleep_forever()
        except trio.BrokenResourceError:
            pass  # it was dropped

    with listener.instead_of_a_port():
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, echo, port=0, answering=answering))
            began = trio.current_time()
            nursery.start_soon(be_dead)
            await trio.sleep(seconds - 2 * STEP)
            refused = await answer_to_another()
            assert isinstance(refused, Rejected)
            assert refused.status == 503
            await trio.sleep_until(began + seconds + 2 * STEP)
            assert isinstance(await answer_to_another(), Accepted)
            nursery.cancel_scope.cancel()


def sockets() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    here, there = trio.socket.socketpair()
    return trio.SocketStream(here), trio.SocketStream(there)


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("late", [0.001, 1000])
@pytest.mark.parametrize("pair", [sockets, memory_stream_pair])
@pytest.mark.parametrize("turn", range(8))  # trio shuffles its tasks
@virtual
async def test_a_live_peer_is_not_taken_for_dead_after_this_process_has_slept(
    turn: int,
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]],
    late: float,
    reads: bool,
) -> None:
    """As when its machine is suspended, or another task lets none run: the answer has come."""
    app_stream, platform_stream = pair()
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    slept, ended = trio.Event(), trio.Event()

    async def read_on(call: Call) -> None:
        if not reads:
            await slept.wait()
        async for _ in call:
            pass
        assert call.closed == Closed(1000, "", clean=True)
        ended.set()

    async with platform_stream, trio.open_nursery() as nursery:
        answering = Answering(limits=LIMITS)
        nursery.start_soon(partial(serve_stream, read_on, app_stream, answering=answering))
        platform = await bare_platform(platform_stream)
        await platform.say(METADATA)
        assert isinstance(await platform.hear(), Ping)
        if isinstance(platform_stream, trio.SocketStream):  # at once: nobody has read it yet
            os.write(platform_stream.socket.fileno(), platform.wire.data_to_send())
        else:
            await platform.flush()
        clock.jump(LIMITS.ping_time + late)
        await wait_all_tasks_blocked()
        slept.set()
        platform.wire.close()
        await platform.flush()
        assert (await platform.closing()).clean
        await ended.wait()


@virtual
async def test_a_platform_that_never_reads_costs_no_more_however_long_it_sends() -> None:
    """What waits for it fits into the outbox, and what is not read in time is dropped."""
    to_app, at_app = memory_stream_one_way_pair()
    to_platform, at_platform = lockstep_stream_one_way_pair()
    limits = attrs.evolve(LIMITS, write_time=math.inf, unread_seconds=2 * STEP)
    answering = Answering(mode=Mode.STREAMING, limits=limits)
    calls: list[Call] = []

    async def echo_on(call: Call) -> None:
        calls.append(call)
        await echo(call)

    async with trio.open_nursery() as nursery:
        app_stream = trio.StapledStream(to_platform, at_app)
        nursery.start_soon(partial(serve_stream, echo_on, app_stream, answering=answering))
        platform = await bare_platform(trio.StapledStream(to_app, at_platform))
        await platform.say(METADATA)
        with trio.move_on_after(100):
            platform.wire.send(audio(STEP))
            await say_on(platform, platform.wire.data_to_send())
        (call,) = calls
        assert call.core.link.connection.waiting <= limits.outbox_size + len(audio(STEP))
        assert call.samples_dropped > 90 * 8000
        nursery.cancel_scope.cancel()
