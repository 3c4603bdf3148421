"""A call at the application's end without IO, over bytes and over messages: what it decides."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from listenproto import (
    DEPLOYED,
    Accept,
    Answering,
    AppCall,
    AppSession,
    Audio,
    BidirectionalAudio,
    CallEnded,
    CallNote,
    ClearMarks,
    Close,
    Closed,
    Disconnect,
    Dropped,
    Dtmf,
    EndKind,
    HandshakePolicy,
    KillAudio,
    Limits,
    ListenVerb,
    LocalProtocolError,
    Mark,
    Message,
    Metadata,
    Mode,
    Outcome,
    Payload,
    Peer,
    PlayAudio,
    PlaybackDone,
    Reject,
    Rejected,
    RemoteProtocolError,
    Request,
    Speech,
    TraceMoment,
    UnknownMessage,
    Violation,
)
from listenproto._account import account, close_for, how_it_ended, was_accepted, why_not_ready
from listenproto._ends import failure_in, only_call_ended
from tests.app_call_support import (
    RATE,
    SIDES,
    OverBytes,
    OverMessages,
    Side,
    answering,
    done,
    mark_event,
    pcm,
    read,
)

KILL, DISCONNECT = '{"type":"killAudio"}', '{"type":"disconnect"}'


@pytest.fixture(params=SIDES, ids=["bytes", "messages"])
def side(request: pytest.FixtureRequest) -> type[Side]:
    return request.param


def clip(seconds: float, name: str | None = None, queue: bool | None = None) -> PlayAudio:
    return PlayAudio(pcm(seconds), sample_rate=RATE, id=name, queue_play=queue)


def speech(seconds: float = 0.0, *, lead: float = 0.2) -> Speech:
    """Speech that is fed and finished, if it has a length."""
    said = Speech(rate=RATE, lead=lead)
    if seconds:
        said.feed(pcm(seconds))
        said.finish()
    return said


def run(platform: Side, until: float, start: float = 0.0) -> list[tuple[float, Payload]]:
    """Call what is due until that time; returns when which payload was sent."""
    now, heard = start, [(start, payload) for payload in platform.hear(start)]
    while (due := platform.call.next_timeout()) <= until:
        assert due > now
        now = due
        platform.call.handle_timeout(now)
        heard += [(now, payload) for payload in platform.hear(now)]
    return heard


# How a call begins


def test_a_call_is_ready_once_the_metadata_has_come(side: type[Side]) -> None:
    platform = side(metadata=None)
    call = platform.call
    assert (call.is_ready, call.metadata, call.end) == (False, None, None)
    assert call.next_timeout() == 10
    with pytest.raises(LocalProtocolError):
        call.send(KillAudio(), 0.0)
    platform.say('{"callSid":"c"}', now=9.9)
    assert call.is_ready
    assert call.metadata == Metadata({"callSid": "c"})
    assert how_it_ended(call, 9.9) == "the call goes on"
    call.handle_timeout(10.0)
    assert (call.is_late, call.over, call.end) == (False, False, None)


def test_a_call_without_metadata_is_closed_by_itself(side: type[Side]) -> None:
    platform = side(answering(limits=Limits(handshake_time=3)), now=100.0, metadata=None)
    call = platform.call
    call.handle_timeout(102.9)
    assert not call.is_ready
    assert call.next_timeout() == 103
    call.handle_timeout(103.0)
    assert (call.is_ready, call.is_late) == (True, True)
    assert why_not_ready(call) == "no metadata within 3 s"
    assert close_for(call, None) == (1002, "no metadata")
    assert platform.hear(103.0) == [Close(1002, "no metadata")]
    assert call.over
    assert call.end
    assert call.end.kind is EndKind.LEFT


def test_a_connection_without_a_request_is_given_up() -> None:
    call = AppCall(now=0.0)
    call.handle_timeout(10.0)
    assert why_not_ready(call) == "no upgrade request within 10 s"
    assert not call.data_to_send(10.0)
    assert call.next_timeout() == 15
    call.handle_timeout(15.0)
    assert (call.over, call.link.given_up, call.next_timeout()) == (True, True, math.inf)


def test_a_request_is_judged_by_the_policy() -> None:
    platform = OverBytes()
    assert isinstance(platform.call.verdict, Accept)
    policy = HandshakePolicy(paths=["/other"])
    refused = OverBytes(answering(policy=policy), metadata=None)
    (event,) = refused.events
    assert isinstance(event, Rejected)
    assert event.status == 404
    call = refused.call
    assert isinstance(call.verdict, Reject)
    assert (call.is_ready, call.over) == (True, True)
    assert why_not_ready(call) == f"answered 404: {call.verdict.reason}"
    assert account(call, 1002, "", 0.0) == CallNote("info", why_not_ready(call))


def test_over_messages_a_call_is_accepted_unless_its_adapter_says_otherwise() -> None:
    assert was_accepted(OverBytes(metadata=None).call)
    assert not was_accepted(AppCall(now=0.0))
    for verdict, accepted in ((None, True), (Accept(None), True), (Reject(404, ""), False)):
        call = AppCall(now=0.0, over_messages=True, verdict=verdict)
        assert was_accepted(call) is accepted


def test_a_health_check_is_no_more_than_a_detail() -> None:
    call = AppCall(answering(policy=HandshakePolicy(health_path="/health")), now=0.0)
    call.receive(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 0.0)
    assert call.data_to_send(0.0).startswith(b"HTTP/1.1 200 ")
    assert account(call, 1002, "", 0.0).level == "debug"


@pytest.mark.parametrize("status", [None, 503])
def test_a_request_may_be_judged_by_a_function(status: int | None) -> None:
    requests: list[Request] = []

    def judge(request: Request) -> Accept | Reject:
        requests.append(request)
        return Accept("audio.jambonz.org") if status is None else Reject(status, "Busy.")

    platform = OverBytes(judge_request=judge, metadata=None)
    assert requests == [platform.call.session.request]
    assert platform.call.link.reads is (status is None)


def test_its_answer_has_the_date_that_it_is_given() -> None:
    call = AppCall(now=0.0, date=lambda: "Sun, 06 Nov 1994 08:49:37 GMT")
    call.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0.0)
    said = call.data_to_send(0.0)
    assert said is not None
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in said


def raises(*args: object) -> Any:
    raise KeyError("a secret")


@pytest.mark.parametrize(
    "options",
    [
        {"judge_request": raises},
        {"judge_request": lambda request: Accept("never.offered")},
        {"how": answering(tap=raises)},
    ],
    ids=["a judge that raises", "a judge that is wrong", "a tap that cannot be made"],
)
def test_what_fails_before_a_call_is_accepted_is_answered_500(options: dict[str, Any]) -> None:
    platform = OverBytes(metadata=None, **options)
    (event,) = platform.events
    assert isinstance(event, Rejected)
    assert (event.status, event.body) == (500, b"This server failed.\n")
    call = platform.call
    assert call.link.failure is not None
    assert why_not_ready(call) == f"this end failed ({type(call.link.failure).__name__})"
    assert close_for(call, None) == (1011, "")
    assert (call.is_ready, call.over) == (True, True)
    assert call.end
    assert call.end.kind is EndKind.FAILED


@pytest.mark.parametrize("verdict", [None, Accept("audio.jambonz.org")])
def test_over_messages_a_tap_that_cannot_be_made_ends_the_call(verdict: Accept | None) -> None:
    call = OverMessages(answering(tap=raises), verdict=verdict).call
    assert isinstance(call.link.failure, KeyError)
    assert call.metadata is None
    assert call.is_ready
    assert call.data_to_send(0.0) == [Close(1011, "the app failed")]


@pytest.mark.parametrize("verdict", [Accept("audio.jambonz.org"), Reject(404, "Not here.")])
def test_over_messages_an_adapter_may_have_answered_the_request(verdict: Accept | Reject) -> None:
    passed: list[object] = []

    def tap(session: AppSession) -> Callable[[Peer, object], None]:
        return lambda sender, payload: passed.append(payload)

    call = OverMessages(answering(tap=tap), verdict=verdict, metadata=None).call
    accepted = isinstance(verdict, Accept)
    assert call.verdict is verdict
    assert passed == [TraceMoment.OPEN] * accepted
    why = "this end was cancelled" if accepted else "answered 404: Not here."
    assert why_not_ready(call) == why


@pytest.mark.parametrize("given", [False, True])
def test_a_mode_function_gets_the_request(side: type[Side], given: bool) -> None:
    asked: list[Request | None] = []

    def mode(request: Request | None, metadata: Metadata) -> Mode:
        asked.append(request)
        return Mode.CLIPS

    request = Request("/there", ())
    options = {"request": request} if given and side is OverMessages else {}
    call = side(answering(mode=mode), **options).call
    assert call.session.mode is Mode.CLIPS
    assert asked == [call.session.request]
    assert (asked[0] is request) is bool(options)


def test_a_mode_function_that_raises_ends_the_call(side: type[Side]) -> None:
    platform = side(answering(mode=raises))
    call = platform.call
    assert (call.is_ready, call.metadata, read(call)) == (True, None, [])
    assert why_not_ready(call) == "this end failed (KeyError)"
    assert platform.hear(0.0) == [Close(1011, "the app failed")]
    assert call.end
    assert (call.end.kind, call.end.error) == (EndKind.FAILED, call.link.failure)


@pytest.mark.parametrize(
    ("first", "code"), [(b"\0\0", 1002), ("no JSON", 1007), ('{"sampleRate":1}', 1002)]
)
def test_unusable_metadata_ends_the_call(side: type[Side], first: Payload, code: int) -> None:
    platform = side(metadata=None)
    platform.say(first, "{}", now=0.0)
    call = platform.call
    assert (call.is_ready, call.metadata) == (True, None)
    assert isinstance(call.link.error, RemoteProtocolError)
    assert platform.hear(0.0) == [Close(code, str(call.link.error)[:123])]
    assert call.end
    assert (call.end.kind, call.end.error) == (EndKind.PROTOCOL_ERROR, call.link.error)
    assert why_not_ready(call) == str(call.link.error)


def test_a_close_in_the_place_of_metadata(side: type[Side]) -> None:
    for close, said in [(Close(1001, "gone"), "1001: gone"), (Close(1000), "1000")]:
        platform = side(metadata=None)
        platform.say(close, now=0.0)
        why = f"the platform closed ({said}) without sending metadata"
        assert why_not_ready(platform.call) == why
    platform = side(metadata=None)
    platform.vanish(0.0)
    assert why_not_ready(platform.call) == "connection lost"


def test_the_limits_of_sizes_are_those_of_the_options() -> None:
    call = AppCall(answering(limits=Limits(head_size=100)), now=0.0)
    call.receive(b"GET / HTTP/1.1\r\nCookie: " + bytes(100), 0.0)
    assert call.data_to_send(0.0).startswith(b"HTTP/1.1 431 ")
    platform = OverBytes(answering(limits=Limits(message_size=100)))
    platform.say(bytes(100), now=0.0)
    assert read(platform.call) == [Audio(bytes(100))]
    platform.say(bytes(102), now=0.0)
    (close,) = platform.hear(0.0)
    assert isinstance(close, Close)
    assert close.code == 1009


# What comes


def test_what_comes_is_read_in_its_order(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    assert (call.has_event, call.next_event(0.0)) == (False, None)
    platform.say(b"\1\0\2", b"\0", '{"event":"dtmf","dtmf":"5"}', '{"type":"new"}', now=0.0)
    platform.say('{"type":"mark"}', Close(1000), now=0.0)
    assert call.has_event
    first, second, key, unknown, violation = read(call)
    assert unknown == UnknownMessage({"type": "new"})
    assert (first, second, key) == (Audio(b"\1\0"), Audio(b"\2\0"), Dtmf("5"))
    assert isinstance(violation, Violation)
    assert not call.has_event
    assert (call.samples_dropped, call.is_held) == (0, False)


def test_audio_comes_in_chunks_if_that_is_asked_for(side: type[Side]) -> None:
    platform = side(answering(chunk=0.1))
    call = platform.call
    for number in range(7):
        platform.say(pcm(0.02, number), now=0.02 * number)
        assert call.has_event is (number >= 4)
    assert read(call) == [Audio(b"".join(pcm(0.02, number) for number in range(5)))]
    platform.say(Close(1000), now=0.2)
    assert read(call) == [Audio(pcm(0.02, 5) + pcm(0.02, 6))]


@pytest.mark.parametrize("chunk", [-1.0, math.nan, math.inf, True])
def test_a_chunk_has_a_length(chunk: float) -> None:
    with pytest.raises(ValueError, match="chunk must be a finite number of seconds, 0 or more"):
        Answering(chunk=chunk)


def test_what_is_not_read_is_held_back(side: type[Side]) -> None:
    platform = side(answering(unread="hold", limits=Limits(unread_seconds=0.1, ping_interval=1e6)))
    call = platform.call
    for number in range(20):
        platform.say(pcm(0.02, number), now=0.02 * number)
        assert call.is_held is call.link.is_held is (number >= 5)
    for number in range(20):  # what came while it was held is kept all the same
        assert call.next_event(1.0) == Audio(pcm(0.02, number))
        assert call.is_held is call.link.is_held is (number < 14)
    assert call.statistics(1.0).samples_dropped == 0
    if side is OverBytes:
        assert call.link.next_timeout() == 1_000_001  # until then, no sign of life is missed


def test_what_is_not_read_in_time_is_dropped_and_counted(side: type[Side]) -> None:
    platform = side(answering(limits=Limits(unread_seconds=0.1, unread_events=2)))
    call = platform.call
    for number in range(20):
        platform.say(pcm(0.02, number), '{"event":"dtmf","dtmf":"5"}', now=0.02 * number)
        assert not call.is_held
    events = read(call)
    assert events[0] == Dropped(15 * 160, 15)
    assert events[-3:] == [Dtmf("5"), Audio(pcm(0.02, 19)), Dtmf("5")]
    figures = call.statistics(1.0)
    assert (call.samples_dropped, figures.samples_dropped) == (15 * 160, 15 * 160)
    assert figures.events_dropped == 18


def test_who_stops_reading_holds_nothing_back_and_keeps_nothing(side: type[Side]) -> None:
    platform = side(answering(unread="hold", limits=Limits(unread_seconds=0.1)))
    call = platform.call
    platform.say(pcm(1), pcm(1), now=0.0)
    assert call.is_held
    call.stop_reading(0.0)
    assert (call.is_held, call.link.is_held, call.has_event) == (False, False, False)
    platform.say(pcm(1), pcm(1), now=0.0)
    assert (call.is_held, read(call)) == (False, [])


def test_answers_that_were_held_back_are_not_late(side: type[Side]) -> None:
    notes = []
    for held in (False, True):
        limits = Limits(unread_seconds=0.5, ping_interval=1e6)
        platform = side(answering(unread="hold", limits=limits))
        call = platform.call
        call.send(Audio(pcm(0.1)), 0.0)
        call.send(Mark("m"), 0.0)
        for second in range(1, 8):
            platform.say(pcm(1), now=second)
            call.next_event(second) if not held else None
        while call.next_event(7.0):
            pass
        platform.say(mark_event("m"), now=8.0)
        notes.append(len(call.notes))
    assert notes == [1, 0]


def test_a_platform_that_plays_at_another_pace_is_noted_once(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    for name in ("a", "b"):
        call.send(Audio(pcm(10)), 0.0)
        call.send(Mark(name), 0.0)
        platform.say(pcm(0.02), mark_event(name), now=0.02)
    (note,) = call.notes
    assert (note.level, note.error) == ("warning", None)
    assert "mark 'a' was due after 10.00 s and came after 0.02 s" in note.text
    assert all(isinstance(event, Audio | PlaybackDone) for event in read(call))


def test_lateness_is_measured_against_the_earliest_audio(side: type[Side]) -> None:
    platform = side()
    for now in (5.02, 5.04, 5.16, 5.11):
        platform.say(pcm(0.02), now=now)
    figures = platform.call.statistics(5.2)
    assert figures.worst_lateness == pytest.approx(0.1)
    assert figures.lateness == pytest.approx(0.08)  # the clock went back: it stood still
    assert (figures.messages_received, figures.audio_received) == (5, 1280)


class Watching:
    """Notes what passes in a call."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, float]] = []

    def received(self, audio: Audio, now: float) -> None:
        self.seen.append((audio, now))

    def sent(self, message: Message, now: float) -> None:
        self.seen.append((message, now))


