"""A call behind the websockets library: an app that echoes."""

import asyncio
import sys
from contextlib import suppress

from websockets.asyncio.server import ServerConnection, serve

from listenproto import Answering, Audio, CallEnded, Mode
from listenproto.asyncio import answer, websockets_options

ANSWERING = Answering(mode=Mode.STREAMING, unread="hold")  # an echo loses nothing


async def echo(websocket: ServerConnection) -> None:
    with suppress(CallEnded):
        async with answer(websocket, answering=ANSWERING) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)


async def main(port: int) -> None:
    async with serve(echo, "127.0.0.1", port, **websockets_options(ANSWERING)) as server:
        print("listening on port", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
