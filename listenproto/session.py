"""What the sessions of both peers share: the outbox, the end, the record of what passed.

A session takes the WebSocket messages that come, gives what they mean as events, and holds what is
to go out in one ordered outbox. What may be sent and what was wrong with what came, the
:class:`~listenproto.observer.Observer` says, nobody else.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

import attrs

from listenproto.codec import encode
from listenproto.errors import LocalProtocolError, check_close_code
from listenproto.messages import Close, Message, Payload, Peer
from listenproto.observer import Observer, Violation
from listenproto.rules import State

__all__ = ["Session", "Traffic"]

ABNORMAL: Final = 1006
"""What stands for a close that never came (RFC 6455, 7.1.5)."""


@attrs.define
class Traffic:
    """What passed one way so far, closes aside."""

    messages: int = 0
    audio: int = 0
    """Bytes of audio, those of half a sample among them."""


class Session:
    """What both ends share: the outbox, the end, the record of what passed.

    ``sent`` and ``received`` count it; what waits in the outbox counts as sent.
    """

    _peer: Peer
    observer: Observer

    def __init__(self, *, keep_passed: bool) -> None:
        self._outbox: deque[Payload] = deque()
        self._waiting: Counter[type] = Counter()  # by kind of payload
        self._passed: deque[tuple[Peer, Payload]] | None = deque() if keep_passed else None
        self._lost = False
        self.sent = Traffic()
        self.received = Traffic()

    @property
    def ended(self) -> bool:
        """Whether nothing more may be sent: a close passed, or the connection was lost."""
        states = self.observer.states
        return states[self._peer] in (State.CLOSING, State.CLOSED) or self._lost

    @property
    def keeps_passed(self) -> bool:
        """Whether what passes is kept for :meth:`passed`."""
        return self._passed is not None

    @property
    def waiting(self) -> int:
        """How much waits in the outbox: bytes of audio and characters of text."""
        return self._waiting.total()

    def outgoing(self) -> Iterator[Payload]:
        """The payloads to be sent, in the order in which they must reach the wire.

        Each is taken out of the outbox as it is given.
        """
        while self._outbox:
            payload = self._outbox.popleft()
            self._waiting[type(payload)] -= _size(payload)
            yield payload

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """With ``keep_passed``: what passed here since the last call, sender and payload."""
        while self._passed:
            yield self._passed.popleft()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the conversation behind what is in the outbox. Once it has ended, does nothing.

        Of the ``reason``, the first 123 bytes are sent. Raises :class:`LocalProtocolError` for a
        code that cannot be sent (RFC 6455, 7.4).
        """
        check_close_code(code)
        if not self.ended:
            fits = reason.encode(errors="replace")[:123].decode(errors="ignore")
            self._commit(Close(code, fits))

    def connection_lost(self) -> list[Violation]:
        """The connection is gone without a close; gives what was wrong with where it broke."""
        already, self._lost = self.ended, True
        left_over = self.observer.left_over(self._peer.other)
        if already or left_over is None:
            return []
        return [Violation("LP-AUD-5", self._peer.other, Close(ABNORMAL), left_over)]

    def _note(self, sender: Peer, payload: Payload) -> None:
        if self._passed is not None:
            self._passed.append((sender, payload))
        if not isinstance(payload, Close):
            way = self.sent if sender is self._peer else self.received
            way.messages += 1
            if isinstance(payload, bytes):
                way.audio += len(payload)

    def _check(self, message: Message) -> None:
        if not isinstance(message, Message):
            raise TypeError(f"a message of listenproto is sent, not {type(message).__name__}")
        if isinstance(message, Close):
            raise LocalProtocolError(
                "a close is not sent as a message, close() does that", clause="LP-END-6"
            )
        if self._lost:
            raise LocalProtocolError(
                "the connection is lost, nothing more can be sent", clause="LP-END-8"
            )
        for violation in self.observer.judge(self._peer, message):
            raise LocalProtocolError(violation.reason, clause=violation.clause)

    def _commit(self, message: Message, payload: Payload | None = None) -> None:
        payload = encode(message, self._peer) if payload is None else payload
        self.observer.see(self._peer, message)
        self._note(self._peer, payload)
        self._waiting[type(payload)] += _size(payload)
        self._push(payload)

    def _push(self, payload: Payload) -> None:
        self._outbox.append(payload)

    def _closed(self, code: int, reason: str) -> list[Violation]:
        close = Close(code, reason)
        self._note(self._peer.other, close)
        return self.observer.see(self._peer.other, close)


def _size(payload: Payload) -> int:
    return 0 if isinstance(payload, Close) else len(payload)
