"""The machines find faults: peers with one fault each, and the clause that is named for it.

Each peer is right but for what its class overrides. A search stops at the first failure here,
as found; one is shrunk and shown as the README shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    AppLimits,
    AppSession,
    Audio,
    Close,
    Disconnect,
    Dtmf,
    Heard,
    KillAudio,
    ListenEnd,
    ListenTask,
    ListenVerb,
    LocalProtocolError,
    Mark,
    Message,
    Mode,
    Payload,
    Peer,
    PlayAudio,
    PlayDone,
    Profile,
    RemoteProtocolError,
    Violation,
)
from listenproto._heard import PlayoutEnd
from listenproto._playout import Playout
from listenproto._rules import PeerState
from listenproto.codec import encode
from listenproto.testing import AppMachine, PlatformMachine, PlatformUnderTest, listen_verbs
from tests.examples.my_app import Menu

SEARCH = settings(
    max_examples=100,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)


class App:
    """An app that keeps the protocol: says something at a key, kills at ``*``, goes at ``#``."""

    limits: AppLimits | None = None

    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        self.session = AppSession(mode=verb.mode(), profile=profile)
        self.unchecked: list[Payload] = []

    def receive(self, payload: str | bytes) -> None:
        try:
            events = self.session.receive(payload)
        except RemoteProtocolError as error:
            self.give_up(error)
            return
        for event in events:
            self.react(event)

    def give_up(self, error: RemoteProtocolError) -> None:
        self.session.close(error.close_code)

    def react(self, event: object) -> None:
        if isinstance(event, Dtmf) and self.session.observer.states[Peer.APP] is PeerState.OPEN:
            self.at_key(event.digit)

    def at_key(self, digit: str) -> None:
        if digit == "#":
            self.send(Disconnect())
        elif digit == "*":
            self.send(KillAudio())
        else:
            self.speak()

    def speak(self) -> None:
        clips = self.session.mode is Mode.CLIPS
        self.send(PlayAudio(SECOND, sample_rate=8000) if clips else Audio(SECOND))
        self.send(Mark("said"))

    def send(self, message: Message) -> None:
        with suppress(LocalProtocolError):  # what has no place now is not said
            self.session.send(message)

    def blurt(self, message: Message | str) -> None:
        """Send a message or a text, whether it has its place or not."""
        text = isinstance(message, str)
        self.unchecked.append(message if text else encode(message, Peer.APP))

    def closed(self, code: int) -> None:
        self.session.closed(code)

    def connection_lost(self) -> None:
        self.session.connection_lost()

    def data_to_send(self) -> Iterator[Payload]:
        yield from self.session.data_to_send()
        unchecked, self.unchecked = self.unchecked, []
        yield from unchecked


SECOND = bytes(16000)
"""A second, at 8000 samples a second."""


class SpeaksTooSoon(App):
    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        super().__init__(verb, profile)
        self.blurt(KillAudio())


class SpeaksBehindItsDisconnect(App):
    gone = False

    def at_key(self, digit: str) -> None:
        super().at_key(digit)
        self.gone = self.gone or digit == "#"

    def react(self, event: object) -> None:
        if self.gone:
            self.blurt(KillAudio())
        super().react(event)


class SpeaksBehindItsClose(App):
    def receive(self, payload: str | bytes) -> None:
        super().receive(payload)
        if self.session.ended:
            self.blurt(KillAudio())

    def at_key(self, digit: str) -> None:
        if digit == "#":
            self.session.close()


class SaysGoodbye(App):
    def closed(self, code: int) -> None:
        super().closed(code)
        self.blurt(KillAudio())


class NeverCounts(App):
    """Says a sentence in pieces, and waits for none of them."""

    said = 0

    def speak(self) -> None:
        for _ in range(6):
            self.said += 1
            self.blurt(PlayAudio(SECOND, sample_rate=8000, id=self.said, queue_play=True))


class UsesAnIdAgain(App):
    def speak(self) -> None:
        self.blurt(PlayAudio(SECOND, sample_rate=8000, id="prompt", queue_play=True))


