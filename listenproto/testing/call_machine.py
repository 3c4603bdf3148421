"""What the machines share: a call, a network, the checks, and how a call ends."""

from __future__ import annotations

import sys
from typing import ClassVar, Final

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)
from hypothesis.strategies import SearchStrategy

from listenproto._l16 import FLICKS
from listenproto._messages import (
    Malformed,
    Message,
    Mode,
    Peer,
    UnknownMessage,
)
from listenproto._observer import AppLimits
from listenproto._profile import DOCUMENTED, Profile
from listenproto._rules import PeerState
from listenproto._terms import DIGITS
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto.codec import decode
from listenproto.testing.exchange import (
    AppUnderTest,
    Exchange,
    PlatformUnderTest,
)
from listenproto.testing.messages import (
    nearly_legal_texts,
)
from listenproto.testing.verbs import listen_verbs

__all__ = ["SPEECH", "CallMachine", "texts_without_meaning"]

STEP: Final = FLICKS // 50
SPEECH: Final = 5000
"""The value of a sample that is not silent."""

_MOVES: Final = st.integers(0, 25) | st.just(1000)
"""How many moves a call has before it may end; half of the calls do not end before the last."""

_KEYS: Final[SearchStrategy[str]] = st.one_of(
    st.runner().flatmap(lambda machine: st.sampled_from(machine.keys)), st.sampled_from(DIGITS)
)


def texts_without_meaning(sender: Peer) -> SearchStrategy[str]:
    """Texts that are not a message of the protocol, but most of them almost."""

    def means_nothing(text: str) -> bool:
        return all(isinstance(m, Malformed | UnknownMessage) for m in decode(text, sender))

    return nearly_legal_texts().filter(means_nothing) | st.sampled_from(["[]", "", "{}{"])


