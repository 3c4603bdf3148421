"""A call without IO, whatever happens to it: in any order, at any time, in any pieces."""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    Answering,
    Audio,
    CallEnded,
    ClearMarks,
    Close,
    Disconnect,
    Dropped,
    Ending,
    EndKind,
    Limits,
    LocalProtocolError,
    Mark,
    Message,
    Metadata,
    Mode,
    Payload,
    Peer,
    PlayAudio,
    PlaybackDone,
    Profile,
    Sent,
    Speech,
)
from listenproto.codec import encode
from listenproto.testing import conversations, listen_verbs
from tests.app_call_support import (
    RATE,
    SIDES,
    OverBytes,
    Side,
    answering,
    done,
    mark_event,
    pcm,
    read,
)

LIMITS = Limits(
    unread_seconds=0.2, unread_events=3, outbox_size=3000, ping_interval=20, ping_time=10
)

TIMES = st.sampled_from([0.0, 1e-6, 0.02, 0.05, 0.3, 1.1, 12.0, 3600.0, -0.01, -3600.0])
STEPS = st.one_of(
    TIMES,
    st.sampled_from(["due", "due", "due", "hear", "hear", "read", "read all", "answer", "cleared"]),
    st.sampled_from([Audio(pcm(0.02)), Audio(pcm(0.3)), Audio(b""), ClearMarks(), Mark("m")]),
    st.builds(lambda queue: PlayAudio(pcm(0.5), sample_rate=RATE, queue_play=queue), st.booleans()),
    st.sampled_from(["say", "say", "say more", "finish", "stop", "kill", "guard"]),
    st.sampled_from([pcm(0.02), pcm(0.02), pcm(0.5), b"\0", '{"event":"dtmf","dtmf":"5"}']),
    st.sampled_from(["{}", "no JSON", '{"type":"playDone"}', mark_event("m"), '{"type":"new"}']),
    st.sampled_from(["garbage", "disconnect", "stop reading"]),
    st.sampled_from(["close", "leave", "vanish", "fail", "cancel", "broken"]),
)


