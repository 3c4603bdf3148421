"""What the two HTTP heads of a WebSocket upgrade say (RFC 6455, 4), as values."""

from __future__ import annotations

import base64
import contextlib
import re
from typing import Final, TypeAlias

import attrs
from wsproto.utilities import generate_accept_token

__all__ = ["Accepted", "Headers", "Rejected", "Request"]

Headers: TypeAlias = tuple[tuple[str, str], ...]

_SERVER: Final = re.compile(r"(https?|wss?)://[^/?#]+", re.IGNORECASE)
"""What stands in front of the path in a URL."""


class _Head:
    __slots__ = ()
    headers: Headers

    def header(self, name: str) -> str | None:
        """The header's value, those of a repeated one joined by ``", "``; None without one."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    def tokens(self, name: str) -> tuple[str, ...]:
        """The members of a header that is a comma-separated list (RFC 9110, 5.6.1)."""
        # A bare strip() would take some Latin-1 characters for white space.
        members = [member.strip(" \t") for member in (self.header(name) or "").split(",")]
        return tuple(member for member in members if member)

    @property
    def is_upgrade(self) -> bool:
        """Whether Connection and Upgrade speak of a switch to WebSocket."""
        wanted = ("connection", "upgrade"), ("upgrade", "websocket")
        return all(token in map(str.lower, self.tokens(name)) for name, token in wanted)


@attrs.frozen
class Request(_Head):
    """A request head; names of headers are lower-case, values decoded as Latin-1."""

    target: str
    headers: Headers
    method: str = "GET"

    @property
    def resource(self) -> str:
        """The path and the query that are asked for, whether the target is these or a whole URL.

        Proxies may send the URL, in absolute-form (RFC 9112, 3.2.2). A target of another kind, such
        as ``*``, is given as it is.
        """
        server = _SERVER.match(self.target)
        if server is None:
            return self.target
        rest = self.target[server.end() :]
        return rest if rest.startswith("/") else f"/{rest}"

    @property
    def path(self) -> str:
        """The path that is asked for, without the query."""
        return self.resource.partition("?")[0]

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols offered, best first."""
        return self.tokens("sec-websocket-protocol")

    @property
    def _key(self) -> str:
        return self.header("sec-websocket-key") or ""

    @property
    def accept_token(self) -> str:
        """The Sec-WebSocket-Accept that answers the request's key (RFC 6455, 4.2.2)."""
        return generate_accept_token(self._key.encode()).decode()

    @property
    def upgrade_fault(self) -> str | None:
        """What keeps accept() from taking this request (RFC 6455, 4.2.1); None if nothing."""
        if self.method != "GET" or not self.is_upgrade:
            return "it is no GET that asks for an upgrade to WebSocket"
        if self.header("sec-websocket-version") != "13":
            return "its Sec-WebSocket-Version is not 13"
        if not self.resource.startswith("/"):
            return "its target is neither a path nor a URL"
        with contextlib.suppress(ValueError):
            if len(base64.b64decode(self._key, validate=True)) == 16:
                return None
        return "its Sec-WebSocket-Key is not base64 of 16 bytes"


@attrs.frozen
class Accepted(_Head):
    """The server took the upgrade; ``subprotocol`` is None if it named none."""

    subprotocol: str | None
    headers: Headers


@attrs.frozen
class Rejected(_Head):
    """The server refused the upgrade; of the body, the first ``max_head`` bytes were read."""

    status: int
    headers: Headers
    body: bytes
