"""Runs each example in its own process, and checks those that echo."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from listenproto import ListenEnd, Mode
from listenproto_trio.speech import speech
from tests.interop import (
    place_call,
    verb,
)

ROOT = Path(__file__).parents[1]
# uvicorn has an ERROR of its own for every refusal.
COMPLAINTS = re.compile(
    r"Traceback|Warning|ERROR(?!: +ASGI callable returned without completing handshake)|Exception"
    r"|never (awaited|retrieved)"
)


@contextmanager
def program(
    name: str, *arguments: str, stop: int = signal.SIGTERM, warnings: str = "error"
) -> Iterator[int]:
    """Run an example on a free port; gives the port, which it prints. It must not complain.

    ``warnings`` is what becomes of warnings, as for Python's option ``-W``.
    """
    uncounted = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    process = subprocess.Popen(
        [sys.executable, "-W", warnings, "-m", f"tests.examples.{name}", "0", *arguments],
        cwd=ROOT,
        env=uncounted,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with process:
        said = ""
        try:
            while not (port := re.search(r"(?:port |http://127\.0\.0\.1:)(\d+)", said)):
                line = process.stdout.readline()
                assert line, f"{name} has ended: {said}"
                said += line
            yield int(port[1])
        finally:
            process.send_signal(stop)
            said += process.stdout.read()
    assert not COMPLAINTS.search(said), said


async def check_echo(url: str) -> None:
    """The speech comes back sample for sample, and every message obeys the protocol."""
    placed = await place_call(
        verb(url, Mode.STREAMING),
        speech(),
        until=lambda placed: len(placed.audio) >= len(speech()),
    )
    assert placed.audio[: len(speech())] == speech()
    assert placed.result.end is ListenEnd.HANGUP
    assert placed.breaches() == []
