"""How a connection is driven on trio: who waits reads, and is woken for what is no message."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from listenproto_trio import Answering, Call, serve_stream
from listenproto_trio._carriers import StreamCarrier
from tests.trio_support import STREAM, bare_platform, real, virtual, when_stuck

PIECE = bytes(320)
MUCH = bytes(1 << 20)
"""More than a socket takes at once."""


def socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    here, there = trio.socket.socketpair()
    return trio.SocketStream(here), trio.SocketStream(there)


@virtual
async def test_a_task_that_has_waited_and_sends_and_sends_lets_others_run() -> None:
    turns, between = 0, 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def handler(call: Call) -> None:
        nonlocal between
        async for _ in call:
            before = turns
            for _ in range(40):
                await call.send_audio(PIECE)
            between = turns - before
            return

    here, there = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_stream(handler, here, answering=Answering(verb=STREAM)))
        platform = await bare_platform(there)
        nursery.start_soon(count)
        await platform.say('{"sampleRate": 8000, "mixType": "mono"}', PIECE)
        await platform.closing()
        nursery.cancel_scope.cancel()
    assert between > 30


@real
async def test_a_task_that_reads_a_socket_is_woken_while_another_writes() -> None:
    here, there = socket_pair()
    carrier = StreamCarrier(here)
    received = b""
    async with here, there, trio.open_nursery() as nursery:
        nursery.start_soon(carrier.send, MUCH)
        nursery.start_soon(when_stuck, carrier.wake)
        assert await carrier.receive() is None
        while len(received) < len(MUCH):
            received += await there.receive_some()
        await there.send_all(b"more")
        assert await carrier.receive() == b"more"
    assert received == MUCH


@real
async def test_a_socket_that_is_closed_ends_what_waits_for_it() -> None:
    here, there = socket_pair()
    carrier = StreamCarrier(here)

    async def write() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await carrier.send(MUCH)

    async with there, trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(when_stuck, here.socket.close)
        assert await carrier.receive() == b""
    carrier.wake()
    assert await carrier.receive() == b""
