"""Calls recorded on both sides, with a platform whose audio may stop for a time."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from listenproto import DOCUMENTED, BidirectionalAudio, Heard, ListenVerb, Profile
from listenproto._l16 import flicks_of
from listenproto_trio import Answering, Call, PlatformCall, Recorder
from listenproto_trio._caller import STEP
from listenproto_trio.cli.sound import HeardFile
from tests.call_support import CALL_SID, RATE, STREAM
from tests.recording_support import heard_in, sides_in, started
from tests.trio_support import calling

App: TypeAlias = Callable[[Call], Awaitable[None]]

PIECE = 320
"""Bytes of 20 ms."""
AFTER = 1e-6
"""So much after a step of the platform the app acts: that it plays first."""


def recording(app: App, *recorders: Recorder, late: float = 0.0) -> App:
    """A handler that records, ``late`` so many seconds, while ``app`` sends."""

    async def handler(call: Call) -> None:
        with ExitStack() as stack:
            recordings = [stack.enter_context(started(one, call)) for one in recorders]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(app, call)
                await trio.sleep(late)
                async for event in call:
                    for one in recordings:
                        one.take(event)
                nursery.cancel_scope.cancel()

    return handler


async def quiet(call: Call) -> None:
    """Say nothing."""


@attrs.frozen
class Stall:
    """The platform's audio stays away for a time: what was said then is lost, or comes at once."""

    start: float
    seconds: float
    lost: bool


async def talk(
    platform: PlatformCall,
    said: bytes,
    *stalls: Stall,
    hear: Callable[[list[Heard]], None] = lambda heard: None,
) -> None:
    """Say that, and hear what the app plays meanwhile; both on time, but for the stalls."""
    start, held = trio.current_time(), b""
    size = PIECE * platform.task.verb.channels
    for number in range(len(said) // size):
        at = number / 50
        await trio.sleep_until(start + at + 0.02)
        hear(platform.play(STEP))
        pcm = said[number * size : (number + 1) * size]
        stall = next((one for one in stalls if one.start <= at < one.start + one.seconds), None)
        if stall is None:
            await platform.capture(held + pcm)
            held = b""
        elif stall.lost:
            platform.task.capture(pcm, lost=True)
        else:
            held += pcm


async def heard_by_the_caller(
    folder: Path,
    handler: App,
    said: bytes,
    *stalls: Stall,
    verb: ListenVerb = STREAM,
    profile: Profile = DOCUMENTED,
) -> bytes:
    """Make a call; gives what its caller heard, from the beginning to the end, at 8000 Hz."""
    answering = Answering(verb=verb, profile=profile, unread="hold")
    heard = HeardFile(folder / "heard.wav", RATE)
    async with calling(handler, verb, platform=profile, answering=answering) as platform:
        await talk(platform, said, *stalls, hear=heard.hear)
        heard.close(flicks_of(len(said) // 2, RATE))
    return heard_in(folder / "heard.wav")


def at_rate(rate: int) -> ListenVerb:
    """A verb whose stream has that rate."""
    back = BidirectionalAudio(streaming=True, sample_rate=rate)
    return attrs.evolve(STREAM, bidirectional_audio=back)


def sides_of(folder: Path) -> tuple[bytes, bytes]:
    return sides_in(folder / f"{CALL_SID}.wav")


def counted(seconds: float, start: int = 0) -> bytes:
    """Audio in which each sample shows where it belongs."""
    samples = range(start, start + round(seconds * RATE))
    return struct.pack(f"<{len(samples)}h", *(number % 30011 for number in samples))


def without(pcm: bytes, stalls: Iterable[Stall], fill: bytes = b"") -> bytes:
    """What is left of audio where the platform lost some; ``fill`` is a sample for each."""
    left, end = b"", 0
    for stall in stalls:
        if stall.lost:
            start = round(stall.start * RATE) * 2
            left += pcm[end:start]
            end = start + round(stall.seconds * RATE) * 2
            left += fill * ((end - start) // 2)
    return left + pcm[end:]


def check_same_sound(pcm: bytes, expected: bytes) -> None:
    """That it is the same but for what a resampler rounds."""
    assert len(pcm) == len(expected)
    pairs = zip(memoryview(pcm).cast("h"), memoryview(expected).cast("h"), strict=True)
    assert max(abs(sample - other) for sample, other in pairs) < 5
