"""WAV files that go into a call, at the call's rate, and what a caller hears, at one rate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
import numpy as np
import soxr

from listenproto.messages import MixType
from listenproto.playout import Heard
from listenproto.wav import WavError, read_wav
from listenproto_trio.cli.options import read_file
from listenproto_trio.recording import HeardWav
from listenproto_trio.resampling import L16, HeardAtOneRate, Samples, mono
from listenproto_trio.speech import speech

__all__ = [
    "MOST_SOUND",
    "HeardFile",
    "mixed",
    "read_sound",
    "sound_in",
    "spoken",
]

SPEECH_RATE: Final = 8000
MOST_SOUND: Final = 2**29
"""Bytes of a WAV file: an hour and a half at 48 kHz."""


def read_sound(path: Path, rate: int, *, option: str) -> bytes:
    """A WAV file's audio as one channel of L16 at ``rate`` samples a second.

    Raises click.BadParameter for the option where it cannot be read, is no 16-bit PCM, or holds
    no audio.
    """
    return sound_in(read_file(path, MOST_SOUND, option=option), path, rate, option=option)


def sound_in(content: bytes, path: Path, rate: int, *, option: str) -> bytes:
    """The same of a file that has been read."""
    try:
        wav = read_wav(content)
        if not wav.pcm:
            raise WavError("it holds no audio")
    except WavError as exc:
        said = f"{path} cannot be played: {exc}"
        raise click.BadParameter(said, param_hint=option) from exc
    return _at_rate(mono(wav.pcm, wav.channels), wav.rate, rate)


def spoken(rate: int) -> bytes:
    """The shipped speech at ``rate`` samples a second."""
    return _at_rate(mono(speech(), 1), SPEECH_RATE, rate)


def _at_rate(samples: Samples, rate: int, wanted: int) -> bytes:
    resampled: Samples = soxr.resample(samples, rate, wanted) if rate != wanted else samples
    return resampled.astype(L16).tobytes()


def mixed(mix: MixType, caller: bytes, far: bytes) -> bytes:
    """What a platform captures of two parties: L16 of the caller, and of the far end.

    Both are of one channel at one rate; the shorter is silent at its end.
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
    """What a caller hears of clips of any rates, in a WAV file of one rate."""

    def __init__(self, path: Path, rate: int) -> None:
        self._wav = HeardWav(path, rate)
        self._line = HeardAtOneRate(self._wav, rate)

    def hear(self, heard: Iterable[Heard]) -> None:
        """Add what a step of playout gave."""
        self._line.hear(heard)

    def close(self, until: int) -> None:
        """The call was over at ``until`` flicks."""
        self._line.end(until)
        self._wav.close()
