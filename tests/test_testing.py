"""The machines and strategies that others import, on our own peers and on a flat platform."""

from __future__ import annotations

from contextlib import suppress

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    AppSession,
    Audio,
    ClearMarks,
    Close,
    Disconnect,
    Dtmf,
    Heard,
    KillAudio,
    ListenTask,
    ListenVerb,
    LocalProtocolError,
    Mark,
    Message,
    Metadata,
    Mode,
    Observer,
    Payload,
    Peer,
    PlayAudio,
    Profile,
    RemoteProtocolError,
    VerbError,
)
from listenproto.testing import (
    AppMachine,
    PlatformMachine,
    broken_conversations,
    conversations,
    invalid_verb_objects,
    listen_verbs,
    profiles,
    verb_objects,
)
from listenproto.testing.compared import joined
from tests.depth import counted
from tests.flat_platform import FlatPlatform

STEPS = settings(stateful_step_count=40)
SLOW_STEPS = settings(STEPS, max_examples=settings().max_examples // 2)


class OurPlatform(PlatformMachine):
    """With every option of the verb, against a second one of ours: any two calls are alike."""

    profiles = profiles(mixed=True)

    def make_platform(self, verb: ListenVerb, profile: Profile) -> ListenTask:
        return ListenTask(verb, {}, profile=profile)


class Flat:
    """The flat platform, as the machine drives one."""

    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        self._platform = FlatPlatform(
            verb.to_json().get("metadata", {}),
            mode=verb.mode().value,
            deployed=profile.name == "deployed",
            rate=verb.sample_rate,
            mix=verb.mix_type.value,
            stream_rate=verb.stream_rate or 8000,
            dtmf=verb.pass_dtmf,
        )
        for name in ("connected", "receive", "closed", "connection_lost", "capture", "key"):
            setattr(self, name, getattr(self._platform, name))
        self.hang_up = self._platform.hang_up

    def play(self, flicks: int) -> list[Heard]:
        return [
            Heard(value.to_bytes(2, "little", signed=True), rate, start)
            for value, start, rate in self._platform.play(flicks)
        ]

    def data_to_send(self) -> list[Payload]:
        out = self._platform.data_to_send()
        return [Close(payload) if isinstance(payload, int) else payload for payload in out]


def without_ends(verb: ListenVerb) -> ListenVerb:
    """The verb without the ends that the flat platform does not know."""
    plain = {"finishOnKey": "", "maxLength": None, "timeout": None, "playBeep": False}
    return ListenVerb.from_json(verb.to_json() | plain)


def known_profiles(mode: Mode) -> st.SearchStrategy[Profile]:
    """Those that the flat platform knows: for metadata and streams, that of the documents."""
    if mode is Mode.STREAMING:
        return st.just(DOCUMENTED)
    return profiles().map(lambda profile: attrs.evolve(profile, splits_metadata=False))


class AgainstTheFlatList(OurPlatform):
    """Queue, playout and marks are those of a flat list of samples, after every step."""

    verbs = listen_verbs().map(without_ends)
    profiles = st.runner().flatmap(lambda machine: known_profiles(machine.verb.mode()))
    odd_texts = False

    def make_reference(self, verb: ListenVerb, profile: Profile) -> Flat:
        return Flat(verb, profile)


class TheFlatPlatform(AgainstTheFlatList):
    """The flat platform is one that keeps the protocol."""

    def make_platform(self, verb: ListenVerb, profile: Profile) -> Flat:
        return Flat(verb, profile)

    def make_reference(self, verb: ListenVerb, profile: Profile) -> None:
        return None


class OurApp:
    """Our app's end, which answers whatever comes with something of all that it may send."""

    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        self.session = AppSession(mode=verb.mode(), profile=profile)
        self.closed = self.session.closed
        self.connection_lost = self.session.connection_lost
        self.data_to_send = self.session.data_to_send

    def receive(self, payload: str | bytes) -> None:
        try:
            events = self.session.receive(payload)
        except RemoteProtocolError as error:
            self.session.close(error.close_code, str(error))
            return
        for event in events:
            self.answer(event)

    def answer(self, event: object) -> None:
        answers: list[Message] = []
        if isinstance(event, Metadata):
            answers += [PlayAudio(bytes(4000), sample_rate=16000), Audio(bytes(6000)), Mark("a")]
        elif isinstance(event, Dtmf):
            of_a_key: dict[str, Message] = {"*": KillAudio(), "#": Disconnect(), "0": ClearMarks()}
            answers.append(of_a_key.get(event.digit, PlayAudio(b"", sample_rate=8000)))
        elif isinstance(event, Audio):
            answers += [Audio(event.pcm), PlayAudio(event.pcm, sample_rate=8000), Mark("b")]
        for message in answers:
            with suppress(LocalProtocolError):
                self.session.send(message)


class OurAppMachine(AppMachine):
    profiles = profiles(mixed=True)

    def make_app(self, verb: ListenVerb, profile: Profile) -> OurApp:
        return OurApp(verb, profile)


TestOurPlatform = OurPlatform.TestCase
TestOurPlatform.settings = STEPS
TestAgainstTheFlatList = AgainstTheFlatList.TestCase
TestAgainstTheFlatList.settings = SLOW_STEPS
TestTheFlatPlatform = TheFlatPlatform.TestCase
TestTheFlatPlatform.settings = SLOW_STEPS
TestOurApp = OurAppMachine.TestCase
TestOurApp.settings = STEPS


@given(verb_objects())
def test_a_verb_from_the_strategy_is_valid_and_written_as_it_was_read(obj: dict) -> None:
    verb = ListenVerb.from_json(obj)
    assert ListenVerb.from_json(verb.to_json()) == verb


@pytest.mark.parametrize("mode", Mode)
def test_verbs_are_of_the_mode_that_is_asked_for(mode: Mode) -> None:
    @given(listen_verbs(mode))
    def check(verb: ListenVerb) -> None:
        assert verb.mode() is mode

    check()


@counted
@given(st.none())
def test_the_app_of_a_machine_plays_clips_of_both_kinds(nothing: None) -> None:
    machine = OurPlatform()
    machine.verb, machine.profile = ListenVerb(url="ws://app.example/"), DOCUMENTED
    machine.mode, machine.speech, machine.moves_left = Mode.CLIPS, 0, 10
    machine.exchange = machine.make_exchange()
    machine.exchange.open()
    machine.exchange.deliver_all()
    for wav in (False, True):
        machine.play(samples=8, rate=16000, wav=wav, queue=None)
    machine.settle()
    (heard,) = joined(machine.exchange.heard)
    assert (len(heard.pcm), heard.rate) == (32, 16000)


@counted
@given(invalid_verb_objects())
def test_what_is_almost_a_verb_is_refused(obj: object) -> None:
    with pytest.raises(VerbError):
        ListenVerb.from_json(obj)


@counted
@given(st.data(), listen_verbs(), profiles(), st.sampled_from(Peer))
def test_a_legal_conversation_is_not_accused(
    data: st.DataObject, verb: ListenVerb, profile: Profile, vantage: Peer
) -> None:
    passed = data.draw(conversations(verb, vantage=vantage, profile=profile))
    observer = Observer(verb, profile=profile, vantage=vantage)
    assert [observer.see(sender, message) for sender, message in passed] == [[]] * len(passed)


@counted
@given(st.data(), listen_verbs(), profiles(), st.sampled_from(Peer))
def test_the_one_breach_of_a_conversation_is_named_and_nothing_else(
    data: st.DataObject, verb: ListenVerb, profile: Profile, vantage: Peer
) -> None:
    passed, clause = data.draw(broken_conversations(verb, vantage=vantage, profile=profile))
    observer = Observer(verb, profile=profile, vantage=vantage)
    found = [observer.see(sender, message) for sender, message in passed]
    assert found[:-1] == [[]] * (len(passed) - 1)
    assert [violation.clause for violation in found[-1]] == [clause]


@counted
@given(profiles(mixed=True))
def test_a_mixed_profile_takes_what_belongs_together_from_one_profile(profile: Profile) -> None:
    alone = [(name,) for name in attrs.fields_dict(Profile) if name != "name"]
    for group in (("plays_in_frames", "kill_spares_waiting_clips"), *alone):
        values = tuple(getattr(profile, name) for name in group)
        assert values in [
            tuple(getattr(one, name) for name in group) for one in (DOCUMENTED, DEPLOYED)
        ]
