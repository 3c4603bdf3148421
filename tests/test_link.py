"""A connection with a clock, without any IO: kept alive, closed, given up; how it ended."""

from __future__ import annotations

import math

import pytest

from listenproto import (
    AppConnection,
    AppSession,
    Audio,
    CallEnded,
    CallNote,
    Close,
    Closed,
    ConnectionEvent,
    Ending,
    EndKind,
    HandshakePolicy,
    Limits,
    Link,
    ListenTask,
    ListenVerb,
    Metadata,
    Payload,
    Peer,
    Ping,
    PlatformConnection,
    Pong,
    RemoteProtocolError,
    Request,
    TraceMoment,
    judge_request,
)
from listenproto._wire import ClientWire

LIMITS = Limits(ping_interval=20, ping_time=10, close_time=5, outbox_size=1000)
WRITE_TIME = 60.0


class Linked:
    """A link over bytes, and the WebSocket client at its other end; open at the time 0."""

    def __init__(self, *, keep_alive: bool = True, policy: HandshakePolicy | None = None) -> None:
        self.events: list[ConnectionEvent] = []
        self.session = AppSession(mode="streaming", keep_passed=True)
        self.connection = AppConnection(self.session)
        self.wire = ClientWire("app.example", subprotocols=["audio.jambonz.org"])
        self.link = Link(
            self.connection,
            LIMITS,
            peer=Peer.PLATFORM,
            dispatch=self.dispatch,
            write_time=WRITE_TIME,
        )
        self.policy = policy or HandshakePolicy()
        self.fails = False
        self.passed: list[tuple[Peer, Payload | TraceMoment]] = []
        self.link.tap = lambda sender, payload: self.passed.append((sender, payload))
        self.tell(0.0)
        self.hear(0.0)
        if keep_alive:
            self.link.keep_alive(0.0)

    def dispatch(self, event: ConnectionEvent) -> None:
        self.events.append(event)
        if isinstance(event, Request):
            self.connection.answer(judge_request(event, self.policy))
        if self.fails:
            raise KeyError("secret")

    def say(self, *payloads: Payload, now: float) -> None:
        for payload in payloads:
            if isinstance(payload, Close):
                self.wire.close(payload.code, payload.reason)
            else:
                self.wire.send(payload)
        self.tell(now)

    def tell(self, now: float) -> None:
        """Have the client's bytes arrive."""
        self.link.receive(self.wire.data_to_send(), now)

    def hear(self, now: float) -> list[object]:
        """Have all arrive at the client that is sent; what it answers is not sent yet."""
        while data := self.link.data_to_send(now):
            self.wire.feed(data)
        return [*self.wire.events()]


def test_pings_are_sent_as_long_as_no_message_comes() -> None:
    end = Linked()
    for now in (20.0, 40.0, 60.0):
        assert end.link.next_timeout() == now
        end.link.handle_timeout(now - 0.001)
        assert end.hear(now) == []
        end.link.handle_timeout(now)
        assert end.link.next_timeout() == now + 10
        assert end.hear(now) == [Ping(b"")]
        end.tell(now)  # the pong
    assert end.events[-1] == Pong(b"")
    end.say("{}", now=75.0)
    assert end.link.next_timeout() == 95
    end.link.handle_timeout(94.9)
    assert end.hear(94.9) == []
    assert not end.link.ended


def test_a_message_is_as_good_as_the_answer_to_a_ping() -> None:
    end = Linked()
    end.link.handle_timeout(20.0)
    end.say("{}", now=29.0)
    assert end.link.next_timeout() == 49
    end.link.handle_timeout(30.0)
    assert not end.link.over


def test_before_the_handshake_is_done_there_are_no_pings() -> None:
    end = Linked(keep_alive=False)
    assert end.link.next_timeout() == math.inf
    end.link.handle_timeout(1000.0)
    assert end.hear(1000.0) == []
    end.link.keep_alive(1000.0)
    assert end.link.next_timeout() == 1020
    link = Link(AppConnection(AppSession()), LIMITS, peer=Peer.PLATFORM, dispatch=print)
    link.keep_alive(0.0)  # although nothing has come
    assert link.next_timeout() == 20


SLOW = b"\x82\xff" + (100_000).to_bytes(8, "big")


