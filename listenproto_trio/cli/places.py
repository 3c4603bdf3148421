"""Where ``listenproto serve`` listens: at a port, or on a socket that is open already."""

from __future__ import annotations

import socket

import attrs
import click
import trio

from listenproto_trio._failures import in_words
from listenproto_trio._listening import open_listeners
from listenproto_trio.cli.screen import Failure

__all__ = ["Place", "open_all"]


@attrs.frozen(kw_only=True)
class Place:
    """A port of a host; or the number of an open socket, with which this process was started."""

    host: str
    port: int
    reuse_port: bool = False
    descriptor: int | None = None

    async def open(self) -> list[trio.SocketListener]:
        """Listen there. Raises Failure, or click.BadParameter for what is no listening socket."""
        if self.descriptor is not None:
            return [_inherited(self.descriptor)]
        try:
            return await open_listeners(self.port, host=self.host, reuse_port=self.reuse_port)
        except OSError as exc:
            said = f"cannot listen on {self.host} port {self.port}: {in_words(exc)}"
            raise Failure(said) from exc

    def url(self, scheme: str, path: str, listener: trio.SocketListener) -> str:
        """The URL of a listener, with the host as it was given, if it was."""
        address = listener.socket.getsockname()
        if not isinstance(address, tuple):  # a Unix socket
            return f"{address}, path {path}"
        host = self.host if self.descriptor is None else address[0]
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}{path}"


async def open_all(*places: Place | None) -> list[list[trio.SocketListener]]:
    """Listen at all of them, or at none if one fails; raises as :meth:`Place.open`."""
    opened: list[list[trio.SocketListener]] = []
    try:
        for place in places:
            opened.append([] if place is None else await place.open())
    except BaseException:
        for listeners in opened:
            for listener in listeners:
                listener.socket.close()
        raise
    return opened


def _inherited(descriptor: int) -> trio.SocketListener:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as exc:
        said = f"{descriptor} is not a socket ({in_words(exc)}); pass the number of an open one"
        raise click.BadParameter(said, param_hint="--fd") from exc
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        said = f"{descriptor} is not a listening socket; whoever starts this must call listen()"
        raise click.BadParameter(said, param_hint="--fd")
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))
