"""Where a server listens: ports that processes share, open sockets, certificates that change."""

from __future__ import annotations

import logging
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trustme

from listenproto import Audio, ListenTask, Mode
from listenproto_trio import (
    Answering,
    AppMessage,
    Call,
    CallRejected,
    Certificate,
    open_call,
    serve,
)
from tests.trio_support import ATTRIBUTES, STREAM, audio, real, virtual

HOST = "127.0.0.1"


async def wait(call: Call) -> None:
    async for _ in call:
        pass


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    [HOST, pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="has no IPv6"))],
)
@real
async def test_servers_share_a_port_if_each_says_so(host: str) -> None:
    async with trio.open_nursery() as nursery:
        start = partial(serve, wait, host=host)
        (first,) = await nursery.start(partial(start, port=0, reuse_port=True))
        port = first.socket.getsockname()[1]
        (second,) = await nursery.start(partial(start, port=port, reuse_port=True))
        assert second.socket.getsockname() == first.socket.getsockname()
        with pytest.raises(OSError, match="in use"):
            await serve(wait, host=host, port=port)
        nursery.cancel_scope.cancel()


@real
async def test_a_shared_port_that_is_taken_by_one_who_does_not_share_is_refused() -> None:
    with socket.create_server((HOST, 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(wait, host=HOST, port=taken.getsockname()[1], reuse_port=True)


@real
async def test_calls_come_over_listeners_that_are_open_already() -> None:
    (own,) = await trio.open_tcp_listeners(0, host=HOST)
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        given = await nursery.start(partial(serve, wait, listeners=[own], stop=stop, grace=0))
        assert given == [own]
        verb = attrs.evolve(STREAM, url=f"ws://{HOST}:{own.socket.getsockname()[1]}/")
        async with open_call(ListenTask(verb, ATTRIBUTES)):
            pass
        stop.set()
    assert own.socket.fileno() == -1


@real
async def test_a_server_listens_on_a_unix_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "listen"))
    sock.listen()
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, wait, listeners=[listener]))
        nursery.cancel_scope.cancel()
    assert f"listening on {tmp_path / 'listen'}" in caplog.messages


@pytest.mark.parametrize("given", [{}, {"port": 0, "listeners": []}])
@real
async def test_a_server_needs_one_place_to_listen(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="port or listeners, and not both"):
        await serve(wait, **given)  # type: ignore[arg-type]


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@real
async def test_a_certificate_is_replaced_for_new_connections_alone() -> None:
    authorities = [trustme.CA(), trustme.CA()]
    left = [*authorities]

    def load() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        left.pop(0).issue_cert(HOST).configure_cert(context)  # IndexError after the last one
        return context

    certificate = Certificate(load)
    async with trio.open_nursery() as nursery:
        start = partial(serve, wait, host=HOST, port=0, ssl_context=certificate)
        (listener,) = await nursery.start(start)
        verb = attrs.evolve(STREAM, url=f"wss://{HOST}:{listener.socket.getsockname()[1]}/")
        old, new = (
            partial(open_call, ssl_context=trusting(authority)) for authority in authorities
        )
        async with old(ListenTask(verb, ATTRIBUTES)) as open_one:
            certificate.reload()
            with pytest.raises(CallRejected, match="not trusted"):
                async with old(ListenTask(verb, ATTRIBUTES)):
                    raise AssertionError("the old certificate is still shown")
            async with new(ListenTask(verb, ATTRIBUTES)):
                pass
            with pytest.raises(IndexError):
                certificate.reload()
            async with new(ListenTask(verb, ATTRIBUTES)):
                pass
            await open_one.capture(bytes(320))
            assert open_one.end is None
        nursery.cancel_scope.cancel()


@contextmanager
def no_more_files() -> Iterator[None]:
    """Have this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    with socket.socket() as one:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 1, hard))
        try:
            with suppress(OSError):
                while True:
                    opened.append(os.dup(one.fileno()))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for number in opened:
                os.close(number)


async def echo(call: Call) -> None:
    async for event in call:
        if isinstance(event, Audio):
            await call.send_audio(event.pcm)


@virtual
async def test_without_files_new_connections_wait_and_open_calls_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each minute a line in the log, and no more."""
    heard: list[AppMessage] = []
    async with trio.open_nursery() as nursery:
        answering = Answering(mode=Mode.STREAMING)
        serving = partial(serve, echo, port=0, host=HOST, answering=answering)
        (listener,) = await nursery.start(serving)
        address = listener.socket.getsockname()
        task = ListenTask(attrs.evolve(STREAM, url=f"ws://{HOST}:{address[1]}/"), ATTRIBUTES)
        async with open_call(task, on_message=heard.append) as call:
            with trio.socket.socket() as waiting:
                with no_more_files():
                    await waiting.connect(address)
                    await waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await trio.sleep(90)
                    await call.capture(audio(0.02))
                    await trio.sleep(1)
                    assert heard == [Audio(audio(0.02))]
                assert (await waiting.recv(100)).startswith(b"HTTP/1.1 426 ")
        nursery.cancel_scope.cancel()
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 2
    assert said[0] == said[1]
    assert said[0].startswith("new connections have to wait: Too many open files; raise ")