@pytest.mark.parametrize("dribble", [False, True])
def test_a_ping_that_is_not_answered_ends_the_call_whatever_bytes_come(dribble: bool) -> None:
    """A byte is no sign of life; only a whole message is."""
    end = Linked()
    for second in range(1, 30):
        if dribble:
            end.link.receive(SLOW[second - 1 : second] or b"x", second)
        end.link.handle_timeout(second)
        assert end.hear(second) == [Ping(b"")] * (second == 20)
    assert end.link.next_timeout() == 30
    assert not end.link.over
    end.link.handle_timeout(30.0)
    assert (end.link.over, end.link.given_up, end.link.next_timeout()) == (True, True, math.inf)
    assert end.link.reads is False
    why = "connection lost: no answer to a ping within 10 s"
    assert end.link.ending() == Ending(EndKind.LOST, why)
    assert end.events[-1] == end.link.closed == Closed(1006, "", clean=False)
    assert end.passed[-1] == (Peer.PLATFORM, TraceMoment.LOST)
    assert end.hear(30.0) == []
    end.link.handle_timeout(99.0)
    assert end.events[-2:] != [end.link.closed] * 2


def test_while_reading_is_held_back_pings_go_on_and_no_answer_is_due() -> None:
    end = Linked()
    end.link.handle_timeout(20.0)
    assert not end.link.is_held
    end.link.hold(True, 21.0)
    assert end.link.is_held
    for now in (40.0, 60.0):
        assert end.link.next_timeout() == now
        end.link.handle_timeout(now)
        assert end.hear(now)[-1:] == [Ping(b"")]
    end.link.hold(True, 70.0)
    assert end.link.next_timeout() == 80
    end.link.hold(False, 75.0)
    assert end.link.next_timeout() == 85  # the answer may be behind what was not read
    end.link.handle_timeout(84.9)
    assert not end.link.over
    end.link.handle_timeout(85.0)
    assert end.link.ending().why.endswith("no answer to a ping within 10 s")


def test_after_reading_was_held_back_the_other_end_has_time_anew() -> None:
    end = Linked()
    end.link.hold(True, 5.0)
    assert end.link.next_timeout() == 20
    end.link.hold(False, 15.0)
    assert end.link.next_timeout() == 35
    end.link.hold(False, 30.0)  # it was not
    assert end.link.next_timeout() == 35


@pytest.mark.parametrize("held", [False, True])
def test_another_end_that_reads_nothing_is_left_whatever_it_sends(held: bool) -> None:
    end = Linked(keep_alive=False)
    end.say("{}", now=0.0)
    end.link.hold(held, 1.0)
    end.session.send(Audio(b"\0\0"))
    assert end.link.data_to_send(7.0)
    assert end.link.next_timeout() == 67
    end.say(b"\0\0", now=66.0)
    end.link.handle_timeout(66.9)
    assert not end.link.over
    end.link.handle_timeout(67.0)
    assert end.link.given_up
    why = "connection lost: nothing could be written for 60 s"
    assert end.link.ending() == Ending(EndKind.LOST, why)


def test_each_piece_that_is_written_gives_time_for_the_next() -> None:
    end = Linked(keep_alive=False)
    end.say("{}", now=0.0)
    for now in (0.0, 50.0, 100.0):
        end.session.send(Audio(b"\0\0"))
        assert end.link.data_to_send(now)
        assert end.link.next_timeout() == now + 60
    assert not end.link.data_to_send(150.0)  # all is written
    assert end.link.next_timeout() == math.inf


def test_the_outbox_has_room_up_to_its_size() -> None:
    end = Linked()
    end.say("{}", now=0.0)
    end.session.send(Audio(bytes(998)))
    assert end.link.has_room
    end.session.send(Audio(bytes(2)))
    assert not end.link.has_room
    end.hear(0.0)
    assert end.link.has_room
    end.link.close(1000, "", 1.0)
    with pytest.raises(CallEnded, match=r"^the call is over: this end closed it$"):
        end.link.has_room  # noqa: B018


def test_a_close_of_the_other_end_is_answered_and_then_it_is_over() -> None:
    end = Linked()
    end.say("{}", Close(4000, "enough"), now=3.0)
    link = end.link
    assert (link.ended, link.reads, link.over) == (True, False, False)
    assert link.closed == end.events[-1] == Closed(4000, "enough", clean=True)
    assert link.next_timeout() == 8
    end.link.receive(b"more", 3.5)
    assert end.hear(4.0) == [Closed(4000, "", clean=True)]
    assert (link.over, link.given_up, link.next_timeout()) == (True, False, math.inf)
    ending = link.ending()
    assert ending == Ending(
        EndKind.CLOSED, "the other end closed with 4000 (enough)", 4000, "enough"
    )
    assert str(ending) == "the call is over: the other end closed with 4000 (enough)"


