"""An agent behind FastAPI: asks the caller to speak, which can be interrupted, then echoes."""

import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI, WebSocket

from listenproto import Answering, Audio, CallEnded, Mode
from listenproto.asyncio import answer

app = FastAPI()
ANSWERING = Answering(mode=Mode.STREAMING)


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    with suppress(CallEnded):
        async with answer(websocket, answering=ANSWERING) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
