"""The WAV of a recording, which is corrected when a gap is found later."""

from __future__ import annotations

from listenproto.recording._wav_file import WavFile

__all__ = ["Tape"]


class Tape:
    """A WAV of the platform's audio as it was sent; with ``fills_gaps``, gaps are silence.

    A place in the call is a number of samples since the recording began, including those that never
    came. All methods raise OSError as those of :class:`WavFile` do.
    """

    def __init__(self, wav: WavFile, *, fills_gaps: bool) -> None:
        self.wav = wav
        self._fills_gaps = fills_gaps

    def write(self, pcm: bytes, place: int | None) -> None:
        """Append audio, whose place in the call is ``place``; None if that is not known."""
        self.wav.write(pcm)

    def dropped(self, samples: int) -> None:
        """``samples`` after all that was written were not read in time."""
        if self._fills_gaps:
            self.wav.silence(samples)

    def gap(self, at: int, samples: int) -> None:
        """``samples`` before sample ``at`` of the WAV never came."""
        if self._fills_gaps:
            self.wav.insert(at, samples)

    def keep(self, before: int) -> None:
        """No more gaps will be found before sample ``before`` of the WAV."""

    def close(self) -> None:
        """The recording ends."""
        self.wav.close()