def test_a_close_without_a_reason_is_said_without_one() -> None:
    end = Linked()
    end.say(Close(1001), now=0.0)
    assert str(end.link.ending()) == "the call is over: the other end closed with 1001"


def test_a_close_of_this_end_is_answered_and_then_it_is_over() -> None:
    end = Linked()
    end.say("{}", now=0.0)
    end.session.send(Audio(b"\0\0"))
    end.link.close(3000, "enough", 2.0)
    assert end.link.next_timeout() == 7
    assert end.hear(2.0) == [b"\0\0", Closed(3000, "enough", clean=True)]
    assert (end.link.ended, end.link.reads) == (True, True)
    left = Ending(EndKind.LEFT, "this end closed it")
    assert end.link.ending() == left
    end.tell(3.0)
    assert (end.link.reads, end.link.ending()) == (False, left)
    assert end.hear(3.0) == []
    assert end.link.over
    end.link.close(1000, "again", 9.0)
    end.link.broken("reset", 9.0, writing=True)
    end.link.fail(KeyError(), 9.0)
    end.link.cancelled(0.0)
    end.link.cut_at = 0.0
    assert end.link.ending(9.0) == left


def test_a_close_that_is_not_answered_has_its_time() -> None:
    end = Linked()
    end.say("{}", now=0.0)
    end.link.close(1000, "", 2.0)
    end.hear(2.0)
    end.link.handle_timeout(6.9)
    assert not end.link.over
    end.link.handle_timeout(7.0)
    assert (end.link.over, end.link.given_up) == (True, True)
    why = "connection lost: no answer to the close within 5 s"
    assert end.link.ending() == Ending(EndKind.LOST, why)


def test_what_comes_between_two_closes_is_nobodys_fault() -> None:
    """Both ends close at once: each has left."""
    end = Linked()
    end.link.close(1000, "", 2.0)
    end.say(Close(1000), now=2.0)
    assert end.link.ending() == Ending(EndKind.LEFT, "this end closed it")
    assert end.link.closed == Closed(1000, "", clean=True)


def test_the_end_of_the_bytes_is_a_loss_and_its_reason_is_said() -> None:
    end = Linked()
    end.link.broken("Connection reset by peer", 4.0)
    end.link.broken("something else", 4.0)
    assert not end.link.ended
    end.link.receive(b"", 4.0)
    why = "connection lost: Connection reset by peer"
    assert end.link.ending() == Ending(EndKind.LOST, why)
    assert end.link.closed == Closed(1006, "", clean=False)
    assert end.passed[-1] == (Peer.PLATFORM, TraceMoment.LOST)
    assert not end.link.data_to_send(4.0)
    assert end.link.over


def test_a_loss_without_a_reason() -> None:
    end = Linked()
    end.link.receive(b"", 4.0)
    assert str(end.link.ending()) == "the call is over: connection lost"


@pytest.mark.parametrize("closes", [False, True])
def test_after_writing_has_failed_what_came_before_is_still_read(closes: bool) -> None:
    end = Linked()
    end.link.broken("Broken pipe", 4.0, writing=True)
    assert (end.link.ended, end.link.reads, end.link.over) == (True, True, False)
    lost = Ending(EndKind.LOST, "connection lost: Broken pipe")
    assert end.link.ending() == lost
    assert not end.link.data_to_send(4.0)
    assert end.link.next_timeout() == 9
    end.say("{}", now=5.0)
    assert isinstance(end.events[-1], Metadata)
    if closes:
        end.say(Close(1000), now=5.0)
        assert end.link.ending().kind is EndKind.CLOSED
    else:
        end.link.handle_timeout(9.0)
        assert end.link.ending() == lost
    assert end.link.over


