"""What the sessions of both peers share: the outbox, the end, the record of what passed.

A session takes the WebSocket messages that come, returns what they mean as events, and keeps what
is to be sent in one ordered outbox. Only the :class:`~listenproto.Observer` decides what
may be sent and what was wrong with what came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import attrs

from listenproto._errors import LocalProtocolError, check_close_code
from listenproto._messages import Close, Message, Payload, Peer
from listenproto._observer import Judgement, Observer
from listenproto._rules import PeerState
from listenproto._sent import Sent
from listenproto._violation import Violation
from listenproto.codec import encode

__all__ = ["Session", "Traffic"]

# Constants, as each message needs them, and Python 3.11 looks up members of an enum slowly.
_ENDED: Final = (PeerState.CLOSING, PeerState.CLOSED)
ABNORMAL: Final = 1006
"""The code that stands for a close that never came (RFC 6455, 7.1.5)."""


@attrs.define
class Traffic:
    """What passed in one direction so far, without closes."""

    messages: int = 0
    """The number of messages."""
    audio: int = 0
    """Bytes of audio, incomplete samples included."""


class Session:
    """What both ends share: the outbox, the end, the record of what passed.

    ``sent`` and ``received`` count what passed; what waits in the outbox counts as sent.
    """

    _peer: Peer
    observer: Observer

    def __init__(self, *, keep_passed: bool) -> None:
        self._outbox: deque[Payload] = deque()
        self._waiting_audio = 0  # bytes
        self._waiting_text = 0  # characters
        self._passed: deque[tuple[Peer, Payload]] | None = deque() if keep_passed else None
        self._lost = False
        self.sent: Traffic = Traffic()
        """What this end has sent so far."""
        self.received: Traffic = Traffic()
        """What this end has received so far."""

    @property
    def ended(self) -> bool:
        """Whether nothing more may be sent: a close passed, or the connection was lost."""
        return self._lost or self.observer.states[self._peer] in _ENDED

    @property
    def left(self) -> bool:
        """Whether this end has closed, and the other end had not closed before."""
        return self.observer.states[self._peer] is PeerState.CLOSED

    @property
    def keeps_passed(self) -> bool:
        """Whether what passes is kept for :meth:`passed`."""
        return self._passed is not None

    @property
    def waiting(self) -> int:
        """How much waits in the outbox: bytes of audio and characters of text."""
        return self._waiting_audio + self._waiting_text

    @property
    def has_data_to_send(self) -> bool:
        """Whether there is anything in the outbox."""
        return bool(self._outbox)

    def data_to_send(self) -> Iterator[Payload]:
        """The payloads to be sent, in the order in which they must reach the wire.

        Each is removed from the outbox as it is returned.
        """
        while self._outbox:
            payload = self._outbox.popleft()
            if isinstance(payload, bytes):
                self._waiting_audio -= len(payload)
            elif isinstance(payload, str):
                self._waiting_text -= len(payload)
            yield payload

    def take(self, limit: int) -> list[Payload]:
        """What to send next, of about ``limit`` bytes and characters; empty if nothing is left.

        As :meth:`data_to_send`, up to the payload that reaches the limit.
        """
        if self._waiting_audio + self._waiting_text < limit:
            taken = [*self._outbox]
            self._outbox.clear()
            self._waiting_audio = self._waiting_text = 0
            return taken
        taken, size = [], 0
        payloads = self.data_to_send()
        while size < limit:  # so much waits, at least
            payload = next(payloads)
            taken.append(payload)
            size += 0 if isinstance(payload, Close) else len(payload)
        return taken

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """With ``keep_passed``: what passed here since the last call, as sender and payload."""
        while self._passed:
            yield self._passed.popleft()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what is in the outbox. Does nothing once the conversation has ended.

        Only the first 123 bytes of ``reason`` are sent. Raises :class:`LocalProtocolError` for a
        code that must not be sent (RFC 6455, 7.4).
        """
        check_close_code(code)
        if not self.ended:
            fits = reason.encode(errors="replace")[:123].decode(errors="ignore")
            self._commit(Close(code, fits))

    def _broken(self) -> list[Violation]:
        """The connection is lost without a close; returns what was wrong at that point."""
        already, self._lost = self.ended, True
        left_over = self.observer.left_over(self._peer.other)
        if already or left_over is None:
            return []
        return [Violation("LP-AUD-5", self._peer.other, Close(ABNORMAL), left_over)]

    def _note(self, payload: Payload) -> None:
        """Note a payload of the other peer."""
        if self._passed is not None:
            self._passed.append((self._peer.other, payload))
        if isinstance(payload, bytes):
            self.received.messages += 1
            self.received.audio += len(payload)
        elif isinstance(payload, str):
            self.received.messages += 1

    def check(self, message: Message) -> Judgement:
        """Judge a message; raise :class:`LocalProtocolError` if it must not be sent now."""
        if not isinstance(message, Message):
            raise TypeError(f"send() takes a message of listenproto, not {type(message).__name__}")
        if isinstance(message, Close):
            raise LocalProtocolError(
                "a close cannot be sent as a message; call close()", clause="LP-END-6"
            )
        if self._lost:
            raise LocalProtocolError(
                "the connection is lost, nothing more can be sent", clause="LP-END-8"
            )
        judgement = self.observer.judge(self._peer, message)
        for violation in judgement.violations:
            said = violation.reason + self._remedy(violation)
            raise LocalProtocolError(said, clause=violation.clause)
        return judgement

    def _remedy(self, violation: Violation) -> str:
        """What to do about it, to be put behind the reason; empty if there is no more to say."""
        return ""

    def _commit(
        self,
        message: Message,
        judgement: Judgement | None = None,
        *,
        payload: Payload | None = None,
        now: float = 0.0,
    ) -> Sent | None:
        """Send a message, as it was judged; returns its entry in the record."""
        payload = encode(message, self._peer) if payload is None else payload
        if judgement is None:
            judgement = self.observer.judge(self._peer, message)
        sent = self.observer.take(self._peer, message, judgement, now)
        self._put(payload)
        return sent

    def _put(self, payload: Payload) -> None:
        """Note a payload, and put it into the outbox."""
        if self._passed is not None:
            self._passed.append((self._peer, payload))
        if isinstance(payload, bytes):
            size = len(payload)
            self.sent.messages += 1
            self.sent.audio += size
            self._waiting_audio += size
        elif isinstance(payload, str):
            self.sent.messages += 1
            self._waiting_text += len(payload)
        self._push(payload)

    def _push(self, payload: Payload) -> None:
        self._outbox.append(payload)

    def _closed(self, code: int, reason: str) -> list[Violation]:
        close = Close(code, reason)
        self._note(close)
        return self.observer.see(self._peer.other, close)
