"""The audio of clips, and the clips that are sent in place of those that would not be heard."""

from __future__ import annotations

from collections.abc import Container

import attrs

from listenproto._l16 import PLAY_RATES, SAMPLE_BYTES, flicks_of
from listenproto._messages import PlayAudio
from listenproto._wav import Wav, WavError, mended_wav, wav_header

__all__ = ["clip_audio", "clip_flicks", "mended_clip", "wav_for_raw"]


def mended_clip(clip: PlayAudio) -> PlayAudio:
    """The clip with the right length in the header of its WAV (LP-CLIP-31).

    It is returned unchanged if the length is right, or if the WAV cannot be played anyway.
    """
    if clip.content_type != "wav":
        return clip
    try:
        head = clip.head
    except WavError:  # the check before sending reports it
        return clip
    if head.flaw is None:
        return clip
    return attrs.evolve(clip, content=mended_wav(clip.content, head))


def wav_for_raw(clip: PlayAudio, rates: Container[int]) -> PlayAudio:
    """The same clip as a WAV, if it is raw and of a rate that is not among ``rates`` (LP-CLIP-33).

    It is returned unchanged if it is not, or if it cannot be sent anyway.
    """
    raw_rate = clip.sample_rate if clip.content_type == "raw" else None
    # the check before sending reports another rate, and half a sample
    if raw_rate not in PLAY_RATES or raw_rate in rates or len(clip.content) % SAMPLE_BYTES:
        return clip
    content = wav_header(len(clip.content), int(raw_rate)) + clip.content
    return attrs.evolve(clip, content=content, content_type="wav", sample_rate=None)


def clip_audio(clip: PlayAudio) -> tuple[bytes, int]:
    """The audio of a clip, one channel of L16 in whole samples, and its rate in Hz (LP-CLIP-17).

    The odd last byte of a raw clip is left out; two channels of a WAV are mixed down. Raises
    :class:`WavError` if a WAV cannot be played.
    """
    if clip.content_type == "wav":
        head = clip.head
        pcm = clip.content[head.start : head.start + head.size]
        return Wav(pcm, head.rate, head.channels).mono(), head.rate
    return clip.content[: len(clip.content) // 2 * 2], clip.sample_rate or PLAY_RATES[0]


def clip_flicks(clip: PlayAudio) -> int:
    """The media time of the audio of a clip, in flicks; see :func:`clip_audio`."""
    if clip.content_type == "wav":
        return flicks_of(clip.head.size // clip.head.frame, clip.head.rate)
    return flicks_of(len(clip.content) // SAMPLE_BYTES, clip.sample_rate or PLAY_RATES[0])