def test_a_fault_of_the_other_end_is_answered_with_its_code() -> None:
    end = Linked()
    end.say("{}", b"\0\0", now=0.0)
    end.link.receive(b"\xf2\x80" + bytes(4), 1.0)
    assert isinstance(end.events[-1], Audio)  # what came before the fault
    assert isinstance(end.link.error, RemoteProtocolError)
    assert (end.link.ended, end.link.reads) == (True, False)
    ending = end.link.ending()
    assert ending == Ending(EndKind.PROTOCOL_ERROR, str(end.link.error), error=end.link.error)
    assert str(ending).startswith("the call failed: ")
    assert end.hear(1.0) == [Closed(1002, str(end.link.error), clean=True)]
    end.link.receive(b"", 2.0)
    assert end.link.ending() is ending


def test_a_close_that_cannot_be_written_has_its_time_too() -> None:
    end = Linked()
    end.link.receive(b"\xf2\x80" + bytes(4), 1.0)
    ending = end.link.ending()
    assert end.link.data_to_send(1.0)
    assert end.link.next_timeout() == 6
    end.link.handle_timeout(6.0)
    assert (end.link.over, end.link.given_up, end.link.ending()) == (True, True, ending)
    assert len(end.events) == 1  # the request: a loss is not told after a fault


def test_a_failure_of_this_end_is_answered_with_1011_and_its_message_is_not_said() -> None:
    end = Linked()
    end.fails = True
    end.say("{}", b"\0\0", now=1.0)
    assert len(end.events) == 2  # the request and the metadata
    ending = end.link.ending()
    assert (ending.kind, ending.why) == (EndKind.FAILED, "this end failed (KeyError)")
    assert ending.error is end.link.failure
    assert str(ending) == "the call failed: this end failed (KeyError)"
    assert (end.link.reads, end.link.next_timeout()) == (False, 6)
    assert end.hear(1.0) == [Closed(1011, "the app failed", clean=True)]
    assert end.link.over


def test_what_reads_may_fail_itself() -> None:
    end = Linked()
    end.link.fail(OSError(), 3.0)
    assert end.link.reads is False
    assert end.link.next_timeout() == 8
    assert end.link.ending().why == "this end failed (OSError)"


def test_what_fails_after_the_end_changes_nothing() -> None:
    end = Linked()
    end.say(Close(1000), now=1.0)
    end.link.fail(KeyError(), 2.0)
    assert end.link.failure is None
    assert end.link.ending().kind is EndKind.CLOSED


def test_a_request_that_is_refused_ends_the_connection() -> None:
    end = Linked(policy=HandshakePolicy(paths=["/other"]))
    assert end.link.ending() == Ending(EndKind.LEFT, "this end closed it")
    assert end.link.over
    assert end.passed == []


def test_an_end_that_is_cancelled_reads_and_writes_no_more() -> None:
    end = Linked()
    cancelled = Ending(EndKind.CANCELLED, "this end was cancelled")
    assert end.link.ending() == cancelled  # if it stops now
    end.link.cancelled(0.0)
    assert end.link.over is True
    assert end.link.reads is False
    end.link.broken("reset", 1.0, writing=True)
    assert end.link.ending() == cancelled
    end.link.receive(b"", 1.0)
    end.link.handle_timeout(1000.0)
    assert (end.link.ending(), end.link.next_timeout()) == (cancelled, math.inf)


def test_what_is_cancelled_while_it_is_closed_was_cancelled() -> None:
    end = Linked()
    end.link.close(1000, "", 1.0)
    end.link.cancelled(0.0)
    assert end.link.ending() == Ending(EndKind.CANCELLED, "this end was cancelled")


def test_what_is_cancelled_after_it_broke_was_lost() -> None:
    end = Linked()
    end.link.broken("Broken pipe", 1.0, writing=True)
    end.link.cancelled(0.0)
    assert end.link.ending() == Ending(EndKind.LOST, "connection lost: Broken pipe")


def test_a_shutdown_cuts_short_what_has_not_ended_before() -> None:
    cut = Ending(EndKind.CUT, "cut short by the shutdown of the server")
    end = Linked()
    end.link.cut_at = 10.0
    assert (end.link.was_cut(9.9), end.link.was_cut(10.0)) == (False, True)
    assert end.link.ending(9.9).kind is EndKind.CANCELLED
    assert end.link.ending(10.0) == cut
    end.link.close(1001, "", 10.0)
    end.hear(10.0)
    end.tell(11.0)
    end.link.cut_at = math.inf
    assert end.link.ending() == cut
    early = Linked()
    early.link.cut_at = 10.0
    early.say(Close(1000), now=9.0)
    assert not early.link.was_cut(11.0)
    assert early.link.ending(11.0).kind is EndKind.CLOSED


