"""The sidecar of a recording, in the format that :mod:`listenproto.recording` describes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from listenproto._jsontext import well_formed
from listenproto._messages import JSON, Dtmf
from listenproto.recording._files import create

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

    ``clock`` returns the time in seconds. Raises OSError if it cannot be written, FileExistsError
    if it exists.
    """

    def __init__(
        self, wav: Path, rate: int, about: Mapping[str, JSON], clock: Callable[[], float]
    ) -> None:
        self.path = wav.with_suffix(".json")
        self._rate = rate
        self._clock = clock
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
        self._written_until = self._clock() + size / BYTES_A_SECOND
        """The time up to which the limit of writing is used."""

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
        if self._untold and self._written_until <= self._clock() + SECONDS_AHEAD:
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
        self._written_until = max(self._written_until, self._clock()) + size / BYTES_A_SECOND
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
