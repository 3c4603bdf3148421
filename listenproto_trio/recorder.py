"""Recordings of calls in a folder: for each a WAV, and a JSON file, the sidecar, that tells of it.

The sidecar is there from the start, with ``end`` null; so it still is where the process died, and
:func:`~listenproto_trio.recover_wav` mends the WAV then; and where there was no room for another.
When a key is pressed, and at the end of the recording, it is replaced at one stroke. A flood of
keys alone is put off: where more than 1 MiB has been written of late, as for tens of keys within a
second, there are 64 KiB a second from then on, and what was put off is told of with an event that
comes later. It is a JSON object::

    recording       1, the version of this format
    wav             the name of the WAV, which is in the same folder
    startedAt       when the recording started: UTC, as in 2025-01-31T09:00:00.000Z
    sampleRate      of the WAV, in samples a second
    channels        of the WAV: 1, or 2 (caller left, callee right)
    mixType         mono, stereo or mixed
    metadata        all other metadata of the call, as the platform sent it
    truncated       true where only the front of the metadata came (LP-META-12)
    keys            the keys that were pressed: digit, duration (as in the protocol, or null), and
                    at, how many samples had been recorded by then
    end             null while it lasts, then an object:

    endedAt         when the recording ended
    how             how that came about, the first of these that holds:
                    failed          the handler raised, or this end failed while it read; error is
                                    the name of the exception
                    protocol error  the platform broke the protocol beyond going on; error
                                    says how, clause is the requirement
                    lost            the connection is gone without a close
                    disconnected    this end sent a disconnect
                    closed          the call was closed
                    left            the handler was done before the call was
                    cancelled       the handler was, as when a server is shut down
    code, reason    of the close that came; null where none did
    error, clause   see how; else null
    samples         how many samples of each channel are in the WAV
    seconds         how long that is
    gaps            what was dropped here because it was not read in time: samples, and at, where
                    they are missing in the WAV; nothing stands in their place
    unlisted        how many keys and gaps are not listed, beyond 1000 of each
    samplesDropped  how many samples were dropped in all
    recordingError  why the WAV ends before the call, as where the disk was full; else null

Nothing of the upgrade request is in it, so no credentials and no URL. The customer's own
``metadata`` is in it, whatever that holds; but for a lone surrogate, which no UTF-8 can, there is
U+FFFD. Only the owner may read the files (mode 0600).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from listenproto.jsontext import well_formed
from listenproto.messages import JSON, Audio, Dtmf, Metadata
from listenproto_trio.call import Call
from listenproto_trio.recording import WavFile, create
from listenproto_trio.transport import CallEnded
from listenproto_trio.unread import CallEvent, Dropped

__all__ = ["Recorder", "Recording", "file_stem", "stems"]

FORMAT: Final = 1
LISTED: Final = 1000
"""So many keys, and gaps, a sidecar lists: a platform may send any number."""
BYTES_A_SECOND: Final = 2**16
"""How much is written again and again of a sidecar, for keys that may come in any number."""
SECONDS_AHEAD: Final = 16
"""So much of it may be written at once: a MiB, for all the keys that a person presses in a row."""
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
        self.path: Path | None = None
        """The WAV; None where there is none, for the reason in :attr:`error`."""
        self.errors: list[OSError] = []
        """What went wrong with a file, for each file once: its WAV, its sidecar."""
        self._call = call
        self._wav: WavFile | None = None
        self._about: dict[str, JSON] = {}
        self._key_untold = False
        """Whether the sidecar does not have all keys that it is to list."""
        self._written_until = 0.0
        """Up to when all that may be written has been, on trio's clock."""
        self._keys: list[JSON] = []
        self._gaps: list[JSON] = []
        self._unlisted = 0

    @property
    def error(self) -> OSError | None:
        """The first thing that went wrong with a file; None as long as nothing has."""
        return self.errors[0] if self.errors else None

    @property
    def samples(self) -> int:
        """How many samples of each channel have been recorded."""
        return self._wav.samples if self._wav else 0

    @property
    def sidecar(self) -> Path | None:
        """The JSON file beside the WAV; None where there is none."""
        return self.path and self.path.with_suffix(".json")

    def take(self, event: CallEvent) -> None:
        """Record an event of the call: its audio, its keys, and what was dropped unread."""
        if isinstance(event, Audio):
            if self._wav is not None and self._wav.error is None:
                try:
                    self._wav.write(event.pcm)
                except OSError as exc:
                    self._failed(exc)
        elif isinstance(event, Dtmf):
            key = {"digit": event.digit, "duration": event.duration, "at": self.samples}
            self._key_untold |= self._list(self._keys, key)
        elif isinstance(event, Dropped) and event.samples:
            self._list(self._gaps, {"samples": event.samples, "at": self.samples})
        if self._key_untold and self._written_until <= trio.current_time() + SECONDS_AHEAD:
            with suppress(OSError):  # the end tries it again, and says what is wrong
                self._write_again()

    def _list(self, listed: list[JSON], one: JSON) -> bool:
        """List one more, where there is room; whether there was."""
        room = len(listed) < LISTED
        if room:
            listed.append(one)
        else:
            self._unlisted += 1
        return room

    def _failed(self, error: OSError) -> None:
        """A file is not whole. What comes of that is not told again."""
        if all(error.filename != told.filename for told in self.errors):
            self.errors.append(error)
            self._call.log.error("recording %s: %s", error.filename, error.strerror)

    def _start(self, folder: Path, wanted: str) -> None:
        metadata = self._call.metadata
        self._about = {
            "recording": FORMAT,
            "wav": None,
            "startedAt": _now(),
            "sampleRate": metadata.sample_rate,
            "channels": metadata.mix_type.channels,
            "mixType": metadata.mix_type.value,
            "metadata": dict(metadata.attributes),
            "truncated": metadata.truncated,
            "keys": self._keys,
            "end": None,
        }
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
        self._about["wav"] = path.name
        try:
            if not any(os.path.lexists(path.with_suffix(it)) for it in (".trace.jsonl", ".new")):
                self._wrote(_write_new(path.with_suffix(".json"), self._about))
                self.path, self._wav = path, wav
        except FileExistsError:
            pass
        finally:
            if self._wav is None:
                with suppress(OSError):
                    wav.close()
                with suppress(OSError):
                    path.unlink()
        return self._wav is not None

    def _end(self, raised: BaseException | None) -> None:
        """Close the WAV, and have the sidecar tell of the end."""
        if self._wav is None or self.path is None:
            return
        try:
            self._wav.close()
        except OSError as exc:
            self._failed(exc)
        error = self._wav.error
        self._about["end"] = {
            "endedAt": _now(),
            **_how(self._call, raised),
            "samples": self.samples,
            "seconds": self.samples / self._call.metadata.sample_rate,
            "gaps": self._gaps,
            "unlisted": self._unlisted,
            "samplesDropped": self._call.samples_dropped,
            "recordingError": error and error.strerror,
        }
        try:
            self._write_again()
        except OSError as exc:
            said = f"{exc.strerror}: it does not tell how the recording ended"
            self._failed(OSError(exc.errno, said, str(self.sidecar)))

    def _write_again(self) -> None:
        """Replace the sidecar by one that tells what is known now."""
        if self.path is None or self.sidecar is None:
            return
        self._key_untold = False
        new = self.path.with_suffix(".new")
        self._wrote(_write_new(new, self._about))
        try:
            os.replace(new, self.sidecar)
        except OSError:
            with suppress(OSError):
                new.unlink()  # where it stays, no other can be written
            raise

    def _wrote(self, size: int) -> None:
        start = max(self._written_until, trio.current_time())
        self._written_until = start + size / BYTES_A_SECOND


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


def _write_new(path: Path, about: Mapping[str, JSON]) -> int:
    """Write a JSON file that is not there yet; none is left where that fails. Gives its size."""
    text = json.dumps(about, ensure_ascii=False, indent=2) + "\n"
    octets: bytes = well_formed(text).encode()
    size = len(octets)
    with create(path) as file:
        try:
            while octets:
                octets = octets[file.write(octets) :]
        except OSError as exc:
            with suppress(OSError):
                path.unlink()
            raise OSError(exc.errno, exc.strerror, str(path)) from exc
    return size


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
