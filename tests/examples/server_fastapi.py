"""Calls behind FastAPI: an app that echoes, and an agent that can be interrupted."""

import asyncio
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI, WebSocket

from listenproto import Answering, Audio, CallEnded, Dtmf, Mode
from listenproto.asyncio import Call, answer

app = FastAPI()
ANSWERING = Answering(mode=Mode.STREAMING)
GREETING = bytes([0, 8] * 40 + [0, 248] * 40) * 300  # L16, 8000 samples a second: 3 s of a tone


@app.websocket("/agent")
async def agent(websocket: WebSocket) -> None:
    with suppress(CallEnded):  # the caller has hung up, or the request was refused
        async with answer(websocket, answering=ANSWERING) as call, asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen(call))
            spoken = await call.speak(GREETING)
            mark = await call.mark("greeted")
            await mark.wait()
            call.log.info("the caller heard %.1f s of the greeting", spoken.heard)
            listening.cancel()


async def listen(call: Call) -> None:
    """Fall silent for a caller who presses a key."""
    async for event in call:
        if call.ahead and isinstance(event, Dtmf):
            await call.kill_audio(guard=0.1)


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    with suppress(CallEnded):
        answering = Answering(mode=Mode.STREAMING, unread="hold")  # an echo loses nothing
        async with answer(websocket, answering=answering) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
