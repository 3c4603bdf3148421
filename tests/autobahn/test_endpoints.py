"""The endpoints echo in both roles, so that what the testsuite finds is the wire's doing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.autobahn.endpoints import EchoServer, answer_cases


@contextmanager
def running(server: EchoServer | Server) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def test_the_server_echoes() -> None:
    with (
        EchoServer(("127.0.0.1", 0)) as server,
        running(server),
        connect(f"ws://127.0.0.1:{server.server_address[1]}") as client,
    ):
        for message in ("Grüße", b"\0\1", "x" * 70_000):
            client.send(message)
            assert client.recv() == message
        client.send(b"caf\xe9", text=True)
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007


def test_the_client_echoes_in_each_case() -> None:
    """As the testsuite's server asks: how many cases, each of them, then the report."""
    visits = []
    echoed = []

    def case(connection: ServerConnection) -> None:
        assert connection.request is not None
        visits.append(connection.request.path)
        if connection.request.path == "/getCaseCount":
            connection.send("2")
        elif connection.request.path.startswith("/runCase"):
            connection.send("Grüße")
            echoed.append(connection.recv())

    with serve(case, "127.0.0.1", 0) as server, running(server):
        port = server.socket.getsockname()[1]
        assert answer_cases(f"ws://127.0.0.1:{port}") == 2
    runs = [f"/runCase?case={number}&agent=listenproto" for number in (1, 2)]
    assert visits == ["/getCaseCount", *runs, "/updateReports?agent=listenproto"]
    assert echoed == ["Grüße", "Grüße"]
