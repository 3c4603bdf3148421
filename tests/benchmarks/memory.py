"""What a call takes of a server's memory while it rests: python -m tests.benchmarks.memory

Calls are placed and say nothing but their metadata. Measured is how much the memory of the
server's process grows (``VmRSS`` of ``/proc/PID/status``), without what the system itself holds for
a socket.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.benchmarks.calls import NEEDS, PACKAGES, own_command, started
from tests.benchmarks.load import Call
from tests.benchmarks.peers import PEERS
from tests.benchmarks.report import Cell, Report

__all__ = ["measure"]

WARM_UP: Final = 100
"""Calls before the first measurement: code and caches that all calls share are loaded then."""
STEADY: Final = 0.2
"""Seconds without growth after which the server is done."""


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return 1024 * int(found)


def settled(pid: int) -> int:
    """As :func:`resident`, once it no longer grows."""
    size, since = resident(pid), time.monotonic()
    while time.monotonic() < since + STEADY:
        time.sleep(STEADY / 10)
        if (now := resident(pid)) != size:
            size, since = now, time.monotonic()
    return size


def measure(peer: str, calls: int) -> float:
    """Start a server, place calls, and tell how many bytes each takes."""
    with started(own_command(peer)) as (port, (pid,)), contextlib.ExitStack() as placed:
        for number in range(WARM_UP):
            placed.enter_context(contextlib.closing(Call(port, number)))
        before = settled(pid)
        for number in range(calls):
            placed.enter_context(contextlib.closing(Call(port, WARM_UP + number)))
        return (settled(pid) - before) / calls


def main() -> None:
    installed = [name for name in PEERS if find_spec(NEEDS.get(name, "trio")) is not None]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.memory", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    said = f"separated by commas; known: {', '.join(PEERS)}  [default: all that are installed]"
    add("--peers", default=",".join(installed), metavar="NAMES", help=said)
    add("--calls", type=int, default=500, metavar="N", help="default: %(default)s")
    add("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    taken: dict[str, list[float]] = {peer: [] for peer in options.peers.split(",")}
    for _ in range(options.rounds):
        for peer, found in taken.items():
            found.append(measure(peer, options.calls))
            print(f"{peer}: {found[-1] / 1000:.1f} KB", file=sys.stderr)
    rows: list[list[Cell]] = [
        [peer, statistics.median(found) / 1000] for peer, found in taken.items()
    ]
    report = Report.here(
        f"Memory of a call at rest, {options.calls} of them",
        ["server", "a call (KB)"],
        rows,
        packages=PACKAGES,
        rounds=str(options.rounds),
    )
    print(report)
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
