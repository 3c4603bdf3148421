"""The ladder of a call, line by line."""

from __future__ import annotations

import pytest

from listenproto import Audio, MarkEvent, Mode, Peer, PlayAudio, PlayDone
from listenproto._messages import Close, Message
from listenproto._trace import Trace, TraceHeader, TraceLine, TraceMoment
from listenproto_trio._ladder import Ladder, ladder

PLATFORM, APP = Peer.PLATFORM, Peer.APP


def test_each_text_is_a_rung_and_each_stretch_of_audio_is_one() -> None:
    said = [
        (PLATFORM, TraceMoment.OPEN),
        (PLATFORM, '{"sampleRate":16000,"mixType":"stereo"}'),
        (PLATFORM, bytes(6400)),
        (APP, bytes(8000)),
        (PLATFORM, bytes(6400)),
        (PLATFORM, '{"event":"dtmf","dtmf":"5"}'),
        (APP, '{"type":"mark","data":{"name":"a name that is longer than there is room"}}'),
        (APP, '{"type":"transfer"}'),
        (APP, '{"to":"nobody"}'),
        (APP, "hello"),
        (PLATFORM, '{"type":"playDone"}'),
        (PLATFORM, '{"sampleRate":8000,"mixType":"mono"}'),
        (PLATFORM, bytes(6400)),
        (APP, bytes(160)),
        (APP, TraceMoment.LOST),
    ]
    lines = [TraceLine(10_000 * n, who, 0, payload) for n, (who, payload) in enumerate(said)]
    assert [*ladder(Trace(TraceHeader(vantage=APP, way=Mode.STREAMING), tuple(lines)))] == [
        "    time  platform                            app",
        "   0.010  metadata 16000 Hz stereo       ──▶",
        "   0.020  audio 0.20 s in 2 messages     ──▶",
        "   0.030                                 ◀── audio 0.50 s",
        "   0.050  dtmf 5                         ──▶",
        "   0.060                                 ◀── mark a name that is longer th…",
        "   0.070                                 ◀── unknown transfer",
        "   0.080                                 ◀── unknown message",
        "   0.090                                 ◀── malformed: this text is not v…",
        "   0.100  playDone                       ──▶",
        "   0.110  metadata 8000 Hz               ──▶",
        "   0.120  audio 0.10 s                   ──▶",
        "   0.130                                 ◀── audio 0.01 s",
        "   0.140                                 ◀── connection lost",
    ]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (PlayAudio(bytes(6444), "wav", id="clip-10"), "playAudio clip-10 wav 6444 B"),
        (PlayAudio(bytes(6400), sample_rate=8000), "playAudio raw 6400 B"),
        (PlayAudio(bytes(2), sample_rate=8000, id=36 * "a"), "playAudio aaaaaaaaaaa… raw 2 B"),
        (MarkEvent("a name of many words", "playout"), "mark a name of many w… playout"),
        (MarkEvent("", "cleared"), "mark cleared"),
        (PlayDone(36 * "a"), f"playDone {20 * 'a'}…"),
    ],
)
def test_what_matters_has_room_beside_a_long_name(message: Message, told: str) -> None:
    (rung,) = Ladder(8000).rungs(0, APP, message)
    assert rung.endswith(f"◀── {told}")
    assert len(told) <= 30


def test_the_close_is_the_last_rung() -> None:
    lines = (TraceLine(0, APP, 0, Close(1011, "it failed")), TraceLine(0, PLATFORM, 0, Close(1000)))
    *_, app, platform = ladder(Trace(TraceHeader(vantage=PLATFORM, way=Mode.OFF), lines))
    assert app == "   0.000                                 ◀── close 1011 it failed"
    assert platform == "   0.000  close 1000                     ──▶"


def test_a_long_stretch_is_told_in_parts_as_it_goes_on() -> None:
    rungs = Ladder(16000, longest=30_000)
    told = [rung for n in range(7) for rung in rungs.rungs(10_000 * n, APP, Audio(bytes(320)))]
    assert told == [
        "   0.000                                 ◀── audio 0.03 s in 3 messages",
        "   0.030                                 ◀── audio 0.03 s in 3 messages",
    ]
    assert [*rungs.rest()] == ["   0.060                                 ◀── audio 0.01 s"]
    assert [*rungs.rest()] == []


def test_a_ladder_takes_no_rate_that_a_verb_cannot_say() -> None:
    with pytest.raises(ValueError, match="stream_rate must be one of"):
        Ladder(22050)
