"""A state machine that tests any app against the protocol."""

from __future__ import annotations

from typing import ClassVar

from hypothesis.stateful import precondition, rule

from listenproto._messages import (
    Close,
    Message,
    Peer,
)
from listenproto._observer import Observer
from listenproto._profile import Profile
from listenproto._task import ListenTask
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto.testing.call_machine import CallMachine, texts_without_meaning
from listenproto.testing.exchange import (
    PlatformUnderTest,
    messages_in,
)
from listenproto.testing.messages import (
    unusable_metadata,
)

__all__ = ["AppMachine"]


class AppMachine(CallMachine):
    """Tests an app against the protocol: :meth:`make_app` returns yours, for one call.

    The simulated caller speaks, is silent, presses keys and hangs up; the connection may be lost;
    and the platform sends odd messages, which an app must survive (LP-ODD-4).
    """

    under_test: ClassVar[frozenset[Peer]] = frozenset({Peer.APP})
    """The app alone."""

    def make_platform(self, verb: ListenVerb, profile: Profile) -> PlatformUnderTest:
        return ListenTask(verb, {"callSid": "c", "from": "+15550100"}, profile=profile)

    def on_pass(
        self, vantage: Peer, sender: Peer, message: Message, found: list[Violation]
    ) -> None:
        super().on_pass(vantage, sender, message, found)
        if isinstance(message, Close) and sender is vantage is Peer.APP:
            gives_up = message.code in (1002, 1003, 1007)
            assert not gives_up, f"LP-ODD-4: odd messages must not end the call, got {message}"

    @precondition(lambda self: self.odd_texts)
    @rule(text=texts_without_meaning(Peer.PLATFORM))
    def the_platform_says_something_odd(self, text: str) -> None:
        """The platform sends a text that is not a message of the protocol."""
        self.exchange.put(Peer.PLATFORM, text)

    @precondition(lambda self: self.odd_texts)
    @rule(payload=unusable_metadata())
    def another_call_begins_without_metadata(self, payload: str | bytes) -> None:
        """The app must close with the right code (LP-META-2, LP-META-3)."""
        app = self.make_app(self.verb, self.profile)
        observer = Observer(self.verb, profile=self.profile, vantage=Peer.APP)
        for message in messages_in(observer, Peer.PLATFORM, payload):
            observer.see(Peer.PLATFORM, message)
        app.receive(payload)
        answers = [*app.data_to_send()]
        for answer in answers:
            for message in messages_in(observer, Peer.APP, answer):
                found = observer.see(Peer.APP, message)
                assert not found, f"the app breaks: {found}"
        assert answers, f"LP-META-2: the app does not close after {payload!r} as metadata"