def test_who_watches_sees_it_as_it_happens(side: type[Side]) -> None:
    platform = side(answering("clips"))
    watching = Watching()
    platform.call.watchers.append(watching)
    platform.say(pcm(0.02), '{"event":"dtmf","dtmf":"5"}', now=1.0)
    platform.call.send(clip(1), 2.0)
    with pytest.raises(LocalProtocolError):
        platform.call.send(Mark("m"), 3.0)
    sent = PlayAudio(pcm(1), sample_rate=RATE, id="clip-1", queue_play=True)
    assert watching.seen == [(Audio(pcm(0.02)), 1.0), (sent, 2.0)]


def test_who_watches_sees_what_this_end_adds_to_what_is_said(side: type[Side]) -> None:
    platform = deployed(side)
    watching = Watching()
    platform.call.watchers.append(watching)
    platform.call.send(Audio(pcm(1, 5)), 1.0)
    platform.call.kill_audio(2.0)
    silence = Audio(pcm(0.08))
    assert watching.seen == [(Audio(pcm(1, 5)), 1.0), (silence, 2.0), (KillAudio(), 2.0)]


@pytest.mark.parametrize("fails", [False, True])
def test_the_tap_gets_all_that_passes(side: type[Side], fails: bool) -> None:
    passed: list[tuple[Peer, object]] = []
    sessions: list[AppSession] = []

    def tap(session: AppSession) -> Callable[[Peer, object], None]:
        sessions.append(session)

        def passes(sender: Peer, payload: object) -> None:
            passed.append((sender, payload))
            if fails:
                raise OSError("disk full")

        return passes

    platform = side(answering(tap=tap))
    platform.say(b"\1\0", now=0.0)
    platform.call.send(Audio(b"\2\0"), 0.0)
    platform.hear(0.0)
    platform.vanish(0.0)
    assert sessions == [platform.call.session]
    assert len(platform.call.notes) == fails
    assert (
        passed
        == [
            (Peer.APP, TraceMoment.OPEN),
            (Peer.PLATFORM, "{}"),
            (Peer.PLATFORM, b"\1\0"),
            (Peer.APP, b"\2\0"),
            (Peer.PLATFORM, TraceMoment.LOST),
        ][: 1 if fails else None]
    )
    assert read(platform.call)[0] == Audio(b"\1\0")


