"""Which close codes end a call well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from listenproto._messages import Peer

__all__ = ["GOOD_CLOSES"]

GOOD_CLOSES: Final[Mapping[Peer, frozenset[int]]] = {
    Peer.APP: frozenset({1000, 1005}),
    Peer.PLATFORM: frozenset({1000, 1001, 1005}),
}
"""By who closed; 1005 stands for a close without a code. Only a platform may go away (1001)."""
