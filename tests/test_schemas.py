"""The schemas and the code: each takes what the other takes, but for what the README lists."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Set
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry

from listenproto._errors import LocalProtocolError
from listenproto._listen_result import ListenEnd, ListenResult
from listenproto._messages import (
    JSON,
    ROWS,
    Close,
    Malformed,
    Message,
    Metadata,
    Mode,
    Peer,
)
from listenproto._task import ListenTask
from listenproto._terms import DIGITS
from listenproto._trace import (
    MAX_AUDIO,
    TraceError,
    TraceHeader,
    TraceLine,
    TraceMoment,
    read_trace,
)
from listenproto._verb import ListenVerb
from listenproto._verb_options import VerbError
from listenproto._wav import WavError, parse_wav, wav_header
from listenproto._webhook import ActionHook, WebhookError
from listenproto.codec import decode, decode_opening, encode
from listenproto.testing import (
    json_objects,
    json_values,
    metadata,
    unknown_messages,
)
from listenproto.testing.messages import messages_of

FOLDER: Final = Path(__file__).parent.parent / "spec" / "schemas"
SCHEMAS: Final[dict[str, Any]] = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.schema.json"))
}
REGISTRY: Final[Registry[Any]] = Registry().with_contents(
    (schema["$id"], schema) for schema in SCHEMAS.values()
)
VALIDATORS: Final = {
    name: Draft202012Validator(schema, registry=REGISTRY) for name, schema in SCHEMAS.items()
}

MESSAGES: Final = {
    re.sub(r"(?<!^)(?=[A-Z])", "-", row.kind.__name__).lower(): row
    for row in ROWS
    if row.name is not None or row.kind is Metadata
}
# The messages that a type or event names; the metadata is known by its place.
TYPED: Final = {name: row for name, row in MESSAGES.items() if row.name is not None}
NAMES: Final = (*TYPED, "metadata", "verb", "action-hook", "trace-header", "trace-line")

URL: Final = "wss://app.example/calls"
CREDENTIALS: Final = {"username": "alice", "password": "secret"}
HEAD: Final = {"trace": 1, "vantage": "app", "profile": "documented", "mode": "clips"}


def valid(name: str, obj: JSON) -> bool:
    return bool(VALIDATORS[name].is_valid(obj))


def text_of(obj: JSON) -> str:
    return json.dumps(obj, ensure_ascii=False)


def read(obj: JSON) -> Message:
    """What the codec reads it as; it does not matter who sent it."""
    (message,) = decode(text_of(obj), Peer.APP)
    (same,) = decode(text_of(obj), Peer.PLATFORM)
    assert type(message) is type(same)
    return message


def is_verb(obj: JSON) -> bool:
    try:
        ListenVerb.from_json(obj)
    except VerbError:
        return False
    return True


def is_action_hook(obj: JSON) -> bool:
    try:
        ActionHook.from_json(obj)
    except WebhookError:
        return False
    return True


def is_trace(*lines: JSON) -> bool:
    try:
        read_trace(map(json.dumps, lines))
    except TraceError:
        return False
    return True


def taken(name: str, obj: JSON) -> bool:
    """Whether the code takes it for what the schema of that name describes."""
    if name in TYPED:
        return type(read(obj)) is TYPED[name].kind
    if name == "metadata":
        return type(decode_opening(text_of(obj))[0]) is Metadata
    if name == "verb":
        return is_verb(obj)
    if name == "trace-header":
        return is_trace(obj)
    if name == "action-hook":
        return is_action_hook(obj)
    assert name == "trace-line"
    return is_trace(HEAD, obj)


# The files.


def test_each_message_has_a_schema_and_the_readme_lists_the_others() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[([a-z-]+)\]\(([a-z-]+)\.schema\.json\) \|", readme, re.MULTILINE)
    others = sorted(SCHEMAS.keys() - MESSAGES.keys())
    assert sorted(listed) == [(name, name) for name in others]
    assert set(NAMES) <= set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_itself(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:listenproto:schema:{name}"
    assert schema["title"]
    Draft202012Validator.check_schema(schema)


CONDITIONS: Final = {"if", "then", "else", "not"}
VALUES: Final = {"const", "default", "enum", "examples"}


def parts(schema: JSON, without: Set[str]) -> Iterator[dict[str, JSON]]:
    """A schema and those inside it, but for those behind some keywords."""
    if isinstance(schema, list):
        for item in schema:
            yield from parts(item, without)
    elif isinstance(schema, dict):
        yield schema
        for key in schema.keys() - without:
            yield from parts(schema[key], without)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_describes_itself_and_every_property(name: str) -> None:
    resolver = REGISTRY.resolver(SCHEMAS[name]["$id"])
    assert SCHEMAS[name]["description"].endswith(".")
    # Conditions speak of what is described elsewhere.
    for part in parts(SCHEMAS[name], VALUES | CONDITIONS):
        for key, described in part.get("properties", {}).items():
            if "$ref" in described:
                described = resolver.lookup(described["$ref"]).contents
            assert described["description"].endswith("."), key


@pytest.mark.parametrize(
    ("schema", "members"),
    [
        (SCHEMAS["metadata"], ["callSid", "callId", "sbcCallid", "accountSid", "applicationSid"]),
        (SCHEMAS["metadata"], ["direction", "from", "to", "callStatus", "sipStatus", "sipReason"]),
        (SCHEMAS["metadata"], ["callerId", "traceId", "parentCallSid", "customerData"]),
        (SCHEMAS["action-hook"], ["call_sid", "direction", "from", "to", "call_id", "account_sid"]),
        (SCHEMAS["action-hook"], ["application_sid", "call_status", "sip_status"]),
        (
            SCHEMAS["play-done"]["properties"]["data"],
            ["playbackSeconds", "playbackMilliseconds", "playbackLastOffsetPos"],
        ),
        (SCHEMAS["play-audio"]["properties"]["data"], ["sampleRate", "textContent"]),
    ],
)
def test_what_may_be_anything_is_described(schema: JSON, members: list[str]) -> None:
    assert set(members) <= set(schema["properties"])


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_means_the_same_in_every_dialect(name: str) -> None:
    end = r"(?![\s\S])"
    for part in parts(SCHEMAS[name], VALUES):
        if isinstance(pattern := part.get("pattern"), str):
            # Python's '$' lets a line's end pass; what '\d' is differs, and so does more.
            assert pattern.startswith("^") and pattern.endswith(end)
            inner = pattern.removesuffix(end)
            assert "{," not in inner
            assert set(re.findall(r"\\.", inner)) <= {r"\[", r"\]", r"\.", r"\u"}
            between_classes = re.sub(r"\[(?:[^\[\]\\]|\\.)+\]", "", inner)
            assert not re.search(r"(?<!\\)[\[\]$]", between_classes)


@pytest.mark.parametrize(
    ("name", "example"),
    [pytest.param(name, obj, id=name) for name in NAMES for obj in SCHEMAS[name]["examples"]],
)
def test_an_example_is_valid(name: str, example: JSON) -> None:
    assert valid(name, example)
    assert taken(name, example)


# Out: what this code writes.


@pytest.mark.parametrize("name", TYPED)
@given(st.data())
def test_what_is_sent_is_valid_as_what_it_is_and_as_nothing_else(
    name: str, data: st.DataObject
) -> None:
    row = TYPED[name]
    (sender,) = row.senders
    payload = encode(data.draw(messages_of(row)), sender)
    assert isinstance(payload, str)
    assert [other for other in TYPED if valid(other, json.loads(payload))] == [name]


@given(metadata())
def test_metadata_that_is_sent_is_valid(message: Metadata) -> None:
    payload = encode(message, Peer.PLATFORM)
    assert isinstance(payload, str)
    assert valid("metadata", json.loads(payload))


@given(unknown_messages())
def test_what_the_protocol_does_not_name_no_schema_describes(message: Message) -> None:
    payload = encode(message, Peer.APP)
    assert isinstance(payload, str)
    assert not any(valid(name, json.loads(payload)) for name in TYPED)


# Both ways, by example. "..." is a member that is left out.

SOUND: Final = wav_header(2, 44100) + b"\x01\x00"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


ANYTHING: Final[list[JSON]] = [..., None, True, 0, 8000, 8000.0, -1.5, "", "8000", [], {}, {"a": 1}]
OBJECTS: Final[list[JSON]] = [None, False, True, 0, 1, 1.5, "", "{}", [], [{}]]  # they are none
RATES: Final[list[JSON]] = [8000, 16000, 24000, 32000, 48000, 64000]
READ_RATES: Final[list[JSON]] = [
    *RATES,
    *map(str, RATES),
    *(str(rate).zfill(15) for rate in RATES),
    *map(float, RATES),
    "08000",
]
NO_RATES: Final[list[JSON]] = [
    *(0, -8000, 8000.5, 44100, 44100.0, 7999, 8001, 80000, 1e300, True, False, [8000], {}),
    *(str(rate).zfill(16) for rate in RATES),
    *("", "44100", "0", "8000.0", "8000 ", " 8000", "8000\n", "8000\r", "8k", "+8000", "-8000"),
    *("80000", "18000", "8000x", "x8000", "16000x", "0x8000", "\u0668\u0660\u0660\u0660", "8e3"),
]
NO_BOOLEANS: Final[list[JSON]] = [0, 1, 1.0, "", "true", [], {}]
NO_STRINGS: Final[list[JSON]] = [True, 0, 1.5, [], ["m"], {}]
IDS: Final[list[JSON]] = [..., None, "", "a", "\n", '"', 0, -0.0, 1, -1, 1.5, 1e300, 2**63]
NO_IDS: Final[list[JSON]] = [True, False, [], ["a"], {}, {"id": "a"}]
MIXES: Final[list[JSON]] = ["mono", "stereo", "mixed"]
NO_MIXES: Final[list[JSON]] = [None, 1, True, "", "Mono", "both", "mono\n", ["mono"], {}]
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ASCII: Final = "".join(map(chr, range(128)))
BASE64: Final[list[JSON]] = [
    *("", ALPHABET, "AAAAAA==", "AAAAAAA="),
    *(char + end for char in ALPHABET for end in ("AAA", "AA=", "A==")),
]
NO_BASE64: Final[list[JSON]] = [
    *("A", "AA", "AAA", "AA=", "A===", "=", "====", "AA=A", "AA==AA==", "AAAAA", "AAA=="),
    *("AAAA=", "AAAA==", "AAAA===", "AAAA====", "AAAAAAAA="),
    *("AAAA\n", "AA==\n", "\nAAAA", "AAAA ", "AA\u00e4A", "AAA\u212a", "data:;base64,AAAA"),
    *(char + end for char in ASCII if char not in ALPHABET for end in ("AAA", "AA=", "A==")),
    *(None, *NO_STRINGS),
]
KEYS: Final[list[JSON]] = list(DIGITS)
NO_KEYS: Final[list[JSON]] = [
    *("", "12", "a", "d", "E", "+", "-", "/", ":", "@", "!", ")", "2\n", "\n2", " 2", "\u0662"),
    *(None, *NO_STRINGS, 2),
]
TYPES: Final[list[JSON]] = [..., None, 1, [], {}, "dtmf", "both", "", "playdone", ["mark"]]
OTHER_TYPES: Final[list[JSON]] = SCHEMAS["types"]["enum"]
WHOLE: Final[list[JSON]] = [0, 1, 2**53]
NOT_WHOLE: Final[list[JSON]] = [None, True, False, -1, 0.5, "", "0", "1", [], {}]
MOST: Final = 2**60
URLS: Final[list[JSON]] = [
    *(
        "ws://a",
        "wss://a/",
        "http://a",
        "https://a",
        "WSs://a?b",
        "hTTpS://a?",
        "ws://a:",
        "ws://a:/",
    ),
    *("ws://a.example:80/b?c=d:e@f", "ws://1.2.3.4:1/", "ws://a:65535", "ws://a:00080", "ws://%4a"),
    *("ws://[::1]", "ws://[::1]:80/", "ws://[1:2::ffff:1.2.3.4]?a", "ws://[v1.a:b]/"),
    *("ws://a.", "ws://a.b.:80", "ws://a_b/", f"ws://{'a' * 63}.{'b' * 63}", "ws://[v1.a..b]"),
    *("ws://[0123:4567:89ab:cdef:ABCD:EF::]:", "ws://[fe80::1%eth0]", "ws://[v09afAF.a]"),
    *(
        "ws://a/[]",
        "ws://a/b/../c//d?e?f/g[]:@",
        "ws://a//",
        "ws://a?[]",
        "/",
        "/?",
        "/a//b",
        "/[a]",
    ),
]
NO_URLS: Final[list[JSON]] = [
    *("", "a", "a/b", "?a", "//a", "//", "///a", "a:80", "ws:", "ws:/a", "ws://", "ws:///a"),
    *("ws://:80", "ws://:", "ws://?a", "wsss://a", "tcp://a", "httpss://a", "ws//a", "xws://a"),
    *("ws://a b", "ws://a/b c", "ws://a/#b", "ws://a#", "/#", "/a#b", "/a b", " /a", "/a ", "/a\n"),
    *("ws://a\n", "\nws://a", "ws://a/\n", "ws://a/\t", "ws://a\\b", "ws://a/\\", "/\\a", "/a\x7f"),
    *("/\x00", "/\x1f", "/\u00a0", "/\u00e4", "ws://\u00e4", "ws://a/\u00e4", "ws://a\x7f"),
    *("ws://a@b", "ws://a:b@c/", "ws://@a", "ws://a:0", "ws://a:00", "ws://a:65536", "ws://a:-1"),
    *("ws://a:b", "ws://a:80:90", "ws://a:8_0", "ws://a:+80", "ws://a:\u0668"),
    *("ws://[", "ws://]", "ws://[]"),
    *("ws://[::1", "ws://::1]", "ws://::1", "ws://[a/b]", "ws://[[::1]]", "ws://[::1]:0"),
    *("ws://[::1]:x", "ws://[g::1]", "ws://[V1.a]", "ws://[v.a]", "ws://[v1.]"),
    *("ws://[::1%]", "ws://[::1%a%b]", "ws://[::g]", "ws://[v1.a", "ws://[v1xa]"),
    *("ws://a[::1]", "ws://[::1]a", "ws://[::1]]", "ws://[::1]80", "ws://a:1[::1]:2/"),
    *("ws://[::1%[]", "ws://[v1.[]"),
    *("ws://.", "ws://.a", "ws://a..", "ws://a..b", f"ws://{'a' * 64}", f"ws://a.{'b' * 64}/"),
    *(None, True, 1, [], {}, ["/a"]),
]
ATTRIBUTES: Final = [
    *("callSid", "direction", "from", "to", "callId", "sbcCallid", "accountSid", "applicationSid"),
    *("callStatus", "sipStatus", "sipReason", "callerId", "traceId", "parentCallSid"),
    *("customerData", "event", "dtmf", "data", "x"),
]
CONTROLS: Final[list[JSON]] = ["\x00", "a\n", "\x1fb", "\x7f", "a\tb"]


class Row(NamedTuple):
    """An object that is legal, or nearly so, and what its members can be and cannot be."""

    schema: str
    obj: JSON
    good: dict[str, list[JSON]]
    bad: dict[str, list[JSON]]


EXAMPLES: Final[list[Row]] = [
    Row(
        "dtmf",
        {"event": "dtmf", "dtmf": "2", "duration": "1600"},
        {
            "dtmf": KEYS,
            "duration": [
                *(..., None, 0, -0.0, 1, 1600, 1600.0, 10**15 - 1, 1e14, "0", "00320", "9" * 15),
            ],
            "type": TYPES,
            "x": ANYTHING,
        },
        {
            "event": [..., None, 1, "", "Dtmf", "dtmf\n", "mark", ["dtmf"]],
            "dtmf": [..., *NO_KEYS],
            "duration": [
                *(True, False, -1, -1.0, 0.5, 1600.5, 10**15, 1e15, 1e16, [], [1600], {}),
                *("", "-1", "+1", "1.5", "1e3", "1600 ", " 1600", "1600\n", "9" * 16, "0" * 16),
                *("long", "0x10", "1_0", "\u0661", "\u00b2"),
            ],
            "type": OTHER_TYPES,
        },
    ),
    Row(
        "play-done",
        {"type": "playDone", "data": {"id": "a", "playbackSeconds": "1"}},
        {
            "data": [..., None, {}, {"x": []}],
            "data.id": IDS,
            "data.playbackSeconds": ANYTHING,
            "data.playbackMilliseconds": ANYTHING,
            "data.playbackLastOffsetPos": ANYTHING,
            "data.x": ANYTHING,
            "event": ["dtmf", "playDone", 1],
            "x": ANYTHING,
        },
        {
            "type": [..., None, 1, "", "playdone", "playDone\n", "mark", ["playDone"]],
            "data": [value for value in OBJECTS if value is not None],
            "data.id": NO_IDS,
        },
    ),
    Row(
        "mark-event",
        {"type": "mark", "data": {"name": "m", "event": "playout"}},
        {
            "data.name": ["", "m", "\n", '"\\', "\U0001f4de", "x" * 1000],
            "data.event": ["playout", "cleared"],
            "data.x": ANYTHING,
            "event": ["dtmf", 1],
            "x": ANYTHING,
        },
        {
            "type": [..., None, 1, "", "Mark", "mark\n", "killAudio", ["mark"]],
            "data": [..., *OBJECTS, {}],
            "data.name": [..., None, *NO_STRINGS],
            "data.event": [
                *(..., None, True, 1, "", "Playout", "playout\n", "both", ["cleared"], {}),
            ],
        },
    ),
    Row(
        "mark",
        {"type": "mark", "data": {"name": "m"}},
        {
            "data.name": ["", "m", "\n", '"\\', "\U0001f4de", "x" * 1000],
            "data.x": ANYTHING,
            "event": ["dtmf", 1],
            "x": ANYTHING,
        },
        {
            "type": [..., None, 1, "", "Mark", "mark\n", "clearMarks", ["mark"]],
            "data": [..., *OBJECTS, {}],
            "data.name": [..., None, *NO_STRINGS],
            "data.event": [None, True, 1, "", "playout", "cleared", "gone", [], {}],
        },
    ),
    Row(
        "play-audio",
        {
            "type": "playAudio",
            "data": {"audioContent": "AAAA", "audioContentType": "raw", "sampleRate": 16000},
        },
        {
            "data.audioContent": BASE64,
            "data.sampleRate": READ_RATES,
            "data.id": IDS,
            "data.queuePlay": [..., None, True, False],
            "data.textContent": ANYTHING,
            "data.x": ANYTHING,
            "event": ["dtmf", 1],
            "x": ANYTHING,
        },
        {
            "type": [..., None, 1, "", "playaudio", "playAudio\n", "killAudio", ["playAudio"]],
            "data": [..., *OBJECTS, {}],
            "data.audioContent": [..., *NO_BASE64],
            "data.audioContentType": [
                *(..., None, True, 1, "", "RAW", "raw\n", "Wav", "mp3", "both", ["raw"], {}),
            ],
            "data.sampleRate": [..., None, *NO_RATES],
            "data.id": NO_IDS,
            "data.queuePlay": NO_BOOLEANS,
        },
    ),
    Row(
        "play-audio",
        {
            "type": "playAudio",
            "data": {"audioContent": base64_of(SOUND), "audioContentType": "wav"},
        },
        {
            "data.audioContentType": ["wav", "wave"],
            "data.sampleRate": [*ANYTHING, "x", 44100, 1e300, True],
        },
        {
            "data.audioContent": [*NO_BASE64, ...],
            "data.audioContentType": ["raw", "WAV", "waves", "wav\n"],
        },
    ),
    *(
        Row(
            name,
            {"type": row.name},
            {"data": ANYTHING, "event": ["dtmf", 1], "x": ANYTHING},
            {"type": [..., None, 1, "", row.name.upper(), row.name + "\n", "playDone", [row.name]]},
        )
        for name, row in TYPED.items()
        if row.is_bare
    ),
    Row(
        "metadata",
        {"sampleRate": 8000, "mixType": "mono", "callSid": "c", "sipStatus": 200},
        {
            "sampleRate": [..., *READ_RATES],
            "mixType": [..., *MIXES],
            **dict.fromkeys(ATTRIBUTES, ANYTHING),
            "type": [*TYPES, *OTHER_TYPES],
        },
        {"sampleRate": [None, *NO_RATES], "mixType": NO_MIXES},
    ),
    Row(
        "verb",
        {"url": "wss://app.example/calls"},
        {
            "verb": [..., "listen", "stream"],
            "url": URLS,
            "actionHook": [..., None, "", "/done", "\n", {}, {"url": "/done", "a": [1]}],
            "bidirectionalAudio": [
                *(..., None, {}, {"streaming": False}, {"enabled": None, "sampleRate": None}),
                *({"streaming": True, "sampleRate": rate} for rate in RATES),
                *({"streaming": True, "enabled": on, "sampleRate": 8000} for on in (None, True)),
                *(
                    {"streaming": True, "enabled": False, **more}
                    for more in ({}, {"sampleRate": 8000})
                ),
                {"streaming": True, "enabled": False, "sampleRate": None},
            ],
            "bidirectionalAudio.enabled": [..., None, True, False],
            "bidirectionalAudio.streaming": [..., False],
            "bidirectionalAudio.sampleRate": [
                *(..., None, *RATES, *map(str, RATES), *map(float, RATES)),
            ],
            "disableBidirectionalAudio": [..., None, True, False],
            "finishOnKey": [..., "", *KEYS, DIGITS, "##"],
            "maxLength": [..., None, 0, -0.0, 1, 0.5, 60, 5e-324, 1e300, 10**60 - 1],
            "metadata": [
                *(..., None, {}, {"a": {"sampleRate": 1, "mixType": None}}, {"type": "x", "": 0}),
            ],
            "mixType": [..., *MIXES],
            "passDtmf": [..., True, False],
            "playBeep": [..., True, False],
            "sampleRate": [
                *(..., 8000, 16000, 24000, 48000, 64000),
                *("8000", "16000", "24000", "48000", "64000", 8000.0, 64000.0),
            ],
            "timeout": [..., None, 0, -0.0, 1, 0.5, 60, 5e-324, 1e300, 10**60 - 1],
            "transcribe": [..., None, {}, {"verb": "transcribe", "a": [None]}],
            "wsAuth": [..., None, {"username": "", "password": ""}],
            "wsAuth.username": ["", "alice", "\u00e4\u0080", " ", "#/?@"],
            "wsAuth.password": ["", "se:cret", "\u00e4\u0080", " ", ":"],
            "auth": [..., None, {}, {"username": "a:b", "password": 1, "x": [None]}],
            "earlyMedia": [..., None, True, False],
            "channel": [..., None, 1, 2, 2.0, 2**53 - 1, float(2**53 - 1)],
            "id": [..., None, "", "a\n"],
            "_": [..., None, 1, {"a": []}],
            "bidirectionalAudio._": [..., None, 1],
            "wsAuth._": [..., None, 1],
        },
        {
            "verb": [None, True, 1, "", "Listen", "listen\n", "both", ["listen"], {}],
            "url": [..., *NO_URLS],
            "actionHook": [True, False, 0, 1.5, [], ["/done"], [{}]],
            "bidirectionalAudio": [
                *(value for value in OBJECTS if value is not None),
                *({"streaming": True}, {"streaming": True, "sampleRate": None}),
                *({"streaming": True, "enabled": on} for on in (None, True)),
                *({"streaming": True, "enabled": on, "sampleRate": None} for on in (None, True)),
            ],
            "bidirectionalAudio.enabled": NO_BOOLEANS,
            "bidirectionalAudio.streaming": [None, *NO_BOOLEANS],
            "bidirectionalAudio.sampleRate": [*NO_RATES, "08000"],
            "bidirectionalAudio.sample_rate": [None, 8000],
            "disableBidirectionalAudio": NO_BOOLEANS,
            "finishOnKey": [
                *("a", "E", "1,2", " ", "#\n", "\n", "\u0661", "1-2", None, 1, True, ["#"], {}),
            ],
            "maxLength": [-1, -5e-324, -0.5, True, False, "", "60", [], {}],
            "metadata": [
                *(value for value in OBJECTS if value is not None),
                *({"sampleRate": 8000}, {"sampleRate": None}, {"mixType": None}),
                {"a": 1, "mixType": "mono"},
            ],
            "mixType": NO_MIXES,
            "passDtmf": [None, *NO_BOOLEANS],
            "playBeep": [None, *NO_BOOLEANS],
            "sampleRate": [None, 32000, "32000", *NO_RATES, "08000"],
            "timeout": [-1, -5e-324, -0.5, True, False, "", "60", [], {}],
            "transcribe": [True, False, 0, "", "yes", [], [{}]],
            "wsAuth": [
                *(True, False, 0, "alice:secret", [], ["alice", "secret"], {}),
                *({"username": "alice"}, {"password": "secret"}),
            ],
            "wsAuth.username": [*CONTROLS, ":", "a:b", None, *NO_STRINGS],
            "wsAuth.password": [*CONTROLS, None, *NO_STRINGS],
            "wsAuth.x": [None, "a"],
            "auth": [True, False, 0, "", "alice:secret", [], ["alice", "secret"]],
            "earlyMedia": NO_BOOLEANS,
            "channel": [0, -1, 1.5, 0.5, 2**53, float(2**53), 1e300, True, False, "", "1", [], {}],
            "id": NO_STRINGS,
            "x": [None, 1],
            "bdirectionalAudio": [{}],
            "$schema": ["https://json-schema.org/draft/2020-12/schema"],
        },
    ),
    Row(
        # The deprecated option counts where nothing else is said.
        "verb",
        {"url": "/a", "bidirectionalAudio": {"streaming": True}, "disableBidirectionalAudio": True},
        {"bidirectionalAudio.enabled": [..., None, False]},
        {"bidirectionalAudio.enabled": [True], "disableBidirectionalAudio": [..., None, False]},
    ),
    Row(
        "action-hook",
        {"call_sid": "c", "dial_call_duration": 12, "digits": "#"},
        {
            "dial_call_duration": [
                *(..., None, 0, 1, 12, -0.0, 12.0, 10**15 - 1, "0", "1", "012", "9" * 15),
            ],
            "digits": [..., None, *KEYS],
            **dict.fromkeys(["call_sid", "direction", "from", "to", "call_id"], ANYTHING),
            **dict.fromkeys(["account_sid", "application_sid", "call_status"], ANYTHING),
            **dict.fromkeys(["sip_status", "x"], ANYTHING),
        },
        {
            "dial_call_duration": [
                *(True, False, -1, -1.0, 0.5, 12.5, 10**15, 1e15, 1e300, 10**400, [], [12], {}),
                *("", "-1", "+1", "1.5", "1e3", "12 ", " 12", "12\n", "9" * 16, "0" * 16),
                *("long", "0x10", "1_0", "\u0661", "\u00b2"),
            ],
            "digits": [key for key in NO_KEYS if key is not None],
        },
    ),
    Row(
        "trace-header",
        {"trace": 1, "vantage": "app", "profile": "documented", "mode": "clips"},
        {
            "trace": [1, 1.0],
            "vantage": ["platform", "app"],
            "profile": ["documented", "deployed"],
            "mode": ["off", "clips", "streaming"],
            "verb": [..., {"url": "/a"}, {"verb": "stream", "url": URL, "passDtmf": True}],
            "attributes": [..., {}, {"callSid": "c", "a": {"b": [None]}}],
            "x": ANYTHING,
        },
        {
            "trace": [..., None, True, 0, 2, 1.5, "1", "", [1], {}],
            "vantage": [..., None, True, 1, "", "App", "app\n", "both", ["app"], {}],
            "profile": [..., None, True, 1, "", "Deployed", "deployed\n", "both", ["deployed"]],
            "mode": [..., None, True, 1, "", "Off", "off\n", "both", ["off"], {}],
            "verb": [*OBJECTS, {}, {"url": ""}, {"url": "/a", "pasDtmf": True}],
            "attributes": OBJECTS,
        },
    ),
    Row(
        "trace-header",
        {"trace": 1, "vantage": "app", "profile": "documented", "verb": {"url": "/a"}},
        {"mode": [..., "off"], "verb.sampleRate": [16000]},
        {"mode": [None, "both"], "verb.sampleRate": [32000], "verb": [...]},
    ),
    *(
        Row(
            "trace-line",
            {"at": 20_000, "from": "platform", "position": 160, key: value},
            {
                "at": [*WHOLE, 20_000.0, MOST, float(MOST)],
                "from": ["platform", "app"],
                "position": [*WHOLE, 160.0, MOST],
                "x": ANYTHING,
            },
            {
                "at": [..., MOST + 256, 1e300, 10**400, *NOT_WHOLE],
                "from": [..., None, True, 1, "", "App", "app\n", "both", ["app"], {}],
                "position": [..., MOST + 256, 1e300, *NOT_WHOLE],
                key: [...],
            },
        )
        for key, value in {
            "text": "{}",
            "audio": "AAAA",
            "bytes": 320,
            "close": 1000,
            "open": True,
            "lost": True,
        }.items()
    ),
    Row(
        "trace-line",
        {"at": 0, "from": "app", "position": 0},
        {
            "text": ["", "hello", "\udce2", '{"type":"killAudio"}'],
            "audio": BASE64,
            "bytes": [0, 1, 320.0, MAX_AUDIO],
            "close": [0, 1000, 1005.0, 4999, 65535],
            "open": [True],
            "lost": [True],
        },
        {
            "text": [None, *NO_STRINGS],
            "audio": NO_BASE64,
            "bytes": [..., 1e300, MAX_AUDIO + 1, *NOT_WHOLE],
            "close": [..., 65536, 1e300, *NOT_WHOLE],
            "open": [..., None, False, 1, "true", [], {}],
            "lost": [..., None, False, 1, "true", [], {}],
            "reason": [..., "bye"],
        },
    ),
    Row(
        "trace-line",
        {"at": 0, "from": "app", "position": 0, "close": 1000},
        {"reason": [..., "", "bye", "\n"]},
        {
            "reason": [None, True, 5, [], {}],
            "text": [None, "{}", 5],
            "audio": [None, "AAAA"],
            "bytes": [0],
            "open": [None, True, False],
            "lost": [None, True, False],
        },
    ),
]


def changed(obj: JSON, path: str, value: JSON) -> JSON:
    """A copy of an object that differs in one member; the object around it is made if need be."""
    result = body = deepcopy(obj)
    outer, _, key = path.rpartition(".")
    if outer:
        body = result.setdefault(outer, dict(CREDENTIALS) if outer == "wsAuth" else {})
    body.pop(key, None)
    if value is not ...:
        body[key] = value
    return result


@pytest.mark.parametrize(
    ("name", "obj", "path", "values", "verdict"),
    [
        pytest.param(
            *(row.schema, row.obj, path, values, verdict),
            id=f"{row.schema} {number} {path} {verdict}",
        )
        for number, row in enumerate(EXAMPLES)
        for verdict, table in ((True, row.good), (False, row.bad))
        for path, values in table.items()
    ],
)
def test_a_schema_and_the_code_take_the_same(
    name: str, obj: JSON, path: str, values: list[JSON], verdict: bool
) -> None:
    for value in values:
        candidate = changed(obj, path, value)
        assert (valid(name, candidate), taken(name, candidate)) == (verdict, verdict), value


@pytest.mark.parametrize("value", [None, True, False, 0, 1.5, "", "{}", [], [{}]])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_object_is_taken_by_neither(name: str, value: JSON) -> None:
    assert not valid(name, value)
    assert not taken(name, value)


# Both ways, whatever comes near.


@cache
def changes(name: str) -> st.SearchStrategy[tuple[str, JSON]]:
    """What to make of a member: half of it from the good values above."""
    rows = [row for row in EXAMPLES if row.schema == name]
    good, bad = (
        [(path, value) for table in tables for path in table for value in table[path]]
        for tables in ([row.good for row in rows], [row.bad for row in rows])
    )
    paths = st.sampled_from(sorted({path for path, _ in good + bad}))
    to_good, to_bad = st.sampled_from(good), st.sampled_from(bad)
    return st.one_of(to_good, to_good, to_bad, st.tuples(paths, json_values()))


@st.composite
def near(draw: st.DrawFn, name: str) -> JSON:
    """What is legal, or was until some of its members were changed or dropped."""
    starts = st.sampled_from([row.obj for row in EXAMPLES if row.schema == name])
    if name in MESSAGES:
        (sender,) = MESSAGES[name].senders
        starts |= messages_of(MESSAGES[name]).map(
            lambda message: json.loads(str(encode(message, sender)))
        )
    obj = draw(starts)
    for path, value in draw(st.lists(changes(name), max_size=4)):
        if isinstance(obj.get(path.rpartition(".")[0], {}), dict):
            obj = changed(obj, path, value)
    return obj


def with_sound_wav(obj: JSON) -> JSON:
    """The same with a WAV that can be played, where its own is none: no schema sees that."""
    data = obj.get("data")
    if isinstance(data, dict) and data.get("audioContentType") in ("wav", "wave"):
        content = data.get("audioContent")
        base64_text = r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}[A-Za-z0-9+/=]=)?"
        if isinstance(content, str) and re.fullmatch(base64_text, content):
            try:
                parse_wav(base64.b64decode(content))
            except WavError:
                return changed(obj, "data.audioContent", base64_of(SOUND))
    return obj


@pytest.mark.no_cover
@pytest.mark.parametrize("name", TYPED)
def test_a_message_is_valid_if_the_codec_reads_it(name: str) -> None:
    verdicts = set()

    @given(near(name))
    def check(obj: JSON) -> None:
        message = read(with_sound_wav(obj))
        for other, row in TYPED.items():
            assert valid(other, obj) is isinstance(message, row.kind)
        assert valid(name, obj) or not taken(name, obj)
        event(type(message).__name__)
        verdicts.add(valid(name, obj))

    check()
    assert verdicts == {True, False}


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "name",
    ["metadata", "verb", "action-hook", "trace-header", "trace-line"],
)
def test_anything_else_is_valid_if_the_code_takes_it(name: str) -> None:
    verdicts = set()

    @given(near(name))
    def check(obj: JSON) -> None:
        assert valid(name, obj) is taken(name, obj)
        event(str(valid(name, obj)))
        verdicts.add(valid(name, obj))

    check()
    assert verdicts == {True, False}


def test_every_character_in_every_place_of_a_url() -> None:
    places = [
        *("{}", "{}s://a", "w{}://a", "ws{}://a", "ws:{}/a", "h{}tp://a", "ht{}p://a", "htt{}://a"),
        *("http{}://a", "ws:/{}a", "ws://{}", "ws://a{}", "ws://a{}b", "ws://a:{}", "ws://a/{}"),
        *("ws://a?{}", "/{}", "/a{}", "ws://[::1%{}]", "ws://[v{}.a]", "ws://[v1.{}]"),
        *("ws://[::1]:{}", "ws://[::1]/{}", "{}ttp://a"),
    ]
    for place in places:
        for char in ASCII + "\x80\xaa\u0130\u017f\u212a\u2028\uff10\uff0f":
            obj = {"url": place.format(char)}
            assert valid("verb", obj) is is_verb(obj), obj


def test_every_kind_of_port_in_a_url() -> None:
    for port in [*range(0, 70_000, 97), *range(64_990, 65_600), *range(100), 100_000, 655_350]:
        obj = {"url": f"wss://a:{port}/"}
        assert valid("verb", obj) is is_verb(obj) is (0 < port < 2**16), port


ANY_TEXT: Final = st.text(st.characters(max_codepoint=200), max_size=8)


@given(
    scheme=st.sampled_from(["ws", "WSS", "http", "https", "ftp", "", "w", "httpss"]),
    behind=st.sampled_from(["://", "://", ":", "//", "/"]),
    host=st.sampled_from(["a", "app.example", "[::1]", "[::", "::1", "a@b", ""])
    | ANY_TEXT
    | st.lists(st.integers(0, 65).map("a".__mul__), max_size=4).map(".".join),
    port=st.sampled_from(["", ":"]) | st.integers(-1, 70_000).map(":{}".format),
    tail=st.sampled_from(["", "/", "?", "/a?b", "/#", "/[@:]", "a"]) | ANY_TEXT.map("/".__add__),
)
def test_a_url_is_valid_if_the_verb_takes_it(
    scheme: str, behind: str, host: str, port: str, tail: str
) -> None:
    obj = {"url": scheme + behind + host + port + tail}
    event(str(valid("verb", obj)))
    assert valid("verb", obj) is is_verb(obj)


# The verb, the actionHook's payload and traces, as they are written.

VERBS: Final = near("verb").filter(is_verb).map(ListenVerb.from_json)


@given(VERBS)
def test_a_verb_is_written_as_it_is_valid(verb: ListenVerb) -> None:
    assert valid("verb", verb.to_json())


@given(
    st.builds(
        ListenResult,
        end=st.sampled_from(ListenEnd),
        duration=st.none() | st.integers(0, 10**15 - 1),
        digits=st.none() | st.sampled_from(DIGITS),
        attributes=metadata().map(lambda message: message.attributes),
    )
)
def test_what_the_action_hook_is_told_is_valid(result: ListenResult) -> None:
    assert valid("action-hook", result.action_hook())


@pytest.mark.parametrize("key", ["digits", "dialCallDuration", "dial_call_duration"])
def test_no_attribute_of_the_call_is_taken_for_how_it_ended(key: str) -> None:
    attributes = {"callSid": "c", key: None}
    result = ListenResult(end=ListenEnd.NOT_CONNECTED, duration=None, attributes=attributes)
    assert result.action_hook() == {"call_sid": "c"}


@given(
    st.builds(
        TraceHeader,
        vantage=st.sampled_from(Peer),
        way=VERBS | st.sampled_from(Mode),
        mode=st.none() | st.sampled_from(Mode),
        profile=st.sampled_from(["documented", "deployed"]),
        attributes=json_objects(),
    )
)
def test_the_header_of_a_trace_is_valid(header: TraceHeader) -> None:
    assert valid("trace-header", json.loads(header.to_json()))


@given(
    st.builds(
        TraceLine,
        st.integers(0, MOST),
        st.sampled_from(Peer),
        st.integers(0, MOST),
        st.text()
        | st.binary()
        | st.sampled_from(TraceMoment)
        | st.builds(Close, st.integers(1000, 4999), st.text()),
    ),
    st.booleans(),
)
def test_a_line_of_a_trace_is_valid(line: TraceLine, with_audio: bool) -> None:
    assert valid("trace-line", json.loads(line.to_json(with_audio=with_audio)))


# What a schema cannot say, as the README lists it.


def nested(levels: int) -> JSON:
    value: JSON = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("NaN", id="no number"),
        pytest.param("-Infinity", id="infinity"),
        pytest.param("1e999", id="more than a double holds"),
        pytest.param("9" * 65, id="number of 65 characters"),
        pytest.param("0." + "1" * 63, id="real number of 65 characters"),
        pytest.param('"\\ud800"', id="lone surrogate"),
        pytest.param('{"\\udfff":0}', id="lone surrogate in a name"),
        pytest.param("[" * 64 + "]" * 64, id="nesting of 65"),
        pytest.param("[0" + ",0" * 10_000 + "]", id="more than 10 000 values"),
    ],
)
def test_the_bounds_of_the_text_are_behind_a_schema(value: str) -> None:
    text = f'{{"type":"killAudio","data":{value}}}'
    assert valid("kill-audio", json.loads(text))
    for (message,) in (decode(text, Peer.APP), decode_opening(text)):
        assert isinstance(message, Malformed)


def test_what_is_inside_a_wav_is_behind_a_schema() -> None:
    data = {"audioContent": base64_of(SOUND[:40]), "audioContentType": "wav"}
    clip = {"type": "playAudio", "data": data}
    assert valid("play-audio", clip)
    assert not taken("play-audio", clip)
    assert taken("play-audio", with_sound_wav(clip))


def test_the_length_of_metadata_is_behind_a_schema() -> None:
    attributes = {"callSid": "c" * 8192}
    assert valid("metadata", attributes)
    with pytest.raises(LocalProtocolError):
        ListenTask(ListenVerb(url=URL), attributes)


@pytest.mark.parametrize(
    ("path", "near_by", "beyond"),
    [
        ("url", "ws://[1:2::3]", "ws://[1::2::3]"),
        ("url", "ws://[::127.0.0.1]", "ws://[127.0.0.1]"),
        ("url", f"ws://a:{'0' * 80}80", f"ws://a:{'0' * 5000}80"),
        ("actionHook", nested(32), nested(33)),
        ("metadata", nested(32), nested(33)),
        ("transcribe", nested(32), nested(33)),
        ("actionHook", {"a": 1 - 10**60}, {"a": -(10**60)}),
        ("metadata", {"a": [10**60 - 1, 1e60]}, {"a": [10**60]}),
        ("transcribe", {"a": 1 - 10**60}, {"a": -(10**60)}),
        ("maxLength", 1e60, 10**60),
        ("timeout", 1e60, 10**60),
        ("actionHook", "\U0001f4de", "\ud800"),
        ("metadata", {"\U0001f4de": 0}, {"\ud800": 0}),
        ("transcribe", {"a": ["\U0001f4de"]}, {"a": ["\ud800"]}),
        ("wsAuth.username", "\U0001f4de", "\ud800"),
        ("wsAuth.password", "\U0001f4de", "\udfff"),
        ("id", "\U0001f4de", "\ud800"),
    ],
)
def test_what_of_a_verb_is_behind_a_schema(path: str, near_by: JSON, beyond: JSON) -> None:
    obj = changed({"url": URL}, path, near_by)
    assert valid("verb", obj) and is_verb(obj)
    obj = changed({"url": URL}, path, beyond)
    assert valid("verb", obj) and not is_verb(obj)
