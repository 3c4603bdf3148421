"""The two HTTP heads of a WebSocket upgrade, as values (RFC 6455, 4)."""

from __future__ import annotations

import base64
import contextlib
import re
from typing import Final, TypeAlias

import attrs
from wsproto.utilities import generate_accept_token

__all__ = ["Accepted", "HttpHeaders", "Rejected", "Request"]

HttpHeaders: TypeAlias = tuple[tuple[str, str], ...]
"""Names in lower case and values, in the order in which they came; a name may be repeated."""

_SERVER: Final = re.compile(r"(https?|wss?)://[^/?#]+", re.IGNORECASE)
"""The part of a URL before its path."""


class _Head:
    __slots__ = ()
    headers: HttpHeaders

    def header(self, name: str) -> str | None:
        """The header's value, or None; the values of a repeated header are joined by ``", "``."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    def tokens(self, name: str) -> tuple[str, ...]:
        """The members of a header that is a comma-separated list (RFC 9110, 5.6.1)."""
        # A bare strip() would take some Latin-1 characters for white space.
        members = [member.strip(" \t") for member in (self.header(name) or "").split(",")]
        return tuple(member for member in members if member)

    @property
    def is_upgrade(self) -> bool:
        """Whether the Connection and Upgrade headers ask for, or confirm, a switch to WebSocket."""
        wanted = ("connection", "upgrade"), ("upgrade", "websocket")
        return all(token in map(str.lower, self.tokens(name)) for name, token in wanted)


@attrs.frozen
class Request(_Head):
    """The head of a request; header names are lower-case, values are decoded as Latin-1."""

    target: str
    """The target of the request line, as it came."""
    headers: HttpHeaders
    """The headers of the request."""
    method: str = "GET"
    """The method; only a GET can be upgraded."""

    @property
    def resource(self) -> str:
        """The path and query of the target, which may be a whole URL.

        Proxies may send the URL, in absolute-form (RFC 9112, 3.2.2). Any other target, such as
        ``*``, is returned as it is.
        """
        server = _SERVER.match(self.target)
        if server is None:
            return self.target
        rest = self.target[server.end() :]
        return rest if rest.startswith("/") else f"/{rest}"

    @property
    def path(self) -> str:
        """The path of the target, without the query."""
        return self.resource.partition("?")[0]

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols offered, in order of preference."""
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
        """Why accept() cannot take this request (RFC 6455, 4.2.1); None if it can."""
        if self.method != "GET" or not self.is_upgrade:
            return "it is not a GET with an upgrade to WebSocket"
        if self.header("sec-websocket-version") != "13":
            return "its Sec-WebSocket-Version is not 13"
        if not self.resource.startswith("/"):
            return "its target is neither a path nor a URL"
        with contextlib.suppress(ValueError):
            if len(base64.b64decode(self._key, validate=True)) == 16:
                return None
        return "its Sec-WebSocket-Key is not 16 bytes in base64"


@attrs.frozen
class Accepted(_Head):
    """The server accepted the upgrade; ``subprotocol`` is None if it chose none."""

    subprotocol: str | None
    headers: HttpHeaders
    """The headers of the answer."""


@attrs.frozen
class Rejected(_Head):
    """The server refused the upgrade; ``body`` has at most the first ``max_head`` bytes."""

    status: int
    """The HTTP status."""
    headers: HttpHeaders
    """The headers of the answer."""
    body: bytes
