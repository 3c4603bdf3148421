"""How many calls a server carries, beside its peers: python -m tests.benchmarks.calls [--quick]

Every server sends back what it hears. For each measurement it is started anew, one process on one
core, and gets paced calls from a process on another. Its cost is what the operating system counts
for its process. The servers take turns, for several rounds; a figure is the median of its rounds.
Compare only figures of the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.benchmarks.load import STEP, Load
from tests.benchmarks.peers import PEERS
from tests.benchmarks.report import Cell, Report

__all__ = ["capacity", "measure"]

STARTING: Final = 20.0
"""Seconds that a server has until it listens."""
LISTEN: Final = "0A"
"""The state of a listening socket in ``/proc/net/tcp``."""
PRECISION: Final = 0.05
"""How exact the number of calls is that a server carries."""
PACKAGES: Final = (
    *("trio", "trio-websocket", "websockets", "fastapi", "uvicorn", "aiohttp"),
    *("jambonz-python-sdk", "picows", "uvloop", "wsproto"),
)
NEEDS: Final = {
    "listenproto-picows": "picows",
    "picows": "picows",
    "jambonz-sdk": "jambonz_sdk",
    "fastapi": "fastapi",
}
"""What is left out where it is not installed."""


def own_command(peer: str) -> list[str]:
    """The command that starts one of the servers here; ``{port}`` stands for the port."""
    return [sys.executable, "-m", "tests.benchmarks.peers", peer, "{port}"]


def _on_core(place: int | None) -> Callable[[], None]:
    """What keeps a new process on one of the cores that this one may use; None: on any."""
    cores = sorted(os.sched_getaffinity(0))
    return partial(os.sched_setaffinity, 0, cores if place is None else {cores[place]})


@contextlib.contextmanager
def started(command: Sequence[str], processes: int = 1) -> Iterator[tuple[int, list[int]]]:
    """A server until the end of the block: its port, and the numbers of its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    words = [word.replace("{port}", str(port)) for word in command]
    with contextlib.ExitStack() as ending:
        said = ending.enter_context(tempfile.TemporaryFile("w+"))
        servers: list[subprocess.Popen[bytes]] = []
        for place in range(processes):
            pinned = _on_core(place % len(os.sched_getaffinity(0)))
            server = subprocess.Popen(words, stderr=said, preexec_fn=pinned)
            ending.callback(server.wait)
            ending.callback(server.kill)
            servers.append(server)
        give_up = time.monotonic() + STARTING
        while _listening(port) < processes:
            if any(one.poll() is not None for one in servers) or time.monotonic() > give_up:
                said.seek(0)
                raise SystemExit(f"{shlex.join(words)} does not listen:\n{said.read()}")
            time.sleep(0.05)
        yield port, [server.pid for server in servers]


