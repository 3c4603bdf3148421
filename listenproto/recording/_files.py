"""Files that only their owner may read, and of which nothing is lost; needs a POSIX system."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

__all__ = ["AnyPath", "beginning", "create", "lock", "put"]

AnyPath: TypeAlias = str | os.PathLike[str]
"""The path of a file or a folder."""


def lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False if another process has locked it."""
    import fcntl  # not on every system, where the rest of the package still works

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno != errno.EWOULDBLOCK  # else on a file system without locks
    return True


def create(path: Path) -> IO[bytes]:
    """Create a new file that only its owner may read, as it has a call in it."""
    return open(path, "x+b", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))


def put(file: IO[bytes], octets: bytes, at: int) -> None:
    """Write bytes at an offset; in one call, if the system takes all."""
    while octets:
        written = os.pwrite(file.fileno(), octets, at)
        octets = octets[written:]
        at += written


@contextmanager
def beginning(file: IO[bytes], path: Path) -> Iterator[None]:
    """The block writes the start of a file; if that fails, the file is deleted."""
    try:
        yield
    except OSError as exc:
        file.close()
        path.unlink(missing_ok=True)
        raise OSError(exc.errno, exc.strerror, str(path)) from exc
