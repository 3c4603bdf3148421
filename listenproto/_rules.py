"""The rules of the conversation, as tables.

Rule 1: these tables decide whether a message is allowed now, and name the clause of
``spec/listen.md`` that it breaks if it is not. Code only looks things up.

Rule 2: the tables do not know which side is asking. The same rows hold for ourselves and for the
other side; :mod:`listenproto._observer` applies them.

Each peer has a state of its own, changed by the messages that it sends (TRANSITIONS); three kinds
of message also change the other peer's state (CROSSINGS). Who may send a message at all, and in
which modes, is in its row of :mod:`listenproto._messages`.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from listenproto._messages import ROWS, Close, Disconnect, Metadata, Peer

__all__ = [
    "BREACHES",
    "CROSSINGS",
    "ENDS",
    "HARMLESS",
    "MODES",
    "REFUSALS",
    "SENDERS",
    "TRANSITIONS",
    "PeerState",
]


class PeerState(enum.Enum):
    """What a peer may do now."""

    START = "start"
    """The metadata has not passed yet."""
    OPEN = "open"
    """It may send whatever its mode allows."""
    LEAVING = "leaving"
    """The app's disconnect has passed; only the close may still be sent."""
    CLOSING = "closing"
    """The other peer's close has come; only the answer to it may still be sent."""
    CLOSED = "closed"
    """Its close has passed; it may send nothing more."""

    __hash__ = object.__hash__


_S = PeerState
_Row = dict[type[Any], PeerState]

SENDERS: Final[dict[type[Any], frozenset[Peer]]] = {row.kind: row.senders for row in ROWS}
"""Who may ever send a message."""


def _free(peer: Peer) -> _Row:
    """The messages that the peer may send at any time while it is open; they move nobody."""
    movers = (Metadata, Disconnect, Close)
    kinds = [row.kind for row in ROWS if peer in row.senders and row.kind not in movers]
    return dict.fromkeys(kinds, _S.OPEN)


TRANSITIONS: Final[dict[Peer, dict[PeerState, _Row]]] = {
    Peer.PLATFORM: {
        _S.START: {Metadata: _S.OPEN, Close: _S.CLOSED},
        _S.OPEN: {
            **_free(Peer.PLATFORM),
            Close: _S.CLOSED,
        },
        _S.LEAVING: {Close: _S.CLOSED},
        _S.CLOSING: {Close: _S.CLOSED},
        _S.CLOSED: {},
    },
    Peer.APP: {
        _S.START: {Close: _S.CLOSED},
        _S.OPEN: {
            **_free(Peer.APP),
            Disconnect: _S.LEAVING,
            Close: _S.CLOSED,
        },
        _S.LEAVING: {Close: _S.CLOSED},
        _S.CLOSING: {Close: _S.CLOSED},
        _S.CLOSED: {},
    },
}

CROSSINGS: Final[dict[type[Any], tuple[Peer, PeerState, PeerState]]] = {
    Metadata: (Peer.APP, _S.START, _S.OPEN),
    Disconnect: (Peer.PLATFORM, _S.OPEN, _S.LEAVING),
}
"""How a message changes the state of the peer that reads it. A disconnect does so only at the
platform's own vantage: at the app's, what the platform sent before still arrives (LP-END-3). A
close moves the other peer, at that peer's vantage, from any state to CLOSING."""

BREACHES: Final[dict[tuple[Peer, PeerState], tuple[str, str]]] = {
    (Peer.PLATFORM, _S.START): (
        "LP-META-1",
        "the platform must first send the metadata, a JSON object in a text message",
    ),
    (Peer.PLATFORM, _S.OPEN): ("LP-META-4", "the metadata must be sent exactly once"),
    (Peer.PLATFORM, _S.LEAVING): (
        "LP-END-4",
        "the listen is over, the platform may only close the WebSocket",
    ),
    (Peer.PLATFORM, _S.CLOSING): ("LP-END-6", "the other end has closed, nothing more may be sent"),
    (Peer.PLATFORM, _S.CLOSED): ("LP-END-6", "nothing may be sent after the close"),
    (Peer.APP, _S.START): (
        "LP-META-13",
        "the app must not send anything before the metadata has come",
    ),
    (Peer.APP, _S.LEAVING): (
        "LP-END-1",
        "the listen is over, the app may only close the WebSocket",
    ),
    (Peer.APP, _S.CLOSING): ("LP-END-6", "the other end has closed, nothing more may be sent"),
    (Peer.APP, _S.CLOSED): ("LP-END-6", "nothing may be sent after the close"),
}

MODES: Final = {row.kind: (row.modes, row.clause) for row in ROWS if row.clause is not None}
"""The modes in which the app may send a message, and the clause that says so."""

HARMLESS: Final = frozenset(
    {
        "LP-AUD-1",
        "LP-CLIP-15",
        "LP-CLIP-16",
        "LP-CLIP-25",
        "LP-CLIP-31",
        "LP-CLIP-34",
        "LP-CLIP-5",
        "LP-DTMF-1",
        "LP-END-5",
        "LP-KILL-6",
        "LP-KILL-7",
        "LP-MARK-14",
        "LP-MARK-3",
        "LP-MARK-6",
        "LP-META-11",
        "LP-META-15",
        "LP-META-7",
        "LP-ODD-8",
    }
)
"""Breaches that are reported while the message is still acted on (LP-ODD-4)."""

ENDS: Final = frozenset({"LP-AUD-5", "LP-META-2", "LP-META-3"})
"""What is reported of an end: of the app's close, or of a lost connection. Ends are never dropped.

Breaches that neither table has drop the message."""

REFUSALS: Final = frozenset({"LP-CLIP-2", "LP-MARK-2"})
"""Too many at once. Only the platform's end knows whether the platform refused the message."""
