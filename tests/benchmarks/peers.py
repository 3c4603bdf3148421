"""Servers that send back the audio of every call: python -m tests.benchmarks.peers NAME PORT

Each does what its library's documentation shows first, without compression and without a log line
for each call. A library is imported when its server starts.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from listenproto import SUBPROTOCOL, SUBPROTOCOLS, Answering, Audio, CallEnded, Close, Mode
from listenproto.asyncio import answer, websockets_options
from listenproto_trio import Call, serve

if TYPE_CHECKING:
    from aiohttp import web
    from picows import WSUpgradeRequest
    from websockets.asyncio.server import ServerConnection

__all__ = ["PEERS"]

HOST: Final = "127.0.0.1"
ANSWERING: Final = Answering(mode=Mode.STREAMING)


def listenproto_trio(port: int) -> None:
    async def echo(call: Call) -> None:
        async for event in call:
            if isinstance(event, Audio):
                await call.send_audio(event.pcm)

    serving = partial(serve, echo, host=HOST, port=port, reuse_port=True, answering=ANSWERING)
    trio.run(serving)


async def _echo(websocket: Any, request: Any = None) -> None:
    """A call on another library's WebSocket."""
    with suppress(CallEnded):
        async with answer(websocket, request=request, answering=ANSWERING) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)


def listenproto_websockets(port: int) -> None:
    from websockets.asyncio.server import serve

    async def main() -> None:
        options = websockets_options(ANSWERING)
        async with serve(_echo, HOST, port, reuse_port=True, **options):
            await asyncio.Event().wait()

    asyncio.run(main())


def listenproto_aiohttp(port: int) -> None:
    from aiohttp import web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(protocols=SUBPROTOCOLS, autoclose=False, compress=False)
        await _echo(websocket, request)
        return websocket

    asyncio.run(_serve_aiohttp(echo, port))


async def _serve_aiohttp(handler: Callable[["web.Request"], Any], port: int) -> None:
    from aiohttp import web

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


def listenproto_picows(port: int) -> None:
    from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

    class WebSocket(WSListener):
        """A connection of picows with the methods that :func:`answer` needs."""

        transport: WSTransport

        def __init__(self) -> None:
            self.received: asyncio.Queue[str | bytes | Close] = asyncio.Queue()
            self.writable = asyncio.Event()
            self.writable.set()

        def on_ws_connected(self, transport: WSTransport) -> None:
            self.transport = transport
            self.running = asyncio.ensure_future(_echo(self))

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is WSMsgType.BINARY:
                self.received.put_nowait(frame.get_payload_as_bytes())
            elif frame.msg_type is WSMsgType.TEXT:
                self.received.put_nowait(frame.get_payload_as_utf8_text())
            elif frame.msg_type is WSMsgType.CLOSE:
                self.received.put_nowait(Close(int(frame.get_close_code().value)))
                if not transport.is_close_frame_sent:
                    transport.send_close(frame.get_close_code())
                transport.disconnect()

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            self.received.put_nowait(Close(1006))

        def pause_writing(self) -> None:
            self.writable.clear()

        def resume_writing(self) -> None:
            self.writable.set()

        async def receive(self) -> str | bytes | Close:
            return await self.received.get()

        async def send(self, payload: str | bytes) -> None:
            kind = WSMsgType.TEXT if isinstance(payload, str) else WSMsgType.BINARY
            self.transport.send(kind, payload)
            await self.writable.wait()

        async def close(self, code: int, reason: str) -> None:
            try:
                self.transport.send_close(WSCloseCode(code), reason.encode())
                await self.transport.wait_disconnected()
            finally:
                self.transport.disconnect(graceful=False)

    _serve_picows(WebSocket, port)


def _serve_picows(listener: Callable[[], Any], port: int) -> None:
    import uvloop
    from picows import WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

    def upgrade(request: "WSUpgradeRequest") -> Any:
        headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        response = WSUpgradeResponse.create_101_response(headers)
        return WSUpgradeResponseWithListener(response, listener())

    async def main() -> None:
        server = await ws_create_server(upgrade, HOST, port, reuse_port=True)
        await server.serve_forever()

    uvloop.run(main())


def trio_websocket(port: int) -> None:
    from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

    async def echo(request: WebSocketRequest) -> None:
        websocket = await request.accept(subprotocol=SUBPROTOCOL)
        with suppress(ConnectionClosed):
            while True:
                message = await websocket.get_message()
                if isinstance(message, bytes):
                    await websocket.send_message(message)

    trio.run(partial(serve_websocket, echo, HOST, port, ssl_context=None))


def websockets(port: int) -> None:
    from websockets.asyncio.server import serve

    async def echo(websocket: "ServerConnection") -> None:
        async for message in websocket:
            if isinstance(message, bytes):
                await websocket.send(message)

    async def main() -> None:
        subprotocols: Any = [SUBPROTOCOL]
        options: Any = {"subprotocols": subprotocols, "compression": None, "reuse_port": True}
        async with serve(echo, HOST, port, **options):
            await asyncio.Event().wait()

    asyncio.run(main())


def fastapi(port: int) -> None:
    import uvicorn
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept(SUBPROTOCOL)
        with suppress(WebSocketDisconnect):
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("bytes"):
                    await websocket.send_bytes(message["bytes"])

    app.websocket("/")(echo)
    # without uvloop, as an install of FastAPI and uvicorn alone
    uvicorn.run(
        app,
        host=HOST,
        port=port,
        loop="asyncio",
        log_level="warning",
        ws_per_message_deflate=False,
    )


def jambonz_sdk(port: int) -> None:
    from jambonz_sdk.websocket import create_endpoint
    from jambonz_sdk.websocket.audio_stream import AudioStream

    def connected(stream: AudioStream) -> None:
        stream.on("audio", stream.send_audio)

    async def main() -> None:
        make_service, _ = await create_endpoint(host=HOST, port=port)
        make_service.audio(path="/").on("connection", connected)
        await asyncio.Event().wait()

    asyncio.run(main())


def picows(port: int) -> None:
    from picows import WSFrame, WSListener, WSMsgType, WSTransport

    class Echo(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is WSMsgType.BINARY:
                transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
            elif frame.msg_type is WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    _serve_picows(Echo, port)


PEERS: Final[dict[str, Callable[[int], None]]] = {
    "listenproto-trio": listenproto_trio,
    "listenproto-websockets": listenproto_websockets,
    "listenproto-picows": listenproto_picows,
    "listenproto-aiohttp": listenproto_aiohttp,
    "trio-websocket": trio_websocket,
    "websockets": websockets,
    "fastapi": fastapi,
    "jambonz-sdk": jambonz_sdk,
    "picows": picows,
}
"""The servers by name; each runs until it is killed."""


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    if sys.argv[1] not in PEERS:
        raise SystemExit(f"there is no server of that name: {sys.argv[1]}; use one of {[*PEERS]}")
    PEERS[sys.argv[1]](int(sys.argv[2]))
