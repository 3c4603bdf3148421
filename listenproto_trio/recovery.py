"""WAV files that were never closed: have the header say what there is."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
from pathlib import Path
from typing import Final

import attrs

from listenproto.l16 import SAMPLE_BYTES
from listenproto.wav import Octets, WavError, WavHead, chunk_name, growing_wav_header, read_wav_head
from listenproto_trio.recording import lock, put

__all__ = ["Recovered", "recover_wav"]

_UNKNOWN: Final = 0xFFFFFFFF
"""What stands for a length that 32 bits do not hold."""


_BEHIND: Final = frozenset(
    f"{name:4}".encode()
    for name in (
        *(
            "LIST",
            "INFO",
            "id3",
            "ID3",
            "ID32",
            "bext",
            "cue",
            "plst",
            "labl",
            "note",
            "smpl",
            "inst",
        ),
        *("fact", "PEAK", "JUNK", "junk", "PAD", "FLLR", "iXML", "axml", "_PMX", "cart", "DISP"),
    )
)
"""Names of chunks that programs put behind the audio."""


@attrs.frozen(kw_only=True)
class Recovered:
    """What a WAV file holds, and what had to be mended.

    ``samples`` of each channel are in it, ``claimed`` of them are what the header told of before;
    None: it left that open. ``cut`` is how many bytes were dropped from the end, which were no
    whole frame. ``mended`` says whether the file was changed at all.
    """

    path: Path
    rate: int
    channels: int
    claimed: int | None
    samples: int
    cut: int
    mended: bool

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def recover_wav(path: Path) -> Recovered:
    """Have the header of a WAV file say what there is, be that more or less than it said.

    Of use for a :class:`~listenproto_trio.WavFile` whose process died, and for any WAV or RF64
    file of 16-bit PCM, with any channels and rate, whose audio stands last: then the audio is
    what the file has, whatever the header claims. Well-known chunks up to the end of the file, as
    tags are, are no audio. No audio is ever taken away: only what is left
    of a frame at the end is. A file that is right is not touched, and may be read-only.

    Raises :class:`~listenproto.WavError` for what is no such file or cannot be mended, OSError
    for one that cannot be opened or written, or that is still being recorded.
    """
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise WavError("it is no regular file")
        if not lock(file):
            raise OSError(errno.EBUSY, "it is still being recorded", str(path))
        if os.fstat(file.fileno()).st_size == 0:
            raise WavError("it is empty: not even the header of a WAV file was written")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as wav:
            head = read_wav_head(wav)
            if not head.channels or not head.rate:
                raise WavError(f"it has {head.channels} channels at {head.rate} samples a second")
            frame = SAMPLE_BYTES * head.channels
            tagged = _chunks_at_the_end(wav, head)
            there = head.length if tagged else _length(wav, head)
            assert there is not None
            cut = there % frame
            length = there - cut
            right = not cut and head.length == length and (tagged or head.end == len(wav))
            front = b"" if right else _mended(wav[: head.start], head, length)
        if not right:
            with open(path, "r+b", buffering=0) as mending:
                put(mending, front, 0)
                os.ftruncate(mending.fileno(), head.start + length)
    return Recovered(
        path=path,
        rate=head.rate,
        channels=head.channels,
        claimed=None if head.length is None else head.length // frame,
        samples=length // frame,
        cut=cut,
        mended=not right,
    )


def _at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without waiting for its other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _length(wav: Octets, head: WavHead) -> int:
    """How many bytes of audio there are, half a frame at the end included."""
    there = len(wav) - head.start
    if head.length is None:
        return there
    padded = head.length + head.length % 2
    behind = _chunk_behind(wav, head.start + padded, head.end)
    if behind is not None:
        if head.end != len(wav) or head.length % (SAMPLE_BYTES * head.channels):
            raise WavError(
                f"a {chunk_name(behind)} chunk stands behind its audio, which cannot grow then"
            )
        return head.length
    return head.length if there == padded else there


def _chunk_behind(wav: Octets, at: int, end: int) -> bytes | None:
    """The name of the chunk that stands behind the audio, if there are chunks up to ``end``.

    Audio that a header does not tell of may look like a chunk, but hardly ever like chunks that
    end where the whole is to end; that of a recording of ours never does, as it ends with its
    audio.
    """
    if end in (8, 8 + _UNKNOWN):  # it was left open
        end = len(wav)
    first: bytes | None = None
    while at + 8 <= min(end, len(wav)):
        name, size = struct.unpack("<4sI", wav[at : at + 8])
        if not all(0x20 <= letter < 0x7F for letter in name):
            return None
        first = first or name
        at += 8 + size + size % 2
    return first if at in (end, end + 1) else None  # some leave out the last byte of padding


def _chunks_at_the_end(wav: Octets, head: WavHead) -> bool:
    """Whether only chunks are behind the end that the header tells of, where a player stops.

    Programs have put them there without telling of them. Audio that a header does not tell of
    yet might look like that; so they must be of known names and end where the file does, and in
    front of the audio must not stand what a recording of ours has, which nothing but audio follows.
    """
    if head.length is None or head.length % (SAMPLE_BYTES * head.channels):
        return False
    ours = growing_wav_header(head.length, head.rate, head.channels)
    at = head.start + head.length  # whole samples: there is no padding
    if at >= len(wav) or at != head.end or wav[: head.start] == ours:
        return False
    while at + 8 <= len(wav):
        name, size = struct.unpack("<4sI", wav[at : at + 8])
        if name not in _BEHIND:
            return False
        at += 8 + size + size % 2
    return at in (len(wav), len(wav) + 1)  # some leave out the last byte of padding


def _mended(front: bytes, head: WavHead, length: int) -> bytes:
    """What stands in front of the audio, with the lengths as they are."""
    mended = bytearray(front)
    frame, whole, ds64 = SAMPLE_BYTES * head.channels, head.start - 8 + length, head.ds64
    riff, data = whole, length
    if ds64 is None and whole >= _UNKNOWN:
        if mended[12:16] != b"JUNK" or int.from_bytes(mended[16:20], "little") < 28:
            raise WavError(f"its header has no room to tell of {length} bytes of audio")
        mended[:4], mended[12:16], mended[44:48], ds64 = b"RF64", b"ds64", bytes(4), 20
    if ds64 is not None:
        struct.pack_into("<QQQ", mended, ds64, whole, length, length // frame)
        riff = data = _UNKNOWN
    struct.pack_into("<I", mended, 4, riff)
    struct.pack_into("<I", mended, head.start - 4, data)
    return bytes(mended)
