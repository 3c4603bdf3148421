"""Files that a command writes during a call: if one cannot be written, the call goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import ParamSpec

import click

from listenproto_trio._failures import in_words

__all__ = ["Beside", "check_folder", "numbered"]

_P = ParamSpec("_P")


class Beside:
    """Files written during a call: the first failure is reported, and ends that file."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.failures: dict[Path, str] = {}

    def guarded(self, path: Path, write: Callable[_P, object]) -> Callable[_P, None]:
        """``write`` for that file, until it fails for the first time."""

        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
            if path in self.failures:
                return
            try:
                write(*args, **kwargs)
            except OSError as exc:
                self.failures[path] = f"{exc.filename or path} is incomplete: {in_words(exc)}"
                self._tell(f"{self.failures[path]}; the call goes on without it")

        return guarded


def check_folder(folder: Path | None, *, option: str) -> None:
    """Create the folder, if one is given, and check that files can be written in it.

    Raises click.BadParameter for the option, before the files of a first call are lost.
    """
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".listenproto-", buffering=0) as file:
            file.write(b"\0")  # a full disk still takes empty files
    except OSError as exc:
        said = f"cannot write files in {folder}: {in_words(exc)}"
        raise click.BadParameter(said, param_hint=option) from exc


def numbered(path: Path, number: int, calls: int) -> Path:
    """The name of the file for one of several calls."""
    return path if calls == 1 else path.with_stem(f"{path.stem}-{number}")
