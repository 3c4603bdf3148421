"""The core behind the websockets library, on asyncio: an app that echoes."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Head
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from listenproto import (
    Accept,
    AppEvent,
    AppSession,
    Audio,
    Close,
    HandshakePolicy,
    Mode,
    Reject,
    RemoteProtocolError,
    Request,
    judge_request,
)


async def echo(websocket: ServerConnection) -> None:
    session = AppSession(mode=Mode.STREAMING)
    while not session.ended:
        try:
            for event in await read(websocket, session):
                if isinstance(event, Audio):
                    session.send(event)
        except RemoteProtocolError as error:
            session.close(error.close_code, str(error))
        await write(websocket, session)


async def read(websocket: ServerConnection, session: AppSession) -> Sequence[AppEvent]:
    try:
        return session.receive(await websocket.recv())
    except ConnectionClosed as over:
        close = over.rcvd
        return session.closed(close.code, close.reason) if close else session.connection_lost()


async def write(websocket: ServerConnection, session: AppSession) -> None:
    with suppress(ConnectionClosed):  # recv() tells of it as well, behind all that has come
        for payload in session.outgoing():
            if isinstance(payload, Close):
                closing = websocket.close(payload.code, payload.reason)
                await asyncio.gather(closing, read_out(websocket), return_exceptions=True)
            elif websocket.state is State.OPEN:  # else send() waits for the end, unread as it is
                await websocket.send(payload)


async def read_out(websocket: ServerConnection) -> None:
    """The answer to a close is seen only behind what is read."""
    while True:
        await websocket.recv()


def verdict_on(head: Head) -> Accept | Reject:
    headers = tuple((name.lower(), value) for name, value in head.headers.raw_items())
    return judge_request(Request(head.path, headers), HandshakePolicy())


def refuse(websocket: ServerConnection, head: Head) -> Response | None:
    verdict = verdict_on(head)
    if not isinstance(verdict, Reject):
        return None
    response = websocket.respond(verdict.status, verdict.reason)
    response.headers.update(verdict.headers)
    return response


def select(websocket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    verdict = verdict_on(websocket.request) if websocket.request else None
    named = verdict.subprotocol if isinstance(verdict, Accept) else None
    return None if named is None else Subprotocol(named)


async def main(port: int) -> None:
    async with serve(
        echo,
        "127.0.0.1",
        port,
        process_request=refuse,
        select_subprotocol=select,
        compression=None,  # audio costs much and gains little
        max_size=2**24,  # 1 MiB, its default, is 4 s of audio in stereo at 64000 Hz
    ) as server:
        print("listening on port", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
