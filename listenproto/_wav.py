"""WAV files: clips and recordings (LP-CLIP-10, LP-CLIP-31, LP-CLIP-32).

A program that writes a WAV into a pipe cannot go back to fill in its length. Whatever it leaves in
the header, 0x7FFFFFFF, 0 or any other number, is read as libsndfile reads it: the audio goes on to
the end of the file.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

import attrs

from listenproto._l16 import FLICKS, SAMPLE_BYTES, mixed_down

__all__ = [
    "GROWING_HEADER",
    "Octets",
    "Wav",
    "WavError",
    "WavHead",
    "chunk_name",
    "growing_wav_header",
    "kind_of",
    "mended_wav",
    "parse_wav",
    "read_clip_head",
    "read_l16_head",
    "read_playable_head",
    "read_wav_head",
    "wav_header",
    "with_length",
]


class WavError(ValueError):
    """The bytes are not a WAV file that can be used here; the message says why."""


_PCM: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE
_CODECS: Final = {
    _PCM: "PCM",
    2: "Microsoft ADPCM",
    _FLOAT: "floating-point",
    6: "A-law",
    7: "mu-law",
    17: "IMA ADPCM",
    49: "GSM 6.10",
    85: "MP3",
}
MAX_CHUNKS: Final = 1000
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
"""This length means that the length is not known: the audio goes on to the end."""
_RF64: Final = (b"RF64", b"BW64")
"""RIFF with lengths of 64 bits in a ds64 chunk (EBU Tech 3306, ITU-R BS.2088)."""

_MAGIC: Final = (
    (0, b"ID3", "MP3"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF"),
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"),
    (0, b"riff", "Wave64"),
    (0, b"RIFX", "big-endian WAV"),
)
"""How other audio files start: the offset, the bytes there, and the name of the format."""


@attrs.frozen
class Wav:
    """The audio of a WAV file: L16 of ``channels`` interleaved channels at ``rate`` Hz."""

    pcm: bytes
    rate: int
    channels: int

    def mono(self) -> bytes:
        """One channel of L16; two channels are mixed down to their mean."""
        return self.pcm if self.channels == 1 else mixed_down(self.pcm)


class Octets(Protocol):
    """The source of a WAV file: bytes, or a file mapped into memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


@attrs.frozen(kw_only=True)
class WavHead:
    """The header of a WAV or RF64 file, up to its audio.

    ``codec`` is the number of its format, 1 for PCM, with samples of ``bits`` bits. The audio
    starts ``start`` bytes into the file. ``length`` is how many bytes of audio the header claims,
    None if it says that the length is unknown; ``there`` is how many bytes follow the header.
    ``end`` is where the file ends according to the header. ``ds64`` is the offset of the 64-bit
    lengths, None if the file has none.
    """

    codec: int
    bits: int
    channels: int
    """How many channels it has."""
    rate: int
    """Its sample rate in Hz."""
    start: int
    length: int | None
    there: int
    end: int
    ds64: int | None

    @property
    def is_l16(self) -> bool:
        """Whether it is 16-bit PCM."""
        return self.codec == _PCM and self.bits == 16

    @property
    def frame(self) -> int:
        """Bytes of a sample frame of L16; 1 for other codecs, which may end at any byte."""
        return SAMPLE_BYTES * self.channels if self.is_l16 else 1

    @property
    def size(self) -> int:
        """The number of bytes of audio, in whole sample frames (LP-CLIP-32)."""
        never_filled_in = self.length == 0 and self.end <= self.start
        claimed = self.there if self.length is None or never_filled_in else self.length
        size = min(claimed, self.there)
        return size - size % self.frame

    @property
    def flaw(self) -> str | None:
        """What is wrong with the length in the header, in words; None if it is right."""
        if self.length is None or self.length == self.size:
            return None
        claims = f"its data chunk claims {self.length} bytes"
        if 0 < self.length <= self.there:
            return f"{claims}, not a whole number of sample frames of {self.frame} bytes"
        return f"{claims} but has {self.there}"


def read_wav_head(wav: Octets) -> WavHead:
    """Read a WAV file, of any codec, up to its audio. Raises :class:`WavError`."""
    if not len(wav):
        raise WavError("it is empty; it must be 16-bit PCM WAV")
    if wav[:4] not in (b"RIFF", *_RF64) or wav[8:12] != b"WAVE":
        kind = kind_of(wav)
        found = f"this is {kind}" if kind else "this is not a WAV file (no RIFF/WAVE header)"
        raise WavError(f"{found}; it must be 16-bit PCM WAV")
    end = 8 + int.from_bytes(wav[4:8], "little")
    at = 12
    form: tuple[int, int, int, int] | None = None
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
                raise WavError("the length of its data chunk must be in a ds64 chunk")
            codec, channels, rate, bits = form
            return WavHead(
                codec=codec,
                bits=bits,
                channels=channels,
                rate=rate,
                start=at,
                length=length,
                there=len(wav) - at,
                end=end,
                ds64=ds64,
            )
        if at + size > len(wav):
            there = len(wav) - at
            raise WavError(f"its {chunk_name(name)} chunk claims {size} bytes but has {there}")
        if name == b"fmt ":
            form = _parse_format(wav[at : at + min(size, 40)])
        elif name == b"ds64" and wav[:4] in _RF64:
            if size < 24:
                raise WavError(f"its ds64 chunk has {size} bytes; it must have at least 24")
            ds64 = at
            end, length = struct.unpack("<QQ", wav[at : at + 16])
            end += 8
        at += size + size % 2
    raise WavError(f"it has more than {MAX_CHUNKS} chunks; no more are read")


