"""An endpoint that sends back each message: a wire on a socket, and nothing else."""

from __future__ import annotations

import socket
import socketserver
from urllib.parse import urlsplit

from listenproto._errors import RemoteProtocolError
from listenproto._upgrade import Request
from listenproto._wire import ClientWire, ServerWire, Wire, WireState

__all__ = ["EchoServer", "answer_cases", "echo"]

AGENT = "listenproto"


def echo(connection: socket.socket, wire: Wire) -> list[str | bytes]:
    """Send back what comes until the connection ends; all that came."""
    came = []
    connection.sendall(wire.data_to_send())
    while not wire.finished:
        try:
            wire.feed(connection.recv(65536))
        except ConnectionError:
            wire.feed(b"")
        try:
            for event in wire.events():
                if isinstance(event, Request):
                    assert isinstance(wire, ServerWire)
                    wire.accept()
                elif isinstance(event, str | bytes):
                    came.append(event)
                    wire.send(event)
        except RemoteProtocolError as error:
            if wire.state is WireState.FAILED:
                wire.close(error.close_code, str(error))
        connection.sendall(wire.data_to_send())
    return came


class EchoServer(socketserver.ThreadingTCPServer):
    """Serves each connection in a thread of its own."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Connection)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        echo(self.request, ServerWire())


def answer_cases(url: str) -> int:
    """Have the testsuite's server run each of its cases, then write its report; their number."""
    (count,) = _visit(url, "/getCaseCount")
    for case in range(1, int(count) + 1):
        _visit(url, f"/runCase?case={case}&agent={AGENT}")
    _visit(url, f"/updateReports?agent={AGENT}")
    return int(count)


def _visit(url: str, target: str) -> list[str | bytes]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as connection:
        return echo(connection, ClientWire(parts.netloc, target))
