"""When the caller has been silent for too long (LP-TIME-6)."""

from __future__ import annotations

from listenproto._l16 import peak

__all__ = ["Silence"]


class Silence:
    """Finds the first ``most`` silent sample frames in a row.

    ``frame`` is how many bytes a sample frame has; it is silent if all its samples are below
    ``threshold``.
    """

    def __init__(self, most: int, frame: int, threshold: int) -> None:
        self._most = most
        self._frame = frame
        self._threshold = threshold
        self._silent = 0
        """How many silent frames there are at the end of what has passed."""

    def ends_at(self, pcm: bytes) -> int | None:
        """The next audio: after how many of its frames there were too many silent ones.

        That may be more than it has; None if it cannot be told yet.
        """
        frames = len(pcm) // self._frame
        if peak(pcm) < self._threshold:
            before, self._silent = self._silent, self._silent + frames
            return self._most - before
        ended_at = None
        if self._silent + frames >= self._most:
            ended_at = self._first_in(pcm, frames)
        self._silent = 0
        while self._is_silent(pcm, frames - 1 - self._silent):
            self._silent += 1
        return ended_at

    def _first_in(self, pcm: bytes, frames: int) -> int | None:
        silent = self._silent
        for index in range(frames):
            silent = silent + 1 if self._is_silent(pcm, index) else 0
            if silent == self._most:
                return index + 1
        return None

    def _is_silent(self, pcm: bytes, index: int) -> bool:
        return peak(pcm[index * self._frame : (index + 1) * self._frame]) < self._threshold
