"""Two peers and a network that delays: the invariants of the protocol, for any order of events."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    AppSession,
    Audio,
    ClearMarks,
    ClipDone,
    Close,
    Disconnect,
    KillAudio,
    ListenTask,
    ListenVerb,
    LocalProtocolError,
    Mark,
    MarkEvent,
    Metadata,
    Mode,
    Observer,
    Peer,
    PlayAudio,
    Profile,
    Violation,
)
from listenproto.codec import decode, decode_opening
from listenproto.l16 import samples_in

STEP = FLICKS // 50
LATEST = FLICKS * 9 // 20
"""A message is under way for so long at most: the grace of LP-CLIP-30 is for a round trip."""


class Wire:
    """One direction: in order, each message with the media time it was sent at."""

    def __init__(self) -> None:
        self.on_its_way: deque[tuple[int, str | bytes | Close]] = deque()
        self.closed = False


class Conversation(RuleBasedStateMachine):
    """Both ends, an independent observer at each, and what was promised to the app."""

    @initialize(
        profile=st.sampled_from([DOCUMENTED, DEPLOYED]),
        mode=st.sampled_from([Mode.CLIPS, Mode.STREAMING]),
        stereo=st.booleans(),
    )
    def connect(self, profile: Profile, mode: Mode, stereo: bool) -> None:
        streaming = mode is Mode.STREAMING
        verb = ListenVerb.from_json(
            {
                "url": "ws://app.example/",
                "mixType": "stereo" if stereo else "mono",
                "passDtmf": True,
                "bidirectionalAudio": {"streaming": streaming, "sampleRate": 16000},
            }
        )
        self.mode = mode
        self.profile = profile
        self.frame = 4 if stereo else 2
        self.now = 0
        self.app = AppSession(mode=mode, profile=profile, keep_passed=True)
        self.task = ListenTask(verb, {"callSid": "c"}, profile=profile, keep_passed=True)
        self.to_app, self.to_platform = Wire(), Wire()
        self.watch = {
            Peer.APP: Observer(mode, profile=profile, vantage=Peer.APP),
            Peer.PLATFORM: Observer(verb, profile=profile, vantage=Peer.PLATFORM),
        }
        self.clips_sent: list[object] = []
        self.marks_sent: list[str] = []
        self.playdones = 0
        self.names = iter(f"m{n}" for n in range(10_000))
        self.app_may_send = False
        self.task.connected()
        self.collect()

    def teardown(self) -> None:
        if hasattr(self, "task"):
            self.settle()

    def collect(self) -> None:
        """Put what the ends want to send on its way, and let the observers see what passed."""
        for session, wire in ((self.app, self.to_platform), (self.task, self.to_app)):
            for payload in session.outgoing():
                wire.on_its_way.append((self.now, payload))
        for vantage, session in ((Peer.APP, self.app), (Peer.PLATFORM, self.task)):
            for sender, payload in session.passed():
                self.judge(vantage, sender, payload)

    def judge(self, vantage: Peer, sender: Peer, payload: str | bytes | Close) -> None:
        observer = self.watch[vantage]
        if isinstance(payload, Close):
            messages = [payload]
        elif sender is Peer.PLATFORM and observer.states[sender].value == "start":
            messages = decode_opening(payload)
        else:
            messages = decode(payload, sender)
        for message in messages:
            note(f"{vantage.value} sees {sender.value}: {message}")
            violations = observer.see(sender, message)
            assert not violations, f"the observer at the {vantage.value}: {violations}"

    def send(self, message: object) -> bool:
        try:
            self.app.send(message)  # type: ignore[arg-type]
        except LocalProtocolError as exc:
            note(f"the app refuses {message}: {exc}")
            return False
        finally:
            self.collect()
        return True

    @precondition(lambda self: self.mode is Mode.CLIPS and self.app_may_send)
    @rule(samples=st.integers(0, 2000), rate=st.sampled_from([8000, 16000, 64000]))
    def play(self, samples: int, rate: int) -> None:
        self.send(PlayAudio(bytes(2 * samples), sample_rate=rate))

    @precondition(lambda self: self.mode is Mode.CLIPS and self.app_may_send)
    @rule(number=st.integers(2, 15))
    def play_many(self, number: int) -> None:
        for _ in range(number):
            self.send(PlayAudio(bytes(320), sample_rate=8000))

    @precondition(lambda self: self.mode is Mode.STREAMING and self.app_may_send)
    @rule(samples=st.integers(0, 4000))
    def stream(self, samples: int) -> None:
        self.send(Audio(bytes(2 * samples)))

    @precondition(lambda self: self.mode is Mode.STREAMING and self.app_may_send)
    @rule(fresh=st.booleans())
    def mark(self, fresh: bool) -> None:
        name = next(self.names) if fresh else "again"
        if self.send(Mark(name)):
            self.marks_sent.append(name)

    @precondition(lambda self: self.mode is Mode.STREAMING and self.app_may_send)
    @rule(number=st.integers(2, 35))
    def mark_many(self, number: int) -> None:
        for _ in range(number):
            self.mark(True)

    @precondition(lambda self: self.app_may_send)
    @rule()
    def kill(self) -> None:
        self.send(KillAudio())

    @precondition(lambda self: self.mode is Mode.STREAMING and self.app_may_send)
    @rule()
    def clear_marks(self) -> None:
        self.send(ClearMarks())

    @precondition(lambda self: self.app_may_send)
    @rule()
    def disconnect(self) -> None:
        if self.send(Disconnect()):
            self.app_may_send = False
            with pytest.raises(LocalProtocolError, match="LP-END-1"):
                self.app.send(KillAudio())

    @rule(digit=st.sampled_from("05#"))
    def key(self, digit: str) -> None:
        self.task.key(digit)
        self.collect()

    @rule()
    def hang_up(self) -> None:
        self.task.hang_up()
        self.collect()

    @rule(steps=st.integers(1, 60))
    def pass_time(self, steps: int) -> None:
        for _ in range(steps):
            self.pass_a_moment(STEP)

    @rule(flicks=st.integers(1, STEP))
    def pass_a_moment(self, flicks: int) -> None:
        captured = samples_in(self.now, 8000)
        self.now += flicks
        self.task.play(flicks)
        self.task.capture(bytes((samples_in(self.now, 8000) - captured) * self.frame))
        self.collect()
        self.deliver_the_late()

    def deliver_the_late(self) -> None:
        while self.to_platform.on_its_way and self.oldest(self.to_platform) < self.now - LATEST:
            self.to_the_platform()
        while self.to_app.on_its_way and self.oldest(self.to_app) < self.now - LATEST:
            self.to_the_app()

    @staticmethod
    def oldest(wire: Wire) -> int:
        return wire.on_its_way[0][0]

    @precondition(lambda self: self.to_platform.on_its_way)
    @rule()
    def to_the_platform(self) -> None:
        _, payload = self.to_platform.on_its_way.popleft()
        if self.to_platform.closed:
            return
        if isinstance(payload, Close):
            self.to_platform.closed = True
            self.task.closed(payload.code, payload.reason)
        else:
            for event in self.task.receive(payload):
                in_flight = self.task.ended or self.to_platform.closed
                if isinstance(event, Violation) and not in_flight:
                    raise AssertionError(f"the platform drops what the app may send: {event}")
        self.collect()

    @precondition(lambda self: self.to_app.on_its_way)
    @rule()
    def to_the_app(self) -> None:
        _, payload = self.to_app.on_its_way.popleft()
        if isinstance(payload, Close):
            self.to_app.closed = True
            self.app_may_send = False
            self.app.closed(payload.code, payload.reason)
            self.collect()
            return
        for event in self.app.receive(payload):
            assert not isinstance(event, Violation), f"the app finds fault with {event}"
            if isinstance(event, Metadata):
                assert not self.app_may_send
                self.app_may_send = True
            elif isinstance(event, ClipDone):
                self.playdones += 1
            elif isinstance(event, MarkEvent):
                assert event.name in self.marks_sent
        self.collect()

    @rule()
    def deliver_all(self) -> None:
        self.settle_wires()

    def settle_wires(self) -> None:
        while self.to_platform.on_its_way or self.to_app.on_its_way:
            if self.to_platform.on_its_way:
                self.to_the_platform()
            if self.to_app.on_its_way:
                self.to_the_app()

    def settle(self) -> None:
        """Once all has arrived and played, nothing is left over at either end."""
        for _ in range(3):
            self.settle_wires()
            self.task.play(FLICKS * 3600)
            self.collect()
        self.settle_wires()
        if self.task.ended or not self.app_may_send:
            return
        assert self.task.buffered == 0
        if self.mode is Mode.STREAMING:
            self.mark(True)  # its event ends every doubt about names that were used again
            self.settle_wires()
        assert self.watch[Peer.PLATFORM].clips.outstanding == 0
        assert self.watch[Peer.PLATFORM].marks.pending == 0
        assert self.app.observer.marks.pending == 0

    @invariant()
    def waiting_clips_are_bounded(self) -> None:
        if hasattr(self, "task"):
            most = self.profile.waiting_clips + 1
            assert self.watch[Peer.PLATFORM].clips.outstanding <= most
            assert self.app.observer.clips.outstanding <= 10
            assert self.app.observer.marks.pending <= 30


TestConversation = Conversation.TestCase
TestConversation.settings = settings(stateful_step_count=40)
