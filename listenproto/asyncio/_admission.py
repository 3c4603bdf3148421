"""Which calls a process takes: requests are judged, and the open calls counted.

Frameworks give each connection to a handler of its own, so the open calls are counted here for the
whole process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from listenproto._answering import Answering
from listenproto._handshake import Accept, HandshakePolicy, Reject, judge_request
from listenproto._upgrade import Request
from listenproto.asyncio._adapters import content_of, head_of

__all__ = ["counted", "judged", "websockets_options"]

_open: Final[list[HandshakePolicy]] = []
"""The policies of the open calls, one entry for each call."""


@contextmanager
def counted(policy: HandshakePolicy) -> Iterator[None]:
    """Count a call as open. Calls with equal policies count together."""
    _open.append(policy)
    try:
        yield
    finally:
        _open.remove(policy)


def judged(request: Request, policy: HandshakePolicy) -> Accept | Reject:
    """Accept or refuse a request."""
    return judge_request(request, policy, open_calls=_open.count(policy))


def websockets_options(answering: Answering) -> dict[str, Any]:
    """Options for ``serve`` of ``websockets.asyncio.server``, which accepts before a handler runs.

    With them, it judges requests by the policy of ``answering``, and has its limits::

        async with serve(handler, host, port, **websockets_options(answering)):

    Audio is not compressed, which costs much and gains little. The legacy server has other options;
    pass ``subprotocols=SUBPROTOCOLS`` to it.
    """
    policy, limits = answering.policy, answering.limits

    def process_request(connection: Any, head: Any) -> Any:
        verdict = judged(head_of(head.path, head.headers), policy)
        if isinstance(verdict, Accept):
            return None
        response = connection.respond(HTTPStatus(verdict.status), content_of(verdict).decode())
        response.headers.update(verdict.headers)
        return response

    def select_subprotocol(connection: Any, offered: Sequence[Any]) -> Any:
        return next((name for name in offered if name in policy.subprotocols), None)

    return {
        "process_request": process_request,
        "select_subprotocol": select_subprotocol,
        "compression": None,
        "max_size": limits.message_size,
        "ping_interval": limits.ping_interval,
        "ping_timeout": limits.ping_time,
        "close_timeout": limits.close_time,
    }
