"""L16, the protocol's audio: rates, media time, whole samples, WAV headers (LP-AUD, LP-TIME).

Audio is ``bytes`` of 16-bit signed little-endian samples, interleaved where there are two
channels. Media time is counted in flicks, of which every rate in use divides a second, so that no
arithmetic on time ever rounds.
"""

from __future__ import annotations

import array
import math
import struct
import sys
from typing import Final

import attrs

__all__ = [
    "FLICKS",
    "LISTEN_RATES",
    "PLAY_RATES",
    "SAMPLE_BYTES",
    "Aligner",
    "Wav",
    "WavError",
    "beep",
    "flicks_of",
    "parse_wav",
    "peak",
    "samples_in",
    "wav_header",
]

FLICKS: Final = 705_600_000
"""Flicks in a second (LP-TIME-1)."""

LISTEN_RATES: Final = (8000, 16000, 24000, 48000, 64000)
"""What a listen verb may ask for as ``sampleRate``, in samples a second (LP-VERB-1)."""

PLAY_RATES: Final = (8000, 16000, 24000, 32000, 48000, 64000)
"""What a raw clip or a stream to the caller may have, and what an app takes from the wire."""

SAMPLE_BYTES: Final = 2

_SWAPPED: Final = sys.byteorder == "big"


def flicks_of(samples: int, rate: int) -> int:
    """The media time in flicks of ``samples`` samples at ``rate`` samples a second, exactly."""
    return samples * (FLICKS // rate)


def samples_in(flicks: int, rate: int) -> int:
    """How many whole samples at ``rate`` samples a second fit into ``flicks``."""
    return flicks // (FLICKS // rate)


class Aligner:
    """Joins what messages cut apart: gives whole sample frames, carries the rest (LP-AUD-3).

    ``unit`` is the size of a frame in bytes: 2 for one channel, 4 for two.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self._rest = b""

    def whole(self, pcm: bytes) -> bytes:
        """All whole frames that are there now, the carried bytes in front."""
        if not self._rest and not len(pcm) % self.unit:
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
    """The loudest sample of whole-sample L16, all channels, as 0 to 32768; 0 for none."""
    if not pcm:
        return 0
    samples = _samples(pcm)
    return max(max(samples), -min(samples))


def beep(rate: int) -> bytes:
    """500 ms of 1500 Hz at ``rate`` samples a second, one channel of L16 (LP-VERB-6)."""
    step = 2 * math.pi * 1500 / rate
    return _pcm(array.array("h", (round(8192 * math.sin(step * n)) for n in range(rate // 2))))


class WavError(ValueError):
    """The bytes are no WAV file that the protocol can play; the message says why."""


_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
MAX_CHUNKS: Final = 1000
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
"""What a writer puts that cannot go back to fill in the length: the data runs to the end."""


@attrs.frozen
class Wav:
    """What a WAV file holds: L16 of ``channels`` interleaved channels at ``rate`` a second."""

    pcm: bytes
    rate: int
    channels: int

    def mono(self) -> bytes:
        """One channel of L16, two mixed down to their mean."""
        if self.channels == 1:
            return self.pcm
        both = _samples(self.pcm)
        mixed = ((left + right) >> 1 for left, right in zip(both[::2], both[1::2], strict=True))
        return _pcm(array.array("h", mixed))


def parse_wav(wav: bytes) -> Wav:
    """Read a WAV file that the protocol can play: 16-bit PCM of one or two channels.

    Its rate must divide a second of flicks. Raises :class:`WavError` for anything else.
    """
    if wav[:4] != b"RIFF" or wav[8:12] != b"WAVE":
        raise WavError("no RIFF/WAVE header: a WAV file starts with 'RIFF', a length, 'WAVE'")
    at = 12
    form: tuple[int, int] | None = None
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(wav):
            raise WavError("it has no data chunk" if form else "it has no fmt chunk")
        name, size = struct.unpack_from("<4sI", wav, at)
        at += 8
        if name == b"data" and size == _UNKNOWN_LENGTH and form:
            size = len(wav) - at - (len(wav) - at) % (SAMPLE_BYTES * form[0])
        body = wav[at : at + size]
        if len(body) < size:
            raise WavError(f"its {name!r} chunk claims {size} bytes, {len(body)} are there")
        if name == b"fmt ":
            form = _parse_format(body)
        elif name == b"data":
            if form is None:
                raise WavError("its data chunk comes before a fmt chunk")
            channels, rate = form
            if size % (SAMPLE_BYTES * channels):
                raise WavError(f"its {size} bytes of audio are no whole number of samples")
            return Wav(body, rate, channels)
        at += size + size % 2
    raise WavError(f"it has more than {MAX_CHUNKS} chunks")


def _parse_format(body: bytes) -> tuple[int, int]:
    if len(body) < 16:
        raise WavError(f"its fmt chunk has {len(body)} bytes, at least 16 are needed")
    codec, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if codec == _EXTENSIBLE and len(body) >= 26:
        (codec,) = struct.unpack_from("<H", body, 24)
    if codec != _PCM or bits != 16:
        raise WavError(
            f"its format is {codec} of {bits} bits: only 16-bit PCM (format 1) can be played"
        )
    if channels not in (1, 2):
        raise WavError(f"it has {channels} channels: one, or two to be mixed down, can be played")
    if rate == 0 or FLICKS % rate:
        raise WavError(f"its {rate} samples a second do not divide a second of {FLICKS} flicks")
    return channels, rate


def wav_header(length: int, rate: int, channels: int = 1) -> bytes:
    """The 44 bytes in front of ``length`` bytes of L16 in a WAV file.

    A length that 32 bits cannot hold is written as unknown: the audio runs to the end.
    """
    frame = SAMPLE_BYTES * channels
    known = length <= _UNKNOWN_LENGTH - 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + length if known else _UNKNOWN_LENGTH,
        b"WAVE",
        b"fmt ",
        16,
        _PCM,
        channels,
        rate,
        rate * frame,
        frame,
        16,
        b"data",
        length if known else _UNKNOWN_LENGTH,
    )