def test_the_tap_gets_all_that_passes_in_its_order() -> None:
    end = Linked()
    end.say("{}", b"\1\0", now=0.0)
    end.session.send(Audio(b"\2\0"))
    end.link.settle(0.0)
    assert end.passed[-1] == (Peer.APP, b"\2\0")
    end.session.send(Audio(b"\2\1"))
    end.link.data_to_send(0.0)
    assert end.passed[-1] == (Peer.APP, b"\2\1")
    end.say(b"\3\0", Close(1000), now=0.0)
    assert end.passed == [
        (Peer.APP, TraceMoment.OPEN),
        (Peer.PLATFORM, "{}"),
        (Peer.PLATFORM, b"\1\0"),
        (Peer.APP, b"\2\0"),
        (Peer.APP, b"\2\1"),
        (Peer.PLATFORM, b"\3\0"),
        (Peer.PLATFORM, Close(1000)),
    ]


def test_a_tap_that_fails_is_noted_once_and_the_call_goes_on() -> None:
    end = Linked()
    error = OSError("disk full")
    calls = []

    def fail(sender: Peer, payload: Payload | TraceMoment) -> None:
        calls.append(payload)
        raise error

    end.link.tap = fail
    end.say("{}", b"\1\0", now=0.0)
    assert calls == ["{}"]
    assert [*end.link.notes] == [CallNote("error", "the tap failed and is not called again", error)]
    assert isinstance(end.events[-1], Audio)
    assert [*end.session.passed()] == []  # nothing piles up


def test_without_a_tap_nothing_is_told() -> None:
    end = Linked()
    end.link.tap = None
    end.say("{}", now=0.0)
    end.link.receive(b"", 0.0)
    assert end.passed == [(Peer.APP, TraceMoment.OPEN)]


def test_the_other_end_can_be_the_app() -> None:
    events: list[ConnectionEvent] = []
    task = ListenTask(ListenVerb(url="ws://app.example/"), {}, keep_passed=True)
    connection = PlatformConnection(task)
    link = Link(connection, LIMITS, peer=Peer.APP, dispatch=events.append)
    passed: list[object] = []
    link.tap = lambda sender, payload: passed.append((sender, payload))
    app = AppConnection(AppSession())
    (request,) = app.receive(link.data_to_send(0.0))
    assert isinstance(request, Request)
    app.answer(judge_request(request, HandshakePolicy()))
    link.receive(app.data_to_send(), 0.0)
    link.keep_alive(0.0)
    assert passed[0] == (Peer.APP, TraceMoment.OPEN)
    assert link.data_to_send(0.0)
    assert link.next_timeout() == 20  # without a limit for writing
    task.hang_up()
    link.settle(1.0)
    assert link.ending().kind is EndKind.LEFT
    link.fail(KeyError(), 1.0)
    [*app.receive(link.data_to_send(1.0))]
    assert link.ending().kind is EndKind.FAILED


@pytest.mark.parametrize("now", [-1e9, 0.0, 1e9])
def test_a_clock_that_jumps_makes_everything_due_at_once_or_nothing(now: float) -> None:
    end = Linked()
    for _ in range(5):
        end.link.handle_timeout(now)
        assert end.link.over or end.link.next_timeout() > now
    assert not end.link.over
    assert end.hear(now) == [Ping(b"")] * (now > 20)


def test_what_carries_the_messages_may_close_by_itself() -> None:
    end = Linked()
    assert not end.link.closed_by_itself
    end.link.closed_here(Close(1011, "gone"), "no pong came", 7.0)
    assert end.link.closed_by_itself
    (closed,) = end.hear(7.0)
    assert isinstance(closed, Closed)
    assert (closed.code, closed.reason) == (1011, "gone")
    assert end.link.next_timeout() == 12
    ending = end.link.ending(7.0)
    assert ending.kind is EndKind.LEFT
    assert ending.why == "this end closed with 1011 (no pong came)"
    end.link.closed_here(Close(1000, ""), "once more", 8.0)
    assert end.link.ending(8.0) == ending


def test_a_close_that_was_asked_for_is_not_one_by_itself() -> None:
    end = Linked()
    end.link.close(1000, "", 1.0)
    end.link.closed_here(Close(1000, ""), "the library did so", 1.0)
    assert not end.link.closed_by_itself
