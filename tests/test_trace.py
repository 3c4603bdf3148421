"""Traces: read back as written, refused by line number, judged to the right line."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto._messages import (
    Audio,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Mode,
    Payload,
    Peer,
    PlayAudio,
    PlayDone,
)
from listenproto._review import judge_trace
from listenproto._trace import (
    MAX_AUDIO,
    MAX_LINE,
    Trace,
    TraceError,
    TraceHeader,
    TraceLine,
    TraceMoment,
    read_trace,
)
from listenproto._verb import BidirectionalAudio, ListenVerb, WsAuth
from listenproto.codec import encode
from listenproto.testing import app_messages, json_objects, metadata, platform_messages

PASSWORD = "open-sesame"
STREAM = BidirectionalAudio(streaming=True, sample_rate=24000)

VERBS = st.builds(
    ListenVerb,
    url=st.sampled_from(["wss://app.example/call?a=1", "/call"]),
    action_hook=st.none() | json_objects(),
    bidirectional_audio=st.sampled_from([BidirectionalAudio(), STREAM]),
    finish_on_key=st.text("0123456789*#ABCD", max_size=3),
    max_length=st.none() | st.integers(1, 3600),
    metadata=json_objects(),
    mix_type=st.sampled_from(MixType),
    pass_dtmf=st.booleans(),
    sample_rate=st.sampled_from([8000, 64000]),
)
HEADERS = st.builds(
    TraceHeader,
    vantage=st.sampled_from(Peer),
    way=VERBS | st.sampled_from(Mode),
    profile=st.sampled_from(["documented", "deployed"]),
    attributes=json_objects(),
)
TEXTS = st.text(st.characters(codec="utf-8")) | st.binary().map(
    lambda b: b.decode(errors="surrogateescape")  # as a text that was cut inside a character
)
REASONS = st.text(st.characters(codec="utf-8"), max_size=40)
PAYLOADS = st.one_of(
    TEXTS,
    st.binary(),
    st.sampled_from(TraceMoment),
    st.builds(Close, st.integers(1000, 4999), REASONS),
)
COUNTS = st.integers(0, 2**60)
LINES = st.builds(TraceLine, COUNTS, st.sampled_from(Peer), COUNTS, PAYLOADS)


def written(trace: Trace, *, with_audio: bool = True) -> list[str]:
    """The lines of a file."""
    lines = [trace.header.to_json()]
    return lines + [line.to_json(with_audio=with_audio) for line in trace.lines]


@given(HEADERS, st.lists(LINES, max_size=5), st.sampled_from(["", "\n", "\r\n"]))
def test_a_trace_is_read_as_it_was_written(
    header: TraceHeader, lines: list[TraceLine], end: str
) -> None:
    trace = Trace(header, tuple(lines))
    text = written(trace)
    assert all(line.isascii() and line.isprintable() for line in text)
    assert read_trace(line + end for line in text) == trace


@given(HEADERS, st.lists(LINES, max_size=5))
def test_without_audio_only_its_length_is_kept(header: TraceHeader, lines: list[TraceLine]) -> None:
    read = read_trace(written(Trace(header, tuple(lines)), with_audio=False))
    assert read.header == header
    for line, kept in zip(lines, read.lines, strict=True):
        payload = line.payload
        silence = bytes(len(payload)) if isinstance(payload, bytes) else payload
        assert kept == TraceLine(line.at, line.sender, line.position, silence)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (
            TraceHeader(vantage=Peer.APP, way=Mode.CLIPS),
            '{"trace":1,"vantage":"app","profile":"documented","mode":"clips","attributes":{}}',
        ),
        (
            TraceHeader(
                vantage=Peer.PLATFORM,
                way=ListenVerb(url="/a", bidirectional_audio=STREAM),
                profile="deployed",
                attributes={"callSid": "c"},
            ),
            '{"trace":1,"vantage":"platform","profile":"deployed","verb":{"verb":"listen",'
            '"url":"/a","bidirectionalAudio":{"streaming":true,"sampleRate":24000}},'
            '"attributes":{"callSid":"c"}}',
        ),
    ],
)
def test_how_a_header_looks(header: TraceHeader, text: str) -> None:
    assert header.to_json() == text
    assert read_trace([text]) == Trace(header, ())


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ('{"a":"\u20ac"}', '"text":"{\\"a\\":\\"\\u20ac\\"}"'),
        (b"\0\0\0", '"audio":"AAAA"'),
        (Close(1000, "bye"), '"close":1000,"reason":"bye"'),
        (TraceMoment.OPEN, '"open":true'),
        (TraceMoment.LOST, '"lost":true'),
    ],
)
def test_how_a_line_looks(payload: Payload | TraceMoment, text: str) -> None:
    line = TraceLine(20_000, Peer.PLATFORM, 160, payload)
    assert line.to_json() == '{"at":20000,"from":"platform","position":160,' + text + "}"


def test_how_audio_that_was_left_out_looks() -> None:
    line = TraceLine(0, Peer.APP, 0, bytes(320))
    assert line.to_json(with_audio=False) == '{"at":0,"from":"app","position":0,"bytes":320}'


def test_what_may_be_left_out_of_a_line() -> None:
    header = '{"trace":1,"vantage":"app","profile":"documented","mode":"off"}'
    close = '{"at":1,"from":"app","position":0,"close":1005}'
    assert read_trace([header, close]) == Trace(
        TraceHeader(vantage=Peer.APP, way=Mode.OFF), (TraceLine(1, Peer.APP, 0, Close(1005, "")),)
    )


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(
            ListenVerb(url="/a", transcribe={"recognizer": {"apiKey": PASSWORD}}), id="transcribe"
        ),
        pytest.param(
            ListenVerb(url="/a", ws_auth=WsAuth(username="alice", password=PASSWORD)), id="wsAuth"
        ),
        pytest.param(ListenVerb(url="/a", auth={"token": PASSWORD}), id="auth"),
        pytest.param(
            ListenVerb(url="/a", action_hook={"url": "/b", "username": "a", "password": PASSWORD}),
            id="actionHook",
        ),
        pytest.param(
            ListenVerb(url="/a", action_hook=f"https://alice:{PASSWORD}@app.example/done"),
            id="URL of the actionHook",
        ),
    ],
)
def test_no_password_is_written(verb: ListenVerb) -> None:
    header = TraceHeader(vantage=Peer.PLATFORM, way=verb)
    assert PASSWORD not in header.to_json()
    assert PASSWORD not in repr(header)
    way = read_trace([header.to_json()]).header.way
    assert isinstance(way, ListenVerb)
    assert way.url == "/a"


@pytest.mark.parametrize(
    ("payload", "finished"),
    [
        (Close(1006), True),
        (TraceMoment.LOST, True),
        (TraceMoment.OPEN, False),
        ("close", False),
        (b"", False),
    ],
)
def test_a_trace_is_finished_by_the_end_of_its_connection(
    payload: Payload | TraceMoment, finished: bool
) -> None:
    header = TraceHeader(vantage=Peer.APP, way=Mode.OFF)
    assert not Trace(header, ()).finished
    for sender in Peer:
        assert Trace(header, (TraceLine(0, sender, 0, payload),)).finished is finished


# Lines that cannot be read.

HEAD: dict[str, Any] = {"trace": 1, "vantage": "app", "profile": "documented", "mode": "clips"}
LINE: dict[str, Any] = {"at": 0, "from": "app", "position": 0}
GOOD = json.dumps(LINE | {"lost": True})


def refusal(lines: list[str]) -> str:
    with pytest.raises(TraceError) as info:
        read_trace(lines)
    return str(info.value)


@given(HEADERS, st.lists(LINES, min_size=1, max_size=5), st.data())
def test_what_stands_before_a_cut_line_is_given(
    header: TraceHeader, lines: list[TraceLine], data: st.DataObject
) -> None:
    text = written(Trace(header, tuple(lines)))
    text[-1] = text[-1][: data.draw(st.integers(0, len(text[-1]) - 1))]
    with pytest.raises(TraceError) as info:
        read_trace(text)
    assert info.value.line == len(text)
    assert info.value.before == Trace(header, tuple(lines[:-1]))


def test_before_a_header_stands_nothing() -> None:
    for lines in ([], ["{"], [GOOD]):
        with pytest.raises(TraceError) as info:
            read_trace(lines)
        assert (info.value.line, info.value.before) == (1, None)


def start_of_refusal(number: int) -> str:
    """How the refusal of a line starts; without its first line, the header, it is no trace."""
    return "not a trace file (line 1: " if number == 1 else f"line {number}: "


def assert_refused(lines: list[str], number: int, words: str) -> None:
    reason = refusal(lines)
    assert reason.startswith(start_of_refusal(number))
    assert words in reason
    assert "\n" not in reason and len(reason) < 320


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trace": 2}, "'trace' must be 1 (the format version)"),
        ({"trace": "1"}, "'trace' must be 1 (the format version)"),
        ({"trace": None}, "'trace' must be 1 (the format version)"),
        ({"profile": "other"}, "'profile' must be 'documented' or 'deployed'; it is 'other'"),
        ({"profile": None}, "'profile'"),
        ({"profile": []}, "'profile'"),
        ({"profile": {}}, "'profile'"),
        ({"attributes": []}, "'attributes'"),
        ({"attributes": None}, "'attributes'"),
        ({"trace": "x" * 5000}, "'trace'"),
        ({"profile": "x" * 5000}, "'profile'"),
        ({"vantage": "caller"}, "'vantage' must be 'platform' or 'app'; it is 'caller'"),
        ({"vantage": []}, "'vantage'"),
        ({"mode": "both"}, "'mode' must be 'off', 'clips' or 'streaming'; it is 'both'"),
        ({"mode": {}}, "'mode'"),
        ({"mode": "x" * 5000}, "'mode'"),
        ({"verb": 5}, "'verb' is not valid: listen verb must be a JSON object"),
        ({"verb": {}}, "url"),
        ({"verb": {"url": "/a", "pasDtmf": True}}, "passDtmf"),
    ],
)
def test_a_header_that_is_wrong(changes: dict[str, Any], words: str) -> None:
    assert_refused([json.dumps(HEAD | changes), GOOD], 1, words)


@pytest.mark.parametrize("key", ["trace", "profile", "vantage", "mode"])
def test_a_header_that_lacks_a_member(key: str) -> None:
    head = {name: HEAD[name] for name in HEAD if name != key}
    assert_refused([json.dumps(head)], 1, f"'{key}' must be ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"at": -1}, "'at' must be a whole number, not -1"),
        ({"at": 0.5}, "'at'"),
        ({"at": "0"}, "'at'"),
        ({"at": True}, "'at'"),
        ({"at": None}, "'at'"),
        ({"at": "x" * 5000}, "'at'"),
        ({"position": -1}, "'position'"),
        ({"position": None}, "'position'"),
        ({"from": "caller"}, "'from' must be 'platform' or 'app'; it is 'caller'"),
        ({"from": None}, "'from'"),
        ({"from": []}, "'from'"),
        ({}, "one of text, audio, bytes, close, open and lost"),
        ({"lost": True, "open": True}, "one of text"),
        ({"lost": True, "text": None}, "one of text"),
        ({"lost": None}, "'lost' must be true, not None"),
        ({"open": False}, "'open' must be true"),
        ({"lost": 1}, "'lost' must be true"),
        ({"text": 5}, "'text' must be a string, not 5"),
        ({"close": 1000, "reason": 5}, "'reason' must be a string"),
        ({"audio": None}, "'audio' must be a string"),
        ({"audio": "AAAA="}, "'audio' is not valid base64"),
        ({"at": 2**61, "lost": True}, "'at' must be at most"),
        ({"close": 65536}, "'close' must be at most"),
        ({"audio": "A"}, "'audio' is not valid base64"),
        ({"audio": "AA=A"}, "'audio' is not valid base64"),
        ({"audio": "AAAA\n"}, "'audio' is not valid base64"),
        ({"audio": "\u00e4"}, "'audio' is not valid base64"),
        ({"bytes": -1}, "'bytes'"),
        ({"bytes": "320"}, "'bytes'"),
        ({"bytes": MAX_AUDIO + 1}, "'bytes' must be at most"),
        ({"bytes": 10**20}, "'bytes' must be at most"),
        ({"bytes": 10**400}, "a number has 401 characters"),
        ({"bytes": float("nan")}, "NaN is not JSON"),
        ({"close": -1}, "'close'"),
        ({"close": "1000"}, "'close'"),
    ],
)
def test_a_line_that_is_wrong(line: dict[str, Any], words: str) -> None:
    bad = json.dumps(LINE | line, ensure_ascii=False)
    assert_refused([json.dumps(HEAD), bad, GOOD], 2, words)
    assert_refused([json.dumps(HEAD), GOOD, GOOD, bad], 4, words)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("\n", id="blank"),
        pytest.param("hello", id="a word"),
        pytest.param("[]", id="an array"),
        pytest.param("5", id="a number"),
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(GOOD + GOOD, id="two in one"),
        pytest.param("[" * 100_000, id="absurd nesting"),
        pytest.param('{"at":' + "9" * 5000 + "}", id="number of thousands of digits"),
    ],
)
def test_what_is_no_json_object(text: str) -> None:
    assert_refused([text, GOOD], 1, "")
    assert_refused([json.dumps(HEAD), GOOD, text, "another"], 3, "")


def test_a_line_that_is_nested_too_deeply_is_said_to_be() -> None:
    assert_refused([json.dumps(HEAD), "[" * 100_000], 2, ": nested too deeply")


def test_a_line_without_an_end_is_not_read() -> None:
    assert_refused(
        [json.dumps(HEAD), GOOD + " " * MAX_LINE], 2, f"longer than {MAX_LINE} characters"
    )


def test_a_trace_without_a_header() -> None:
    assert refusal([]) == "not a trace file (line 1: the header is missing)"
    assert_refused([GOOD], 1, "'trace'")


@given(HEADERS, st.lists(LINES, min_size=1, max_size=3), st.data())
def test_a_damaged_file_is_read_or_refused(
    header: TraceHeader, lines: list[TraceLine], data: st.DataObject
) -> None:
    text = written(Trace(header, tuple(lines)))
    number = data.draw(st.integers(0, len(text) - 1))
    obj = json.loads(text[number])
    obj[data.draw(st.sampled_from(sorted(obj)))] = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(-1, 10), st.just([]), json_objects())
    )
    text[number] = json.dumps(obj)
    try:
        read = read_trace(text)
    except TraceError as exc:
        found = str(exc)
    else:
        assert len(read.lines) == len(lines)
        return
    assert found.startswith(start_of_refusal(number + 1))


# Judging.


def recorded(
    way: ListenVerb | Mode,
    *messages: tuple[Peer, Message | str],
    profile: str = "documented",
    vantage: Peer = Peer.APP,
) -> Trace:
    """A trace of messages 20 ms apart; text stands for itself, the metadata goes in front."""
    lines = [TraceLine(0, Peer.PLATFORM, 0, encode(Metadata({"callSid": "c"}), Peer.PLATFORM))]
    for number, (sender, message) in enumerate(messages, 1):
        payload = message if isinstance(message, str) else encode(message, sender)
        lines.append(TraceLine(20_000 * number, sender, 160 * number, payload))
    return Trace(TraceHeader(vantage=vantage, way=way, profile=profile), tuple(lines))


def breaches(trace: Trace, vantage: Peer | None = None) -> list[tuple[int, str, Peer]]:
    return [
        (number, breach.clause, breach.sender)
        for number, breach in judge_trace(trace, vantage=vantage)
    ]


A, P = Peer.APP, Peer.PLATFORM
SPEECH = Audio(bytes(320))
CLIP = PlayAudio(bytes(320), sample_rate=8000)

CONVERSATIONS = [
    pytest.param(
        recorded(
            Mode.STREAMING,
            (P, SPEECH),
            (A, SPEECH),
            (A, Mark("a")),
            (P, MarkEvent("a", "playout")),
            (A, Mark("b")),
            (A, KillAudio()),
            (P, MarkEvent("b", "cleared")),
            (A, Disconnect()),
            (P, Close()),
            (A, Close()),
        ),
        [],
        id="stream",
    ),
    pytest.param(
        recorded(Mode.CLIPS, (A, CLIP), (P, Dtmf("1")), (P, PlayDone()), (P, Close())),
        [],
        id="clips",
    ),
    pytest.param(
        recorded(
            Mode.STREAMING,
            (A, Mark("a")),
            (P, SPEECH),
            (P, MarkEvent("a", "playout")),
            (P, MarkEvent("a", "playout")),
            (A, CLIP),
            (P, "hello"),
            (P, SPEECH),
        ),
        [(6, "LP-MARK-9", P), (7, "LP-CLIP-1", A), (8, "LP-ODD-2", P)],
        id="several breaches",
    ),
    pytest.param(
        recorded(Mode.OFF, (A, SPEECH), (A, Audio(b"")), (A, KillAudio())),
        [(3, "LP-STRM-1", A), (5, "LP-KILL-1", A)],
        id="nothing may come back",
    ),
    pytest.param(
        recorded(Mode.CLIPS, (P, Audio(bytes(319))), (P, Audio(bytes(2))), (P, Close())),
        [(5, "LP-AUD-1", P)],
        id="audio that ends inside a sample",
    ),
    pytest.param(
        recorded(Mode.CLIPS, (P, Metadata()), (P, Close()), (P, SPEECH)),
        [(3, "LP-META-4", P), (5, "LP-END-6", P)],
        id="metadata again, audio after the close",
    ),
    pytest.param(
        recorded(Mode.CLIPS, (P, '{"type":"playDone"}{"type":"mark"}{"type":"playDone"}')),
        [(3, "LP-CLIP-24", P), (3, "LP-MARK-7", P), (3, "LP-CLIP-24", P)],
        id="several breaches in one line",
    ),
    pytest.param(
        recorded(ListenVerb(url="/a"), (P, Dtmf("1")), (A, Mark("a"))),
        [(3, "LP-DTMF-1", P), (4, "LP-MARK-1", A)],
        id="against the verb",
    ),
    pytest.param(
        recorded(ListenVerb(url="/a", pass_dtmf=True, bidirectional_audio=STREAM), (P, Dtmf("1"))),
        [],
        id="by the verb",
    ),
]


@pytest.mark.parametrize("with_audio", [True, False])
@pytest.mark.parametrize(("trace", "expected"), CONVERSATIONS)
def test_each_breach_is_found_in_its_line(
    trace: Trace, expected: list[tuple[int, str, Peer]], with_audio: bool
) -> None:
    assert breaches(trace) == expected
    assert breaches(read_trace(written(trace, with_audio=with_audio))) == expected


def test_the_first_message_must_be_metadata() -> None:
    header = TraceHeader(vantage=Peer.APP, way=Mode.CLIPS)
    lines = [
        TraceLine(0, P, 0, TraceMoment.OPEN),
        TraceLine(0, P, 0, bytes(320)),
        TraceLine(0, P, 0, '{"sampleRate":44100}'),
        TraceLine(0, A, 0, '{"type":"killAudio"}'),
        TraceLine(0, P, 0, "{}"),
        TraceLine(0, A, 0, '{"type":"killAudio"}'),  # it had to close
        TraceLine(0, P, 0, TraceMoment.LOST),
    ]
    assert breaches(Trace(header, tuple(lines))) == [
        (3, "LP-META-1", P),
        (4, "LP-META-5", P),
        (5, "LP-META-13", A),
        (7, "LP-META-13", A),
    ]


def test_metadata_on_record_is_held_against_the_verb() -> None:
    asking = ListenVerb(url="/a", sample_rate=16000, metadata={"order": 7})
    assert breaches(recorded(asking)) == [(2, "LP-META-7", P), (2, "LP-META-15", P)]
    assert breaches(recorded(ListenVerb(url="/a"))) == []


@pytest.mark.parametrize(("size", "expected"), [(8192, []), (8193, [(2, "LP-META-11", P)])])
def test_metadata_on_record_that_is_too_long_is_found(
    size: int, expected: list[tuple[int, str, Peer]]
) -> None:
    text = '{"callSid":"' + "c" * (size - 14) + '"}'
    lines = (TraceLine(0, P, 0, text), TraceLine(1, P, 0, bytes(320)))
    assert breaches(Trace(TraceHeader(vantage=Peer.APP, way=Mode.CLIPS), lines)) == expected


def test_how_an_app_closed_on_unusable_metadata_is_judged_at_its_own_end() -> None:
    for text, clause, due, owed in (
        ("[]", "LP-META-1", 1002, "LP-META-2"),
        ("{", "LP-ODD-2", 1007, "LP-META-3"),
    ):
        for code in (1000, due):
            lines = (TraceLine(0, P, 0, text), TraceLine(1, A, 0, Close(code)))
            trace = Trace(TraceHeader(vantage=Peer.APP, way=Mode.CLIPS), lines)
            close = [] if code == due else [(3, owed, A)]
            assert breaches(trace) == [(2, clause, P), *close]
            assert breaches(trace, vantage=P) == [(2, clause, P)]


def test_the_profile_on_record_is_what_is_judged_by() -> None:
    clip = '{"type":"playAudio","data":{"audioContent":"","audioContentType":"raw","sampleRate":'
    messages: list[tuple[Peer, Message | str]] = [(A, clip + '"44100"}}'), (P, PlayDone())]
    documented = recorded(Mode.CLIPS, *messages)
    assert breaches(documented) == [(3, "LP-CLIP-8", A), (4, "LP-CLIP-24", P)]
    assert breaches(recorded(Mode.CLIPS, *messages, profile="deployed")) == []
    marks = [(A, Mark(str(n))) for n in range(31)]
    assert breaches(recorded(Mode.STREAMING, *marks)) == []
    deployed = recorded(Mode.STREAMING, *marks, profile="deployed")
    assert breaches(deployed) == [(33, "LP-MARK-2", A)]


def test_the_vantage_on_record_is_what_is_judged_from() -> None:
    # A playDone may cross a killAudio on its way to the app, but not as the platform sees it.
    messages: list[tuple[Peer, Message | str]] = [(A, CLIP), (A, KillAudio()), (P, PlayDone())]
    at_app = recorded(Mode.CLIPS, *messages)
    at_platform = recorded(Mode.CLIPS, *messages, vantage=P)
    accused = [(5, "LP-KILL-8", P)]
    assert breaches(at_app) == breaches(at_platform, vantage=A) == []
    assert breaches(at_platform) == breaches(at_app, vantage=P) == accused


@given(
    metadata(),
    st.lists(st.tuples(st.just(P), platform_messages()) | st.tuples(st.just(A), app_messages())),
    st.sampled_from(Mode),
    st.sampled_from(["documented", "deployed"]),
    st.sampled_from(Peer),
)
def test_a_verdict_does_not_depend_on_the_audio(
    first: Metadata,
    messages: list[tuple[Peer, Message]],
    mode: Mode,
    profile: str,
    vantage: Peer,
) -> None:
    trace = recorded(mode, *messages, profile=profile, vantage=vantage)
    opening = TraceLine(0, Peer.PLATFORM, 0, encode(first, Peer.PLATFORM))
    trace = Trace(trace.header, (opening, *trace.lines[1:]))
    verdict = judge_trace(trace)
    silent = judge_trace(read_trace(written(trace, with_audio=False)))
    assert [(n, v.clause, v.reason) for n, v in silent] == [
        (n, v.clause, v.reason) for n, v in verdict
    ]
    assert all(2 <= number < 2 + len(trace.lines) for number, _ in verdict)


def test_a_connection_lost_inside_a_sample_is_nobodys_breach() -> None:
    lines = (
        TraceLine(0, Peer.PLATFORM, 0, "{}"),
        TraceLine(1, Peer.PLATFORM, 0, b"odd"),
        TraceLine(2, Peer.PLATFORM, 0, TraceMoment.LOST),
    )
    assert judge_trace(Trace(TraceHeader(vantage=Peer.APP, way=Mode.CLIPS), lines)) == []


def test_a_mode_that_is_not_the_verbs_own_is_on_record() -> None:
    header = TraceHeader(
        vantage=Peer.PLATFORM, way=ListenVerb(url="ws://app.example/"), mode=Mode.OFF
    )
    assert read_trace([header.to_json()]).header == header
    lines = (
        TraceLine(0, Peer.PLATFORM, 0, "{}"),
        TraceLine(1, Peer.APP, 0, '{"type":"killAudio"}'),
    )
    (found,) = judge_trace(Trace(header, lines))
    assert (found[0], found[1].clause) == (3, "LP-KILL-1")


def test_a_trace_is_judged_by_the_mode_of_the_call_even_if_no_verb_could_give_it() -> None:
    verb = ListenVerb(url="ws://app.example/")
    header = TraceHeader(vantage=Peer.PLATFORM, way=verb, mode=Mode.STREAMING)
    lines = (TraceLine(0, Peer.PLATFORM, 0, "{}"), TraceLine(1, Peer.APP, 0, bytes(2)))
    assert judge_trace(Trace(read_trace([header.to_json()]).header, lines)) == []
    assert [v.clause for _, v in judge_trace(Trace(attrs.evolve(header, mode=None), lines))] == [
        "LP-STRM-1"
    ]
