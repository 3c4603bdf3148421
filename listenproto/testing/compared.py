"""Two platforms with the same input: they must send and play the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from listenproto._heard import Heard
from listenproto._messages import (
    Audio,
    Close,
    Dtmf,
    KillAudio,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Payload,
    Peer,
    PlayDone,
    UnknownMessage,
)
from listenproto._profile import Profile
from listenproto.codec import decode, decode_opening
from listenproto.testing.exchange import PlatformUnderTest

__all__ = ["Compared", "joined"]


def joined(heard: Iterable[Heard]) -> list[Heard]:
    """The same audio in as few pieces as possible."""
    pieces: list[Heard] = []
    for piece in heard:
        last = pieces[-1] if pieces else None
        if last is not None and (last.end, last.rate) == (piece.start, piece.rate):
            pieces[-1] = Heard(last.pcm + piece.pcm, last.rate, last.start)
        elif piece.pcm:
            pieces.append(piece)
    return pieces


_WHEN: Final[dict[type[Any], str]] = {
    Metadata: "LP-META-1",
    Dtmf: "LP-DTMF-2",
    PlayDone: "LP-CLIP-23",
    MarkEvent: "LP-MARK-11",
    Close: "LP-END-9",
}
"""The clause that says when a platform sends such a message."""

_WHICH: Final[dict[type[Any], str]] = {
    Metadata: "LP-META-7",
    Dtmf: "LP-DTMF-2",
    PlayDone: "LP-CLIP-25",
    MarkEvent: "LP-MARK-14",
    Close: "LP-END-5",
}
"""The clause that says what such a message contains."""

_HEARD: Final = {Mode.CLIPS: "LP-CLIP-20", Mode.STREAMING: "LP-STRM-3", Mode.OFF: "LP-STRM-1"}
"""The clause that says what the caller hears, unless a killAudio came in between."""


def _clause(told: list[Message], right: list[Message]) -> str:
    """The clause that the first difference breaks."""
    while told and right and told[0] == right[0]:
        told, right = told[1:], right[1:]
    if not right or right[0] in told:
        return _WHEN[type(told[0])]
    if told and type(told[0]) is type(right[0]):
        return _WHICH[type(right[0])]
    cleared = isinstance(right[0], MarkEvent) and right[0].event == "cleared"
    return "LP-KILL-5" if cleared else _WHEN[type(right[0])]


class Compared:
    """Drives ``platform`` and ``reference`` alike; raises AssertionError where they differ.

    Compared are the order and content of the texts and the close, except for the call's attributes
    and figures; the audio, however it is cut; and what is heard, if ``platform`` reports it.
    """

    def __init__(
        self,
        platform: PlatformUnderTest,
        reference: PlatformUnderTest,
        *,
        mode: Mode,
        profile: Profile,
    ) -> None:
        self._both = (platform, reference)
        self._mode = mode
        self._ids = profile.play_done_data
        self._audio = (bytearray(), bytearray())
        self._opened = [False, False]
        self._killed = False
        """Whether nothing has been heard since a killAudio came."""

    def connected(self) -> None:
        for end in self._both:
            end.connected()

    def receive(self, payload: str | bytes) -> None:
        self._killed = self._killed or KillAudio() in decode(payload, Peer.APP)
        for end in self._both:
            end.receive(payload)

    def closed(self, code: int) -> None:
        for end in self._both:
            end.closed(code)

    def connection_lost(self) -> None:
        for end in self._both:
            end.connection_lost()

    def capture(self, pcm: bytes) -> None:
        for end in self._both:
            end.capture(pcm)

    def key(self, digit: str) -> None:
        for end in self._both:
            end.key(digit)

    def hang_up(self) -> None:
        for end in self._both:
            end.hang_up()

    def play(self, flicks: int) -> Iterable[Heard]:
        heard, wanted = (end.play(flicks) for end in self._both)
        if heard is None or wanted is None:
            return ()
        pieces, right = joined(heard), joined(wanted)
        clause = _HEARD[self._mode]
        if self._killed:
            clause = f"LP-KILL-2 or {clause}" if right else "LP-KILL-2"
        assert pieces == right, f"{clause}: the caller hears {pieces}, but should hear {right}"
        self._killed = self._killed and not right
        return pieces

    def data_to_send(self) -> Iterator[Payload]:
        """What the platform sends. It is compared after the last, so that others judge it first."""
        payloads, reference = ([*end.data_to_send()] for end in self._both)
        yield from payloads
        told = [*self._told(0, payloads)]
        right = [*self._told(1, reference)]
        if told != right:
            clause = _clause(told, right)
            raise AssertionError(f"{clause}: the platform sends {told}, but should send {right}")
        audio, captured = self._audio
        size = min(len(audio), len(captured))
        if told and isinstance(told[-1], Close):
            size = max(len(audio), len(captured))
        same = audio[:size] == captured[:size]
        assert same, "LP-AUD-2: the platform does not send the audio that it captured"
        del audio[:size], captured[:size]

    def _told(self, which: int, payloads: Iterable[Payload]) -> Iterator[Message]:
        for payload in payloads:
            if isinstance(payload, Close):
                yield Close(payload.code)
                continue
            opening = not self._opened[which]
            self._opened[which] = True
            messages = decode_opening(payload) if opening else decode(payload, Peer.PLATFORM)
            for message in messages:
                if isinstance(message, Audio):
                    self._audio[which].extend(message.pcm)
                elif not isinstance(message, UnknownMessage):
                    yield self._shown(message)

    def _shown(self, message: Message) -> Message:
        if isinstance(message, Metadata):
            return Metadata({}, message.sample_rate, message.mix_type)
        if isinstance(message, Dtmf):
            return Dtmf(message.digit)
        if isinstance(message, PlayDone):
            return PlayDone(message.id if self._ids else None)
        return message
