"""The core behind FastAPI's WebSocket: an app that echoes."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from starlette.types import Message
from starlette.websockets import WebSocketState

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

app = FastAPI()


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    session = AppSession(mode=Mode.STREAMING)
    if await accept(websocket):
        async for event in events(websocket, session):
            if isinstance(event, Audio):
                session.send(event)


async def accept(websocket: WebSocket) -> bool:
    request = Request(websocket.url.path, tuple(websocket.headers.items()))
    verdict = judge_request(request, HandshakePolicy())
    if isinstance(verdict, Reject):
        refusal = Response(verdict.reason, verdict.status, dict(verdict.headers))
        await websocket.send_denial_response(refusal)
        return False
    await websocket.accept(verdict.subprotocol)
    return True


async def events(websocket: WebSocket, session: AppSession) -> AsyncIterator[AppEvent]:
    """What the platform says; what the session says to it goes out behind each message."""
    while not session.ended:
        message = await websocket.receive()
        try:
            for event in read(session, message):
                yield event
        except RemoteProtocolError as error:
            session.close(error.close_code, str(error))
        if websocket.application_state is WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect):  # receive() tells of it, behind all that has come
                await write(websocket, session)


def read(session: AppSession, message: Message) -> Sequence[AppEvent]:
    if message["type"] == "websocket.disconnect":
        return session.closed(message["code"], message.get("reason") or "")
    text = message.get("text")
    return session.receive(message["bytes"] if text is None else text)


async def write(websocket: WebSocket, session: AppSession) -> None:
    for payload in session.outgoing():
        if isinstance(payload, bytes):
            await websocket.send_bytes(payload)
        elif isinstance(payload, str):
            await websocket.send_text(payload)
        else:
            await websocket.close(payload.code, payload.reason)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
