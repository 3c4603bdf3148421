"""A whole call as bytes, both ends joined in memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    Accept,
    AppConnection,
    AppSession,
    Audio,
    BidirectionalAudio,
    Close,
    Closed,
    ConnectionEvent,
    Disconnect,
    Dtmf,
    HandshakePolicy,
    KillAudio,
    ListenEnd,
    ListenTask,
    ListenVerb,
    LocalProtocolError,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Outcome,
    Peer,
    Ping,
    PlatformConnection,
    PlayAudio,
    Pong,
    Profile,
    Reject,
    Rejected,
    RemoteProtocolError,
    Request,
    Violation,
    WsAuth,
    judge_request,
)

STEP = FLICKS // 50


def verb(mode: Mode) -> ListenVerb:
    way = BidirectionalAudio(
        enabled=mode is not Mode.OFF,
        streaming=mode is Mode.STREAMING,
        sample_rate=8000 if mode is Mode.STREAMING else None,
    )
    return ListenVerb(url="ws://app.example/", pass_dtmf=True, bidirectional_audio=way)


class Ends:
    """Both ends of a call and what each has seen."""

    def __init__(
        self,
        mode: Mode = Mode.STREAMING,
        profile: Profile = DOCUMENTED,
        policy: HandshakePolicy | None = None,
        *,
        salvage: bool | None = None,
        attributes: dict[str, object] | None = None,
        **options: object,
    ) -> None:
        self.policy = policy or HandshakePolicy()
        session = AppSession(mode=mode, profile=profile, salvage_metadata=salvage)
        self.app = AppConnection(session)
        self.task = ListenTask(verb(mode), attributes or {"callSid": "c"}, profile=profile)
        self.platform = PlatformConnection(
            self.task,
            **options,  # type: ignore[arg-type]
        )
        self.app_saw: list[ConnectionEvent] = []
        self.platform_saw: list[ConnectionEvent] = []

    def to_app(self, data: bytes) -> None:
        for event in self.app.receive(data):
            self.app_saw.append(event)
            if isinstance(event, Request):
                self.app.answer(judge_request(event, self.policy))

    def to_platform(self, data: bytes) -> None:
        self.platform_saw += self.platform.receive(data)

    def exchange(self, sizes: st.SearchStrategy[int] | itertools.cycle[int] | None = None) -> None:
        """Carry bytes both ways until there are none, in pieces of the given sizes."""
        size = sizes if isinstance(sizes, itertools.cycle) else itertools.cycle([1 << 20])
        while True:
            announced = self.platform.has_data_to_send, self.app.has_data_to_send
            up, down = self.platform.data_to_send(), self.app.data_to_send()
            assert announced == (bool(up), bool(down))
            if not up and not down:
                return
            for data, carry in ((up, self.to_app), (down, self.to_platform)):
                while data:
                    piece = next(size)
                    carry(data[:piece])
                    data = data[piece:]

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.app.send(message)


def whole_call(ends: Ends, sizes: itertools.cycle[int]) -> tuple[object, ...]:
    """A call with something of everything; gives all that both ends saw, but the audio's cuts."""
    ends.exchange(sizes)
    ends.task.capture(bytes(range(240)) * 4)
    ends.task.key("5")
    ends.exchange(sizes)
    if ends.task.mode is Mode.STREAMING:
        ends.send(Audio(bytes(640)), Mark("a"), Audio(b"\1\2" * 400), Mark("b"))
    elif ends.task.mode is Mode.CLIPS:
        ends.send(*[PlayAudio(bytes(200), sample_rate=8000)] * 3)
    ends.exchange(sizes)
    heard = [ends.task.play(STEP), ends.task.play(STEP)]
    ends.exchange(sizes)
    if ends.task.mode is not Mode.OFF:
        ends.send(KillAudio())
    ends.exchange(sizes)
    heard.append(ends.task.play(STEP))
    ends.send(Disconnect())
    ends.exchange(sizes)
    assert ends.app.finished
    assert ends.platform.finished
    return ends.app_saw, ends.platform_saw, heard, ends.task.result


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED])
def test_a_call_ends_with_nothing_wrong_at_either_end(mode: Mode, profile: Profile) -> None:
    ends = Ends(mode, profile)
    whole_call(ends, itertools.cycle([1 << 20]))
    for saw in (ends.app_saw, ends.platform_saw):
        assert not [event for event in saw if isinstance(event, Violation)]
        assert saw[-1] == Closed(1000, "", True)
    kinds = [type(event) for event in ends.app_saw]
    assert kinds[:2] == [Request, Metadata]
    assert kinds.count(Metadata) == 1
    assert Dtmf in kinds
    assert ends.task.result is not None
    assert ends.task.result.end is ListenEnd.DISCONNECT


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED])
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=12))
def test_every_chunking_of_the_bytes_gives_the_same_events(
    mode: Mode, profile: Profile, sizes: list[int]
) -> None:
    whole = whole_call(Ends(mode, profile), itertools.cycle([1 << 20]))
    cut = whole_call(Ends(mode, profile), itertools.cycle(sizes))
    for one, other in zip(whole, cut, strict=True):
        assert _without_request(one) == _without_request(other)


