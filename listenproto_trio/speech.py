"""The speech that is shipped: about 11 s of a synthetic voice, 8000 samples a second, mono."""

from __future__ import annotations

from importlib import resources

from listenproto.wav import parse_wav

__all__ = ["speech"]


def speech() -> bytes:
    """The shipped speech: L16 of one channel at 8000 samples a second."""
    wav = resources.files("listenproto_trio").joinpath("speech.wav").read_bytes()
    return parse_wav(wav).pcm