class SendsHalfASample(App):
    """Once, with the first that it says."""

    half = SECOND[:-1]

    def speak(self) -> None:
        half, self.half = self.half, b""
        clips = self.session.mode is Mode.CLIPS
        self.blurt(PlayAudio(half, sample_rate=8000) if clips else Audio(half))


class Blurts(App):
    """Says what has no place at that moment, or is none of its business."""

    what: Message | str

    def at_key(self, digit: str) -> None:
        self.blurt(self.what)


class Marks(Blurts):
    what = Mark("m")


class Streams(Blurts):
    what = Audio(SECOND)


class PlaysAClip(Blurts):
    what = PlayAudio(SECOND, sample_rate=8000)


class Kills(Blurts):
    what = KillAudio()


class SaysAKey(Blurts):
    what = '{"event": "dtmf", "dtmf": "1"}'


class SaysNoJson(Blurts):
    what = "hello"


class SaysAList(Blurts):
    what = "[]"


class GivesUpOnWhatIsOdd(App):
    def react(self, event: object) -> None:
        super().react(event)
        if isinstance(event, Violation):
            self.session.close(1002)


class CarriesOnWithoutMetadata(App):
    def give_up(self, error: RemoteProtocolError) -> None:
        pass


class GivesTheWrongReason(App):
    def give_up(self, error: RemoteProtocolError) -> None:
        self.session.close(1011)


class ForgetsItsLimits(App):
    """Keeps to what a platform takes, and not to what it has set itself."""

    limits = AppLimits(clips=10, marks=30, safe_mark_names=True)

    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        super().__init__(verb, profile)
        self.session = AppSession(
            mode=verb.mode(), max_clips=None, max_marks=None, safe_mark_names=False
        )

    def speak(self) -> None:
        for _ in range(16):
            super().speak()


class QuotesInAName(ForgetsItsLimits):
    def speak(self) -> None:
        self.send(Mark('say "hello"'))


APPS = [
    (SpeaksTooSoon, Mode.CLIPS, "LP-META-13"),
    (SpeaksBehindItsDisconnect, Mode.STREAMING, "LP-END-1"),
    (SpeaksBehindItsClose, Mode.CLIPS, "LP-END-6"),
    (SaysGoodbye, Mode.STREAMING, "LP-END-6"),
    (NeverCounts, Mode.CLIPS, "LP-CLIP-2"),
    (UsesAnIdAgain, Mode.CLIPS, "LP-CLIP-15"),
    (SendsHalfASample, Mode.CLIPS, "LP-CLIP-16"),
    (SendsHalfASample, Mode.STREAMING, "LP-AUD-1"),
    (Marks, Mode.CLIPS, "LP-MARK-1"),
    (Streams, Mode.CLIPS, "LP-STRM-1"),
    (PlaysAClip, Mode.STREAMING, "LP-CLIP-1"),
    (Kills, Mode.OFF, "LP-KILL-1"),
    (SaysAKey, Mode.OFF, "LP-ODD-1"),
    (SaysNoJson, Mode.CLIPS, "LP-ODD-2"),
    (SaysAList, Mode.STREAMING, "LP-ODD-3"),
    (GivesUpOnWhatIsOdd, Mode.CLIPS, "LP-ODD-4"),
    (CarriesOnWithoutMetadata, Mode.CLIPS, "LP-META-2"),
    (GivesTheWrongReason, Mode.CLIPS, "LP-META-[23]"),
    (ForgetsItsLimits, Mode.CLIPS, "LP-CLIP-5"),
    (ForgetsItsLimits, Mode.STREAMING, "LP-MARK-3"),
    (QuotesInAName, Mode.STREAMING, "LP-MARK-6"),
]


def app_machine(app: type[App], mode: Mode | None) -> type[AppMachine]:
    """What holds that app against the protocol."""

    class Machine(AppMachine):
        verbs = listen_verbs(mode)
        keys = "12*#"
        limits = app.limits

        def make_app(self, verb: ListenVerb, profile: Profile) -> App:
            return app(verb, profile)

    return Machine


