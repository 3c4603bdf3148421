"""Files that a command writes beside a call: where one cannot be written, the call goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from listenproto_trio.failures import in_words

__all__ = ["Beside", "numbered"]

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


def numbered(path: Path, number: int, calls: int) -> Path:
    """The file of one of several calls."""
    return path if calls == 1 else path.with_stem(f"{path.stem}-{number}")
