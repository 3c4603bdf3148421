"""Many calls to an app that echoes, in real time: python -m tests.benchmarks.load PORT PID…

A process of its own, so that its work is not the server's. Each call sends 20 ms of 8000 Hz mono
every 20 ms, the calls evenly spread over that time. What is sent is numbered, so that every echo is
known again. It is one loop over an ``epoll``, without any library, so that it is not what limits
the number of calls: how late it was itself is among its figures.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import select
import socket
import struct
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from listenproto import SUBPROTOCOLS

__all__ = ["Call", "Load", "Run", "frame", "percentile"]

STEP: Final = 0.02
"""Seconds between two messages of a call."""
PCM: Final = 320
"""Bytes of audio in a message."""
CONNECTING: Final = 10.0
"""Seconds that the server has to accept a call."""
DRAINING: Final = 5.0
"""Seconds without an echo after which those that are missing are lost."""
COARSE: Final = 0.001
"""The shortest time, in seconds, that an ``epoll`` waits."""
BURST: Final = 50
"""The most messages that are sent at once, late ones, before echoes are taken."""
SHORT: Final = 0.0002
"""The longest sleep, in seconds, when the next message is due sooner than that."""

HEAD: Final = (
    "GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
)
METADATA: Final = {"sampleRate": 8000, "mixType": "mono", "direction": "inbound"}
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
ECHO: Final = b"\x82\x7e" + struct.pack(">H", PCM)
"""How the frame of an echo starts."""


@attrs.frozen(kw_only=True)
class Load:
    """What became of the messages, times in seconds."""

    calls: int
    sent: int
    """How many messages were sent, those for warming up included."""
    lost: int
    """Those among them without an echo."""
    echo_median: float | None
    echo_p99: float | None
    """From a send to its echo; None if nothing came back."""
    late_p99: float
    """How late this process was with a send."""
    late_worst: float
    cost: float | None
    """Time that the server's processes have computed for an echo; None if nothing came back."""
    share: float
    """How many cores the server's processes took."""


