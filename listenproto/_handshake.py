"""The handshake (LP-HS), as pure functions: what an app answers, and what either end got wrong."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

import attrs
from attrs.validators import optional

from listenproto._checks import a_number
from listenproto._choices import check_texts
from listenproto._messages import Peer
from listenproto._upgrade import Accepted, Rejected, Request
from listenproto._verb import ListenVerb
from listenproto._violation import Violation

__all__ = [
    "SUBPROTOCOL",
    "SUBPROTOCOLS",
    "Accept",
    "HandshakePolicy",
    "Reject",
    "basic_credentials",
    "judge_request",
    "judge_upgrade",
]

SUBPROTOCOL: Final = "audio.jambonz.org"
"""The subprotocol that a platform offers (LP-HS-3)."""

SUBPROTOCOLS: Final = (SUBPROTOCOL, "audio.drachtio.org")
"""The subprotocols that an app accepts; the second is the media server's default (LP-HS-6)."""


_VERSION: Final = "Sec-WebSocket-Version"
_BASIC: Final = re.compile(r"(?:^|,)[ \t]*basic(?:[ \t]|,|$)", re.IGNORECASE)
"""A challenge for Basic credentials, alone or among others (RFC 9110, 11.6.1)."""
_LAST: Final = ("LP-HS-15", "LP-HS-8")
"""These share the last place in the order of LP-HS-16: either may be given."""
_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
"""The headers that a 426 must have (RFC 9110, 15.5.22)."""


