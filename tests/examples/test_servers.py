"""The servers, with our platform end and with WebSockets that are not ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from websockets.client import ClientProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from listenproto import SUBPROTOCOL, Close, ListenEnd, ListenVerb, Mode, read_verbs
from listenproto._wire import DEFAULT_MAX_MESSAGE
from listenproto_trio import Key
from listenproto_trio.speech import speech
from tests.example_support import check_echo, program
from tests.interop import (
    DIALS,
    HOST,
    PATIENCE,
    Dial,
    Refused,
    Socket,
    dial_websockets,
    noise,
    place_call,
    trio_test,
    verb,
)

AIOHTTP = ("server_aiohttp", "/")
WEBSOCKETS = ("server_websockets", "/")


@pytest.fixture(
    scope="module",
    params=[
        ("server_trio_websocket", "/"),
        ("server_asyncio", "/"),
        ("server_fastapi", "/echo"),
        AIOHTTP,
        WEBSOCKETS,
        ("application", "/listen"),
    ],
    ids=lambda param: param[0],
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a server runs that all tests share: what one does to it the next would feel."""
    name, path = request.param
    with program(name) as port:
        yield f"ws://{HOST}:{port}{path}"


@pytest.fixture(scope="module")
def asyncio_port() -> Iterator[int]:
    with program("server_asyncio") as port:
        yield port


@pytest.fixture(scope="module")
def application_port() -> Iterator[int]:
    with program("application") as port:
        yield port


platforms = pytest.mark.parametrize("dial", DIALS.values(), ids=DIALS.keys())


@trio_test
async def test_a_server_echoes(url: str) -> None:
    await check_echo(url)


@platforms
@pytest.mark.parametrize("offer", [[], ["ws.jambonz.org"]])
@trio_test
async def test_a_server_refuses(url: str, dial: Dial, offer: list[str]) -> None:
    with pytest.raises(Refused, match="400: Subprotocols offered: "):
        async with dial(url, subprotocols=offer):
            pass


@platforms
@pytest.mark.parametrize(
    ("first", "code"), [(b"\0\0", 1002), ("{", 1007), ('{"sampleRate": 11025}', 1002)]
)
@trio_test
async def test_a_server_closes_on_what_is_no_metadata(
    url: str, dial: Dial, first: str | bytes, code: int
) -> None:
    async with dial(url) as platform:
        await platform.send(first)
        close = await platform.receive()
    assert isinstance(close, Close)
    assert (close.code, bool(close.reason)) == (code, True)


async def converse(platform: Socket) -> None:
    """A short call."""
    await platform.say(callSid="c3a1")
    await platform.send(b"")
    await platform.send(b"\1\0\2")
    await platform.send(b"\0")
    assert await platform.hear_audio() + await platform.hear_audio() == b"\1\0\2\0"


@trio_test
async def test_a_server_answers_a_close(url: str) -> None:
    async with dial_websockets(url) as platform:
        await converse(platform)
        await platform.close(1001)
        assert await platform.receive() == Close(1001)


@trio_test
async def test_a_server_answers_a_close_that_meets_it_in_mid_flight(url: str) -> None:
    async with dial_websockets(url) as platform:
        await platform.say(callSid="c3a1")
        for _ in range(500):
            await platform.send(noise(160))
        await platform.close(1001)
        *said, close = await platform.hear_out()
    assert close == Close(1001)
    audio = [piece for piece in said if isinstance(piece, bytes)]
    assert audio == said
    assert (500 * noise(160)).startswith(b"".join(audio))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([], id="at once"),
        pytest.param(["{}"], id="after the metadata"),
        pytest.param(["{}", *500 * [noise(4000)]], id="while it is spoken to"),
    ],
)
@trio_test
async def test_a_server_survives_a_platform_that_vanishes(
    url: str, said: list[str | bytes]
) -> None:
    async with dial_websockets(url) as platform:
        for payload in said:
            await platform.send(payload)
        await trio.to_thread.run_sync(platform.ws.close_socket)
    async with dial_websockets(url) as platform:
        await converse(platform)


@contextmanager
def raw_dial(url: str) -> Iterator[tuple[ClientProtocol, socket.socket]]:
    """A WebSocket of which nothing is read and written but by the test."""
    server_at = urlsplit(url)
    protocol = ClientProtocol(parse_uri(url), subprotocols=[Subprotocol(SUBPROTOCOL)])
    protocol.send_request(protocol.connect())
    address = server_at.hostname, server_at.port
    with socket.create_connection(address, timeout=PATIENCE) as platform:
        platform.sendall(b"".join(protocol.data_to_send()))
        while not protocol.events_received():
            protocol.receive_data(platform.recv(65536))
        yield protocol, platform