def _without_request(events: object) -> object:
    """Each upgrade has a key of its own."""
    if not isinstance(events, list):
        return events
    return [type(e) if type(e).__name__ in ("Request", "Accepted") else e for e in events]


def test_a_refusal_is_told_with_its_reason() -> None:
    ends = Ends(policy=HandshakePolicy(credentials=("user", "secret")))
    ends.exchange()
    rejected = ends.platform_saw[0]
    assert isinstance(rejected, Rejected)
    assert rejected.status == 401
    assert rejected.header("www-authenticate") == 'Basic realm="listen", charset="UTF-8"'
    assert rejected.body == b"Wrong or missing credentials.\n"
    assert ends.task.result is not None
    assert ends.task.result.end is ListenEnd.NOT_CONNECTED
    assert ends.platform.finished
    assert ends.app.finished


@pytest.mark.parametrize(
    ("profile", "option", "allowed"),
    [
        (DOCUMENTED, None, False),
        (DOCUMENTED, True, True),
        (DEPLOYED, None, True),
        (DEPLOYED, False, False),
    ],
)
def test_an_answer_without_subprotocol_fails_unless_allowed(
    profile: Profile, option: bool | None, allowed: bool
) -> None:
    ends = Ends(
        profile=profile,
        policy=HandshakePolicy(subprotocols=("other",), allow_no_subprotocol=True),
        subprotocols=(),
        allow_no_subprotocol=option,
    )
    if allowed:
        ends.exchange()
        assert Metadata({"callSid": "c"}) in ends.app_saw
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            ends.exchange()
        assert caught.value.clause == "LP-HS-5"
        assert ends.task.result is not None
        assert ends.task.result.end is ListenEnd.NOT_CONNECTED


def test_metadata_cut_inside_a_character_can_be_salvaged() -> None:
    long = {"callSid": "c", "note": "€" * 4000}
    failing = Ends(profile=DEPLOYED, attributes=long, salvage=False)
    with pytest.raises(RemoteProtocolError) as caught:
        failing.exchange()
    assert caught.value.close_code == 1007
    salvaging = Ends(profile=DEPLOYED, attributes=long)
    salvaging.exchange()
    metadata = [event for event in salvaging.app_saw if isinstance(event, Metadata)]
    assert metadata == [Metadata({"callSid": "c"}, truncated=True)]


def test_a_fault_comes_behind_what_was_good_and_is_answered_with_its_code() -> None:
    ends = Ends()
    ends.exchange()
    ends.app_saw.clear()
    ends.task.capture(bytes(320))
    good = ends.platform.data_to_send()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            ends.to_app(good + b"\xff\x80" + bytes(4))
        good = b""
    assert ends.app_saw == [Audio(bytes(320))]
    assert ends.app.finished
    ends.app.fail(caught.value)
    ends.to_platform(ends.app.data_to_send())
    (closed,) = ends.platform_saw[-1:]
    assert isinstance(closed, Closed)
    assert (closed.code, closed.clean) == (1002, True)


def test_a_lost_connection_is_told_apart_from_a_clean_end() -> None:
    ends = Ends()
    ends.exchange()
    ends.to_app(b"")
    ends.to_platform(b"")
    assert ends.app_saw[-1] == ends.platform_saw[-1] == Closed(1006, "", False)
    assert ends.task.result is not None
    assert ends.task.result.end is ListenEnd.LOST
    assert ends.app.ended


def opened(**options: object) -> Ends:
    ends = Ends(**options)  # type: ignore[arg-type]
    ends.exchange()
    ends.app_saw.clear()
    ends.platform_saw.clear()
    return ends


def test_a_connection_is_finished_when_nothing_more_can_come() -> None:
    ends = opened()
    assert ends.app.finished is ends.platform.finished is False
    assert not ends.app.ended and not ends.platform.ended
    ends.app.close()
    assert ends.app.ended and not ends.app.finished
    ends.exchange()
    assert ends.app.finished and ends.platform.finished


@pytest.mark.parametrize("sender", ["app", "platform"])
@pytest.mark.parametrize("said", [(), (1000, "done"), (4000, "ça suffit")])
def test_a_close_comes_through_with_its_code_and_reason(
    sender: str, said: tuple[int, str] | tuple[()]
) -> None:
    ends = opened()
    getattr(ends, sender).close(*said)
    ends.exchange()
    code, reason = said or (1000, "")
    saw = ends.platform_saw if sender == "app" else ends.app_saw
    assert saw == [Close(code, reason), Closed(code, reason, clean=True)]
    assert ends.task.result is not None
    if sender == "app":
        assert ends.task.result.end is ListenEnd.APP_CLOSED
    assert ends.app.session.ended


