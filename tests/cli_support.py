"""The command line as its users have it: what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Final
from unittest import mock

import attrs

from listenproto_trio import cli

ROOT: Final = Path(__file__).parent.parent
COMMAND: Final = (sys.executable, "-W", "error", "-m", "listenproto_trio.cli")


@attrs.frozen
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that it complained with."""
        (line,) = self.err.splitlines()
        assert line.startswith("listenproto: ")
        return line.removeprefix("listenproto: ")


def listenproto(*words: str | Path, cwd: Path) -> Ran:
    """Run a command in this process, on a terminal of 80 columns that is none."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["listenproto", *map(str, words)]
    with (
        chdir(cwd),
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as left:
            assert isinstance(left.code, int)
            return Ran(left.code, out.getvalue(), err.getvalue())
    raise AssertionError("the command does not say how it ended")


@contextmanager
def started(
    *words: str | Path, cwd: Path, out: IO[str] | int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, as where it is told to stop by a signal."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


STEERING: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What steers a terminal, instead of being shown on it."""


class Terminal:
    """A command on a real terminal of 80 columns, and all that it shows there."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self._shown = b""

    def _read(self) -> bytes:
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # the other end is shut
            data = b""
        self._shown += data
        return data

    def wait_for(self, pattern: str) -> str:
        """Read on until that is shown; gives it."""
        while not (found := re.search(pattern, self.text)):
            assert self._read(), self.text
        return found[0]

    def end(self) -> int:
        """Read on to the end of the command; gives its exit status."""
        while self._read():
            pass
        return self.process.wait()

    @property
    def text(self) -> str:
        return STEERING.sub("", self._shown.decode(errors="ignore"))

    @property
    def lines(self) -> list[str]:
        """What stood in a line at any time."""
        return re.split(r"[\r\n]+", self.text)


@contextmanager
def on_terminal(*words: str | Path, cwd: Path) -> Iterator[Terminal]:
    """A command on a terminal, as where a person starts it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    screen, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            cwd=cwd,
            env=environment,
        )
        os.close(inside)
        with process:
            try:
                yield Terminal(process, screen)
            finally:
                process.kill()
    finally:
        os.close(screen)


def line_with(process: subprocess.Popen[str], words: str, *, on_stderr: bool = False) -> str:
    """The next line with these words that a process prints."""
    stream = process.stderr if on_stderr else process.stdout
    assert stream is not None
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"{process.args} has ended without saying {words!r}")


@contextmanager
def serving(*words: str | Path, cwd: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``listenproto serve`` on a free port; gives its URL."""
    with started("serve", "--port", "0", *words, cwd=cwd) as process:
        url = line_with(process, "listening on ", on_stderr="--json" in words).split()[-1]
        yield url, process


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that answers one connection in its own way; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            thread.join()
