"""Traces of calls as files: written line by line, and read with a limit on their size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from listenproto._messages import Payload, Peer
from listenproto._trace import (
    MAX_LINE,
    Trace,
    TraceError,
    TraceHeader,
    TraceLine,
    TraceMoment,
    read_trace,
)
from listenproto.recording._files import AnyPath, beginning, create, put

__all__ = ["TraceFile", "read_trace_file"]


class TraceFile:
    """A trace being written, line by line: call it with each payload that passes, and its sender.

    So it is a :data:`~listenproto.Tap` of a call. For a session with ``keep_passed``::

        for sender, payload in session.passed():
            trace(sender, payload)

    What was written stays there even if the process dies; only the owner may read it (mode 0600).
    Without ``with_audio``, only the number of bytes of audio is written. ``position`` returns the
    media position, in samples at the listen rate; ``clock`` the time in seconds, which must not go
    back.

    Raises OSError if the file cannot be written, FileExistsError if it exists. If the disk is full,
    the trace ends with its last whole line; each further line raises the same error, and close()
    does not.
    """

    def __init__(
        self,
        path: AnyPath,
        header: TraceHeader,
        *,
        with_audio: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Path = Path(path)
        """The file."""
        self.position: Callable[[], int] = lambda: 0
        self.error: OSError | None = None
        """What ended it early; None if nothing did."""
        self._with_audio = with_audio
        self._clock = clock
        self._started_at: float | None = None
        self._size = 0
        self._file: IO[bytes] = create(self.path)
        with beginning(self._file, self.path):
            self._append(header.to_json())

    def __call__(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        now = self._clock()
        if self._started_at is None:
            self._started_at = now
        at = round((now - self._started_at) * 1_000_000)
        line = TraceLine(at, sender, self.position(), payload)
        self._write(line.to_json(with_audio=self._with_audio))

    def _write(self, line: str) -> None:
        if self.error is not None:
            raise self.error.with_traceback(None)
        try:
            self._append(line)
        except OSError as exc:
            self.error = OSError(exc.errno, f"{exc.strerror}: the trace ends here", str(self.path))
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)
            self._file.close()
            raise self.error from exc

    def _append(self, line: str) -> None:
        octets = f"{line}\n".encode()
        put(self._file, octets, self._size)
        self._size += len(octets)

    def close(self) -> None:
        """Close the file; does nothing if it is closed."""
        self._file.close()


def read_trace_file(path: AnyPath) -> Trace:
    """Read a trace. Raises :class:`~listenproto.TraceError`, OSError.

    It may be a pipe; even a line without an end takes no more memory than the longest valid one.
    """
    with open(path, "rb") as file:
        lines = _Lines(file)
        try:
            return read_trace(lines)
        except TraceError as exc:
            exc.cut_short = lines.cut_short
            raise


class _Lines:
    """The lines of a file, with their line breaks."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.cut_short = False
        """Whether the last line that was read has no line break."""

    def __iter__(self) -> Iterator[str]:
        number = 0
        while octets := self._file.readline(MAX_LINE + 1):
            number += 1
            if len(octets) > MAX_LINE:
                raise TraceError(number, f"longer than {MAX_LINE} bytes")
            self.cut_short = not octets.endswith(b"\n")
            try:
                yield octets.decode()
            except UnicodeDecodeError:
                raise TraceError(number, "not UTF-8 text") from None