def _texts(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_texts(value, attribute.name)


def _pair(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(isinstance(part, str) for part in value):
        # what it is instead is not shown, as it may be a password
        raise ValueError(f"{attribute.name} must be a tuple of two strings, user name and password")


@attrs.frozen(kw_only=True)
class HandshakePolicy:
    """Which upgrade requests an app accepts.

    ``paths``: the paths that are served; None for all. ``subprotocols``: those that the app knows.
    ``allow_no_subprotocol``: accept a request that offers none. ``credentials``: the user name and
    password that a platform must give; None if none are needed. ``health_path``: where a plain GET
    or HEAD is answered with 200. ``max_calls``: the maximum number of open calls; None for no
    limit. Raises ValueError for one text where several are expected, and for no subprotocols at all
    unless ``allow_no_subprotocol`` is true.
    """

    paths: Container[str] | None = attrs.field(default=None, validator=optional(_texts))
    subprotocols: tuple[str, ...] = attrs.field(default=SUBPROTOCOLS, validator=_texts)
    allow_no_subprotocol: bool = False
    credentials: tuple[str, str] | None = attrs.field(
        default=None, repr=False, validator=optional(_pair)
    )
    health_path: str | None = None
    max_calls: int | None = attrs.field(default=None, validator=a_number)

    def __attrs_post_init__(self) -> None:
        if not self.subprotocols and not self.allow_no_subprotocol:
            raise ValueError(
                "subprotocols is empty, so no request could be accepted; name one, or pass"
                " allow_no_subprotocol=True"
            )


@attrs.frozen
class Accept:
    """Accept the upgrade, with one of the subprotocols offered; None if none was."""

    subprotocol: str | None
    """The subprotocol of the answer; None for none."""


@attrs.frozen
class Reject:
    """Refuse the upgrade: answer with this HTTP status, and the reason as the body.

    ``clause`` is the one that :func:`judge_request` refused the request by; it is not compared.
    """

    status: int
    """The HTTP status, such as 401."""
    reason: str
    """Why, in one sentence: the body of the answer, unless there is a page."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of the answer: names and values."""
    page: str | None = attrs.field(default=None, kw_only=True, repr=False)
    """The body of the answer, if that is not the reason."""
    clause: str | None = attrs.field(default=None, kw_only=True, eq=False)


def basic_credentials(username: str, password: str) -> str:
    """The value of the Authorization header for HTTP Basic (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def judge_request(
    request: Request, policy: HandshakePolicy, *, open_calls: int = 0
) -> Accept | Reject:
    """Accept or refuse an upgrade request, as ``policy`` says with so many ``open_calls``.

    Of several reasons to refuse it, the first in the order of LP-HS-16 counts.
    """
    for clause, refusal in _refusals(request, policy, open_calls):
        return attrs.evolve(refusal, clause=clause)
    return Accept(next(iter(_known(request, policy)), None))


def _known(request: Request, policy: HandshakePolicy) -> list[str]:
    """The subprotocols that both ends know, in the order of the request."""
    return [name for name in request.subprotocols if name in policy.subprotocols]


def _refusals(
    request: Request, policy: HandshakePolicy, open_calls: int
) -> Iterator[tuple[str, Reject]]:
    """Each reason to refuse a request, with its clause, in the order of LP-HS-16."""
    if policy.max_calls is not None and open_calls >= policy.max_calls:
        limit = f"The limit of open calls is reached ({policy.max_calls}); try again later."
        yield "LP-HS-9", Reject(503, limit)
    if not request.is_upgrade:
        if request.method in ("GET", "HEAD") and request.path == policy.health_path:
            yield "LP-HS-11", Reject(200, "OK")
            return
        reason = "This is a WebSocket server; send an upgrade request."
        yield "LP-HS-10", Reject(426, reason, _UPGRADE)
    if policy.paths is not None and request.path not in policy.paths:
        where = f"This server has no path {request.path:.200}; check the URL."
        yield "LP-HS-12", Reject(404, where)
    if policy.credentials is not None and not _may_enter(request, policy.credentials):
        challenge = ("WWW-Authenticate", 'Basic realm="listen", charset="UTF-8"')
        yield "LP-HS-13", Reject(401, "Wrong or missing credentials.", (challenge,))
    if not request.is_upgrade:
        return
    malformed = _malformed(request)
    if malformed is not None:
        yield "LP-HS-15", malformed
    offered = request.subprotocols
    if not _known(request, policy) and (offered or not policy.allow_no_subprotocol):
        listed = ", ".join(offered) if offered else "none"
        supported = " and ".join(policy.subprotocols) or "none"
        reason = f"Subprotocols offered: {listed:.200}; supported: {supported}."
        yield "LP-HS-8", Reject(400, reason)


def _may_enter(request: Request, credentials: tuple[str, str]) -> bool:
    """Whether the request has these credentials; any wrong ones take equally long."""
    scheme, _, given = (request.header("authorization") or "").partition(" ")
    try:
        entered = base64.b64decode(given.strip(" "), validate=True)
    except (binascii.Error, ValueError):
        entered = b""
    expected = ":".join(credentials).encode()
    return hmac.compare_digest(entered, expected) and scheme.lower() == "basic"


def _malformed(request: Request) -> Reject | None:
    """The refusal of a malformed upgrade request (RFC 6455, 4.2.1, 4.4), else None."""
    fault = request.upgrade_fault
    if fault is None:
        return None
    reason = f"The request cannot be upgraded: {fault}."
    if request.header(_VERSION) in (None, "13"):
        return Reject(400, reason)
    return Reject(426, reason, (*_UPGRADE, (_VERSION, "13")))


def judge_upgrade(
    request: Request,
    answer: Accepted | Rejected | None = None,
    *,
    verb: ListenVerb | None = None,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    policy: HandshakePolicy | None = None,
    open_calls: int = 0,
    without: Container[str] = (),
) -> list[Violation]:
    """What is wrong with an upgrade request and the answer to it, each breach with its clause.

    ``verb`` is the platform's, if it is known; ``subprotocols`` is what the platform was told to
    offer; ``policy`` and ``open_calls`` are the app's. If the policy is not known, only what no
    policy allows is reported. ``without`` switches clauses off.
    """
    check_texts(subprotocols, "subprotocols")
    check_texts(without, "without")
    found = [
        Violation(clause, Peer.PLATFORM, request, reason)
        for clause, reason in _request_faults(request, verb, subprotocols)
    ]
    if answer is not None:
        found += [
            Violation(clause, Peer.APP, answer, reason)
            for clause, reason in _answer_faults(request, answer, policy, open_calls)
        ]
    return [violation for violation in found if violation.clause not in without]


def _request_faults(
    request: Request, verb: ListenVerb | None, subprotocols: Sequence[str]
) -> Iterator[tuple[str, str]]:
    if request.upgrade_fault is not None:
        yield "LP-HS-1", f"the request cannot be upgraded: {request.upgrade_fault}"
    if verb is not None and request.resource != verb.target:
        asked = f"the request is for {request.resource:.200}"
        yield "LP-HS-2", f"{asked}, but the verb's url has {verb.target:.200}"
    missing = [name for name in subprotocols if name not in request.subprotocols]
    if missing:
        yield "LP-HS-3", f"the subprotocol {missing[0]} is not offered"
    auth = verb.ws_auth if verb is not None else None
    if auth is not None and not _may_enter(request, (auth.username, auth.password)):
        yield "LP-HS-4", "the verb's wsAuth is not sent as HTTP Basic credentials"


def _answer_faults(
    request: Request, answer: Accepted | Rejected, policy: HandshakePolicy | None, open_calls: int
) -> Iterator[tuple[str, str]]:
    known = policy or HandshakePolicy(subprotocols=request.subprotocols, allow_no_subprotocol=True)
    refusals = list(_refusals(request, known, open_calls))
    if isinstance(answer, Accepted):
        if refusals:
            clause, refusal = refusals[0]
            yield clause, f"the answer must be {refusal.status}, not 101: {refusal.reason}"
            return
        if answer.subprotocol is not None and answer.subprotocol not in request.subprotocols:
            yield "LP-HS-18", f"the subprotocol {answer.subprotocol:.60} was not offered"
        elif _known(request, known) and answer.subprotocol not in known.subprotocols:
            named = answer.subprotocol or "missing"
            shared = ", ".join(_known(request, known))
            reason = f"the answer's subprotocol is {named:.60}, but both ends know {shared:.200}"
            yield "LP-HS-7", reason
        fault = _accept_fault(request, answer)
        if fault is not None:
            yield "LP-HS-19", fault
        return
    if answer.status >= 400 and not answer.body.strip() and request.method != "HEAD":
        yield "LP-HS-17", f"the refusal with {answer.status} has an empty body; it must say why"
    if policy is None:
        return
    if not refusals:
        if _known(request, policy):
            reason = f"the answer must be 101, not {answer.status}: the request is valid"
            yield "LP-HS-6", reason
        return
    clause, refusal = refusals[0]
    challenges = answer.header("www-authenticate") or ""
    last = [later.status for c, later in refusals if c in _LAST]
    if answer.status == refusal.status or (clause in _LAST and answer.status in last):
        if answer.status == 401 and not _BASIC.search(challenges):
            yield clause, "the refusal with 401 does not ask for Basic credentials"
        if (clause, answer.status) == ("LP-HS-15", 426) and answer.header(_VERSION) is None:
            yield clause, f"the refusal with 426 has no {_VERSION}"
    elif answer.status in [later.status for _, later in refusals[1:]]:
        order = f"{refusal.status} has precedence over {answer.status}"
        yield "LP-HS-16", f"{order}: {refusal.reason}"
    else:
        yield clause, f"the answer must be {refusal.status}, not {answer.status}: {refusal.reason}"


def _accept_fault(request: Request, answer: Accepted) -> str | None:
    """What is wrong with the headers of a 101 (RFC 6455, 4.2.2), the subprotocol aside."""
    if not answer.is_upgrade:
        return "the answer must switch to WebSocket and to nothing else"
    if answer.header("sec-websocket-accept") != request.accept_token:
        return "the answer's Sec-WebSocket-Accept does not match the request's key"
    extra = [name for name in answer.extensions if name not in request.extensions]
    return f"the extension {extra[0]:.60} was not offered" if extra else None
