"""The two sessions, message by message: what they take, what they refuse, what they send."""

from __future__ import annotations

import base64
import json
import re
from functools import partial
from typing import Any
from unittest import mock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    AppSession,
    Audio,
    BidirectionalAudio,
    ClearMarks,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    ListenVerb,
    LocalProtocolError,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Mode,
    Outcome,
    Peer,
    PlatformSession,
    PlayAudio,
    PlaybackDone,
    PlayDone,
    Playout,
    Profile,
    RemoteProtocolError,
    Request,
    UnknownMessage,
    Violation,
    _wav,
)
from listenproto._clip_audio import clip_audio
from listenproto._l16 import PLAY_RATES
from listenproto._messages import JSON
from listenproto._observer import Observer
from listenproto._session import Traffic
from listenproto._wav import wav_header
from listenproto.codec import decode
from tests.differing import first_difference

STREAMING_VERB = ListenVerb(
    url="/", bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=8000)
)
PLAYED = Outcome.PLAYED
METADATA = '{"sampleRate":8000,"mixType":"mono","callSid":"c"}'


def opened_app(mode: Mode = Mode.CLIPS, metadata: str = METADATA, **options: object) -> AppSession:
    app = AppSession(mode=mode, **options)  # type: ignore[arg-type]
    app.receive(metadata)
    return app


def opened_platform(mode: Mode, **options: object) -> PlatformSession:
    platform = PlatformSession(mode, **options)  # type: ignore[arg-type]
    platform.send(Metadata({"callSid": "c"}))
    list(platform.data_to_send())
    return platform


def clip_text(samples: int = 160, **members: object) -> str:
    content = base64.b64encode(bytes(2 * samples)).decode()
    data = {"audioContent": content, "audioContentType": "raw", "sampleRate": 8000} | members
    return json.dumps({"type": "playAudio", "data": data})


def texts(session: AppSession | PlatformSession) -> list[object]:
    return [json.loads(p) if isinstance(p, str) else p for p in session.data_to_send()]


def clauses(events: object) -> list[str]:
    return [event.clause for event in events if isinstance(event, Violation)]  # type: ignore[attr-defined]


