"""Recordings of calls in a folder: for each a WAV, and beside it a JSON file that tells of it.

The format of the JSON file is in :mod:`listenproto_trio.sidecar`.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from listenproto.messages import JSON, Audio, Dtmf, Metadata
from listenproto_trio.call import Call
from listenproto_trio.recording import WavFile
from listenproto_trio.sidecar import Sidecar
from listenproto_trio.transport import CallEnded
from listenproto_trio.unread import CallEvent, Dropped

__all__ = ["Recorder", "Recording", "file_stem", "stems"]

LONGEST: Final = 100
"""Characters of a name; file systems take some 255 with what is put behind it."""
RESERVED: Final = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)
"""Names that are devices on some systems, whatever their suffix."""


class Recorder:
    """Records calls in a folder, which is made where it is not there.

    ``name`` says, of the metadata, what the files of a call are to be called; by default its
    callSid. Whatever that is, the name is a portable one and leads nowhere else: ASCII letters,
    digits, - and _, at most 100, and ``call`` where nothing is left of it. Where it is taken,
    as several listens of one call have one callSid, ``-2`` to ``-9`` and then something random is
    put behind it. Processes may share the folder; nothing is ever overwritten. A trace that is
    called ``<name>.trace.jsonl`` counts as one of the files, so that one can be put beside them.

    With ``Answering(unread="hold")`` nothing is missing in a recording; otherwise audio that is
    not read in time is, and the sidecar says where.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: Callable[[Metadata], JSON] = lambda metadata: metadata.call_sid,
    ) -> None:
        self.folder = folder
        self._name = name

    @contextmanager
    def record(self, call: Call) -> Iterator[Recording]:
        """A recording of a call, which is given each event; it ends with the block.

        Where files cannot be written, as on a full disk, that is logged in one line and costs this
        recording, not the call: see :attr:`Recording.error`. What is raised in the block is
        noted and goes on.
        """
        recording = Recording(call)
        recording._start(self.folder, file_stem(self._name(call.metadata)))
        try:
            yield recording
        except BaseException as exc:
            recording._end(exc)
            raise
        recording._end(None)


