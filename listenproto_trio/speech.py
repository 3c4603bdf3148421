"""The built-in speech: about 11 s of a synthetic voice, 8000 Hz, mono."""

from __future__ import annotations

from importlib import resources

from listenproto._wav import parse_wav

__all__ = ["speech"]


def speech() -> bytes:
    """The built-in speech: L16 of one channel at 8000 Hz."""
    wav = resources.files("listenproto_trio").joinpath("speech.wav").read_bytes()
    return parse_wav(wav).pcm
