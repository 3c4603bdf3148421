"""What a good call hears beside peers that flood the server: python -m tests.benchmarks.fairness

Other calls send small frames as fast as the server takes them, from a process of their own, and
read what comes back. The good call sends 20 ms of audio every 20 ms; measured is how much of the
echo has come by the end, and how late.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from tests.benchmarks.calls import own_command, started
from tests.benchmarks.load import (
    BINARY,
    PING,
    PONG,
    STEP,
    TEXT,
    Call,
    Run,
    frame,
    percentile,
)
from tests.benchmarks.peers import PEERS
from tests.benchmarks.report import Cell, Report

__all__ = ["FLOODS", "Heard", "measure"]

MASK: Final = b"mask"
START: Final = b"\x02\x80" + MASK
"""A fragment without bytes, which begins a message."""
FLOODS: Final = {
    "nothing": b"",
    "pings": frame(PING, b"", MASK),
    "pongs": frame(PONG, b"", MASK),
    "texts": frame(TEXT, b'{"type":"news"}', MASK),
    "no JSON": frame(TEXT, b"{", MASK),
    "tiny audio": frame(BINARY, b"xy", MASK),
    "empty fragments": b"\x00\x80" + MASK,
}
"""What the other calls say, again and again."""
CHUNK: Final = 65536


@attrs.frozen
class Heard:
    """What the good call heard."""

    share: float
    """Of what it sent, how much has come back by the end."""
    echo_p99: float | None
    """From a send to its echo, in seconds; None if nothing came back."""


def flood(port: int, kind: str, peers: int) -> None:
    """Flood a server until killed."""
    calls = [Call(port, 1 + number) for number in range(peers)]
    said = FLOODS[kind]
    if kind == "empty fragments":
        for call in calls:
            call.sock.sendall(START)
    chunk = said * (CHUNK // len(said))
    unsent = {call.sock.fileno(): chunk for call in calls}
    by_fd = {call.sock.fileno(): call for call in calls}
    epoll = select.epoll()
    for fd in by_fd:
        epoll.register(fd, select.EPOLLIN | select.EPOLLOUT)
    print("flooding", flush=True)
    while by_fd:
        for fd, event in epoll.poll():
            with contextlib.suppress(BlockingIOError):
                try:
                    if event & select.EPOLLOUT:
                        done = by_fd[fd].sock.send(unsent[fd])
                        unsent[fd] = unsent[fd][done:] or chunk
                    if event & ~select.EPOLLOUT and not by_fd[fd].sock.recv(CHUNK):
                        raise ConnectionResetError
                except ConnectionError:
                    epoll.unregister(fd)
                    del by_fd[fd]


@contextlib.contextmanager
def flooded(port: int, kind: str, peers: int) -> Iterator[None]:
    """Calls that flood a server, until the end of the block."""
    if not FLOODS[kind]:
        yield
        return
    command = [sys.executable, "-m", "tests.benchmarks.fairness"]
    command += [f"--flood={kind}", f"--port={port}", f"--flooding={peers}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as flooding:
        assert flooding.stdout is not None
        try:
            if not flooding.stdout.readline():
                raise SystemExit("the server does not take the calls that are to flood it")
            yield
        finally:
            flooding.kill()


def measure(peer: str, kind: str, *, flooding: int, seconds: float) -> Heard:
    """Start a server, flood it, and tell what a good call hears."""
    with started(own_command(peer)) as (port, pids):
        call = Call(port, 0)
        with contextlib.closing(call), flooded(port, kind, flooding):
            running = Run([call], pids)
            running.send_until(round(seconds / STEP))
            return Heard(running.echoes / running.sent, percentile(running.took, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.fairness", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    said = f"separated by commas; known: {', '.join(PEERS)}  [default: %(default)s]"
    add("--peers", default="listenproto-trio,websockets", metavar="NAMES", help=said)
    add("--flooding", type=int, default=3, metavar="N", help="calls that flood; default: 3")
    add("--seconds", type=float, default=10.0, metavar="S", help="default: %(default)s")
    add("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    add("--quick", action="store_true", help="two seconds, one round: within a minute")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    add("--flood", choices=FLOODS, help=argparse.SUPPRESS)
    add("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        flood(options.port, options.flood, options.flooding)
        return
    if options.quick:
        options.seconds, options.rounds = 2.0, 1
    busy = f"{os.getloadavg()[0]:.1f}"
    peers = options.peers.split(",")
    rows: list[list[Cell]] = []
    for kind in FLOODS:
        measured: dict[str, list[Heard]] = {peer: [] for peer in peers}
        for _ in range(options.rounds):
            for peer in peers:
                one = measure(peer, kind, flooding=options.flooding, seconds=options.seconds)
                measured[peer].append(one)
                print(f"{kind}, {peer}: {one.share:.0%} heard", file=sys.stderr)
        row: list[Cell] = [kind]
        for peer in peers:
            row.append(100 * statistics.median(one.share for one in measured[peer]))
            late = [one.echo_p99 for one in measured[peer] if one.echo_p99 is not None]
            row.append(1000 * statistics.median(late) if late else None)
        rows.append(row)
    columns = [f"{peer}: {what}" for peer in peers for what in ("heard (%)", "echo p99 (ms)")]
    report = Report.here(
        f"A good call beside {options.flooding} that flood",
        ["flood", *columns],
        rows,
        packages=("trio", "websockets", "wsproto"),
        rounds=str(options.rounds),
        seconds=f"{options.seconds:g}",
        load=f"{busy} at the start",
    )
    print(report)
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
