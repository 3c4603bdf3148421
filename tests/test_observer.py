"""The observer names each breach with its clause, and never accuses an innocent."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    AppLimits,
    Audio,
    ClearMarks,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    ListenVerb,
    Malformed,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Mode,
    Observer,
    Peer,
    PlayAudio,
    PlayDone,
    Profile,
    UnknownMessage,
)
from listenproto._marks import AppMarks
from listenproto._sent import Record
from listenproto._wav import wav_header
from listenproto.codec import decode

P, A = Peer.PLATFORM, Peer.APP
CLIPS, STREAMING, OFF = Mode.CLIPS, Mode.STREAMING, Mode.OFF

METADATA = (P, Metadata({"callSid": "c"}))


def clip(clip_id: str | None = None, *, queue_play: bool | None = None) -> tuple[Peer, Message]:
    return A, PlayAudio(bytes(320), sample_rate=8000, id=clip_id, queue_play=queue_play)


def mark(name: str) -> tuple[Peer, Message]:
    return A, Mark(name)


def reached(name: str) -> tuple[Peer, Message]:
    return P, MarkEvent(name, "playout")


def cleared(name: str) -> tuple[Peer, Message]:
    return P, MarkEvent(name, "cleared")


KILL = (A, KillAudio())
CLEAR = (A, ClearMarks())
DONE = (P, PlayDone())
TWO_DONE = [(P, PlayDone("a")), (P, PlayDone("b"))]
SOUND = (P, Audio(bytes(320)))
STREAM = (A, Audio(bytes(320)))
BYE = (A, Disconnect())


def breaches(
    conversation: list[tuple[Peer, Message]],
    mode: Mode | ListenVerb = STREAMING,
    *,
    vantage: Peer = P,
    profile: Profile = DOCUMENTED,
    limits: AppLimits | None = None,
    without: frozenset[str] = frozenset(),
) -> list[tuple[int, str]]:
    """The breaches of a conversation behind its metadata: which message, which clause."""
    observer = Observer(mode, profile=profile, vantage=vantage, limits=limits, without=without)
    return [
        (index, violation.clause)
        for index, (sender, message) in enumerate([METADATA, *conversation])
        for violation in observer.see(sender, message)
    ]


BREAKING: list[tuple[str, Mode, list[tuple[Peer, Message]]]] = [
    ("LP-META-4", STREAMING, [METADATA]),
    ("LP-AUD-1", STREAMING, [(P, Audio(b"odd")), (P, Close())]),
    ("LP-AUD-1", STREAMING, [(A, Audio(b"odd")), (A, Close())]),
    ("LP-CLIP-1", STREAMING, [clip()]),
    ("LP-CLIP-1", OFF, [clip()]),
    ("LP-CLIP-2", CLIPS, [clip()] * 12),
    ("LP-CLIP-15", CLIPS, [clip("a"), clip("a")]),
    ("LP-CLIP-16", CLIPS, [(A, PlayAudio(b"odd", sample_rate=8000))]),
    ("LP-CLIP-31", CLIPS, [(A, PlayAudio(wav_header(2**31 - 1, 8000) + bytes(2), "wav"))]),
    ("LP-CLIP-24", CLIPS, [DONE]),
    ("LP-CLIP-24", CLIPS, [clip(), DONE, DONE]),
    ("LP-CLIP-24", CLIPS, [clip("a"), (P, PlayDone("b"))]),
    ("LP-CLIP-24", CLIPS, [clip("a"), KILL, (P, PlayDone("b"))]),
    ("LP-CLIP-25", CLIPS, [clip("a"), clip("b"), (P, PlayDone("b")), (P, PlayDone("a"))]),
    ("LP-STRM-1", CLIPS, [STREAM]),
    ("LP-STRM-1", OFF, [STREAM]),
    ("LP-MARK-1", CLIPS, [mark("a")]),
    ("LP-MARK-1", CLIPS, [CLEAR]),
    ("LP-MARK-1", OFF, [mark("a")]),
    ("LP-MARK-2", STREAMING, [mark("a")] * 1001),
    ("LP-MARK-9", STREAMING, [reached("a")]),
    ("LP-MARK-9", STREAMING, [mark("a"), reached("a"), reached("a")]),
    ("LP-MARK-14", STREAMING, [mark("a"), mark("b"), reached("b")]),
    ("LP-MARK-15", STREAMING, [mark("a"), CLEAR, reached("a")]),
    ("LP-KILL-1", OFF, [KILL]),
    ("LP-KILL-6", STREAMING, [mark("a"), cleared("a")]),
    ("LP-KILL-6", STREAMING, [KILL, mark("a"), cleared("a")]),
    ("LP-KILL-7", STREAMING, [mark("a"), KILL, reached("a")]),
    ("LP-KILL-8", CLIPS, [clip(), KILL, DONE]),
    ("LP-KILL-8", CLIPS, [clip("a"), KILL, (P, PlayDone("a"))]),
    ("LP-END-1", STREAMING, [BYE, KILL]),
    ("LP-END-4", STREAMING, [BYE, SOUND]),
    ("LP-END-4", STREAMING, [mark("a"), BYE, cleared("a")]),
    ("LP-END-6", STREAMING, [(P, Close()), SOUND]),
    ("LP-END-6", STREAMING, [(A, Close()), KILL]),
    ("LP-END-6", STREAMING, [(A, Close()), SOUND]),
    ("LP-END-5", STREAMING, [BYE, (P, Close(1011))]),
    ("LP-ODD-1", STREAMING, [(A, Dtmf("1"))]),
    ("LP-ODD-1", CLIPS, [(A, PlayDone())]),
    ("LP-ODD-1", STREAMING, [(A, MarkEvent("a", "playout"))]),
    ("LP-ODD-1", STREAMING, [(P, KillAudio())]),
    ("LP-ODD-1", STREAMING, [(P, Mark("a"))]),
    ("LP-ODD-2", STREAMING, [(A, Malformed("{", "this text is no JSON", "LP-ODD-2"))]),
]


@pytest.mark.parametrize(("clause", "mode", "conversation"), BREAKING)
def test_a_breach_is_named_with_its_clause_and_no_other(
    clause: str, mode: Mode, conversation: list[tuple[Peer, Message]]
) -> None:
    assert breaches(conversation, mode) == [(len(conversation), clause)]


@pytest.mark.parametrize(("clause", "mode", "conversation"), BREAKING)
def test_a_clause_switched_off_is_not_named(
    clause: str, mode: Mode, conversation: list[tuple[Peer, Message]]
) -> None:
    found = breaches(conversation, mode, without=frozenset({clause}))
    assert clause not in [named for _, named in found]


def test_a_wav_that_cannot_be_played_stands_for_no_clip() -> None:
    conversation = [(A, PlayAudio(b"RIFF", "wav")), DONE]
    assert breaches(conversation, CLIPS) == [(1, "LP-CLIP-10"), (2, "LP-CLIP-24")]


BINARY = (P, Audio(bytes(320)))
NO_OBJECT = (P, Malformed("[]", "this JSON is no object", "LP-META-1"))
NO_RATE = (P, Malformed("{}", "'sampleRate' is unusable", "LP-META-5"))
NO_MIX_TYPE = (P, Malformed("{}", "'mixType' is unusable", "LP-META-6"))
NO_JSON = (P, Malformed("{", "this text is no JSON", "LP-ODD-2"))


@pytest.mark.parametrize(
    ("clause", "opening"),
    [
        ("LP-META-1", BINARY),
        ("LP-META-1", (P, Dtmf("1"))),
        ("LP-META-1", NO_OBJECT),
        ("LP-META-5", NO_RATE),
        ("LP-META-6", NO_MIX_TYPE),
        ("LP-ODD-2", NO_JSON),
    ],
)
def test_nothing_goes_on_without_usable_metadata(
    clause: str, opening: tuple[Peer, Message]
) -> None:
    observer = Observer(STREAMING, vantage=A)
    (violation,) = observer.see(*opening)
    assert (violation.clause, violation.fatal) == (clause, True)
    assert violation.close_code == (1007 if clause == "LP-ODD-2" else 1002)


@pytest.mark.parametrize(
    ("opening", "due", "clause"),
    [
        (BINARY, 1002, "LP-META-2"),
        (NO_OBJECT, 1002, "LP-META-2"),
        (NO_RATE, 1002, "LP-META-2"),
        (NO_MIX_TYPE, 1002, "LP-META-2"),
        (NO_JSON, 1007, "LP-META-3"),
    ],
)
@pytest.mark.parametrize("code", [1000, 1002, 1005, 1007, 1011, 4000])
def test_an_app_closes_with_the_code_that_unusable_metadata_asks_for(
    opening: tuple[Peer, Message], due: int, clause: str, code: int
) -> None:
    for without in (frozenset[str](), frozenset({clause})):
        observer = Observer(STREAMING, vantage=A, without=without)
        observer.see(*opening)
        violations = observer.see(A, Close(code))
        expected = [] if code == due or without else [(clause, A, False, False)]
        assert [(v.clause, v.sender, v.dropped, v.fatal) for v in violations] == expected
        assert [v.clause for v in observer.see(*KILL)] == ["LP-END-6"]  # the close has passed


@pytest.mark.parametrize("opening", [BINARY, NO_OBJECT, NO_RATE, NO_MIX_TYPE, NO_JSON])
@pytest.mark.parametrize("code", [1000, 1002, 1007])
def test_as_the_platform_sees_it_the_app_may_have_closed_before_it_read(
    opening: tuple[Peer, Message], code: int
) -> None:
    observer = Observer(STREAMING, vantage=P)
    observer.see(*opening)
    assert observer.see(A, Close(code)) == []


@pytest.mark.parametrize(
    ("later", "code", "clauses"),
    [
        (NO_JSON, 1002, []),
        (NO_JSON, 1007, ["LP-META-2"]),
        (METADATA, 1002, []),
        (METADATA, 1000, ["LP-META-2"]),
    ],
)
def test_the_first_message_says_how_the_app_has_to_close(
    later: tuple[Peer, Message], code: int, clauses: list[str]
) -> None:
    observer = Observer(STREAMING, vantage=A)
    observer.see(*BINARY)
    observer.see(*later)
    assert [violation.clause for violation in observer.see(A, Close(code))] == clauses


@pytest.mark.parametrize("conversation", [[], [METADATA], [METADATA, NO_JSON]])
@pytest.mark.parametrize("vantage", Peer)
def test_an_app_may_close_with_any_code_where_the_metadata_did_not_fail(
    conversation: list[tuple[Peer, Message]], vantage: Peer
) -> None:
    observer = Observer(STREAMING, vantage=vantage)
    for sender, message in conversation:
        observer.see(sender, message)
    assert observer.see(A, Close(1011)) == []


def test_the_app_sends_nothing_before_the_metadata() -> None:
    for vantage in Peer:
        observer = Observer(STREAMING, vantage=vantage)
        (violation,) = observer.see(*KILL)
        assert (violation.clause, violation.fatal) == ("LP-META-13", False)
        assert observer.see(*METADATA) == []
        assert observer.see(*KILL) == []


def test_metadata_that_was_cut_is_reported_and_used() -> None:
    observer = Observer(STREAMING, vantage=A)
    (violation,) = observer.see(P, Metadata({}, truncated=True))
    assert (violation.clause, violation.dropped, violation.fatal) == ("LP-META-11", False, False)
    assert observer.see(*SOUND) == []


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("size", [8191, 8192, 8193])
def test_deployed_platforms_damage_metadata_of_up_to_8192_bytes(size: int, splits: bool) -> None:
    profile = attrs.evolve(DEPLOYED, splits_metadata=splits)
    observer = Observer(STREAMING, vantage=A, profile=profile)
    found = observer.see(P, Metadata({}, truncated=True, size=size))
    breaks = size > 8192 or (size < 8192 and not splits)
    assert [violation.clause for violation in found] == ["LP-META-11"] * breaks


@pytest.mark.parametrize(("value", "breaks"), [("O'Brien", False), (['"'], False), ("b", True)])
def test_what_deployed_platforms_damage_need_not_be_as_in_the_verb(
    value: Any, breaks: bool
) -> None:
    verb = ListenVerb(url="ws://app.example/", metadata={"a": value})
    observer = Observer(verb, vantage=A, profile=DEPLOYED)
    found = observer.see(P, Metadata({"a": "c"}))
    assert [violation.clause for violation in found] == ["LP-META-15"] * breaks


MINE = {"callSid": "mine", "note": {"a": [1, None]}, "empty": None}
ASKING = ListenVerb(
    url="ws://app.example/", sample_rate=16000, mix_type=MixType.STEREO, metadata=MINE
)
TWO = MixType.STEREO


@pytest.mark.parametrize(
    ("metadata", "clauses"),
    [
        (Metadata(MINE, 16000, TWO), []),
        (Metadata({"from": "+1", **MINE, "to": "+2"}, 16000, TWO), []),
        (Metadata(MINE, 8000, TWO), ["LP-META-7"]),
        (Metadata(MINE, 32000, TWO), ["LP-META-7"]),
        (Metadata(MINE, 16000, MixType.MONO), ["LP-META-7"]),
        (Metadata(MINE, 16000, MixType.MIXED), ["LP-META-7"]),
        (Metadata(MINE), ["LP-META-7"]),
        (Metadata({}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "callSid": "c"}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": {"a": [1]}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": {"a": {"1": None}}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": {"a": [True, None]}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": {"a": [1.0, None]}}, 16000, TWO), []),
        (Metadata({**MINE, "note": {"a": [1, 0]}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": {"a": 1}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": {"b": [1, None]}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": ["a"]}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "note": 1}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "empty": {}}, 16000, TWO), ["LP-META-15"]),
        (Metadata({**MINE, "empty": []}, 16000, TWO), ["LP-META-15"]),
        (Metadata({"callSid": "mine", "note": MINE["note"]}, 16000, TWO), ["LP-META-15"]),
        (Metadata({"metadata": MINE}, 16000, TWO), ["LP-META-15"]),
        (Metadata(MINE, 16000, TWO, size=8192), []),
        (Metadata(MINE, 16000, TWO, size=8193), ["LP-META-11"]),
        (Metadata(MINE, 16000, TWO, truncated=True, size=8192), ["LP-META-11"]),
        (Metadata({}, 16000, TWO, truncated=True), ["LP-META-11"]),  # the rest may be cut off
        (Metadata({}, size=9000), ["LP-META-11", "LP-META-7", "LP-META-15"]),
    ],
)
@pytest.mark.parametrize("vantage", Peer)
def test_metadata_is_held_against_the_verb_and_used(
    metadata: Metadata, clauses: list[str], vantage: Peer
) -> None:
    for without in (frozenset[str](), frozenset(clauses[:1])):
        observer = Observer(ASKING, vantage=vantage, without=without)
        violations = observer.see(P, metadata)
        assert [v.clause for v in violations] == [c for c in clauses if c not in without]
        assert {v.sender for v in violations} <= {P}
        assert not [v for v in violations if v.dropped or v.fatal]
        assert observer.see(*SOUND) == observer.see(A, Disconnect()) == []


@pytest.mark.parametrize(
    ("metadata", "clauses"),
    [
        (Metadata({}, 48000, MixType.MIXED, size=8192), []),
        (Metadata({}, 48000, MixType.MIXED, size=8193), ["LP-META-11"]),
    ],
)
def test_without_a_verb_only_the_size_of_metadata_can_be_wrong(
    metadata: Metadata, clauses: list[str]
) -> None:
    observer = Observer(STREAMING, vantage=A)
    assert [violation.clause for violation in observer.see(P, metadata)] == clauses


def test_a_verb_without_metadata_asks_for_none() -> None:
    observer = Observer(ListenVerb(url="ws://app.example/"), vantage=A)
    assert observer.see(*METADATA) == []


def test_dtmf_needs_a_verb_that_asks_for_it() -> None:
    verb = ListenVerb(url="ws://app.example/")
    assert breaches([(P, Dtmf("1"))], verb) == [(1, "LP-DTMF-1")]
    asking = ListenVerb(url="ws://app.example/", pass_dtmf=True)
    assert breaches([(P, Dtmf("1"))], asking) == []
    assert breaches([(P, Dtmf("1"))], CLIPS) == []


KEPT: list[tuple[Mode, list[tuple[Peer, Message]]]] = [
    (STREAMING, [SOUND, STREAM, mark("a"), reached("a")]),
    (STREAMING, [mark("a"), mark("a"), reached("a"), reached("a")]),
    (STREAMING, [mark("a"), mark("b"), KILL, cleared("a"), cleared("b")]),
    (STREAMING, [mark("a"), CLEAR, mark("b"), reached("b")]),
    (STREAMING, [mark("a"), CLEAR, mark("a"), reached("a")]),
    (STREAMING, [KILL, CLEAR, KILL]),
    (STREAMING, [(P, Audio(b"o")), (P, Audio(b"dd!")), (P, Close())]),
    (STREAMING, [BYE, (P, Close()), (A, Close())]),
    (STREAMING, [(A, Close(1011)), (P, Close(1011))]),
    (STREAMING, [(P, Close(1001)), (A, Close(1001))]),
    (CLIPS, [clip()] * 11 + [DONE, clip()] + [DONE] * 11),
    (CLIPS, [clip("a"), clip("b"), (P, PlayDone("a")), (P, PlayDone("b")), clip("a")]),
    (CLIPS, [clip("a"), KILL, clip("b"), DONE]),
    (CLIPS, [KILL, (A, Audio(b""))]),
    (OFF, [(A, Audio(b"")), (A, UnknownMessage({"type": "transcription"})), BYE]),
]


@pytest.mark.parametrize("vantage", Peer)
@pytest.mark.parametrize(("mode", "conversation"), KEPT)
def test_a_conversation_that_keeps_the_rules_is_not_accused(
    mode: Mode, conversation: list[tuple[Peer, Message]], vantage: Peer
) -> None:
    assert breaches(conversation, mode, vantage=vantage) == []


RACES: list[tuple[Mode, list[tuple[Peer, Message]]]] = [
    (CLIPS, [clip(), KILL, DONE]),
    (CLIPS, [clip(), clip(), KILL, clip(), DONE, DONE, DONE]),
    (CLIPS, [clip("a"), clip("b"), KILL, (P, PlayDone("b"))]),
    (STREAMING, [mark("a"), KILL, reached("a")]),
    (STREAMING, [mark("a"), mark("b"), KILL, reached("a"), cleared("b")]),
    (STREAMING, [mark("a"), mark("b"), KILL, reached("a"), reached("b")]),
    (STREAMING, [mark("a"), KILL, mark("b"), KILL, cleared("a"), reached("b")]),
    (STREAMING, [mark("a"), CLEAR, reached("a")]),
    (STREAMING, [mark("a"), CLEAR, mark("a"), reached("a"), reached("a")]),
    (STREAMING, [mark("a"), CLEAR, mark("b"), mark("a"), reached("a"), reached("b"), reached("a")]),
    (STREAMING, [*map(mark, "ab"), CLEAR, *map(mark, "abc"), KILL, *map(reached, "abc")]),
    (STREAMING, [mark("a"), KILL, CLEAR, cleared("a")]),
    (STREAMING, [BYE, SOUND, (P, Dtmf("1")), (P, Close())]),
    (CLIPS, [clip(), BYE, DONE, (P, Close())]),
]


@pytest.mark.parametrize(("mode", "conversation"), RACES)
def test_what_may_have_crossed_on_the_way_is_legal_at_the_app_alone(
    mode: Mode, conversation: list[tuple[Peer, Message]]
) -> None:
    assert breaches(conversation, mode, vantage=A) == []
    assert breaches(conversation, mode, vantage=P) != []


def test_a_cleared_mark_tells_that_its_kill_was_read_and_so_took_the_others() -> None:
    conversation = [mark("a"), mark("b"), KILL, mark("c"), cleared("a"), reached("b")]
    assert breaches(conversation, vantage=A) == [(6, "LP-KILL-7")]


def test_a_mark_event_of_a_later_mark_ends_the_doubt_about_forgotten_ones() -> None:
    conversation = [mark("a"), CLEAR, mark("b"), reached("b"), reached("a")]
    assert breaches(conversation, vantage=A) == [(5, "LP-MARK-9")]


@pytest.mark.parametrize("vantage", Peer)
def test_the_events_of_marks_that_were_passed_over_are_out_of_order_too(vantage: Peer) -> None:
    conversation = [*map(mark, "abcd"), *map(reached, "cbada")]
    found = breaches(conversation, vantage=vantage)
    out_of_order = [(5, "LP-MARK-14"), (6, "LP-MARK-14"), (7, "LP-MARK-14")]
    assert found == [*out_of_order, (9, "LP-MARK-9")]


@pytest.mark.parametrize("vantage", Peer)
def test_of_two_marks_of_a_name_an_event_out_of_order_is_for_the_first(vantage: Peer) -> None:
    conversation = [*map(mark, "abcbd"), reached("b"), reached("d")]
    found = breaches(conversation, vantage=vantage)
    assert found == [(6, "LP-MARK-14"), (7, "LP-MARK-14")]


@pytest.mark.parametrize("sender", Peer)
def test_what_is_left_of_a_sample_frame_is_told_in_words(sender: Peer) -> None:
    observer = Observer(STREAMING, vantage=P)
    observer.see(*METADATA)
    observer.see(sender, Audio(b"odd"))
    assert "1 of 2 bytes" in (observer.left_over(sender) or "")
    assert observer.left_over(sender.other) is None


def test_an_event_out_of_order_says_nothing_of_a_kill() -> None:
    """At the app, where the marks may have been reached before the killAudio was read."""
    conversation = [*map(mark, "abc"), KILL, reached("b"), reached("c")]
    assert breaches(conversation, vantage=A) == [(5, "LP-MARK-14")]


@pytest.mark.parametrize("vantage", Peer)
def test_a_clip_is_done_once_also_out_of_order(vantage: Peer) -> None:
    conversation = [clip("a"), clip("b"), *reversed(TWO_DONE), TWO_DONE[0]]
    found = breaches(conversation, CLIPS, vantage=vantage)
    assert found == [(4, "LP-CLIP-25"), (5, "LP-CLIP-24")]


def test_deployed_a_clip_that_does_not_wait_suspends_one_and_drops_the_others() -> None:
    queue = [clip(name, queue_play=True) for name in "abc"]
    observer = Observer(CLIPS, profile=DEPLOYED, vantage=A)
    for sender, message in [METADATA, *queue, clip("d")]:
        assert observer.see(sender, message) == []
    assert observer.outstanding_clips == 4
    observer.see(*seconds(3))  # b and c could have been done as it came, but not any more
    assert observer.outstanding_clips == 2
    for name in "da":
        assert observer.see(P, PlayDone(name)) == []
    assert observer.outstanding_clips == 0
    careful = AppLimits(clips=3)  # what is suspended counts, and what is dropped does not
    talk = [*queue, *map(clip, "def")]
    found = breaches(talk, CLIPS, profile=DEPLOYED, limits=careful)
    assert found == [(6, "LP-CLIP-5")]


@pytest.mark.parametrize(
    ("conversation", "expected"),
    [
        ([(P, Audio(b"odd")), (A, Close()), (P, Close())], []),
        ([(A, Audio(b"odd")), (P, Close()), (A, Close())], []),
        ([(A, Audio(b"odd")), BYE, (A, Close())], [(2, "LP-AUD-1")]),
        ([(P, Audio(b"odd")), BYE, (P, Close())], []),
    ],
)
@pytest.mark.parametrize("vantage", Peer)
def test_audio_that_ends_inside_a_sample_is_named_once_and_not_where_the_other_cut_it_off(
    conversation: list[tuple[Peer, Message]], expected: list[tuple[int, str]], vantage: Peer
) -> None:
    assert breaches(conversation, vantage=vantage) == expected


def test_a_peer_that_may_go_on_behind_its_close_stays_closed() -> None:
    after = [(A, Close()), (A, Close()), KILL, (A, Close())]
    assert breaches(after, without=frozenset({"LP-END-6"})) == []


@pytest.mark.parametrize(
    ("mode", "conversation", "reason"),
    [
        (CLIPS, [STREAM], "LP-STRM-1: audio needs streaming mode, but the call's mode is clips"),
        (None, [STREAM], "LP-STRM-1: audio needs streaming mode, but the call's mode is not set"),
        (
            OFF,
            [KILL],
            "LP-KILL-1: KillAudio needs clips or streaming mode, but",
        ),
        (CLIPS, [BYE, SOUND], "LP-END-4: audio out of place: the listen is over"),
        (CLIPS, [(P, KillAudio())], "LP-ODD-1: KillAudio is never sent by the platform"),
        (CLIPS, [DONE], "LP-CLIP-24: playDone matches no clip"),
        (CLIPS, [(P, PlayDone("x"))], "LP-CLIP-24: playDone with the id 'x' matches no clip"),
        (CLIPS, [clip(), KILL, DONE], "LP-KILL-8: playDone for a clip that killAudio had stopped"),
    ],
)
def test_a_violation_says_what_and_why(
    mode: Mode | None, conversation: list[tuple[Peer, Message]], reason: str
) -> None:
    observer = Observer(mode, vantage=P)
    for sender, message in [METADATA, *conversation[:-1]]:
        assert observer.see(sender, message) == []
    (violation,) = observer.see(*conversation[-1])
    assert (violation.sender, violation.message) == conversation[-1]
    assert str(violation).startswith(reason)


LONG = "x" * 1000
QUOTED = "'" + "x" * 59


@pytest.mark.parametrize(
    ("mode", "conversation", "reason"),
    [
        (
            CLIPS,
            [clip(LONG), clip(LONG)],
            f"LP-CLIP-15: the id {QUOTED} belongs to a clip that may still be playing",
        ),
        (
            CLIPS,
            [clip(LONG), clip("b"), (P, PlayDone("b")), (P, PlayDone(LONG))],
            f"LP-CLIP-25: playDone for the clip {QUOTED} came after that of a later clip",
        ),
        (
            CLIPS,
            [clip(LONG), KILL, (P, PlayDone(LONG))],
            f"LP-KILL-8: playDone with the id {QUOTED} for a clip that killAudio had stopped",
        ),
        (
            CLIPS,
            [(P, PlayDone(LONG))],
            f"LP-CLIP-24: playDone with the id {QUOTED} matches no clip",
        ),
        (
            STREAMING,
            [mark(LONG), CLEAR, reached(LONG)],
            f"LP-MARK-15: clearMarks had removed the mark {QUOTED}",
        ),
        (STREAMING, [reached(LONG)], f"LP-MARK-9: playout of {QUOTED} matches no mark"),
        (
            STREAMING,
            [mark("a"), mark(LONG), reached(LONG)],
            f"LP-MARK-14: playout of {QUOTED}: it came before that of an earlier mark",
        ),
    ],
)
def test_of_what_is_long_a_reason_quotes_the_start(
    mode: Mode, conversation: list[tuple[Peer, Message]], reason: str
) -> None:
    observer = Observer(mode, vantage=P)
    *_, (violation,) = [observer.see(*item) for item in [METADATA, *conversation]]
    assert str(violation) == reason


def test_so_many_killed_clips_are_remembered() -> None:
    ids = [str(number) for number in range(110)]
    rounds = [[*map(clip, ids[n : n + 10]), KILL] for n in range(0, 110, 10)]
    conversation = [item for some in rounds for item in some]
    for clip_id, found in (("9", "LP-CLIP-24"), ("10", None)):
        late = breaches([*conversation, (P, PlayDone(clip_id))], CLIPS, vantage=A)
        assert [clause for _, clause in late] == ([found] if found else [])


def test_so_many_clips_are_remembered_of_an_app_that_knows_no_limit() -> None:
    clips = [clip(str(number)) for number in range(1001)]
    late = breaches([*clips, (P, PlayDone("0")), (P, PlayDone("1"))], CLIPS, vantage=A)
    assert [found for found in late if found[1] != "LP-CLIP-2"] == [(1002, "LP-CLIP-24")]


def marks_of(*names: str) -> AppMarks:
    many = attrs.evolve(DOCUMENTED, pending_marks=20_000)
    marks = AppMarks(many, Record(8000))
    for name in names:
        marks.sent(Mark(name))
    return marks


def playout_of(marks: AppMarks, name: str) -> str | None:
    """What an event breaks that must stand for a mark."""
    match = marks.match(name, "playout")
    assert match is not None
    marks.done(MarkEvent(name, "playout"), match)
    return match.clause


def test_so_many_marks_are_remembered() -> None:
    """Neither those that are awaited nor the order of the events get lost with the oldest."""
    marks = marks_of(*(f"m{number}" for number in range(9_999)))
    marks.cleared()
    marks.sent(Mark("pending"))
    assert marks.match("m0", "playout") is not None
    marks.sent(Mark("another"))
    assert marks.match("m0", "playout") is None
    first = marks.match("m1", "playout")
    assert first is not None and first.clause is None
    assert playout_of(marks, "m2") is None
    marks.sent(Mark("more"))
    assert marks.match("m1", "playout") is None
    for name in ("m3", "pending", "another", "more"):
        assert playout_of(marks, name) is None
    assert marks.match("m9998", "playout") is None
    assert marks.pending == 0


def test_where_names_repeat_the_places_of_an_event_stay_true_as_the_oldest_is_forgotten() -> None:
    marks = marks_of("a", "b")
    marks.cleared()
    marks.sent(Mark("a"))
    marks.sent(Mark("b"))
    marks.killed()
    playout_of(marks, "a")  # whichever it is, b may be next
    for number in range(9_998):
        marks.sent(Mark(f"m{number}"))
    second = marks.match("b", "playout")
    assert second is not None and second.clause is None


def test_one_forgotten_mark_in_front_of_so_many_that_are_awaited_is_remembered_no_more() -> None:
    marks = marks_of("forgotten")
    marks.cleared()
    for number in range(9_999):
        marks.sent(Mark(f"m{number}"))
    assert marks.match("forgotten", "playout") is not None
    marks.sent(Mark("more"))
    assert marks.match("forgotten", "playout") is None
    assert marks.pending == 10_000


def test_a_mark_that_there_may_have_been_no_room_for_may_come_back_or_not() -> None:
    """LP-MARK-2, at the app, which cannot know."""
    two = attrs.evolve(DOCUMENTED, pending_marks=2)
    many = [*map(mark, "abc"), *map(reached, "ab")]
    for back in ([reached("c")], [mark("d"), reached("d")]):
        found = breaches([*many, *back], vantage=A, profile=two)
        assert found == [(3, "LP-MARK-2")]


@pytest.mark.parametrize(
    ("mode", "conversation"),
    [
        (CLIPS, [clip("a", queue_play=True), KILL, (P, PlayDone("a"))]),
        (
            CLIPS,
            [
                clip("a", queue_play=True),
                clip("b", queue_play=True),
                KILL,
                (P, PlayDone("a")),
                (P, PlayDone("b")),
            ],
        ),
        (CLIPS, [clip("a"), clip("b"), *TWO_DONE]),
        (CLIPS, [clip("a"), clip("b"), clip("c"), *TWO_DONE, (P, PlayDone("c"))]),
        (CLIPS, [clip(str(n), queue_play=True) for n in range(12)]),
        (CLIPS, [clip(str(n)) for n in range(12)]),
        (STREAMING, [mark("a"), KILL, reached("a")]),
        (STREAMING, [mark("a"), KILL, mark("b"), cleared("a"), cleared("b")]),
        (STREAMING, [mark("a"), mark("b"), reached("b")]),
    ],
)
@pytest.mark.parametrize("vantage", Peer)
def test_a_deployed_platform_may_do_as_it_does(
    mode: Mode, conversation: list[tuple[Peer, Message]], vantage: Peer
) -> None:
    assert breaches(conversation, mode, vantage=vantage, profile=DEPLOYED) == []


@pytest.mark.parametrize(
    ("clause", "mode", "conversation"),
    [
        ("LP-CLIP-2", CLIPS, [clip(str(n), queue_play=True) for n in range(13)]),
        ("LP-MARK-2", STREAMING, [mark(str(n)) for n in range(31)]),
        ("LP-KILL-6", STREAMING, [mark("a"), cleared("a")]),
    ],
)
def test_a_deployed_platform_has_limits_of_its_own(
    clause: str, mode: Mode, conversation: list[tuple[Peer, Message]]
) -> None:
    assert breaches(conversation, mode, profile=DEPLOYED) == [(len(conversation), clause)]


def test_killed_clips_count_until_they_are_done_where_they_play_on() -> None:
    """LP-CLIP-29, at the app."""
    three = [clip(str(n), queue_play=True) for n in range(3)]
    for profile, left in ((DOCUMENTED, 0), (DEPLOYED, 3)):
        observer = Observer(CLIPS, profile=profile, vantage=A)
        for sender, message in [METADATA, *three, KILL]:
            assert observer.see(sender, message) == []
        assert observer.outstanding_clips == left
    observer.see(P, PlayDone("1"))
    assert observer.outstanding_clips == 1
    observer.see(P, Audio(bytes(2 * 8000 * 2)))
    assert observer.outstanding_clips == 0
    assert observer.see(P, PlayDone("2")) == []


def test_a_clip_behind_killed_ones_that_play_on_waits_for_their_end() -> None:
    """LP-CLIP-29, at the app: 10 s, and 20 ms behind them, and a second."""
    observer = Observer(CLIPS, profile=DEPLOYED, vantage=A)
    for sender, message in [METADATA, TEN_SECONDS, KILL, clip("b", queue_play=True), KILL]:
        assert observer.see(sender, message) == []
    observer.see(*seconds(11.01))
    assert observer.outstanding_clips == 1
    observer.see(*seconds(0.01))
    assert observer.outstanding_clips == 0


def test_as_a_clip_is_done_those_behind_it_are_known_to_play() -> None:
    """LP-CLIP-30, at the app: b plays since then, and c from when b ends."""
    observer = Observer(CLIPS, vantage=A)
    long = [(A, PlayAudio(bytes(160_000), sample_rate=8000, id=name)) for name in "abc"]
    for sender, message in [METADATA, *long, (P, PlayDone("a")), seconds(10), KILL]:
        assert observer.see(sender, message) == []
    assert observer.holds_clip("b")
    assert not observer.holds_clip("c")


def seconds(n: float) -> tuple[Peer, Message]:
    return P, Audio(bytes(2 * int(n * 8000)))


TEN_SECONDS = (A, PlayAudio(bytes(160_000), sample_rate=8000, id="a"))


@pytest.mark.parametrize(
    ("conversation", "guess"),
    [
        ([clip("a"), KILL, clip("b")], ("a", True)),
        ([clip("a"), KILL, clip("b"), seconds(1.5)], ("b", False)),
        ([TEN_SECONDS, seconds(2), KILL, clip("b"), seconds(0.5)], ("b", False)),
        ([TEN_SECONDS, seconds(9.5), KILL, clip("b"), seconds(0.5)], ("a", True)),
        ([TEN_SECONDS, seconds(9), KILL, clip("b")], ("a", True)),
        ([TEN_SECONDS, seconds(9 - 1 / 8000), KILL, clip("b")], ("b", False)),
        ([TEN_SECONDS, seconds(9), KILL, clip("b"), seconds(1 - 1 / 8000)], ("a", True)),
        ([TEN_SECONDS, seconds(9), KILL, clip("b"), seconds(1)], ("b", False)),
        ([TEN_SECONDS, KILL], ("a", True)),
        # Half a sample is no time.
        (
            [clip("a"), (P, Audio(bytes(3))), KILL, clip("b"), (P, Audio(bytes(15_999)))],
            ("b", False),
        ),
    ],
)
def test_a_play_done_without_id_goes_to_the_clip_that_can_be_done(
    conversation: list[tuple[Peer, Message]], guess: tuple[str, bool]
) -> None:
    """LP-CLIP-27, LP-CLIP-30, at the app."""
    observer = Observer(CLIPS, vantage=A)
    for sender, message in [METADATA, *conversation]:
        assert observer.see(sender, message) == []
    match = observer._clips.match(None)
    assert match is not None
    assert (match.clip.name, match.guessed) == guess
    assert observer.see(*DONE) == []


@pytest.mark.parametrize("queue_play", [None, True])  # nothing waits behind one that did not
def test_without_ids_it_is_a_guess_which_clip_is_done_if_one_started_over_another(
    queue_play: bool | None,
) -> None:
    """LP-CLIP-27."""
    profile = attrs.evolve(DOCUMENTED, clips_wait_unasked=False)
    observer = Observer(CLIPS, profile=profile, vantage=A)
    for sender, message in [METADATA, TEN_SECONDS, seconds(1), clip("b", queue_play=queue_play)]:
        assert observer.see(sender, message) == []
    for name in "ba":
        match = observer._clips.match(None)
        assert match is not None
        assert (match.clip.name, match.guessed) == (name, True)
        assert observer.see(*DONE) == []


def test_audio_without_metadata_is_measured_as_mono_at_8000_hz() -> None:
    """LP-META-9, where it is not held against the platform that it sends none."""
    observer = Observer(CLIPS, vantage=A, without={"LP-META-1", "LP-META-13"})
    for sender, message in [clip("a"), KILL, clip("b"), seconds(1 - 1 / 8000)]:
        assert observer.see(sender, message) == []
    assert observer.holds_clip("a")
    observer.see(*seconds(1 / 8000))
    assert not observer.holds_clip("a")


def test_the_unit_of_audio_follows_the_mix_type() -> None:
    observer = Observer(STREAMING, vantage=A)
    observer.see(P, Metadata({}, mix_type=MixType.STEREO))
    observer.see(P, Audio(bytes(6)))
    (violation,) = observer.see(P, Close())
    assert violation.clause == "LP-AUD-1"


SAFE = "Zo\u00eb" + "".join(chr(c) for c in range(32, 127) if chr(c) not in '"\\')
CAREFUL = AppLimits(clips=2, marks=2, safe_mark_names=True)


@pytest.mark.parametrize(
    ("mode", "conversation", "expected"),
    [
        (CLIPS, [clip()] * 2, []),
        (CLIPS, [clip()] * 4, [(3, "LP-CLIP-5"), (4, "LP-CLIP-5")]),
        (CLIPS, [clip()] * 3 + [DONE] * 3, [(3, "LP-CLIP-5")]),
        (CLIPS, [clip(), clip(), DONE, clip()], []),
        (STREAMING, [mark("a"), mark("b")], []),
        (STREAMING, [mark(name) for name in "abcd"], [(3, "LP-MARK-3"), (4, "LP-MARK-3")]),
        (STREAMING, [mark("a")] * 3 + [reached("a")] * 3, [(3, "LP-MARK-3")]),
        (STREAMING, [mark("a"), mark("b"), reached("a"), mark("c")], []),
        (STREAMING, [mark("a")] * 2 + [mark("\n")], [(3, "LP-MARK-3"), (3, "LP-MARK-6")]),
        *[
            (STREAMING, [mark(name), reached(name)], [(1, "LP-MARK-6")])
            for name in ('say "hi"', "back\\slash", "new\nline", "\x00", "\x7f")
        ],
        (STREAMING, [mark(SAFE), reached(SAFE)], []),
    ],
)
@pytest.mark.parametrize("vantage", Peer)
def test_what_a_careful_app_does_not_do_is_reported_and_not_dropped(
    mode: Mode,
    conversation: list[tuple[Peer, Message]],
    expected: list[tuple[int, str]],
    vantage: Peer,
) -> None:
    assert breaches(conversation, mode, vantage=vantage, limits=CAREFUL) == expected
    assert breaches(conversation, mode, vantage=vantage) == []
    clauses = frozenset(clause for _, clause in expected)
    assert breaches(conversation, mode, vantage=vantage, limits=CAREFUL, without=clauses) == []


@pytest.mark.parametrize(
    ("profile", "clips", "marks"), [(DOCUMENTED, 11, 1000), (DEPLOYED, 12, 30)]
)
@pytest.mark.parametrize("vantage", Peer)
def test_the_apps_own_limits_do_not_move_the_platforms(
    profile: Profile, clips: int, marks: int, vantage: Peer
) -> None:
    queued = [clip(str(n), queue_play=True) for n in range(clips + 1)]
    pending = [mark(str(n)) for n in range(marks + 1)]
    for limits in (None, AppLimits(), AppLimits(clips=clips + 5, marks=marks + 5)):
        found = breaches(queued, CLIPS, vantage=vantage, profile=profile, limits=limits)
        assert found == [(clips + 1, "LP-CLIP-2")]
        found = breaches(pending, vantage=vantage, profile=profile, limits=limits)
        assert found == [(marks + 1, "LP-MARK-2")]
    tighter = AppLimits(clips=clips - 1, marks=marks - 1)
    assert breaches(queued, CLIPS, vantage=vantage, profile=profile, limits=tighter) == [
        (clips, "LP-CLIP-5"),
        (clips + 1, "LP-CLIP-2"),
    ]
    assert breaches(pending, vantage=vantage, profile=profile, limits=tighter) == [
        (marks, "LP-MARK-3"),
        (marks + 1, "LP-MARK-2"),
    ]


def test_what_the_platform_has_no_room_for_is_dropped_at_its_end() -> None:
    conversation = [clip()] * 12 + [DONE] * 12
    dropped = [(12, "LP-CLIP-2"), (24, "LP-CLIP-24")]
    assert breaches(conversation, CLIPS, vantage=P) == dropped
    assert breaches(conversation, CLIPS, vantage=A) == dropped[:1]  # it cannot know


def test_judging_changes_nothing() -> None:
    observer = Observer(CLIPS, vantage=P)
    observer.see(*METADATA)
    for _ in range(20):
        assert observer.judge(*clip("a")).violations == ()
    assert observer.outstanding_clips == 0


def test_one_clause_alone_is_no_collection() -> None:
    with pytest.raises(ValueError, match=r"^without must be a tuple or set of strings"):
        Observer(STREAMING, vantage=A, without="LP-META-1")


def test_a_mode_may_be_given_where_the_verb_is_not_known() -> None:
    assert Observer(None, mode="off", vantage=Peer.APP).mode is Mode.OFF


def test_a_platform_has_no_clip_that_it_cannot_read() -> None:
    raw = PlayAudio(bytes(4), sample_rate=48000, id="a")
    for profile, outstanding in ((DOCUMENTED, 1), (DEPLOYED, 0)):
        observer = Observer(CLIPS, profile=profile, vantage=P)
        assert observer.see(*METADATA) + observer.see(A, raw) == []
        assert observer.outstanding_clips == outstanding


@pytest.mark.parametrize(
    ("profile", "vantage", "expected"),
    [
        (DEPLOYED, A, ["LP-CLIP-24"]),
        (DEPLOYED, P, ["LP-CLIP-24"]),
        (DOCUMENTED, A, ["LP-CLIP-24"] * 2),
        (attrs.evolve(DOCUMENTED, plays_broken_clips=True), A, ["LP-CLIP-24"] * 2),  # no rate
    ],
)
def test_a_deployed_platform_plays_a_clip_up_to_where_its_base64_breaks(
    profile: Profile, vantage: Peer, expected: list[str]
) -> None:
    observer = Observer(CLIPS, profile=profile, vantage=vantage)
    observer.see(*METADATA)
    for sender, text in (
        (A, '{"type":"playAudio","data":{"audioContent":"A!","audioContentType":"raw","id":"a"}}'),
        (A, '{"type":"playAudio","data":{"audioContent":"!","audioContentType":"wav","id":"b"}}'),
        (A, '{"type":"playAudio","data":{"audioContent":7,"audioContentType":"raw"}}'),
        (A, '{"type":"playAudio","data":"none"}'),
        (A, '{"type":"mark"}'),
        (P, '{"event":"dtmf"}'),
    ):
        (broken,) = decode(text, sender)
        assert observer.see(sender, broken) != []
    found = [observer.see(P, PlayDone(name)) for name in ("a", "b")]
    assert [one.clause for violations in found for one in violations] == expected


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (8000, None),
        (16000, None),
        (24000, "plays raw clips of 24000 Hz as noise"),
        (32000, "plays raw clips of 32000 Hz as noise"),
        (48000, "plays no raw clips of 48000 Hz"),
    ],
)
def test_a_raw_clip_that_platforms_misread_is_cautioned_against(
    rate: int, said: str | None
) -> None:
    raw = PlayAudio(bytes(960), sample_rate=rate)
    cautions = [
        Observer(CLIPS, profile=profile, vantage=A).caution(A, raw)
        for profile in (DOCUMENTED, DEPLOYED)
    ]
    assert cautions == [None, said and f"the platform {said}; send a WAV"]


@pytest.mark.parametrize("vantage", [P, A])
@pytest.mark.parametrize("mode", [STREAMING, CLIPS])
@pytest.mark.parametrize(
    "before",
    [
        [],
        [(P, Metadata())],
        [(P, Metadata(mix_type="stereo")), (P, Audio(b"abc"))],
        [(P, Metadata()), (A, Disconnect())],
        [(P, Metadata()), (A, Close())],
        [(P, Metadata()), (P, Close())],
    ],
)
def test_audio_in_one_step_is_as_audio_that_is_seen(
    before: list[tuple[Peer, Message]], mode: Mode, vantage: Peer
) -> None:
    """What cannot be wrong is recorded in one step; whatever can be is left to see()."""
    one, other = (Observer(mode, vantage=vantage) for _ in range(2))
    for sender, message in before:
        assert one.see(sender, message) == other.see(sender, message)
    for now, pcm in enumerate((b"abcd", b"ab", b"abcde"), 1):
        for sender in Peer:
            taken = one.hears(len(pcm)) if sender is P else one.says(len(pcm), now)
            audio = Audio(pcm)
            if taken:
                assert other.see(sender, audio, now if sender is A else 0.0) == []
            else:
                assert other.judge(sender, audio).violations
            assert one.left_over(sender) == other.left_over(sender)
            assert one._record.clocks == other._record.clocks
            assert one._record.ahead == other._record.ahead


@pytest.mark.parametrize(("profile", "killed"), [(DOCUMENTED, 0), (DEPLOYED, 3)])
@pytest.mark.parametrize("vantage", [A, P])
def test_killed_marks_count_until_they_have_come_back_where_kills_wait_for_a_frame(
    profile: Profile, killed: int, vantage: Peer
) -> None:
    """LP-MARK-2."""
    observer = Observer(STREAMING, profile=profile, vantage=vantage)
    for message in (METADATA, mark("a"), mark("b"), mark("c")):
        observer.see(*message)
    assert observer.pending_marks == 3
    observer.see(A, KillAudio())
    assert observer.pending_marks == killed
    observer.see(*cleared("a"))
    assert observer.pending_marks == max(0, killed - 1)
    observer.see(A, ClearMarks())
    assert observer.pending_marks == 0