def test_the_tap_is_told_of_a_loss_behind_what_came_before() -> None:
    passed: list[object] = []
    platform = OverMessages(
        answering(tap=lambda session: lambda _, payload: passed.append(payload))
    )
    platform.call.receive([b"\1\0", Close(1006)], 0.0)
    assert passed == [TraceMoment.OPEN, "{}", b"\1\0", TraceMoment.LOST]


# What is sent


def test_what_is_sent_waits_for_room(side: type[Side]) -> None:
    platform = side(answering(limits=Limits(outbox_size=1000)))
    call = platform.call
    assert call.ready_at(Audio(b""), 5.0) == 5
    call.send(Audio(bytes(1000)), 5.0)
    assert call.ready_at(Audio(b""), 5.0) == call.ready_at(KillAudio(), 5.0) == math.inf
    platform.hear(5.0)
    assert call.ready_at(KillAudio(), 5.0) == 5


def test_pings_are_sent_over_bytes() -> None:
    platform = OverBytes(answering(limits=Limits(ping_interval=20, ping_time=10)))
    platform.say(pcm(0.02), now=5.0)
    for now in (25.0, 45.0):
        assert platform.call.next_timeout() == now
        platform.call.handle_timeout(now)
        assert platform.hear(now) == []
        assert platform.pinged() == 1
    platform.answers = False
    platform.call.handle_timeout(65.0)
    platform.hear(65.0)
    platform.call.handle_timeout(75.0)
    assert platform.call.end
    assert platform.call.end.why == "connection lost: no answer to a ping within 10 s"
    assert platform.call.is_ready


def test_over_messages_pings_are_up_to_the_library() -> None:
    platform = OverMessages()
    assert platform.call.next_timeout() == math.inf
    platform.call.handle_timeout(1e6)
    assert platform.hear(1e6) == []
    assert not platform.call.over


def test_a_platform_that_reads_nothing_is_left(side: type[Side]) -> None:
    platform = side(answering(limits=Limits(write_time=7, ping_interval=1e6)))
    call = platform.call
    call.send(Audio(b"\1\0"), 1.0)
    assert call.data_to_send(1.0)
    assert call.next_timeout() == 8
    call.handle_timeout(8.0)
    assert (call.over, call.link.given_up) == (True, True)
    assert call.end
    assert call.end.why == "connection lost: nothing could be written for 7 s"


@pytest.mark.parametrize("guard", [-0.1, math.inf, math.nan])
def test_a_guard_is_a_time(side: type[Side], guard: float) -> None:
    platform = side()
    with pytest.raises(ValueError, match=f"^guard must be 0 or more seconds; it is {guard:g}$"):
        platform.call.kill_audio(0.0, guard=guard)
    assert platform.hear(0.0) == []


