"""The last word of an end arrives, also at another end that does not stop sending."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
from trio.testing import (
    lockstep_stream_one_way_pair,
    memory_stream_one_way_pair,
    memory_stream_pair,
)

from listenproto import Closed, ListenTask
from listenproto_trio import Answering, Call, Limits, open_call, serve, serve_stream
from listenproto_trio._carriers import READ_OUT
from tests.trio_support import (
    ATTRIBUTES,
    STREAM,
    bare_app,
    bare_platform,
    identities,
    real,
    virtual,
)

HOST = "127.0.0.1"
BAD_FRAME = b"\xff\x80mask"
MUCH = bytes(2**22)


async def read_on(call: Call) -> None:
    async for _ in call:
        pass


@asynccontextmanager
async def connected(tls: bool) -> AsyncIterator[trio.abc.Stream]:
    """A platform's connection with a server on loopback."""
    server, client = identities()
    async with trio.open_nursery() as nursery:
        options = {"port": 0, "host": HOST, "ssl_context": server if tls else None}
        (listener,) = await nursery.start(partial(serve, read_on, **options))
        stream: trio.abc.Stream = await trio.open_tcp_stream(HOST, listener.socket.getsockname()[1])
        if tls:
            stream = trio.SSLStream(stream, client, server_hostname="app.example")
        async with stream:
            yield stream
        nursery.cancel_scope.cancel()


async def to_the_end(stream: trio.abc.Stream) -> bytes:
    """What comes until the end, which is no reset. TLS has no end of its own while data comes."""
    came = b""
    try:
        async for data in stream:
            came += data
    except trio.BrokenResourceError as exc:
        assert isinstance(exc.__cause__, ssl.SSLEOFError)
    return came


@pytest.mark.parametrize("tls", [False, True])
@real
async def test_a_close_reaches_a_platform_that_sends_on(tls: bool) -> None:
    async with connected(tls) as stream:
        platform = await bare_platform(stream)
        await platform.say('{"callSid":"c"}')
        await stream.send_all(BAD_FRAME + MUCH)
        closed = await platform.closing()
        assert (closed.code, closed.clean) == (1002, True)
        assert await to_the_end(stream) == b""


@pytest.mark.parametrize("tls", [False, True])
@real
async def test_a_refusal_reaches_a_client_that_sends_on(tls: bool) -> None:
    async with connected(tls) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + MUCH)
        assert (await to_the_end(stream)).startswith(b"HTTP/1.1 426 ")


@real
async def test_a_close_reaches_an_app_that_sends_on() -> None:
    closed: list[Closed] = []
    ended = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        app = await bare_app(stream)
        await stream.send_all(b"\xff\x00" + MUCH)
        closed.append(await app.closing())
        assert await to_the_end(stream) == b""
        ended.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        port = listener.socket.getsockname()[1]
        task = ListenTask(attrs.evolve(STREAM, url=f"ws://{HOST}:{port}/"), ATTRIBUTES)
        async with open_call(task):
            await ended.wait()
        nursery.cancel_scope.cancel()
    assert [(one.code, one.clean) for one in closed] == [(1002, True)]


@virtual
async def test_who_does_not_close_is_waited_for_as_long_as_for_a_close() -> None:
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        answering = Answering(limits=Limits(close_time=3.0))
        nursery.start_soon(partial(serve_stream, read_on, app_stream, answering=answering))
        await bare_platform(platform_stream)
        await platform_stream.send_all(BAD_FRAME)
    assert trio.current_time() == 3.0


@virtual
async def test_who_never_stops_is_not_read_for_ever() -> None:
    to_app, at_app = lockstep_stream_one_way_pair()
    to_platform, at_platform = memory_stream_one_way_pair()
    app_stream = trio.StapledStream(to_platform, at_app)
    platform_stream = trio.StapledStream(to_app, at_platform)
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, read_on, app_stream)
        await bare_platform(platform_stream)
        await platform_stream.send_all(BAD_FRAME)
        with suppress(trio.BrokenResourceError):
            while sent < 2 * READ_OUT:
                await platform_stream.send_all(bytes(65536))
                sent += 65536
    assert READ_OUT <= sent < READ_OUT + 2**20
    assert trio.current_time() == 0