class Search:
    """A call to which anything may happen, and what must hold nevertheless."""

    def __init__(self, side: type[Side], mode: str, profile: Profile, unread: str) -> None:
        self.platform = side(answering(mode, profile=profile, unread=unread, limits=LIMITS))
        self.call = self.platform.call
        self.call.watchers.append(self)
        self.now = 0.0
        self.drops = unread == "drop_oldest"
        self.reads = True
        self.closed = False
        """Whether the platform has closed."""
        self.entries: list[Sent] = []
        self.messages: list[Payload] = []
        """What was sent, says the call."""
        self.heard: list[Payload] = []
        """What came at the platform."""
        self.samples = 0
        """How many samples were read, or reported as dropped."""
        self.ends: list[Sent] = []
        self.spoken: dict[Speech, float] = {}
        """How much of each speech was heard."""
        self.speech = self.new_speech()
        self.end: Ending | None = None

    def new_speech(self) -> Speech:
        speech = Speech(rate=RATE, lead=0.2)
        self.spoken[speech] = 0.0
        return speech

    def received(self, audio: Audio, now: float) -> None:
        """As of a watcher."""

    def sent(self, message: Message, now: float) -> None:
        """As of a watcher."""
        self.messages.append(encode(message, Peer.APP))

    def do(self, step: object) -> None:
        call, now = self.call, self.now
        if isinstance(step, float):
            self.now += step
        elif isinstance(step, Message):
            self.send(step)
        elif isinstance(step, bytes) or (isinstance(step, str) and step[0] in "{n"):
            self.say(step)
        elif step == "due":
            call.handle_timeout(now)
            assert call.next_timeout() > now
            assert call.next_timeout() == math.inf or not call.over
        elif step == "hear":
            self.heard += self.platform.hear(now)
        elif step == "read":
            self.read()
        elif step == "read all":
            while self.read():
                pass
        elif step in ("answer", "cleared"):
            self.answer(cleared=step == "cleared")
        elif step == "disconnect":
            self.send(Disconnect())
        elif step in ("kill", "guard"):
            with suppress(CallEnded, LocalProtocolError):
                call.kill_audio(now, guard=0.1 if step == "guard" else 0.0)
        elif step in ("say", "say more", "finish"):
            self.speak(str(step))
        elif step == "stop":
            call.stop_speaking(self.speech)
        elif step == "stop reading":
            self.reads = False
            call.stop_reading(now)
        else:
            self.end_by(str(step))
        self.check()

    def send(self, message: Message) -> None:
        call, now = self.call, self.now
        with suppress(CallEnded):
            if call.ready_at(message, now) > now:
                return
            if isinstance(message, PlayAudio | Mark):
                with suppress(LocalProtocolError):
                    self.entries.append(call.send_if_room(message, now))
            else:
                with suppress(LocalProtocolError):
                    assert call.send(message, now) is None

    def say(self, payload: Payload) -> None:
        with suppress(LocalProtocolError):  # the WebSocket is closed
            self.platform.say(payload, now=self.now, cuts=[3])

    def answer(self, *, cleared: bool) -> None:
        for sent in self.call.session.under_way[:1]:
            name = str(sent.name)
            event = mark_event(name, "cleared" if cleared else "playout")
            self.say(event if self.call.session.mode is Mode.STREAMING else done(name))

    def speak(self, step: str) -> None:
        with suppress(CallEnded, LocalProtocolError):
            if step == "say":
                self.speech = self.new_speech()
            self.speech.feed(pcm(0.33))
            if step == "finish":
                self.speech.finish()
            self.call.say(self.speech, self.now)

    def end_by(self, step: str) -> None:
        call, now = self.call, self.now
        if step == "close":
            self.closed = True
            self.say(Close(1000, "bye"))
        elif step == "leave":
            call.close(1001, "bye", now)
        elif step == "vanish":
            self.platform.vanish(now)
        elif step == "fail":
            call.fail(RuntimeError(), now)
        elif step == "cancel":
            call.cancelled(now)
        elif step == "broken":
            call.link.broken("reset", now, writing=True)
        else:
            assert step == "garbage"
            self.receive_garbage()

    def receive_garbage(self) -> None:
        """No WebSocket gives anything but messages, and the call goes on."""
        if not self.call.over_messages:
            self.call.receive(b"\xff\xff\xff", self.now)
        elif self.call.link.reads:
            with pytest.raises(TypeError, match=r"^each message must be str, bytes or Close, "):
                self.call.receive([None, 5], self.now)

    def read(self) -> bool:
        event = self.call.next_event(self.now)
        if isinstance(event, Audio):
            self.samples += len(event.pcm) // 2
        elif isinstance(event, Dropped):
            assert self.drops
            self.samples += event.samples
        elif isinstance(event, PlaybackDone):
            self.ends.append(event.sent)
        return event is not None

    def check(self) -> None:
        call = self.call
        assert call.is_held <= (not self.drops)
        assert call.link.connection.waiting < LIMITS.outbox_size + len(pcm(1)) + 100
        assert len(call.notes) < 5
        heard = [payload for payload in self.heard if not isinstance(payload, Close)]
        assert heard == self.messages[: len(heard)]
        assert call.ahead(self.now) >= 0
        for speech, before in self.spoken.items():
            self.spoken[speech] = speech.heard_by(call.now)
            assert before - 1e-9 <= self.spoken[speech] <= speech.seconds
        if self.end is not None:
            assert call.end == self.end
        elif not call.link.reads:
            self.end = call.end
            assert self.end is not None

    def finish(self) -> None:
        """Close it, and let time pass: it ends, and nothing was lost."""
        call = self.call
        self.do("read all")
        call.close(1000, "", self.now)
        for _ in range(10):
            self.do("hear")
            self.do("due")
            if call.over:
                break
            self.now = max(self.now, call.next_timeout())
        assert call.over
        self.do("due")
        self.do("read all")
        assert not call.has_event
        assert call.next_timeout() == math.inf
        assert all(sent.outcome is not None for sent in self.entries)
        assert call.session.under_way == []
        assert self.end is not None
        if self.end.kind is EndKind.LEFT and not self.closed:
            assert [one for one in self.heard if not isinstance(one, Close)] == self.messages
        if self.reads:
            assert self.samples == call.session.samples_received
        for speech in self.spoken:
            assert speech.heard_by(math.inf) == self.spoken[speech]