class Platform(ListenTask):
    """Our platform, with more to say than it should."""

    hears = True
    """Whether it tells what the caller hears."""
    compared = True
    """Whether another platform is there to compare it with."""

    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        super().__init__(verb, {}, profile=profile)
        self.playout = self.session.playout = self.make_playout(verb.stream_rate or 8000)

    def make_playout(self, rate: int) -> Playout:
        return self.session.playout

    def play(self, flicks: int) -> list[Heard] | None:
        heard = super().play(flicks)
        return heard if self.hears else None

    def data_to_send(self) -> Iterator[Payload]:
        for payload in super().data_to_send():
            yield from self.changed(payload)

    def changed(self, payload: Payload) -> list[Payload]:
        """What goes out instead."""
        return [payload]


class TellsOfKilledClips(Platform):
    def receive(self, payload: str | bytes) -> list:
        clips = self.session.observer.outstanding_clips
        events = super().receive(payload)
        if clips and KillAudio() in events:
            self.session._push(encode(PlayDone(), Peer.PLATFORM))
        return events


class ForgetsCleared(Platform):
    def changed(self, payload: Payload) -> list[Payload]:
        return [] if is_text(payload, '"cleared"') else [payload]


class ForgetsEveryThirdPlayDone(Platform):
    told = 0

    def changed(self, payload: Payload) -> list[Payload]:
        if is_text(payload, "playDone"):
            self.told += 1
            return [payload] if self.told % 3 else []
        return [payload]


class ClearsWhatHasPlayed(Platform):
    def changed(self, payload: Payload) -> list[Payload]:
        return [payload.replace("playout", "cleared") if is_text(payload, "mark") else payload]


class PlaysWhatIsCleared(Platform):
    def changed(self, payload: Payload) -> list[Payload]:
        return [payload.replace("cleared", "playout") if is_text(payload, "mark") else payload]


class TurnsMarksAround(Platform):
    """Tells of the marks that are over at once from the last to the first."""

    def data_to_send(self) -> Iterator[Payload]:
        payloads = [*super().data_to_send()]
        marks = [payload for payload in payloads if is_text(payload, "mark")]
        return iter([marks.pop() if is_text(one, "mark") else one for one in payloads])


class SpeaksOn(Platform):
    def changed(self, payload: Payload) -> list[Payload]:
        return [payload, bytes(320)] if isinstance(payload, Close) else [payload]


class TellsBehindADisconnect(Platform):
    def changed(self, payload: Payload) -> list[Payload]:
        goes = (
            isinstance(payload, Close) and self.result and self.result.end is ListenEnd.DISCONNECT
        )
        return [encode(PlayDone(), Peer.PLATFORM), payload] if goes else [payload]


class ClosesWithAnotherCode(Platform):
    def changed(self, payload: Payload) -> list[Payload]:
        return [Close(1001)] if isinstance(payload, Close) else [payload]


class StaysOnTheLine(Platform):
    def hang_up(self) -> None:
        pass


class MishearsAKey(Platform):
    def key(self, digit: str) -> None:
        super().key("1" if digit == "2" else digit)


class TellsOfKeysUnasked(Platform):
    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        super().__init__(attrs.evolve(verb, pass_dtmf=True), profile)


class CapturesAtAnotherRate(Platform):
    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        rate = 16000 if verb.sample_rate == 8000 else 8000
        super().__init__(attrs.evolve(verb, sample_rate=rate), profile)


class LeavesTheMetadataOut(Platform):
    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        super().__init__(attrs.evolve(verb, metadata={}), profile)


class BeginsWithAudio(Platform):
    def connected(self) -> None:
        self.session._push(bytes(320))
        super().connected()


class TellsTheMetadataTwice(Platform):
    def connected(self) -> None:
        super().connected()
        self.session._push(self.session.encode_metadata(self.metadata))


class SendsNoise(Platform):
    """One sample in a message is another one."""

    def changed(self, payload: Payload) -> list[Payload]:
        return [bytes([payload[0] ^ 1]) + payload[1:] if isinstance(payload, bytes) else payload]


