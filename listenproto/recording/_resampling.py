"""L16 at another rate, piece by piece; needs numpy and soxr (extra ``recording``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import soxr

from listenproto._heard import Heard

__all__ = ["L16", "HeardAtOneRate", "Resampler", "Samples", "mono"]

Samples: TypeAlias = npt.NDArray[np.int16]

L16: Final = np.dtype("<i2")


def mono(pcm: bytes, channels: int) -> Samples:
    """One channel, the mean of all, rounded down: like ``Wav.mono``, at numpy's speed."""
    samples = np.frombuffer(pcm, L16).astype(np.int16)
    if channels == 1:
        return samples
    total = samples.reshape(-1, channels).sum(axis=1, dtype=np.int32)
    mean: Samples = (total // channels).astype(np.int16)  # LP-CLIP-21
    return mean


class Resampler:
    """Converts one channel of L16 to another rate, piece by piece."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._stream = None
        if rate != wanted:
            self._stream = soxr.ResampleStream(rate, wanted, 1, dtype="int16")

    def take(self, pcm: bytes, *, last: bool = False) -> bytes:
        """Convert the next piece; some of it is held back until more comes."""
        if self._stream is None:
            return pcm
        samples: Samples = self._stream.resample_chunk(mono(pcm, 1), last=last)
        return samples.astype(L16).tobytes()


class AudioTrack(Protocol):
    """One channel of L16 at one rate, to which audio and silence are appended."""

    def write(self, pcm: bytes) -> None:
        """Append audio."""

    def fill(self, until: int) -> None:
        """Append silence up to ``until`` flicks."""


@attrs.define
class _Run:
    """Audio of one rate that was heard without a gap."""

    rate: int
    end: int
    resampler: Resampler


class HeardAtOneRate:
    """Puts what a caller hears, of any rates, into a track of one rate."""

    def __init__(self, track: AudioTrack, rate: int) -> None:
        self._track = track
        self._rate = rate
        self._run: _Run | None = None

    def hear(self, heard: Iterable[Heard]) -> None:
        """Add the audio of a step of playout."""
        for piece in heard:
            if self._run is None or (piece.rate, piece.start) != (self._run.rate, self._run.end):
                self.end(piece.start)
                self._run = _Run(piece.rate, piece.start, Resampler(piece.rate, self._rate))
            self._run.end = piece.end
            self._track.write(self._run.resampler.take(piece.pcm))

    def reach(self, now: int) -> None:
        """It is ``now``, in flicks: the caller heard silence since the last audio.

        If the audio lasted until now, more of it may follow, and some is still held back.
        """
        if self._run is None or self._run.end < now:
            self.end(now)

    def end(self, until: int) -> None:
        """Nothing more was heard until ``until`` flicks: add what was held back, then silence."""
        if self._run is not None:
            self._track.write(self._run.resampler.take(b"", last=True))
            self._run = None
        self._track.fill(until)
