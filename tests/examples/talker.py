"""The voice of an agent on trio: speaks at the pace of playout, and stops when interrupted.

The built-in speech stands in for a speech synthesizer; anything loud counts as the caller speaking.
"""

import logging
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial

import trio
from trio import sleep

from listenproto import Answering, Audio, BidirectionalAudio, Dtmf, ListenVerb, Outcome
from listenproto._l16 import peak
from listenproto_trio import Call, serve
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
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, call)
        await say(call)
        nursery.cancel_scope.cancel()
    call.log.info("%.1f s late at the worst", call.statistics.worst_lateness)


async def main(port: int) -> None:
    """Take calls until SIGTERM, then let those that run have ten seconds."""
    stop = trio.Event()
    start = partial(serve, talk, host="127.0.0.1", port=port, answering=Answering(verb=VERB))
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(start, stop=stop, grace=10))
            async for _ in signals:
                stop.set()
                break


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    trio.run(main, int(sys.argv[1]))
