"""Runs the command line as users do, and returns what it prints and its exit status."""

from __future__ import annotations

import atexit
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
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


@cache
def _forking() -> socket.socket:
    """A process that has imported the commands already, see tests.forking."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # With threads of its own it might be forked in the midst of their work.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    with there:
        words = [sys.executable, "-W", "error", "-m", "tests.forking"]
        process = subprocess.Popen(words, stdin=there.fileno(), cwd=ROOT, env=environment)
    atexit.register(process.wait)
    atexit.register(here.close)
    return here


class Command:
    """A command in a process of its own, to be used as a subprocess.Popen is."""

    def __init__(self, *words: str | Path, cwd: Path, out: IO[str] | None) -> None:
        self.words = [*map(str, words)]
        self.returncode: int | None = None
        self.stdout, writing = self._pipe()
        self.stderr, complaining = self._pipe()
        self._told, telling = self._pipe()
        environment = os.environ | {"COLUMNS": "80"}
        request = {"words": self.words, "cwd": str(cwd), "environ": environment}
        fds = [out.fileno() if out else writing, complaining, telling]
        socket.send_fds(_forking(), [json.dumps(request).encode()], fds)
        for fd in (writing, complaining, telling):
            os.close(fd)
        self.pid = int(self._told.readline())

    @staticmethod
    def _pipe() -> tuple[IO[str], int]:
        reading, writing = os.pipe()
        return open(reading, encoding="utf-8"), writing

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        ended, *_ = select.select([self._told], [], [], 0)
        return self.wait() if ended else None

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(int(self._told.readline()))
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it has said up to its end, and not been read yet."""
        with ThreadPoolExecutor(1) as other:
            complaints = other.submit(self.stderr.read)
            said = self.stdout.read()
        self.wait()
        return said, complaints.result()

    def close(self) -> None:
        self.kill()
        self.wait()
        for stream in (self.stdout, self.stderr, self._told):
            stream.close()


@contextmanager
def started(*words: str | Path, cwd: Path, out: IO[str] | None = None) -> Iterator[Command]:
    """A command in a process of its own, as where it is told to stop by a signal."""
    with closing(Command(*words, cwd=cwd, out=out)) as command:
        yield command


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


def line_with(command: Command, words: str, *, on_stderr: bool = False) -> str:
    """The next line with these words that a command prints."""
    for line in command.stderr if on_stderr else command.stdout:
        if words in line:
            return line
    raise AssertionError(f"{command.words} has ended without saying {words!r}")


@contextmanager
def serving(*words: str | Path, cwd: Path) -> Iterator[tuple[str, Command]]:
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
