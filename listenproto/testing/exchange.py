"""Two ends of a call with a network between them, and an observer at each end.

The ends can be any implementations that have the methods of :class:`AppUnderTest` and
:class:`PlatformUnderTest`, which are called once per WebSocket message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from listenproto._heard import Heard
from listenproto._l16 import FLICKS, SAMPLE_BYTES, samples_in
from listenproto._messages import Close, Message, Payload, Peer
from listenproto._observer import AppLimits, Observer
from listenproto._profile import Profile
from listenproto._rules import PeerState
from listenproto._trace import TraceMoment
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto.codec import decode, decode_opening

__all__ = ["LATEST", "AppUnderTest", "Exchange", "PlatformUnderTest", "messages_in"]

LATEST: Final = FLICKS * 47 // 100
"""How long a message takes at most, in flicks, plus one step of 20 ms. There and back takes less
than the second by which an app that gets no ids back tells clips apart (LP-CLIP-30); all else holds
with any delay."""


class AppUnderTest(Protocol):
    """An app's end of one call, as the machines drive it. Its methods must not raise.

    ``AppSession`` is one, except that it raises on unusable metadata instead of closing.
    """

    def receive(self, payload: str | bytes, /) -> object:
        """A WebSocket message of the platform has come: text or binary."""

    def closed(self, code: int, /) -> object:
        """The platform's close has come; the WebSocket layer answers it by itself."""

    def connection_lost(self) -> object:
        """The connection is lost without a close."""

    def data_to_send(self) -> Iterable[Payload]:
        """Return what is to be sent since the last call, in order: text, binary, or a ``Close``."""


class PlatformUnderTest(AppUnderTest, Protocol):
    """A platform's end of one call, as the machines drive it. ``ListenTask`` is one.

    ``receive`` and ``closed`` take what the app sends.
    """

    def connected(self) -> object:
        """The WebSocket is open: called once, before anything else."""

    def capture(self, pcm: bytes, /) -> object:
        """The next audio of the caller: L16 at the verb's rate, interleaved if it is stereo."""

    def play(self, flicks: int, /) -> Iterable[Heard] | None:
        """Media time passes, in flicks. Returns what the caller hears, or None if not known."""

    def key(self, digit: str, /) -> object:
        """The caller presses a key."""

    def hang_up(self) -> object:
        """The caller hangs up."""


def messages_in(
    observer: Observer, sender: Peer, payload: Payload, *, string_sample_rate: int | None = None
) -> list[Message]:
    """The messages in a payload that passes at the vantage of ``observer``."""
    if isinstance(payload, Close):
        return [payload]
    if sender is Peer.PLATFORM and observer.states[sender] is PeerState.START:
        # LP-META-11: where the command line damages metadata, what is whole in it is the message.
        return decode_opening(payload, salvage=observer._profile.splits_metadata)
    return decode(payload, sender, string_sample_rate=string_sample_rate)


