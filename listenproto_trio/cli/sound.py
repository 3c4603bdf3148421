"""Sound files for a call, at the call's sample rate, and what a caller hears, at one rate."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from listenproto._heard import Heard
from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import MixType
from listenproto._wav import WavError, kind_of, mended_wav, read_wav_head
from listenproto.recording import HeardWav
from listenproto.recording._resampling import L16, HeardAtOneRate, Samples, mono
from listenproto_trio.cli.options import read_file
from listenproto_trio.speech import speech

__all__ = [
    "MOST_SOUND",
    "HeardFile",
    "mended",
    "mixed",
    "read_sound",
    "sound_in",
    "spoken",
]

SPEECH_RATE: Final = 8000
MOST_SOUND: Final = 2**29
"""Maximum size of a sound file, and of its audio as L16, in bytes: 90 minutes at 48 kHz."""
BLOCK: Final = 2**12
"""Samples, of all channels, that are read at a time; if reading fails, these are lost."""
OGG_HEAD: Final = 27
"""Bytes of a page before its table of segments, whose length is the last of them."""
OGG_LAST: Final = 4
"""The bit in byte 5 of the last page."""
CORRECTED: Final = r": (\d+) \(should be (\d+)\)"
"""How libsndfile notes a length that it corrects."""
UNKNOWN_FRAMES: Final = 2**63 - 1
"""What libsndfile reports as the length if a file does not have it."""


def read_sound(path: Path, rate: int, *, option: str, tell: Callable[[str], None]) -> bytes:
    """Read a sound file's audio as one channel of L16 at ``rate`` Hz.

    The file may be any that libsndfile reads, with any channels. ``tell`` is called if it has less
    audio than it claims, as a file that was cut off: WAV, FLAC, MP3, Ogg, AIFF, AU, W64 and SVX
    show that; of others, what is there is played without a note. Raises click.BadParameter for the
    option if the file cannot be read, or has no audio, or too much.
    """
    content = mended(read_file(path, MOST_SOUND, option=option), path, tell)
    return sound_in(content, path, rate, option=option, tell=tell)


def mended(content: bytes, path: Path, tell: Callable[[str], None]) -> bytes:
    """The content of a sound file; a WAV gets the right length in its header (LP-CLIP-31)."""
    try:
        head = read_wav_head(content)
    except WavError:  # it may be another sound file
        return content
    if head.flaw is None:
        return content
    tell(f"{path} has a wrong header: {head.flaw}; playing what is there")
    return mended_wav(content, head)


def sound_in(
    content: bytes, path: Path, rate: int, *, option: str, tell: Callable[[str], None]
) -> bytes:
    """As :func:`read_sound`, from content that was read and mended."""
    try:
        samples, own_rate = _decoded(content, path, tell)
        if len(samples) * rate / own_rate * SAMPLE_BYTES > MOST_SOUND:
            raise _too_long()
        pcm = _at_rate(samples, own_rate, rate)
        if not pcm:
            raise _CannotPlay("it has no audio")
        return pcm
    except _CannotPlay as exc:
        said = f"{path} cannot be played: {exc}"
        raise click.BadParameter(said, param_hint=option) from exc


class _CannotPlay(Exception):
    """The file has no audio that can be played; the message says why."""


def _too_long() -> _CannotPlay:
    return _CannotPlay(f"it has more than {MOST_SOUND >> 20} MiB of audio; use a shorter file")


class _Forwards(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A sound file that is read from start to end.

    Seeking fails in files that were cut off or do not have their length, FLAC above all.
    """

    def seekable(self) -> bool:
        return False


