"""Repair WAV files that were never closed: correct the lengths in their headers."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
from pathlib import Path
from typing import Final

import attrs

from listenproto._wav import (
    Octets,
    WavError,
    WavHead,
    chunk_name,
    growing_wav_header,
    read_l16_head,
    with_length,
)
from listenproto.recording._files import AnyPath, lock, put

__all__ = ["Recovered", "recover_wav"]

_UNKNOWN: Final = 0xFFFFFFFF
"""Stands for a length that does not fit in 32 bits."""
MOST_CHANNELS: Final = 1024
"""More are nonsense, of which a whole recording may be less than one frame."""

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
"""Names of chunks that programs write after the audio."""


@attrs.frozen(kw_only=True)
class Recovered:
    """What a WAV file holds, and what was repaired.

    ``samples`` is how many samples of each channel are in it, ``claimed`` how many the header
    gave before; None if it gave no length. ``cut`` is how many bytes of an incomplete frame were
    removed from the end. ``mended`` is whether the file was changed.
    """

    path: Path
    """The file."""
    rate: int
    """Its sample rate in Hz."""
    channels: int
    """How many channels it has."""
    claimed: int | None
    samples: int
    cut: int
    mended: bool

    @property
    def seconds(self) -> float:
        """How long its audio is."""
        return self.samples / self.rate


def recover_wav(path: AnyPath) -> Recovered:
    """Correct the lengths in the header of a WAV file, whether they are too small or too large.

    For a :class:`~listenproto.recording.WavFile` whose process died, and for any WAV or RF64 file
    of 16-bit PCM, with any channels and rate, whose audio comes last: then the rest of the file is
    audio, whatever the header says. Well-known chunks at the end of the file, such as tags, are
    not audio. No audio is ever removed, except for an incomplete frame at the end. A file that is
    right is not changed, and may be read-only.

    Raises :class:`~listenproto.WavError` for a file of another kind or one that cannot be
    repaired, OSError for one that cannot be opened or written, or that is still being recorded.
    """
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise WavError("it is not a regular file")
        if not lock(file):
            raise OSError(errno.EBUSY, "it is still being recorded", str(path))
        if os.fstat(file.fileno()).st_size == 0:
            raise WavError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as wav:
            head = read_l16_head(wav)
            frame = head.frame
            if head.channels > MOST_CHANNELS or head.rate * frame >= 2**32:  # bytes per second
                channels = f"{head.channels} channel{'' if head.channels == 1 else 's'}"
                said = f"its header says {channels} at {head.rate} Hz"
                raise WavError(f"{said}; no recording has that many")
            tagged = _chunks_at_the_end(wav, head)
            there = head.length if tagged else _length(wav, head)
            assert there is not None
            cut = there % frame
            length = there - cut
            right = not cut and head.length == length and (tagged or head.end == len(wav))
            front = b"" if right else with_length(wav[: head.start], head, length)
        if not right:
            with open(path, "r+b", buffering=0) as mending:
                put(mending, front, 0)
                os.ftruncate(mending.fileno(), head.start + length)
    return Recovered(
        path=Path(path),
        rate=head.rate,
        channels=head.channels,
        claimed=None if head.length is None else head.length // frame,
        samples=length // frame,
        cut=cut,
        mended=not right,
    )


def _at_once(path: str, flags: int) -> int:
    """Open a file; if it is a pipe, without waiting for its other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _length(wav: Octets, head: WavHead) -> int:
    """How many bytes of audio there are, an incomplete frame at the end included."""
    there = len(wav) - head.start
    if head.length is None:
        return there
    padded = head.length + head.length % 2
    behind = _chunk_behind(wav, head.start + padded, head.end)
    if behind is not None:
        if head.end != len(wav) or head.length % head.frame:
            raise WavError(
                f"a {chunk_name(behind)} chunk follows the audio, so its length cannot be corrected"
            )
        return head.length
    return head.length if there == padded else there


def _chunk_behind(wav: Octets, at: int, end: int) -> bytes | None:
    """The name of the chunk after the audio, if only chunks follow up to ``end``.

    Audio that the header does not count may look like a chunk, but hardly ever like chunks that
    end where the file should end. In our own recordings it never does: they end with their audio.
    """
    if end in (8, 8 + _UNKNOWN):  # it was never written
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
    """Whether only chunks follow the end that the header gives, where players stop.

    Some programs append them without changing the header. Audio that the header does not count
    yet might look like them, so they must have known names and end where the file does, and the
    header must not be that of our own recordings, in which nothing but audio follows.
    """
    if head.length is None or head.length % head.frame:
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