@given(
    side=st.sampled_from(SIDES),
    mode=st.sampled_from(["streaming", "streaming", "clips", "off"]),
    profile=st.sampled_from([DOCUMENTED, DEPLOYED]),
    unread=st.sampled_from(["hold", "drop_oldest"]),
    answers=st.booleans(),
    steps=st.lists(STEPS, max_size=60),
)
def test_whatever_happens_nothing_is_lost_and_all_bounds_hold(
    side: type[Side],
    mode: str,
    profile: Profile,
    unread: str,
    answers: bool,
    steps: list[object],
) -> None:
    search = Search(side, mode, profile, unread)
    search.platform.answers = answers
    for step in steps:
        search.do(step)
    search.finish()


@given(
    profile=st.sampled_from([DOCUMENTED, DEPLOYED]),
    stays=st.booleans(),
    steps=st.lists(STEPS, max_size=60),
)
def test_with_a_clock_that_is_never_asked_all_that_comes_is_taken(
    profile: Profile, stays: bool, steps: list[object]
) -> None:
    """``handle_timeout`` is never called, and the time is always the same, or always another."""
    search = Search(OverBytes, "streaming", profile, "drop_oldest")
    ends = ("close", "leave", "vanish", "fail", "cancel", "broken", "garbage", "disconnect", "due")
    for step in steps:
        if step not in ends and not (stays and isinstance(step, float)):
            search.do(step)
    assert search.call.end is None
    search.finish()


def as_it_came(message: Message) -> Payload:
    """What the platform sent; what was wrong with metadata is in its text alone."""
    if isinstance(message, Metadata) and message.text:
        return message.text
    return encode(message, Peer.PLATFORM)


def driven(
    side: type[Side],
    passed: list[tuple[Peer, Message]],
    how: Answering,
    *,
    cuts: list[int],
    lost: bool,
) -> dict[str, object]:
    """What a call makes of a conversation."""
    platform = side(how, metadata=None)
    call, now = platform.call, 0.0
    entries: list[Sent | None] = []
    heard: list[Payload] = []
    raised: list[str] = []
    for sender, messages in groupby(passed, lambda one: one[0]):
        now += 0.05
        if sender is Peer.PLATFORM:
            payloads = [as_it_came(message) for _, message in messages]
            platform.say(*payloads, now=now, cuts=cuts)
        else:
            for _, message in messages:
                if isinstance(message, Close):
                    call.close(message.code, message.reason, now)
                else:
                    try:
                        entries.append(call.send(message, now))
                    except (LocalProtocolError, CallEnded) as exc:
                        raised.append(str(exc))
        heard += platform.hear(now)
        call.handle_timeout(now)
    if lost:
        platform.vanish(now)
        heard += platform.hear(now)
    return {
        "events": read(call, now),
        "entries": [sent and (sent.name, sent.outcome, sent.heard) for sent in entries],
        # a close that comes first is answered by the WebSocket
        "heard": [one for one in heard if call.session.left or not isinstance(one, Close)],
        "raised": raised,
        "end": call.end,
        "statistics": call.statistics(now),
        "metadata": call.metadata,
        "due": call.next_timeout(),
        "notes": [*call.notes],
    }


@given(
    data=st.data(),
    mode=st.sampled_from([Mode.STREAMING, Mode.CLIPS, Mode.OFF]),
    profile=st.sampled_from([DOCUMENTED, DEPLOYED]),
    lost=st.booleans(),
)
def test_over_bytes_and_over_messages_a_conversation_is_the_same_in_any_pieces(
    data: st.DataObject, mode: Mode, profile: Profile, lost: bool
) -> None:
    verb = data.draw(listen_verbs(mode))
    passed = data.draw(conversations(verb, vantage=Peer.APP, profile=profile))
    cuts = st.lists(st.integers(0, 2000), max_size=5)
    how = answering(mode.value, profile=profile, limits=Limits(ping_interval=math.inf))
    whole, *others = (
        driven(side, passed, how, cuts=places, lost=lost)
        for side in SIDES
        for places in ([], data.draw(cuts))
    )
    for other in others:
        assert other == whole
