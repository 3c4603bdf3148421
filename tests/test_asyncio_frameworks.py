"""Calls on asyncio behind FastAPI's Starlette, aiohttp and websockets, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import aiohttp
import pytest
from aiohttp import web
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server as WebsocketsServer
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConcurrencyError, ConnectionClosed, InvalidStatus

from listenproto import (
    SUBPROTOCOL,
    SUBPROTOCOLS,
    Answering,
    Audio,
    CallEnded,
    Closed,
    EndKind,
    HandshakePolicy,
    Mode,
    basic_credentials,
)
from listenproto._limits import Limits
from listenproto.asyncio import Call, answer, websockets_options
from tests.framework_support import (
    ACCEPTED,
    HOST,
    SERVERS,
    Server,
    asgi,
    dialled,
    on_aiohttp,
    on_legacy_websockets,
    on_uvicorn,
    on_websockets,
    real,
)

pytestmark = pytest.mark.filterwarnings("ignore:websockets.*legacy:DeprecationWarning")

METADATA: Final = '{"callSid": "c1"}'
STREAMING: Final = Answering(mode=Mode.STREAMING)

each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS.keys())


class Handled:
    """A handler, and how its calls ended."""

    def __init__(self, handle: Callable[[Call], Awaitable[None]]) -> None:
        self._handle = handle
        self.calls: list[Call] = []
        self.done = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        try:
            await self._handle(call)
        finally:
            self.done.set()


async def echo(call: Call) -> None:
    async for event in call:
        if isinstance(event, Audio):
            await call.send_audio(event.pcm)


async def say_and_go(call: Call) -> None:
    await call.send_audio(b"\1\0" * 160)
    await call.mark("m")


async def send_on(send: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        await send(bytes(320))


async def read_out(platform: ClientConnection) -> None:
    """Read all that comes, to the close."""
    async for _ in platform:
        pass


TELLS_CODES: Final = [name for name in SERVERS if not name.startswith("Starlette")]
"""Servers that tell a lost connection from a close."""


@pytest.mark.parametrize("name", SERVERS)
@real
async def test_a_platform_that_closes(name: str) -> None:
    handled = Handled(echo)
    async with SERVERS[name](handled, STREAMING) as port:
        async with dialled(port) as platform:
            assert platform.subprotocol == SUBPROTOCOL
            await platform.send(METADATA)
            for number in range(100):
                await platform.send(bytes([number, 0]))
                assert await platform.recv() == bytes([number, 0])
            await platform.close(3000, "enough")
            answered = 1000 if name == "aiohttp that answers closes" else 3000
            assert platform.close_code == answered
        await handled.done.wait()
    assert handled.calls[0].closed == Closed(3000, "enough", clean=True)


@each_server
@real
async def test_a_handler_that_returns(server: Server) -> None:
    handled = Handled(say_and_go)
    async with server(handled, STREAMING) as port, dialled(port) as platform:
        await platform.send(METADATA)
        assert await platform.recv() == b"\1\0" * 160
        assert await platform.recv() == '{"type":"mark","data":{"name":"m"}}'
        with pytest.raises(ConnectionClosed):
            await platform.recv()
        assert platform.close_code == 1000
    assert handled.calls[0].closed == Closed(1000, "", clean=True)


@each_server
@real
async def test_a_close_that_meets_audio_in_mid_flight(server: Server) -> None:
    """Its answer stands behind what nobody reads any more."""
    handled = Handled(say_and_go)
    async with server(handled, STREAMING) as port, dialled(port) as platform:
        await platform.send(METADATA)
        with suppress(ConnectionClosed):
            for _ in range(500):
                await platform.send(bytes(320))
        await read_out(platform)
        assert platform.close_code == 1000
    assert handled.calls[0].closed == Closed(1000, "", clean=True)


@pytest.mark.parametrize("name", SERVERS)
@real
async def test_a_platform_that_vanishes(name: str) -> None:
    async def say(call: Call) -> None:
        with pytest.raises(CallEnded, match=r"connection lost|closed with 1005"):
            await send_on(call.send_audio)

    handled = Handled(say)
    async with SERVERS[name](handled, STREAMING) as port:
        async with dialled(port) as platform:
            await platform.send(METADATA)
            await platform.recv()
            platform.transport.abort()
        await handled.done.wait()
    closed = handled.calls[0].closed
    assert closed is None or not closed.clean or name not in TELLS_CODES


@pytest.mark.parametrize("name", SERVERS)
@real
async def test_a_block_that_is_cancelled(name: str) -> None:
    async def leave(call: Call) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await anext(call)

    async with SERVERS[name](Handled(leave), STREAMING) as port, dialled(port) as platform:
        await platform.send(METADATA)
        with pytest.raises(ConnectionClosed):
            await platform.recv()
        assert platform.close_code == (1001 if name.startswith("Starlette") else 1006)


@each_server
@real
async def test_a_platform_that_never_answers_a_close(server: Server) -> None:
    answering = Answering(mode=Mode.STREAMING, limits=Limits(close_time=0.1))
    handled = Handled(say_and_go)
    async with server(handled, answering) as port, dialled(port) as platform:
        platform.transport.pause_reading()  # nor does it read
        await platform.send(METADATA)
        await handled.done.wait()
        call = handled.calls[0]
        await call.runtime.until(lambda: call.core.link.over)
        platform.transport.abort()


@each_server
@real
async def test_what_the_call_knows_of_its_connection(server: Server) -> None:
    knows: list[tuple[str, str | None, str | None]] = []

    async def look(call: Call) -> None:
        knows.append((call.request.target, call.request.header("x-trunk"), call.peer))

    options = {"additional_headers": {"X-Trunk": "n\u00f6rth"}}
    async with server(look, STREAMING) as port:
        path = "/call%20me?id=7&x=%C3%A9"
        async with dialled(port, path, offer=["x", "audio.drachtio.org"], **options) as platform:
            assert platform.subprotocol == "audio.drachtio.org"
            address = "{}:{}".format(*platform.local_address)
            await platform.send(METADATA)
            with pytest.raises(ConnectionClosed):
                await platform.recv()
    ((target, trunk, peer),) = knows
    assert (target, peer) == (path, address)
    assert trunk == "n\u00f6rth"


JUDGING: Final = {name: one for name, one in SERVERS.items() if "legacy" not in name}
each_judge = pytest.mark.parametrize("server", JUDGING.values(), ids=JUDGING.keys())
POLICY: Final = HandshakePolicy(
    paths=["/listen"], credentials=("user", "secret"), health_path="/health", max_calls=1
)
AUTHORIZED: Final = {"Authorization": basic_credentials("user", "secret")}


@each_judge
@real
async def test_requests_are_refused_as_serve_does(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    handled = Handled(echo)

    async def refused(path: str, offer: str, headers: dict[str, str]) -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as refusal:
            async with dialled(port, path, offer=[offer], additional_headers=headers):
                pass
        response = refusal.value.response
        assert response.body is not None
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        if response.status_code == 401:
            assert response.headers["WWW-Authenticate"].startswith('Basic realm="listen"')
        return response.status_code, response.body.decode()

    answering = Answering(mode=Mode.STREAMING, policy=POLICY)
    async with server(handled, answering) as port:
        assert await refused("/other", SUBPROTOCOL, AUTHORIZED) == (
            404,
            "This server has no path /other; check the URL.\n",
        )
        assert await refused("/listen?a", SUBPROTOCOL, {}) == (
            401,
            "Wrong or missing credentials.\n",
        )
        assert await refused("/listen", "chat", AUTHORIZED) == (
            400,
            "Subprotocols offered: chat; supported: audio.jambonz.org and audio.drachtio.org.\n",
        )
        assert handled.calls == []
        async with dialled(port, "/listen", additional_headers=AUTHORIZED) as platform:
            await platform.send(METADATA)
            await platform.send(b"\1\0")
            assert await platform.recv() == b"\1\0"
            assert await refused("/listen", SUBPROTOCOL, AUTHORIZED) == (
                503,
                "The limit of open calls is reached (1); try again later.\n",
            )
        await handled.done.wait()
    records = [record for record in caplog.records if record.name == "listenproto"]
    if server is not on_websockets:  # which refuses by itself
        assert [getattr(record, "refused_by", None) for record in records] == [
            "LP-HS-12",
            "LP-HS-13",
            "LP-HS-8",
            "LP-HS-9",
            None,
        ]
        assert (
            records[0]
            .getMessage()
            .endswith("answered 404: This server has no path /other; check the URL.")
        )
    assert [record.is_call for record in records][-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", [on_aiohttp, on_websockets])
@real
async def test_a_health_check_is_answered(server: Server) -> None:
    answering = Answering(policy=POLICY)
    async with server(echo, answering) as port, aiohttp.ClientSession() as http:
        async with http.get(f"http://{HOST}:{port}/health") as response:
            assert (response.status, await response.text()) == (200, "OK\n")
        async with http.get(f"http://{HOST}:{port}/listen") as response:
            assert (response.status, response.headers["Upgrade"]) == (426, "websocket")


@real
async def test_no_subprotocol_where_none_is_needed() -> None:
    answering = Answering(mode=Mode.STREAMING, policy=HandshakePolicy(allow_no_subprotocol=True))
    for server in JUDGING.values():
        handled = Handled(say_and_go)
        async with server(handled, answering) as port, dialled(port, offer=[]) as platform:
            assert platform.subprotocol is None
            await platform.send(METADATA)
            await handled.done.wait()


@pytest.mark.parametrize("server", ACCEPTED.values(), ids=ACCEPTED.keys())
@real
async def test_a_websocket_that_the_app_itself_has_accepted(server: Server) -> None:
    """The policy is not used."""
    handled = Handled(echo)
    answering = Answering(mode=Mode.STREAMING, policy=HandshakePolicy(paths=["/other"]))
    async with server(handled, answering) as port, dialled(port) as platform:
        await platform.send(METADATA)
        await platform.send(b"\1\0")
        assert await platform.recv() == b"\1\0"


@pytest.mark.parametrize("server", [on_aiohttp, on_uvicorn])
@real
async def test_a_tap_that_cannot_be_made_is_answered_with_500(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def no_tap(session: object) -> None:
        raise OSError("disk full")

    async with server(echo, Answering(tap=no_tap)) as port:
        with pytest.raises(InvalidStatus, match="500"):
            async with dialled(port):
                pass
    ours, theirs = [record for record in caplog.records if record.exc_info]
    assert ours.getMessage().startswith("connection from 127.0.0.1:")
    assert ours.getMessage().endswith(": this end failed (OSError)")
    assert not ours.is_call  # type: ignore[attr-defined]
    for failure in (ours, theirs):
        assert failure.exc_info is not None
        assert str(failure.exc_info[1]) == "disk full"


@pytest.mark.filterwarnings("ignore:Using `httpx` with")
def test_starlettes_test_client_is_accepted() -> None:
    """It sends a Sec-WebSocket-Key that no server would accept."""
    from starlette.testclient import TestClient  # it warns as it is imported

    handled = Handled(echo)
    client = TestClient(asgi(handled, STREAMING))
    with client.websocket_connect("/", subprotocols=[SUBPROTOCOL]) as platform:
        assert platform.accepted_subprotocol == SUBPROTOCOL
        platform.send_text(METADATA)
        platform.send_bytes(b"\1\0")
        assert platform.receive_bytes() == b"\1\0"
    (call,) = handled.calls
    assert call.request.header("sec-websocket-key") == "testserver=="


LIMITED: Final = Answering(mode=Mode.STREAMING, limits=Limits(message_size=1000))
TOO_LARGE: Final[dict[str, tuple[Server, str]]] = {
    "websockets": (on_websockets, r"frame with 2000 bytes exceeds limit of 1000 bytes"),
    "aiohttp": (partial(on_aiohttp, max_msg_size=1000), r".*limit 1000"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
@real
async def test_a_library_that_closes_by_itself_is_not_the_platform(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, why = TOO_LARGE[name]
    handled = Handled(echo)
    async with server(handled, LIMITED) as port, dialled(port) as platform:
        await platform.send(METADATA)
        await platform.send(bytes(2000))
        with suppress(ConnectionClosed):
            await read_out(platform)
        await handled.done.wait()
    (call,) = handled.calls
    assert call.end is not None
    assert call.end.kind is EndKind.LEFT
    said = rf"this end closed with 1009 \({why}\)"
    assert re.fullmatch(rf"the call is over: {said}", call.how_it_ended())
    (record,) = [one for one in caplog.records if one.name == "listenproto"]
    assert record.levelno == logging.WARNING
    assert re.match(rf"call c1 from \S+: {said}; ", record.getMessage())


@real
async def test_frames_that_break_the_protocol_close_at_this_end() -> None:
    for server in (on_websockets, on_legacy_websockets, on_aiohttp):
        handled = Handled(echo)
        async with server(handled, STREAMING) as port, dialled(port) as platform:
            await platform.send(METADATA)
            platform.transport.write(b"\xff\xff\xff\xff" * 10)
            with suppress(ConnectionClosed):
                await platform.recv()
            await handled.done.wait()
        assert "this end closed with 1002" in handled.calls[0].how_it_ended()


@real
async def test_a_server_that_closes_is_not_the_platform() -> None:
    handled = Handled(echo)

    async def endpoint(websocket: ServerConnection) -> None:
        async with answer(websocket, answering=STREAMING) as call:
            await handled(call)

    async def dial(server: WebsocketsServer, port: int) -> None:
        async with dialled(port) as platform:
            await platform.send(METADATA)
            await platform.send(b"\1\0")
            await platform.recv()
            server.close()
            await read_out(platform)
            await handled.done.wait()

    async with websockets_serve(endpoint, HOST, 0, **websockets_options(STREAMING)) as server:
        await dial(server, server.sockets[0].getsockname()[1])
    assert handled.calls[0].how_it_ended() == "the call is over: this end closed with 1001"


async def closed_on_aiohttp(close: Callable[[web.WebSocketResponse], Awaitable[object]]) -> str:
    """How a call on aiohttp ended whose WebSocketResponse was closed by something else."""
    ended = asyncio.get_running_loop().create_future()

    async def endpoint(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse(protocols=SUBPROTOCOLS, heartbeat=0.1)
        async with answer(websocket, request=request, answering=STREAMING) as call:
            await anext(call)
            closing = asyncio.ensure_future(close(websocket))
            assert [event async for event in call if not isinstance(event, Audio)] == []
            ended.set_result(call.how_it_ended())
            await closing
        return websocket

    app = web.Application()
    app.router.add_get("/", endpoint)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    try:
        async with dialled(runner.addresses[0][1]) as platform:
            await platform.send(METADATA)
            await platform.send(b"\1\0")
            if close is not nothing:
                await read_out(platform)
            else:
                platform.transport.pause_reading()
            said: str = await ended
            platform.transport.abort()
            return said
    finally:
        await runner.cleanup()


async def nothing(websocket: web.WebSocketResponse) -> None:
    """It is aiohttp's own heartbeat that ends it."""


