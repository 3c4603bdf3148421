"""Files of a call: WAV that survives a crash, and traces."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import trio

from listenproto.l16 import SAMPLE_BYTES, samples_in, wav_header
from listenproto.messages import Payload, Peer
from listenproto.playout import Heard
from listenproto.trace import Header, Line, Moment, Trace, read_trace

__all__ = ["HeardWav", "TraceFile", "WavFile", "read_trace_file"]


class WavFile:
    """A WAV file of L16 that is whole after every second of audio, and when it is closed.

    Raises OSError where the file cannot be written, among it FileExistsError: nothing is ever
    overwritten.
    """

    def __init__(self, path: Path, rate: int, channels: int = 1) -> None:
        self.path = path
        self.samples = 0
        self._rate = rate
        self._channels = channels
        self._frame = SAMPLE_BYTES * channels
        self._unclaimed = 0
        self._file: IO[bytes] = open(path, "xb", buffering=0)  # noqa: SIM115
        self._file.write(wav_header(0, rate, channels))

    def write(self, pcm: bytes) -> None:
        """Append L16 in whole sample frames."""
        self._file.write(pcm)
        frames = len(pcm) // self._frame
        self.samples += frames
        self._unclaimed += frames
        if self._unclaimed >= self._rate:
            self._claim()

    def _claim(self) -> None:
        """Have the header say how much there is."""
        self._unclaimed = 0
        self._file.seek(0)
        self._file.write(wav_header(self.samples * self._frame, self._rate, self._channels))
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        if not self._file.closed:
            self._claim()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class HeardWav(WavFile):
    """What a caller heard, at one rate, with silence where nothing played."""

    def hear(self, heard: list[Heard]) -> None:
        """Add what a step of playout gave. Raises ValueError for audio of another rate."""
        for piece in heard:
            if piece.rate != self._rate:
                raise ValueError(
                    f"{self.path.name} is at {self._rate} samples a second, "
                    f"audio at {piece.rate} cannot be put into it"
                )
            self.fill(piece.start)
            self.write(piece.pcm)

    def fill(self, until: int) -> None:
        """Put silence up to ``until`` flicks."""
        silence = samples_in(until, self._rate) - self.samples
        if silence > 0:
            self.write(bytes(silence * self._frame))


class TraceFile:
    """A trace being written, line by line; it is a :data:`~listenproto_trio.Tap`.

    ``position`` gives where playout stands, in samples at the listen rate. Raises OSError where
    the file cannot be written or is there already.
    """

    def __init__(self, path: Path, header: Header, *, with_audio: bool = True) -> None:
        self.path = path
        self.position: Callable[[], int] = lambda: 0
        self._with_audio = with_audio
        self._started_at: float | None = None
        self._file: IO[str] = open(path, "x", encoding="utf-8")  # noqa: SIM115
        self._file.write(header.to_json() + "\n")

    def __call__(self, sender: Peer, payload: Payload | Moment) -> None:
        now = trio.current_time()
        if self._started_at is None:
            self._started_at = now
        at = round((now - self._started_at) * 1_000_000)
        line = Line(at, sender, self.position(), payload)
        self._file.write(line.to_json(with_audio=self._with_audio) + "\n")

    def close(self) -> None:
        self._file.close()


def read_trace_file(path: Path) -> Trace:
    """Read a trace. Raises :class:`~listenproto.TraceError`, OSError, UnicodeDecodeError."""
    with open(path, encoding="utf-8") as file:
        return read_trace(file)