class TestTheApp:
    def test_the_first_event_is_the_metadata(self) -> None:
        app = AppSession()
        assert app.receive(METADATA) == [Metadata({"callSid": "c"})]
        assert app.metadata is not None
        assert app.metadata.call_sid == "c"

    @pytest.mark.parametrize(
        ("first", "clause", "close_code"),
        [
            (b"\0\0", "LP-META-1", 1002),
            ("[]", "LP-META-1", 1002),
            ('{"sampleRate"', "LP-ODD-2", 1007),
            ('{"sampleRate": 8001}', "LP-META-5", 1002),
            ('{"sampleRate": [8000]}', "LP-META-5", 1002),
            ('{"mixType": "quad"}', "LP-META-6", 1002),
        ],
    )
    def test_unusable_metadata_ends_the_session_for_ever(
        self, first: str | bytes, clause: str, close_code: int
    ) -> None:
        app = AppSession()
        for payload in (first, METADATA):
            with pytest.raises(RemoteProtocolError) as caught:
                app.receive(payload)
            assert (caught.value.clause, caught.value.close_code) == (clause, close_code)
        app.close(caught.value.close_code)
        assert list(app.data_to_send()) == [Close(close_code)]

    def test_the_error_says_what_was_wrong_with_the_metadata(self) -> None:
        with pytest.raises(RemoteProtocolError, match=r"'sampleRate' must be one of .*, not 8001"):
            AppSession().receive('{"sampleRate": 8001}')

    def test_metadata_without_rate_and_mix_type_means_8000_mono(self) -> None:
        assert AppSession().receive("{}") == [Metadata({}, 8000, MixType.MONO)]

    def test_metadata_that_was_cut_is_salvaged_where_asked(self) -> None:
        cut = METADATA[:-3]
        with pytest.raises(RemoteProtocolError, match="LP-ODD-2"):
            AppSession().receive(cut)
        violation, metadata = AppSession(salvage_metadata=True).receive(cut)
        assert clauses([violation]) == ["LP-META-11"]
        assert metadata == Metadata({}, 8000, MixType.MONO, truncated=True)

    def test_an_app_may_assume_metadata(self) -> None:
        assumed = Metadata({}, 16000, MixType.STEREO)
        app = AppSession(assume=assumed)
        assert app.receive(bytes(6)) == [assumed, Audio(bytes(4))]
        assert app.metadata == assumed

    @pytest.mark.parametrize("wrong", [16000, Metadata({}, 44100)])
    def test_an_app_assumes_only_what_a_platform_could_send(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match=r"^assume(\.sample_rate)? must be"):
            AppSession(assume=wrong)

    @pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED])
    @pytest.mark.parametrize("told", [None, True, False])
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (METADATA[:-3], "the metadata is cut off or damaged"),
            ('{"sampleRate":8000,"note":""x" y"}', "the metadata is cut off or damaged"),
            (METADATA + "'", "something other than a JSON object follows the metadata"),
        ],
    )
    def test_a_profile_says_whether_damaged_metadata_is_salvaged_unless_the_app_does(
        self, profile: Profile, told: bool | None, text: str, reason: str
    ) -> None:
        app = AppSession(profile=profile, salvage_metadata=told)
        if profile is DEPLOYED if told is None else told:
            *violations, metadata = app.receive(text)
            assert clauses(violations) == ([] if profile is DEPLOYED else ["LP-META-11"])
            for violation in violations:
                assert isinstance(violation, Violation)
                assert not violation.dropped
                assert violation.reason.startswith(reason)
            assert isinstance(metadata, Metadata)
            assert metadata.truncated
            assert metadata.flaw.startswith(reason)
            assert metadata.text == text
        else:
            with pytest.raises(RemoteProtocolError, match="LP-ODD-2") as caught:
                app.receive(text)
            assert caught.value.close_code == 1007

    def test_metadata_that_is_too_long_though_whole_is_reported_and_used(self) -> None:
        for size, expected in ((8192, []), (8193, ["LP-META-11"])):
            text = '{"callSid":"' + "c" * (size - 14) + '"}'
            app = AppSession()
            *violations, metadata = app.receive(text)
            assert clauses(violations) == expected
            assert metadata == Metadata({"callSid": "c" * (size - 14)})
            assert app.receive(bytes(2)) == [Audio(bytes(2))]

    @pytest.mark.parametrize(
        ("first", "code", "expected"),
        [
            (b"ab", 1002, []),
            (b"ab", 1007, ["LP-META-2"]),
            ("[]", 1000, ["LP-META-2"]),
            ("{", 1007, []),
            ("{", 1002, ["LP-META-3"]),
        ],
    )
    def test_how_an_app_has_to_close_on_unusable_metadata(
        self, first: str | bytes, code: int, expected: list[str]
    ) -> None:
        app = AppSession()
        with pytest.raises(RemoteProtocolError):
            app.receive(first)
        assert clauses(app.observer.judge(Peer.APP, Close(code)).violations) == expected
        app.close(code)  # the close is not kept from going out
        assert list(app.data_to_send()) == [Close(code)]

    def test_the_mode_may_be_told_by_the_metadata(self) -> None:
        def way(request: Request | None, metadata: Metadata) -> Mode:
            assert request is None  # there was none
            return Mode(metadata.attributes["way"])

        app = AppSession(mode=way)
        assert app.mode is None
        app.receive('{"way": "streaming"}')
        assert app.mode is Mode.STREAMING
        app.send(Audio(bytes(2)))
        with pytest.raises(LocalProtocolError, match="LP-CLIP-1"):
            app.send(PlayAudio(b"", sample_rate=8000))

    def test_a_mode_that_cannot_be_told_leaves_a_call_without_metadata(self) -> None:
        asked: list[Metadata] = []

        def way(request: Request | None, metadata: Metadata) -> Mode:
            asked.append(metadata)
            raise KeyError("no such tenant")

        app = AppSession(mode=way)
        for payload in (METADATA, bytes(320), METADATA):
            with pytest.raises(KeyError, match="no such tenant") as failed:
                app.receive(payload)
            assert failed.value.__notes__ == ["raised by the mode function, for call 'c'"]
        assert len(asked) == 1
        assert (app.metadata, app.mode) == (None, None)
        with pytest.raises(LocalProtocolError, match="LP-META-13"):
            app.send(Disconnect())
        app.close(1011)
        assert list(app.data_to_send()) == [Close(1011)]

    @pytest.mark.parametrize("told", ["off", "nonsense"])
    def test_metadata_that_is_dropped_is_not_asked_for_the_mode(self, told: str) -> None:
        """LP-META-4, LP-ODD-4."""
        first = '{"way": "streaming", "callSid": "c"}'
        second = first.replace("streaming", told)

        def way(request: Request | None, metadata: Metadata) -> Mode:
            return Mode(metadata.attributes["way"])

        def is_as_before(app: AppSession) -> bool:
            return app.mode is Mode.STREAMING and app.metadata == Metadata(json.loads(first))

        alone = AppSession(mode=way)
        alone.receive(first)
        assert clauses(alone.receive(second)) == ["LP-META-4"]
        alone.send(Audio(bytes(2)))
        assert is_as_before(alone)
        together = AppSession(mode=way)
        assert clauses(together.receive(first + second)[1:]) == ["LP-META-4"]
        together.send(Mark("m"))
        assert is_as_before(together)
        behind_the_close = AppSession(mode=way)
        behind_the_close.receive(first)
        behind_the_close.closed(1000)
        assert clauses(behind_the_close.receive(second)) == ["LP-END-6"]
        assert is_as_before(behind_the_close)
        never_opened = AppSession(mode=way)
        never_opened.closed(1000)
        assert clauses(never_opened.receive(second)) == ["LP-END-6"]
        assert (never_opened.mode, never_opened.metadata) == (None, None)

    def test_the_mode_may_be_told_by_the_request(self) -> None:
        def way(request: Request | None, metadata: Metadata) -> Mode:
            assert request is not None
            return Mode(request.path[1:])

        app = AppSession(mode=way)
        app.request = Request("/streaming", ())
        app.receive(METADATA)
        assert app.mode is Mode.STREAMING

    def test_a_verb_says_which_mode_it_is_and_what_must_come(self) -> None:
        verb = ListenVerb(
            url="/listen",
            sample_rate=16000,
            metadata={"room": 7},
            bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=24000),
        )
        app = AppSession(verb=verb)
        assert app.mode is Mode.STREAMING
        violations = clauses(app.receive(METADATA))
        assert violations == ["LP-META-7", "LP-META-15"]
        key = '{"event":"dtmf","dtmf":"5"}'
        violation, dtmf = app.receive(key)
        assert (clauses([violation]), dtmf) == (["LP-DTMF-1"], Dtmf("5", None))
        app.send(Audio(bytes(2)))
        fitting = AppSession(verb=attrs.evolve(verb, pass_dtmf=True))
        assert clauses(fitting.receive('{"sampleRate":16000,"room":7}')) == []
        assert fitting.receive(key) == [Dtmf("5", None)]

    @pytest.mark.parametrize("mode", [None, *Mode])
    def test_a_mode_beside_the_verb_says_the_same_or_off(self, mode: Mode | None) -> None:
        """LP-VERB-3: a verb that is nested in a dial has off mode."""
        verb = ListenVerb(url="/")
        if mode is Mode.STREAMING:
            with pytest.raises(ValueError, match=r"^the verb's mode is clips, but mode is 's"):
                AppSession(verb=verb, mode=mode)
            return
        app = AppSession(verb=verb, mode=mode)
        assert app.mode is (mode or Mode.CLIPS)
        app.receive(METADATA)

    @pytest.mark.parametrize(
        ("known", "message", "remedy"),
        [
            (
                {"mode": Mode.OFF},
                KillAudio(),
                "pass mode=Mode.CLIPS or Mode.STREAMING, or a verb w",
            ),
            ({}, Audio(bytes(2)), "pass mode=Mode.STREAMING, or a verb with that mode"),
            (
                {"mode": lambda request, metadata: Mode.CLIPS},
                Mark("m"),
                "the mode function must return Mode.STREAMING for this call",
            ),
            (
                {"verb": STREAMING_VERB},
                PlayAudio(b"", sample_rate=8000),
                "the verb sets the mode: change its bidirectionalAudio",
            ),
            (
                {"verb": STREAMING_VERB, "mode": Mode.OFF},
                Audio(bytes(2)),
                "Mode.OFF is for a verb nested in a dial: leave mode out if the platform plays",
            ),
        ],
    )
    def test_what_the_mode_does_not_allow_comes_with_what_would_help(
        self, known: dict[str, Any], message: Message, remedy: str
    ) -> None:
        app = AppSession(**known)
        app.receive('{"sampleRate": 8000}')
        with pytest.raises(LocalProtocolError, match=re.escape(f"; {remedy}")) as refused:
            app.send(message)
        assert f"the call's mode is {app.mode.value if app.mode else None}; " in str(refused.value)

    def test_an_end_without_a_mode_has_no_advice_on_it(self) -> None:
        app = opened_app(mode=Mode.STREAMING)
        app.send(Disconnect())
        with pytest.raises(LocalProtocolError, match=r"may only close the WebSocket \["):
            app.send(Mark("m"))

    @pytest.mark.parametrize("way", [ListenVerb(url="/"), Mode.CLIPS])
    def test_every_end_refuses_a_mode_that_contradicts_the_way(
        self, way: ListenVerb | Mode
    ) -> None:
        says = r"^(the verb's mode|way) is clips, but mode is 'streaming'; "
        with pytest.raises(ValueError, match=says):
            PlatformSession(way, mode="streaming")
        with pytest.raises(ValueError, match=says):
            PlatformSession(way, mode="streaming", stream_rate=16000)
        with pytest.raises(ValueError, match=says):
            Observer(way, mode="streaming", vantage=Peer.APP)
        assert PlatformSession(way, mode="off").observer.mode is Mode.OFF

    def test_beside_a_verb_nothing_else_tells_the_mode(self) -> None:
        verb = ListenVerb(url="/")
        with pytest.raises(ValueError, match=r"^the verb's mode is clips, but mode is a f"):
            AppSession(verb=verb, mode=lambda request, metadata: Mode.CLIPS)
        with pytest.raises(TypeError, match=r"ListenVerb\.from_json"):
            AppSession(verb=verb.to_json())  # type: ignore[arg-type]

    def test_audio_comes_in_whole_frames(self) -> None:
        app = opened_app(metadata='{"mixType": "stereo"}')
        assert app.receive(b"") == []
        assert app.receive(b"abcde") == [Audio(b"abcd")]
        assert app.receive(b"fg") == []
        assert app.receive(b"h") == [Audio(b"efgh")]
        assert repr(app.samples_received) == "2"

    def test_what_is_left_of_the_audio_at_the_end_is_reported(self) -> None:
        told = "the audio ends with an incomplete sample frame: 1 of 2 bytes"
        ends = (
            (AppSession.closed, Violation("LP-AUD-1", Peer.PLATFORM, Close(1000), told)),
            (AppSession.connection_lost, Violation("LP-AUD-5", Peer.PLATFORM, Close(1006), told)),
        )
        for closing, violation in ends:
            app = opened_app()
            app.receive(b"odd")
            assert closing(app)[0] == violation
            assert not violation.dropped
            assert app.connection_lost() == []  # it has been told

    def test_two_texts_in_one_message_are_two_messages(self) -> None:
        app = AppSession()
        dtmf = '{"event":"dtmf","dtmf":"5","duration":"800"}'
        assert app.receive(METADATA + dtmf)[1:] == [Dtmf("5", 800)]
        assert app.receive(dtmf + " " + dtmf) == [Dtmf("5", 800), Dtmf("5", 800)]

    def test_odd_text_is_reported_and_the_session_goes_on(self) -> None:
        app = opened_app()
        for text, clause in [("{", "LP-ODD-2"), ("1", "LP-ODD-3"), (METADATA, "LP-META-4")]:
            (violation,) = app.receive(text)
            assert clauses([violation]) == [clause]
        assert app.receive('{"type":"news"}') == [UnknownMessage({"type": "news"})]

    def test_a_clip_goes_out_with_an_id_and_the_wish_to_wait(self) -> None:
        """LP-CLIP-13, LP-CLIP-14."""
        app = opened_app()
        sent = app.send(PlayAudio(bytes(4), sample_rate=8000))
        assert sent is not None and sent.name == "clip-1"
        app.send(PlayAudio(bytes(4), sample_rate=8000, id="clip-2"))
        third = app.send(PlayAudio(b"", sample_rate=8000))
        assert third is not None and third.name == "clip-3"
        first = texts(app)[0]
        assert first == {
            "type": "playAudio",
            "data": {
                "audioContent": "AAAAAA==",
                "audioContentType": "raw",
                "sampleRate": 8000,
                "id": "clip-1",
                "queuePlay": True,
            },
        }

    @pytest.mark.parametrize("rate", [*PLAY_RATES, 24000.0])
    def test_a_raw_clip_of_a_rate_that_is_misread_goes_out_as_a_wav(self, rate: int) -> None:
        """LP-CLIP-33: the same audio with the same id; what becomes of it is the same."""
        given = PlayAudio(b"ab" * 160, sample_rate=rate, id="a")
        app = opened_app(profile=DEPLOYED)
        sent = app.send(given)
        assert sent is not None and sent.name == "a"
        (payload,) = app.data_to_send()
        assert isinstance(payload, str)
        (message,) = decode(payload, Peer.APP)
        assert isinstance(message, PlayAudio)
        assert clip_audio(message) == (given.content, rate)
        assert message.content_type == ("raw" if rate in (8000, 16000) else "wav")
        assert (message.id, message.queue_play) == ("a", True)
        (done,) = app.receive('{"type":"playDone","data":{"id":"a"}}')
        assert isinstance(done, PlaybackDone)
        assert (done.sent, done.outcome) == (sent, Outcome.PLAYED)

    @pytest.mark.parametrize("options", [{}, {"profile": DEPLOYED, "raw_as_wav": False}])
    def test_a_raw_clip_goes_out_as_it_is_where_that_is_right_or_wanted(
        self, options: dict[str, object]
    ) -> None:
        app = opened_app(**options)
        app.send(PlayAudio(bytes(4), sample_rate=24000))
        ((payload,), data) = [*app.data_to_send()], {"audioContentType": "raw", "sampleRate": 24000}
        assert isinstance(payload, str)
        assert data.items() <= json.loads(payload)["data"].items()

    @pytest.mark.parametrize(
        ("clip", "clause"),
        [
            (PlayAudio(bytes(3), sample_rate=24000), "LP-CLIP-16"),
            (PlayAudio(bytes(2), sample_rate=44100), "LP-CLIP-8"),
            (PlayAudio(bytes(2)), "LP-CLIP-8"),
        ],
    )
    def test_a_raw_clip_that_is_wrong_is_refused_and_not_made_a_wav(
        self, clip: PlayAudio, clause: str
    ) -> None:
        app = opened_app(profile=DEPLOYED)
        with pytest.raises(LocalProtocolError) as refused:
            app.send(clip)
        assert refused.value.clause == clause

    @pytest.mark.parametrize(
        ("body", "clause"),
        [
            ({"type": "playAudio"}, "LP-CLIP-6"),
            ({"type": "playAudio", "data": {"audioContent": ""}}, "LP-CLIP-7"),
            ({"type": "playAudio", "data": {"audioContentType": None}}, "LP-CLIP-7"),
            ({"type": "playAudio", "data": {"audioContentType": ["raw"]}}, "LP-CLIP-7"),
            (json.loads(clip_text()), "LP-ODD-6"),
            ({"Type": "playAudio", "data": {"audioContent": ""}}, "LP-ODD-8"),
            ({"type": "json", "tYPE": "playAudio"}, "LP-ODD-8"),
            ({"typ\0e": "playAudio", "data": {}}, "LP-ODD-8"),
            ({"type": "playAudio\0", "data": {}}, "LP-ODD-8"),
        ],
    )
    def test_no_message_built_by_hand_can_crash_a_media_server(
        self, body: dict[str, JSON], clause: str
    ) -> None:
        """LP-CLIP-7, LP-ODD-8: as a deployed platform reads it, each is a playAudio."""
        app = opened_app(profile=DEPLOYED)
        with pytest.raises(LocalProtocolError) as refused:
            app.send(UnknownMessage(body))
        assert refused.value.clause == clause
        assert not app.has_data_to_send

    def test_no_clip_goes_out_without_its_type(self) -> None:
        """LP-CLIP-7: not even one whose checks were gone round."""
        app = opened_app(profile=DEPLOYED)
        clip = PlayAudio(bytes(2), sample_rate=8000, id="a", queue_play=True)
        object.__setattr__(clip, "content_type", None)
        with pytest.raises(LocalProtocolError, match="LP-CLIP-7"):
            app.send(clip)
        assert not app.has_data_to_send

    def test_ids_are_safe_where_the_platform_does_not_escape_them(self) -> None:
        """LP-CLIP-34: unless told otherwise."""
        clip = PlayAudio(b"", sample_rate=8000, id='say "hi"')
        with pytest.raises(LocalProtocolError, match="use only ASCII letters") as refused:
            opened_app(profile=DEPLOYED).send(clip)
        assert refused.value.clause == "LP-CLIP-34"
        for options in ({}, {"profile": DEPLOYED, "safe_clip_ids": False}):
            assert opened_app(**options).send(clip) is not None

    def test_no_clip_gets_the_id_of_an_earlier_one(self) -> None:
        app = opened_app()
        for number in (1, 2, 3):
            sent = app.send(PlayAudio(b"", sample_rate=8000))
            assert sent is not None and sent.name == f"clip-{number}"
            app.receive('{"type":"playDone"}')

    def test_play_done_is_matched_by_id_or_by_order(self) -> None:
        app = opened_app()
        sent = [app.send(PlayAudio(bytes(2), sample_rate=8000, id=name)) for name in "abc"]
        done = '{"type":"playDone"}'
        assert app.receive(done) == [PlaybackDone(sent[0], PLAYED, PlayDone())]
        named = '{"type":"playDone","data":{"id":"b","playbackMilliseconds":"1"}}'
        (event,) = app.receive(named)
        assert event == PlaybackDone(sent[1], PLAYED, PlayDone("b", {"playbackMilliseconds": "1"}))
        app.send(KillAudio())
        sent.append(app.send(PlayAudio(bytes(2), sample_rate=8000, id="d")))
        assert app.receive(done) == [PlaybackDone(sent[2], PLAYED, PlayDone(), guessed=True)]
        assert app.receive(done) == [PlaybackDone(sent[3], PLAYED, PlayDone())]
        assert clauses(app.receive(done)) == ["LP-CLIP-24"]

    def test_only_whole_samples_are_sent(self) -> None:
        """LP-AUD-6."""
        app = opened_app(Mode.STREAMING)
        with pytest.raises(LocalProtocolError, match="LP-AUD-6"):
            app.send(Audio(b"odd"))
        assert [*app.data_to_send()] == []

    @pytest.mark.parametrize("claimed", [0x7FFFFFFF, 5, 3])
    def test_a_wav_goes_out_with_the_length_that_it_has(self, claimed: int) -> None:
        """LP-CLIP-31."""
        app, pcm = opened_app(), bytes(range(4))[: claimed // 2 * 2]
        sent = app.send(PlayAudio(wav_header(claimed, 8000) + bytes(range(4)), "wav", id="a"))
        right = wav_header(len(pcm), 8000) + pcm
        assert sent is not None
        assert sent.message == PlayAudio(right, "wav", id="a", queue_play=True)
        ((text),) = texts(app)
        data = text["data"]  # type: ignore[index]
        assert (data["id"], data["queuePlay"]) == ("a", True)
        assert base64.b64decode(data["audioContent"]) == right

    def test_the_header_of_a_wav_is_read_once_at_either_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []

        def read_wav_head(content: bytes) -> _wav.WavHead:
            read.append(content)
            return really_read(content)

        really_read = _wav.read_wav_head
        monkeypatch.setattr(_wav, "read_wav_head", read_wav_head)
        app, platform = opened_app(), opened_platform(Mode.CLIPS)
        content = wav_header(320, 8000) + bytes(320)
        app.send(PlayAudio(content, "wav"))
        assert read == [content]
        for text in app.data_to_send():
            assert isinstance(text, str)
            platform.receive(text)
        platform.play(FLICKS)
        assert read == [content] * 2

    def test_the_limits_refuse_and_change_nothing(self) -> None:
        app = opened_app()
        for _ in range(10):
            app.send(PlayAudio(bytes(2), sample_rate=8000))
        for _ in range(3):
            with pytest.raises(LocalProtocolError, match="10 clips are outstanding") as caught:
                app.send(PlayAudio(bytes(2), sample_rate=8000))
            assert caught.value.clause == "LP-CLIP-5"
        assert len(texts(app)) == 10
        app.send(KillAudio())
        sent = app.send(PlayAudio(b"", sample_rate=8000))
        assert sent is not None and sent.name == "clip-11"

    def test_without_limits_of_its_own_the_app_keeps_to_what_it_must(self) -> None:
        app = opened_app(max_clips=None, profile=DOCUMENTED)
        for _ in range(11):
            app.send(PlayAudio(bytes(2), sample_rate=8000))
        with pytest.raises(LocalProtocolError, match="LP-CLIP-2"):
            app.send(PlayAudio(bytes(2), sample_rate=8000))
        for profile, most in ((DOCUMENTED, 1000), (DEPLOYED, 30)):
            app = opened_app(Mode.STREAMING, max_marks=None, profile=profile)
            for number in range(most):
                app.send(Mark(f"m{number}"))
            with pytest.raises(LocalProtocolError, match="LP-MARK-2"):
                app.send(Mark("one more"))

    def test_thirty_marks_may_be_pending(self) -> None:
        app = opened_app(Mode.STREAMING)
        for number in range(30):
            app.send(Mark(f"m{number}"))
        with pytest.raises(LocalProtocolError, match="LP-MARK-3"):
            app.send(Mark("one more"))
        app.receive('{"type":"mark","data":{"name":"m0","event":"playout"}}')
        app.send(Mark("one more"))

    @pytest.mark.parametrize(
        ("mode", "message", "clause"),
        [
            (Mode.OFF, KillAudio(), "LP-KILL-1"),
            (Mode.OFF, PlayAudio(b"", sample_rate=8000), "LP-CLIP-1"),
            (Mode.OFF, Audio(b"ab"), "LP-STRM-1"),
            (Mode.CLIPS, Audio(b"ab"), "LP-STRM-1"),
            (Mode.CLIPS, Mark("m"), "LP-MARK-1"),
            (Mode.CLIPS, ClearMarks(), "LP-MARK-1"),
            (Mode.STREAMING, PlayAudio(b"", sample_rate=8000), "LP-CLIP-1"),
            (Mode.STREAMING, Audio(b"odd"), "LP-AUD-6"),
            (Mode.STREAMING, Mark('"'), "LP-MARK-6"),
            (Mode.CLIPS, PlayAudio(b"odd", sample_rate=8000), "LP-CLIP-16"),
            (Mode.CLIPS, PlayAudio(b"", sample_rate=8001), "LP-CLIP-8"),
            (Mode.CLIPS, PlayAudio(b""), "LP-CLIP-8"),
            (Mode.CLIPS, PlayAudio(b"RIFF", "wav"), "LP-CLIP-10"),
            (Mode.STREAMING, PlayAudio(wav_header(2, 8000), "wav"), "LP-CLIP-1"),
            (Mode.CLIPS, Dtmf("1"), "LP-ODD-1"),
            (Mode.CLIPS, Metadata({}), "LP-ODD-1"),
            (Mode.CLIPS, UnknownMessage({"type": "killAudio"}), "LP-ODD-6"),
        ],
    )
    def test_what_may_not_be_sent_is_refused_and_changes_nothing(
        self, mode: Mode, message: Message, clause: str
    ) -> None:
        app = opened_app(mode, keep_passed=True)
        list(app.passed())
        with pytest.raises(LocalProtocolError) as caught:
            app.send(message)
        assert caught.value.clause == clause
        assert list(app.data_to_send()) == []
        assert list(app.passed()) == []
        assert app.waiting == 0

    def test_nothing_is_sent_before_the_metadata(self) -> None:
        with pytest.raises(LocalProtocolError, match="LP-META-13"):
            AppSession().send(KillAudio())

    def test_after_disconnect_only_the_close_is_left_but_what_comes_is_read(self) -> None:
        app = opened_app(Mode.STREAMING)
        app.send(Disconnect())
        for message in (KillAudio(), Audio(b"ab"), Disconnect(), Mark("m")):
            with pytest.raises(LocalProtocolError, match="LP-END-1"):
                app.send(message)
        assert app.receive(b"ab") == [Audio(b"ab")]
        app.close()
        assert list(app.data_to_send()) == ['{"type":"disconnect"}', Close(1000)]

    def test_after_the_end_nothing_is_sent(self) -> None:
        closed, lost = opened_app(), opened_app()
        closed.closed(1000)
        lost.connection_lost()
        assert opened_app().ended is False
        for app, clause in ((closed, "LP-END-6"), (lost, "LP-END-8")):
            assert app.ended
            with pytest.raises(LocalProtocolError) as caught:
                app.send(KillAudio())
            assert caught.value.clause == clause
            app.close()
            assert list(app.data_to_send()) == []

    @pytest.mark.parametrize(("first", "last"), [(1000, 1003), (1007, 1014), (3000, 4999)])
    def test_a_close_says_any_code_that_may_be_said(self, first: int, last: int) -> None:
        for code in (first, last):
            app = opened_app()
            app.close(code)
            assert list(app.data_to_send()) == [Close(code)]
        for code in (first - 1, last + 1):
            with pytest.raises(LocalProtocolError, match=str(code)):
                opened_app().close(code)

    def test_only_codes_that_a_close_can_say_are_said(self) -> None:
        app = opened_app()
        with pytest.raises(LocalProtocolError, match="close code 1006 must not be sent"):
            app.close(1006)
        assert not app.ended


class TestThePlatform:
    def test_metadata_of_8192_bytes_is_sent_whole(self) -> None:
        front = len('{"sampleRate":8000,"mixType":"mono","note":""}')
        for size in (8192 - front, 8193 - front):
            metadata = Metadata({"note": "x" * size})
            platform = PlatformSession(Mode.CLIPS)
            if size + front > 8192:
                with pytest.raises(LocalProtocolError, match="8193 bytes"):
                    platform.send(metadata)
            else:
                platform.send(metadata)
                (text,) = platform.data_to_send()
                assert len(text) == 8192  # type: ignore[arg-type]

    @pytest.mark.parametrize("front", ["", "x"])  # it is cut behind a character, or inside
    def test_metadata_beyond_8192_bytes_is_refused_or_cut(self, front: str) -> None:
        long = Metadata({"customerData": front + "é" * 5000})
        with pytest.raises(LocalProtocolError) as caught:
            PlatformSession(Mode.CLIPS).send(long)
        assert caught.value.clause == "LP-META-11"
        platform = PlatformSession(Mode.CLIPS, profile=DEPLOYED)
        platform.send(long)
        (text,) = platform.data_to_send()
        assert isinstance(text, str)
        raw = text.encode(errors="surrogateescape")
        assert len(raw) == 8192
        assert raw.startswith(b'{"sampleRate":8000,"mixType":"mono",')
        violation, metadata = AppSession(salvage_metadata=True).receive(text)
        assert clauses([violation]) == ["LP-META-11"]
        assert metadata == Metadata({}, truncated=True)

    def test_a_clip_plays_and_is_done(self) -> None:
        platform = opened_platform(Mode.CLIPS)
        platform.receive(clip_text(160))
        assert platform.play(FLICKS // 50 - 1)[0].rate == 8000
        assert texts(platform) == []
        platform.play(1)
        assert texts(platform) == [{"type": "playDone"}]

    def test_a_deployed_platform_says_more_of_a_clip(self) -> None:
        platform = opened_platform(Mode.CLIPS, profile=DEPLOYED)
        platform.receive(clip_text(16000, id=7, queuePlay=True))
        platform.play(2 * FLICKS)
        (done,) = texts(platform)
        assert done == {
            "type": "playDone",
            "data": {
                "id": 7,
                "playbackSeconds": "2",
                "playbackMilliseconds": "2000",
                "playbackLastOffsetPos": "16000",
            },
        }

    def test_a_wav_that_claims_another_length_is_reported_and_played(self) -> None:
        platform = opened_platform(Mode.CLIPS)
        content = base64.b64encode(wav_header(0x7FFFFFFF, 8000) + bytes(320)).decode()
        violation, clip = platform.receive(clip_text(audioContentType="wav", audioContent=content))
        assert str(violation) == (
            "LP-CLIP-31: the WAV header has a wrong length: its data chunk claims 2147483647 "
            "bytes but has 320"
        )
        assert isinstance(clip, PlayAudio)
        assert [len(heard.pcm) for heard in platform.play(FLICKS)] == [320]
        assert texts(platform) == [{"type": "playDone"}]

    @pytest.mark.parametrize(("profile", "waiting"), [(DOCUMENTED, 10), (DEPLOYED, 11)])
    def test_a_clip_too_many_is_refused_and_the_session_goes_on(
        self, profile: Profile, waiting: int
    ) -> None:
        platform = opened_platform(Mode.CLIPS, profile=profile)
        for number in range(waiting + 1):
            assert clauses(platform.receive(clip_text(id=str(number), queuePlay=True))) == []
        refused = platform.receive(clip_text(id="late", queuePlay=True))
        assert clauses(refused) == ["LP-CLIP-2"]
        platform.play(FLICKS)
        assert platform.playout.buffered == 0
        done = [p for p in platform.data_to_send() if isinstance(p, str)]
        assert sum(p.count("playDone") for p in done) == waiting + 1

    def test_a_rate_written_as_a_string(self) -> None:
        for profile, rate in ((DOCUMENTED, 8000), (DEPLOYED, 16000)):
            platform = opened_platform(Mode.CLIPS, profile=profile)
            platform.receive(clip_text(160, sampleRate="8000"))
            assert platform.play(FLICKS)[0].rate == rate

    def test_broken_clips_yield_nothing_and_the_next_one_plays(self) -> None:
        platform = opened_platform(Mode.CLIPS)
        broken = [
            (clip_text(audioContent="!"), "LP-CLIP-6"),
            (clip_text(audioContentType="mp3"), "LP-CLIP-7"),
            (clip_text(audioContentType="wav"), "LP-CLIP-10"),
            (clip_text(sampleRate=44100), "LP-CLIP-8"),
            (clip_text(id=[]), "LP-CLIP-11"),
            (clip_text(queuePlay="yes"), "LP-CLIP-12"),
            ('{"type":"playAudio"}', "LP-CLIP-6"),
        ]
        for text, clause in broken:
            assert clauses(platform.receive(text)) == [clause]
        assert clauses(platform.receive(clip_text())) == []
        platform.play(FLICKS)
        assert texts(platform) == [{"type": "playDone"}]

    def test_an_odd_byte_of_a_clip_is_dropped_and_reported(self) -> None:
        platform = opened_platform(Mode.CLIPS)
        odd = base64.b64encode(b"abc").decode()
        violation, clip = platform.receive(clip_text(audioContent=odd))
        assert clauses([violation]) == ["LP-CLIP-16"]
        assert isinstance(clip, PlayAudio)
        assert [heard.pcm for heard in platform.play(FLICKS)] == [b"ab"]

    def test_an_empty_clip_is_done_in_its_turn(self) -> None:
        platform = opened_platform(Mode.CLIPS)
        platform.receive(clip_text(0))
        assert texts(platform) == [{"type": "playDone"}]
        platform.receive(clip_text(160))
        platform.receive(clip_text(0))
        assert texts(platform) == []
        platform.play(FLICKS)
        assert len(texts(platform)) == 2

    def test_each_clip_that_is_over_at_once_is_done(self) -> None:
        platform = opened_platform(Mode.CLIPS, profile=DEPLOYED)
        platform.receive(clip_text(1600, id="cut-short", queuePlay=True))
        platform.receive(clip_text(0, id="empty", queuePlay=True))
        platform.receive('{"type": "killAudio"}')
        platform.play(FLICKS // 50)
        app = opened_app(profile=DEPLOYED)
        for clip_id in ("cut-short", "dropped", "empty"):
            app.send(PlayAudio(b"", sample_rate=8000, id=clip_id))
        (text,) = platform.data_to_send()
        assert isinstance(text, str)
        done = [event for event in app.receive(text) if isinstance(event, PlaybackDone)]
        assert [event.name for event in done if event.message] == ["cut-short", "empty"]
        assert [event.outcome for event in done] == [PLAYED, Outcome.SKIPPED, PLAYED]

    def test_more_than_may_be_buffered_is_refused(self) -> None:
        """LP-STRM-4, LP-STRM-5."""
        stream = opened_platform(Mode.STREAMING, max_seconds=1)
        assert clauses(stream.receive(bytes(16000))) == []
        (refused,) = stream.receive(bytes(3))
        assert clauses([refused]) == ["LP-STRM-5"]
        assert isinstance(refused, Violation)
        assert (refused.sender, refused.message) == (Peer.APP, Audio(bytes(3)))
        assert "1 s of audio" in refused.reason
        stream.play(FLICKS)
        assert stream.receive(b"a") == [Audio(b"a")]
        assert [heard.pcm for heard in stream.play(FLICKS)] == [b"\0a"]
        clips = opened_platform(Mode.CLIPS, max_seconds=1)
        (refused,) = clips.receive(clip_text(8001))
        assert clauses([refused]) == ["LP-STRM-5"]
        assert isinstance(refused, Violation)
        assert refused.message == PlayAudio(bytes(16002), sample_rate=8000)
        assert clauses(clips.receive(clip_text(8000))) == []

    @pytest.mark.parametrize("payload", [b"", bytes(2)])
    def test_an_app_that_reads_no_answers_is_refused_more_of_them(self, payload: bytes) -> None:
        """LP-STRM-4, LP-STRM-5: marks that are over, and marks that are still to be reached."""
        platform = opened_platform(Mode.STREAMING)
        platform.receive(payload)
        mark = Mark("x" * 100_000)
        said = json.dumps({"type": "mark", "data": {"name": mark.name}})
        *taken, refused = [event for _ in range(12) for event in platform.receive(said)]
        assert taken == [mark] * 11
        assert clauses([refused]) == ["LP-STRM-5"]
        assert "no room for it: at most 1048576 characters of answers may wait" in str(refused)
        platform.play(FLICKS)
        assert len(texts(platform)) == 11
        assert platform.receive(said) == [mark]

    def test_so_many_characters_of_answers_may_wait(self) -> None:
        more = '{"type":"mark","data":{"name":"m"}}'
        for size, expected in ((2**20 - 1, []), (2**20, ["LP-STRM-5"])):
            platform = opened_platform(Mode.STREAMING)
            platform.receive(bytes(2))
            platform.receive(json.dumps({"type": "mark", "data": {"name": "x" * size}}))
            assert clauses(platform.receive(more)) == expected

    def test_what_breaks_a_rule_is_reported_as_that_where_there_is_no_room_either(self) -> None:
        platform = opened_platform(Mode.CLIPS, profile=DEPLOYED)
        platform.receive(clip_text(0, id="x" * 2**20))
        mark = '{"type":"mark","data":{"name":"m"}}'
        assert clauses(platform.receive(mark)) == ["LP-MARK-1"]

    def test_clips_are_answers_too(self) -> None:
        platform = opened_platform(Mode.CLIPS, profile=DEPLOYED)
        clip = clip_text(0, id="x" * 2**20)
        assert [clauses(platform.receive(clip)) for _ in "ab"] == [[], ["LP-STRM-5"]]
        assert len(texts(platform)) == 1
        assert clauses(platform.receive(clip)) == []

    @pytest.mark.parametrize(
        ("mode", "payload", "clause"),
        [
            (Mode.OFF, b"ab", "LP-STRM-1"),
            (Mode.CLIPS, b"ab", "LP-STRM-1"),
            (Mode.OFF, '{"type":"killAudio"}', "LP-KILL-1"),
            (Mode.STREAMING, clip_text(), "LP-CLIP-1"),
            (Mode.CLIPS, '{"type":"mark","data":{"name":"m"}}', "LP-MARK-1"),
            (Mode.CLIPS, '{"type":"clearMarks"}', "LP-MARK-1"),
            (Mode.STREAMING, '{"type":"mark","name":"m"}', "LP-MARK-5"),
            (Mode.STREAMING, '{"event":"dtmf","dtmf":"1"}', "LP-ODD-1"),
            (Mode.STREAMING, '{"type":"playDone"}', "LP-ODD-1"),
            (Mode.STREAMING, "nonsense", "LP-ODD-2"),
        ],
    )
    def test_what_is_out_of_place_is_dropped_and_reported(
        self, mode: Mode, payload: str | bytes, clause: str
    ) -> None:
        platform = opened_platform(mode)
        (violation,) = platform.receive(payload)
        assert clauses([violation]) == [clause]
        assert platform.play(FLICKS) == []
        assert texts(platform) == []

    def test_marks_come_back_in_order(self) -> None:
        platform = opened_platform(Mode.STREAMING)
        platform.receive(bytes(320))
        platform.receive('{"type":"mark","data":{"name":"a"}}')
        platform.receive(bytes(320))
        platform.receive('{"type":"mark","data":{"name":"b"}}')
        platform.play(FLICKS // 50)
        platform.receive('{"type":"killAudio"}')
        assert texts(platform) == [
            {"type": "mark", "data": {"name": "a", "event": "playout"}},
            {"type": "mark", "data": {"name": "b", "event": "cleared"}},
        ]

    def test_a_deployed_kill_waits_for_the_next_frame_and_takes_what_came_behind_it(self) -> None:
        platform = opened_platform(Mode.STREAMING, profile=DEPLOYED)
        platform.receive(bytes(32000))
        platform.play(FLICKS // 50 + FLICKS // 100)
        platform.receive('{"type":"killAudio"}')
        platform.receive('{"type":"mark","data":{"name":"late"}}')
        assert platform.play(FLICKS // 200) != []
        assert texts(platform) == []
        platform.play(FLICKS // 100)
        assert texts(platform) == [{"type": "mark", "data": {"name": "late", "event": "cleared"}}]
        assert platform.playout.buffered == 0

    def test_a_deployed_mark_may_come_back_broken(self) -> None:
        platform = opened_platform(Mode.STREAMING, profile=DEPLOYED)
        platform.receive(json.dumps({"type": "mark", "data": {"name": 'a"b'}}))
        platform.play(FLICKS // 50)
        (text,) = platform.data_to_send()
        assert text == '{"type":"mark","data":{"name":"a"b","event":"playout"}}'
        app = opened_app(Mode.STREAMING, safe_mark_names=False)
        app.send(Mark('a"b'))
        assert clauses(app.receive(text)) == ["LP-ODD-2"]

    @pytest.mark.parametrize(
        ("clip_id", "back"),
        [
            ('a"b', '"id":"a"b",'),
            ("a\nb", '"id":"a\nb",'),
            ("a\\x", '"id":"a\\x",'),
            ("a'b", '"id":"ab",'),
            ("a.b", '"id":"a.b",'),
        ],
    )
    def test_a_deployed_play_done_may_come_back_broken(self, clip_id: str, back: str) -> None:
        platform = opened_platform(Mode.CLIPS, profile=DEPLOYED)
        platform.receive(clip_text(0, id=clip_id))
        (text,) = platform.data_to_send()
        assert isinstance(text, str)
        assert back in text
        app = opened_app(Mode.CLIPS, safe_clip_ids=False)
        app.send(PlayAudio(b"", sample_rate=8000, id=clip_id))
        assert clauses(app.receive(text)) == ([] if clip_id == "a.b" else ["LP-ODD-2"])

    def test_deployed_texts_overtake_audio_and_share_a_message(self) -> None:
        for profile in (DOCUMENTED, DEPLOYED):
            platform = PlatformSession(Mode.CLIPS, profile=profile)
            platform.send(Metadata({}))
            platform.send(Audio(b"aa"))
            platform.send(Dtmf("1", 800))
            platform.send(Audio(b"bb"))
            platform.send(Dtmf("2", 800))
            metadata, *behind = platform.data_to_send()
            keys = [f'{{"event":"dtmf","dtmf":"{n}","duration":"800"}}' for n in (1, 2)]
            assert metadata == '{"sampleRate":8000,"mixType":"mono"}'
            in_order = [b"aa", keys[0], b"bb", keys[1]]
            assert behind == (in_order if profile is DOCUMENTED else ["".join(keys), b"aa", b"bb"])
            assert platform.waiting == 0

    def test_disconnect_flushes_without_a_word_and_closes(self) -> None:
        platform = opened_platform(Mode.STREAMING)
        platform.receive(bytes(320))
        platform.receive('{"type":"mark","data":{"name":"m"}}')
        assert platform.receive('{"type":"disconnect"}') == [Disconnect()]
        assert list(platform.data_to_send()) == [Close(1000)]
        assert platform.play(FLICKS) == []
        assert platform.receive('{"type":"killAudio"}') == []
        assert list(platform.data_to_send()) == []

    @pytest.mark.parametrize("behind", ['{"type":"killAudio"}', '{"type":"mark"}', '{"type":"x"}'])
    def test_what_stands_behind_a_disconnect_in_one_text_means_nothing(self, behind: str) -> None:
        platform = opened_platform(Mode.STREAMING)
        assert platform.receive('{"type":"disconnect"}' + behind) == [Disconnect()]
        assert list(platform.data_to_send()) == [Close(1000)]

    def test_what_the_platform_may_not_send(self) -> None:
        platform = PlatformSession(Mode.CLIPS)
        with pytest.raises(LocalProtocolError, match="LP-META-1"):
            platform.send(Audio(b"aa"))
        platform.send(Metadata({}))
        with pytest.raises(LocalProtocolError, match="LP-META-4"):
            platform.send(Metadata({}))
        with pytest.raises(LocalProtocolError, match="LP-ODD-1"):
            platform.send(KillAudio())
        with pytest.raises(LocalProtocolError, match="LP-CLIP-24"):
            platform.send(PlayDone())
        with pytest.raises(LocalProtocolError, match="LP-MARK-9"):
            platform.send(MarkEvent("m", "playout"))


def test_what_passed_is_kept_in_the_order_of_this_end() -> None:
    platform = PlatformSession(Mode.STREAMING, keep_passed=True)
    platform.send(Metadata({}))
    platform.receive('{"type":"mark","data":{"name":"m"}}')
    platform.receive("{")
    platform.closed(1001, "going")
    assert platform.keeps_passed
    assert not opened_app().keeps_passed
    assert not PlatformSession(Mode.CLIPS).keeps_passed
    passed = list(platform.passed())
    assert [sender for sender, _ in passed] == [
        Peer.PLATFORM,
        Peer.APP,
        Peer.PLATFORM,
        Peer.APP,
        Peer.APP,
    ]
    assert passed[3:] == [(Peer.APP, "{"), (Peer.APP, Close(1001, "going"))]
    assert list(platform.passed()) == []


def test_what_passed_at_the_app_is_kept_as_it_came_and_went() -> None:
    app = opened_app(keep_passed=True)
    app.receive(b"ab")
    app.send(KillAudio())
    app.closed(1001, "going")
    assert list(app.passed()) == [
        (Peer.PLATFORM, METADATA),
        (Peer.PLATFORM, b"ab"),
        (Peer.APP, '{"type":"killAudio"}'),
        (Peer.PLATFORM, Close(1001, "going")),
    ]


def test_a_close_of_1006_is_a_lost_connection() -> None:
    app, platform = opened_app(), opened_platform(Mode.CLIPS)
    app.receive(b"odd")
    assert clauses(app.closed(1006)) == ["LP-AUD-5"]
    assert platform.closed(1006) == []
    assert app.ended
    assert platform.ended


def test_a_close_that_has_come_is_told_as_it_was_said() -> None:
    for closing, close in (((), Close(1000, "")), ((1001, "going"), Close(1001, "going"))):
        for session in (opened_app(), opened_platform(Mode.CLIPS)):
            assert session.closed(*closing) == [close]


def test_a_close_goes_out_as_it_was_said_and_counts_for_nothing_that_waits() -> None:
    for session in (opened_app(), opened_platform(Mode.CLIPS)):
        session.close(1001, "going")
        assert session.waiting == 0
        assert list(session.data_to_send()) == [Close(1001, "going")]
        assert session.waiting == 0


def test_an_hour_of_audio_may_wait_for_the_caller() -> None:
    playout = PlatformSession(Mode.CLIPS).playout
    assert playout.has_room(3600 * FLICKS)
    assert not playout.has_room(3600 * FLICKS + 1)


def test_the_reason_of_a_close_is_cut_to_what_a_frame_can_hold() -> None:
    app = opened_app()
    app.close(1002, "é" * 100)
    assert list(app.data_to_send()) == [Close(1002, "é" * 61)]


def test_what_no_frame_can_say_is_a_question_mark_in_the_reason_of_a_close() -> None:
    app = opened_app()
    app.close(1002, "\ud800!")
    assert list(app.data_to_send()) == [Close(1002, "?!")]


def test_a_close_is_not_sent_as_a_message() -> None:
    for session in (opened_app(), opened_platform(Mode.CLIPS)):
        with pytest.raises(LocalProtocolError, match="close") as caught:
            session.send(Close())
        assert caught.value.clause == "LP-END-6"
        assert not session.ended


def test_only_messages_and_bytes_of_audio_are_sent() -> None:
    app = opened_app(Mode.STREAMING)
    with pytest.raises(TypeError, match="not str"):
        app.send("killAudio")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Audio takes bytes"):
        app.send(Audio("ab"))  # type: ignore[arg-type]
    assert list(app.data_to_send()) == []


def test_the_platform_takes_the_rate_of_the_stream_from_the_verb() -> None:
    way = {"streaming": True, "sampleRate": 24000}
    verb = ListenVerb.from_json({"url": "ws://app.example/", "bidirectionalAudio": way})
    platform = PlatformSession(verb)
    platform.send(Metadata({}))
    platform.receive(bytes(480))
    assert [heard.rate for heard in platform.play(FLICKS)] == [24000]


@pytest.mark.parametrize("rate", [22050, 0, -8000, 8000.0, "8000", True])
def test_a_stream_has_no_rate_that_a_verb_cannot_say(rate: Any) -> None:
    """LP-VERB-1."""
    for takes_a_rate in (partial(PlatformSession, Mode.STREAMING), Playout):
        with pytest.raises(ValueError, match="stream_rate must be one of 8000"):
            takes_a_rate(stream_rate=rate)


@pytest.mark.parametrize("asked", [16000, None])
def test_a_rate_that_contradicts_the_verb_is_refused(asked: int | None) -> None:
    way = BidirectionalAudio(streaming=asked is not None, sample_rate=asked)
    verb = ListenVerb(url="/", bidirectional_audio=way)
    PlatformSession(verb, stream_rate=asked or 8000)
    with pytest.raises(ValueError, match="but stream_rate is 24000"):
        PlatformSession(verb, stream_rate=24000)


def test_tiny_messages_of_a_stream_are_joined() -> None:
    platform = opened_platform(Mode.STREAMING)
    for number in range(10_000):
        platform.receive(number.to_bytes(2, "little"))
    heard = platform.play(2 * FLICKS)
    assert [len(piece.pcm) for piece in heard] == [8192, 8192, 3616]
    pcm = b"".join(piece.pcm for piece in heard)
    assert not first_difference(
        pcm, b"".join(number.to_bytes(2, "little") for number in range(10_000))
    )


def test_marks_that_are_not_awaited_do_not_pile_up() -> None:
    """The newest are remembered; an event for a mark that is not is taken for a breach."""
    app = opened_app(Mode.STREAMING)
    with mock.patch("listenproto._marks.MAX_MARKS", 100):
        for number in range(1000):
            app.send(Mark(f"m{number}"))
            app.send(ClearMarks())
        app.send(Mark("last"))
    done = '{"type":"mark","data":{"name":"%s","event":"playout"}}'
    assert clauses(app.receive(done % "m900")) == ["LP-MARK-9"]
    assert clauses(app.receive(done % "m901")) == []
    assert clauses(app.receive(done % "m990")) == []
    assert clauses(app.receive(done % "last")) == []
    assert app.observer.pending_marks == 0


def test_a_clear_marks_forgets_what_a_kill_left() -> None:
    app = opened_app(Mode.STREAMING)
    for message in (Mark("a"), KillAudio(), Mark("b"), ClearMarks(), Mark("c")):
        app.send(message)
    event = '{"type":"mark","data":{"name":"%s","event":"%s"}}'
    assert clauses(app.receive(event % ("a", "cleared"))) == []
    assert clauses(app.receive(event % ("c", "playout"))) == []


def test_both_ends_count_what_passes() -> None:
    app, platform = opened_app(Mode.STREAMING), opened_platform(Mode.STREAMING)
    assert (app.received, app.sent) == (Traffic(1), Traffic())
    assert (platform.received, platform.sent) == (Traffic(), Traffic(1))
    for payload in (bytes(320), b"\0", '{"event":"dtmf","dtmf":"1"}', "no JSON"):
        app.receive(payload)
    for message in (Audio(bytes(20)), Audio(bytes(2)), Mark("m")):
        app.send(message)
    app.close()
    assert (app.received, app.sent) == (Traffic(5, 321), Traffic(3, 22))
    for payload in app.data_to_send():
        if isinstance(payload, Close):
            platform.closed(payload.code)
        else:
            platform.receive(payload)
    platform.receive(bytes(2))
    assert (platform.received, platform.sent) == (Traffic(4, 24), Traffic(1))


SAID = st.one_of(
    st.builds(Audio, st.integers(0, 9).map(lambda samples: bytes(2 * samples))),
    st.just(KillAudio()),
)


@given(said=st.lists(SAID, max_size=8), closes=st.booleans(), limit=st.integers(1, 100))
def test_what_is_taken_together_is_what_comes_one_by_one(
    said: list[Message], closes: bool, limit: int
) -> None:
    one_by_one, together = (opened_app(Mode.STREAMING) for _ in range(2))
    for session in (one_by_one, together):
        for message in said:
            session.send(message)
        if closes:
            session.close()
    left = [*one_by_one.data_to_send()]
    while left:
        taken = together.take(limit)
        assert taken == left[: len(taken)]
        del left[: len(taken)]
        *before, last = (0 if isinstance(payload, Close) else len(payload) for payload in taken)
        assert sum(before) < limit
        assert sum(before) + last >= limit or not left
        assert together.waiting == sum(
            len(payload) for payload in left if not isinstance(payload, Close)
        )
    assert (together.take(limit), together.has_data_to_send) == ([], False)