@real
async def test_a_websocket_response_that_the_app_closes_says_so() -> None:
    said = await closed_on_aiohttp(lambda websocket: websocket.close(code=1001))
    assert said == (
        "the call is over: connection lost: the WebSocketResponse was closed at this end"
    )


@real
async def test_a_heartbeat_of_aiohttp_without_an_answer_says_so() -> None:
    said = await closed_on_aiohttp(nothing)
    assert said == "the call is over: connection lost: No PONG received after 0.05 seconds"


@real
async def test_aiohttp_needs_its_request_and_subprotocols() -> None:
    failures: list[Exception] = []

    async def endpoint(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        for asked in (None, request):
            try:
                async with answer(websocket, request=asked):
                    pytest.fail("it has begun")
            except (TypeError, ValueError) as exc:
                failures.append(exc)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", endpoint)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    with pytest.raises(InvalidStatus, match="200"):
        async with dialled(runner.addresses[0][1]):
            pass
    await runner.cleanup()
    assert [str(failure) for failure in failures] == [
        "pass request=…, the request that aiohttp has given to its handler",
        "the WebSocketResponse does not select audio.jambonz.org; make it with"
        " protocols=SUBPROTOCOLS",
    ]


@real
async def test_a_message_that_someone_else_sends_is_finished_first() -> None:
    begun, followed = asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"\2\0"
        begun.set()
        await followed.wait()
        yield b"\3\0"

    async def endpoint(websocket: ServerConnection) -> None:
        async with answer(websocket, answering=STREAMING) as call:
            other = asyncio.create_task(websocket.send(parts()))
            await begun.wait()
            await call.send_audio(b"\1\0")
            followed.set()
            await other

    serving = websockets_serve(endpoint, HOST, 0, **websockets_options(STREAMING))
    async with serving as server, dialled(server.sockets[0].getsockname()[1]) as platform:
        await platform.send(METADATA)
        assert [message async for message in platform] == [b"\2\0\3\0", b"\1\0"]


@real
async def test_another_reader_of_the_connection_is_heard_of() -> None:
    failures: list[Exception] = []

    async def endpoint(websocket: ServerConnection) -> None:
        try:
            async with answer(websocket, answering=STREAMING) as call:
                reading = asyncio.create_task(websocket.recv())
                await anext(call)
                await call.send_audio(b"\1\0")
                assert [event async for event in call] == []
        except ConcurrencyError as exc:
            failures.append(exc)
        with pytest.raises(ConnectionClosed):
            await reading

    async def dial(port: int) -> None:
        async with dialled(port) as platform:
            await platform.send(METADATA)
            await platform.send(b"\1\0")
            await read_out(platform)

    async with websockets_serve(endpoint, HOST, 0, **websockets_options(STREAMING)) as server:
        with suppress(ConnectionClosed):
            await dial(server.sockets[0].getsockname()[1])
    assert len(failures) == 1
