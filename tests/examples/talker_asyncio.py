"""The same agent on asyncio, behind FastAPI: speaks at the pace of playout, and can be interrupted.

But for imports and start-up it is the one on trio.
"""

import asyncio
import logging
import sys
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import suppress

import uvicorn
from fastapi import FastAPI, WebSocket

from listenproto import Answering, Audio, BidirectionalAudio, CallEnded, Dtmf, ListenVerb, Outcome
from listenproto._l16 import peak
from listenproto.asyncio import Call, answer
from listenproto_trio.speech import speech

LOUD = 3000  # of 32768; a real agent asks a voice activity detector

VERB = ListenVerb(  # what the application answers the call with: mode and rate follow from it
    url="/",
    pass_dtmf=True,
    bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=8000),
)


async def say(call: Call) -> None:
    """Say it, over and over until it was heard to its end; then go."""
    outcome = None
    while outcome is not Outcome.PLAYED:
        if await call.speak(synthesized()):
            mark = await call.mark("said")
            outcome = await mark.wait()
        else:
            call.log.info("interrupted")
            await sleep(0.5)


async def listen(call: Call) -> None:
    """Fall silent for a caller who speaks or presses a key, whatever is being said."""
    async for event in call:
        loud = isinstance(event, Audio) and peak(event.pcm) > LOUD
        if call.ahead and (loud or isinstance(event, Dtmf)):
            await call.kill_audio(guard=0.1)


async def synthesized() -> AsyncIterator[bytes]:
    """Speech in the chunks that a synthesizer's HTTP response has: cut anywhere."""
    pcm = speech()
    for start in range(0, len(pcm), 4095):
        await sleep(0)
        yield pcm[start : start + 4095]


async def talk(call: Call) -> None:
    call.log.info("a caller, at %s", call.path)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen(call))
        await say(call)
        listening.cancel()
    call.log.info("%.1f s late at the worst", call.statistics.worst_lateness)


app = FastAPI()


@app.websocket("/")
async def take(websocket: WebSocket) -> None:
    with suppress(CallEnded):  # also if the request was refused
        async with answer(websocket, answering=Answering(verb=VERB)) as call:
            await talk(call)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(app, port=int(sys.argv[1]))
