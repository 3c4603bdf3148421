"""A call behind aiohttp: an app that echoes."""

import asyncio
import sys
from contextlib import suppress

from aiohttp import web

from listenproto import SUBPROTOCOLS, Answering, Audio, CallEnded, Mode
from listenproto.asyncio import answer

ANSWERING = Answering(mode=Mode.STREAMING, unread="hold")  # an echo loses nothing


async def echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(
        protocols=SUBPROTOCOLS,
        autoclose=False,  # it would answer each close with 1000
        compress=False,  # audio costs much and gains little
        heartbeat=20.0,  # without it, who has vanished is waited for
        max_msg_size=2**24,
    )
    with suppress(CallEnded):
        async with answer(websocket, request=request, answering=ANSWERING) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)
    return websocket


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
