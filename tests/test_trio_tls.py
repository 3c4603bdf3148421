"""A call over TLS, and what becomes of one that cannot be had."""

from __future__ import annotations

import ssl
from functools import partial

import attrs
import pytest
import trio
import trustme

from listenproto import Audio, Closed, ListenTask, ListenVerb, Mode
from listenproto_trio import Answering, Call, CallRejected, Limits, open_call, serve
from tests.trio_support import ATTRIBUTES, CALL_SID, STREAM, audio, real


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client which trusts it."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def secure_verb(listener: trio.SocketListener) -> ListenVerb:
    port = listener.socket.getsockname()[1]
    return attrs.evolve(STREAM, url=f"wss://127.0.0.1:{port}/")


async def echo(call: Call) -> None:
    assert call.metadata.call_sid == CALL_SID
    async for event in call:
        if isinstance(event, Audio):
            await call.send_audio(event.pcm)


@real
async def test_a_call_over_tls(authority: trustme.CA) -> None:
    server, client = contexts(authority)
    answering = Answering(mode=Mode.STREAMING)
    start = partial(serve, echo, port=0, host="127.0.0.1", answering=answering, ssl_context=server)
    heard = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(start)
        task = ListenTask(secure_verb(listener), ATTRIBUTES)
        async with open_call(
            task, ssl_context=client, on_message=lambda message: heard.set()
        ) as call:
            await call.capture(audio(0.02))
            await heard.wait()
            call.hang_up()
            await call.over()
            assert call.transport.closed == Closed(1000, "", clean=True)
        nursery.cancel_scope.cancel()


@real
async def test_a_server_that_is_not_trusted_gets_no_call(authority: trustme.CA) -> None:
    """Without a context, those are trusted that the system trusts."""
    server, _ = contexts(authority)
    start = partial(serve, echo, port=0, host="127.0.0.1", ssl_context=server)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(start)
        task = ListenTask(secure_verb(listener), ATTRIBUTES)
        with pytest.raises(CallRejected, match=r"no TLS with 127\.0\.0\.1: .*verify failed"):
            async with open_call(task):
                raise AssertionError("there is no call")
        nursery.cancel_scope.cancel()


@real
async def test_a_server_that_does_not_speak_tls_gets_no_call() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_tcp, refuse, 0, host="127.0.0.1")
        (listener,) = await nursery.start(start)
        task = ListenTask(secure_verb(listener), ATTRIBUTES)
        with pytest.raises(CallRejected, match=r"no TLS with 127\.0\.0\.1: .*WRONG_VERSION"):
            async with open_call(task):
                raise AssertionError("there is no call")
        nursery.cancel_scope.cancel()


@real
async def test_a_server_that_says_nothing_has_its_time() -> None:
    """That it took the connection makes no difference."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task = ListenTask(secure_verb(listener), ATTRIBUTES)
    async with listener:
        with pytest.raises(CallRejected, match=r"no connection to 127\.0\.0\.1:\d+ within 0.1 s"):
            async with open_call(task, limits=Limits(handshake_time=0.1)):
                raise AssertionError("there is no call")
