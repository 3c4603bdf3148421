"""Where a server listens, and the certificate that it shows there."""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

import trio

from listenproto._logs import log

__all__ = ["Certificate", "log_listening", "open_listeners", "secured", "take_connections"]

BACKLOG: Final = 65535
"""How many connections may wait to be taken; the system has a limit of its own."""


_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Why a connection is not taken although there is one."""
_PAUSE: Final = 0.5
"""Seconds until it is tried again."""
_SILENCE: Final = 60.0
"""Seconds until that is logged again."""


class Certificate:
    """A server's certificate, to be replaced while it serves: pass it as ``ssl_context``.

    ``load`` makes the TLS context, by reading files for example; what it raises comes out of here.
    """

    def __init__(self, load: Callable[[], ssl.SSLContext]) -> None:
        self._load = load
        self.context: ssl.SSLContext = load()
        """The context that new connections get."""

    def reload(self) -> None:
        """Make the context anew. Open connections keep theirs.

        If ``load`` raises, so does this, and nothing changes.
        """
        self.context = self._load()


async def open_listeners(
    port: int, *, host: str | None, reuse_port: bool
) -> list[trio.SocketListener]:
    """Listen on a port of every address of ``host``; raises OSError if that cannot be done.

    With ``reuse_port`` other processes may listen there as well, if they do the same.
    """
    try:
        if not reuse_port:
            return await trio.open_tcp_listeners(port, host=host)
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError as exc:
        raise OSError(f"{host!r} is not a host name or an address") from exc
    opened: list[trio.socket.SocketType] = []
    try:
        for family, kind, protocol, _, address in found:
            sock = trio.socket.socket(family, kind, protocol)
            opened.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind(address)
            sock.listen(BACKLOG)
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return [trio.SocketListener(sock) for sock in opened]


def secured(
    listeners: Sequence[trio.SocketListener], certificate: Certificate
) -> list[trio.abc.Listener[trio.abc.Stream]]:
    """The same listeners with TLS."""
    return [_Secured(listener, certificate) for listener in listeners]


class _Secured(trio.abc.Listener[trio.abc.Stream]):
    """As trio's SSLListener, with a context that can be replaced."""

    def __init__(self, listener: trio.SocketListener, certificate: Certificate) -> None:
        self._listener = listener
        self._certificate = certificate

    async def accept(self) -> trio.abc.Stream:
        stream = await self._listener.accept()
        return trio.SSLStream(stream, self._certificate.context, server_side=True)

    async def aclose(self) -> None:
        await self._listener.aclose()


async def take_connections(
    listener: trio.abc.Listener[trio.abc.Stream],
    answer: Callable[[trio.abc.Stream], Awaitable[object]],
    nursery: trio.Nursery,
) -> NoReturn:
    """Answer each connection in a task of ``nursery`` until cancelled; closes the listener.

    When the system can open no more, they wait, and open ones are not affected.
    """
    silent_until = -math.inf
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as exc:
                if exc.errno not in _NO_ROOM:
                    raise
                if (now := trio.current_time()) >= silent_until:
                    silent_until = now + _SILENCE
                    log.error(
                        "new connections have to wait: %s; raise the limit (ulimit -n) or take "
                        "fewer calls (max_calls)",
                        os.strerror(exc.errno),
                    )
                await trio.sleep(_PAUSE)
            else:
                nursery.start_soon(answer, stream)


def log_listening(listeners: Sequence[trio.SocketListener]) -> None:
    """Log where it listens."""
    for listener in listeners:
        address = listener.socket.getsockname()
        if isinstance(address, tuple):
            log.info("listening on %s port %d", *address[:2])
        else:
            log.info("listening on %s", address)
