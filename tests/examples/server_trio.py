"""An app on trio: says back what the caller says, and records it."""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import trio

from listenproto import Audio, Mode
from listenproto_trio import Answering, Call, CallEnded, WavFile, serve


async def echo(call: Call) -> None:
    rate, channels = call.metadata.sample_rate, call.metadata.mix_type.channels
    with WavFile(Path(f"call-{uuid4()}.wav"), rate, channels) as recording:
        async for event in call:
            if isinstance(event, Audio):
                recording.write(event.pcm)
                with suppress(CallEnded):  # what was said before a hang-up is still recorded
                    await call.send_audio(event.pcm)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # says where it listens, and how each call ended
    answering = Answering(mode=Mode.STREAMING)
    trio.run(partial(serve, echo, host="127.0.0.1", port=3000, answering=answering))
