"""The sidecar of a recording: a JSON file next to the WAV that describes it.

It is written when the recording starts, with ``end`` null, and replaced as a whole when a key is
pressed and at the end. If the process dies or the disk is full, ``end`` stays null;
:func:`~listenproto_trio.recover_wav` repairs the WAV then. A flood of keys is written late: after
1 MiB at once, 64 KiB a second, and the rest with a later event. It is a JSON object::

    recording       1, the version of this format
    wav             the name of the WAV, which is in the same folder
    startedAt       when the recording started: UTC, as in 2025-01-31T09:00:00.000Z
    sampleRate      of the WAV, in Hz
    channels        of the WAV: 1 or 2
    parties         who is heard in each channel, one string each: "caller", "callee",
                    "caller and callee" or "app"; for the app, see
                    :class:`~listenproto_trio.Recorder`
    mixType         of what the platform sends: mono, stereo or mixed
    gapsFilled      true if the WAV has silence where samples are missing, so that its time is the
                    clock's; false if the WAV goes on without them
    metadata        all other metadata of the call, as the platform sent it
    truncated       true if only the beginning of the metadata came (LP-META-12)
    keys            the keys that were pressed: digit, duration (as in the protocol, or null), and
                    at, the position in the WAV in samples
    end             null while the recording lasts, then an object:

    endedAt         when the recording ended
    how             how it ended, the first of these that is true:
                    failed          the handler raised, or this end failed while it read; error is
                                    the name of the exception
                    protocol error  the platform broke the protocol and the call could not go on;
                                    error says how, clause is the requirement
                    lost            the connection was lost without a close
                    disconnected    this end sent a disconnect
                    closed          the call was closed
                    left            the handler returned before the call ended
                    cancelled       the handler was cancelled, as when a server is shut down
    code, reason    of the close that came; null if none did
    error, clause   see how; else null
    samples         how many samples of each channel are in the WAV
    seconds         how long that is
    gaps            where samples are missing, in order: at, the position in the WAV in samples,
                    where the silence starts if gapsFilled; how many samples, and how many seconds
                    that is; and why:
                    not received    the platform did not send them, or they got lost on the way
                                    (see :mod:`listenproto_trio.missing`)
                    not read        they came, but were not read in time
    unlisted        how many keys and gaps are not listed, as there are more than 1000 of each
    samplesDropped  how many samples were not read in time in all
    recordingError  why the WAV ends before the call, such as a full disk; else null

The upgrade request is not in it, so neither are credentials or the URL. The customer's own
``metadata`` is, whatever it holds; lone surrogates, which UTF-8 cannot hold, are replaced by
U+FFFD. Only the owner may read the files (mode 0600).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs
import trio

from listenproto._jsontext import well_formed
from listenproto._messages import JSON, Dtmf
from listenproto_trio.recording import create

__all__ = ["BYTES_A_SECOND", "LISTED", "SECONDS_AHEAD", "Sidecar"]

FORMAT: Final = 1
LISTED: Final = 1000
"""The most keys, and the most gaps, that a sidecar lists; a platform may send any number."""
BYTES_A_SECOND: Final = 2**16
"""Limit for rewriting a sidecar, as a platform may send any number of keys."""
SECONDS_AHEAD: Final = 16
"""As many seconds of that may be written at once: a MiB, enough for keys that a person presses."""


@attrs.define
class _Listed:
    """A key or a gap, with its position in the WAV."""

    at: int
    what: Mapping[str, JSON]

    def to_json(self) -> JSON:
        return {"at": self.at, **self.what}


class Sidecar:
    """The sidecar of a WAV at ``rate`` Hz; ``about`` is what is known about the call at the start.

    Raises OSError if it cannot be written, FileExistsError if it exists.
    """

    def __init__(self, wav: Path, rate: int, about: Mapping[str, JSON]) -> None:
        self.path = wav.with_suffix(".json")
        self._rate = rate
        self._about = {
            "recording": FORMAT,
            "wav": wav.name,
            "startedAt": _now(),
            "sampleRate": rate,
            **about,
        }
        self._keys: list[_Listed] = []
        self._gaps: list[_Listed] = []
        self._unlisted = 0
        self._untold = False
        """Whether the file lacks keys that it should list."""
        size = self._write_new(self.path)
        self._written_until = trio.current_time() + size / BYTES_A_SECOND
        """The time, on trio's clock, up to which the limit of writing is used."""

    def key(self, key: Dtmf, at: int) -> None:
        """List a key that was pressed when ``at`` samples had been recorded."""
        listed = _Listed(at, {"digit": key.digit, "duration": key.duration})
        self._untold |= self._list(self._keys, listed)

    def gap(self, samples: int, at: int, why: str) -> None:
        """List samples that are missing before sample ``at``, or that were filled from there on."""
        about = {"samples": samples, "seconds": samples / self._rate, "why": why}
        self._list(self._gaps, _Listed(at, about))

    def moved(self, at: int, samples: int) -> None:
        """Silence was inserted: what was after sample ``at`` of the WAV is ``samples`` later."""
        for listed in (*self._keys, *self._gaps):
            if listed.at > at:
                listed.at += samples
                self._untold = True

    def _list(self, listed: list[_Listed], one: _Listed) -> bool:
        """List one more, if there is room; returns whether there was."""
        room = len(listed) < LISTED
        if room:
            listed.append(one)
        else:
            self._unlisted += 1
        return room

    def tell(self) -> None:
        """Write the keys into the file, unless too much was written recently."""
        if self._untold and self._written_until <= trio.current_time() + SECONDS_AHEAD:
            with suppress(OSError):  # end() tries again, and reports what is wrong
                self._replace()

    def end(self, end: Mapping[str, JSON]) -> None:
        """Write the end into the file. If that raises OSError, the file stays as it was."""
        gaps = [gap.to_json() for gap in sorted(self._gaps, key=lambda gap: gap.at)]
        self._replace({"endedAt": _now(), **end, "gaps": gaps, "unlisted": self._unlisted})

    def _replace(self, end: JSON = None) -> None:
        """Replace the file by one with what is known now."""
        self._untold = False
        new = self.path.with_suffix(".new")
        size = self._write_new(new, end)
        self._written_until = max(self._written_until, trio.current_time()) + size / BYTES_A_SECOND
        try:
            os.replace(new, self.path)
        except OSError:
            with suppress(OSError):
                new.unlink()  # else no other could be created
            raise

    def _write_new(self, path: Path, end: JSON = None) -> int:
        """Write a new file and return its size; if that fails, no file is left."""
        keys = [key.to_json() for key in self._keys]
        told = {**self._about, "keys": keys, "end": end}
        octets: bytes = well_formed(json.dumps(told, ensure_ascii=False, indent=2) + "\n").encode()
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