def test_a_guard_keeps_back_what_the_kill_could_take_with_it(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    call.kill_audio(1.0, guard=0.5)
    call.kill_audio(1.1, guard=0.1)  # the longer one counts
    kept_back = (Audio(b""), Mark("m"), clip(1))
    assert [call.ready_at(message, 1.1) for message in kept_back] == [1.5] * 3
    for other in (KillAudio(), ClearMarks(), Disconnect()):
        assert call.ready_at(other, 1.1) == 1.1
    assert [call.ready_at(message, 1.5) for message in kept_back] == [1.5] * 3
    assert call.ready_at(Mark("m"), 1.0) == 1.5  # the time does not go back
    call.kill_audio(2.0)
    assert call.ready_at(Mark("m"), 2.0) == 2
    assert platform.hear(2.0) == [KILL] * 3


def test_a_kill_that_is_not_allowed_guards_nothing(side: type[Side]) -> None:
    call = side(answering("off")).call
    with pytest.raises(LocalProtocolError):
        call.kill_audio(1.0, guard=5.0)
    assert call.quiet_until == -math.inf


def test_a_clip_and_a_mark_are_answered(side: type[Side]) -> None:
    platform = side(answering("clips"))
    played = platform.call.send(clip(1, "a"), 0.0)
    assert played
    platform.say(done("a"), now=1.0)
    assert (played.outcome, played.heard) == (Outcome.PLAYED, 1)
    (event,) = read(platform.call)
    assert isinstance(event, PlaybackDone)
    assert event.sent is played
    platform = side()
    platform.call.send(Audio(pcm(0.5)), 0.0)
    mark = platform.call.send(Mark("m"), 0.0)
    assert mark
    assert (platform.call.ahead(0.2), platform.call.all_heard_by(0.2)) == (0.3, 10.5)
    platform.say(mark_event("m"), now=0.5)
    assert (mark.outcome, mark.heard) == (Outcome.PLAYED, 0.5)
    assert (platform.call.ahead(0.5), platform.call.all_heard_by(0.5)) == (0, 0.5)
    assert platform.call.send(KillAudio(), 1.0) is None
    platform.call.clear_marks(1.0)
    assert platform.hear(1.0)[-1] == '{"type":"clearMarks"}'


def test_any_clock_will_do(side: type[Side]) -> None:
    call = side(now=-100.0).call
    call.send(Audio(pcm(1)), -100.0)
    mark = call.send(Mark("m"), -100.0)
    assert (call.ahead(-99.75), call.all_heard_by(-99.75)) == (0.75, -89)
    assert call.statistics(-99.5).buffered == 0.5
    call.handle_timeout(-89.0)
    assert mark
    assert mark.outcome is Outcome.TIMED_OUT


def test_what_is_not_answered_ends_in_time(side: type[Side]) -> None:
    platform = side(answering("clips", limits=Limits(ping_interval=1e6)))
    call = platform.call
    sent = call.send(clip(1), 0.0)
    assert sent
    assert call.next_timeout() == 11
    call.handle_timeout(10.9)
    assert (sent.outcome, call.has_event) == (None, False)
    call.handle_timeout(11.0)
    assert sent.outcome is Outcome.TIMED_OUT
    assert call.next_timeout() > 11
    assert read(call) == [PlaybackDone(sent, Outcome.TIMED_OUT)]


def test_too_many_are_refused_at_once(side: type[Side]) -> None:
    call = side(answering("clips", max_clips=1)).call
    first, second, third = (call.send_if_room(one, 0.0) for one in (clip(1), clip(1, "b"), clip(1)))
    outcomes = [(sent.name, sent.outcome) for sent in (first, second, third)]
    assert outcomes == [
        ("clip-1", None),
        ("b", Outcome.REFUSED),
        ("a clip", Outcome.REFUSED),
    ]
    call = side(answering(max_marks=1)).call
    call.send(Mark("m"), 0.0)
    refused = call.send_if_room(Mark("n"), 0.0)
    assert (refused.name, refused.outcome, refused.heard) == ("n", Outcome.REFUSED, 0)
    with pytest.raises(LocalProtocolError):
        call.send_if_room(clip(1), 0.0)


def wav(claimed: int) -> PlayAudio:
    """A WAV clip of two samples that claims so many bytes."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 40, b"WAVE", b"fmt ", 16, 1, 1, RATE, 16000, 2, 16
    )
    return PlayAudio(head + struct.pack("<4sI", b"data", claimed) + bytes(4), "wav")


def test_a_wav_with_a_wrong_length_is_mended_and_noted_once(side: type[Side]) -> None:
    platform = side(answering("clips"))
    watching = Watching()
    platform.call.watchers.append(watching)
    for claimed in (4, 0x7FFFFFFF, 99):
        sent = platform.call.send(wav(claimed), 0.0)
        assert sent
        assert sent.message
    contents = {message.content for message, _ in watching.seen if isinstance(message, PlayAudio)}
    assert contents == {wav(4).content}
    (note,) = platform.call.notes
    assert note == CallNote(
        "warning",
        "a WAV clip was sent with its header corrected: "
        "its data chunk claims 2147483647 bytes but has 4",
    )


def test_a_raw_clip_that_is_made_a_wav_is_noted_once_besides(side: type[Side]) -> None:
    call = side(answering("clips", profile=DEPLOYED)).call
    for message in (clip(1), PlayAudio(pcm(1), sample_rate=24000), wav(99)) * 2:
        call.send(message, 0.0)
    raw, mended = call.notes
    said = "raw clips of 24000 Hz are sent as WAV: platforms misread them"
    assert raw == CallNote("info", said)
    assert mended.level == "warning"


def test_what_goes_wrong_without_a_breach_is_noted_once(side: type[Side]) -> None:
    call = side(answering("clips", profile=DEPLOYED, raw_as_wav=False)).call
    raw = [PlayAudio(pcm(1), sample_rate=rate) for rate in (24000, 24000, 48000, 16000)]
    for message in (*raw, UnknownMessage({"type": "error"}), clip(1), Disconnect()):
        call.send(message, 0.0)
    assert {note.level for note in call.notes} == {"warning"}
    ignored = "the platform ignores this {}, as an 'error' has ended the verb; close the call"
    assert [note.text for note in call.notes] == [
        "the platform plays raw clips of 24000 Hz as noise; send a WAV",
        "the platform plays no raw clips of 48000 Hz; send a WAV",
        "'error' ends the verb, but not the connection; send a disconnect instead",
        ignored.format("clip"),
        ignored.format("disconnect"),
    ]


# Two faults that no two records can have, as there is one


def test_a_clip_that_starts_over_another_suspends_it(side: type[Side]) -> None:
    """LP-CLIP-13, deployed: of ten seconds one was heard, and nine are ahead behind the other."""
    platform = side(answering("clips", profile=DEPLOYED))
    call = platform.call
    long = call.send(clip(10, "long", queue=False), 0.0)
    short = call.send(clip(2, "short"), 1.0)
    assert long
    assert short
    assert call.ahead(1.0) == 11
    platform.say(done("short"), now=3.0)
    assert (short.outcome, short.heard, call.ahead(3.0)) == (Outcome.PLAYED, 2, 9)
    platform.say(done("long"), now=12.0)
    assert (long.outcome, long.heard, call.ahead(12.0)) == (Outcome.PLAYED, 10, 0)


def test_marks_that_are_skipped_are_not_awaited(side: type[Side]) -> None:
    platform = side(answering(limits=Limits(ping_interval=1e6, unread_events=10_000)))
    call = platform.call
    for number in range(1000):
        first, second = call.send(Mark(f"a{number}"), 0.0), call.send(Mark(f"b{number}"), 0.0)
        platform.say(mark_event(f"b{number}"), now=0.0)
        assert first
        assert second
        assert (first.outcome, second.outcome) == (Outcome.SKIPPED, Outcome.PLAYED)
        platform.hear(0.0)
    assert call.session.under_way == []
    assert call.next_timeout() > 100
    ends = [event.outcome for event in read(call) if isinstance(event, PlaybackDone)]
    assert ends == [Outcome.SKIPPED, Outcome.PLAYED] * 1000


# What is said


def test_speech_is_sent_at_the_pace_of_playout(side: type[Side]) -> None:
    platform = side()
    said = speech(1.0)
    platform.call.say(said, 0.0)
    sent = run(platform, 2.0)
    assert [at for at, _ in sent] == pytest.approx([0.0, *(0.05 * n for n in range(1, 17))])
    assert [len(payload) for _, payload in sent] == [3200, *[800] * 16]
    assert (said.over, said.interrupted, said.seconds) == (True, False, 1)
    assert [said.heard_by(now) for now in (0.8, 1.0, 9.0)] == pytest.approx([0.8, 1, 1])


def test_what_is_sent_before_counts_and_what_is_fed_later_follows(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    call.send(Audio(pcm(0.3)), 0.0)
    said = speech()
    said.feed(pcm(0.1, 1))
    call.say(said, 0.0)
    assert platform.hear(0.0) == [pcm(0.3)]
    assert call.next_timeout() == pytest.approx(0.15)
    said.feed(pcm(0.1, 2))
    sent = [payload for _, payload in run(platform, 0.2)]
    assert sent[0] == pcm(0.05, 1)
    said.finish()
    call.say(said, 0.2)
    sent += [payload for _, payload in run(platform, 1.0, 0.2)]
    assert b"".join(map(bytes, sent)) == pcm(0.1, 1) + pcm(0.1, 2)  # type: ignore[arg-type]
    assert said.over
    assert said.heard_by(9.0) == pytest.approx(0.2)


def test_what_comes_late_is_made_up_for_up_to_the_lead(side: type[Side]) -> None:
    platform = side()
    platform.call.say(speech(10), 0.0)
    platform.hear(0.0)
    platform.call.handle_timeout(0.15)
    assert platform.hear(0.15) == [pcm(0.15)]
    platform.call.handle_timeout(3600.0)
    assert platform.hear(3600.0) == [pcm(0.2)]


@pytest.mark.parametrize("jump", [0.0, -3600.0])
def test_with_a_clock_that_stands_still_or_goes_back_no_more_is_sent_than_the_lead(
    side: type[Side], jump: float
) -> None:
    platform = side()
    platform.call.say(speech(10), 0.0)
    for _ in range(100):
        platform.call.handle_timeout(jump)
        assert platform.call.next_timeout() > jump
    assert platform.hear(jump) == [pcm(0.2)]


def test_speech_waits_for_room_and_for_the_guard(side: type[Side]) -> None:
    platform = side(answering(limits=Limits(outbox_size=3200, ping_interval=1e6)))
    call = platform.call
    said = speech(10, lead=1.0)
    call.say(said, 0.0)
    assert [len(payload) for payload in platform.hear(0.0)] == [16000]
    call.kill_audio(0.5, guard=1.0)
    assert (said.interrupted, said.heard_by(9.0)) == (True, 0.5)
    following = speech(0.1)
    call.say(following, 0.6)
    assert call.next_timeout() == 1.5
    assert run(platform, 1.6, 0.6) == [(0.6, KILL), (1.5, pcm(0.1))]
    call.send(Audio(bytes(3200)), 2.0)
    more = speech(0.1)
    call.say(more, 3.0)
    assert (more.seconds, call.next_timeout() > 1e5) == (0, True)
    assert platform.hear(3.0) == [bytes(3200), pcm(0.1)]


def test_of_speech_that_is_killed_while_it_is_sent_so_much_was_heard(side: type[Side]) -> None:
    platform = side()
    said = speech(10)
    platform.call.say(said, 0.0)
    run(platform, 1.02)
    assert said.seconds == pytest.approx(1.2)
    platform.call.kill_audio(1.02)
    assert said.interrupted
    assert said.heard_by(1.02) == said.heard_by(99.0) == pytest.approx(1.02)
    assert run(platform, 5.0, 1.02) == [(1.02, KILL)]
    assert said.seconds == pytest.approx(1.2)


def test_of_speech_that_is_killed_after_it_was_sent_so_much_was_heard(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    first, second = speech(0.1), speech(0.1)
    call.say(first, 0.0)
    call.say(second, 0.0)
    assert (first.over, second.over) == (True, True)
    call.send(KillAudio(), 0.13)
    assert (first.interrupted, second.interrupted) == (False, False)
    assert (first.heard_by(9.0), second.heard_by(9.0)) == (0.1, pytest.approx(0.03))
    third, fourth = speech(0.1), speech(0.1)
    call.say(third, 1.0)
    call.say(fourth, 1.0)
    call.send(KillAudio(), 1.04)
    assert (third.heard_by(9.0), fourth.heard_by(9.0)) == (pytest.approx(0.04), 0)


def test_a_disconnect_ends_speech_and_a_clear_of_marks_does_not(side: type[Side]) -> None:
    platform = side()
    said = speech(1.0)
    platform.call.say(said, 0.0)
    platform.call.clear_marks(0.05)
    assert not said.interrupted
    platform.call.send(Disconnect(), 0.1)
    assert (said.interrupted, said.heard_by(9.0)) == (True, 0.1)
    with pytest.raises(CallEnded, match=r"^the call is over: this end has disconnected$"):
        platform.call.say(speech(1), 0.2)


@pytest.mark.parametrize("how", ["lost", "closed", "left", "broken", "failed"])
def test_once_the_call_is_over_no_more_of_it_is_heard(side: type[Side], how: str) -> None:
    platform = side()
    call = platform.call
    sent, said = speech(0.1), speech(1.0)
    call.say(sent, 0.0)
    call.say(said, 0.0)
    if how == "lost":
        platform.vanish(0.15)
    elif how == "closed":
        platform.say(Close(1000), now=0.15)
    elif how == "left":
        call.close(1000, "", 0.15)
    elif how == "failed":
        call.fail(KeyError(), 0.15)
        assert call.next_timeout() == 5.15
    else:
        call.link.broken("reset", 0.15, writing=True)
        assert not call.data_to_send(0.15)
    assert (sent.heard_by(9.0), said.heard_by(9.0)) == (0.1, pytest.approx(0.05))
    assert (said.interrupted, said.wants_more) == (False, False)
    with pytest.raises(CallEnded):
        call.say(said, 0.2)


def test_speech_in_the_place_of_other_speech_interrupts_it(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    first, second = speech(1.0), speech(1.0)
    call.say(first, 0.0)
    call.say(second, 0.1)
    assert (first.interrupted, first.seconds, second.seconds) == (True, 0.2, 0.1)
    assert first.heard_by(9.0) == pytest.approx(0.2)  # what was sent is heard
    call.say(first, 0.1)  # what was interrupted interrupts nothing
    assert not second.interrupted
    run(platform, 0.26, 0.1)
    assert second.seconds == pytest.approx(0.25)
    call.kill_audio(0.26)
    assert second.interrupted
    assert (first.heard_by(9.0), second.heard_by(9.0)) == (pytest.approx(0.2), pytest.approx(0.06))


def test_speech_that_was_sent_to_its_end_does_not_interrupt_when_said_again(
    side: type[Side],
) -> None:
    call = side().call
    short, long = speech(0.1), speech(1)
    for said in (short, long, short):
        call.say(said, 0.0)
    assert (short.over, short.interrupted, long.interrupted) == (True, False, False)


def test_speech_that_is_stopped_is_heard_as_far_as_it_was_sent(side: type[Side]) -> None:
    platform = side()
    first, second = speech(1.0), speech(1.0)
    platform.call.say(first, 0.0)
    platform.call.stop_speaking(second)
    assert not second.interrupted
    platform.call.stop_speaking(first)
    assert (first.interrupted, first.heard_by(9.0)) == (True, 0.2)
    assert run(platform, 5.0) == [(0.0, pcm(0.2))]
    said = speech(0.1)
    platform.call.say(said, 6.0)
    platform.call.stop_speaking(said)
    assert not said.interrupted


def test_only_a_stream_can_be_spoken_into(side: type[Side]) -> None:
    call = side(answering("clips")).call
    for check in (call.check_streams, lambda: call.say(speech(1), 0.0)):
        with pytest.raises(LocalProtocolError, match=r"Mode\.STREAMING"):
            check()
    assert call.next_timeout() > 1


def test_a_mark_behind_speech_comes_when_it_was_heard(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    call.say(speech(0.5), 0.0)
    sent = run(platform, 0.3)
    mark = call.send_if_room(Mark("m"), 0.3)
    assert (len(sent), mark.seconds, call.ahead(0.3)) == (7, 0.5, pytest.approx(0.2))


# How a call ends


def test_an_error_may_be_no_more_than_the_end_of_the_call() -> None:
    ended, other = CallEnded("over"), KeyError("broken")
    assert only_call_ended(ended) is ended
    assert only_call_ended(ExceptionGroup("", [ExceptionGroup("", [ended]), CallEnded()])) is ended
    assert only_call_ended(other) is None
    assert only_call_ended(ExceptionGroup("", [ended, other])) is None


def test_a_group_is_told_as_what_failed_in_it() -> None:
    ended, broken, late = CallEnded("over"), KeyError("broken"), OSError("late")
    cancelled = asyncio.CancelledError()
    assert failure_in(broken) is broken
    assert failure_in(ended) is None
    assert failure_in(cancelled) is None
    assert failure_in(BaseExceptionGroup("", [ended, cancelled])) is None
    assert failure_in(BaseExceptionGroup("", [cancelled, ExceptionGroup("", [broken])])) is broken
    assert failure_in(ExceptionGroup("", [ended, broken])) is broken
    both = failure_in(BaseExceptionGroup("", [broken, cancelled, late]))
    assert isinstance(both, ExceptionGroup)
    assert both.exceptions == (broken, late)


def test_a_disconnect_that_is_not_answered_closes_and_then_gives_up(side: type[Side]) -> None:
    """LP-END-2."""
    platform = side(answering("clips", limits=Limits(close_time=3)))
    platform.answers = False
    call = platform.call
    sent = call.send(clip(10), 0.0)
    call.send(Disconnect(), 1.0)
    assert (call.disconnected, call.end, call.next_timeout()) == (True, None, 4)
    with pytest.raises(CallEnded, match=r"^the call is over: this end has disconnected$"):
        call.send(KillAudio(), 1.0)
    platform.say('{"event":"dtmf","dtmf":"1"}', now=2.0)
    call.handle_timeout(4.0)
    assert platform.hear(4.0)[1:] == [DISCONNECT, Close(1000)]
    assert call.end
    assert call.end.kind is EndKind.LEFT
    assert sent
    assert (sent.outcome, sent.heard) == (Outcome.LOST, 1)
    assert call.next_timeout() == 7
    call.handle_timeout(7.0)
    assert (call.over, call.next_timeout(), call.end.kind) == (True, math.inf, EndKind.LOST)
    assert str(call.end) == "the call is over: connection lost: no answer to the close within 3 s"
    assert Dtmf("1") in read(call)


def test_a_disconnect_is_answered_by_a_close(side: type[Side]) -> None:
    platform = side()
    platform.call.send(Disconnect(), 0.0)
    platform.say(Close(1000), now=1.0)
    platform.hear(1.0)
    assert (platform.call.over, platform.call.next_timeout()) == (True, math.inf)
    assert platform.call.end
    assert platform.call.end.kind is EndKind.CLOSED


def ends_by(platform: Side, how: str) -> None:
    """End a call at the time 2."""
    call = platform.call
    if how == "closed":
        platform.say(Close(1001, "gone"), now=2.0)
    elif how == "left":
        call.close(3000, "enough", 2.0)
        platform.hear(2.0)
    elif how == "lost":
        platform.vanish(2.0)
    elif how == "failed":
        call.fail(RuntimeError("a secret"), 2.0)
    elif how == "cancelled":
        call.cancelled(0.0)
    else:
        assert how == "cut short"
        call.link.cut_at = 2.0
        call.close(1001, "", 2.0)


ENDS = {
    "closed": ("is over: the other end closed with 1001 (gone)", 1001, "gone"),
    "left": ("is over: this end closed it", None, ""),
    "lost": ("is over: connection lost", None, ""),
    "failed": ("failed: this end failed (RuntimeError)", None, ""),
    "cancelled": ("is over: this end was cancelled", None, ""),
    "cut short": ("is over: cut short by the shutdown of the server", None, ""),
}


@pytest.mark.parametrize("how", ENDS)
def test_how_it_ended_is_one_value_that_stays(side: type[Side], how: str) -> None:
    platform = side()
    call = platform.call
    sentence, code, reason = ENDS[how]
    ends_by(platform, how)
    end = call.end
    assert end
    assert (end.kind, end.code, end.reason) == (EndKind(how), code, reason)
    assert (end.error is None) is (how != "failed")
    assert str(end) == how_it_ended(call, 2.0) == f"the call {sentence}"
    with pytest.raises(CallEnded) as raised:
        call.send(KillAudio(), 2.0)
    assert str(raised.value) == str(end)
    with pytest.raises(CallEnded):
        call.ready_at(KillAudio(), 2.0)
    platform.hear(3.0)
    call.close(1000, "", 4.0)
    call.fail(KeyError(), 4.0)
    platform.vanish(4.0)
    call.handle_timeout(3600.0)
    assert call.end == end
    assert call.next_timeout() == math.inf


def test_the_code_for_the_close_depends_on_how_the_handler_ended(side: type[Side]) -> None:
    call = side().call
    assert close_for(call, None) == close_for(call, CallEnded()) == (1000, "")
    assert close_for(call, KeyError()) == (1011, "the handler failed")
    call.fail(KeyError(), 0.0)
    assert close_for(call, None) == (1011, "")


def test_for_a_task_that_is_cancelled_the_call_is_over(side: type[Side]) -> None:
    call = side().call
    assert how_it_ended(call, 0.0) == "the call goes on"
    said = "the call is over: this end was cancelled"
    assert how_it_ended(call, 0.0, cancelled=True) == said
    call.link.cut_at = 5.0
    said = "the call is over: cut short by the shutdown of the server"
    assert how_it_ended(call, 5.0) == how_it_ended(call, 5.0, cancelled=True) == said


FIGURES = (
    "; received 1 messages, 0 bytes of audio, up to 0.000 s late; sent 0 messages, 0 bytes of audio"
)


@pytest.mark.parametrize(
    ("how", "code", "reason", "level", "said"),
    [
        ("", 1000, "", "info", "this end closes with 1000"),
        ("", 1000, "done", "info", "this end closes with 1000: done"),
        ("", 1011, "it failed", "warning", "this end closes with 1011: it failed"),
        ("", None, "", "warning", "this end was cancelled"),
        ("closed", 1000, "", "info", "the other end closed with 1001 (gone)"),
        ("lost", 1000, "", "warning", "connection lost"),
        ("cut", 1001, "bye", "warning", "cut short by the shutdown of the server"),
    ],
)
def test_the_log_says_of_the_end_what_matters(
    side: type[Side], how: str, code: int | None, reason: str, level: str, said: str
) -> None:
    platform = side()
    if how == "cut":
        platform.call.link.cut_at = 2.0
    elif how:
        ends_by(platform, how)
    note = account(platform.call, code, reason, 2.0)
    assert (note.level, note.text) == (level, said + FIGURES)


def test_the_log_says_of_a_call_without_metadata_why(side: type[Side]) -> None:
    platform = side(metadata=None)
    platform.vanish(0.0)
    call = platform.call
    assert account(call, 1001, "stopping", 0.0) == CallNote("info", "stopping")
    assert account(call, 1002, "no metadata", 0.0) == CallNote("info", "connection lost")
    call.is_lost = True
    assert account(call, 1002, "no metadata", 0.0).level == "warning"


def test_what_is_under_way_as_the_call_ends_is_lost(side: type[Side]) -> None:
    for how in ("closed", "lost", "left", "failed"):
        platform = side(answering("clips"))
        sent = platform.call.send(clip(10), 0.0)
        assert sent
        ends_by(platform, how)
        assert (sent.outcome, sent.heard) == (Outcome.LOST, 2)
        assert read(platform.call)[0] == PlaybackDone(sent, Outcome.LOST)
        assert platform.call.session.under_way == []
        assert platform.call.all_heard_by(2.0) == 2


def test_what_was_overdue_as_the_call_ends_is_not_lost(side: type[Side]) -> None:
    platform = side()
    sent = platform.call.send(Mark("m"), 0.0)
    platform.call.clear_marks(0.0)
    platform.vanish(5.0)
    assert sent is not None
    assert sent.outcome is Outcome.FLUSHED


def test_violations_are_counted_by_their_clauses(side: type[Side]) -> None:
    platform = side()
    platform.say("no JSON", mark_event("never sent"), "no JSON", now=0.0)
    assert platform.call.violations == {"LP-ODD-2": 2, "LP-MARK-9": 1}


def test_what_ends_by_what_this_end_does_is_told_when_it_is_due_which_is_at_once(
    side: type[Side],
) -> None:
    platform = side(answering("clips"))
    call = platform.call
    first, second = call.send(clip(10), 0.0), call.send(clip(10), 0.0)
    call.kill_audio(1.0)
    assert (call.next_timeout(), call.has_event) == (1, False)
    call.handle_timeout(1.0)
    assert [event.sent for event in read(call) if isinstance(event, PlaybackDone)] == [
        first,
        second,
    ]
    third = call.send(clip(10), 2.0)
    call.close(1000, "", 3.0)
    assert call.next_timeout() == 3
    call.handle_timeout(3.0)
    assert read(call) == [PlaybackDone(third, Outcome.LOST)]


def test_what_waits_to_be_read_outlives_the_call(side: type[Side]) -> None:
    platform = side(answering(unread="hold", limits=Limits(unread_seconds=0.1)))
    platform.say(pcm(1), pcm(1), Close(1000), now=0.0)
    assert read(platform.call) == [Audio(pcm(1)), Audio(pcm(1))]


def test_data_after_the_end_changes_nothing(side: type[Side]) -> None:
    platform = side()
    platform.say(Close(1000), now=0.0)
    end = platform.call.end
    platform.call.receive(b"anything" if side is OverBytes else ["{}", b"\0\0", Close(1001)], 1.0)
    assert (platform.call.end, read(platform.call)) == (end, [])
    assert platform.call.link.closed == Closed(1000, "", clean=True)


def test_the_options_are_the_defaults_unless_given() -> None:
    call = AppCall(now=0.0)
    assert (call.session.mode, call.stream_rate) == (Mode.CLIPS, 8000)
    assert AppCall(answering(stream_rate=16000), now=0.0).stream_rate == 16000
    both_ways = BidirectionalAudio(streaming=True, sample_rate=24000)
    verb = ListenVerb(url="ws://app.example/", bidirectional_audio=both_ways)
    assert AppCall(Answering(verb=verb), now=0.0).stream_rate == 24000
    assert (call.is_late, call.is_lost, call.disconnected) == (False, False, False)
    assert not any(flag is None for flag in (call.is_late, call.is_lost, call.disconnected))


# What real platforms need


def deployed(side: type[Side], mode: str = "streaming", **options: Any) -> Side:
    return side(answering(mode, profile=DEPLOYED, **options))


def say(platform: Side, seconds: float, now: float, lead: float = math.inf) -> Speech:
    said = platform.call.speech(lead)
    said.feed(pcm(seconds, 5))
    said.finish()
    platform.call.say(said, now)
    return said


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [({}, 0.12, 0.08), ({"pad_speech": False}, 0.0, 0.0), ({"profile": "documented"}, 0.0, 0.0)],
)
def test_speech_is_padded_so_that_its_end_is_played(
    side: type[Side], options: dict[str, Any], first: float, second: float
) -> None:
    """D33: the first one to what must be there before anything is played."""
    platform = side(answering(**{"profile": DEPLOYED} | options))
    said = say(platform, 0.04, 1.0)
    assert b"".join(platform.hear(1.0)) == pcm(0.04, 5) + pcm(first)
    assert (said.seconds, said.heard_by(9.0), said.left_over) == (0.04, 0.04, 0)
    said = say(platform, 0.04, 9.0)
    assert b"".join(platform.hear(9.0)) == pcm(0.04, 5) + pcm(second)


def test_the_padding_stands_behind_whole_samples_and_alone_is_nothing(side: type[Side]) -> None:
    platform = deployed(side)
    said = platform.call.speech(math.inf)
    said.finish()
    platform.call.say(said, 0.0)
    assert (platform.hear(0.0), said.over) == ([], True)
    said = platform.call.speech(math.inf)
    said.feed(pcm(1, 5) + b"x")
    said.finish()
    said.finish()
    platform.call.say(said, 0.0)
    assert b"".join(platform.hear(0.0)) == pcm(1, 5) + pcm(0.08)
    assert (said.left_over, said.seconds) == (1, 1.0)


def test_speech_that_was_interrupted_gets_no_padding(side: type[Side]) -> None:
    platform = deployed(side)
    said = say(platform, 10, 0.0, 0.2)
    platform.call.kill_audio(0.1)
    said.finish()
    assert said.interrupted
    assert platform.hear(0.1)[-1] == KILL


def test_silence_goes_out_before_a_killaudio_and_a_guard_behind_it(side: type[Side]) -> None:
    """D33, D34."""
    platform = deployed(side)
    platform.call.send(KillAudio(), 0.0)
    assert platform.hear(0.0) == [KILL]
    platform.call.send(Audio(pcm(1, 5)), 0.0)
    platform.hear(0.0)
    platform.call.kill_audio(0.5)
    assert platform.hear(0.5) == [pcm(0.08), KILL]
    assert platform.call.ready_at(Mark("m"), 0.5) == pytest.approx(0.54)
    platform.call.kill_audio(1.0, guard=0.0)
    assert platform.call.ready_at(Mark("m"), 1.0) == 1.0


def test_no_silence_goes_out_before_a_killaudio_if_the_stream_ends_with_it(
    side: type[Side],
) -> None:
    """So the killAudio finds nothing behind a mark at the end of speech."""
    platform = deployed(side)
    say(platform, 1, 0.0)
    platform.call.send(Mark("m"), 0.0)
    platform.hear(0.0)
    platform.call.kill_audio(0.5)
    assert platform.hear(0.5) == [KILL]


def test_a_first_short_piece_is_filled_up_before_a_killaudio(side: type[Side]) -> None:
    platform = deployed(side)
    platform.call.send(Audio(pcm(0.02, 5)), 0.0)
    platform.call.kill_audio(0.0)
    assert platform.hear(0.0) == [pcm(0.02, 5), pcm(0.14), KILL]


@pytest.mark.parametrize("seconds", [0.08, 1.0])
def test_a_batch_of_silence_at_the_end_is_enough(side: type[Side], seconds: float) -> None:
    """And so is a first piece of just the length that the platform waits for."""
    platform = deployed(side)
    platform.call.send(Audio(pcm(seconds, 5) + pcm(0.08)), 0.0)
    assert platform.call.ahead(0.0) == pytest.approx(seconds + 0.08)
    platform.hear(0.0)
    platform.call.kill_audio(0.0)
    assert platform.hear(0.0) == [KILL]


def test_of_the_silence_in_front_of_a_mark_a_batch_may_be_kept_back(side: type[Side]) -> None:
    call, loud = deployed(side).call, pcm(0.1, 0x0505)
    found = []
    for audio in (b"", loud + pcm(0.04), pcm(0.02), pcm(0.1), loud):
        call.send(Audio(audio), 0.0)
        mark = call.send(Mark("m"), 0.0)
        assert mark is not None
        found.append(mark.silence)
    assert found == [0.0, 0.04, 0.06, 0.08, 0.0]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (1, "a clearMarks behind a mark with no audio since makes platforms lose the next mark;"),
        (2, "a clearMarks behind 2 marks with no audio since makes platforms lose the next 2 mar"),
    ],
)
def test_a_clear_that_makes_platforms_lose_marks_may_be_refused(
    side: type[Side], marks: int, said: str
) -> None:
    call = deployed(side, refuse_clear_marks=True).call
    for _ in range(marks):
        call.send(Mark("m"), 0.0)
    with pytest.raises(LocalProtocolError, match=f"^{said}") as caught:
        call.clear_marks(0.0)
    assert caught.value.clause == "LP-MARK-18"


def test_the_clip_that_takes_the_place_of_all_others_is_a_silent_frame(side: type[Side]) -> None:
    platform = deployed(side, "clips")
    platform.call.stop_clips(0.0)
    silence, kill = platform.hear(0.0)
    assert isinstance(silence, str)
    body = json.loads(silence)["data"]
    assert (body["audioContent"], body["sampleRate"]) == (b64encode(pcm(0.02)).decode(), 8000)
    assert kill == KILL


def test_of_clips_a_killaudio_needs_neither(side: type[Side]) -> None:
    platform = deployed(side, "clips")
    platform.call.send(clip(1), 0.0)
    platform.hear(0.0)
    platform.call.kill_audio(0.5)
    assert platform.hear(0.5) == [KILL]
    assert platform.call.ready_at(clip(1), 0.5) == 0.5


@pytest.mark.parametrize(
    ("options", "sent"),
    [({}, b"\xfe\xff"), ({"replace_minus_one": False}, b"\xff\xff")],
)
def test_no_sample_is_sent_that_is_taken_for_a_mark(
    side: type[Side], options: dict[str, Any], sent: bytes
) -> None:
    """D35."""
    platform = deployed(side, **options)
    around = b"\x01\xff\xff\x02"  # no sample of -1: the bytes are of two
    platform.call.send(Audio(b"\xff\xff" + around + b"\xff\xff\xff\xff"), 0.0)
    assert platform.hear(0.0) == [sent + around + sent + sent]


@pytest.mark.parametrize("profile", ["documented", "deployed"])
def test_all_clips_are_stopped(side: type[Side], profile: str) -> None:
    platform = side(answering("clips", profile=profile))
    for _ in range(3):
        platform.call.send(clip(1), 0.0)
    platform.hear(0.0)
    platform.call.stop_clips(0.5)
    *silent, kill = platform.hear(0.5)
    assert kill == KILL
    assert len(silent) == (profile == "deployed")
    assert all('"queuePlay":false' in str(text) for text in silent)
    assert platform.call.ahead(0.5) == pytest.approx(0.0, abs=0.021)


@pytest.mark.parametrize(
    ("profile", "metadata", "told"),
    [
        ("deployed", '{"sampleRate":8000,"mixType":"mono"}\'', True),
        ("documented", '{"sampleRate":8000,"mixType":"mono"}\'', False),
        ("deployed", "{}", False),
    ],
)
def test_what_is_wrong_with_metadata_is_logged_where_no_violation_says_so(
    profile: str, metadata: str, told: bool
) -> None:
    how = answering(profile=profile, salvage_metadata=True)
    call = OverBytes(how, metadata=metadata).call
    assert call.metadata is not None
    assert [note.text for note in call.notes] == [call.metadata.flaw] * told


def test_metadata_that_is_assumed_is_logged() -> None:
    assumed = Metadata({}, 16000, "stereo")
    side = OverBytes(answering(assume=assumed), metadata=None)
    side.say(bytes(640), now=0.0)
    assert side.call.metadata == assumed
    (note,) = side.call.notes
    assert note.text == "the platform sent no metadata; 16000 Hz stereo is assumed"
    assert read(side.call) == [Audio(bytes(640))]


# What must not be able to do harm


def test_a_watcher_that_fails_is_noted_and_told_no_more(side: type[Side]) -> None:
    class Bad:
        def received(self, audio: Audio, now: float) -> None:
            raise RuntimeError("bad")

        def sent(self, message: Message, now: float) -> None:
            raise RuntimeError("worse")

    platform = side()
    call = platform.call
    for _ in range(2):
        call.watchers.append(Bad())
    call.send(Audio(pcm(0.1)), 0.0)
    call.watchers.append(Bad())
    platform.say(pcm(0.1), now=0.1)
    assert call.watchers == []
    failed = "a watcher failed and is not called again"
    assert [(note.level, note.text, str(note.error)) for note in call.notes] == [
        ("error", failed, "worse"),
        ("error", failed, "worse"),
        ("error", failed, "bad"),
    ]
    assert [event for event in read(call) if isinstance(event, Audio)] == [Audio(pcm(0.1))]


def test_a_watcher_that_removes_itself_and_fails_is_noted(side: type[Side]) -> None:
    class Once:
        def received(self, audio: Audio, now: float) -> None:
            call.watchers.remove(self)
            raise RuntimeError("bad")

        def sent(self, message: Message, now: float) -> None:
            call.watchers.remove(self)
            raise RuntimeError("worse")

    platform = side()
    call = platform.call
    call.watchers.append(Once())
    call.send(Audio(pcm(0.1)), 0.0)
    call.watchers.append(Once())
    platform.say(pcm(0.1), now=0.1)
    assert [str(note.error) for note in call.notes] == ["worse", "bad"]
    assert (call.watchers, call.end) == ([], None)


def test_of_equal_watchers_the_one_that_fails_is_told_no_more(side: type[Side]) -> None:
    class Equal(Watching):
        fails = False

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def sent(self, message: Message, now: float) -> None:
            if self.fails:
                raise RuntimeError("bad")

    call = side().call
    good, bad = Equal(), Equal()
    bad.fails = True
    call.watchers.extend((good, bad))
    call.send(Audio(pcm(0.1)), 0.0)
    (left,) = call.watchers
    assert left is good


def test_what_is_due_is_sent_though_nobody_called_in_time(side: type[Side]) -> None:
    platform = side()
    said = speech(1)
    platform.call.say(said, 0.0)
    assert platform.hear(0.0) == [pcm(0.2)]
    assert platform.hear(0.3) == [pcm(0.2)]
    assert not platform.call.link.connection.has_data_to_send


def test_a_call_that_is_cancelled_is_over(side: type[Side]) -> None:
    platform = side()
    call = platform.call
    said = speech(1)
    call.say(said, 0.0)
    mark = call.send(Mark("m"), 0.5)
    call.cancelled(0.5)
    call.cancelled(0.6)
    assert call.over
    assert (call.end and call.end.kind, mark and mark.outcome) == (EndKind.CANCELLED, Outcome.LOST)
    assert said.heard_by(9.0) == pytest.approx(0.2)
    with pytest.raises(CallEnded, match="cancelled"):
        call.send(Mark("n"), 0.7)


def test_a_close_waits_behind_what_is_still_being_read() -> None:
    """The limit counts from what was written last: a slow reader gets all of it."""
    platform = OverBytes(answering(limits=Limits(close_time=5, outbox_size=2**24)))
    call = platform.call
    for _ in range(40):
        call.send(Audio(bytes(65536)), 0.0)
    call.close(1000, "", 0.0)
    now, came = 0.0, 0
    while data := call.data_to_send(now):
        came += len(data)
        now += 3
        call.handle_timeout(now)
    assert came > 40 * 65536
    assert not call.over
    call.handle_timeout(now + 5)
    assert call.over