class TakesOneClipMore(Platform):
    compared = False

    def __init__(self, verb: ListenVerb, profile: Profile) -> None:
        super().__init__(verb, profile)
        self.session.observer._max_clips += 1


class PlaysMarksASampleEarly(Platform):
    class Early(Playout):
        def add_mark(self, name: str) -> list[PlayoutEnd]:
            sound = self._line[-1] if self._line else None
            if sound is None or not hasattr(sound, "pcm") or sound.left < 2:
                return super().add_mark(name)
            last = attrs.evolve(sound, pcm=sound.pcm[-2:], played=0)
            sound.pcm = sound.pcm[:-2]
            over = super().add_mark(name)
            self._line.append(last)
            return over

    def make_playout(self, rate: int) -> Playout:
        return self.Early(stream_rate=rate, profile=self.profile)


class RemembersWhatIsForgotten(Platform):
    """Takes clearMarks for nothing."""

    class Remembering(Playout):
        def clear_marks(self) -> list[PlayoutEnd]:
            return []

    def make_playout(self, rate: int) -> Playout:
        return self.Remembering(stream_rate=rate, profile=self.profile)


class HearsNoKill(Platform):
    class Deaf(Playout):
        def kill(self) -> list[PlayoutEnd]:
            return []

    def make_playout(self, rate: int) -> Playout:
        return self.Deaf(stream_rate=rate, profile=self.profile)


