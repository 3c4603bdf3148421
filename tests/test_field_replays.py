"""What the app sent in recorded calls, sent to the platform of this package, is answered alike.

Time is that of the recording, to 5 ms. A platform acts at the end of a frame of 20 ms; where in it
a message came is not recorded, so every answer may come a frame sooner or later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from listenproto import (
    DEPLOYED,
    FLICKS,
    BidirectionalAudio,
    Close,
    ListenTask,
    ListenVerb,
    Peer,
    Trace,
    TraceLine,
)
from listenproto.recording import read_trace_file

TRACES = Path(__file__).parent / "field_traces"
STEP = 5_000
FRAME = 20_000
JITTER = 10_000
"""Microseconds by which an answer may be late on its way, beside the frame."""

PROFILE = attrs.evolve(DEPLOYED, clip_gap=0.055)

Said = tuple[int, object]
"""When something was said, in microseconds, and what: a JSON object, or a close."""


def verb_of(trace: Trace) -> ListenVerb:
    if isinstance(trace.header.way, ListenVerb):
        return trace.header.way
    stream = BidirectionalAudio(streaming=True, sample_rate=8000)
    return ListenVerb(url="ws://app.example/", bidirectional_audio=stream, pass_dtmf=True)


def texts(trace: Trace) -> Iterator[Said]:
    """What the platform said in the recording, but its metadata and audio."""
    said = [line for line in trace.lines if line.sender is Peer.PLATFORM]
    for line in said[1:]:
        if isinstance(line.payload, str):
            yield line.at, json.loads(line.payload)
        elif isinstance(line.payload, Close):
            yield line.at, line.payload


class Replay:
    """The platform's end of a recorded call, played again."""

    def __init__(self, trace: Trace) -> None:
        self.task = ListenTask(verb_of(trace), {}, profile=PROFILE)
        self.task.connected()
        self.now = 0
        self.said: list[Said] = []
        self.read()
        self.said.clear()

    def read(self) -> None:
        for payload in self.task.data_to_send():
            if isinstance(payload, str):
                text = payload
                while text:
                    said, end = json.JSONDecoder().raw_decode(text)
                    self.said.append((self.now, said))
                    text = text[end:]
            elif isinstance(payload, Close):
                self.said.append((self.now, payload))

    def wait(self, until: int) -> None:
        while self.now < until:
            step = min(STEP, until - self.now)
            self.task.play((self.now + step) * FLICKS // 10**6 - self.now * FLICKS // 10**6)
            self.now += step
            self.read()

    def do(self, line: TraceLine) -> None:
        """What the app sent, what the caller said and did."""
        self.wait(line.at)
        payload = line.payload
        if line.sender is Peer.APP:
            if isinstance(payload, str | bytes):
                self.task.receive(payload)
        elif isinstance(payload, bytes):
            self.task.capture(payload)
        elif isinstance(payload, str) and (digit := json.loads(payload).get("dtmf")):
            self.task.key(digit, duration=2000)
        elif isinstance(payload, Close):
            self.task.hang_up()
        self.read()


STARTING = 150_000
"""Microseconds that the first clip takes to start: the command for it comes from another server."""
SPREAD = 15_000
"""Microseconds by which the gap in front of each further clip may be longer."""
CLOSING = 100_000
"""Microseconds by which a platform closes later than what ends the listen."""

UNLIKE = {
    "07-stream-24000": (
        "the filter of the real converter swings before the tone sets in, once through -1, which "
        "answers the first mark; ours is no filter, and all marks are lost"
    ),
}
"""Recordings that are answered otherwise, and why."""


def paths() -> list[Path]:
    """All recordings but those in which nothing but the metadata matters."""
    return [path for path in sorted(TRACES.glob("*.jsonl")) if "metadata" not in path.stem]


def lateness(said: list[object]) -> Iterator[int]:
    """By how much each answer may be later in the recording than here, beside a frame."""
    clips = 0
    for what in said:
        clips += isinstance(what, dict) and what.get("type") == "playDone"
        yield CLOSING if isinstance(what, Close) else STARTING + clips * SPREAD if clips else 0


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_the_answers_are_those_of_the_recording(path: Path) -> None:
    trace = read_trace_file(path)
    replay = Replay(trace)
    for line in trace.lines:
        replay.do(line)
    said, real = [what for _, what in replay.said], [what for _, what in texts(trace)]
    assert (said == real) == (path.stem not in UNLIKE)
    if said == real:
        for (at, what), (real_at, _), late in zip(
            replay.said, texts(trace), lateness(said), strict=True
        ):
            assert -FRAME - JITTER < real_at - at < FRAME + JITTER + late, what