def _decoded(content: bytes, path: Path, tell: Callable[[str], None]) -> tuple[Samples, int]:
    """One channel of a file's samples, and their rate."""
    if not content:
        raise _CannotPlay("it is empty")
    pieces: list[Samples] = []
    read, why, cut = 0, "", False
    try:
        with _Forwards(io.BytesIO(content)) as file:
            rate, channels, claimed = file.samplerate, file.channels, file.frames
            while len(block := file.read(BLOCK // channels, dtype="float32", always_2d=True)):
                read += len(block)
                if read * channels * SAMPLE_BYTES > MOST_SOUND:
                    raise _too_long()
                pieces.append(mono(_as_l16(block), channels))
            cut = read < claimed < UNKNOWN_FRAMES or _is_cut(content, file.extra_info)
    except soundfile.LibsndfileError as exc:
        why = f" ({exc.error_string.rstrip('.')})"
        if not pieces:
            kind = kind_of(content)
            what = f"this {kind} file" if kind else "this file"
            said = f"libsndfile cannot read {what}{why}; convert it to WAV, FLAC, Ogg or MP3"
            raise _CannotPlay(said) from exc
    if cut and not pieces:
        raise _CannotPlay("it is cut off before its audio starts")
    if why or cut:
        tell(f"{path} is cut off or damaged{why}; playing the {read / rate:.2f} s that it has")
    return np.concatenate([np.empty(0, np.int16), *pieces]), rate


def _is_cut(content: bytes, log: str) -> bool:
    """Whether a file has less than it claims; ``log`` is what libsndfile noted of it.

    libsndfile corrects lengths itself and reports the right one, but notes the claim. A WAV has
    been mended before, and may leave its length open.
    """
    if content.startswith(b"OggS"):  # RFC 3533, 6: its last page is marked as the last
        page = content[content.rfind(b"OggS") :]
        if len(page) < OGG_HEAD:
            return True
        segments = page[OGG_HEAD : OGG_HEAD + page[OGG_HEAD - 1]]
        size = OGG_HEAD + page[OGG_HEAD - 1] + sum(segments)
        return len(page) < size or not page[5] & OGG_LAST
    if content.startswith((b"RIFF", b"RF64")):
        return False
    return any(int(claim) > int(there) for claim, there in re.findall(CORRECTED, log))


def _as_l16(block: npt.NDArray[np.float32]) -> bytes:
    """L16 of samples from -1 to 1; others are clipped, and NaN is silence."""
    scaled = np.rint(np.clip(np.nan_to_num(block), -1, 1) * 2**15)
    return np.minimum(scaled, 2**15 - 1).astype(L16).tobytes()


def spoken(rate: int) -> bytes:
    """The built-in speech at ``rate`` Hz."""
    return _at_rate(mono(speech(), 1), SPEECH_RATE, rate)


def _at_rate(samples: Samples, rate: int, wanted: int) -> bytes:
    resampled: Samples = soxr.resample(samples, rate, wanted) if rate != wanted else samples
    return resampled.astype(L16).tobytes()


def mixed(mix: MixType, caller: bytes, far: bytes) -> bytes:
    """What a platform captures of two parties, from L16 of the caller and of the far end.

    Each has one channel, both have the same rate; the shorter one is padded with silence.
    """
    if mix is MixType.MONO:
        return caller
    size = max(len(caller), len(far))
    left, right = (np.frombuffer(pcm.ljust(size, b"\0"), L16) for pcm in (caller, far))
    if mix is MixType.STEREO:
        return np.column_stack((left, right)).astype(L16).tobytes()
    total = left.astype(np.int32) + right
    loudest: Samples = np.clip(total, -(2**15), 2**15 - 1).astype(np.int16)
    return loudest.astype(L16).tobytes()


class HeardFile:
    """What a caller hears, clips of any rates, in a WAV file of one rate."""

    def __init__(self, path: Path, rate: int) -> None:
        self._wav = HeardWav(path, rate)
        self._line = HeardAtOneRate(self._wav, rate)

    def hear(self, heard: Iterable[Heard]) -> None:
        """Add the audio of a step of playout."""
        self._line.hear(heard)

    def close(self, until: int) -> None:
        """The call was over at ``until`` flicks."""
        self._line.end(until)
        self._wav.close()