def test_pings_are_answered_both_ways_with_what_they_carry() -> None:
    ends = opened()
    ends.app.ping(b"to the platform")
    ends.platform.ping()
    ends.exchange()
    assert ends.platform_saw == [Ping(b"to the platform"), Pong(b"")]
    assert ends.app_saw == [Ping(b""), Pong(b"to the platform")]


def test_a_failure_says_why_behind_what_waits() -> None:
    ends = opened()
    ends.send(Mark("said before"))
    error = RemoteProtocolError("too much of it", clause="LP-HS-5", close_code=1009)
    ends.app.fail(error)
    assert ends.app.session.ended
    assert ends.app.waiting > 0
    ends.exchange()
    (mark, close, closed) = ends.platform_saw
    assert mark == Mark("said before")
    assert close == Close(1009, "too much of it [LP-HS-5]")
    assert closed == Closed(1009, "too much of it [LP-HS-5]", clean=True)
    assert ends.app.waiting == 0


def test_what_waits_as_the_framing_breaks_is_sent_before_the_close() -> None:
    ends = opened()
    ends.app.ping(b"?")
    ends.send(Mark("said before"))
    with pytest.raises(RemoteProtocolError) as caught:
        ends.to_app(b"\xff\x80" + bytes(4))
    assert ends.app.has_data_to_send
    ends.app.fail(caught.value)
    ends.to_platform(ends.app.data_to_send())
    (ping, mark, _, closed) = ends.platform_saw
    assert (ping, mark) == (Ping(b"?"), Mark("said before"))
    assert isinstance(closed, Closed)
    assert (closed.code, closed.clean) == (1002, True)
    assert not ends.app.has_data_to_send


def test_a_failure_of_ones_own_finishes_the_connection_too() -> None:
    ends = opened()
    ends.app.fail(LocalProtocolError("no more of this", clause="LP-META-2"))
    assert ends.app.finished


def test_a_failure_is_kept_as_the_close_that_it_is() -> None:
    task = ListenTask(verb(Mode.CLIPS), {}, keep_passed=True)
    task.connected()
    connection = PlatformConnection(task)
    connection.fail(RemoteProtocolError("why", clause="LP-HS-5"))
    assert list(connection.passed())[-1] == (Peer.PLATFORM, Close(1002, "why [LP-HS-5]"))


def test_what_knows_the_request_knows_the_mode() -> None:
    def mode_of(request: Request | None, metadata: Metadata) -> Mode:
        assert request is not None
        return Mode(request.target.partition("?way=")[2])

    app = AppConnection(AppSession(mode=mode_of))
    task = ListenTask(ListenVerb(url="ws://app.example:8080/call?way=streaming"), {})
    platform = PlatformConnection(task, headers=[("X-Trace", "7")])
    (request,) = app.receive(platform.data_to_send())
    assert isinstance(request, Request)
    assert app.session.request is request
    assert (request.header("host"), request.header("x-trace")) == ("app.example:8080", "7")
    app.answer(judge_request(request, HandshakePolicy()))
    for event in _given(platform, app.data_to_send()):
        assert not isinstance(event, Violation)
    assert [type(event) for event in _given(app, platform.data_to_send())] == [Metadata]
    assert app.session.mode is Mode.STREAMING


@pytest.mark.parametrize(
    "ending",
    [b"\x88\x82\0\0\0\0\x03\xe8", b"\xff\x80\0\0\0\0", b""],
    ids=["close", "fault", "loss"],
)
def test_what_is_cut_short_was_heard_until_then_by_the_clock(ending: bytes) -> None:
    ends = Ends(Mode.CLIPS)
    ends.exchange()
    sent = ends.app.send(PlayAudio(bytes(32000), sample_rate=8000), now=1.0)
    assert sent is not None
    try:
        list(ends.app.receive(ending, now=2.5))
    except RemoteProtocolError as error:
        ends.app.fail(error)
    assert (sent.outcome, sent.heard) == (Outcome.LOST, 1.5)


def test_what_came_with_the_request_is_read_after_a_later_answer() -> None:
    app = AppConnection(AppSession())
    platform = PlatformConnection(ListenTask(verb(Mode.CLIPS), {}))
    metadata = Connection(ConnectionType.CLIENT).send(TextMessage("{}"))
    (request,) = app.receive(platform.data_to_send() + metadata)
    assert isinstance(request, Request)
    assert [*app.events()] == []
    app.answer(judge_request(request, HandshakePolicy()))
    assert [type(event) for event in app.events()] == [Metadata]


