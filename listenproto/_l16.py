"""L16, the protocol's audio: rates, media time, whole samples (LP-AUD, LP-TIME).

Audio is ``bytes`` of 16-bit signed little-endian samples, interleaved if there are two channels.
Media time is counted in flicks: a sample of any rate in use is a whole number of them, so that no
arithmetic on time ever rounds.
"""

from __future__ import annotations

import array
import math
import sys
from typing import Final

from listenproto._shown import shown

__all__ = [
    "FLICKS",
    "LISTEN_RATES",
    "PLAY_RATES",
    "SAMPLE_BYTES",
    "Aligner",
    "beep",
    "check_stream_rate",
    "converted",
    "flicks_of",
    "misread",
    "mixed_down",
    "peak",
    "samples_in",
    "without_minus_one",
]

FLICKS: Final = 705_600_000
"""Flicks in a second: every sample rate in use divides it, so media time is exact (LP-TIME-1)."""

LISTEN_RATES: Final = (8000, 16000, 24000, 48000, 64000)
"""The rates that a listen verb may have as ``sampleRate``, in Hz (LP-VERB-1)."""

PLAY_RATES: Final = (8000, 16000, 24000, 32000, 48000, 64000)
"""The rates, in Hz, of raw clips and of the app's stream, and those that an app accepts."""

SAMPLE_BYTES: Final = 2

_SWAPPED: Final = sys.byteorder != "little"


def check_stream_rate(rate: object) -> None:
    """Raise ValueError for a sample rate that the app's stream cannot have (LP-VERB-1)."""
    if type(rate) is not int or rate not in PLAY_RATES:
        allowed = ", ".join(map(str, PLAY_RATES))
        raise ValueError(f"stream_rate must be one of {allowed} (Hz); it is {shown(rate)}")


def without_minus_one(pcm: bytes) -> bytes:
    """L16 with -2 in the place of each sample of -1."""
    at = pcm.find(b"\xff\xff")
    if at < 0:
        return pcm
    samples = bytearray(pcm)
    while at >= 0:
        if at % SAMPLE_BYTES == 0:
            samples[at] = 0xFE
        at = samples.find(b"\xff\xff", at + 1)
    return bytes(samples)


def flicks_of(samples: int, rate: int) -> int:
    """The exact media time, in flicks, of ``samples`` samples at ``rate`` Hz."""
    return samples * (FLICKS // rate)


def samples_in(flicks: int, rate: int) -> int:
    """How many whole samples at ``rate`` Hz fit into ``flicks``."""
    return flicks // (FLICKS // rate)


class Aligner:
    """Joins audio that messages split: returns whole sample frames, keeps the rest (LP-AUD-3).

    ``unit`` is the size of a frame in bytes: 2 for one channel, 4 for two.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self._rest = b""

    def whole(self, pcm: bytes) -> bytes:
        """All whole frames so far, starting with the bytes that were kept."""
        if not (self._rest or len(pcm) % self.unit):
            return pcm
        pcm = self._rest + pcm
        cut = len(pcm) - len(pcm) % self.unit
        self._rest = pcm[cut:]
        return pcm[:cut]


def _samples(pcm: bytes) -> array.array[int]:
    samples = array.array("h", pcm)
    if _SWAPPED:
        samples.byteswap()
    return samples


def _pcm(samples: array.array[int]) -> bytes:
    if _SWAPPED:
        samples.byteswap()
    return samples.tobytes()


def peak(pcm: bytes) -> int:
    """The loudest sample of L16 in whole samples, any channel, as 0 to 32768; 0 without samples."""
    if not pcm:
        return 0
    samples = _samples(pcm)
    return max(max(samples), -min(samples))


def mixed_down(pcm: bytes) -> bytes:
    """Mix whole frames of two channels of L16 down to one: the mean, rounded down (LP-CLIP-21)."""
    both = _samples(pcm)
    mixed = ((left + right) >> 1 for left, right in zip(both[::2], both[1::2], strict=True))
    return _pcm(array.array("h", mixed))


def converted(pcm: bytes, rate: int, to: int) -> bytes:
    """L16 of one channel at another sample rate, as cheap as it is crude: means of neighbours."""
    if rate == to:
        return pcm
    samples = _samples(pcm)
    means = []
    for index in range(len(samples) * to // rate):
        near = samples[index * rate // to : (index + 1) * rate // to + 1]
        means.append(int(sum(near) / len(near)))
    return _pcm(array.array("h", means))


def misread(pcm: bytes, bits: int) -> bytes:
    """What is heard of L16 that is taken for samples of so many bits: the upper 16 of each."""
    size = bits // 8
    if size == SAMPLE_BYTES:
        return pcm
    whole = range(0, len(pcm) - size + 1, size)
    return b"".join(pcm[at + size - SAMPLE_BYTES : at + size] for at in whole)


def beep(rate: int) -> bytes:
    """500 ms of a 1500 Hz tone at a sample rate of ``rate`` Hz, one channel of L16 (LP-VERB-6)."""
    step = 2 * math.pi * 1500 / rate
    return _pcm(array.array("h", (round(8192 * math.sin(step * n)) for n in range(rate // 2))))
