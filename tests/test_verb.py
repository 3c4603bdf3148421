"""The listen verb: what it takes, what it refuses, and what it means for the way back."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto._l16 import LISTEN_RATES, PLAY_RATES
from listenproto._messages import JSON, Metadata, MixType, Mode
from listenproto._profile import DEPLOYED, DOCUMENTED
from listenproto._url import url_fault
from listenproto._verb import BidirectionalAudio, ListenVerb, WsAuth
from listenproto._verb_judge import judge_verb
from listenproto._verb_options import VerbError

URL = "wss://example.com/calls"

ATTRIBUTES = {
    "verb": "verb",
    "url": "url",
    "actionHook": "action_hook",
    "bidirectionalAudio": "bidirectional_audio",
    "disableBidirectionalAudio": "disable_bidirectional_audio",
    "finishOnKey": "finish_on_key",
    "maxLength": "max_length",
    "metadata": "metadata",
    "mixType": "mix_type",
    "passDtmf": "pass_dtmf",
    "playBeep": "play_beep",
    "sampleRate": "sample_rate",
    "timeout": "timeout",
    "transcribe": "transcribe",
    "wsAuth": "ws_auth",
    "auth": "auth",
    "earlyMedia": "early_media",
    "channel": "channel",
    "id": "id",
    "bidirectionalAudio.enabled": "enabled",
    "bidirectionalAudio.streaming": "streaming",
    "bidirectionalAudio.sampleRate": "sample_rate",
    "wsAuth.username": "username",
    "wsAuth.password": "password",
}

LISTEN_RATES_NAMED = "8000, 16000, 24000, 48000, 64000"
PLAY_RATES_NAMED = "8000, 16000, 24000, 32000, 48000, 64000"

DEEP: JSON = []
for _ in range(100_000):
    DEEP = [DEEP]

WRONG: list[tuple[str, list[JSON], str]] = [
    # option, values it cannot have, words of what it may be
    ("verb", ["dial", "Listen", "", 1, None, ["listen"]], "'listen' or 'stream'"),
    ("url", ["example.com", "ftp://example.com/", "", 5, None], "ws, wss, http or https URL"),
    ("actionHook", [5, True, ["/hook"], {"url": math.nan}], "a string or a JSON object"),
    ("disableBidirectionalAudio", [1, 0, "true", {}], "true or false"),
    ("finishOnKey", ["x", "1,2", "a", "#\n", 1, None, ["#"]], "0-9 * # A-D"),
    ("maxLength", [-1, False, "0", "60", math.nan, math.inf, 10**5000], "seconds, 0 or more"),
    ("metadata", ["a", [1], {"a": math.nan}, {"a": [-math.inf]}], "a JSON object"),
    ("metadata", [{"a": "\ud800"}, {"\udfff": 1}, {"a": -(10**60)}, {"a": 10**5000}], "UTF-8 text"),
    ("metadata", [{"a": DEEP}, {1: "a"}, {"a": {1}}, {"a": b"b"}], "a JSON object"),
    ("mixType", ["both", "Stereo", 2, None, ["mono"]], "'mono', 'stereo' or 'mixed'"),
    ("passDtmf", [1, 0, "true", None], "true or false"),
    ("playBeep", [1, 0, "false", None], "true or false"),
    ("sampleRate", [32000, 0, True, 8000.5, "44100", "8k", None], LISTEN_RATES_NAMED),
    ("timeout", [-0.5, False, "5", math.nan, math.inf], "seconds, 0 or more"),
    ("transcribe", ["yes", True, [], {"a": math.inf}], "a JSON object"),
    ("earlyMedia", [1, 0, "true"], "true or false"),
    ("channel", [0, -1, 1.5, True, "1", 2**53], "a whole number from 1"),
    ("id", [1, True, {}, "\ud800"], "a string"),
    ("bidirectionalAudio.enabled", [1, 0, "true"], "true or false"),
    ("bidirectionalAudio.streaming", [1, 0, "true", None], "true or false"),
    ("bidirectionalAudio.sampleRate", [44100, 0, True, "44100", ""], PLAY_RATES_NAMED),
    ("wsAuth.username", ["a:b", "a\nb", "\x7f", 5, None], "without ':'"),
    ("wsAuth.password", ["a\nb", "\x00", "\ud800", 5, None], "without control characters"),
]

NOT_OBJECTS = [
    ("bidirectionalAudio", [True, "on", []], "a JSON object"),
    ("wsAuth", ["alice:secret", ["alice", "secret"], True], "a JSON object"),
    ("auth", ["alice:secret", ["alice", "secret"], {"a": math.nan}], "a JSON object"),
]


def each(table: list[tuple[str, list[JSON], str]]) -> list[Any]:
    return [
        pytest.param(option, value, allowed, id=f"{option}-{number}")
        for option, values, allowed in table
        for number, value in enumerate(values)
    ]


def with_option(option: str, value: JSON) -> dict[str, JSON]:
    """A verb that is valid but for one option."""
    auth = {"username": "alice", "password": "secret"}
    group, _, inner = option.rpartition(".")
    nested = {group: {**(auth if group == "wsAuth" else {}), inner: value}}
    return {"verb": "listen", "url": URL, **(nested if group else {option: value})}


def build(option: str, value: JSON) -> object:
    """The same, made without JSON."""
    name = ATTRIBUTES[option]
    if option.startswith("bidirectionalAudio."):
        return BidirectionalAudio(**{name: value})
    if option.startswith("wsAuth."):
        return WsAuth(**{"username": "alice", "password": "secret", name: value})
    return ListenVerb(**{"url": URL, name: value})


def test_every_option_is_wrong_in_some_way_below() -> None:
    assert {option for option, _, _ in WRONG + NOT_OBJECTS} == set(ATTRIBUTES)


@pytest.mark.parametrize(("option", "value", "allowed"), each(WRONG + NOT_OBJECTS))
def test_an_option_that_is_wrong_is_named_with_what_is_allowed(
    option: str, value: JSON, allowed: str
) -> None:
    with pytest.raises(VerbError) as caught:
        ListenVerb.from_json(with_option(option, value))
    error = caught.value
    assert (error.option, error.value) == (option, value)
    assert allowed in error.allowed
    assert str(error).startswith(f"{option} must be {error.allowed}; it is ")
    assert str(error).isprintable()
    assert len(str(error)) < 400


@pytest.mark.parametrize(("option", "value", "allowed"), each(WRONG))
def test_a_verb_made_in_python_is_judged_as_its_json_is(
    option: str, value: JSON, allowed: str
) -> None:
    with pytest.raises(VerbError) as from_json:
        ListenVerb.from_json(with_option(option, value))
    with pytest.raises(VerbError) as direct:
        build(option, value)
    assert str(direct.value) == str(from_json.value)
    assert allowed in direct.value.allowed


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("sampleRate", 44100, "it is 44100"),
        ("sampleRate", "44100", "it is '44100'"),
        ("sampleRate", None, "it is missing or null"),
        ("maxLength", math.nan, "it is nan"),
        ("maxLength", 10**1000, "it is a very long number"),
        ("passDtmf", 1, "it is 1"),
        ("finishOnKey", "hash", "it is 'hash'"),
        ("mixType", "both", "it is 'both'"),
        ("url", "ws://" + "x" * 1000 + " ", "xxx...xxx"),
    ],
)
def test_the_error_shows_the_value_short(option: str, value: JSON, shown: str) -> None:
    with pytest.raises(VerbError, match=option) as caught:
        ListenVerb.from_json(with_option(option, value))
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("bidirectional_audio", {"streaming": True, "sampleRate": "16000"}),
        ("ws_auth", {"username": "alice", "password": "secret"}),
        ("ws_auth", None),
        ("mix_type", "stereo"),
        ("sample_rate", "16000"),
        ("sample_rate", 16000.0),
        ("channel", 2.0),
        ("channel", None),
    ],
)
def test_a_verb_is_made_in_python_as_it_is_read_from_json(option: str, value: JSON) -> None:
    made = ListenVerb(**{"url": URL, option: value})
    head, *rest = option.split("_")
    assert made == ListenVerb.from_json({"url": URL, head + "".join(map(str.title, rest)): value})
    assert type(made.sample_rate) is int


@pytest.mark.parametrize("value", [True, [], {"streaming": 1}, {"sample_rate": 8000}])
def test_what_is_no_option_of_the_way_back_is_none_in_python_either(value: JSON) -> None:
    with pytest.raises(VerbError, match="bidirectionalAudio") as made:
        ListenVerb(url=URL, bidirectional_audio=value)
    with pytest.raises(VerbError) as read:
        ListenVerb.from_json({"url": URL, "bidirectionalAudio": value})
    assert str(made.value) == str(read.value)


@pytest.mark.parametrize("obj", [None, [], [{"verb": "listen", "url": URL}], "listen", 5])
def test_a_verb_is_a_json_object(obj: JSON) -> None:
    with pytest.raises(VerbError, match=r"^listen verb must be a JSON object; it is "):
        ListenVerb.from_json(obj)


@pytest.mark.parametrize("text", ['{"url": "/"}', ' {"url": "/"}', b'{"url": "/"}'])
def test_the_text_of_a_verb_is_to_be_read_first(text: Any) -> None:
    with pytest.raises(VerbError, match=r"dict\); read the text with json\.loads first$") as caught:
        ListenVerb.from_json(text)
    assert (caught.value.option, caught.value.value) == ("listen verb", text)


@pytest.mark.parametrize(
    ("obj", "option"),
    [
        ({"verb": "listen"}, "url"),
        ({"url": URL, "wsAuth": {}}, "wsAuth.username"),
        ({"url": URL, "wsAuth": {"username": "alice"}}, "wsAuth.password"),
    ],
)
def test_what_is_required_and_missing_is_named(obj: JSON, option: str) -> None:
    with pytest.raises(VerbError, match=r"it is missing or null$") as caught:
        ListenVerb.from_json(obj)
    assert (caught.value.option, caught.value.value) == (option, None)


@pytest.mark.parametrize(
    ("obj", "option", "meant"),
    [
        ({"bdirectionalAudio": {"enabled": True}}, "bdirectionalAudio", "bidirectionalAudio"),
        ({"samplerate": 8000}, "samplerate", "sampleRate"),
        ({"sample_rate": 8000}, "sample_rate", "sampleRate"),
        ({"ACTIONHOOK": "/hook"}, "ACTIONHOOK", "actionHook"),
        (
            {"bidirectionalAudio": {"samplRate": 8000}},
            "bidirectionalAudio.samplRate",
            "bidirectionalAudio.sampleRate",
        ),
        ({"wsAuth": {"user": "alice"}}, "wsAuth.user", "wsAuth.username"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest_that_exists(
    obj: dict[str, JSON], option: str, meant: str
) -> None:
    with pytest.raises(VerbError) as caught:
        ListenVerb.from_json({"url": URL, **obj})
    assert caught.value.option == option
    assert str(caught.value) == f"unknown option '{option}' (did you mean {meant}?)"


@pytest.mark.parametrize("key", ["zzz", "", "x" * 100_000, "a\nb", 5])
def test_an_unknown_option_like_no_other_gets_no_hint(key: JSON) -> None:
    with pytest.raises(VerbError) as caught:
        ListenVerb.from_json({"url": URL, key: 1})
    assert caught.value.option == str(key)
    assert str(caught.value).startswith("unknown option ")
    assert "did you mean" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


# LP-VERB-1: defaults


def test_a_verb_of_a_url_alone_has_the_defaults() -> None:
    verb = ListenVerb.from_json({"url": URL})
    assert verb == ListenVerb(url=URL)
    assert attrs.asdict(verb, recurse=False) == {
        "verb": "listen",
        "url": URL,
        "action_hook": None,
        "bidirectional_audio": BidirectionalAudio(enabled=None, streaming=False, sample_rate=None),
        "disable_bidirectional_audio": None,
        "finish_on_key": "",
        "max_length": None,
        "metadata": {},
        "mix_type": MixType.MONO,
        "pass_dtmf": False,
        "play_beep": False,
        "sample_rate": 8000,
        "timeout": None,
        "transcribe": None,
        "ws_auth": None,
        "auth": None,
        "early_media": None,
        "channel": None,
        "id": None,
    }
    assert (verb.mode(), verb.stream_rate, verb.channels) == (Mode.CLIPS, None, 1)
    assert verb.to_json() == {"verb": "listen", "url": URL}


def test_defaults_that_are_written_out_are_left_out_again() -> None:
    written = {
        "url": URL,
        "actionHook": None,
        "bidirectionalAudio": {"streaming": False},
        "finishOnKey": "",
        "metadata": {},
        "mixType": "mono",
        "passDtmf": False,
        "sampleRate": 8000,
        "wsAuth": None,
        "auth": None,
        "maxLength": 0,
        "timeout": 0.0,
    }
    assert ListenVerb.from_json(written).to_json() == {"verb": "listen", "url": URL}


FULL = {
    "verb": "stream",
    "url": URL,
    "actionHook": {"url": "/done", "method": "POST"},
    "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": 32000},
    "disableBidirectionalAudio": False,
    "finishOnKey": "#*0D",
    "maxLength": 60,
    "metadata": {"agent": {"name": "Ann", "skills": ["a", 1, None, 0.5]}},
    "mixType": "stereo",
    "passDtmf": True,
    "playBeep": True,
    "sampleRate": 64000,
    "timeout": 2.5,
    "transcribe": {"transcriptionHook": "/text", "recognizer": {"vendor": "x"}},
    "wsAuth": {"username": "alice", "password": "se:cret"},
    "auth": {"username": "bob", "password": "x", "more": [1]},
    "earlyMedia": False,
    "channel": 2,
    "id": "rec-1",
}


def test_a_verb_with_every_option_comes_back_as_it_was() -> None:
    verb = ListenVerb.from_json(FULL)
    assert set(FULL) == {option for option in ATTRIBUTES if "." not in option}
    assert json.dumps(verb.to_json()) == json.dumps(FULL)
    assert (verb.mode(), verb.stream_rate, verb.channels) == (Mode.STREAMING, 32000, 2)
    assert verb.ws_auth == WsAuth(username="alice", password="se:cret")


def test_the_verb_stands_first_in_json_whatever_came_first() -> None:
    shuffled = dict(reversed(FULL.items()))
    assert list(ListenVerb.from_json(shuffled).to_json()) == list(FULL)


@pytest.mark.parametrize("rate", PLAY_RATES)
def test_rates_are_taken_as_numbers_and_as_digits(rate: int) -> None:
    for value in (rate, str(rate)):
        audio = {"streaming": True, "sampleRate": value}
        verb = ListenVerb.from_json({"url": URL, "bidirectionalAudio": audio})
        assert type(verb.stream_rate) is int
        assert verb.stream_rate == rate
        if rate in LISTEN_RATES:
            verb = ListenVerb.from_json({"url": URL, "sampleRate": value})
            assert type(verb.sample_rate) is int
            assert verb.sample_rate == rate
        else:
            with pytest.raises(VerbError, match=r"^sampleRate must be one of"):
                ListenVerb.from_json({"url": URL, "sampleRate": value})


# LP-VERB-3: the mode of the way back

NO, YES, UNSAID = False, True, None
CLIPS, STREAMING, OFF = Mode.CLIPS, Mode.STREAMING, Mode.OFF


@pytest.mark.parametrize("bidirectional_in_dial", [False, True])
@pytest.mark.parametrize("nested_in_dial", [False, True])
@pytest.mark.parametrize(
    ("enabled", "disable", "plain", "streaming"),
    [
        # enabled, disableBidirectionalAudio, mode without streaming, mode with it
        (UNSAID, UNSAID, CLIPS, STREAMING),
        (UNSAID, NO, CLIPS, STREAMING),
        (UNSAID, YES, OFF, OFF),
        (YES, UNSAID, CLIPS, STREAMING),
        (YES, NO, CLIPS, STREAMING),
        (YES, YES, CLIPS, STREAMING),
        (NO, UNSAID, OFF, OFF),
        (NO, NO, OFF, OFF),
        (NO, YES, OFF, OFF),
    ],
)
def test_the_mode_of_the_way_back(
    enabled: bool | None,
    disable: bool | None,
    plain: Mode,
    streaming: Mode,
    nested_in_dial: bool,
    bidirectional_in_dial: bool,
) -> None:
    for wanted, mode in ((False, plain), (True, streaming)):
        audio = {"enabled": enabled, "streaming": wanted, "sampleRate": 16000}
        verb = ListenVerb.from_json(
            {"url": URL, "bidirectionalAudio": audio, "disableBidirectionalAudio": disable}
        )
        assert verb.mode() is mode
        assert verb.stream_rate == (16000 if mode is STREAMING else None)
        assert verb.mode(
            nested_in_dial=nested_in_dial, bidirectional_in_dial=bidirectional_in_dial
        ) is (OFF if nested_in_dial and not bidirectional_in_dial else mode)


# LP-VERB-4


@pytest.mark.parametrize("audio", [{}, {"enabled": True}, {"sampleRate": None}])
def test_streaming_needs_a_rate(audio: dict[str, JSON]) -> None:
    obj = {"url": URL, "bidirectionalAudio": {"streaming": True, **audio}}
    with pytest.raises(VerbError, match=r"it is missing or null$") as caught:
        ListenVerb.from_json(obj)
    assert caught.value.option == "bidirectionalAudio.sampleRate"
    assert PLAY_RATES_NAMED in caught.value.allowed
    with pytest.raises(VerbError, match="^" + re.escape(str(caught.value))):
        ListenVerb(url=URL, bidirectional_audio=BidirectionalAudio(streaming=True))


@pytest.mark.parametrize(
    "obj",
    [
        {"bidirectionalAudio": {"enabled": False, "streaming": True}},
        {"bidirectionalAudio": {"streaming": True}, "disableBidirectionalAudio": True},
    ],
)
def test_streaming_that_is_off_needs_no_rate(obj: dict[str, JSON]) -> None:
    assert ListenVerb.from_json({"url": URL, **obj}).mode() is Mode.OFF


# LP-VERB-5


@pytest.mark.parametrize(("key", "value"), [("sampleRate", 8000), ("mixType", None)])
def test_metadata_overwrites_neither_rate_nor_mix(key: str, value: JSON) -> None:
    metadata = {"callSid": "mine", key: value}
    with pytest.raises(VerbError, match="must be left out") as caught:
        ListenVerb(url=URL, metadata=metadata)
    assert (caught.value.option, caught.value.value) == (f"metadata.{key}", value)
    inner = {"callSid": "mine", "inner": {key: value}}
    assert ListenVerb(url=URL, metadata=inner).metadata == inner


# LP-VERB-1, LP-VERB-2: the url


@pytest.mark.parametrize(
    ("url", "websocket_url"),
    [
        ("ws://example.com", "ws://example.com"),
        ("wss://example.com/calls?a=b:c@d", "wss://example.com/calls?a=b:c@d"),
        ("http://example.com:3000/", "ws://example.com:3000/"),
        ("https://example.com/https:/x", "wss://example.com/https:/x"),
        ("HTTPS://Example.com/A", "wss://Example.com/A"),
        ("Ws://127.0.0.1:65535", "ws://127.0.0.1:65535"),
        ("ws://[::1]:80/", "ws://[::1]:80/"),
        ("ws://example.com:1", "ws://example.com:1"),
        ("ws://example.com.:80", "ws://example.com.:80"),
        (f"ws://a_b.{'c' * 63}/", f"ws://a_b.{'c' * 63}/"),
    ],
)
def test_an_absolute_url(url: str, websocket_url: str) -> None:
    verb = ListenVerb(url=url)
    assert verb.url == url
    assert verb.websocket_url == websocket_url
    assert verb.resolve("https://other.example.com") is verb


@pytest.mark.parametrize(
    "url",
    [
        "calls",
        "?a=b",
        "//example.com/calls",
        "example.com:3000",
        "ws:",
        "ws:/calls",
        "ws:///calls",
        "ws://:80/",
        "ws://?a",
        "tcp://example.com",
        "wsss://example.com",
        "ws://example.com/#part",
        "/calls#part",
        "/calls#",
        "ws://example.com/a b",
        " ws://example.com",
        "ws://example.com\n",
        "ws://example.com/\t",
        "/calls\r\nHost: x",
        "/calls\x00",
        "/calls\x7f",
        "/calls\u00a0",
        "/calls\u2028",
        "ws://ex\u00e4mple.com",
        "/\ud800",
        "/\\example.com",
        "ws://example.com:65536/",
        "ws://example.com:0/",
        "ws://example.com:-1/",
        "ws://example.com:port/",
        "ws://a:b:c/",
        "ws://[::1/",
        "ws://a[::1]/",
        "ws://a[]@v1.b/",
        "ws://a..b/",
        "ws://.example.com/",
        "ws://example.com../",
        "ws://./",
        "ws://.:80/",
        f"ws://{'a' * 64}/",
        f"ws://a.{'b' * 64}.c/",
    ],
)
def test_what_is_no_url_of_a_listen(url: str) -> None:
    with pytest.raises(VerbError) as caught:
        ListenVerb(url=url)
    assert (caught.value.option, caught.value.value) == ("url", url)
    for word in ("ws, wss, http or https", "host", "'/'", "spaces", "'#'"):
        assert word in caught.value.allowed
    fault = url_fault(url)
    said = f"url must {fault or f'be {caught.value.allowed}'}; it is "
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ws:///calls", "have a host in it, as in ws://app.example/call"),
        ("ws://:80/", "have a host in it, as in ws://app.example/call"),
        ("ws://example.com:0/", "have a port from 1 to 65535"),
        ("WS://example.com:65536", "have a port from 1 to 65535"),
        (f"ws://example.com:{'9' * 5000}/", "have a port from 1 to 65535"),
        ("ws://[::1]:port/", "have a port from 1 to 65535"),
        ("ws://a..b/", "have a host with 1 to 63 characters between dots"),
        ("ws://me:secret@example.com/", "have no user name or password in it"),
        (" ws://example.com", "have no spaces in it"),
        ("/calls#part", "have no '#' in it"),
        ("/\\example.com", "have no '\\' in it"),
        ("ws://ex\u00e4mple.com/", "have only printable ASCII characters in it"),
        ("ws://example.com/\t", "have only printable ASCII characters in it"),
        ("tcp://example.com", None),
        ("//example.com/calls", None),
        ("ws://a[::1]/", None),
        ("ws://[zz]/", None),
        (5, None),
    ],
)
def test_the_one_thing_that_is_wrong_with_a_url(url: JSON, fault: str | None) -> None:
    assert url_fault(url) == fault
    with pytest.raises(VerbError) as caught:
        ListenVerb.from_json({"url": url})
    assert f"must {fault or 'be a ws, wss, http or https URL'}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base", "resolved", "websocket_url"),
    [
        ("/", "https://example.com", "https://example.com/", "wss://example.com/"),
        (
            "/calls?a=http://b",
            "HTTP://example.com:3000/app/hook?x=y",
            "http://example.com:3000/calls?a=http://b",
            "ws://example.com:3000/calls?a=http://b",
        ),
        ("/a/../b", "wss://[::1]:8443/", "wss://[::1]:8443/a/../b", "wss://[::1]:8443/a/../b"),
    ],
)
def test_a_relative_url_is_resolved(url: str, base: str, resolved: str, websocket_url: str) -> None:
    verb = ListenVerb(url=url, pass_dtmf=True)
    with pytest.raises(VerbError, match=r"resolve\(\)"):
        assert verb.websocket_url
    absolute = verb.resolve(base)
    assert absolute == attrs.evolve(verb, url=resolved)
    assert absolute.websocket_url == websocket_url


@pytest.mark.parametrize("base", ["", "/app", "example.com", "ftp://example.com", "ws://a b"])
def test_a_base_is_an_absolute_url(base: str) -> None:
    with pytest.raises(VerbError, match=r"^base must (be a ws, wss, http|have no sp)") as caught:
        ListenVerb(url="/calls").resolve(base)
    assert (caught.value.option, caught.value.value) == ("base", base)


# LP-HS-2


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("ws://example.com", "/"),
        ("ws://example.com/", "/"),
        ("wss://example.com:3000/calls", "/calls"),
        ("https://example.com/calls/?a=b:c@d&e=/f?g", "/calls/?a=b:c@d&e=/f?g"),
        ("http://example.com?a=b", "/?a=b"),
        ("ws://example.com/calls?", "/calls"),
        ("ws://[::1]:80/a/../b%20c;d", "/a/../b%20c;d"),
        ("/", "/"),
        ("/calls?a=http://b", "/calls?a=http://b"),
    ],
)
def test_what_the_upgrade_request_asks_for(url: str, target: str) -> None:
    verb = ListenVerb(url=url)
    assert verb.target == target
    assert verb.resolve("https://other.example.com/app?x=y").target == target


# Credentials


def test_no_password_in_repr() -> None:
    verb = ListenVerb(
        url=URL,
        ws_auth=WsAuth(username="alice", password="secret"),
        action_hook={"url": "https://bob:secret@example.com/", "password": "secret"},
        auth={"username": "alice", "token": "secret"},
    )
    assert "alice" in repr(verb)
    assert "secret" not in repr(verb)
    assert "secret" not in repr(attrs.evolve(verb, action_hook="https://bob:secret@example.com/"))
    assert verb.to_json()["wsAuth"]["password"] == "secret"
    assert verb.to_json()["auth"] == {"username": "alice", "token": "secret"}


@pytest.mark.parametrize(
    "obj",
    [
        {"url": "wss://alice:secret@example.com/calls"},
        {"url": "wss://alice:with/secret@example.com/calls"},
        {"url": "wss://alice:a secret@example.com/calls"},
        {"url": "wss://alice:@secret@example.com/calls"},
        {"url": "alice:secret@example.com/calls"},
        {"url": URL, "wsAuth": "alice:secret"},
        {"url": URL, "wsAuth": ["alice", "secret"]},
        {"url": URL, "wsAuth": {"username": "alice:secret", "password": "x"}},
        {"url": URL, "wsAuth": {"username": "alice", "password": "secret\n"}},
        {"url": URL, "wsAuth": {"username": "alice", "pasword": "secret"}},
        {"url": URL, "ws_auth": "alice:secret"},
        {"url": URL, "auth": "alice:secret"},
        {"url": URL, "auth": {"token": "secret", "expires": math.nan}},
        {"url": URL, "actionHook": {"url": math.nan, "password": "secret"}},
        [{"url": URL, "wsAuth": {"username": "alice", "password": "secret"}}],
        [{"url": URL, "wsAuth": "alice:secret"}],
        [{"url": URL, "auth": {"token": "secret"}}],
    ],
)
def test_no_password_in_an_error(obj: JSON) -> None:
    with pytest.raises(VerbError) as caught:
        ListenVerb.from_json(obj)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


# Values


def test_a_verb_shares_nothing_with_what_it_was_made_from_or_gave_out() -> None:
    source = json.loads(json.dumps(FULL))
    verb = ListenVerb.from_json(source)
    source["metadata"]["agent"]["skills"].clear()
    source["transcribe"].clear()
    verb.to_json()["metadata"]["agent"].clear()
    assert verb.to_json() == FULL


def test_json_is_carried_to_its_bounds() -> None:
    deepest: JSON = 10**60 - 1
    for _ in range(32):
        deepest = {"a": deepest}
    verb = ListenVerb(url=URL, metadata=deepest, transcribe=deepest)
    assert verb.to_json() == {
        "verb": "listen",
        "url": URL,
        "metadata": deepest,
        "transcribe": deepest,
    }
    with pytest.raises(VerbError, match=r"^metadata must be a JSON object .*32 levels"):
        ListenVerb(url=URL, metadata={"a": deepest})


def test_a_tuple_is_a_json_array() -> None:
    verb = ListenVerb(url=URL, metadata={"a": (1, {"b": ()})})
    assert verb.metadata == {"a": [1, {"b": []}]}


@pytest.mark.parametrize("name", ["metadata", "transcribe", "action_hook"])
def test_a_verb_is_read_only(name: str) -> None:
    verb = ListenVerb.from_json(FULL)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(verb, name, {})
    with pytest.raises(TypeError, match="does not support item assignment"):
        getattr(verb, name)["more"] = 1


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
objects: st.SearchStrategy[Mapping[str, JSON]] = st.dictionaries(words, values, max_size=4)
seconds = (
    st.none()
    | st.integers(1, 10**12)
    | st.floats(min_value=0, exclude_min=True, allow_infinity=False)
)
maybe = st.none() | st.booleans()
credentials = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8)
paths = st.from_regex(r"/([a-z0-9%?=&.~:@-][a-z0-9%?=&.~:@/-]*)?", fullmatch=True)
servers = st.from_regex(
    r"([wW]ss?|https?)://[a-z][a-z0-9-]{0,8}(\.[a-z0-9-]{1,8})?(:[1-9][0-9]{0,3})?", fullmatch=True
)


@st.composite
def verbs(draw: st.DrawFn) -> ListenVerb:
    """Any valid verb."""
    streaming = draw(st.booleans())
    rates = st.sampled_from(PLAY_RATES)
    return ListenVerb(
        verb=draw(st.sampled_from(["listen", "stream"])),
        url=draw(paths | st.builds(str.__add__, servers, paths | st.just(""))),
        action_hook=draw(st.none() | words | objects),
        bidirectional_audio=BidirectionalAudio(
            enabled=draw(maybe),
            streaming=streaming,
            sample_rate=draw(rates if streaming else st.none() | rates),
        ),
        disable_bidirectional_audio=draw(maybe),
        finish_on_key=draw(st.text("0123456789*#ABCD", max_size=16)),
        max_length=draw(seconds),
        metadata=draw(objects.filter(lambda o: not {"sampleRate", "mixType"} & o.keys())),
        mix_type=draw(st.sampled_from(MixType)),
        pass_dtmf=draw(st.booleans()),
        play_beep=draw(st.booleans()),
        sample_rate=draw(st.sampled_from(LISTEN_RATES)),
        timeout=draw(seconds),
        transcribe=draw(st.none() | objects),
        ws_auth=draw(
            st.none()
            | st.builds(
                WsAuth, username=credentials.map(lambda u: u.replace(":", "")), password=credentials
            )
        ),
        early_media=draw(maybe),
        channel=draw(st.none() | st.integers(1, 2**53 - 1)),
        id=draw(st.none() | words),
    )


@given(verb=verbs())
def test_from_json_undoes_to_json(verb: ListenVerb) -> None:
    obj = verb.to_json()
    assert list(obj)[:2] == ["verb", "url"]
    assert None not in obj.values()
    text = json.dumps(obj, allow_nan=False)
    assert ListenVerb.from_json(obj) == verb
    assert ListenVerb.from_json(json.loads(text)) == verb
    assert json.dumps(ListenVerb.from_json(json.loads(text)).to_json()) == text


@given(obj=objects, option=st.sampled_from([o for o in ATTRIBUTES if "." not in o]), value=values)
def test_any_json_is_a_verb_or_a_verb_error(obj: dict[str, JSON], option: str, value: JSON) -> None:
    for candidate in ({"url": URL, option: value}, {"url": URL, **obj}, obj, value):
        try:
            verb = ListenVerb.from_json(candidate)
        except VerbError as error:
            assert error.option in str(error) or not error.option.isprintable()
        else:
            assert ListenVerb.from_json(verb.to_json()) == verb


@pytest.mark.parametrize("written", [16000, "16000", 16000.0])
def test_a_rate_is_the_same_however_it_is_written(written: JSON) -> None:
    way = {"streaming": True, "sampleRate": written}
    verb = ListenVerb.from_json({"url": "/a", "sampleRate": written, "bidirectionalAudio": way})
    assert (verb.sample_rate, verb.stream_rate) == (16000, 16000)
    assert {type(verb.sample_rate), type(verb.stream_rate)} == {int}


def test_verbs_are_values() -> None:
    verb = ListenVerb(
        url="/a",
        action_hook={"url": "/b"},
        metadata={"a": [1]},
        transcribe={"b": {}},
        ws_auth=WsAuth(username="alice", password="secret"),
    )
    for copied in (copy.copy(verb), copy.deepcopy(verb), pickle.loads(pickle.dumps(verb))):
        assert (copied, hash(copied)) == (verb, hash(verb))
        with pytest.raises(TypeError, match="does not support item assignment"):
            copied.metadata["a"] = 2  # type: ignore[index]
    assert len({verb, attrs.evolve(verb), ListenVerb(url="/c")}) == 2
    metadata = Metadata({"callSid": "c"}, 16000)
    assert pickle.loads(pickle.dumps(metadata)) == copy.deepcopy(metadata) == metadata
    assert hash(copy.deepcopy(metadata)) == hash(metadata)


# What published validators take and refuse


@pytest.mark.parametrize("name", ["listen", "stream"])
def test_a_verb_may_be_written_under_its_name(name: str) -> None:
    assert ListenVerb.from_json({name: {"url": URL, "mixType": "stereo"}}) == ListenVerb(
        verb=name,  # type: ignore[arg-type]
        url=URL,
        mix_type=MixType.STEREO,
    )


@pytest.mark.parametrize(
    ("obj", "option"),
    [
        ({"listen": {"url": URL, "verb": "listen"}}, "listen"),
        ({"listen": [URL]}, "listen"),
        ({"dial": {"url": URL}}, "dial"),
        ({"listen": {"url": URL, "color": 1}}, "color"),
    ],
)
def test_what_is_not_a_verb_under_its_name_is_refused(obj: JSON, option: str) -> None:
    with pytest.raises(VerbError) as caught:
        ListenVerb.from_json(obj)
    assert caught.value.option == option


def test_nulls_and_notes_that_mean_nothing_are_not_written() -> None:
    obj = {"url": URL, "_": {"a": 1}, "metadata": None, "bidirectionalAudio": None}
    assert ListenVerb.from_json(obj).to_json() == {"verb": "listen", "url": URL}
    noted = {"url": URL, "bidirectionalAudio": {"_": 1, "enabled": False}}
    assert ListenVerb.from_json(noted).to_json()["bidirectionalAudio"] == {"enabled": False}
    made = ListenVerb(url=URL, metadata=None, bidirectional_audio=None)  # type: ignore[arg-type]
    assert made == ListenVerb(url=URL)


def test_the_nested_verb_is_written_without_its_name() -> None:
    """LP-VERB-1: with it, a deployed platform refuses the whole verb."""
    nested = {"verb": "transcribe", "transcriptionHook": "/text", "_": 1}
    verb = ListenVerb.from_json({"url": URL, "transcribe": nested})
    assert verb.to_json()["transcribe"] == {"transcriptionHook": "/text"}
    assert ListenVerb(url=URL, transcribe=nested) == verb


# What real platforms do with it

WARNED = [
    (
        {"url": "Https://app.example/"},
        "url has the scheme 'Https': deployed platforms never connect to it, and the call hangs in"
        " the verb; write it as 'https' [LP-VERB-2]",
    ),
    (
        {"url": "ws://[::1]:3000/"},
        "url has an IPv6 address: deployed platforms never connect to it, and the call hangs in"
        " the verb; use a host name or an IPv4 address [LP-VERB-2]",
    ),
    (
        {"url": "ws://app.example?a=b"},
        "url has a query but no path: deployed platforms never connect to it, and the call hangs"
        " in the verb; write '/?' instead of '?' [LP-VERB-2]",
    ),
    (
        {"url": "/a|b|c"},
        "url has '|' in it: deployed platforms fail the verb without connecting and without an"
        " actionHook; write it as %7C [LP-VERB-2]",
    ),
    (
        {"url": URL, "wsAuth": {"username": "alice", "password": "\u00fc" * 43}},
        "wsAuth has a user name and password of 91 bytes together: deployed platforms send wrong"
        " ones or none if there are more than 89; use shorter ones [LP-HS-4]",
    ),
    (
        {"url": URL, "finishOnKey": "12"},
        "finishOnKey is '12': deployed platforms compare each key with all of it, so no key ends"
        " the listen; give one key [LP-END-10]",
    ),
    (
        {"url": URL, "timeout": 2.5},
        "timeout is 2.5: deployed platforms ignore it; let the app notice the silence and"
        " disconnect [LP-END-13]",
    ),
    (
        {"url": URL, "bidirectionalAudio": {"streaming": True, "sampleRate": 24000}},
        "bidirectionalAudio.sampleRate is 24000: deployed platforms resample the stream to the rate"
        " of the call, mostly 8000, and lose marks with audio behind them; use 8000, or send"
        " nothing behind a mark until its event has come [LP-MARK-8]",
    ),
    (
        {"url": URL, "metadata": {"caller": "O'Brien", "said": 'a "b"'}},
        "'metadata.caller' is damaged by deployed platforms; leave out apostrophes, and in names"
        " and nested values also quotes, backslashes and line breaks [LP-META-11]",
    ),
    (
        {"url": URL, "transcribe": {"id": "a", "model\n": "x"}},
        "'transcribe.model\\n' is unknown to deployed platforms, which refuse the verb; leave it"
        " out [LP-VERB-1]",
    ),
]


@pytest.mark.parametrize(("obj", "sentence"), WARNED)
def test_what_deployed_platforms_do_otherwise_is_said(obj: JSON, sentence: str) -> None:
    (warning,) = judge_verb(ListenVerb.from_json(obj), "deployed")
    assert str(warning) == sentence
    assert sentence.isprintable()
    assert judge_verb(ListenVerb.from_json(obj), DOCUMENTED) == []


def test_everything_is_said_at_once_and_nothing_of_what_is_well() -> None:
    wrong = ListenVerb(url="Ws://[::1]?'", finish_on_key="*#")
    clauses = [warning.clause for warning in judge_verb(wrong, DEPLOYED)]
    assert clauses == ["LP-VERB-2"] * 4 + ["LP-END-10"]
    full = FULL | {"finishOnKey": "#", "transcribe": {"recognizer": {}}}
    del full["timeout"]
    full["bidirectionalAudio"] = {"streaming": True, "sampleRate": 8000}
    for profile in (DOCUMENTED, DEPLOYED):
        assert judge_verb(ListenVerb.from_json(full), profile) == []


def test_credentials_that_no_app_gets_are_told_of() -> None:
    """With any profile; they are not shown."""
    verb = ListenVerb(url=URL, auth={"username": "alice", "password": "secret"})
    for profile in (DOCUMENTED, DEPLOYED):
        (warning,) = judge_verb(verb, profile)
        assert (warning.option, warning.clause, warning.fatal) == ("auth", "LP-HS-4", False)
        assert "use wsAuth" in str(warning)
        assert "secret" not in str(warning)