def test_what_is_not_taken_comes_with_what_is_received_next() -> None:
    ends = Ends()
    ends.exchange()
    ends.task.capture(bytes(320))
    ends.app.receive(ends.platform.data_to_send())
    ends.task.key("5")
    assert [*ends.app.receive(ends.platform.data_to_send())] == [Audio(bytes(320)), Dtmf("5", 800)]


def _given(connection: AppConnection | PlatformConnection, data: bytes) -> list[ConnectionEvent]:
    return [*connection.receive(data)]


def test_credentials_come_beside_the_other_headers() -> None:
    auth = WsAuth(username="alice", password="secret")
    task = ListenTask(ListenVerb(url="ws://app.example/", ws_auth=auth), {})
    platform = PlatformConnection(task, headers=[("X-Trace", "7")])
    (request,) = _given(AppConnection(AppSession()), platform.data_to_send())
    assert isinstance(request, Request)
    assert request.header("x-trace") == "7"
    locked = HandshakePolicy(credentials=("alice", "secret"))
    assert judge_request(request, locked) == Accept("audio.jambonz.org")


@pytest.mark.parametrize("kind", [AppConnection, PlatformConnection])
def test_each_end_has_limits_of_its_own(
    kind: type[AppConnection] | type[PlatformConnection],
) -> None:
    def ends(**limits: int) -> Ends:
        new = Ends()
        if kind is AppConnection:
            new.app = AppConnection(AppSession(mode=Mode.STREAMING), **limits)
        else:
            new.platform = PlatformConnection(new.task, **limits)
        return new

    with pytest.raises(RemoteProtocolError, match="20 bytes"):
        ends(max_head=20).exchange()
    limited = ends(max_message=400)
    limited.exchange()
    for size in (400, 401):
        if kind is AppConnection:
            limited.task.session.send(Audio(bytes(size)))
        else:
            limited.send(Audio(bytes(size + size % 2)))
        if size == 400:
            limited.exchange()
    with pytest.raises(RemoteProtocolError, match="more than 400 bytes") as caught:
        limited.exchange()
    assert caught.value.close_code == 1009


def test_the_bytes_of_one_write_are_bounded() -> None:
    ends = Ends()
    ends.exchange()
    for _ in range(10):
        ends.send(Audio(bytes(30_000)))
    sizes = []
    while data := ends.app.data_to_send(limit=65536):
        sizes.append(len(data))
        ends.to_platform(data)
    assert max(sizes) < 65536 + 30_010
    assert len(sizes) > 3
    assert sum(len(e.pcm) for e in ends.platform_saw if isinstance(e, Audio)) == 300_000


def test_a_write_of_64_kib_is_full() -> None:
    ends = opened()
    ends.send(Audio(bytes(65536)), Audio(bytes(2)))  # each has a header of 10 or 2 bytes
    assert [len(ends.app.data_to_send()) for _ in range(3)] == [65546, 4, 0]


def test_what_was_not_sent_when_the_other_end_closed_is_dropped() -> None:
    ends = Ends()
    ends.exchange()
    ends.task.hang_up()
    closing = ends.platform.data_to_send()
    ends.send(Mark("too late"))
    ends.to_app(closing)
    ends.exchange()
    assert not [e for e in ends.platform_saw if isinstance(e, Mark | MarkEvent)]
    assert ends.app.finished


def test_an_accepted_request_names_the_subprotocol_that_was_offered() -> None:
    ends = Ends(subprotocols=("audio.drachtio.org",))
    ends.exchange()
    assert ends.platform_saw[0].subprotocol == "audio.drachtio.org"  # type: ignore[union-attr]
    request = ends.app_saw[0]
    assert isinstance(request, Request)
    assert judge_request(request, HandshakePolicy()) == Accept("audio.drachtio.org")
    assert isinstance(
        judge_request(request, HandshakePolicy(subprotocols=("audio.jambonz.org",))), Reject
    )


def test_a_fault_of_the_conversation_is_raised_for_ever_too() -> None:
    ends = Ends(
        policy=HandshakePolicy(subprotocols=("other",), allow_no_subprotocol=True), subprotocols=()
    )
    with pytest.raises(RemoteProtocolError, match="LP-HS-5"):
        ends.exchange()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="LP-HS-5") as caught:
            list(ends.platform.events())
    ends.platform.fail(caught.value)
    assert ends.platform.finished
    assert ends.platform.data_to_send() != b""


def test_a_hang_up_before_the_upgrade_is_answered_ends_the_call_without_metadata() -> None:
    ends = Ends()
    ends.task.hang_up()
    ends.exchange()
    assert ends.platform.finished
    assert not [event for event in ends.app_saw if isinstance(event, Metadata)]
    assert ends.task.result is not None
    assert ends.task.result.end is ListenEnd.NOT_CONNECTED
