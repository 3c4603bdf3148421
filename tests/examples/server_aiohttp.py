"""The core behind aiohttp's WebSocket: an app that echoes."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import WSMessage, WSMsgType, web

from listenproto import (
    AppEvent,
    AppSession,
    Audio,
    HandshakePolicy,
    Mode,
    Reject,
    RemoteProtocolError,
    Request,
    judge_request,
)


async def echo(request: web.Request) -> web.StreamResponse:
    headers = tuple((name.lower(), value) for name, value in request.headers.items())
    verdict = judge_request(Request(request.path_qs, headers), HandshakePolicy())
    if isinstance(verdict, Reject):
        return web.Response(status=verdict.status, text=verdict.reason, headers=verdict.headers)
    websocket = web.WebSocketResponse(
        protocols=[verdict.subprotocol] if verdict.subprotocol else [],
        autoclose=False,  # it would answer each close with 1000
        compress=False,  # audio costs much and gains little
        heartbeat=20.0,  # without it, who has vanished is waited for
        max_msg_size=2**24,
    )
    await websocket.prepare(request)
    session = AppSession(mode=Mode.STREAMING)
    while not session.ended:
        message = await websocket.receive()
        try:
            for event in read(session, message):
                if isinstance(event, Audio):
                    session.send(event)
        except RemoteProtocolError as error:
            session.close(error.close_code, str(error))
        await write(websocket, session)
        if message.type is WSMsgType.CLOSE:
            await websocket.close(code=message.data or 1000)
    return websocket


def read(session: AppSession, message: WSMessage) -> Sequence[AppEvent]:
    if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
        return session.receive(message.data)
    if message.type is WSMsgType.CLOSE:
        return session.closed(message.data or 1005, message.extra or "")
    return session.connection_lost()


async def write(websocket: web.WebSocketResponse, session: AppSession) -> None:
    with suppress(ConnectionError):  # receive() tells of it as well
        for payload in session.outgoing():
            if isinstance(payload, bytes):
                await websocket.send_bytes(payload)
            elif isinstance(payload, str):
                await websocket.send_str(payload)
            else:
                await websocket.close(code=payload.code, message=payload.reason.encode())


async def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("listening on port", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
