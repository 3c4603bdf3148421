"""Servers of other people's libraries on asyncio, each of which answers calls, and a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial, wraps
from typing import Any, Final, TypeAlias

import uvicorn
import websockets.asyncio.server
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from listenproto import SUBPROTOCOL, SUBPROTOCOLS, Answering, CallEnded
from listenproto.asyncio import Call, answer, websockets_options

HOST: Final = "127.0.0.1"

Handle: TypeAlias = Callable[[Call], Awaitable[None]]
Opened: TypeAlias = AbstractAsyncContextManager[int]
Server: TypeAlias = Callable[[Handle, Answering], Opened]


def real(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on asyncio with real sockets and real time. No task may be left at its end."""

    @wraps(test)
    def run(**fixtures: object) -> None:
        async def limited() -> None:
            async with asyncio.timeout(30):
                await test(**fixtures)

        asyncio.run(limited())

    return run


def asgi(handle: Handle, answering: Answering, *, accept: bool = False) -> Starlette:
    """A Starlette app, with all that FastAPI has of its WebSocket."""

    async def endpoint(websocket: StarletteWebSocket) -> None:
        if accept:
            await websocket.accept(SUBPROTOCOL)
        with suppress(CallEnded):
            async with answer(websocket, answering=answering) as call:
                await handle(call)

    return Starlette(routes=[WebSocketRoute("/{path:path}", endpoint)])


@asynccontextmanager
async def on_uvicorn(
    handle: Handle, answering: Answering, *, ws: Any = "auto", accept: bool = False
) -> AsyncIterator[int]:
    app = asgi(handle, answering, accept=accept)
    config = uvicorn.Config(app, HOST, 0, ws=ws, lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@asynccontextmanager
async def on_aiohttp(
    handle: Handle, answering: Answering, *, accept: bool = False, **options: Any
) -> AsyncIterator[int]:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse(protocols=SUBPROTOCOLS, **options)
        if accept:
            await websocket.prepare(request)
        with suppress(CallEnded):
            asked = None if accept else request
            async with answer(websocket, request=asked, answering=answering) as call:
                await handle(call)
        return websocket

    app = web.Application()
    app.router.add_get("/{path:.*}", endpoint)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def on_websockets(handle: Handle, answering: Answering) -> AsyncIterator[int]:
    async def endpoint(websocket: Any) -> None:
        with suppress(CallEnded):
            async with answer(websocket, answering=answering) as call:
                await handle(call)

    options = websockets_options(answering)
    async with websockets.asyncio.server.serve(endpoint, HOST, 0, **options) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def on_legacy_websockets(handle: Handle, answering: Answering) -> AsyncIterator[int]:
    from websockets.legacy.server import serve

    async def endpoint(websocket: Any) -> None:
        with suppress(CallEnded):
            async with answer(websocket, answering=answering) as call:
                await handle(call)

    names = [Subprotocol(name) for name in SUBPROTOCOLS]
    async with serve(endpoint, HOST, 0, subprotocols=names) as server:
        (listening,) = server.sockets
        yield listening.getsockname()[1]


SERVERS: Final[dict[str, Server]] = {
    "Starlette": on_uvicorn,
    "Starlette on wsproto": partial(on_uvicorn, ws="wsproto"),
    "aiohttp": partial(on_aiohttp, autoclose=False),
    "aiohttp that answers closes": on_aiohttp,
    "websockets": on_websockets,
    "legacy websockets": on_legacy_websockets,
}

ACCEPTED: Final[dict[str, Server]] = {
    "Starlette": partial(on_uvicorn, accept=True),
    "aiohttp": partial(on_aiohttp, accept=True),
}
"""Servers whose own code accepts before it answers."""


@asynccontextmanager
async def dialled(
    port: int, path: str = "/", *, offer: Sequence[str] = (SUBPROTOCOL,), **options: Any
) -> AsyncIterator[ClientConnection]:
    """A platform's WebSocket that has been accepted."""
    url = f"ws://{HOST}:{port}{path}"
    subprotocols = [Subprotocol(name) for name in offer] or None
    async with connect(url, subprotocols=subprotocols, proxy=None, **options) as platform:
        yield platform
