"""Why there is no call, in words, and what helps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urljoin, urlsplit

from listenproto._link import Link
from listenproto._shown import masked, shown
from listenproto._task import ListenTask
from listenproto._upgrade import Rejected

__all__ = [
    "UNTRUSTED",
    "CallRejected",
    "hint_of",
    "host_of",
    "redirect_from",
    "refused_by",
    "why_not",
]

REDIRECTS: Final = (301, 302, 303, 307, 308)
"""Answers that name another URL to call (RFC 9110, 15.4)."""

TLS_ALERT: Final = b"\x15\x03"
"""How an alert of any TLS version starts."""

_SUBPROTOCOL: Final = re.compile(rb"sub-?protocol|websocket-protocol", re.IGNORECASE)
"""What a refusal of the subprotocols offered calls them."""

UNTRUSTED: Final = "untrusted"

REMEDIES: Final = {
    "LP-HS-5": "pass a name that it knows in subprotocols, or allow_no_subprotocol=True",
    "LP-HS-18": "pass that one in subprotocols",
    UNTRUSTED: "pass an ssl_context that trusts its CA",
}
"""Which arguments of :func:`open_call` help, by the kind of a :class:`CallRejected`."""


class CallRejected(Exception):
    """The app refused the call, or the server there is not a listen app.

    ``reason`` is what is wrong, in one sentence. The message also says what helps, if an argument
    of :func:`open_call` does. ``rejected`` is the app's refusal, if it sent one. ``kind`` is the
    clause that the app broke, or that it refused the call by (LP-HS-13 for credentials, LP-HS-8 for
    subprotocols), ``"untrusted"`` if its certificate is not trusted, else None. The cause is the
    error that broke the connection or the protocol, if there was one.
    """

    def __init__(
        self, reason: str, rejected: Rejected | None = None, *, kind: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.rejected: Rejected | None = rejected
        self.kind: str | None = kind

    def __str__(self) -> str:
        return self.advised(REMEDIES)

    def advised(self, remedies: Mapping[str, str]) -> str:
        """The reason, and what helps according to ``remedies``, which are by kind."""
        remedy = remedies.get(self.kind) if self.kind else None
        return f"{self.reason.removesuffix('.')}; {remedy}" if remedy else self.reason


def why_not(link: Link[bytes], task: ListenTask, rejected: Rejected | None, answered: bool) -> str:
    """Why a connection has become no call; ``answered`` is false if the app has not in time."""
    there = host_of(task)
    if rejected is not None:
        where = redirect_from(task.verb.websocket_url, rejected.header("location"))
        if rejected.status in REDIRECTS and where is not None:
            return f"{there} answered {rejected.status}, a redirect: call {where} instead"
        said = rejected.body.decode(errors="replace").strip() or "no reason given"
        if rejected.status < 400:
            return f"{there} answered {rejected.status} instead of accepting the call: {said}"
        return f"{there} refused the call with {rejected.status}: {said}"
    if not answered:
        limit = link.limits.handshake_time
        return f"no answer from {there} to the upgrade request within {limit:g} s"
    return f"the call to {there} failed: {link.ending().why}"


def refused_by(rejected: Rejected | None) -> str | None:
    """The clause by which the app refused the call, if that can be told from its answer."""
    if rejected is None:
        return None
    if rejected.status == 401:
        return "LP-HS-13"
    about_subprotocols = rejected.status == 400 and _SUBPROTOCOL.search(rejected.body)
    return "LP-HS-8" if about_subprotocols else None


def hint_of(task: ListenTask, front: bytes) -> str:
    """What kind of server it may be, judging by the first bytes that it sent."""
    if front.startswith(TLS_ALERT):
        return "; it sent a TLS alert: is it a wss server?"
    if not front:  # OpenSSL disconnects at an HTTP request, without an alert
        return "; is it a wss server?" if task.verb.websocket_url.startswith("ws:") else ""
    if front[0] > 0x20 and not b"HTTP/".startswith(front[:5]):
        said = front.splitlines()[0].decode(errors="replace")
        return f"; it sent {shown(said)}"
    return ""


def redirect_from(url: str, location: str | None) -> str | None:
    """Where a Location header leads, as a URL to be shown: printable, short, without a password.

    None without one, or if it is empty.
    """
    if not location:
        return None
    with suppress(ValueError):  # it is shown as it came, then
        location = urljoin(url, location)
    return f"{masked(location)!r:.300}"


def host_of(task: ListenTask) -> str:
    """The host and port of the verb's URL."""
    url = urlsplit(task.verb.websocket_url)
    return f"{url.hostname}:{url.port or (443 if url.scheme == 'wss' else 80)}"
