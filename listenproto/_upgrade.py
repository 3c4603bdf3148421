"""The two HTTP heads of a WebSocket upgrade, as values (RFC 6455, 4)."""

from __future__ import annotations

import base64
import contextlib
import re
from typing import Final, TypeAlias

import attrs
from wsproto.utilities import generate_accept_token

__all__ = ["TOKEN", "Accepted", "HttpHeaders", "Rejected", "Request"]

HttpHeaders: TypeAlias = tuple[tuple[str, str], ...]
"""Names in lower case and values, in the order in which they came; a name may be repeated."""

_SERVER: Final = re.compile(r"(https?|wss?)://[^/?#]+", re.IGNORECASE)
"""The part of a URL before its path."""
_TCHAR: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_OWS: Final = r"[ \t]*"
_PARAMETER: Final = rf'{_TCHAR}+(?:{_OWS}={_OWS}(?:{_TCHAR}+|"(?:\\?{_TCHAR})+"))?'
TOKEN: Final = re.compile(rf"{_TCHAR}+")
"""What may be the name of a subprotocol (RFC 6455, 4.3; RFC 9110, 5.6.2)."""
_EXTENSION: Final = re.compile(rf"{_TCHAR}+(?:{_OWS};{_OWS}{_PARAMETER})*")
"""One member of Sec-WebSocket-Extensions (RFC 6455, 9.1)."""


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
    def extensions(self) -> tuple[str, ...]:
        """The names of the extensions that are offered or chosen, without their parameters."""
        members = self.tokens("sec-websocket-extensions")
        return tuple(member.partition(";")[0].rstrip(" \t") for member in members)

    def _names(self, name: str, token: str) -> bool:
        """Whether a header that is a list has this member, in any case."""
        return token in map(str.lower, self.tokens(name))


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
    def is_upgrade(self) -> bool:
        """Whether the Connection and Upgrade headers ask for a switch to WebSocket."""
        return self._names("connection", "upgrade") and self._names("upgrade", "websocket")

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
        names = self.subprotocols
        if self.method != "GET" or not self.is_upgrade:
            return "it is not a GET with an upgrade to WebSocket"
        if self.header("sec-websocket-version") != "13":
            return "its Sec-WebSocket-Version is not 13"
        if not self.resource.startswith("/"):
            return "its target is neither a path nor a URL"
        if self._has_content:
            return "it has content, which a GET for an upgrade must not have"
        if not self._is_list("sec-websocket-protocol", TOKEN):
            return "its Sec-WebSocket-Protocol is not a list of names separated by commas"
        if len(set(names)) < len(names):
            return "its Sec-WebSocket-Protocol has a name twice"
        if not self._is_list("sec-websocket-extensions", _EXTENSION):
            return "its Sec-WebSocket-Extensions is not a list of extensions"
        with contextlib.suppress(ValueError):
            if len(base64.b64decode(self._key, validate=True)) == 16:
                return None
        return "its Sec-WebSocket-Key is not 16 bytes in base64"

    @property
    def _has_content(self) -> bool:
        """Whether content follows the head (RFC 9112, 6.3), as it must not in front of frames."""
        sizes = self.tokens("content-length")
        return self.header("transfer-encoding") is not None or any(n.strip("0") for n in sizes)

    def _is_list(self, name: str, member: re.Pattern[str]) -> bool:
        """Whether a header, if there is one, is a list of one or more of these members."""
        members = self.tokens(name)
        return self.header(name) is None or (bool(members) and all(map(member.fullmatch, members)))


@attrs.frozen
class Accepted(_Head):
    """The server accepted the upgrade; ``subprotocol`` is None if it chose none."""

    subprotocol: str | None
    headers: HttpHeaders
    """The headers of the answer."""

    @property
    def is_upgrade(self) -> bool:
        """Whether it switches to WebSocket, and to nothing else (RFC 6455, 4.1)."""
        switched = self.header("upgrade") or ""
        return self._names("connection", "upgrade") and switched.lower() == "websocket"


@attrs.frozen
class Rejected(_Head):
    """The server refused the upgrade; ``body`` has at most the first ``max_head`` bytes."""

    status: int
    """The HTTP status."""
    headers: HttpHeaders
    """The headers of the answer."""
    body: bytes
