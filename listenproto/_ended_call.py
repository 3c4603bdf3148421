"""What is left of a call when it is over."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from listenproto._app_session import AppSession
from listenproto._ends import Ending
from listenproto._frozen import FrozenMapping
from listenproto._statistics import Statistics

__all__ = ["EndedCall"]


def _frozen(counts: Mapping[str, int]) -> Mapping[str, int]:
    return FrozenMapping(counts)


@attrs.frozen(kw_only=True)
class EndedCall:
    """A call that had a handler and is over: see ``on_end`` of :class:`Answering`."""

    session: AppSession
    """The session: metadata, upgrade request, mode."""
    peer: str | None
    """The address of the other end, as host:port; None if it is not known."""
    end: Ending
    """How it ended."""
    close_code: int | None
    """The code with which this end closed or answered the close: 1011 if the handler raised. None
    if this end was cancelled."""
    statistics: Statistics
    """What passed in it, what was dropped, and how late audio came."""
    violations: Mapping[str, int] = attrs.field(converter=_frozen)
    """How often the platform broke each clause that it broke."""