class LosesHalfSamples(Platform):
    class Losing(Playout):
        def add_stream(self, pcm: bytes) -> bool:
            return super().add_stream(pcm[: len(pcm) // 2 * 2])

    def make_playout(self, rate: int) -> Playout:
        return self.Losing(stream_rate=rate, profile=self.profile)


class LetsTheNewestClipGoFirst(Platform):
    """Of those that wait."""

    class Stack(Playout):
        def add_clip(self, *clip: object, **options: object) -> list[PlayoutEnd]:
            over = super().add_clip(*clip, **options)
            if len(self._line) > 2:
                self._line.insert(1, self._line.pop())
            return over

    def make_playout(self, rate: int) -> Playout:
        return self.Stack(stream_rate=rate, profile=self.profile)


class TellsNothingOfWhatIsHeard(LetsTheNewestClipGoFirst):
    """Nor is there another platform to compare it with."""

    hears = compared = False


def is_text(payload: Payload, part: str) -> bool:
    """Whether that is a text with such a part."""
    return isinstance(payload, str) and part in payload


WITH_IDS = attrs.evolve(DOCUMENTED, name="with ids", play_done_data=True)

PLATFORMS = [
    (TellsOfKilledClips, Mode.CLIPS, DOCUMENTED, "LP-KILL-8"),
    (ForgetsCleared, Mode.STREAMING, DOCUMENTED, "LP-KILL-5"),
    (ForgetsEveryThirdPlayDone, Mode.CLIPS, DOCUMENTED, "LP-CLIP-23"),
    (ClearsWhatHasPlayed, Mode.STREAMING, DOCUMENTED, "LP-KILL-6"),
    (PlaysWhatIsCleared, Mode.STREAMING, DOCUMENTED, "LP-KILL-7"),
    (TurnsMarksAround, Mode.STREAMING, DOCUMENTED, "LP-MARK-14"),
    (SpeaksOn, Mode.OFF, DOCUMENTED, "LP-END-6"),
    (TellsBehindADisconnect, Mode.CLIPS, DOCUMENTED, "LP-END-4"),
    (ClosesWithAnotherCode, Mode.STREAMING, DOCUMENTED, "LP-END-5"),
    (StaysOnTheLine, Mode.OFF, DEPLOYED, "LP-END-9"),
    (MishearsAKey, Mode.CLIPS, DOCUMENTED, "LP-DTMF-2"),
    (TellsOfKeysUnasked, Mode.CLIPS, DOCUMENTED, "LP-DTMF-1"),
    (CapturesAtAnotherRate, Mode.STREAMING, DOCUMENTED, "LP-META-7"),
    (LeavesTheMetadataOut, Mode.CLIPS, DOCUMENTED, "LP-META-15"),
    (BeginsWithAudio, Mode.OFF, DOCUMENTED, "LP-META-1"),
    (TellsTheMetadataTwice, Mode.OFF, DOCUMENTED, "LP-META-4"),
    (SendsNoise, Mode.OFF, DOCUMENTED, "LP-AUD-2"),
    (TakesOneClipMore, Mode.CLIPS, WITH_IDS, "LP-CLIP-24"),
    (PlaysMarksASampleEarly, Mode.STREAMING, DOCUMENTED, "LP-MARK-11"),
    (RemembersWhatIsForgotten, Mode.STREAMING, DOCUMENTED, "LP-MARK-15"),
    (HearsNoKill, Mode.CLIPS, DOCUMENTED, "LP-KILL-2"),
    (LosesHalfSamples, Mode.STREAMING, DOCUMENTED, "LP-STRM-3|LP-MARK-11"),
    (LetsTheNewestClipGoFirst, Mode.CLIPS, DOCUMENTED, "LP-CLIP-20"),
    (TellsNothingOfWhatIsHeard, Mode.CLIPS, DEPLOYED, "LP-CLIP-25"),
]


def platform_machine(
    platform: type[Platform], mode: Mode | None, profile: Profile
) -> type[PlatformMachine]:
    """What holds that platform against the protocol."""

    class Machine(PlatformMachine):
        verbs = listen_verbs(mode)
        profiles = st.just(profile)

        def make_platform(self, verb: ListenVerb, profile: Profile) -> Platform:
            return platform(verb, profile)

        def make_reference(self, verb: ListenVerb, profile: Profile) -> PlatformUnderTest | None:
            return super().make_reference(verb, profile) if platform.compared else None

    return Machine


@pytest.mark.no_cover
@pytest.mark.parametrize(("app", "mode", "clause"), APPS)
def test_a_faulty_app_is_found_out(app: type[App], mode: Mode, clause: str) -> None:
    with pytest.raises(AssertionError, match=rf"\b({clause})\b"):
        run_state_machine_as_test(app_machine(app, mode), settings=SEARCH)


@pytest.mark.parametrize(("platform", "mode", "profile", "clause"), PLATFORMS)
def test_a_faulty_platform_is_found_out(
    platform: type[Platform], mode: Mode, profile: Profile, clause: str
) -> None:
    with pytest.raises(AssertionError, match=rf"\b({clause})\b"):
        run_state_machine_as_test(platform_machine(platform, mode, profile), settings=SEARCH)


FEW = settings(SEARCH, max_examples=40)


def test_the_app_without_its_fault_is_found_right() -> None:
    run_state_machine_as_test(app_machine(App, None), settings=FEW)


@pytest.mark.no_cover
@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
def test_the_platform_without_its_fault_is_found_right(profile: Profile) -> None:
    run_state_machine_as_test(platform_machine(Platform, None, profile), settings=FEW)


class Hasty(Menu):
    """The README's app without the condition that the README speaks of."""

    def press(self, key: str) -> None:
        super().press(key)
        self.over = False


class HastyMachine(AppMachine):
    verbs = listen_verbs(Mode.CLIPS)
    keys = "12*#"

    def make_app(self, verb: ListenVerb, profile: Profile) -> Hasty:
        return Hasty()


def test_a_failure_is_shown_as_the_readme_shows_it() -> None:
    # Where CI is set in the environment, hypothesis would add how to repeat the run there.
    shrunk = settings(SEARCH, phases=[Phase.generate, Phase.shrink], print_blob=False)
    with pytest.raises(LocalProtocolError) as failure:
        run_state_machine_as_test(HastyMachine, settings=shrunk)
    error = failure.value
    printed = [*error.__notes__, f"{type(error).__name__}: {error}"]
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (shown,) = re.findall(r"```text\n(at the app, .*?)\n```", readme, re.DOTALL)
    assert printed[-len(shown.splitlines()) :] == shown.splitlines()
