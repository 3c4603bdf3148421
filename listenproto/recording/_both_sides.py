"""Recordings of both sides: what the platform sent, and what the caller heard of the app.

What the caller heard is computed: what the app sends is played as a platform of the call's profile
plays it. So clips are queued, a killAudio stops playout, and audio that was not heard before the
end is not in the recording. Needs numpy and soxr, which come with the extra ``recording``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import pairwise
from operator import attrgetter
from typing import Final

import attrs
import numpy as np

from listenproto._clip_audio import clip_audio
from listenproto._heard import Heard
from listenproto._l16 import SAMPLE_BYTES, flicks_of, samples_in
from listenproto._messages import (
    Audio,
    ClearMarks,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    Metadata,
    PlayAudio,
)
from listenproto._playout import Playout
from listenproto._profile import Profile
from listenproto._wav import parse_wav
from listenproto.recording._resampling import L16, HeardAtOneRate, Samples, mono
from listenproto.recording._tape import Tape
from listenproto.recording._wav_file import WavFile

__all__ = ["BothSides", "Hearing"]

MOST_SECONDS: Final = 3600.0
"""How much audio is kept that was sent ahead, or that was heard and may still be needed. Audio
beyond that is not recorded."""


class _Track:
    """One channel of L16 at one rate; only the newest part is kept. Silence takes no memory."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._most = int(MOST_SECONDS * rate) * SAMPLE_BYTES
        self._pieces: list[tuple[int, bytes]] = []
        """Where each piece ends, and its audio."""
        self._held = 0
        self.samples = 0

    def write(self, pcm: bytes) -> None:
        """Append audio."""
        if pcm:
            self.samples += len(pcm) // SAMPLE_BYTES
            self._pieces.append((self.samples, pcm))
            self._held += len(pcm)
        while self._held > self._most:
            self._forget(1)

    def fill(self, until: int) -> None:
        """Append silence up to ``until`` flicks."""
        self.samples = max(self.samples, samples_in(until, self._rate))

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The audio between two samples: the start of each piece, and its L16."""
        for index in range(self._index(start), len(self._pieces)):
            until, pcm = self._pieces[index]
            at = until - len(pcm) // SAMPLE_BYTES
            if at >= end:
                break
            first, last = max(start, at), min(end, until)
            yield first, pcm[(first - at) * SAMPLE_BYTES : (last - at) * SAMPLE_BYTES]

    def forget(self, before: int) -> None:
        """Drop what is before that sample."""
        self._forget(self._index(before))

    def _index(self, sample: int) -> int:
        """The first piece that ends after a sample."""
        return bisect_left(self._pieces, sample + 1, key=lambda piece: piece[0])

    def _forget(self, count: int) -> None:
        self._held -= sum(len(pcm) for _, pcm in self._pieces[:count])
        del self._pieces[:count]


class Hearing:
    """What the caller hears of the app, as far as this end knows: L16 of one channel at ``rate``.

    ``stream_rate`` is the rate of the app's stream. Times are in flicks and places in samples at
    ``rate``, both since the beginning.
    """

    def __init__(self, *, rate: int, stream_rate: int, profile: Profile) -> None:
        self._stream = Playout(profile=profile, stream_rate=stream_rate, max_seconds=MOST_SECONDS)
        self._clips = Playout(profile=profile, max_seconds=MOST_SECONDS)
        self._track = _Track(rate)
        self._line = HeardAtOneRate(self._track, rate)

    @property
    def known(self) -> int:
        """The sample up to which it is known; resampling delays that by some tenths of a second."""
        return self._track.samples

    def reach(self, now: int) -> None:
        """It is ``now``: the caller has heard everything up to then."""
        if (step := now - self._stream.now) > 0:
            items = self._stream.play(step) + self._clips.play(step)
            self._line.hear(item for item in items if isinstance(item, Heard))
            self._line.reach(now)

    def sent(self, message: Message) -> None:
        """The app sends a message now."""
        if isinstance(message, Audio):
            self._stream.add_stream(message.pcm)
        elif isinstance(message, Mark):
            self._stream.add_mark(message.name)
        elif isinstance(message, ClearMarks):
            self._stream.clear_marks()
        elif isinstance(message, PlayAudio):
            pcm, rate = _clip_audio(message)
            queue_play = message.queue_play is True
            flicks = flicks_of(len(pcm) // SAMPLE_BYTES, rate)
            if self._clips.has_room_for_clip(flicks, queue_play=queue_play):
                self._clips.add_clip(pcm, rate, queue_play=queue_play)
        elif isinstance(message, KillAudio):
            self._stream.kill()
            self._clips.kill()
        elif isinstance(message, Disconnect):
            self._stream.flush()
            self._clips.flush()

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """What was heard between two samples: the start of each piece, and its L16."""
        return self._track.pieces(start, end)

    def forget(self, before: int) -> None:
        """Drop what was heard before that sample."""
        self._track.forget(before)

    def end(self) -> None:
        """The caller hears no more; everything is known now."""
        self._line.end(self._stream.now)


def _clip_audio(clip: PlayAudio) -> tuple[bytes, int]:
    """As :func:`clip_audio`, but fast: mixing down long stereo must not delay other calls."""
    if clip.content_type != "wav":
        return clip_audio(clip)
    wav = parse_wav(clip.content)
    return mono(wav.pcm, wav.channels).astype(L16).tobytes(), wav.rate


@attrs.define
class _Stretch:
    """Samples of a WAV from ``at`` on; ``place`` is where the first is in the call, if known."""

    at: int
    place: int | None


_at: Final = attrgetter("at")


class BothSides(Tape):
    """A stereo WAV: left the platform's audio, right what the caller heard of the app meanwhile.

    If the platform sends two channels, they are mixed down. Left and right are written as soon as
    audio comes. The right side is corrected when more is known: resampled audio is known some
    tenths of a second later, and audio behind a gap was heard later than it first seemed.
    """

    def __init__(
        self, wav: WavFile, metadata: Metadata, hearing: Hearing, *, fills_gaps: bool
    ) -> None:
        super().__init__(wav, fills_gaps=fills_gaps)
        self._rate = metadata.sample_rate
        self._channels = metadata.mix_type.channels
        self._hearing = hearing
        self._stretches = [_Stretch(0, None)]
        """The places in the call of samples of the WAV, as far back as they may change."""
        self._settled = 0
        """The sample of the WAV up to which the right side is complete."""

    def write(self, pcm: bytes, place: int | None) -> None:
        left, at = mono(pcm, self._channels), self.wav.samples
        if place != self._place(at):
            self._from(at)[0].place = place
        self.wav.write(_stereo(left, self._right(at, at + len(left))))
        self._settle(at)

    def dropped(self, samples: int) -> None:
        at = self.wav.samples
        super().dropped(samples)
        self._hear_in_silence(at, self.wav.samples)
        self._settle(at)

    def gap(self, at: int, samples: int) -> None:
        place = self._place(at)
        behind = self._from(at)
        for stretch in behind:
            stretch.place = None if stretch.place is None else stretch.place + samples
        super().gap(at, samples)
        if self._fills_gaps:
            for stretch in behind:
                stretch.at += samples
            insort(self._stretches, _Stretch(at, place), key=_at)
            self._hear_in_silence(at, at + samples)
        self._render(behind[0].at, self.wav.samples)
        self._settled = min(self._settled, at)
        self._settle(at)

    def keep(self, before: int) -> None:
        self._stretches = self._from(min(before, self._settled))
        place = self._stretches[0].place
        if place is not None:
            self._hearing.forget(place)

    def close(self) -> None:
        if self.wav.error is None:
            self._hearing.end()
            self._settle(self.wav.samples)
        super().close()

    def _place(self, at: int) -> int | None:
        """The place in the call of a sample of the WAV, or of the next sample, if known."""
        *_, stretch = (stretch for stretch in self._stretches if stretch.at <= at)
        return None if stretch.place is None else stretch.place + at - stretch.at

    def _from(self, at: int) -> list[_Stretch]:
        """The stretches from a sample of the WAV on."""
        if all(stretch.at != at for stretch in self._stretches):
            insort(self._stretches, _Stretch(at, self._place(at)), key=_at)
        return [stretch for stretch in self._stretches if stretch.at >= at]

    def _between(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The stretches between two samples of the WAV whose place in the call is known.

        Yields the start, the end and the place of each.
        """
        for stretch, behind in pairwise((*self._stretches, _Stretch(end, None))):
            first, last = max(start, stretch.at), min(end, behind.at)
            if first < last and stretch.place is not None:
                yield first, last, stretch.place + first - stretch.at

    def _heard(self, start: int, end: int) -> Iterator[tuple[int, Samples]]:
        """What the caller heard of the app between two samples of the WAV, with its places."""
        for first, last, place in self._between(start, end):
            for heard_at, pcm in self._hearing.pieces(place, place + last - first):
                yield first + heard_at - place, mono(pcm, 1)

    def _right(self, start: int, end: int) -> Samples:
        """The right side between two samples of the WAV, as far as it is known."""
        right = np.zeros(end - start, np.int16)
        for at, heard in self._heard(start, end):
            right[at - start : at - start + len(heard)] = heard
        return right

    def _settle(self, fresh: int) -> None:
        """Complete the right side before ``fresh``; from there on it was just written."""
        start, self._settled = self._settled, self.wav.samples
        for first, last, place in self._between(start, self.wav.samples):
            if place + last - first > self._hearing.known:
                self._settled = max(first, first + self._hearing.known - place)
                break
        self._render(start, min(self._settled, fresh))

    def _render(self, start: int, end: int) -> None:
        """Write the right side between two samples of the WAV again, a second at a time."""
        for at in range(start, end, self._rate):
            until = min(at + self._rate, end)
            left = np.frombuffer(self.wav.read(at, until - at), L16)[::2]
            self.wav.write(_stereo(left, self._right(at, until)), at)

    def _hear_in_silence(self, start: int, end: int) -> None:
        """Write what was heard into the right side over silence, which may be hours long."""
        for at, heard in self._heard(start, end):
            self.wav.write(_stereo(np.zeros_like(heard), heard), at)


def _stereo(left: Samples, right: Samples) -> bytes:
    both = np.empty((len(left), 2), L16)
    both[:, 0], both[:, 1] = left, right
    return both.tobytes()