def read_l16_head(wav: Octets) -> WavHead:
    """Read the header of 16-bit PCM, of any channels and rate. Raises :class:`WavError`."""
    head = read_wav_head(wav)
    if not head.is_l16:
        codec = _CODECS.get(head.codec, f"format {head.codec}")
        bits = f"{head.bits}-bit " if head.codec in (_PCM, _FLOAT) else ""
        raise WavError(f"this is {bits}{codec} WAV; it must be 16-bit PCM WAV")
    return head


def read_playable_head(wav: Octets) -> WavHead:
    """Read the header of a WAV file that the protocol can play: 16-bit PCM, one or two channels.

    Its rate must divide a second of flicks. Raises :class:`WavError` for anything else.
    """
    head = read_l16_head(wav)
    if head.channels > 2:
        raise WavError(f"it has {head.channels} channels; it must have one or two")
    if FLICKS % head.rate:
        raise WavError(f"its sample rate is {head.rate} Hz; it must divide {FLICKS}, as 44100 does")
    return head


def read_clip_head(content: Octets) -> WavHead:
    """Read the header of a WAV clip: a RIFF file that can be played (LP-CLIP-10).

    Raises :class:`WavError`.
    """
    try:
        head = read_playable_head(content)
        if content[:4] != b"RIFF":
            raise WavError("this is RF64; a clip must be a RIFF file")
    except WavError as exc:
        raise WavError(f"the clip cannot be played: {exc}") from None
    return head


def parse_wav(wav: bytes) -> Wav:
    """Read a WAV or RF64 file that the protocol can play: 16-bit PCM of one or two channels.

    The audio goes on as far as there are bytes, whatever length the header claims. Its rate must
    divide a second of flicks. Raises :class:`WavError` for anything else.
    """
    head = read_playable_head(wav)
    pcm = wav[head.start : head.start + head.size]
    return Wav(pcm, head.rate, head.channels)


def mended_wav(wav: bytes, head: WavHead) -> bytes:
    """The file with the right length in its header, and nothing after the audio."""
    front = with_length(wav[: head.start], head, head.size)
    return front + wav[head.start : head.start + head.size]


def with_length(front: bytes, head: WavHead, length: int) -> bytes:
    """The header ``front``, changed to claim ``length`` bytes of audio.

    Raises :class:`WavError` if it has no room for that length.
    """
    mended = bytearray(front)
    whole, ds64 = head.start - 8 + length, head.ds64
    riff, data = whole, length
    if ds64 is None and whole >= _UNKNOWN_LENGTH:
        if mended[12:16] != b"JUNK" or int.from_bytes(mended[16:20], "little") < 28:
            raise WavError(f"its header has no room for a length of {length} bytes")
        mended[:4], mended[12:16], mended[44:48], ds64 = b"RF64", b"ds64", bytes(4), 20
    if ds64 is not None:
        struct.pack_into("<QQQ", mended, ds64, whole, length, length // head.frame)
        riff = data = _UNKNOWN_LENGTH
    struct.pack_into("<I", mended, 4, riff)
    struct.pack_into("<I", mended, head.start - 4, data)
    return bytes(mended)


def chunk_name(name: bytes) -> str:
    """The name of a chunk, in quotes; any bytes are possible."""
    return repr(name).removeprefix("b")


def kind_of(content: Octets) -> str | None:
    """The name of the format of audio other than WAV; None if it is not known."""
    for at, magic, kind in _MAGIC:
        if content[at : at + len(magic)] == magic:
            return kind
    start = content[:3]
    if len(start) == 3 and start[0] == 0xFF:  # the sync of a frame; version and layer; its bit rate
        if start[1] in b"\xf0\xf1\xf8\xf9":
            return "AAC"
        if start[1] in b"\xe2\xe3\xf2\xf3\xfa\xfb" and 0 < start[2] >> 4 < 15:
            return "MP3"
    return None


def _parse_format(body: bytes) -> tuple[int, int, int, int]:
    """Codec, channels, rate, bits."""
    if len(body) < 16:
        raise WavError(f"its fmt chunk has {len(body)} bytes; it must have at least 16")
    codec, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if not channels or not rate:
        raise WavError(f"its header says {channels} channels at {rate} Hz")
    if codec == _EXTENSIBLE and len(body) >= 26:
        (codec,) = struct.unpack_from("<H", body, 24)
    return codec, channels, rate, bits


def wav_header(length: int, rate: int, channels: int = 1) -> bytes:
    """The 44 bytes before ``length`` bytes of L16 in a WAV file.

    A length of more than 32 bits is written as unknown: the audio goes on to the end.
    """
    known = length <= _UNKNOWN_LENGTH - 36
    whole = 36 + length if known else _UNKNOWN_LENGTH
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + _fmt_and_data(
        length if known else _UNKNOWN_LENGTH, rate, channels
    )


GROWING_HEADER: Final = 80
"""The length of :func:`growing_wav_header` in bytes."""


def growing_wav_header(length: int, rate: int, channels: int = 1) -> bytes:
    """The 80 bytes before ``length`` bytes of L16 in a WAV file that may grow without limit.

    It has room for 64-bit lengths: it is RIFF with a JUNK chunk while 32 bits are enough, and RF64
    with a ds64 chunk in place of that from then on.
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