def masked(payload: bytes, mask: bytes) -> bytes:
    long = int.from_bytes(mask * (len(payload) // 4 + 1))
    return (int.from_bytes(payload) ^ (long >> 8 * (4 - len(payload) % 4))).to_bytes(len(payload))


def frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """A masked frame of less than 64 KiB."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([0x80 | opcode]) + length + mask + masked(payload, mask)


class Call:
    """One call: its socket, and what was sent and came back."""

    def __init__(self, port: int, number: int) -> None:
        host = "127.0.0.1"
        self.sock = socket.create_connection((host, port), timeout=CONNECTING)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mask = random.randbytes(4)
        head = HEAD.format(host=host, port=port, subprotocols=", ".join(SUBPROTOCOLS))
        self.sock.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError(f"the server closed instead of accepting: {answer!r:.200}")
            answer += data
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"the server did not accept: {answer!r:.200}")
        self._received = bytearray(answer.partition(b"\r\n\r\n")[2])
        metadata = json.dumps({"callSid": f"call-{number}", **METADATA}).encode()
        self.sock.sendall(frame(TEXT, metadata, mask))
        self.sock.setblocking(False)
        rest = random.randbytes(PCM - 4)
        self._head = b"\x82\xfe" + struct.pack(">H", PCM) + mask
        self._mask, self._rest = int.from_bytes(mask), masked(rest, mask)
        self._mask_bytes, self._expected = mask, rest
        self._unsent = b""
        self._payload = bytearray()
        self.sent_at = array("d")
        self.echoes = 0
        self.open = True

    def send(self, now: float) -> None:
        """Send the next message. It is lost, as at a platform, if there is no room for it."""
        number = len(self.sent_at)
        self.sent_at.append(now)
        if not self.open or not self._flushed():
            return
        data = self._head + (number ^ self._mask).to_bytes(4) + self._rest
        try:
            done = self.sock.send(data)
        except BlockingIOError:
            return
        except OSError:
            self.open = False
            return
        self._unsent = data[done:]

    def _flushed(self) -> bool:
        if self._unsent:
            try:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            except BlockingIOError:
                pass
            except OSError:
                self.open = False
        return not self._unsent

    def read(self, now: float, took: array[float]) -> None:
        """Take what has come; adds the time that each echo took."""
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.open = False
            return
        if len(data) == len(ECHO) + PCM and not self._received and data.startswith(ECHO):
            self._heard(data[len(ECHO) :], now, took)
            return
        self._received += data
        while (parsed := self._next_frame()) is not None:
            opcode, payload = parsed
            if opcode in (BINARY, 0):
                self._payload += payload
                while len(self._payload) >= PCM:
                    self._heard(bytes(self._payload[:PCM]), now, took)
                    del self._payload[:PCM]
            elif opcode == PING and self._flushed():
                self._unsent = frame(PONG, payload, self._mask_bytes)
                self._flushed()
            elif opcode == CLOSE:
                self.open = False

    def close(self) -> None:
        """Hang up."""
        if self.open and self._flushed():
            self._unsent = frame(CLOSE, struct.pack(">H", 1000), self._mask_bytes)
            self._flushed()
        self.sock.close()

    def _next_frame(self) -> tuple[int, bytes] | None:
        got = self._received
        if len(got) < 2:
            return None
        short, start = got[1] & 0x7F, 2
        size = short
        if short >= 126:
            start = 4 if short == 126 else 10
            size = int.from_bytes(got[2:start])
        if len(got) < start + size:
            return None
        opcode, payload = got[0] & 0xF, bytes(got[start : start + size])
        del got[: start + size]
        return opcode, payload

    def _heard(self, pcm: bytes, now: float, took: array[float]) -> None:
        number = int.from_bytes(pcm[:4])
        if pcm[4:] != self._expected or number >= len(self.sent_at):
            raise ValueError("the server sent something other than the echo of this call")
        self.echoes += 1
        took.append(now - self.sent_at[number])


def computed(pids: Sequence[int]) -> float:
    """Seconds that processes have computed so far, in their own code and in the system's."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def percentile(values: array[float], share: float) -> float | None:
    return sorted(values)[int(share * (len(values) - 1))] if values else None


class Run:
    """The calls while they talk, and what is measured of them."""

    def __init__(self, placed: Sequence[Call], pids: Sequence[int]) -> None:
        self.placed = placed
        self.sent = 0
        self.took, self.late = array("d"), array("d")
        self._pids = pids
        self._gap = STEP / len(placed)  # between two messages of all calls
        self._by_fd = {call.sock.fileno(): call for call in placed}
        self._epoll = select.epoll()
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)
        self._start = time.perf_counter()

    @property
    def echoes(self) -> int:
        return sum(call.echoes for call in self.placed)

    def measured(self) -> tuple[float, float, int]:
        """The time, what the server has computed, and how many echoes came."""
        return time.perf_counter(), computed(self._pids), self.echoes

    def send_until(self, last: int) -> None:
        """Send each message when it is due, and take the echoes that come meanwhile."""
        while self.sent < last:
            now = time.perf_counter()
            for _ in range(BURST):
                due = self._start + self.sent * self._gap
                if now < due or self.sent == last:
                    break
                self.placed[self.sent % len(self.placed)].send(now)
                self.late.append(now - due)
                self.sent += 1
                now = time.perf_counter()
            wait = self._start + self.sent * self._gap - now
            if 0 < wait < COARSE:
                time.sleep(min(wait, SHORT))
                wait = 0.0
            self._read(max(0.0, wait // COARSE * COARSE))

    def drain(self) -> None:
        """Take the last echoes."""
        heard, newest = self.echoes, time.perf_counter()
        while heard < self.sent and time.perf_counter() < newest + DRAINING:
            self._read(COARSE)
            if self.echoes > heard:
                heard, newest = self.echoes, time.perf_counter()

    def _read(self, seconds: float) -> None:
        for fd, _ in self._epoll.poll(seconds):
            call = self._by_fd[fd]
            call.read(time.perf_counter(), self.took)
            if not call.open:
                self._epoll.unregister(fd)


def run(port: int, pids: Sequence[int], *, calls: int, seconds: float, warm_up: float) -> Load:
    """Place the calls, let them talk, and measure after the time for warming up."""
    running = Run([Call(port, number) for number in range(calls)], pids)
    gc.disable()
    running.send_until(round(warm_up / STEP) * calls)
    begun, busy_before, echoes_before = running.measured()
    running.took, running.late = array("d"), array("d")
    running.send_until(round((warm_up + seconds) / STEP) * calls)
    ended, busy, _ = running.measured()
    running.drain()
    _, computed_in_all, echoes = running.measured()
    for call in running.placed:
        call.close()
    return Load(
        calls=calls,
        sent=running.sent,
        lost=running.sent - running.echoes,
        echo_median=percentile(running.took, 0.5),
        echo_p99=percentile(running.took, 0.99),
        late_p99=percentile(running.late, 0.99) or 0.0,
        late_worst=max(running.late),
        cost=(computed_in_all - busy_before) / (echoes - echoes_before)
        if echoes > echoes_before
        else None,
        share=(busy - busy_before) / (ended - begun),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.load", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("port", type=int)
    parser.add_argument("pids", type=int, nargs="+", help="the server's processes")
    parser.add_argument("--calls", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="default: %(default)s")
    parser.add_argument("--warm-up", type=float, default=1.0, help="default: %(default)s")
    options = parser.parse_args()
    load = run(
        options.port,
        options.pids,
        calls=options.calls,
        seconds=options.seconds,
        warm_up=options.warm_up,
    )
    json.dump(attrs.asdict(load), sys.stdout)


if __name__ == "__main__":
    main()
