"""Starts commands fast: forks each from a process that has already imported what they need.

    python -W error -m tests.forking

Its standard input is a socket. A request is a JSON object (``words``, ``cwd``, ``environ``) with
three file descriptors: the command's standard output and error, and a pipe that is told the process
id, and at the end the status as ``os.waitpid`` gives it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
from typing import Any, Final

from listenproto_trio import cli

PATIENCE: Final = 120
"""Seconds after which a command is killed, so that a test which waits for it fails."""


def main() -> None:
    with socket.socket(fileno=os.dup(0)) as requests:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that attend
        while True:
            request, fds, *_ = socket.recv_fds(requests, 2**20, 3)
            if not request:
                break
            if os.fork() == 0:
                requests.close()
                attend(json.loads(request), *fds)
            close(*fds)


def attend(request: dict[str, Any], out: int, err: int, told: int) -> None:
    """Fork the command, and wait for it; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        close(0, 1, 2, out, err)
        os.write(told, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(told, b"%d\n" % status)
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((nothing, out, err)):
        os.dup2(fd, number)
    close(nothing, out, err, told)
    run(**request)


def close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def run(words: list[str], cwd: str, environ: dict[str, str]) -> None:
    """Become the command; never returns."""
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), line_buffering=True
    )
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["listenproto", *words]
    signal.alarm(PATIENCE)
    cli.main()


if __name__ == "__main__":
    main()
