"""Recordings of calls in a folder: for each call a WAV and a JSON file about it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Final

import attrs

from listenproto._messages import JSON, Audio, Dtmf, Metadata, MixType
from listenproto._unread import CallEvent, Dropped
from listenproto.recording._arrivals import Arrivals
from listenproto.recording._call import RecordedCall, how_it_ended
from listenproto.recording._files import AnyPath
from listenproto.recording._names import file_stem, stems
from listenproto.recording._sidecar import Sidecar
from listenproto.recording._tape import Tape
from listenproto.recording._wav_file import WavFile

__all__ = ["Recorder", "Recording"]

PARTIES: Final = {
    MixType.MONO: ("caller",),
    MixType.STEREO: ("caller", "callee"),
    MixType.MIXED: ("caller and callee",),
}
"""Who is heard in each channel of the platform's audio (LP-AUD-7)."""
NOT_RECEIVED: Final = "not received"
NOT_READ: Final = "not read"


class Recorder:
    """Records calls in a folder, which is created if it does not exist.

    ``name`` is called with the metadata and returns the name of a call's files, by default its
    callSid. Whatever it returns, the files have a safe name in that folder: at most 100 ASCII
    letters, digits, - and _, or ``call`` if nothing is left of it. If the name is taken, as several
    listens of one call have the same callSid, ``-2`` to ``-9`` and then something random is added.
    Processes may share the folder; nothing is ever overwritten. A trace named
    ``<name>.trace.jsonl`` counts as one of the files, so you can put one next to them.

    A recording has the platform's audio as it was sent. With ``both`` it is stereo: left the
    platform's audio (mixed down if it has two channels), right what the caller heard of the app at
    that moment. This end computes that from what the app sent during the recording, and when; of
    audio sent ahead it keeps up to an hour in memory. ``both`` needs numpy and soxr, which come
    with the extra ``recording``, and raises ImportError without them.

    Audio can be missing: it was not read in time (never with ``Answering(unread="hold")``), or it
    never came (see :mod:`listenproto.recording`). The sidecar lists where, and how much. With
    ``fill_gaps`` the gaps are filled, so that time in the WAV is that of the clock: with silence,
    and on the right with what the caller heard meanwhile. A gap is filled ten seconds after audio
    comes again, or at the end of the recording.

    ``clock`` returns the time in seconds and never goes back; it limits how often the sidecar is
    written. Gaps are found with the clock of the call.
    """

    def __init__(
        self,
        folder: AnyPath,
        *,
        name: Callable[[Metadata], JSON] = lambda metadata: metadata.call_sid,
        both: bool = False,
        fill_gaps: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder: Path = Path(folder)
        """The folder that the files are written to."""
        self._name = name
        self._both = both
        self._fill_gaps = fill_gaps
        self._clock = clock
        if both:
            _import_both()

    @contextmanager
    def record(self, call: RecordedCall) -> Iterator[Recording]:
        """Record a call until the end of the block; pass each event to :meth:`Recording.take`.

        If a file cannot be written, as on a full disk, that is logged in one line and ends the
        recording, but not the call: see :attr:`Recording.error`. An exception in the block is noted
        in the JSON file, and propagates.
        """
        recording = Recording(call, both=self._both, fill_gaps=self._fill_gaps, clock=self._clock)
        recording._start(self.folder, file_stem(self._name(call.metadata)))
        try:
            yield recording
        except BaseException as exc:
            recording._end(exc)
            raise
        recording._end(None)


@attrs.frozen
class _Open:
    """The parts of a recording that could be started."""

    tape: Tape
    sidecar: Sidecar
    arrivals: Arrivals


class Recording:
    """A call that is being recorded. Writing blocks for microseconds: see :class:`WavFile`."""

    def __init__(
        self, call: RecordedCall, *, both: bool, fill_gaps: bool, clock: Callable[[], float]
    ) -> None:
        self.errors: list[OSError] = []
        """The error that ended each file, the WAV and the sidecar."""
        self._call = call
        self._both = both
        self._fill_gaps = fill_gaps
        self._clock = clock
        self._open: _Open | None = None
        self._missing = 0
        """How many samples never came, in the gaps that are already in the sidecar."""

    @property
    def error(self) -> OSError | None:
        """The first error of a file; None if there was none."""
        return self.errors[0] if self.errors else None

    @property
    def samples(self) -> int:
        """How many samples of each channel are in the WAV."""
        return self._open.tape.wav.samples if self._open else 0

    @property
    def path(self) -> Path | None:
        """The WAV; None if it could not be created, see :attr:`error`."""
        return self._open.tape.wav.path if self._open else None

    @property
    def sidecar(self) -> Path | None:
        """The JSON file next to the WAV; None if it could not be created."""
        return self._open.sidecar.path if self._open else None

    def take(self, event: CallEvent) -> None:
        """Record an event of the call: its audio, its keys, and what was dropped unread."""
        if self._open is None:
            return
        sidecar, at = self._open.sidecar, self.samples
        if isinstance(event, Dtmf):
            sidecar.key(event, at)
        elif isinstance(event, Dropped) and event.samples:
            sidecar.gap(event.samples, at, NOT_READ)
        try:
            if self._open.tape.wav.error is None:
                self._write(self._open, event)
        except OSError as exc:
            self._failed(exc)
            self._open.arrivals.end()
        sidecar.tell()

    def _write(self, files: _Open, event: CallEvent) -> None:
        if isinstance(event, Audio):
            place = files.arrivals.position(event)
            if place is not None:
                for gap in files.arrivals.gaps():
                    if gap.at is None and gap.position <= place:
                        gap.at = self.samples
                place += self._missing
            files.tape.write(event.pcm, place)
            self._see_to_gaps(files)
        elif isinstance(event, Dropped):
            files.tape.dropped(event.samples)

    def _see_to_gaps(self, files: _Open) -> None:
        """Correct the WAV and the sidecar for the gaps that were found in what was recorded."""
        found = files.arrivals.found
        while found and (at := found[0].at) is not None:
            samples = found.popleft().samples
            self._missing += samples
            files.tape.gap(at, samples)
            if self._fill_gaps:
                files.sidecar.moved(at, samples)
                for gap in files.arrivals.gaps():
                    if gap.at is not None:
                        gap.at += samples
            files.sidecar.gap(samples, at, NOT_RECEIVED)
        reached = (gap.at for gap in files.arrivals.gaps() if gap.at is not None)
        files.tape.keep(min(reached, default=self.samples))

    def _failed(self, error: OSError) -> None:
        """Note and log the error that ends a file."""
        self.errors.append(error)
        self._call.log.error("recording %s: %s", error.filename, error.strerror)

    def _start(self, folder: Path, wanted: str) -> None:
        try:
            with suppress(FileExistsError):  # not a folder: the error of the WAV says so better
                folder.mkdir(parents=True, exist_ok=True)
            names = stems(wanted)
            while not self._have(folder / f"{next(names)}.wav"):
                pass
        except OSError as exc:
            self._failed(exc)

    def _have(self, path: Path) -> bool:
        """Create the files; False if one of that name exists."""
        metadata = self._call.metadata
        channels = 2 if self._both else metadata.mix_type.channels
        try:
            wav = WavFile(path, metadata.sample_rate, channels)
        except FileExistsError:
            return False
        try:
            if not any(os.path.lexists(path.with_suffix(it)) for it in (".trace.jsonl", ".new")):
                self._open = self._opened(
                    wav, Sidecar(path, metadata.sample_rate, self._about(), self._clock)
                )
        except FileExistsError:
            pass
        finally:
            if self._open is None:
                with suppress(OSError):
                    wav.close()
                with suppress(OSError):
                    path.unlink()
        return self._open is not None

    def _opened(self, wav: WavFile, sidecar: Sidecar) -> _Open:
        if not self._both:
            return _Open(Tape(wav, fills_gaps=self._fill_gaps), sidecar, Arrivals(self._call))
        both, call = _import_both(), self._call
        hearing = both.Hearing(
            rate=call.metadata.sample_rate,
            stream_rate=call.stream_rate,
            profile=call.profile,
        )
        tape = both.BothSides(wav, call.metadata, hearing, fills_gaps=self._fill_gaps)
        return _Open(tape, sidecar, Arrivals(call, hearing))

    def _about(self) -> dict[str, JSON]:
        """What is known about the call from the start."""
        metadata = self._call.metadata
        parties = [*PARTIES[metadata.mix_type]]
        if self._both:
            parties = [" and ".join(parties), "app"]
        return {
            "channels": len(parties),
            "parties": [*parties],
            "mixType": metadata.mix_type.value,
            "gapsFilled": self._fill_gaps,
            "metadata": dict(metadata.attributes),
            "truncated": metadata.truncated,
        }

    def _end(self, raised: BaseException | None) -> None:
        """Close the WAV, and write the end into the sidecar."""
        if self._open is None:
            return
        tape = self._open.tape
        try:
            if tape.wav.error is None:
                self._open.arrivals.end()
                self._see_to_gaps(self._open)
            tape.close()
        except OSError as exc:
            self._failed(exc)
        error = tape.wav.error
        end = {
            **how_it_ended(self._call, raised),
            "samples": self.samples,
            "seconds": self.samples / self._call.metadata.sample_rate,
            "samplesDropped": self._call.samples_dropped,
            "recordingError": error and error.strerror,
        }
        try:
            self._open.sidecar.end(end)
        except OSError as exc:
            said = f"{exc.strerror}: call summary not written"
            self._failed(OSError(exc.errno, said, str(self.sidecar)))


def _import_both() -> ModuleType:
    """The module that records both sides. Raises ImportError without what it needs."""
    try:
        import listenproto.recording._both_sides as both_sides
    except ImportError as exc:
        said = "recording both sides needs numpy and soxr: pip install 'listenproto[recording]'"
        raise ImportError(said) from exc
    return both_sides
