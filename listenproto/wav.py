"""WAV files: what a clip may be, and what recordings are (LP-CLIP-10)."""

from __future__ import annotations

import struct
from typing import Final, Protocol

import attrs

from listenproto.l16 import FLICKS, SAMPLE_BYTES, mixed_down

__all__ = [
    "GROWING_HEADER",
    "Octets",
    "Wav",
    "WavError",
    "WavHead",
    "chunk_name",
    "growing_wav_header",
    "parse_wav",
    "read_wav_head",
    "wav_header",
]


class WavError(ValueError):
    """The bytes are no WAV file that the protocol can play; the message says why."""


_PCM: Final = 1
_FORMATS: Final = {1: "PCM", 3: "floating point", 6: "A-law", 7: "mu-law"}
_EXTENSIBLE: Final = 0xFFFE
MAX_CHUNKS: Final = 1000
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
"""What a writer puts that cannot go back to fill in the length: the data runs to the end."""
_RF64: Final = (b"RF64", b"BW64")
"""RIFF with lengths of 64 bits in a ds64 chunk (EBU Tech 3306, ITU-R BS.2088)."""


@attrs.frozen
class Wav:
    """What a WAV file holds: L16 of ``channels`` interleaved channels at ``rate`` a second."""

    pcm: bytes
    rate: int
    channels: int

    def mono(self) -> bytes:
        """One channel of L16, two mixed down to their mean."""
        return self.pcm if self.channels == 1 else mixed_down(self.pcm)


class Octets(Protocol):
    """What a WAV file is read from: bytes, or a file in memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


@attrs.frozen
class WavHead:
    """What stands in front of the audio of a WAV or RF64 file, 16-bit PCM.

    The audio starts ``start`` bytes into the file; ``length`` is how many bytes of it the header
    claims, None where it is to run to the end. ``end`` is where the whole is to end. ``ds64`` is
    where the lengths of 64 bits stand, in a file that has them.
    """

    channels: int
    rate: int
    start: int
    length: int | None
    end: int
    ds64: int | None


def read_wav_head(wav: Octets) -> WavHead:
    """Read a WAV file up to its audio. Raises :class:`WavError`.

    How many channels there are, and at which rate, is not judged.
    """
    if wav[:4] not in (b"RIFF", *_RF64) or wav[8:12] != b"WAVE":
        raise WavError("no RIFF/WAVE header: a WAV file starts with 'RIFF', a length, 'WAVE'")
    end = 8 + int.from_bytes(wav[4:8], "little")
    at = 12
    form: tuple[int, int] | None = None
    length, ds64 = None, None
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(wav):
            raise WavError("it has no data chunk" if form else "it has no fmt chunk")
        name, size = struct.unpack("<4sI", wav[at : at + 8])
        at += 8
        if name == b"data":
            if form is None:
                raise WavError("its data chunk comes before a fmt chunk")
            if size != _UNKNOWN_LENGTH:
                length = size
            elif ds64 is None and wav[:4] in _RF64:
                raise WavError("its data chunk leaves the length to a ds64 chunk, there is none")
            return WavHead(*form, at, length, end, ds64)
        if at + size > len(wav):
            there = len(wav) - at
            raise WavError(f"its {chunk_name(name)} chunk claims {size} bytes, {there} are there")
        if name == b"fmt ":
            form = _parse_format(wav[at : at + min(size, 40)])
        elif name == b"ds64" and wav[:4] in _RF64:
            if size < 24:
                raise WavError(f"its ds64 chunk has {size} bytes, at least 24 are needed")
            ds64 = at
            end, length = struct.unpack("<QQ", wav[at : at + 16])
            end += 8
        at += size + size % 2
    raise WavError(f"it has more than {MAX_CHUNKS} chunks")


def chunk_name(name: bytes) -> str:
    """The name of a chunk, in quotes, whatever bytes it is."""
    return repr(name).removeprefix("b")


def parse_wav(wav: bytes) -> Wav:
    """Read a WAV or RF64 file that the protocol can play: 16-bit PCM of one or two channels.

    Its rate must divide a second of flicks. Raises :class:`WavError` for anything else.
    """
    head = read_wav_head(wav)
    channels, rate = head.channels, head.rate
    if channels not in (1, 2):
        raise WavError(f"it has {channels} channels: one, or two to be mixed down, can be played")
    if rate == 0 or FLICKS % rate:
        raise WavError(f"its {rate} samples a second do not divide a second of {FLICKS} flicks")
    return _whole(wav, head)


def _whole(wav: bytes, head: WavHead) -> Wav:
    """The audio behind a head."""
    frame = SAMPLE_BYTES * head.channels
    there = len(wav) - head.start
    size = there - there % frame if head.length is None else head.length
    if there < size:
        raise WavError(f"its 'data' chunk claims {size} bytes, {there} are there")
    if size % frame:
        raise WavError(f"its {size} bytes of audio are no whole number of samples")
    return Wav(wav[head.start : head.start + size], head.rate, head.channels)


def _parse_format(body: bytes) -> tuple[int, int]:
    """Channels and rate."""
    if len(body) < 16:
        raise WavError(f"its fmt chunk has {len(body)} bytes, at least 16 are needed")
    codec, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if codec == _EXTENSIBLE and len(body) >= 26:
        (codec,) = struct.unpack_from("<H", body, 24)
    if codec != _PCM or bits != 16:
        form = _FORMATS.get(codec, f"format {codec}")
        raise WavError(f"its audio is {bits}-bit {form}, only 16-bit PCM is read")
    return channels, rate


def wav_header(length: int, rate: int, channels: int = 1) -> bytes:
    """The 44 bytes in front of ``length`` bytes of L16 in a WAV file.

    A length that 32 bits cannot hold is written as unknown: the audio runs to the end.
    """
    known = length <= _UNKNOWN_LENGTH - 36
    whole = 36 + length if known else _UNKNOWN_LENGTH
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + _fmt_and_data(
        length if known else _UNKNOWN_LENGTH, rate, channels
    )


GROWING_HEADER: Final = 80
"""How many bytes :func:`growing_wav_header` gives."""


def growing_wav_header(length: int, rate: int, channels: int = 1) -> bytes:
    """The 80 bytes in front of ``length`` bytes of L16 in a WAV file that may grow for ever.

    There is room in it for lengths of 64 bits: it is RIFF with a JUNK chunk as long as 32 bits
    do, RF64 with a ds64 chunk in its place from then on.
    """
    whole = 72 + length
    if whole < _UNKNOWN_LENGTH:
        front = struct.pack("<4sI4s4sI28x", b"RIFF", whole, b"WAVE", b"JUNK", 28)
        return front + _fmt_and_data(length, rate, channels)
    front = struct.pack(
        "<4sI4s4sIQQQI",
        b"RF64",
        _UNKNOWN_LENGTH,
        b"WAVE",
        b"ds64",
        28,
        whole,
        length,
        length // (SAMPLE_BYTES * channels),
        0,  # no further chunk has a length of 64 bits
    )
    return front + _fmt_and_data(_UNKNOWN_LENGTH, rate, channels)


def _fmt_and_data(length: int, rate: int, channels: int) -> bytes:
    """The fmt chunk, and the data chunk up to its audio."""
    frame = SAMPLE_BYTES * channels
    return struct.pack(
        "<4sIHHIIHH4sI",
        b"fmt ",
        16,
        _PCM,
        channels,
        rate,
        rate * frame,
        frame,
        16,
        b"data",
        length,
    )
