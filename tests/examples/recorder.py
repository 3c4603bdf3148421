"""A recorder on trio: each call becomes a WAV in a folder, and a JSON file that describes it."""

import logging
import sys
from functools import partial
from pathlib import Path

import trio

from listenproto import Mode
from listenproto_trio import Answering, Call, Recorder, serve

ANSWERING = Answering(mode=Mode.OFF, unread="hold")  # it says nothing, and misses nothing


async def record(call: Call, *, recorder: Recorder) -> None:
    with recorder.record(call) as recording:
        async for event in call:
            recording.take(event)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # says where it listens, and what went wrong
    handler = partial(record, recorder=Recorder(Path(sys.argv[2])))
    port = int(sys.argv[1])
    trio.run(partial(serve, handler, port=port, host="127.0.0.1", answering=ANSWERING))
