"""A menu on trio, by keys: plays a prompt, waits for a key, answers it, and hangs up.

Set up the verb with ``"passDtmf": true``. Tones stand in for recorded prompts.
"""

import logging
import sys

import trio

from listenproto import Dtmf, Mode, PlayAudio
from listenproto._l16 import beep
from listenproto_trio import Answering, Call, Outcome, Playback, serve

RATE = 8000
PROMPT = beep(RATE) * 6
ANSWERS = {"1": beep(RATE), "2": beep(RATE) * 2}
GOODBYE = beep(RATE) * 3
PATIENCE = 5.0  # seconds of silence behind the prompt, until it is played again


async def menu(call: Call) -> None:
    for _ in range(3):
        key = await asked(call)
        if key in ANSWERS and await answered(call, ANSWERS[key]):
            break
    await call.play(PlayAudio(GOODBYE, sample_rate=RATE))
    await call.drain()
    await call.disconnect()  # the listen ends, the next verb of the application runs
    async for _ in call:
        pass


async def asked(call: Call) -> str | None:
    """Play the prompt, until a key is pressed; None where none is."""
    prompt = await call.play(PlayAudio(PROMPT, sample_rate=RATE))
    key = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up, prompt, nursery.cancel_scope)
        key = await key_pressed(call)
        nursery.cancel_scope.cancel()
    if prompt.outcome is None:  # it plays still: what comes next is not to wait behind it
        await call.kill_audio(guard=0.1)
    return key


async def give_up(prompt: Playback, waiting: trio.CancelScope) -> None:
    await prompt.wait()
    await trio.sleep(PATIENCE)
    waiting.cancel()


async def key_pressed(call: Call) -> str | None:
    """The next key; None at the end of the call."""
    async for event in call:
        if isinstance(event, Dtmf):
            return event.digit
    return None


async def answered(call: Call, pcm: bytes) -> bool:
    """Play an answer; whether the caller heard it to its end."""
    answer = await call.play(PlayAudio(pcm, sample_rate=RATE))
    return await answer.wait() is Outcome.PLAYED


async def main(port: int) -> None:
    await serve(menu, host="127.0.0.1", port=port, answering=Answering(mode=Mode.CLIPS))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    trio.run(main, int(sys.argv[1]))
