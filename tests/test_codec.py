"""Messages on the wire: exact out, tolerant in, and nothing a peer sends raises."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listenproto._clip_audio import clip_audio, clip_flicks, mended_clip
from listenproto._errors import LocalProtocolError
from listenproto._l16 import FLICKS, PLAY_RATES, flicks_of
from listenproto._messages import (
    Audio,
    ClearMarks,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    Malformed,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Mode,
    Peer,
    PlayAudio,
    PlayDone,
    UnknownMessage,
)
from listenproto._rules import MODES
from listenproto._terms import DIGITS
from listenproto._wav import WavError, growing_wav_header, parse_wav, wav_header
from listenproto.codec import MAX_METADATA, decode, decode_opening, encode
from listenproto.testing import (
    app_messages,
    json_values,
    metadata,
    nearly_legal_texts,
    platform_messages,
    play_audio,
)

WAV = wav_header(4, 44100) + b"\x01\x00\xff\x7f"
PEERS = st.sampled_from(Peer)
ANY_TEXT = st.text(st.characters(), max_size=60)  # lone surrogates included
ANYTHING = nearly_legal_texts() | ANY_TEXT | json_values().map(json.dumps) | st.binary(max_size=60)


def text_of(obj: Any) -> str:
    return json.dumps(obj, separators=(",", ":"))


def play_audio_text(**changes: Any) -> str:
    """A playAudio that is right but for some members; ``...`` takes one away."""
    data = {"audioContent": "AAAA", "audioContentType": "raw", "sampleRate": 16000} | changes
    return text_of({"type": "playAudio", "data": {k: data[k] for k in data if data[k] is not ...}})


def sent(message: Message, sender: Peer) -> str | bytes:
    payload = encode(message, sender)
    assert not isinstance(payload, Close)
    return payload


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


# Out and back.


@given(platform_messages())
def test_what_a_platform_sends_is_read_as_it_was(message: Message) -> None:
    assert decode(sent(message, Peer.PLATFORM), Peer.PLATFORM) == [message]


@given(app_messages())
def test_what_an_app_sends_is_read_as_it_was(message: Message) -> None:
    assert decode(sent(message, Peer.APP), Peer.APP) == [message]


@given(metadata())
def test_metadata_is_read_as_it_was(message: Metadata) -> None:
    payload = sent(message, Peer.PLATFORM)
    assert decode_opening(payload) == [message]
    assert decode_opening(payload, salvage=True) == [message]
    assert decode(payload, Peer.PLATFORM) == [message]  # a second one, out of place


@given(st.one_of([st.tuples(st.just(mode), app_messages(mode)) for mode in Mode]))
def test_what_is_offered_for_a_mode_has_its_place_there(offer: tuple[Mode, Message]) -> None:
    mode, message = offer
    assert mode in MODES.get(type(message), (Mode, ""))[0]


@given(ANYTHING, PEERS)
def test_what_was_read_can_be_passed_on(payload: str | bytes, sender: Peer) -> None:
    for message in decode(payload, sender):
        # A key's duration goes out as a string, which has a narrower bound than a number.
        if not isinstance(message, Malformed | Dtmf):
            assert decode(sent(message, sender), sender) == [message]


@pytest.mark.parametrize(
    ("sender", "message", "payload"),
    [
        (Peer.PLATFORM, Audio(b"\x01\x02"), b"\x01\x02"),
        (Peer.APP, Audio(b""), b""),
        (
            Peer.PLATFORM,
            Metadata({"callSid": "c-1", "from": "Zo\u00eb", "sipStatus": 200}),
            '{"sampleRate":8000,"mixType":"mono","callSid":"c-1","from":"Zo\u00eb","sipStatus":200}',
        ),
        (
            Peer.PLATFORM,
            Metadata(sample_rate=16000, mix_type=MixType.STEREO),
            '{"sampleRate":16000,"mixType":"stereo"}',
        ),
        (Peer.PLATFORM, Dtmf("2", 1600), '{"event":"dtmf","dtmf":"2","duration":"1600"}'),
        (Peer.PLATFORM, Dtmf("#"), '{"event":"dtmf","dtmf":"#"}'),
        (Peer.PLATFORM, PlayDone(), '{"type":"playDone"}'),
        (Peer.PLATFORM, PlayDone("a"), '{"type":"playDone","data":{"id":"a"}}'),
        (
            Peer.PLATFORM,
            PlayDone(7, {"playMs": "20"}),
            '{"type":"playDone","data":{"id":7,"playMs":"20"}}',
        ),
        (
            Peer.PLATFORM,
            MarkEvent("m", "playout"),
            '{"type":"mark","data":{"name":"m","event":"playout"}}',
        ),
        (
            Peer.PLATFORM,
            MarkEvent("m", "cleared"),
            '{"type":"mark","data":{"name":"m","event":"cleared"}}',
        ),
        (
            Peer.APP,
            PlayAudio(b"\x00\x00\x00", sample_rate=16000),
            '{"type":"playAudio","data":{"audioContent":"AAAA","audioContentType":"raw",'
            '"sampleRate":16000}}',
        ),
        (
            Peer.APP,
            PlayAudio(WAV, "wav", id="c", queue_play=True),
            '{"type":"playAudio","data":{"audioContent":"' + base64_of(WAV) + '",'
            '"audioContentType":"wav","id":"c","queuePlay":true}}',
        ),
        (
            Peer.APP,
            PlayAudio(b"", sample_rate=8000, id=0, queue_play=False),
            '{"type":"playAudio","data":{"audioContent":"","audioContentType":"raw",'
            '"sampleRate":8000,"id":0,"queuePlay":false}}',
        ),
        (Peer.APP, KillAudio(), '{"type":"killAudio"}'),
        (Peer.APP, Mark("m"), '{"type":"mark","data":{"name":"m"}}'),
        (Peer.APP, Mark('"\\\n'), '{"type":"mark","data":{"name":"\\"\\\\\\n"}}'),
        (Peer.APP, ClearMarks(), '{"type":"clearMarks"}'),
        (Peer.APP, Disconnect(), '{"type":"disconnect"}'),
        (Peer.APP, UnknownMessage({"type": "json", "a": [1]}), '{"type":"json","a":[1]}'),
        (Peer.APP, Close(1000, "bye"), Close(1000, "bye")),
    ],
)
def test_how_each_message_looks_on_the_wire(
    sender: Peer, message: Message, payload: str | bytes
) -> None:
    assert encode(message, sender) == payload


# What an encoder must not send.


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


CIRCLE: dict[str, Any] = {}
CIRCLE["circle"] = CIRCLE


@pytest.mark.parametrize(
    ("sender", "message", "clause"),
    [
        (Peer.PLATFORM, Metadata({"sampleRate": 16000}), "LP-ODD-6"),
        (Peer.PLATFORM, Metadata({"mixType": "mono"}), "LP-ODD-6"),
        (Peer.PLATFORM, Metadata({"a": 1}, truncated=True), "LP-ODD-6"),
        (Peer.PLATFORM, Metadata(sample_rate=44100), "LP-META-5"),
        (Peer.PLATFORM, Metadata({"a": math.nan}), "LP-ODD-2"),
        (Peer.PLATFORM, Metadata({"a": nested(100)}), "LP-ODD-2"),
        (Peer.PLATFORM, Dtmf("x"), "LP-DTMF-3"),
        (Peer.PLATFORM, Dtmf("12"), "LP-DTMF-3"),
        (Peer.PLATFORM, Dtmf(""), "LP-DTMF-3"),
        (Peer.PLATFORM, Dtmf("1", -1), "LP-DTMF-4"),
        (Peer.PLATFORM, PlayDone(playback={"id": "a"}), "LP-ODD-6"),
        (Peer.PLATFORM, PlayDone("a", {"id": "b"}), "LP-ODD-6"),
        (Peer.PLATFORM, PlayDone(math.inf), "LP-ODD-2"),
        (Peer.PLATFORM, MarkEvent(5, "cleared"), "LP-MARK-7"),  # type: ignore[arg-type]
        (Peer.PLATFORM, UnknownMessage({"callSid": "c"}), "LP-ODD-6"),
        (Peer.APP, Mark("\ud800"), "LP-ODD-2"),
        (Peer.APP, Mark(5), "LP-MARK-5"),  # type: ignore[arg-type]
        (Peer.APP, PlayAudio(b""), "LP-CLIP-8"),
        (Peer.APP, PlayAudio(b"", sample_rate=44100), "LP-CLIP-8"),
        (Peer.APP, PlayAudio(WAV[:40], "wav"), "LP-CLIP-10"),
        (Peer.APP, PlayAudio(b"", sample_rate=8000, id=[1]), "LP-CLIP-11"),  # type: ignore[arg-type]
        (Peer.APP, PlayAudio(b"", sample_rate=8000, id=10**70), "LP-ODD-2"),
        (Peer.APP, UnknownMessage({"type": "killAudio"}), "LP-ODD-6"),
        (Peer.APP, UnknownMessage({"type": "mark"}), "LP-MARK-5"),
        (Peer.APP, UnknownMessage({"a": (1,)}), "LP-ODD-6"),
        (Peer.APP, UnknownMessage({1: 2}), "LP-ODD-6"),  # type: ignore[dict-item]
        (Peer.APP, UnknownMessage({"a": b""}), "LP-ODD-2"),
        (Peer.APP, UnknownMessage({"a": [0] * 10_001}), "LP-ODD-2"),
        (Peer.APP, UnknownMessage(CIRCLE), "LP-ODD-2"),
        (Peer.PLATFORM, Malformed("{", "cut", "LP-ODD-2"), "LP-ODD-2"),
        (Peer.APP, Malformed('{"type":"mark"}', "no data", "LP-MARK-5"), "LP-MARK-5"),
    ],
)
def test_what_would_not_be_read_back_is_not_sent(
    sender: Peer, message: Message, clause: str
) -> None:
    """LP-ODD-6 among others."""
    with pytest.raises(LocalProtocolError) as info:
        encode(message, sender)
    assert info.value.clause == clause


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"a": 10**5000}, id="number of thousands of digits"),
        pytest.param({"a": nested(100_000)}, id="absurd nesting"),
    ],
)
def test_what_cannot_even_be_printed_is_not_sent(body: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError) as info:
        encode(UnknownMessage(body), Peer.APP)
    assert info.value.clause == "LP-ODD-2"


# Tolerant in.


@pytest.mark.parametrize(
    ("sender", "text", "message"),
    [
        (Peer.PLATFORM, ' {"event": "dtmf", "dtmf": "*", "duration": 320}\n', Dtmf("*", 320)),
        (Peer.PLATFORM, '{"event":"dtmf","dtmf":"A","duration":"00320"}', Dtmf("A", 320)),
        (Peer.PLATFORM, '{"event":"dtmf","dtmf":"0","duration":0}', Dtmf("0", 0)),
        (
            Peer.PLATFORM,
            '{"event":"dtmf","dtmf":"D","duration":"999999999999999"}',
            Dtmf("D", 999_999_999_999_999),
        ),
        (
            Peer.PLATFORM,
            '{"event":"dtmf","dtmf":"D","duration":999999999999999}',
            Dtmf("D", 999_999_999_999_999),
        ),
        (Peer.PLATFORM, '{"event":"dtmf","dtmf":"0","duration":null,"x":1}', Dtmf("0")),
        (Peer.PLATFORM, '{"type":"playDone","data":{}}', PlayDone()),
        (Peer.PLATFORM, '{"type":"playDone","data":{"id":null}}', PlayDone()),
        (Peer.PLATFORM, '{"type":"playDone","data":{"id":1.5,"x":[]}}', PlayDone(1.5, {"x": []})),
        (Peer.PLATFORM, '{"type":"mark","data":{"name":""},"x":1}', Mark("")),
        (Peer.APP, '{"type":"killAudio","data":{}}', KillAudio()),
        (Peer.APP, '{"type":"mark","event":"x","data":{"name":"m","x":1}}', Mark("m")),
        (Peer.APP, play_audio_text(sampleRate="16000"), PlayAudio(bytes(3), "raw", 16000)),
        (Peer.APP, play_audio_text(textContent="hello"), PlayAudio(bytes(3), "raw", 16000)),
        (Peer.APP, play_audio_text(id=None, queuePlay=None), PlayAudio(bytes(3), "raw", 16000)),
        (Peer.APP, play_audio_text(audioContent=""), PlayAudio(b"", "raw", 16000)),
        (
            Peer.APP,
            play_audio_text(audioContentType="wave", audioContent=base64_of(WAV), sampleRate=...),
            PlayAudio(WAV, "wav"),
        ),
        (
            Peer.APP,
            play_audio_text(audioContentType="wav", audioContent=base64_of(WAV), sampleRate="x"),
            PlayAudio(WAV, "wav"),
        ),
        (Peer.PLATFORM, '{"type":"playAudio2"}', UnknownMessage({"type": "playAudio2"})),
        (Peer.PLATFORM, '{"type":"dtmf"}', UnknownMessage({"type": "dtmf"})),
        (Peer.PLATFORM, '{"event":"mark"}', UnknownMessage({"event": "mark"})),
        (Peer.PLATFORM, '{"type":["mark"]}', UnknownMessage({"type": ["mark"]})),
        (Peer.PLATFORM, '{"sampleRate":8000}', UnknownMessage({"sampleRate": 8000})),
        (
            Peer.PLATFORM,
            '{"type":"x","callSid":"c"}',
            UnknownMessage({"type": "x", "callSid": "c"}),
        ),
        (
            Peer.PLATFORM,
            '{"event":"x","callSid":"c"}',
            UnknownMessage({"event": "x", "callSid": "c"}),
        ),
        (Peer.APP, '{"callSid":"c"}', UnknownMessage({"callSid": "c"})),
        (Peer.APP, "{}", UnknownMessage({})),
    ],
)
def test_what_else_is_read(sender: Peer, text: str, message: Message) -> None:
    assert decode(text, sender) == [message]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"type": "a", "event": "b"}, "a"),
        ({"event": "b"}, "b"),
        ({"type": 1, "event": "b"}, "b"),
        ({"a": "b"}, None),
    ],
)
def test_the_type_of_an_unknown_message(body: dict[str, Any], name: str | None) -> None:
    assert UnknownMessage(body).type == name


@pytest.mark.parametrize("digit", DIGITS)
def test_every_key_of_a_telephone(digit: str) -> None:
    assert decode(text_of({"event": "dtmf", "dtmf": digit}), Peer.PLATFORM) == [Dtmf(digit)]


@pytest.mark.parametrize("rate", PLAY_RATES)
def test_every_rate_as_number_and_as_string(rate: int) -> None:
    for written in (rate, str(rate)):
        clip = PlayAudio(bytes(3), "raw", rate)
        assert decode(play_audio_text(sampleRate=written), Peer.APP) == [clip]
        assert decode_opening(text_of({"sampleRate": written})) == [Metadata(sample_rate=rate)]


def test_two_texts_in_one_message() -> None:
    first, second = '{"type":"playDone"}', '{"event":"dtmf","dtmf":"1"}'
    for space in ("", "\r\n "):
        assert decode(first + space + second, Peer.PLATFORM) == [PlayDone(), Dtmf("1")]
    opening = '{"sampleRate":16000,"callSid":"c"}'
    assert decode_opening(opening + second) == [Metadata({"callSid": "c"}, 16000), Dtmf("1")]
    assert decode_opening(opening + opening)[1:] == [Metadata({"callSid": "c"}, 16000)]


JUNK = [
    ("x", "LP-ODD-2"),
    ("'", "LP-ODD-2"),
    (",", "LP-ODD-2"),
    ("}", "LP-ODD-2"),
    ("\ufeff", "LP-ODD-2"),
    ("\u00a0", "LP-ODD-2"),
    ('{"type":"ma', "LP-ODD-2"),
    ('{"type":NaN}', "LP-ODD-2"),
    ('{"type":"\\ud800"}', "LP-ODD-2"),
    ("[1,", "LP-ODD-2"),
    ("[1] x", "LP-ODD-2"),
    pytest.param("[" * 100, "LP-ODD-2", id="absurd nesting"),
    pytest.param("[" + "1," * 10_000 + "1]", "LP-ODD-2", id="too many values"),
    ("[]", "LP-ODD-3"),
    ("1", "LP-ODD-3"),
    ('"killAudio"', "LP-ODD-3"),
    ("null", "LP-ODD-3"),
    ("[{}]", "LP-ODD-3"),
]
"""What cannot stand beside an object, and what a text breaks that has it."""


@pytest.mark.parametrize(("junk", "clause"), JUNK)
@pytest.mark.parametrize(
    "around", ["{0}{1}", "{1}{0}", "{1}{0}{1}", " {1} {0} ", "{1}{1}\n{0}", "{0}\n{1}{1}"]
)
def test_a_text_is_taken_whole_or_not_at_all(around: str, junk: str, clause: str) -> None:
    """LP-ODD-7: nothing of it is acted on where anything else stands among its objects."""
    for sender, name in ((Peer.APP, "killAudio"), (Peer.PLATFORM, "playDone")):
        text = around.format(junk, text_of({"type": name}))
        (message,) = decode(text, sender)
        assert isinstance(message, Malformed)
        assert (message.text, message.clause) == (text, clause)


@pytest.mark.parametrize(("junk", "clause"), JUNK)
@pytest.mark.parametrize("around", ["{0}{1}", "{1}{0}", '{1}{0}{{"type":"playDone"}}'])
def test_metadata_is_taken_whole_or_not_at_all(around: str, junk: str, clause: str) -> None:
    """LP-META-2 or LP-META-3, whichever comes of it."""
    text = around.format(junk, '{"sampleRate":16000,"callSid":"c"}')
    (message,) = decode_opening(text)
    assert isinstance(message, Malformed)
    assert (message.text, message.clause) == (text, clause.replace("LP-ODD-3", "LP-META-1"))


def test_what_stands_whole_in_front_of_a_fault_can_be_salvaged() -> None:
    """LP-META-12, as of a deployed platform that leaves a quote behind the metadata."""
    for behind in ("'", " x", '{"type":"playDone"'):
        text = '{"sampleRate":16000,"callSid":"c"}' + behind
        (salvaged,) = decode_opening(text, salvage=True)
        assert salvaged == Metadata({"callSid": "c"}, 16000, truncated=True)
        assert isinstance(salvaged, Metadata)
        assert salvaged.flaw.startswith("something other than a JSON object follows")
    text = 'x{"sampleRate":16000,"mixType":"stereo","callSid":"c"}'
    (salvaged,) = decode_opening(text, salvage=True)
    assert salvaged == Metadata({"callSid": "c"}, 16000, MixType.STEREO, truncated=True)
    assert isinstance(salvaged, Metadata)
    assert (salvaged.text, salvaged.flaw.endswith("whole were read")) == (text, True)


def test_what_an_app_assumes_stands_for_what_is_left_out() -> None:
    """LP-META-17."""
    assumed = Metadata({"callSid": "c"}, 24000, MixType.STEREO)
    for payload, message in ((b"ab", Audio(b"ab")), ('{"event":"dtmf","dtmf":"1"}', Dtmf("1"))):
        found = decode_opening(payload, assume=assumed)
        assert found == [assumed, message]
        assert isinstance(found[0], Metadata)
        assert found[0].flaw == "the platform sent no metadata; 24000 Hz stereo is assumed"
    for text, message in (
        ("{}", assumed),
        ('{"type":"start"}', Metadata({"callSid": "c", "type": "start"}, 24000, MixType.STEREO)),
        ('{"mixType":"mono","callSid":"d"}', Metadata({"callSid": "d"}, 24000)),
    ):
        assert decode_opening(text, assume=assumed) == [message]
    (salvaged,) = decode_opening('{"a":1,"b', salvage=True, assume=assumed)
    attributes = {"callSid": "c", "a": 1}
    assert salvaged == Metadata(attributes, 24000, MixType.STEREO, truncated=True)
    assert isinstance(salvaged, Metadata)
    assert salvaged.flaw.endswith("; assumed: sampleRate 24000, mixType stereo")


@pytest.mark.parametrize(
    ("sender", "event", "clause"),
    [
        (Peer.PLATFORM, ',"event":"playout"', "LP-MARK-7"),
        (Peer.PLATFORM, "", "LP-MARK-7"),
        (Peer.APP, "", "LP-MARK-5"),
    ],
)
@pytest.mark.parametrize("name", ["null", "5", "true", '["m"]', "{}"])
def test_a_bad_name_of_a_mark_is_named_with_its_senders_clause(
    name: str, sender: Peer, event: str, clause: str
) -> None:
    text = '{"type":"mark","data":{"name":' + name + event + "}}"
    (message,) = decode(text, sender)
    assert isinstance(message, Malformed)
    assert (message.text, message.clause) == (text, clause)
    assert "'name'" in message.reason


def test_a_bad_body_does_not_hide_what_stands_around_it() -> None:
    text = '{"type":"clearMarks"} {"type":"mark"} {"type":"killAudio"}'
    first, second, third = decode(text, Peer.APP)
    assert isinstance(second, Malformed)
    assert (second.text, second.clause) == ('{"type":"mark"}', "LP-MARK-5")
    assert (first, third) == (ClearMarks(), KillAudio())


@pytest.mark.parametrize("written", ["8000", "44100", "", "fast"])
def test_a_rate_as_string_as_deployed_platforms_read_it(written: str) -> None:
    text = play_audio_text(sampleRate=written)
    assert decode(text, Peer.APP, string_sample_rate=16000) == [PlayAudio(bytes(3), "raw", 16000)]


def test_a_rate_is_written_as_a_number() -> None:
    """LP-CLIP-9: a string is read as 16000 by deployed platforms."""
    text = encode(PlayAudio(b"", sample_rate=8000), Peer.APP)
    assert isinstance(text, str)
    assert json.loads(text)["data"]["sampleRate"] == 8000


def test_a_rate_as_number_is_read_alike_everywhere() -> None:
    text = play_audio_text(sampleRate=8000)
    assert decode(text, Peer.APP, string_sample_rate=16000) == [PlayAudio(bytes(3), "raw", 8000)]
    for body in ({"type": "x", "data": {"sampleRate": "8000"}}, {"type": "playAudio", "data": 5}):
        read = decode(text_of(body), Peer.APP)
        assert decode(text_of(body), Peer.APP, string_sample_rate=16000) == read


# What is no message (D19).


NOT_JSON = {
    "nothing": "",
    "space": " \n",
    "a word": "hello",
    "cut": '{"type":"killAudio"',
    "single quotes": "{'type':'killAudio'}",
    "trailing comma": '{"type":"killAudio",}',
    "byte order mark": '\ufeff{"type":"killAudio"}',
    "control character": '{"type":"mark","data":{"name":"a\nb"}}',
    "unescaped quote": '{"type":"mark","data":{"name":"a"b","event":"playout"}}',
    "NaN": '{"type":"playDone","data":{"id":NaN}}',
    "Infinity": '{"type":"playDone","data":{"id":Infinity}}',
    "-Infinity": '{"type":"playDone","data":{"id":-Infinity}}',
    "1e999": '{"type":"playDone","data":{"id":1e999}}',
    "escaped lone surrogate": '{"type":"mark","data":{"name":"\\ud800"}}',
    "escaped lone surrogate as key": '{"\\udfff":1}',
    "raw lone surrogate": '{"type":"mark","data":{"name":"\udce2"}}',
    "absurd nesting": "[" * 100_000,
    "absurd nesting of objects": '{"a":' * 100_000,
    "absurd nesting, closed": '{"a":' + "[" * 5000 + "]" * 5000 + "}",
    "number of thousands of digits": '{"type":"playDone","data":{"id":' + "9" * 5000 + "}}",
    "real of thousands of digits": '{"sampleRate":0.' + "0" * 5000 + "1}",
    "very many values": '{"type":"playDone","data":{"a":[' + "0," * 20_000 + "0]}}",
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=NOT_JSON)
def test_text_that_is_no_json(text: str) -> None:
    for sender in Peer:
        (message,) = decode(text, sender)
        assert isinstance(message, Malformed)
        assert (message.text, message.clause) == (text, "LP-ODD-2")
        assert message.reason.startswith("this text is not valid JSON: ")
        assert decode_opening(text) == [message]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ('{"a":1} x', "there is other text behind the JSON object, from character 9 on"),
        ("5 x", "there is other text behind the JSON value, from character 3 on"),
    ],
)
def test_what_is_wrong_with_a_text_that_is_no_json(text: str, reason: str) -> None:
    (message,) = decode(text, Peer.APP)
    assert isinstance(message, Malformed)
    assert message.reason == f"this text is not valid JSON: {reason}"


def test_a_missing_member_is_called_missing() -> None:
    for text, key in [('{"type":"mark"}', "data"), ('{"type":"mark","data":{}}', "name")]:
        (message,) = decode(text, Peer.APP)
        assert isinstance(message, Malformed)
        assert message.reason.startswith(f"{key!r} is missing; it must be ")


NO_OBJECTS = ["[]", '[{"type":"mark"}]', '"mark"', "5", "-1.5", "true", "null"]


@pytest.mark.parametrize("text", NO_OBJECTS)
def test_json_that_is_no_object(text: str) -> None:
    for sender in Peer:
        (message,) = decode(f" {text} ", sender)
        assert isinstance(message, Malformed)
        assert (message.text, message.clause) == (f" {text} ", "LP-ODD-3")


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("text", NO_OBJECTS)
def test_an_opening_that_is_no_object_is_no_metadata(text: str, salvage: bool) -> None:
    for opening in (f" {text} ", "{}" + text):
        (message,) = decode_opening(opening, salvage=salvage)
        assert isinstance(message, Malformed)
        assert (message.text, message.clause) == (opening, "LP-META-1")


def test_a_reason_stays_short() -> None:
    for text in (text_of(["x" * 5000]), text_of({"type": "mark", "data": {"name": ["x" * 5000]}})):
        (message,) = decode(text, Peer.APP)
        assert isinstance(message, Malformed)
        assert message.text == text
        assert len(message.reason) < 120


WAV_8_BIT = wav_header(4, 8000)[:34] + b"\x08\x00" + wav_header(4, 8000)[36:] + b"\0\0\0\0"
WAV_FLOAT = wav_header(4, 8000)[:20] + b"\x03\x00" + wav_header(4, 8000)[22:] + b"\0\0\0\0"
WAV_ODD_RATE = wav_header(0, 8001)
WAV_RF64 = growing_wav_header(2**32, 8000)[:28] + bytes(8) + growing_wav_header(2**32, 8000)[36:]


def wav_text(wav: bytes) -> str:
    return play_audio_text(audioContentType="wav", audioContent=base64_of(wav), sampleRate=...)


# Each requirement is one peer's: a body can only break those of the peer that sent it.
WRONG_FROM_PLATFORM = [
    # text, clause, a word of the reason
    ('{"event":"dtmf"}', "LP-DTMF-3", "'dtmf'"),
    ('{"event":"dtmf","dtmf":"12"}', "LP-DTMF-3", "'12'"),
    ('{"event":"dtmf","dtmf":""}', "LP-DTMF-3", "'dtmf'"),
    ('{"event":"dtmf","dtmf":"a"}', "LP-DTMF-3", "'a'"),
    ('{"event":"dtmf","dtmf":"E"}', "LP-DTMF-3", "'E'"),
    ('{"event":"dtmf","dtmf":2}', "LP-DTMF-3", "2"),
    ('{"event":"dtmf","dtmf":["2"]}', "LP-DTMF-3", "['2']"),
    ('{"event":"dtmf","dtmf":"2","duration":-1}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":"-1"}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":1.5}', "LP-DTMF-4", "1.5"),
    ('{"event":"dtmf","dtmf":"2","duration":1e300}', "LP-DTMF-4", "1e+300"),
    ('{"event":"dtmf","dtmf":"2","duration":"1.5"}', "LP-DTMF-4", "'1.5'"),
    ('{"event":"dtmf","dtmf":"2","duration":""}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":"long"}', "LP-DTMF-4", "'long'"),
    ('{"event":"dtmf","dtmf":"2","duration":"\u0661"}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":"\u00b2"}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":"' + "9" * 5000 + '"}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":"1000000000000000"}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"2","duration":1000000000000000}', "LP-DTMF-4", "'duration'"),
    ('{"event":"dtmf","dtmf":"X"}', "LP-DTMF-3", "'X'"),
    ('{"event":"dtmf","dtmf":"2","duration":true}', "LP-DTMF-4", "True"),
    ('{"event":"dtmf","dtmf":"2","duration":[]}', "LP-DTMF-4", "'duration'"),
    ('{"type":"playDone","data":5}', "LP-CLIP-26", "'data'"),
    ('{"type":"playDone","data":[]}', "LP-CLIP-26", "'data'"),
    ('{"type":"playDone","data":{"id":[]}}', "LP-CLIP-26", "'id'"),
    ('{"type":"playDone","data":{"id":{}}}', "LP-CLIP-26", "'id'"),
    ('{"type":"playDone","data":{"id":true}}', "LP-CLIP-26", "'id'"),
    ('{"type":"mark"}', "LP-MARK-7", "'data'"),
    ('{"type":"mark","data":"m"}', "LP-MARK-7", "'data'"),
    ('{"type":"mark","data":{}}', "LP-MARK-7", "'name'"),
    ('{"type":"mark","data":{"name":null}}', "LP-MARK-7", "'name'"),
    ('{"type":"mark","data":{"name":5}}', "LP-MARK-7", "'name'"),
    ('{"type":"mark","data":{"name":"m","event":"gone"}}', "LP-MARK-10", "'gone'"),
    ('{"type":"mark","data":{"name":"m","event":null}}', "LP-MARK-10", "'event'"),
    ('{"type":"mark","data":{"name":"m","event":["playout"]}}', "LP-MARK-10", "'event'"),
    (wav_text(b""), "LP-ODD-1", "WAV"),
]
WRONG_FROM_APP = [
    ('{"type":"mark"}', "LP-MARK-5", "'data'"),
    ('{"type":"mark","data":"m"}', "LP-MARK-5", "'data'"),
    ('{"type":"mark","data":{}}', "LP-MARK-5", "'name'"),
    ('{"type":"mark","data":{"name":null}}', "LP-MARK-5", "'name'"),
    ('{"type":"mark","data":{"name":5}}', "LP-MARK-5", "'name'"),
    ('{"type":"mark","data":{"name":"m","event":"gone"}}', "LP-ODD-1", "'gone'"),
    ('{"type":"playAudio"}', "LP-CLIP-6", "'data'"),
    ('{"type":"playAudio","data":[]}', "LP-CLIP-6", "'data'"),
    ('{"type":"playAudio","data":null}', "LP-CLIP-6", "'data'"),
    (play_audio_text(audioContentType="mp3"), "LP-CLIP-7", "'mp3'"),
    (play_audio_text(audioContentType="RAW"), "LP-CLIP-7", "'RAW'"),
    (play_audio_text(audioContentType=...), "LP-CLIP-7", "'audioContentType'"),
    (play_audio_text(audioContentType=["raw"]), "LP-CLIP-7", "'audioContentType'"),
    (play_audio_text(audioContentType={}), "LP-CLIP-7", "'audioContentType'"),
    (play_audio_text(audioContent=...), "LP-CLIP-6", "'audioContent'"),
    (play_audio_text(audioContent=[]), "LP-CLIP-6", "'audioContent'"),
    (play_audio_text(audioContent="A"), "LP-CLIP-6", "base64"),
    (play_audio_text(audioContent="AAA"), "LP-CLIP-6", "base64"),
    (play_audio_text(audioContent="AA==AA=="), "LP-CLIP-6", "base64"),
    (play_audio_text(audioContent="===="), "LP-CLIP-6", "base64"),
    (play_audio_text(audioContent="AA\u00c4A"), "LP-CLIP-6", "base64"),
    (play_audio_text(audioContent="AA-_"), "LP-CLIP-6", "base64"),
    (play_audio_text(audioContent="data:audio/L16;base64,AAAA"), "LP-CLIP-6", "base64"),
    (play_audio_text(sampleRate=...), "LP-CLIP-8", "'sampleRate'"),
    (play_audio_text(sampleRate=44100), "LP-CLIP-8", "44100"),
    (play_audio_text(sampleRate=0), "LP-CLIP-8", "8000, 16000, 24000, 32000, 48000, 64000, not 0"),
    (play_audio_text(sampleRate=-8000), "LP-CLIP-8", "-8000"),
    (play_audio_text(sampleRate=1e300), "LP-CLIP-8", "1e+300"),
    (play_audio_text(sampleRate=True), "LP-CLIP-8", "'sampleRate'"),
    (play_audio_text(sampleRate="16k"), "LP-CLIP-8", "'16k'"),
    (play_audio_text(sampleRate=[16000]), "LP-CLIP-8", "'sampleRate'"),
    (play_audio_text(queuePlay="true"), "LP-CLIP-12", "'queuePlay'"),
    (play_audio_text(queuePlay=1), "LP-CLIP-12", "'queuePlay'"),
    (play_audio_text(id=[]), "LP-CLIP-11", "'id'"),
    (play_audio_text(id=False), "LP-CLIP-11", "'id'"),
    (wav_text(b""), "LP-CLIP-10", "WAV"),
    (wav_text(b"\0" * 44), "LP-CLIP-10", "WAV"),
    (wav_text(WAV[:30]), "LP-CLIP-10", "its 'fmt ' chunk claims 16 bytes but has 10"),
    (wav_text(WAV_8_BIT), "LP-CLIP-10", "this is 8-bit PCM WAV; it must be 16-bit PCM WAV"),
    (wav_text(WAV_FLOAT), "LP-CLIP-10", "this is 16-bit floating-point WAV"),
    (wav_text(WAV_ODD_RATE), "LP-CLIP-10", "8001"),
    (wav_text(b"ID3\4" + bytes(40)), "LP-CLIP-10", "this is MP3; it must be 16-bit PCM WAV"),
    (wav_text(WAV_RF64), "LP-CLIP-10", "a clip must be a RIFF file"),
]
WRONG_BODIES = [
    *[(Peer.PLATFORM, *wrong) for wrong in WRONG_FROM_PLATFORM],
    *[(Peer.APP, *wrong) for wrong in WRONG_FROM_APP],
]


@pytest.mark.parametrize(("sender", "text", "clause", "word"), WRONG_BODIES)
def test_a_wrong_body_is_named_with_its_clause(
    sender: Peer, text: str, clause: str, word: str
) -> None:
    (message,) = decode(text, sender)
    assert isinstance(message, Malformed)
    assert (message.text, message.clause) == (text, clause)
    assert word in message.reason


@pytest.mark.parametrize(("sender", "text", "clause", "word"), WRONG_BODIES)
def test_a_wrong_body_is_as_wrong_from_the_other_peer(
    sender: Peer, text: str, clause: str, word: str
) -> None:
    (message,) = decode(text, sender.other)
    assert isinstance(message, Malformed)
    assert message.text == text
    assert word in message.reason


@pytest.mark.parametrize("written", ["1600.0", "1.6e3", '"1600"', '"01600"'])
def test_a_whole_number_may_be_written_in_many_ways(written: str) -> None:
    text = '{"event":"dtmf","dtmf":"2","duration":' + written + "}"
    assert decode(text, Peer.PLATFORM) == [Dtmf("2", 1600)]


@pytest.mark.parametrize(
    "value", ["44100", 44100, 0, -8000, None, True, "", "8k", [8000], {}, 8000.5, "8000 ", 1e300]
)
def test_metadata_of_an_unusable_rate(value: Any) -> None:
    text = text_of({"sampleRate": value, "mixType": "mono"})
    for (message,) in (decode_opening(text), decode(text, Peer.PLATFORM)):
        assert isinstance(message, Malformed)
        assert (message.text, message.clause) == (text, "LP-META-5")
        assert "'sampleRate'" in message.reason
        assert "8000, 16000, 24000, 32000, 48000, 64000, not " in message.reason


@pytest.mark.parametrize("value", ["Stereo", "both", "", None, 2, True, ["mono"], {}])
def test_metadata_of_an_unusable_mix_type(value: Any) -> None:
    text = text_of({"mixType": value})
    for (message,) in (decode_opening(text), decode(text, Peer.PLATFORM)):
        assert isinstance(message, Malformed)
        assert (message.text, message.clause) == (text, "LP-META-6")
        assert "'mixType'" in message.reason


def test_metadata_that_names_neither_is_8000_and_mono() -> None:
    assert decode_opening("{}") == [Metadata({}, 8000, MixType.MONO, truncated=False)]


@pytest.mark.parametrize("mix_type", MixType)
def test_metadata_of_every_mix_type(mix_type: MixType) -> None:
    assert decode_opening(text_of({"mixType": mix_type.value})) == [Metadata(mix_type=mix_type)]


def test_unknown_attributes_are_kept_whatever_they_are_called() -> None:
    attributes = {"type": "killAudio", "event": "dtmf", "dtmf": "x", "x-y": [None, {"": 0.5}]}
    assert decode_opening(text_of(attributes)) == [Metadata(attributes)]


def test_an_opening_that_is_binary_is_audio() -> None:
    assert decode_opening(b"{}") == [Audio(b"{}")]
    assert decode_opening(b"{}", salvage=True) == [Audio(b"{}")]


@given(ANYTHING, PEERS, st.sampled_from([None, 16000]))
@example('{"type":"mark"}' * 100, Peer.APP, None)
@example('{"from":"\ud800"}', Peer.PLATFORM, None)
@example('{"sampleRate":"8000","mixType":"mono"', Peer.PLATFORM, 16000)
def test_nothing_that_comes_in_raises(payload: str | bytes, sender: Peer, rate: int | None) -> None:
    for messages in (
        decode(payload, sender, string_sample_rate=rate),
        decode_opening(payload),
        decode_opening(payload, salvage=True),
    ):
        assert messages
        for message in messages:
            repr(message)
            if isinstance(message, Malformed):
                assert isinstance(payload, str) and message.text in payload
                assert message.clause.startswith("LP-") and message.reason


# The size of metadata (LP-META-11).


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("{}", 2),
        ('{"sampleRate":8000}', 19),
        ('{"from":"Zo\u00eb"}', 15),
        ('{"from":"' + "\u20ac" * 3000 + '"}', 9011),
    ],
)
def test_metadata_has_the_size_of_its_bytes(text: str, size: int) -> None:
    (message,) = decode_opening(text)
    assert isinstance(message, Metadata)
    assert (message.size, message.truncated) == (size, False)
    assert message == attrs.evolve(message, size=0)  # it is no part of what the metadata says


def test_metadata_that_was_cut_has_the_size_of_what_came() -> None:
    text = '{"callSid":"c","from":"\udce2\udc82'
    (message,) = decode_opening(text, salvage=True)
    assert isinstance(message, Metadata)
    assert (message.size, message.truncated) == (len(text), True)


# Metadata that was cut short (D5).


@given(metadata())
def test_salvage_finds_the_members_in_front_of_every_cut(message: Metadata) -> None:
    attributes = {"sampleRate": message.sample_rate, "mixType": message.mix_type.value}
    members = list((attributes | dict(message.attributes)).items())
    whole = json.dumps(dict(members), ensure_ascii=False, separators=(",", ":")).encode()
    ends = []  # where the comma behind each member has passed
    for count in range(1, len(members) + 1):
        front = json.dumps(dict(members[:count]), ensure_ascii=False, separators=(",", ":"))
        ends.append(len(front.encode()))
    for at in range(len(whole)):
        text = whole[:at].decode(errors="surrogateescape")
        found = dict(members[: sum(end <= at for end in ends)])
        (salvaged,) = decode_opening(text, salvage=True)
        if not found:
            assert [salvaged] == decode_opening(text)
            assert isinstance(salvaged, Malformed)
            continue
        rest = {key: found[key] for key in found if key not in ("sampleRate", "mixType")}
        mix_type = MixType(found.get("mixType", "mono"))
        assert salvaged == Metadata(rest, found["sampleRate"], mix_type, truncated=True)
    assert decode_opening(whole.decode(), salvage=True) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"sampleRate":16000,"n":8000', Metadata({}, 16000, truncated=True)),
        ('{"n":1,"sampleRate":16000', Metadata({"n": 1}, truncated=True)),
        ('{"n":1,"sampleRate":16000,', Metadata({"n": 1}, 16000, truncated=True)),
        ('{"n":true,"from":"\udce2\udc82', Metadata({"n": True}, truncated=True)),
        ('{"sampleRate":"16000","x":[1,{"y":2}', Metadata({}, 16000, truncated=True)),
    ],
)
def test_salvage_by_example(text: str, message: Metadata) -> None:
    assert decode_opening(text, salvage=True) == [message]


def test_salvage_of_what_deployed_platforms_cut() -> None:
    whole = Metadata({"callSid": "c", "customerData": "\u20ac" * 4000}, 48000, MixType.STEREO)
    payload = encode(whole, Peer.PLATFORM)
    assert isinstance(payload, str)
    text = payload.encode()[:MAX_METADATA].decode(errors="surrogateescape")
    front = attrs.evolve(whole, attributes={"callSid": "c"}, truncated=True)
    assert decode_opening(text, salvage=True) == [front]


@pytest.mark.parametrize(
    ("front", "clause"),
    [('"sampleRate":44100', "LP-META-5"), ('"mixType":"both"', "LP-META-6")],
)
def test_what_was_salvaged_must_be_usable(front: str, clause: str) -> None:
    text = "{" + front + ',"callSid":"c'
    (message,) = decode_opening(text, salvage=True)
    assert isinstance(message, Malformed)
    assert (message.text, message.clause) == (text, clause)


# What a clip plays (D12).


@given(play_audio())
def test_a_clip_plays_whole_samples_for_their_time(clip: PlayAudio) -> None:
    pcm, rate = clip_audio(clip)
    assert len(pcm) % 2 == 0
    assert repr(clip_flicks(clip)) == repr(len(pcm) // 2 * FLICKS // rate)
    if clip.content_type == "raw":
        assert (pcm, rate) == (clip.content, clip.sample_rate)
    else:
        assert (pcm, rate) == (parse_wav(clip.content).mono(), parse_wav(clip.content).rate)


def test_the_odd_last_byte_of_a_raw_clip_is_left_out() -> None:
    clip = PlayAudio(b"\x01\x00\x02\x00\x03", sample_rate=16000)
    assert clip_audio(clip) == (b"\x01\x00\x02\x00", 16000)
    assert clip_flicks(clip) == flicks_of(2, 16000)


def test_a_wav_clip_has_the_rate_of_its_own_header() -> None:
    stereo = wav_header(8, 44100, channels=2) + struct.pack("<4h", 100, 300, -100, -300)
    clip = PlayAudio(stereo, "wav", sample_rate=8000)
    assert clip_audio(clip) == (struct.pack("<2h", 200, -200), 44100)
    assert clip_flicks(clip) == flicks_of(2, 44100)


ENDLESS = wav_header(0x7FFFFFFF, 44100, channels=2) + struct.pack("<4h", 100, 300, -100, -300)


def test_a_wav_clip_plays_what_is_there_whatever_its_header_claims() -> None:
    """LP-CLIP-32."""
    (clip,) = decode(wav_text(ENDLESS + b"\7"), Peer.APP)
    assert clip == PlayAudio(ENDLESS + b"\7", "wav")
    assert isinstance(clip, PlayAudio)
    assert clip_audio(clip) == (struct.pack("<2h", 200, -200), 44100)
    assert clip_flicks(clip) == flicks_of(2, 44100)


def test_a_wav_clip_is_mended() -> None:
    clip = PlayAudio(ENDLESS, "wav", 8000, "a", True)
    content = wav_header(8, 44100, channels=2) + ENDLESS[44:]
    assert mended_clip(clip) == attrs.evolve(clip, content=content)


@pytest.mark.parametrize(
    "clip",
    [
        PlayAudio(b"odd", sample_rate=8000),
        PlayAudio(ENDLESS, sample_rate=8000),
        PlayAudio(WAV, "wav"),
        PlayAudio(WAV[:40] + b"\xff" * 4 + WAV[44:], "wav"),
        PlayAudio(WAV_8_BIT[:40] + bytes(4), "wav"),
        PlayAudio(WAV_RF64, "wav"),
    ],
)
def test_other_clips_are_left_as_they_are(clip: PlayAudio) -> None:
    assert mended_clip(clip) is clip


def test_a_broken_wav_plays_nothing() -> None:
    for play in (clip_audio, clip_flicks):
        with pytest.raises(WavError):
            play(PlayAudio(b"RIFF", "wav"))


def test_a_raw_clip_that_names_no_rate_is_taken_for_8000() -> None:
    """It cannot be sent, but whoever judges one must have a length for it."""
    clip = PlayAudio(bytes(16_000))
    assert clip_audio(clip) == (bytes(16_000), 8000)
    assert clip_flicks(clip) == FLICKS
