"""A call over a WebSocket that trio-websocket has accepted: an app that echoes."""

import sys
from contextlib import suppress

import trio
from trio_websocket import WebSocketRequest, serve_websocket

from listenproto import SUBPROTOCOLS, Audio, Mode
from listenproto_trio import Answering, Call, CallEnded, TrioWebSocket

ANSWERING = Answering(mode=Mode.STREAMING)


async def answer(request: WebSocketRequest) -> None:
    known = [name for name in request.proposed_subprotocols if name in SUBPROTOCOLS]
    if not known:
        await request.reject(400, body=b"Subprotocols offered: none that is spoken here.\n")
        return
    websocket = TrioWebSocket(await request.accept(subprotocol=known[0]))
    with suppress(CallEnded):  # the normal end, also where it comes before the metadata
        async with Call.over(websocket, answering=ANSWERING) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)


async def main(port: int) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, answer, "127.0.0.1", port, None)
        print("listening on port", server.port, flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
