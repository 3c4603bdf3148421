"""Where each peer is in a conversation: applies the tables of :mod:`listenproto._rules`."""

from __future__ import annotations

from typing import Any, Final

from listenproto._messages import Audio, Close, Metadata, Peer
from listenproto._rules import BREACHES, CROSSINGS, SENDERS, TRANSITIONS, PeerState

__all__ = ["MOVERS", "Lifecycle", "name_of"]

MOVERS: Final = frozenset(CROSSINGS) | {
    kind
    for rows in TRANSITIONS.values()
    for state, row in rows.items()
    for kind, after in row.items()
    if after is not state
}
"""The messages that change a peer's state; audio, most of a call, does not."""


def name_of(kind: type[Any]) -> str:
    """What a kind of message is called in a sentence."""
    return "audio" if kind is Audio else kind.__name__


class Lifecycle:
    """The state of each peer, as seen from the vantage."""

    def __init__(self, vantage: Peer) -> None:
        self._vantage = vantage
        self.states: dict[Peer, PeerState] = dict.fromkeys(Peer, PeerState.START)

    def breach(self, sender: Peer, kind: type[Any]) -> tuple[str, str] | None:
        """The clause that does not allow such a message now, and why; None if all do."""
        state = self.states[sender]
        if kind in TRANSITIONS[sender][state]:
            return None
        if sender not in SENDERS.get(kind, ()):
            return "LP-ODD-1", f"{name_of(kind)} is never sent by the {sender.value}"
        clause, reason = BREACHES[sender, state]
        return clause, f"{name_of(kind)} out of place: {reason}"

    def passes(self, sender: Peer, kind: type[Any]) -> None:
        """A message passes; it is one of :data:`MOVERS`."""
        row = TRANSITIONS[sender][self.states[sender]]
        self.states[sender] = row.get(kind, self.states[sender])
        if kind is Close:
            other = sender.other
            if other is self._vantage and self.states[other] is not PeerState.CLOSED:
                self.states[other] = PeerState.CLOSING
        else:
            peer, before, after = CROSSINGS[kind]
            certain = peer is self._vantage or kind is Metadata
            if certain and self.states[peer] is before:
                self.states[peer] = after
