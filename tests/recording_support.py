"""Reads recordings with code that is not ours; handlers that record."""

from __future__ import annotations

import json
import struct
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from listenproto import Mode
from listenproto._wav import GROWING_HEADER, wav_header
from listenproto_trio import Answering, Call, Recorder, Recording
from tests.call_support import CALL_SID, RATE

HEADER = GROWING_HEADER
GIB = 2**30
COUNTED = struct.pack("<1000000I", *range(1_000_000))
"""L16 in which each frame shows where it belongs."""

OFF = Answering(mode=Mode.OFF, unread="hold")
FILES = [f"{CALL_SID}.json", f"{CALL_SID}.wav"]


def heard_in(path: Path, channels: int = 1) -> bytes:
    """What a reader that is not ours finds in a WAV file as it lies."""
    with wave.open(str(path)) as file:
        assert file.getparams()[:3] == (channels, 2, RATE)
        return bytes(file.readframes(file.getnframes()))


def sides_in(path: Path) -> tuple[bytes, bytes]:
    """What such a reader finds in the left and the right channel of a recording of both sides."""
    both = memoryview(heard_in(path, 2)).cast("h")
    return both[::2].tobytes(), both[1::2].tobytes()


def state_of(path: Path) -> tuple[int, int, int]:
    """What changes as soon as a file is written."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def rf64_lengths(path: Path) -> tuple[int, int, int]:
    """What an RF64 file says of its lengths: the whole, the audio, the samples."""
    with open(path, "rb") as file:
        head = file.read(HEADER)
    assert head[:20] == b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0"
    assert head[44:48] == bytes(4)
    assert head[48:72] == wav_header(0, RATE)[12:36]
    assert head[72:] == b"data\xff\xff\xff\xff"
    whole, length, samples = struct.unpack("<QQQ", head[20:44])
    assert whole == path.stat().st_size - 8
    return whole, length, samples


def recording_to(recorder: Recorder) -> Callable[[Call], Awaitable[None]]:
    """A handler that records, and nothing else."""

    async def record(call: Call) -> None:
        with recorder.record(call) as recording:
            async for event in call:
                recording.take(event)

    return record


@contextmanager
def started(recorder: Recorder, call: Call) -> Iterator[Recording]:
    with recorder.record(call) as recording:
        assert recording.error is None
        yield recording


def sidecar_of(folder: Path, name: str = CALL_SID) -> dict[str, Any]:
    sidecar = json.loads((folder / f"{name}.json").read_text("utf-8"))
    assert isinstance(sidecar, dict)
    return sidecar


def end_of(folder: Path) -> dict[str, Any]:
    end = sidecar_of(folder)["end"]
    assert isinstance(end, dict)
    return end


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
