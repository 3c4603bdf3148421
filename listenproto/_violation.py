"""A breach of the protocol, as it is reported."""

from __future__ import annotations

import attrs

from listenproto._messages import Message, Peer
from listenproto._rules import ENDS, HARMLESS
from listenproto._terms import sender_of
from listenproto._upgrade import Accepted, Rejected, Request

__all__ = ["Violation"]


@attrs.frozen
class Violation:
    """A breach of the protocol: which clause, by whom, with which message or HTTP head, and why.

    A receiver also reports in this way what is nobody's fault: a message for which there was no
    room (LP-STRM-5), an incomplete sample frame when the connection was lost (LP-AUD-5).
    """

    clause: str
    """The requirement of the spec that was broken, or a section of an RFC."""
    sender: Peer = attrs.field(converter=sender_of)
    """Who sent it."""
    message: Message | Request | Accepted | Rejected
    """The message, or the head of the request or answer."""
    reason: str
    """What is wrong, in words."""
    fatal: bool = False
    """The conversation cannot go on, as there is no usable metadata."""
    partly_taken: bool = False
    """The platform plays a part of the clip (LP-CLIP-19)."""

    @property
    def dropped(self) -> bool:
        """Whether the receiver acts as if the message had never come."""
        acted_on = self.clause in HARMLESS or self.clause in ENDS or self.partly_taken
        return not acted_on

    @property
    def close_code(self) -> int:
        """The WebSocket close code that answers it if it is fatal (LP-META-2, LP-META-3)."""
        return 1007 if self.clause == "LP-ODD-2" else 1002

    def __str__(self) -> str:
        return f"{self.clause}: {self.reason}"
