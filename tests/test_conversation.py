"""Two of our peers and a network that delays: what holds for any order of events.

The network carries messages, and then bytes, cut anywhere. Each direction keeps its order and
delays by less than ``exchange.LATEST``, the bound that LP-CLIP-30 sets where no ids come back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from listenproto import (
    DOCUMENTED,
    FLICKS,
    AppConnection,
    AppSession,
    Audio,
    Close,
    Closed,
    HandshakePolicy,
    KillAudio,
    ListenTask,
    ListenVerb,
    Mark,
    MarkEvent,
    Message,
    Mode,
    Outcome,
    Payload,
    Peer,
    PlatformConnection,
    PlayAudio,
    PlaybackDone,
    PlayDone,
    Profile,
    Request,
    Sent,
    TraceMoment,
    Violation,
    judge_request,
)
from listenproto._heard import PlayoutClip, PlayoutFate
from listenproto._rules import PeerState
from listenproto.testing import AppMachine, CallMachine, Exchange, PlatformMachine, profiles
from tests.recorded_playout import RecordedPlayout

NO_ROOM = "LP-STRM-5"
WITH_IDS = attrs.evolve(DOCUMENTED, name="with ids", play_done_data=True)


class RecordedTask(ListenTask):
    """A platform that remembers its events."""

    def __init__(self, verb: ListenVerb, profile: Profile, max_seconds: float) -> None:
        super().__init__(
            verb, {"callSid": "c"}, profile=profile, max_seconds=max_seconds, keep_passed=True
        )
        self.playout = self.session.playout = RecordedPlayout(
            stream_rate=verb.stream_rate or 8000, profile=profile, max_seconds=max_seconds
        )
        self.events: list[object] = []

    def receive(self, payload: str | bytes) -> list:
        events = super().receive(payload)
        self.events += events
        return events


class RecordedApp(AppSession):
    """An app that remembers what it sent and its events, by a clock of its own."""

    def __init__(self, verb: ListenVerb, profile: Profile, clock: Callable[[], float]) -> None:
        super().__init__(mode=verb.mode(), profile=profile, keep_passed=True)
        self.clock = clock
        self.entries: list[Sent] = []
        self.events: list[object] = []

    def send(self, message: Message, now: float = 0.0) -> Sent | None:
        sent = super().send(message, self.clock())
        self.entries += [] if sent is None else [sent]
        return sent

    def receive(self, payload: str | bytes, now: float = 0.0) -> list:
        return self.told(super().receive(payload, self.clock()))

    def closed(self, code: int = 1000, reason: str = "") -> list:
        return self.told(super().closed(code, reason))

    def connection_lost(self) -> list:
        return self.told(super().connection_lost())

    def keep_time(self) -> None:
        self.told(self.handle_timeout(self.clock()))

    def told(self, events: list) -> list:
        self.events += events
        return events


class Conversation(AppMachine, PlatformMachine):
    """Our app and our platform, and what became of everything that the app sent."""

    verbs = st.builds(
        lambda mode, way, key, stereo, max_length: ListenVerb.from_json(
            {
                "url": "ws://app.example/",
                "mixType": "stereo" if stereo else "mono",
                "passDtmf": key != "5",
                "finishOnKey": key,
                "maxLength": max_length,
                "bidirectionalAudio": {
                    "enabled": mode is not Mode.OFF,
                    "streaming": mode is Mode.STREAMING,
                    "sampleRate": way,
                },
            }
        ),
        st.sampled_from([Mode.CLIPS, Mode.CLIPS, Mode.STREAMING, Mode.STREAMING, Mode.OFF]),
        st.sampled_from([8000, 16000, 24000]),
        st.sampled_from(["", "", "", "5", "*#"]),
        st.booleans(),
        st.sampled_from([None, None, None, None, 3, 0.0301]),
    )
    profiles = profiles(mixed=True)
    under_test = frozenset(Peer)
    odd_texts = odd_messages = False

    task: RecordedTask
    runs = True
    """Whether the clock of the app does."""
    jumped = 0.0
    """How many seconds it is ahead."""

    @property
    def app(self) -> RecordedApp:
        app = super().app
        assert isinstance(app, RecordedApp)
        return app

    def make_app(self, verb: ListenVerb, profile: Profile) -> AppSession:
        return RecordedApp(verb, profile, self.time)

    def time(self) -> float:
        """What the clock of the app shows."""
        return self.jumped + (self.exchange.now / FLICKS if self.runs else 0.0)

    def make_platform(self, verb: ListenVerb, profile: Profile) -> ListenTask:
        self.passed: dict[tuple[Peer, Peer], list[Message]] = {
            (vantage, sender): [] for vantage in Peer for sender in Peer
        }
        self.clips_sent: list[object] = []
        self.marks_sent: list[object] = []
        self.task = RecordedTask(verb, profile, self.max_seconds)
        return self.task

    max_seconds = 3600.0

    def make_reference(self, verb: ListenVerb, profile: Profile) -> None:
        return None

    def on_pass(
        self, vantage: Peer, sender: Peer, message: Message, found: list[Violation]
    ) -> None:
        super().on_pass(vantage, sender, message, found)
        self.passed[vantage, sender].append(message)

    def say(self, message: Message) -> bool:
        known = len(self.app.entries)
        clips = self.app.observer._clips
        waits = False
        if isinstance(message, PlayAudio):
            queued = message.queue_play is not False  # so it goes out
            waits = not clips.starts_at_once(attrs.evolve(message, queue_play=queued))
        said = super().say(message)
        for sent in self.app.entries[known:]:
            if isinstance(message, PlayAudio):
                self.clips_sent.append(sent.name)
            else:
                self.marks_sent.append(sent.name)
        assert not (said and waits) or clips.outstanding <= 10
        return said

    @rule(runs=st.booleans())
    def the_apps_clock_stands_still_or_runs(self, runs: bool) -> None:
        self.runs = runs

    @rule(seconds=st.sampled_from([-3600.0, 0.5, 10.0, 3600.0]))
    def the_apps_clock_jumps(self, seconds: float) -> None:
        self.jumped += seconds

    @rule()
    def the_app_keeps_time(self) -> None:
        self.app.keep_time()

    @rule(silence=st.booleans())
    def pause(self, silence: bool) -> None:
        # Where no ids come back, an app tells clips apart by the platform's audio (LP-CLIP-30): in
        # a pause without any it can take a playDone for another clip's, as shown below.
        by_time = self.mode is Mode.CLIPS and not self.profile.play_done_data
        self.task.pause(silence=silence or by_time)

    @rule()
    def resume(self) -> None:
        self.task.resume()

    @precondition(lambda self: self.may_end and not self.task.ended)
    @rule(code=st.sampled_from([1000, 1001, 1011]))
    def the_platform_closes(self, code: int) -> None:
        self.task.close(code)
        self.exchange.collect()

    @invariant()
    def neither_end_finds_fault(self) -> None:
        """What the app may send is not dropped, but for want of room, and stays in bounds."""
        if hasattr(self, "task"):
            faults = [e for e in self.task.events if isinstance(e, Violation)]
            assert {fault.clause for fault in faults} <= {NO_ROOM}
            assert not [e for e in self.app.events if isinstance(e, Violation)]
            assert self.task.session.observer.outstanding_clips <= self.profile.waiting_clips + 1
            assert self.app.observer.pending_marks <= 30
            under_way = [sent for sent in self.app.entries if sent.outcome is None]
            assert self.app.under_way == under_way

    def check_that_nothing_waits(self) -> None:
        CallMachine.check_that_nothing_waits(self)
        assert self.task.buffered == 0
        platform = self.task.session.observer  # it knows what there was no room for
        assert platform.outstanding_clips == 0
        loses_marks = self.mode is Mode.STREAMING and self.profile.plays_in_frames
        assert loses_marks or platform.pending_marks == 0
        if self.mode is Mode.STREAMING and not loses_marks:
            self.say(Mark("last"))  # its event ends every doubt about names that were used again
            self.exchange.deliver_all()
            assert self.app.observer.pending_marks == 0
        self.check_fates(may_wait=loses_marks)
        assert len(self.sent_and_read) == len(self.clips_sent) + len(self.marks_sent)

    def finish(self) -> None:
        super().finish()
        assert self.task.ended
        assert self.app.ended or self.exchange.lost
        self.check_passed()
        self.check_fates()
        self.check_what_the_app_knows()
        self.check_that_each_end_was_told()

    def check_passed(self) -> None:
        """What one end has sent is what the other reads; all of it, unless the wire broke."""
        for sender in Peer:
            sent, read = (
                [m for m in self.passed[vantage, sender] if not isinstance(m, Close)]
                for vantage in (sender, sender.other)
            )
            for is_audio in (False, True):  # deployed, texts overtake audio
                kind = [m for m in sent if isinstance(m, Audio) is is_audio]
                arrived = [m for m in read if isinstance(m, Audio) is is_audio]
                assert arrived == kind[: len(arrived)]
                assert self.exchange.lost or len(arrived) == len(kind)

    @property
    def sent_and_read(self) -> list[object]:
        """The clips and marks that the platform has read, refused ones among them."""
        return [
            event.message if isinstance(event, Violation) else event
            for event in self.task.events
            if isinstance(event, PlayAudio | Mark)
            or (isinstance(event, Violation) and isinstance(event.message, PlayAudio))
        ]

    def check_fates(self, *, may_wait: bool = False) -> None:
        """Each clip and mark that the platform took is over once, unless some may still wait."""
        taken = Counter(
            event.id if isinstance(event, PlayAudio) else event.name
            for event in self.task.events
            if isinstance(event, PlayAudio | Mark)
        )
        overs = Counter(
            over.item.id if isinstance(over.item, PlayoutClip) else over.item.name
            for over in self.task.playout.overs
        )
        assert overs <= taken if may_wait else overs == taken
        sent = Counter(self.clips_sent) + Counter(self.marks_sent)
        assert taken <= sent
        if self.mode is Mode.CLIPS:
            assert set(sent.values()) <= {1}

    def check_what_the_app_knows(self) -> None:
        """The app is told of what played and what was cleared, in order, as far as it arrived."""
        told = [
            o for o in self.task.playout.overs if o.fate in (PlayoutFate.PLAYED, PlayoutFate.KILLED)
        ]
        ids = [over.item.id for over in told if isinstance(over.item, PlayoutClip)]
        ends = [event for event in self.app.events if isinstance(event, PlaybackDone)]
        done = [event for event in ends if isinstance(event.message, PlayDone)]
        refused = any(isinstance(event, Violation) for event in self.task.events)
        for event, clip_id in zip(done, ids, strict=False):
            # A clip that the platform had no room for is told of by nothing but ids.
            certain = self.profile.play_done_data or not (event.guessed or refused)
            assert not certain or event.name == clip_id
        marks = [
            (o.item.name, {PlayoutFate.PLAYED: "playout", PlayoutFate.KILLED: "cleared"}[o.fate])
            for o in told
            if not isinstance(o.item, PlayoutClip)
        ]
        answers = [event.message for event in ends]
        events = [(a.name, a.event) for a in answers if isinstance(a, MarkEvent)]
        assert events == marks[: len(events)]
        # An app that has closed itself takes nothing of what still comes (LP-END-7).
        deaf = self.exchange.lost or self.app.observer.states[Peer.APP] is PeerState.CLOSED
        assert deaf or (len(done), len(events)) == (len(ids), len(marks))

    def check_that_each_end_was_told(self) -> None:
        """Whatever its clock does, the app hears of each end once, and of late answers besides."""
        self.app.keep_time()
        assert self.app.under_way == [] and self.app.next_timeout() == math.inf
        ended: set[Sent] = set()
        for event in self.app.events:
            if isinstance(event, PlaybackDone):
                assert event.message is not None or event.sent not in ended
                ended.add(event.sent)
        assert ended == {*self.app.entries}
        for sent in ended:
            assert sent.outcome not in (None, Outcome.REFUSED)
            assert 0 <= sent.heard <= sent.seconds


class SmallBuffer(Conversation):
    """The platform has room for little. What it drops for that, only its own observer knows."""

    max_seconds = 0.3

    def on_pass(
        self, vantage: Peer, sender: Peer, message: Message, found: list[Violation]
    ) -> None:
        super().on_pass(vantage, sender, message, found if vantage is Peer.APP else [])


class ByteExchange(Exchange):
    """The same with the bytes of two connections."""

    app: AppSession
    platform: ListenTask

    def open(self) -> None:
        self.ends: dict[Peer, AppConnection | PlatformConnection] = {
            Peer.APP: AppConnection(self.app),
            Peer.PLATFORM: PlatformConnection(self.platform),
        }
        self.finished: set[Peer] = set()
        self.collect()

    def collect(self) -> None:
        for peer, end in self.ends.items():
            while data := end.data_to_send():
                self.put(peer, data)
            for sender, payload in end.passed():
                self.passes(peer, sender, payload)
                if sender is peer and isinstance(payload, Close):
                    self.closes[peer] = payload
            if end.finished and peer not in self.finished:
                self.finished.add(peer)
                self.put(peer, b"")

    @property
    def has_ended(self) -> bool:
        return self.over == set(Peer) and all(end.finished for end in self.ends.values())

    def put(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        if not self.lost:
            self._on_its_way[sender.other].append((self.now, payload))

    def hand_over(self, receiver: Peer, payload: Payload | TraceMoment) -> None:
        end = self.ends[receiver]
        if end.finished:
            return
        for event in end.receive(payload if isinstance(payload, bytes) else b""):
            if isinstance(event, Request):
                assert isinstance(end, AppConnection)
                end.answer(judge_request(event, HandshakePolicy()))
            elif isinstance(event, Closed):
                assert receiver not in self.over
                self.over.add(receiver)

    def deliver_piece(self, receiver: Peer, size: int) -> None:
        """The next so many bytes arrive, or what has been written at once if that is less."""
        queue = self._on_its_way[receiver]
        at, data = queue.popleft()
        if isinstance(data, bytes) and len(data) > size:
            queue.appendleft((at, data[size:]))
            data = data[:size]
        self.hand_over(receiver, data)
        self.collect()

    def cut(self, arriving: dict[Peer, int]) -> None:
        super().cut(arriving)
        for queue in self._on_its_way.values():
            if len(queue) > 1:
                at, data = queue[-2]
                assert isinstance(data, bytes)
                queue[-2] = at, data[: len(data) // 2]

    def capture(self, pcm: bytes) -> None:
        if self.observers[Peer.PLATFORM].states[Peer.PLATFORM].value != "start":
            super().capture(pcm)


class ByteConversation(Conversation):
    """The same over an upgrade and frames, with arbitrary cuts between the bytes."""

    def make_exchange(self) -> Exchange:
        return ByteExchange(
            self.make_app(self.verb, self.profile),
            self.make_platform(self.verb, self.profile),
            self.verb,
            profile=self.profile,
            on_pass=self.on_pass,
        )

    @rule(receiver=st.sampled_from(Peer), sizes=st.lists(st.integers(1, 40), max_size=20))
    def deliver_pieces(self, receiver: Peer, sizes: list[int]) -> None:
        exchange = self.exchange
        assert isinstance(exchange, ByteExchange)
        for size in sizes:
            if exchange.under_way(receiver):
                exchange.deliver_piece(receiver, size)

    @property
    def is_over(self) -> bool:
        return self.task.ended or self.app.ended or self.exchange.lost


@pytest.mark.parametrize("profile", [DOCUMENTED, WITH_IDS], ids=lambda profile: profile.name)
@pytest.mark.parametrize("why", ["a pause", "a long way"])
def test_without_ids_a_play_done_that_is_late_by_the_apps_clock_is_taken_for_another(
    why: str, profile: Profile
) -> None:
    """Why there are no such pauses and ways above; the wire cannot tell, as decisions.md says."""
    task = ListenTask(ListenVerb(url="ws://app.example/"), {"callSid": "c"}, profile=profile)
    app = AppSession(profile=profile)
    task.connected()
    app.receive(*task.data_to_send())
    app.send(PlayAudio(bytes(80_000), sample_rate=8000, id="a"))
    task.receive(*app.data_to_send())
    if why == "a pause":
        task.pause()
    else:
        task.capture(bytes(48_000))
        for payload in task.data_to_send():
            app.receive(payload)
        task.capture(bytes(32_000))
    task.play(5 * FLICKS)
    app.send(KillAudio())
    app.send(PlayAudio(bytes(320), sample_rate=8000, id="b"))
    (done,) = [
        event
        for payload in task.data_to_send()
        for event in app.receive(payload)
        if isinstance(event, PlaybackDone) and event.message
    ]
    assert (done.name, done.guessed) == ("a" if profile is WITH_IDS else "b", False)


TestConversation = Conversation.TestCase
TestSmallBuffer = SmallBuffer.TestCase
TestByteConversation = ByteConversation.TestCase
TestConversation.settings = settings(stateful_step_count=40)
TestSmallBuffer.settings = settings(stateful_step_count=40)
TestByteConversation.settings = settings(stateful_step_count=40)
