"""The sidecar: the JSON file that stands beside the WAV of a recording and tells of it.

It is there from the start, with ``end`` null; so it still is where the process died, and
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
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from listenproto.jsontext import well_formed
from listenproto.messages import JSON, Dtmf
from listenproto_trio.recording import create

__all__ = ["BYTES_A_SECOND", "LISTED", "SECONDS_AHEAD", "Sidecar"]

FORMAT: Final = 1
LISTED: Final = 1000
"""So many keys, and gaps, a sidecar lists: a platform may send any number."""
BYTES_A_SECOND: Final = 2**16
"""How much is written again and again of a sidecar, for keys that may come in any number."""
SECONDS_AHEAD: Final = 16
"""So much of it may be written at once: a MiB, for all the keys that a person presses in a row."""


class Sidecar:
    """The sidecar of a WAV, with ``about`` what is known of the call from the start.

    Raises OSError where it cannot be written, among it FileExistsError.
    """

    def __init__(self, wav: Path, about: Mapping[str, JSON]) -> None:
        self.path = wav.with_suffix(".json")
        self._keys: list[JSON] = []
        self._gaps: list[JSON] = []
        self._unlisted = 0
        self._untold = False
        """Whether the file does not have all keys that it is to list."""
        self._about: dict[str, JSON] = {
            "recording": FORMAT,
            "wav": wav.name,
            "startedAt": _now(),
            **about,
            "keys": self._keys,
            "end": None,
        }
        size = _write_new(self.path, self._about)
        self._written_until = trio.current_time() + size / BYTES_A_SECOND
        """Up to when all that may be written has been, on trio's clock."""

    def key(self, key: Dtmf, at: int) -> None:
        """List a key that was pressed when so many samples had been recorded."""
        listed = {"digit": key.digit, "duration": key.duration, "at": at}
        self._untold |= self._list(self._keys, listed)

    def gap(self, samples: int, at: int) -> None:
        """List samples that are missing at that place."""
        self._list(self._gaps, {"samples": samples, "at": at})

    def _list(self, listed: list[JSON], one: JSON) -> bool:
        """List one more, where there is room; whether there was."""
        room = len(listed) < LISTED
        if room:
            listed.append(one)
        else:
            self._unlisted += 1
        return room

    def tell(self) -> None:
        """Have the file tell of the keys, unless too much was written of late."""
        if self._untold and self._written_until <= trio.current_time() + SECONDS_AHEAD:
            with suppress(OSError):  # the end tries it again, and says what is wrong
                self._replace()

    def end(self, end: Mapping[str, JSON]) -> None:
        """Have the file tell of the end. Raises OSError; what was there before stays then."""
        gaps: dict[str, JSON] = {"gaps": self._gaps, "unlisted": self._unlisted}
        self._about["end"] = {"endedAt": _now(), **end, **gaps}
        self._replace()

    def _replace(self) -> None:
        """Replace the file by one that tells what is known now."""
        self._untold = False
        new = self.path.with_suffix(".new")
        size = _write_new(new, self._about)
        self._written_until = max(self._written_until, trio.current_time()) + size / BYTES_A_SECOND
        try:
            os.replace(new, self.path)
        except OSError:
            with suppress(OSError):
                new.unlink()  # where it stays, no other can be written
            raise


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
