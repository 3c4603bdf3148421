"""Two platforms that are told the same: what they send and what they play must be the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from listenproto.codec import decode, decode_opening
from listenproto.messages import (
    Audio,
    Close,
    Dtmf,
    Message,
    Metadata,
    Payload,
    Peer,
    PlayDone,
    UnknownMessage,
)
from listenproto.playout import Heard
from listenproto.profile import Profile
from listenproto.testing.exchange import PlatformUnderTest

__all__ = ["Compared", "joined"]


def joined(heard: Iterable[Heard]) -> list[Heard]:
    """The same in as few pieces as can be."""
    pieces: list[Heard] = []
    for piece in heard:
        last = pieces[-1] if pieces else None
        if last is not None and (last.end, last.rate) == (piece.start, piece.rate):
            pieces[-1] = Heard(last.pcm + piece.pcm, last.rate, last.start)
        elif piece.pcm:
            pieces.append(piece)
    return pieces


class Compared:
    """Drives ``platform`` and ``reference`` alike; raises AssertionError where they differ.

    What is compared: the order of the texts and the close, and what each says, but for attributes
    of the call and figures; the audio, however it is cut; what is heard, where ``platform`` tells.
    """

    def __init__(
        self, platform: PlatformUnderTest, reference: PlatformUnderTest, profile: Profile
    ) -> None:
        self._both = (platform, reference)
        self._ids = profile.play_done_data
        self._audio = (bytearray(), bytearray())
        self._opened = [False, False]

    def connected(self) -> None:
        for end in self._both:
            end.connected()

    def receive(self, payload: str | bytes) -> None:
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
        assert pieces == right, f"the caller hears {pieces}, and should hear {right}"
        return pieces

    def outgoing(self) -> list[Payload]:
        payloads, reference = ([*end.outgoing()] for end in self._both)
        told = [*self._told(0, payloads)]
        right = [*self._told(1, reference)]
        assert told == right, f"the platform tells {told}, and should tell {right}"
        audio, captured = self._audio
        size = min(len(audio), len(captured))
        if told and isinstance(told[-1], Close):
            size = max(len(audio), len(captured))
        assert audio[:size] == captured[:size], "the platform sends other audio than it captured"
        del audio[:size], captured[:size]
        return payloads

    def _told(self, which: int, payloads: Iterable[Payload]) -> Iterator[object]:
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
