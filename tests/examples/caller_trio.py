"""A caller, and the platform around it: calls the app at a URL and talks to it."""

import sys

import trio

from listenproto import BidirectionalAudio, ListenTask, ListenVerb
from listenproto_trio import open_call, talk
from listenproto_trio.speech import speech


async def main(url: str, *, speed: float = 1.0) -> None:
    both_ways = BidirectionalAudio(streaming=True, sample_rate=8000)
    task = ListenTask(ListenVerb(url=url, bidirectional_audio=both_ways), {"from": "+15550100"})
    async with open_call(task) as call:
        print(await talk(call, speech(), speed=speed))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