class CallMachine(RuleBasedStateMachine):
    """What the machines share: the call, the network, the checks.

    ``verbs`` and ``profiles`` are the calls to try; ``limits`` are those that an app under test
    keeps beyond the protocol's. :attr:`exchange` is the call; your machine may add rules that use
    it.
    """

    verbs: ClassVar[SearchStrategy[ListenVerb]] = listen_verbs()
    profiles: ClassVar[SearchStrategy[Profile]] = st.just(DOCUMENTED)
    limits: ClassVar[AppLimits | None] = None
    keys: ClassVar[str] = DIGITS
    """Keys that mean something to the app; they are pressed as often as all others together."""
    odd_texts: ClassVar[bool] = True
    """Whether the other peer also sends texts that are almost messages."""
    under_test: ClassVar[frozenset[Peer]]
    """The ends whose every breach fails the test."""

    exchange: Exchange
    """The call."""
    verb: ListenVerb
    """The listen verb of this call."""
    mode: Mode
    """What the app may send in this call."""
    profile: Profile
    """The profile of this call."""

    def make_app(self, verb: ListenVerb, profile: Profile) -> AppUnderTest:
        """The app's end of a new call."""
        raise NotImplementedError

    def make_platform(self, verb: ListenVerb, profile: Profile) -> PlatformUnderTest:
        """The platform's end of a new call."""
        raise NotImplementedError

    def make_exchange(self) -> Exchange:
        """The call."""
        return Exchange(
            self.make_app(self.verb, self.profile),
            self.make_platform(self.verb, self.profile),
            self.verb,
            profile=self.profile,
            limits=self.limits,
            on_pass=self.on_pass,
        )

    @initialize(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        """A call begins: its WebSocket is open."""
        self.verb = data.draw(self.verbs, label="verb")
        self.profile = data.draw(self.profiles, label="profile")
        self.mode = self.verb.mode()
        self.speech = SPEECH
        self.moves_left = data.draw(_MOVES, label="moves before an end")
        self.exchange = self.make_exchange()
        self.exchange.open()

    def on_pass(
        self, vantage: Peer, sender: Peer, message: Message, found: list[Violation]
    ) -> None:
        """Called for each message that passes at the end of ``vantage``."""
        note(f"at the {vantage.value}, the {sender.value}'s: {message}")
        both = len(self.under_test) == 2
        if sender in self.under_test and (both or sender is vantage):
            assert not found, f"the {sender.value} breaks, as seen by the {vantage.value}: {found}"

    @property
    def may_end(self) -> bool:
        """Whether the call has gone on for long enough that it may end."""
        return self.moves_left <= 0

    @rule(steps=st.integers(1, 60))
    def pass_time(self, steps: int) -> None:
        """Time passes in steps of 20 ms."""
        self.moves_left -= 1
        self.hear(steps * STEP)

    def hear(self, flicks: int) -> None:
        """Let time pass, in steps of at most 20 ms."""
        for start in range(0, flicks, STEP):
            self.exchange.pass_time(min(STEP, flicks - start), self.speech)

    @rule(flicks=st.integers(1, STEP))
    def pass_a_moment(self, flicks: int) -> None:
        """Time passes, up to 20 ms."""
        self.moves_left -= 1
        self.exchange.pass_time(flicks, self.speech)

    @rule(speaks=st.booleans())
    def speak(self, speaks: bool) -> None:
        """From now on the caller speaks, or is silent."""
        self.speech = SPEECH if speaks else 0

    @rule(digit=_KEYS)
    def press(self, digit: str) -> None:
        """The caller presses a key."""
        self.exchange.platform.key(digit)
        self.exchange.collect()

    @rule(digits=st.lists(_KEYS, min_size=2, max_size=12))
    def type_digits(self, digits: list[str]) -> None:
        """Keys one after another; the app receives them before anything else happens."""
        for digit in digits:
            self.press(digit)
        self.exchange.deliver_all()

    @precondition(lambda self: self.may_end)
    @rule()
    def hang_up(self) -> None:
        """The caller hangs up."""
        self.exchange.platform.hang_up()
        self.exchange.collect()

    @precondition(lambda self: self.exchange.under_way(Peer.APP))
    @rule(number=st.integers(1, 5))
    def deliver_to_the_app(self, number: int) -> None:
        """Some messages arrive at the app, in order."""
        self.moves_left -= 1
        for _ in range(min(number, self.exchange.under_way(Peer.APP))):
            self.exchange.deliver(Peer.APP)

    @precondition(lambda self: self.exchange.under_way(Peer.PLATFORM))
    @rule(number=st.integers(1, 5))
    def deliver_to_the_platform(self, number: int) -> None:
        """Some messages arrive at the platform, in order."""
        self.moves_left -= 1
        for _ in range(min(number, self.exchange.under_way(Peer.PLATFORM))):
            self.exchange.deliver(Peer.PLATFORM)

    @precondition(lambda self: any(map(self.exchange.under_way, Peer)))
    @rule()
    def deliver_all(self) -> None:
        """Whatever is on its way arrives, at either end."""
        self.moves_left -= 1
        self.exchange.deliver_all()

    @precondition(lambda self: self.may_end and not self.exchange.lost)
    @rule(data=st.data())
    def lose_the_connection(self, data: st.DataObject) -> None:
        """Some of what is on its way still arrives."""
        counts = {peer: st.integers(0, self.exchange.under_way(peer)) for peer in Peer}
        self.exchange.cut(data.draw(st.fixed_dictionaries(counts), label="still arriving"))

    def teardown(self) -> None:
        """The end of each call: it plays to its end and is over, unless it has failed already."""
        if hasattr(self, "exchange") and sys.exc_info()[0] is None:
            self.make_last_moves()
            self.settle()
            if not self.is_over:
                self.check_that_nothing_waits()
            self.finish()

    def make_last_moves(self) -> None:
        """The moves that find most faults, made in every call that has not ended before."""
        if not self.is_over:
            self.type_digits([*self.keys * 2])

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, or is about to."""
        return self.exchange.lost or bool(self.exchange.closes)

    def settle(self) -> None:
        """Everything arrives, and plays to its end."""
        for _ in range(3):
            self.exchange.deliver_all()
            self.exchange.play(FLICKS * 3600)
        self.exchange.deliver_all()

    def check_that_nothing_waits(self) -> None:
        """Everything has arrived and played, and the call goes on."""
        states = self.exchange.observers[Peer.PLATFORM].states
        assert states[Peer.PLATFORM] is not PeerState.LEAVING, (
            "LP-END-9: the listen goes on after disconnect"
        )

    def finish(self) -> None:
        """The caller hangs up and everything arrives: the call must be over."""
        exchange = self.exchange
        exchange.platform.hang_up()
        exchange.collect()
        exchange.deliver_all()
        assert exchange.has_ended, "the caller has hung up, but the call does not end"
