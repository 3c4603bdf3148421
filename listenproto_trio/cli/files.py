"""Files that a command writes beside a call: where one cannot be written, the call goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import ParamSpec

import click

from listenproto_trio.failures import in_words

__all__ = ["Beside", "check_folder", "numbered"]

_P = ParamSpec("_P")


class Beside:
    """What is written beside a call: told once where it fails, and left alone from then on."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.failures: dict[Path, str] = {}

    def guarded(self, path: Path, write: Callable[_P, object]) -> Callable[_P, None]:
        """``write`` to that file until something with it fails for the first time."""

        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
            if path in self.failures:
                return
            try:
                write(*args, **kwargs)
            except OSError as exc:
                self.failures[path] = f"{exc.filename or path} is not whole: {in_words(exc)}"
                self._tell(f"{self.failures[path]}; the call goes on without")

        return guarded


def check_folder(folder: Path | None, *, option: str) -> None:
    """Have a folder in which files can be written, where one is asked for.

    Raises click.BadParameter for the option: later, it would cost the files of the first call.
    """
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".listenproto-", buffering=0) as file:
            file.write(b"\0")  # a full disk takes a file without anything in it
    except OSError as exc:
        said = f"no file can be written in {folder}: {in_words(exc)}"
        raise click.BadParameter(said, param_hint=option) from exc


def numbered(path: Path, number: int, calls: int) -> Path:
    """The file of one of several calls."""
    return path if calls == 1 else path.with_stem(f"{path.stem}-{number}")
