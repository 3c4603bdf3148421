"""WAV files that survive a crash of the process that writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from listenproto._heard import Heard
from listenproto._l16 import SAMPLE_BYTES, samples_in
from listenproto._wav import GROWING_HEADER, growing_wav_header
from listenproto.recording._files import AnyPath, beginning, create, lock, put

__all__ = ["HeardWav", "WavFile"]

CHUNK: Final = 2**16
"""Bytes that are moved within a file at a time."""


class WavFile:
    """A WAV file of L16 that stays readable even if the process dies.

    At any time all but the last second of it can be read as it is; if it was not closed,
    :func:`~listenproto.recording.recover_wav` brings back that second too. Past 4 GiB it turns into
    RF64 (EBU Tech 3306) and goes on. It is not synced to the disk, so a power failure may lose
    more. Only the owner may read it (mode 0600). A write waits only until the system has copied the
    bytes, microseconds for 20 ms of audio, so an event loop needs no thread for it.

    Raises OSError if the file cannot be written, FileExistsError if it exists: nothing is ever
    overwritten.
    """

    def __init__(self, path: AnyPath, rate: int, channels: int = 1) -> None:
        self.path: Path = Path(path)
        """The file."""
        self.samples: int = 0
        """How many samples of each channel are in it."""
        self.error: OSError | None = None
        """What ended it early; None if nothing did."""
        self._rate = rate
        self._channels = channels
        self._frame = SAMPLE_BYTES * channels
        self._claimed = 0
        self._file: IO[bytes] = create(self.path)
        with beginning(self._file, self.path):
            lock(self._file)
            self._claim()

    def write(self, pcm: bytes, at: int | None = None) -> None:
        """Append L16 in whole sample frames, as a session returns it; ValueError for anything else.

        With ``at``, it overwrites what is there from that sample on, and may reach beyond the end.

        Raises OSError if the disk is full or fails: the recording ends there. What there was room
        for is kept, in whole frames, and the header has its length. Each further write raises the
        same error; close() does not.
        """
        if len(pcm) % self._frame:
            raise ValueError(
                f"{len(pcm)} bytes are not a whole number of sample frames of {self._frame} bytes"
            )
        at = self.samples if at is None else at
        with self._growing(at + len(pcm) // self._frame - self.samples):
            put(self._file, pcm, self._place(at))

    def silence(self, samples: int) -> None:
        """Append silence; an hour costs no more than a second."""
        with self._growing(samples):  # the system reads it as zeros
            os.ftruncate(self._file.fileno(), self._place(self.samples + samples))

    def insert(self, at: int, samples: int) -> None:
        """Insert silence before sample ``at``; what comes after it moves.

        If the process is killed meanwhile, no audio is lost, but some may be in the file twice.
        """
        start, end, shift = self._place(at), self._place(self.samples), samples * self._frame
        moved_last = min(end - start, shift)
        with self._growing(samples):
            try:
                os.ftruncate(self._file.fileno(), end + shift)
                self._copy(end - moved_last, end, shift)
            except OSError:
                os.ftruncate(self._file.fileno(), end)
                raise
        with self._growing(0):  # overwrites only what has a copy at its new place
            self._copy(start, end - moved_last, shift)
            for place in range(start, start + moved_last, CHUNK):
                put(self._file, bytes(min(CHUNK, start + moved_last - place)), place)

    def _copy(self, start: int, end: int, shift: int) -> None:
        """Copy bytes ``shift`` bytes further, the last ones first, so that none is lost."""
        while size := min(end - start, shift, CHUNK):
            end -= size
            put(self._file, os.pread(self._file.fileno(), size, end), end + shift)

    def read(self, at: int, samples: int) -> bytes:
        """Read ``samples`` samples of what was written, from sample ``at`` on."""
        with self._growing(0):
            return os.pread(self._file.fileno(), samples * self._frame, self._place(at))

    def _place(self, sample: int) -> int:
        """The offset of a sample in the file."""
        return GROWING_HEADER + sample * self._frame

    @contextmanager
    def _growing(self, samples: int) -> Iterator[None]:
        """Count the samples that the block adds, if any; if it fails, the recording ends."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        try:
            yield
            self.samples += max(0, samples)
            if self.samples - self._claimed >= self._rate:
                self._claim()
        except OSError as exc:
            raise self._cut_short(exc) from exc

    def _claim(self) -> None:
        """Write the length into the header, in one write, so that it is never half written."""
        length = self.samples * self._frame
        put(self._file, growing_wav_header(length, self._rate, self._channels), 0)
        self._claimed = self.samples

    def _cut_short(self, why: OSError) -> OSError:
        """End the file with its last whole frame; returns the error to raise."""
        with suppress(OSError):
            there = os.fstat(self._file.fileno()).st_size - GROWING_HEADER
            self.samples = there // self._frame
            os.ftruncate(self._file.fileno(), self._place(self.samples))
            self._claim()
        self._file.close()
        seconds = self.samples / self._rate
        said = f"{why.strerror}: the recording ends after {seconds:.2f} s"
        self.error = OSError(why.errno, said, str(self.path))
        return self.error

    def close(self) -> None:
        """Write the final length into the header. Raises OSError as :meth:`write` does, once."""
        if self._file.closed:
            return
        try:
            self._claim()
        except OSError as exc:
            raise self._cut_short(exc) from exc
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class HeardWav(WavFile):
    """What a caller heard, at one rate, with silence where nothing played."""

    def hear(self, heard: list[Heard]) -> None:
        """Add the audio of a step of playout. Raises ValueError for another sample rate."""
        for piece in heard:
            if piece.rate != self._rate:
                raise ValueError(
                    f"{self.path.name} has a sample rate of {self._rate} Hz; "
                    f"audio of {piece.rate} Hz cannot be added"
                )
            self.fill(piece.start)
            self.write(piece.pcm)

    def fill(self, until: int) -> None:
        """Append silence up to ``until`` flicks; an hour costs no more than a second."""
        samples = samples_in(until, self._rate)
        if samples > self.samples:
            self.silence(samples - self.samples)