class Exchange:
    """One call, from the open WebSocket on. Each direction keeps its order and has its own delay.

    ``on_pass`` is called for every message: with the end at which it passes, the sender, the
    message, and what the observer there finds wrong with it.
    """

    def __init__(
        self,
        app: AppUnderTest,
        platform: PlatformUnderTest,
        verb: ListenVerb,
        *,
        profile: Profile,
        limits: AppLimits | None = None,
        on_pass: Callable[[Peer, Peer, Message, list[Violation]], object],
    ) -> None:
        self.app: AppUnderTest = app
        """The app's end."""
        self.platform: PlatformUnderTest = platform
        """The platform's end."""
        self.verb: ListenVerb = verb
        """The listen verb of the call."""
        self.now: int = 0
        """How much media time has passed, in flicks."""
        self.lost: bool = False
        """Whether the connection was lost without a close."""
        self.closes: dict[Peer, Close] = {}
        """The close of each peer that has sent one."""
        self.over: set[Peer] = set()
        """The peers that have received the other's close, or lost the connection."""
        self.heard: list[Heard] = []
        """What the caller has heard, as the platform says."""
        self.observers: dict[Peer, Observer] = {
            vantage: Observer(verb, profile=profile, vantage=vantage, limits=limits)
            for vantage in Peer
        }
        """What watches the call, at each end."""
        self._string_sample_rate = profile.string_sample_rate
        self._on_pass = on_pass
        self._on_its_way: dict[Peer, deque[tuple[int, Payload | TraceMoment]]] = {
            peer: deque() for peer in Peer
        }
        self._captured = 0

    @property
    def has_ended(self) -> bool:
        """Whether both ends know that the call is over, and each has closed or lost it."""
        return self.over == set(Peer) and (self.lost or self.closes.keys() == set(Peer))

    def open(self) -> None:
        """The WebSocket is open."""
        self.platform.connected()
        self.collect()

    def under_way(self, receiver: Peer) -> int:
        """How many messages are on their way to that peer."""
        return len(self._on_its_way[receiver])

    def collect(self) -> None:
        """Put what the ends want to send on its way."""
        for sender in Peer:
            end = self.app if sender is Peer.APP else self.platform
            for payload in end.data_to_send():
                self.passes(sender, sender, payload)
                self.put(sender, payload)

    def put(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        """Put a payload on its way, unless its sender has closed or the connection is lost."""
        if sender in self.closes:
            return
        if isinstance(payload, Close):
            self.closes[sender] = payload
        if self.lost:
            return
        self._on_its_way[sender.other].append((self.now, payload))

    def passes(self, vantage: Peer, sender: Peer, payload: Payload) -> None:
        """Let the observer at one end judge what passes there."""
        observer = self.observers[vantage]
        rate = self._string_sample_rate
        for message in messages_in(observer, sender, payload, string_sample_rate=rate):
            self._on_pass(vantage, sender, message, observer.see(sender, message))

    def deliver(self, receiver: Peer) -> None:
        """The oldest message on its way to that peer arrives."""
        _, payload = self._on_its_way[receiver].popleft()
        self.hand_over(receiver, payload)
        self.collect()

    def hand_over(self, receiver: Peer, payload: Payload | TraceMoment) -> None:
        """Give an end what has arrived."""
        end = self.app if receiver is Peer.APP else self.platform
        if isinstance(payload, TraceMoment):
            if receiver not in self.over:
                self.over.add(receiver)
                end.connection_lost()
            return
        self.passes(receiver, receiver.other, payload)
        if not isinstance(payload, Close):
            end.receive(payload)
            return
        self.over.add(receiver)
        end.closed(payload.code)
        self.collect()
        if receiver not in self.closes:  # the WebSocket answers
            answer = Close(payload.code)
            self.passes(receiver, receiver, answer)
            self.put(receiver, answer)

    def deliver_all(self) -> None:
        """Whatever is on its way arrives, and what is sent in answer to it."""
        while any(self._on_its_way.values()):
            for receiver in Peer:
                if self._on_its_way[receiver]:
                    self.deliver(receiver)

    def pass_time(self, flicks: int, sample: int = 0) -> None:
        """Time passes: the caller hears, and says ``sample`` all along; overdue messages arrive."""
        self.play(flicks)
        captured, self._captured = self._captured, samples_in(self.now, self.verb.sample_rate)
        values = (self._captured - captured) * self.verb.channels
        self.capture(sample.to_bytes(SAMPLE_BYTES, "little", signed=True) * values)
        for receiver in Peer:
            while self._is_late(receiver):
                self.deliver(receiver)

    def capture(self, pcm: bytes) -> None:
        """The caller says this."""
        self.platform.capture(pcm)
        self.collect()

    def play(self, flicks: int) -> None:
        """The caller hears; nothing is captured."""
        self.now += flicks
        self.heard += self.platform.play(flicks) or ()
        self.collect()

    def _is_late(self, receiver: Peer) -> bool:
        queue = self._on_its_way[receiver]
        return bool(queue) and queue[0][0] < self.now - LATEST

    def cut(self, arriving: dict[Peer, int]) -> None:
        """The connection is lost; ``arriving`` is how many messages still arrive at each peer."""
        for receiver, queue in self._on_its_way.items():
            while len(queue) > arriving[receiver]:
                queue.pop()
            queue.append((self.now, TraceMoment.LOST))
        self.lost = True