def _listening(port: int) -> int:
    """How many sockets of IPv4 listen on this port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [(line.split()[1], line.split()[3]) for line in lines]
    return sum(state == LISTEN and address.endswith(f":{port:04X}") for address, state in local)


def measure(
    command: Sequence[str], *, calls: int, seconds: float, warm_up: float, processes: int = 1
) -> Load:
    """Start a server, place the calls, and tell what became of them."""
    with started(command, processes) as (port, pids):
        load = [sys.executable, "-m", "tests.benchmarks.load", str(port), *map(str, pids)]
        load += [f"--calls={calls}", f"--seconds={seconds}", f"--warm-up={warm_up}"]
        spare = processes < len(os.sched_getaffinity(0))
        pinned = _on_core(-1 if spare else None)
        run = subprocess.run(load, stdout=subprocess.PIPE, preexec_fn=pinned, check=True)
    return Load(**json.loads(run.stdout))


def capacity(is_steady: Callable[[int], bool], guess: int) -> int:
    """The greatest number of calls that is steady, about; 0 if not even one is."""
    low, high = 0, 0
    number = max(1, guess)
    while not high or high - low > max(1, PRECISION * low):
        if is_steady(number):
            low = number
        else:
            high = number
        if not high:
            number = -(-low * 5 // 4)
        elif not low:
            number = high * 4 // 5
            if not number:
                return 0
        else:
            number = (low + high) // 2
    return low


def _median(values: Sequence[float | None], scale: float = 1.0) -> float | None:
    """The median in units of 1 / ``scale``; None if one of the values is missing."""
    known = [value for value in values if value is not None]
    return statistics.median(known) * scale if known and len(known) == len(values) else None


def table(
    loads: dict[str, list[Load]],
    carried: dict[str, list[int]],
    late: dict[str, float],
    reference: str,
) -> tuple[list[str], list[list[Cell]]]:
    """The columns and rows: what each server costs and carries, and its ratio to another one.

    ``late`` is the worst p99 of the lateness with which a server's calls were sent, in seconds.
    """
    columns = [
        "server",
        "µs per echo",
        "from",
        "to",
        f"/ {reference}",
        "echoed",
        "echo p50 ms",
        "echo p99 ms",
        "load late p99 ms",
    ]
    if carried:
        columns += ["calls carried", f"/ {reference}'s"]
    costs = {name: _median([one.cost for one in some], 1e6) for name, some in loads.items()}
    rows: list[list[Cell]] = []
    for name, some in loads.items():
        known = [one.cost * 1e6 for one in some if one.cost is not None]
        row: list[Cell] = [
            name,
            costs[name],
            min(known, default=None),
            max(known, default=None),
            _ratio(costs[name], costs.get(reference)),
            1 - sum(one.lost for one in some) / sum(one.sent for one in some),
            _median([one.echo_median for one in some], 1e3),
            _median([one.echo_p99 for one in some], 1e3),
            late[name] * 1e3,
        ]
        if carried:
            most = {one: _median(numbers) for one, numbers in carried.items()}
            row += [most[name], _ratio(most[name], most.get(reference))]
        rows.append(row)
    return columns, rows


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def main() -> None:
    installed = [name for name in PEERS if find_spec(NEEDS.get(name, "trio")) is not None]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.calls", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    said = f"separated by commas; known: {', '.join(PEERS)}  [default: all that are installed]"
    add("--peers", default=",".join(installed), metavar="NAMES", help=said)
    said = "also the server that this starts, at {port} of 127.0.0.1; may be repeated"
    add("--also", action="append", default=[], metavar="NAME=COMMAND", help=said)
    add("--reference", default="trio-websocket", metavar="NAME", help="default: %(default)s")
    add("--calls", type=int, default=100, metavar="N", help="default: %(default)s")
    add("--seconds", type=float, default=5.0, metavar="S", help="default: %(default)s")
    add("--warm-up", type=float, default=1.0, metavar="S", help="default: %(default)s")
    add("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    said = "also search how many calls a server carries: all echoed, p99 within the limit"
    add("--capacity", action="store_true", help=said)
    said = "limit of the p99 of an echo, in ms  [default: %(default)s]"
    add("--limit", type=float, default=100.0, metavar="MS", help=said)
    said = "processes of each server, each on a core, that share its port  [default: %(default)s]"
    add("--processes", type=int, default=1, metavar="N", help=said)
    add("--quick", action="store_true", help="20 calls, one second, one round: within a minute")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    if options.quick:
        options.calls, options.seconds, options.warm_up, options.rounds = 20, 1.0, 0.5, 1
    commands = {name: own_command(name) for name in options.peers.split(",") if name}
    for also in options.also:
        name, _, command = also.partition("=")
        commands[name] = shlex.split(command)
    loads: dict[str, list[Load]] = {name: [] for name in commands}
    carried: dict[str, list[int]] = {name: [] for name in commands if options.capacity}
    late = dict.fromkeys(commands, 0.0)
    busy = f"{os.getloadavg()[0]:.1f}"

    def run(name: str, calls: int) -> Load:
        load = measure(
            commands[name],
            calls=calls,
            seconds=options.seconds,
            warm_up=options.warm_up,
            processes=options.processes,
        )
        late[name] = max(late[name], load.late_p99)
        _tell(name, load)
        return load

    def is_steady(name: str, calls: int) -> bool:
        load = run(name, calls)
        in_time = (load.echo_p99 or 0) * 1e3 <= options.limit and load.late_p99 <= STEP
        return in_time and not load.lost

    for _ in range(options.rounds):
        for name in commands:
            load = run(name, options.calls)
            loads[name].append(load)
            if options.capacity:
                guess = round(options.processes / (load.cost or 1e-3) / 50)
                carried[name].append(capacity(partial(is_steady, name), guess))
    columns, rows = table(loads, carried, late, options.reference)
    report = Report.here(
        f"Echo of {options.calls} calls, 20 ms of 8000 Hz mono each",
        columns,
        rows,
        packages=PACKAGES,
        rounds=str(options.rounds),
        seconds=f"{options.seconds:g}",
        processes=str(options.processes),
        load=f"{busy} at the start",
    )
    print(report)
    if options.json:
        report.write(options.json)


def _tell(name: str, load: Load) -> None:
    """One line about a measurement, while the others are still to come."""
    figures = [
        f"{load.calls} calls",
        f"{(load.cost or 0) * 1e6:.0f} us",
        f"{load.lost} of {load.sent} lost",
        f"echo p99 {(load.echo_p99 or 0) * 1e3:.1f} ms",
        f"server busy {load.share:.0%}",
        f"load late p99 {load.late_p99 * 1e3:.1f} ms",
    ]
    print(f"{name}: {', '.join(figures)}", file=sys.stderr)


if __name__ == "__main__":
    main()
