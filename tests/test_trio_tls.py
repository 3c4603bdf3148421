"""A call over TLS, and what becomes of one that cannot be had."""

from __future__ import annotations

import datetime
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import attrs
import pytest
import trio
import trustme

from listenproto import Audio, Closed, ListenTask, ListenVerb, Mode
from listenproto_trio import Answering, Call, CallRejected, Limits, open_call, serve
from tests.trio_support import ATTRIBUTES, CALL_SID, STREAM, audio, real

HOST = "127.0.0.1"
YESTERDAY = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(
    authority: trustme.CA, name: str = HOST, not_after: datetime.datetime | None = None
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, not_after=not_after).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """That of a client which trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def echo(call: Call) -> None:
    assert call.metadata.call_sid == CALL_SID
    async for event in call:
        if isinstance(event, Audio):
            await call.send_audio(event.pcm)


@asynccontextmanager
async def listening(
    context: ssl.SSLContext, answering: Answering | None = None
) -> AsyncIterator[ListenVerb]:
    """A server that echoes; gives a verb that calls it."""
    start = partial(serve, echo, port=0, host=HOST, answering=answering, ssl_context=context)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(start)
        yield secure_verb(listener)
        nursery.cancel_scope.cancel()


def port_of(verb: ListenVerb) -> int:
    port = urlsplit(verb.url).port
    assert port
    return port


def secure_verb(listener: trio.SocketListener, host: str = HOST) -> ListenVerb:
    port = listener.socket.getsockname()[1]
    return attrs.evolve(STREAM, url=f"wss://{host}:{port}/")


async def call_once(verb: ListenVerb, client: ssl.SSLContext) -> None:
    """A call in which the app echoes."""
    heard = trio.Event()
    async with open_call(
        ListenTask(verb, ATTRIBUTES), ssl_context=client, on_message=lambda message: heard.set()
    ) as call:
        assert call.tls
        await call.capture(audio(0.02))
        await heard.wait()
        call.hang_up()
        await call.over()
        assert call.closed == Closed(1000, "", clean=True)


@real
async def test_a_call_over_tls(authority: trustme.CA) -> None:
    answering = Answering(mode=Mode.STREAMING)
    async with listening(server_context(authority), answering) as verb:
        await call_once(verb, client_context(authority))


BAD_CERTIFICATES = pytest.mark.parametrize(
    ("name", "not_after", "trusted", "why"),
    [
        (HOST, None, False, "certificate not trusted"),
        (HOST, YESTERDAY, True, "the certificate has expired; the server needs a new one"),
        ("app.example", None, True, "the certificate does not match the host"),
    ],
    ids=["not trusted", "expired", "of another name"],
)


@BAD_CERTIFICATES
@real
async def test_a_certificate_that_will_not_do(
    authority: trustme.CA,
    name: str,
    not_after: datetime.datetime | None,
    trusted: bool,
    why: str,
) -> None:
    """Without a context, those are trusted that the system trusts."""
    client = client_context(authority) if trusted else None
    async with listening(server_context(authority, name, not_after)) as verb:
        with pytest.raises(CallRejected, match=rf"^TLS with 127\.0\.0\.1:\d+ failed: {why}") as no:
            async with open_call(ListenTask(verb, ATTRIBUTES), ssl_context=client):
                raise AssertionError("there is no call")
    remedy = "" if trusted else "; pass an ssl_context that trusts its CA"
    assert str(no.value) == no.value.reason + remedy
    assert no.value.kind == (None if trusted else "untrusted")


@BAD_CERTIFICATES
@real
async def test_a_server_is_told_of_its_certificate(
    caplog: pytest.LogCaptureFixture,
    authority: trustme.CA,
    name: str,
    not_after: datetime.datetime | None,
    trusted: bool,
    why: str,
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    client = client_context(authority) if trusted else ssl.create_default_context()

    def connect(port: int) -> None:
        with (
            socket.create_connection((HOST, port), timeout=20) as connection,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            client.wrap_socket(connection, server_hostname=HOST)

    async with listening(server_context(authority, name, not_after)) as verb:
        await trio.to_thread.run_sync(connect, port_of(verb))
        while len(caplog.records) < 2:
            await trio.sleep(0)
    assert re.search("the other end .* this end's certificate", caplog.records[1].getMessage())


@real
async def test_a_server_that_does_not_speak_tls_gets_no_call() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_tcp, refuse, 0, host=HOST)
        (listener,) = await nursery.start(start)
        task = ListenTask(secure_verb(listener), ATTRIBUTES)
        with pytest.raises(
            CallRejected, match=r"TLS with 127\.0\.0\.1:\d+ failed: .*not speak TLS; .* needs ws://"
        ):
            async with open_call(task):
                raise AssertionError("there is no call")
        nursery.cancel_scope.cancel()


@real
async def test_a_server_that_goes_away_in_the_middle_of_the_handshake_gets_no_call() -> None:
    async def leave(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, leave, 0, host=HOST))
        with pytest.raises(CallRejected, match=r"TLS with 127\.0\.0\.1:\d+ failed: .+"):
            async with open_call(ListenTask(secure_verb(listener), ATTRIBUTES)):
                raise AssertionError("there is no call")
        nursery.cancel_scope.cancel()


@real
async def test_a_server_that_says_nothing_has_its_time() -> None:
    """That it took the connection makes no difference."""
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    task = ListenTask(secure_verb(listener), ATTRIBUTES)
    async with listener:
        with pytest.raises(
            CallRejected, match=r"TLS with 127\.0\.0\.1:\d+ failed: no answer within 0.1 s; check"
        ):
            async with open_call(task, limits=Limits(handshake_time=0.1)):
                raise AssertionError("there is no call")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "the other end speaks plain HTTP, but this end has TLS",
        ),
        (b"\0" * 100, "the other end does not speak TLS"),
    ],
    ids=["plain HTTP", "zeros"],
)
@real
async def test_a_platform_that_does_not_speak_tls_costs_nothing_but_a_line(
    caplog: pytest.LogCaptureFixture, authority: trustme.CA, said: bytes, why: str
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    answering = Answering(mode=Mode.STREAMING)
    async with listening(server_context(authority), answering) as verb:
        async with await trio.open_tcp_stream(HOST, port_of(verb)) as stream:
            address = f"{HOST}:{stream.socket.getsockname()[1]}"
            await stream.send_all(said)
            assert b"HTTP" not in b"".join([data async for data in stream])
        await call_once(verb, client_context(authority))
    line = caplog.records[1].getMessage()
    assert line.startswith(f"connection from {address}: connection lost: {why}")
    assert caplog.records[1].peer == address  # type: ignore[attr-defined]


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
@real
async def test_a_platform_that_never_completes_the_tls_handshake_has_the_handshake_time(
    caplog: pytest.LogCaptureFixture, authority: trustme.CA, said: bytes
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    answering = Answering(mode=Mode.STREAMING, limits=Limits(handshake_time=0.1))
    async with (
        listening(server_context(authority), answering) as verb,
        await trio.open_tcp_stream(HOST, port_of(verb)) as stream,
    ):
        if said:
            await stream.send_all(said)
        assert await stream.receive_some() == b""
    assert caplog.records[1].getMessage().endswith(": no upgrade request within 0.1 s")


async def secured_by_trio(context: ssl.SSLContext, stream: trio.SocketStream) -> None:
    """It leaves without an alert, and all was read."""
    secured = trio.SSLStream(stream, context, server_side=True)
    with suppress(trio.BrokenResourceError):
        await secured.do_handshake()
    await trio.aclose_forcefully(secured)


async def secured_by_python(context: ssl.SSLContext, stream: trio.SocketStream) -> None:
    """It resets the connection, as most was left unread."""
    await trio.lowlevel.wait_readable(stream.socket)
    with socket.socket(fileno=os.dup(stream.socket.fileno())) as connection:
        await stream.aclose()
        connection.setblocking(True)
        with pytest.raises(ssl.SSLError, match="HTTP_REQUEST"):
            context.wrap_socket(connection, server_side=True)


@pytest.mark.parametrize("secured", [secured_by_trio, secured_by_python])
@real
async def test_a_tls_server_that_is_called_without_is_suspected_of_it(
    authority: trustme.CA,
    secured: Callable[[ssl.SSLContext, trio.SocketStream], Awaitable[None]],
) -> None:
    async with trio.open_nursery() as nursery:
        answer = partial(secured, server_context(authority))
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        verb = secure_verb(listener)
        verb = attrs.evolve(verb, url=verb.url.replace("wss:", "ws:"))
        with pytest.raises(CallRejected, match=r"lost(: Connection .*)?; is it a wss server\?$"):
            async with open_call(ListenTask(verb, ATTRIBUTES)):
                raise AssertionError("there is no call")
        nursery.cancel_scope.cancel()