@trio_test
async def test_a_server_ends_what_it_has_closed(url: str) -> None:
    """Also where it was spoken to meanwhile, and sees the answer to its close behind that."""
    with raw_dial(url) as (protocol, platform):
        protocol.send_text(b"{")
        for _ in range(100):
            protocol.send_binary(noise(160))
        platform.sendall(b"".join(protocol.data_to_send()))
        while not protocol.close_expected():
            protocol.receive_data(platform.recv(65536))
        with suppress(ConnectionResetError):  # an end as well
            platform.sendall(b"".join(protocol.data_to_send()))
            while platform.recv(65536):
                pass
        assert protocol.close_rcvd is not None
        assert protocol.close_rcvd.code == 1007


@trio_test
async def test_a_server_survives_a_platform_that_listens_to_nothing(url: str) -> None:
    with raw_dial(url) as (protocol, deaf):
        protocol.send_text(b"{}")
        deaf.setblocking(False)
        message = noise(4000)
        with suppress(BlockingIOError):
            for _ in range(10_000):  # more than the network holds
                protocol.send_binary(message)
                deaf.sendall(b"".join(protocol.data_to_send()))
    async with dial_websockets(url) as platform:
        await converse(platform)


@trio_test
async def test_a_server_keeps_up_with_a_burst(url: str) -> None:
    burst = noise(1_000_000)

    async def send(platform: Socket) -> None:
        for start in range(0, len(burst), 65536):
            await platform.send(burst[start : start + 65536])

    async with dial_websockets(url) as platform:
        await platform.say(callSid="c3a1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, platform)
            back = bytearray()
            while len(back) < len(burst):
                back += await platform.hear_audio()
    assert back == burst


@pytest.mark.parametrize("url", [AIOHTTP, WEBSOCKETS], ids=["aiohttp", "websockets"], indirect=True)
@trio_test
async def test_a_server_takes_messages_as_large_as_ours_do(url: str) -> None:
    large = noise(DEFAULT_MAX_MESSAGE // 2 - 1)
    async with dial_websockets(url, max_size=None) as platform:
        await platform.say(callSid="c3a1")
        await platform.send(large)
        assert await platform.hear() == large


@pytest.mark.parametrize("keys", [[], [Key("5", at=1.0)]], ids=["to its end", "interrupted"])
@trio_test
async def test_fastapi_agent(keys: list[Key]) -> None:
    """The greeting is heard, until the caller presses a key; then the app leaves."""
    with program("server_fastapi") as port:
        placed = await place_call(
            verb(f"ws://{HOST}:{port}/agent", Mode.STREAMING, pass_dtmf=True), keys=keys
        )
    assert placed.result.end is ListenEnd.APP_CLOSED
    assert placed.breaches() == []
    heard = len(placed.audio) / 16000
    assert (heard == 3.0) is not bool(keys)
    assert heard > 0


@pytest.mark.parametrize("keys", [[], [Key("#", at=0.5)]], ids=["hang-up", "key"])
@trio_test
async def test_application(application_port: int, keys: list[Key]) -> None:
    """A whole call: its webhook, the listen, its actionHook."""
    server = f"http://{HOST}:{application_port}"
    async with httpx.AsyncClient(base_url=server, trust_env=False) as http:
        answer = await http.post("/call", json={"call_sid": "c3a1", "from": "+15550100"})
        assert answer.headers["content-type"] == "application/json"
        say, listen = read_verbs(answer.content)
        assert isinstance(say, Mapping)
        assert isinstance(listen, ListenVerb)
        assert say["verb"] == "say"
        assert "+15550100" in say["text"]
        placed = await place_call(
            listen.resolve(str(answer.url)),
            speech(),
            keys=keys,
            until=lambda placed: len(placed.audio) >= len(speech()),
        )
        assert placed.result.end is (ListenEnd.KEY if keys else ListenEnd.HANGUP)
        assert speech().startswith(placed.audio[: len(speech())])
        assert placed.breaches() == []
        assert isinstance(listen.action_hook, str)
        answer = await http.post(listen.action_hook, json=placed.result.action_hook())
        say, hangup = read_verbs(answer.content)
        assert isinstance(say, Mapping)
        assert f" {placed.result.duration} " in say["text"]
        assert hangup == {"verb": "hangup"}


@pytest.mark.parametrize("hook", ["/call", "/done"])
@trio_test
async def test_application_refuses_what_is_no_webhook(application_port: int, hook: str) -> None:
    async with httpx.AsyncClient(
        base_url=f"http://{HOST}:{application_port}", trust_env=False
    ) as http:
        answer = await http.post(hook, content=b"{")
        assert answer.status_code == 400
        assert answer.text.startswith("body must be a JSON object; it is not valid JSON: ")
        assert (await http.get(hook)).status_code == 405


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n", b"HTTP/1.1 426 "),
        (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b"HTTP/1.1 400 "),
        (b"", b""),
    ],
)
@trio_test
async def test_server_asyncio_answers_who_speaks_no_websocket(
    asyncio_port: int, said: bytes, answer: bytes
) -> None:
    async with await trio.open_tcp_stream(HOST, asyncio_port) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        heard = b"".join([piece async for piece in stream])
    assert heard.startswith(answer)
    assert bool(heard) == bool(answer)
