"""The handshake: what an app answers to an upgrade request (LP-HS), as a pure function."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Container
from typing import Final, TypeAlias

import attrs

from listenproto.upgrade import Request

__all__ = [
    "SUBPROTOCOL",
    "SUBPROTOCOLS",
    "Accept",
    "Policy",
    "Reject",
    "Verdict",
    "basic_credentials",
    "judge",
]

SUBPROTOCOL: Final = "audio.jambonz.org"
"""What a platform offers (LP-HS-4)."""

SUBPROTOCOLS: Final = (SUBPROTOCOL, "audio.drachtio.org")
"""What an app takes: the second is the media server's default name (LP-HS-1)."""


@attrs.frozen(kw_only=True)
class Policy:
    """What an app lets in.

    ``paths``: the paths that are served; None for all. ``credentials``: username and password
    that a platform must give; None for anybody. ``health_path``: where a plain GET is answered
    200. ``max_calls``: how many calls may be open; None for any number.
    """

    paths: Container[str] | None = None
    subprotocols: tuple[str, ...] = SUBPROTOCOLS
    allow_no_subprotocol: bool = False
    credentials: tuple[str, str] | None = attrs.field(default=None, repr=False)
    health_path: str | None = None
    max_calls: int | None = None


@attrs.frozen
class Accept:
    """Answer 101, with the subprotocol that was offered (None where none was)."""

    subprotocol: str | None


@attrs.frozen
class Reject:
    """Answer ``status`` with a sentence as its body."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


Verdict: TypeAlias = Accept | Reject


def basic_credentials(username: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def judge(request: Request, policy: Policy, *, open_calls: int = 0) -> Verdict:
    """Accept or refuse an upgrade request; of several reasons the first in LP-HS-2's order."""
    if policy.max_calls is not None and open_calls >= policy.max_calls:
        return Reject(503, f"All {policy.max_calls} calls that this server takes are open.")
    if not request.is_upgrade:
        if request.method == "GET" and request.path == policy.health_path:
            return Reject(200, "OK")
        return Reject(
            426,
            "This is a WebSocket server: send an upgrade request.",
            (("Upgrade", "websocket"), ("Connection", "Upgrade")),
        )
    if policy.paths is not None and request.path not in policy.paths:
        return Reject(404, f"No calls are taken at {request.path}.")
    if policy.credentials is not None and not _may_enter(request, policy.credentials):
        challenge = ("WWW-Authenticate", 'Basic realm="listen", charset="UTF-8"')
        return Reject(401, "Wrong or missing credentials.", (challenge,))
    return _malformed(request) or _negotiate(request.subprotocols, policy)


def _may_enter(request: Request, credentials: tuple[str, str]) -> bool:
    """Whether the request carries these credentials; takes equally long for every wrong one."""
    scheme, _, given = (request.header("authorization") or "").partition(" ")
    try:
        entered = base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        entered = b""
    expected = ":".join(credentials).encode()
    return hmac.compare_digest(entered, expected) and scheme.lower() == "basic"


def _malformed(request: Request) -> Reject | None:
    """What is wrong with an upgrade request as such (RFC 6455, 4.2.1, 4.4)."""
    fault = request.upgrade_fault
    if fault is None:
        return None
    other_version = request.header("sec-websocket-version") not in (None, "13")
    status = 426 if other_version else 400
    supported = (("Sec-WebSocket-Version", "13"),)
    return Reject(status, f"The request cannot be upgraded: {fault}.", supported)


def _negotiate(offered: tuple[str, ...], policy: Policy) -> Verdict:
    for name in offered:
        if name in policy.subprotocols:
            return Accept(name)
    if not offered and policy.allow_no_subprotocol:
        return Accept(None)
    listed = ", ".join(offered) if offered else "none"
    supported = " and ".join(policy.subprotocols)
    return Reject(400, f"Subprotocols offered: {listed}; supported: {supported}.")