class Recording:
    """A call that is being recorded. Writing blocks for microseconds: see :class:`WavFile`."""

    def __init__(self, call: Call) -> None:
        self.errors: list[OSError] = []
        """What went wrong with a file, for each file once: its WAV, its sidecar."""
        self._call = call
        self._wav: WavFile | None = None
        self._sidecar: Sidecar | None = None

    @property
    def error(self) -> OSError | None:
        """The first thing that went wrong with a file; None as long as nothing has."""
        return self.errors[0] if self.errors else None

    @property
    def samples(self) -> int:
        """How many samples of each channel have been recorded."""
        return self._wav.samples if self._wav else 0

    @property
    def path(self) -> Path | None:
        """The WAV; None where there is none, for the reason in :attr:`error`."""
        return self._wav.path if self._wav else None

    @property
    def sidecar(self) -> Path | None:
        """The JSON file beside the WAV; None where there is none."""
        return self._sidecar.path if self._sidecar else None

    def take(self, event: CallEvent) -> None:
        """Record an event of the call: its audio, its keys, and what was dropped unread."""
        if self._wav is None or self._sidecar is None:
            return
        if isinstance(event, Audio):
            if self._wav.error is None:
                try:
                    self._wav.write(event.pcm)
                except OSError as exc:
                    self._failed(exc)
        elif isinstance(event, Dtmf):
            self._sidecar.key(event, self.samples)
        elif isinstance(event, Dropped) and event.samples:
            self._sidecar.gap(event.samples, self.samples)
        self._sidecar.tell()

    def _failed(self, error: OSError) -> None:
        """A file is not whole. What comes of that is not told again."""
        if all(error.filename != told.filename for told in self.errors):
            self.errors.append(error)
            self._call.log.error("recording %s: %s", error.filename, error.strerror)

    def _start(self, folder: Path, wanted: str) -> None:
        try:
            with suppress(FileExistsError):  # it is no folder: the WAV's error says so better
                folder.mkdir(parents=True, exist_ok=True)
            for stem in stems(wanted):
                if self._have(folder / f"{stem}.wav"):
                    break
        except OSError as exc:
            self._failed(exc)

    def _have(self, path: Path) -> bool:
        """Start the files; False where one of that name is there."""
        metadata = self._call.metadata
        try:
            wav = WavFile(path, metadata.sample_rate, metadata.mix_type.channels)
        except FileExistsError:
            return False
        try:
            if not any(os.path.lexists(path.with_suffix(it)) for it in (".trace.jsonl", ".new")):
                self._sidecar = Sidecar(path, self._about())
                self._wav = wav
        except FileExistsError:
            pass
        finally:
            if self._wav is None:
                with suppress(OSError):
                    wav.close()
                with suppress(OSError):
                    path.unlink()
        return self._wav is not None

    def _about(self) -> dict[str, JSON]:
        """What is known of the call from the start."""
        metadata = self._call.metadata
        return {
            "sampleRate": metadata.sample_rate,
            "channels": metadata.mix_type.channels,
            "mixType": metadata.mix_type.value,
            "metadata": dict(metadata.attributes),
            "truncated": metadata.truncated,
        }

    def _end(self, raised: BaseException | None) -> None:
        """Close the WAV, and have the sidecar tell of the end."""
        if self._wav is None or self._sidecar is None:
            return
        try:
            self._wav.close()
        except OSError as exc:
            self._failed(exc)
        error = self._wav.error
        end = {
            **_how(self._call, raised),
            "samples": self.samples,
            "seconds": self.samples / self._call.metadata.sample_rate,
            "samplesDropped": self._call.samples_dropped,
            "recordingError": error and error.strerror,
        }
        try:
            self._sidecar.end(end)
        except OSError as exc:
            said = f"{exc.strerror}: it does not tell how the recording ended"
            self._failed(OSError(exc.errno, said, str(self.sidecar)))


def _how(call: Call, raised: BaseException | None) -> dict[str, JSON]:
    """How a recording ended."""
    failure, closed = _failure(raised) or call.transport.failure, call.closed
    clean = closed is not None and closed.clean
    error: str | None = None
    clause: str | None = None
    if failure is not None:
        how, error = "failed", type(failure).__name__  # its words may be anything: a password
    elif call.error is not None:
        how, error, clause = "protocol error", str(call.error), call.error.clause
    elif closed is not None and not clean:
        how = "lost"
    elif call.disconnected:
        how = "disconnected"
    elif clean:
        how = "closed"
    elif raised is None:
        how = "left"
    elif isinstance(raised, Exception):  # CallEnded, and reading has not met the end yet
        how = "left" if call.session.ended else "lost"
    else:
        how = "cancelled"
    return {
        "how": how,
        "code": closed.code if closed and clean else None,
        "reason": closed.reason if closed and clean else None,
        "error": error,
        "clause": clause,
    }


def _failure(raised: BaseException | None) -> Exception | None:
    """What a handler failed by; the end of the call, and being cancelled, are none."""
    if isinstance(raised, BaseExceptionGroup):
        return next(filter(None, map(_failure, raised.exceptions)), None)
    return raised if isinstance(raised, Exception) and not isinstance(raised, CallEnded) else None


def file_stem(wanted: JSON) -> str:
    """A portable file name, without a suffix, that says what was wanted as well as it can."""
    text = wanted[:LONGEST] if isinstance(wanted, str) else ""
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", text).strip("_-")
    return f"call-{stem}" if RESERVED.fullmatch(stem) else stem or "call"


def stems(wanted: str) -> Iterator[str]:
    """Names to be tried. Counting on and on would take longer with each."""
    yield wanted
    for number in range(2, 10):
        yield f"{wanted}-{number}"
    while True:
        yield f"{wanted}-{secrets.token_hex(4)}"
