"""Many simulated callers that share one task: each as if it were alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from listenproto import Audio, Heard, ListenEnd, ListenTask, Mode, Payload, Peer, TraceMoment
from listenproto_trio import Answering, Call, Handler, Key, PlatformCall, open_call, serve
from listenproto_trio._stage import GRAIN, Spread, Stage
from tests.trio_support import ATTRIBUTES, STREAM, audio, calling, real, virtual

STEP = 0.02


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    stage = Stage()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.run)
        yield stage
        nursery.cancel_scope.cancel()


async def echo(call: Call) -> None:
    async for event in call:
        if isinstance(event, Audio):
            await call.send_audio(event.pcm)


class Clocked:
    """When each message of the platform passed, and the message."""

    def __init__(self) -> None:
        self.passed: list[tuple[float, Payload]] = []

    def __call__(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        if sender is Peer.PLATFORM and isinstance(payload, str | bytes):
            self.passed.append((trio.current_time(), payload))


@virtual
async def test_each_call_sends_every_20_ms_and_no_two_at_once() -> None:
    taps = [Clocked() for _ in range(5)]

    async def place(stage: Stage, tap: Clocked) -> None:
        async with calling(echo, STREAM, tap=tap) as call:
            await stage.talk(call, audio(1))

    async with staged() as stage, trio.open_nursery() as nursery:
        for tap in taps:
            nursery.start_soon(place, stage, tap)
    firsts = []
    for tap in taps:
        times = [at for at, payload in tap.passed if isinstance(payload, bytes)]
        assert b"".join(p for _, p in tap.passed if isinstance(p, bytes)) == audio(1)
        apart = [later - at for at, later in pairwise(times)]
        assert len(times) == 50 and apart == pytest.approx([STEP] * 49, abs=0.001)
        firsts.append(round(times[0], 3))
    assert len(set(firsts)) == 5
    assert stage.late.worst <= 0.001


@virtual
async def test_the_caller_presses_keys_hears_and_hangs_up() -> None:
    heard: list[Heard] = []
    tap = Clocked()
    async with staged() as stage, calling(echo, STREAM, tap=tap) as call:
        result = await stage.talk(
            call, audio(1), keys=[Key("5", at=0.5)], hang_up_after=2, hear=heard.extend
        )
    assert (result.end, result.duration) == (ListenEnd.HANGUP, 2)
    texts = [payload for _, payload in tap.passed if isinstance(payload, str)]
    assert texts[1:] == ['{"event":"dtmf","dtmf":"5","duration":"800"}']
    said = b"".join(piece.pcm for piece in heard)
    assert said.startswith(audio(1))


@virtual
async def test_a_call_that_the_app_ends_is_over_for_its_caller_alone() -> None:
    async def leave(call: Call) -> None:
        await trio.sleep(0.5)

    ends = {}

    async def talk(stage: Stage, handler: Handler, name: str) -> None:
        async with calling(handler, STREAM) as call:
            ends[name] = (await stage.talk(call, audio(1))).end

    async with staged() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(talk, stage, leave, "left")
        nursery.start_soon(talk, stage, echo, "stayed")
    assert ends == {"left": ListenEnd.APP_CLOSED, "stayed": ListenEnd.HANGUP}


@virtual
async def test_what_a_caller_raises_comes_out_of_its_own_call() -> None:
    def deaf(heard: list[Heard]) -> None:
        raise ZeroDivisionError

    async with staged() as stage, calling(echo, STREAM) as one, calling(echo, STREAM) as other:
        with pytest.raises(ZeroDivisionError):
            await stage.talk(one, audio(1), hear=deaf)
        assert (await stage.talk(other, audio(1))).end is ListenEnd.HANGUP


@virtual
async def test_a_caller_who_is_cancelled_leaves_the_others() -> None:
    async with staged() as stage, calling(echo, STREAM) as one, calling(echo, STREAM) as other:
        with trio.move_on_after(0.5):
            await stage.talk(one, audio(10))
        assert one.result is None
        assert (await stage.talk(other, audio(1))).end is ListenEnd.HANGUP
        one.hang_up()
        await one.over()


@real
async def test_many_calls_over_sockets_hear_their_echo_and_measure_round_trips() -> None:
    async with trio.open_nursery() as server:
        answering = Answering(mode=Mode.STREAMING, unread="hold")
        serving = partial(serve, echo, host="127.0.0.1", port=0, answering=answering)
        (listener,) = await server.start(serving)
        verb = attrs.evolve(STREAM, url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/")
        ends = []

        async def place(stage: Stage) -> None:
            async with open_call(ListenTask(verb, ATTRIBUTES)) as call:
                ends.append((await stage.talk(call, b"", hang_up_after=0.2)).end)
                assert call.statistics.audio_received > 0

        async with staged() as stage, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(place, stage)
        assert ends == [ListenEnd.HANGUP] * 3
        assert stage.round_trips.worst > 0
        server.cancel_scope.cancel()


@real
async def test_a_connection_that_is_lost_ends_its_call() -> None:
    async with trio.open_nursery() as server:
        accepted = trio.Event()

        async def reset(call: Call) -> None:
            accepted.set()
            await trio.aclose_forcefully(call.stream)  # type: ignore[arg-type]

        serving = partial(serve, reset, host="127.0.0.1", port=0)
        (listener,) = await server.start(serving)
        verb = attrs.evolve(STREAM, url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/")
        async with staged() as stage, open_call(ListenTask(verb, ATTRIBUTES)) as call:
            result = await stage.talk(call, b"", hang_up_after=20)
        assert result.end is ListenEnd.LOST
        server.cancel_scope.cancel()


@real
async def test_a_call_may_get_the_socket_number_of_one_that_is_closed() -> None:
    async with trio.open_nursery() as server:
        answering = Answering(mode=Mode.STREAMING, unread="hold")
        serving = partial(serve, echo, host="127.0.0.1", port=0, answering=answering)
        (listener,) = await server.start(serving)
        verb = attrs.evolve(STREAM, url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/")
        stage, ends = Stage(), []

        async def talk(call: PlatformCall) -> None:
            ends.append((await stage.talk(call, b"", hang_up_after=0.2)).end)

        async with trio.open_nursery() as nursery:
            async with open_call(ListenTask(verb, ATTRIBUTES)) as first:
                number = first.stream.socket.fileno()  # type: ignore[attr-defined]
                nursery.start_soon(talk, first)
                await wait_all_tasks_blocked()
                await trio.aclose_forcefully(first.stream)
                async with open_call(ListenTask(verb, ATTRIBUTES)) as second:
                    assert second.stream.socket.fileno() == number  # type: ignore[attr-defined]
                    nursery.start_soon(talk, second)
                    await wait_all_tasks_blocked()
                    nursery.start_soon(stage.run)
                    await second.over()
                await first.over()
            nursery.cancel_scope.cancel()
        assert len(ends) == 2
        assert second.result is not None and second.result.end is ListenEnd.HANGUP
        assert second.statistics.audio_received > 0
        server.cancel_scope.cancel()


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_spread_tells_what_a_share_did_not_exceed(times: list[float], share: float) -> None:
    spread = Spread()
    for seconds in times:
        spread.add(seconds)
    bound = spread.below(share) + GRAIN
    assert sum(seconds <= bound for seconds in times) >= share * len(times) - 1e-9
    assert spread.worst == max(times)
    assert any(abs(seconds - spread.below(share)) <= GRAIN for seconds in times)


def test_a_spread_of_nothing_is_none() -> None:
    spread = Spread()
    assert not spread and (spread.below(0.5), spread.worst) == (0, 0)
