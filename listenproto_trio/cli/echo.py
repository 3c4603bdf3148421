"""What ``listenproto serve`` sends back: the caller's own audio, or files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from listenproto._answering import MOST_CLIPS
from listenproto._ends import CallEnded
from listenproto._framing import DEFAULT_MAX_MESSAGE
from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import Mode, PlayAudio
from listenproto._playback import Playback
from listenproto._wav import WavError, read_clip_head
from listenproto.recording._resampling import Resampler, mono
from listenproto_trio._call import Call
from listenproto_trio.cli.options import read_file
from listenproto_trio.cli.sound import MOST_SOUND, mended, read_sound, sound_in

__all__ = ["ClipEcho", "Files", "StreamEcho"]

CLIP_RATE: Final = 16000
"""Sample rate of clips made from files that cannot be sent as they are."""
CLIP_SECONDS: Final = 2
"""Length of the clips of an echo."""
MOST_CLIP: Final = (DEFAULT_MAX_MESSAGE - 2**10) // 4 * 3
"""Largest clip in bytes: it is sent in one message, as base64, with less than a KiB around it."""


class Files:
    """Files that are played to each caller: as clips, or as a stream with a mark after each."""

    def __init__(self, paths: Sequence[Path], mode: Mode, rate: int) -> None:
        clips, streams = mode is Mode.CLIPS, mode is Mode.STREAMING
        self.notes: list[str] = []
        """What is wrong with files that can be played all the same."""
        tell = self.notes.append
        self.clips = [_clip(path, tell) for path in paths if clips]
        self.streams = [
            read_sound(path, rate, option="--play", tell=tell) for path in paths if streams
        ]

    def __bool__(self) -> bool:
        """Whether there is anything to play."""
        return bool(self.clips or self.streams)

    async def play(self, call: Call) -> None:
        """Play them; as many clips as may wait are queued."""
        with suppress(CallEnded):
            for number, pcm in enumerate(self.streams, 1):
                await call.speak(pcm)
                await call.mark(f"file-{number}")
            playing: deque[Playback] = deque()
            for clip in self.clips:
                if len(playing) == MOST_CLIPS:
                    await playing.popleft().wait()
                playing.append(await call.play(clip))


class StreamEcho:
    """Echoes the caller as a stream."""

    def __init__(self, call: Call, rate: int) -> None:
        self._call = call
        self._channels = call.metadata.mix_type.channels
        self._resampler = Resampler(call.metadata.sample_rate, rate)

    async def take(self, pcm: bytes) -> None:
        """Send this piece of audio back."""
        if back := self._resampler.take(mono(pcm, self._channels).tobytes()):
            await self._call.send_audio(back)


class ClipEcho:
    """Echoes the caller in clips of two seconds."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rate = call.metadata.sample_rate
        self._channels = call.metadata.mix_type.channels
        self._said = bytearray()

    async def take(self, pcm: bytes) -> None:
        """Send back what came, once it makes a clip."""
        self._said += mono(pcm, self._channels).tobytes()
        if len(self._said) >= CLIP_SECONDS * self._rate * SAMPLE_BYTES:
            clip = PlayAudio(bytes(self._said), sample_rate=self._rate)
            self._said.clear()
            await self._call.play(clip)


def _clip(path: Path, tell: Callable[[str], None]) -> PlayAudio:
    """A file as a clip: unchanged if a platform can play it, but for a wrong length of a WAV."""
    clip = _of_any_length(path, tell)
    if len(clip.content) > MOST_CLIP:
        most = f"{MOST_CLIP / 2**20:.0f} MiB of audio"
        said = f"{path} is too long for a clip (at most {most}); "
        said += "play a shorter file, or use --mode streaming"
        raise click.BadParameter(said, param_hint="--play")
    return clip


def _of_any_length(path: Path, tell: Callable[[str], None]) -> PlayAudio:
    content = mended(read_file(path, MOST_SOUND, option="--play"), path, tell)
    with suppress(WavError):
        if read_clip_head(content).size:
            return PlayAudio(content, "wav")
    pcm = sound_in(content, path, CLIP_RATE, option="--play", tell=tell)
    return PlayAudio(pcm, sample_rate=CLIP_RATE)
