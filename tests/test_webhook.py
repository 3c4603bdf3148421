"""The webhooks: what an application is told, and the verbs it answers with."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from typing import Any
from urllib.parse import urlencode

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    ActionHook,
    CallHook,
    ListenEnd,
    ListenResult,
    ListenTask,
    ListenVerb,
    VerbError,
    WebhookError,
    read_verbs,
    write_verbs,
)
from listenproto._messages import JSON
from listenproto._terms import DIGITS
from listenproto.testing import json_objects, json_values, listen_verbs, metadata

HOOKS = pytest.mark.parametrize("hook", [CallHook, ActionHook])

# As a deployed platform posts it, shortened.
INCOMING: dict[str, JSON] = {
    "sip": {"headers": {"user-agent": "SBC", "X-CID": "1"}, "method": "INVITE"},
    "direction": "inbound",
    "trace_id": "151b1241",
    "caller_name": "",
    "call_sid": "ac5c697a",
    "account_sid": "66acafce",
    "application_sid": "db7ba948",
    "from": "+15550100",
    "to": "+15550199",
    "call_id": "935f3b60@192.0.2.1",
    "sip_status": 100,
    "sip_reason": "Trying",
    "call_status": "trying",
    "customerData": {"tier": [1, 2]},
}
TEXTS = {
    "call_sid": "call_sid",
    "direction": "direction",
    "from": "from_",
    "to": "to",
    "call_id": "call_id",
    "account_sid": "account_sid",
    "application_sid": "application_sid",
    "call_status": "call_status",
}


# The call webhook.


def test_a_call_comes_in() -> None:
    hook = CallHook.from_body(json.dumps(INCOMING))
    assert hook == CallHook(INCOMING) == CallHook.from_body(json.dumps(INCOMING).encode())
    assert hook.attributes == INCOMING
    for key, name in TEXTS.items():
        assert getattr(hook, name) == INCOMING[key]
    assert hook.sip_status == 100


def test_a_call_comes_in_by_get() -> None:
    told = {key: value for key, value in INCOMING.items() if not isinstance(value, dict)}
    query = urlencode(told)
    hook = CallHook.from_query(query)
    assert hook == CallHook.from_query(query.encode())
    assert hook.attributes == {
        key: str(value) if value != "" else None for key, value in told.items()
    }
    assert (hook.from_, hook.sip_status) == ("+15550100", 100)


@HOOKS
def test_nothing_has_to_be_told(hook: type[CallHook | ActionHook]) -> None:
    told = hook.from_body("{}")
    assert told == hook() == hook.from_query("")
    assert [getattr(told, name) for name in [*TEXTS.values(), "sip_status"]] == 9 * [None]


@HOOKS
@pytest.mark.parametrize("value", [None, True, 1, 1.5, [], ["c"], {}])
def test_what_is_only_told_fails_no_call(hook: type[CallHook | ActionHook], value: JSON) -> None:
    obj = dict.fromkeys(TEXTS, value)
    told = hook.from_json(obj)
    assert told.attributes == obj
    assert {getattr(told, name) for name in TEXTS.values()} == {None}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        *((200, 200), ("200", 200), (200.0, 200), (None, None), ("", None), ("OK", None)),
        *(
            (200.5, None),
            (True, None),
            ([200], None),
            ("9" * 5000, None),
            ("\u00b2", None),
            (1e300, None),
        ),
    ],
)
def test_the_status_of_sip_is_a_number(value: JSON, status: int | None) -> None:
    told = CallHook({"sip_status": value}).sip_status
    assert told == status
    assert type(told) is type(status)


@HOOKS
def test_a_hook_is_read_only(hook: type[CallHook | ActionHook]) -> None:
    source = {"call_sid": "c"}
    told = hook.from_json(source)
    source["call_sid"] = "d"
    assert told.call_sid == "c"
    with pytest.raises(TypeError, match="does not support item assignment"):
        told.attributes["call_sid"] = "d"  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told.attributes = {}  # type: ignore[misc]


# The actionHook.


@given(
    st.builds(
        ListenResult,
        end=st.sampled_from(ListenEnd),
        duration=st.none() | st.integers(0, 10**15 - 1),
        digits=st.none() | st.sampled_from(DIGITS),
        attributes=metadata().map(lambda message: message.attributes),
    )
)
def test_what_our_platform_posts_is_read_back(result: ListenResult) -> None:
    """LP-END-16, LP-END-17, LP-END-18"""
    posted = result.action_hook()
    told = ActionHook.from_body(json.dumps(posted))
    assert (told.dial_call_duration, told.digits) == (result.duration, result.digits)
    assert told.attributes == {
        key: posted[key] for key in posted.keys() - {"dial_call_duration", "digits"}
    }
    assert told.call_sid == result.attributes.get("callSid")


def test_a_listen_that_a_key_ended_is_told_of() -> None:
    verb = ListenVerb(url="ws://app.example", finish_on_key="#")
    task = ListenTask(verb, {"callSid": "c", "from": "+15550100", "sipStatus": 200})
    task.connected()
    task.capture(bytes(2 * 8000 * 12))
    task.key("#")
    assert task.result is not None
    told = ActionHook.from_body(json.dumps(task.result.action_hook()))
    assert told == ActionHook(
        {"call_sid": "c", "from": "+15550100", "sip_status": 200},
        dial_call_duration=12,
        digits="#",
    )
    assert (told.call_sid, told.from_, told.sip_status) == ("c", "+15550100", 200)


@pytest.mark.parametrize(
    "query", ["call_sid=c&dial_call_duration=12&digits=%23", "digits=%23&dial_call_duration=012&a="]
)
def test_a_listen_is_told_of_by_get(query: str) -> None:
    told = ActionHook.from_query(query)
    assert (told.dial_call_duration, told.digits) == (12, "#")
    assert ActionHook.from_query("dial_call_duration=&digits=") == ActionHook()


@pytest.mark.parametrize("value", [12, "12", 12.0])
def test_a_duration_is_the_same_however_it_is_written(value: JSON) -> None:
    duration = ActionHook.from_json({"dial_call_duration": value}).dial_call_duration
    assert duration == 12
    assert type(duration) is int


DURATIONS = [-1, 1.5, True, "", "-1", "12 s", "9" * 100, "\u0661", [12], {"s": 12}, 10**15, 1e300]
KEYS = ["", "12", "a", "E", "#\n", 5, True, ["#"], {}]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        *(
            ("dial_call_duration", value, "a whole number of seconds below 10**15")
            for value in DURATIONS
        ),
        *(("digits", value, "one of the keys 0123456789*#ABCD") for value in KEYS),
    ],
)
def test_what_cannot_be_told_of_an_end(field: str, value: JSON, allowed: str) -> None:
    for make in (
        lambda: ActionHook.from_json({"call_sid": "c", field: value}),
        lambda: ActionHook.from_body(json.dumps({field: value})),
        lambda: ActionHook(**{field: value}),
    ):
        with pytest.raises(WebhookError) as caught:
            make()
        error = caught.value
        assert (error.field, error.value, error.allowed) == (field, value, allowed)
        assert re.fullmatch(rf"{field} must be {re.escape(allowed)}; it is .{{1,100}}", str(error))


@pytest.mark.parametrize("value", ["12", 12.0])
def test_what_is_read_from_json_is_not_taken_in_python(value: Any) -> None:
    with pytest.raises(WebhookError, match=r"^dial_call_duration must be "):
        ActionHook(dial_call_duration=value)


@pytest.mark.parametrize(
    "told",
    [
        CallHook(INCOMING),
        CallHook(),
        ActionHook(INCOMING, dial_call_duration=12, digits="#"),
        ActionHook({"call_sid": 5}),
    ],
)
def test_what_was_told_is_a_value(told: CallHook | ActionHook) -> None:
    for copied in (copy.copy(told), copy.deepcopy(told), pickle.loads(pickle.dumps(told))):
        assert (copied, hash(copied), type(copied)) == (told, hash(told), type(told))
        with pytest.raises(TypeError, match="does not support item assignment"):
            copied.attributes["call_sid"] = "d"  # type: ignore[index]
    assert type(told).from_json(told.to_json()) == told
    assert json.loads(json.dumps(told.to_json())) == told.to_json()
    told.to_json().clear()
    assert len({told, type(told).from_json(told.to_json()), CallHook({"call_sid": "other"})}) == 2


def test_an_attribute_does_not_speak_for_the_end() -> None:
    told = ActionHook({"digits": "1", "a": 1}, dial_call_duration=0)
    assert told.to_json() == {"a": 1, "dial_call_duration": 0}


# Bodies and queries.

NO_JSON = [
    *(
        "",
        " ",
        "{",
        "}",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": 1e999}',
        f'{{"a": {"9" * 65}}}',
        "\ufeff{}",
    ),
    *("[" * 65 + "]" * 65, "[" * 10**5, "{} {", "\ufeff{}"),
    *(b"\xff", "{}".encode("utf-16"), f"[{10_001 * '0,'}0]"),
]
NO_TEXT = [
    *('{"a": "x\\ud800y", "call_sid": "c"}', '{"a": "x\ud800y", "call_sid": "c"}'),
    *(b'{"a": "x\\udfffy", "call_sid": "c"}', b'{"a": "x\xe9y", "call_sid": "c"}'),
]


@pytest.mark.parametrize("read", [CallHook.from_body, ActionHook.from_body, read_verbs])
@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_a_body_is_json(read: Any, body: str | bytes) -> None:
    with pytest.raises(WebhookError) as caught:
        read(body)
    error = caught.value
    assert (error.field, error.value) == ("body", body[:1000])
    assert error.__context__ is None
    assert re.fullmatch(
        r"body must be a JSON (object|array of verbs); it is not valid JSON: .{1,150}", str(error)
    )


@pytest.mark.parametrize("read", [CallHook.from_body, ActionHook.from_body, read_verbs])
def test_a_body_is_one_json_value(read: Any) -> None:
    with pytest.raises(WebhookError, match=r"; it is more than one JSON value$"):
        read("{}[]")


@HOOKS
@pytest.mark.parametrize("value", [None, True, 0, 1.5, "{}", [], [{}]])
def test_a_hook_is_told_an_object(hook: type[CallHook | ActionHook], value: JSON) -> None:
    for make in (lambda: hook.from_body(json.dumps(value)), lambda: hook.from_json(value)):
        with pytest.raises(WebhookError, match=r"^body must be a JSON object; it is .") as caught:
            make()
        assert (caught.value.field, caught.value.value) == ("body", value)


@HOOKS
@pytest.mark.parametrize("body", NO_TEXT)
def test_what_is_no_text_is_replaced(hook: type[CallHook | ActionHook], body: str | bytes) -> None:
    assert hook.from_body(body) == hook({"a": "x\ufffdy", "call_sid": "c"})
    nested = {"a\ud800": [{"b": "\udfff", "c": ["\U0001f600", 1]}], "call_sid": "c"}
    mended = {"a\ufffd": [{"b": "\ufffd", "c": ["\U0001f600", 1]}], "call_sid": "c"}
    assert hook.from_json(nested) == hook.from_body(json.dumps(nested)) == hook(mended)


@pytest.mark.parametrize("body", NO_TEXT)
def test_what_is_no_text_is_no_verb(body: str | bytes) -> None:
    with pytest.raises(
        WebhookError, match=r"not valid JSON: (a lone surrogate is not valid text|byte 8 is)"
    ):
        read_verbs(body)


@pytest.mark.parametrize("query", ["a=%ff&b=c", b"a=\xff&b=c", "a=\ud800&b=c"])
def test_what_is_no_text_in_a_query_is_replaced(query: str | bytes) -> None:
    assert CallHook.from_query(query) == CallHook({"a": "\ufffd", "b": "c"})
    assert CallHook.from_query("%ed%a0%80=c").attributes == {3 * "\ufffd": "c"}


def test_a_query_is_bounded() -> None:
    query = "&".join(1001 * "a")
    with pytest.raises(WebhookError) as caught:
        CallHook.from_query(query)
    assert str(caught.value) == (
        "query must be text with at most 1000 fields; it is text with more fields"
    )
    assert (caught.value.field, caught.value.value) == ("query", query[:1000])


def test_a_query_may_have_its_question_mark() -> None:
    told = CallHook.from_query("?call_sid=1&a=?")
    assert told == CallHook.from_query(b"?call_sid=1&a=?") == CallHook({"call_sid": "1", "a": "?"})


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_any_bytes(kind: Any) -> None:
    assert CallHook.from_body(kind(b'{"call_sid": "c"}')).call_sid == "c"
    assert CallHook.from_query(kind(b"call_sid=c")).call_sid == "c"
    assert read_verbs(kind(b"[]")) == []
    with pytest.raises(WebhookError, match="not valid JSON") as caught:
        read_verbs(kind(b"[" + bytes(2000)))
    assert caught.value.value == b"[" + bytes(999)


@pytest.mark.parametrize("body", [None, 5, {}, ["{}"]])
def test_a_body_of_another_type_is_a_type_error(body: Any) -> None:
    for read in (CallHook.from_body, ActionHook.from_body, read_verbs):
        with pytest.raises(
            TypeError, match=rf"^body must be str or bytes, not {type(body).__name__}$"
        ):
            read(body)
    with pytest.raises(TypeError, match=r"^query must be str or bytes, not "):
        CallHook.from_query(body)


@pytest.mark.parametrize(
    "large",
    [json.dumps("x" * 10**5), json.dumps([["x" * 600, {"y" * 600: 0}]]), f"[{9000 * '0,'}0]"],
)
def test_an_error_keeps_no_large_value(large: str) -> None:
    with pytest.raises(WebhookError) as caught:
        CallHook.from_body(large)
    assert isinstance(caught.value.value, str)
    assert len(caught.value.value) <= 1000
    with pytest.raises(WebhookError) as caught:
        read_verbs(f'[{{"verb": {large}}}]') if large[0] == "[" else read_verbs(f"[{large}]")
    assert len(str(caught.value.value)) <= 1000


@pytest.mark.parametrize("kind", [CallHook, ActionHook])
def test_a_hook_shares_nothing_with_what_it_was_made_of_or_gives(
    kind: type[CallHook | ActionHook],
) -> None:
    def obj() -> dict[str, Any]:
        return {"call_sid": "x", "a": [1, {"b": [2]}]}

    for make in (kind, kind.from_json):
        given = obj()
        hook = make(given)
        written = hook.to_json()
        assert written == obj()
        for one in (given, written):
            one["a"][1]["b"].append(3)
        assert hook.attributes == obj()


def test_what_is_nested_too_deeply_is_said_to_be() -> None:
    deep: JSON = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(WebhookError, match=r"it is nested too deeply$"):
        CallHook.from_json(deep)
    with pytest.raises(WebhookError, match=r"it is nested too deeply$"):
        write_verbs({"verb": "dial", "target": deep})
    while deep:  # or Python takes it apart level by level
        deep = deep["a"]


@given(st.binary() | st.text() | json_values().map(json.dumps))
@example(b'{"digits": 1}')
def test_any_body_is_read_or_is_a_webhook_error(body: str | bytes) -> None:
    for read in (CallHook, ActionHook):
        for told in (read.from_body, read.from_query):
            try:
                hook = told(body)
            except WebhookError as error:
                assert str(error).startswith(f"{error.field} must be {error.allowed}; it is ")
            else:
                assert read.from_json(dict(hook.attributes)).attributes == hook.attributes


# The answer.

LISTEN = ListenVerb(url="/listen", action_hook="/done")
SAY = {"verb": "say", "text": "Leave a message, Zoë."}


def test_the_answer_is_an_array_of_verbs() -> None:
    text = write_verbs(SAY, LISTEN, {"verb": "hangup"})
    assert json.loads(text) == [
        SAY,
        {"verb": "listen", "url": "/listen", "actionHook": "/done"},
        {"verb": "hangup"},
    ]
    assert text.isascii()  # whatever is made of it on the way
    assert read_verbs(text) == [SAY, LISTEN, {"verb": "hangup"}]
    assert read_verbs(text.encode()) == read_verbs(text)


def test_verbs_of_which_no_call_can_come_are_refused_where_the_platform_is_known() -> None:
    """LP-VERB-2: what deployed platforms do otherwise in a call that comes is no reason."""
    hanging = ListenVerb(url="wss://app.example?a=b")
    text = write_verbs(SAY, hanging)
    with pytest.raises(VerbError, match="url has a query but no path") as refused:
        write_verbs(SAY, hanging, profile="deployed")
    assert refused.value.option == "url"
    with pytest.raises(VerbError):
        read_verbs(text, profile=DEPLOYED)
    keys = ListenVerb(url="/listen", finish_on_key="*#")
    assert read_verbs(write_verbs(keys, profile=DEPLOYED), profile=DEPLOYED) == [keys]
    with pytest.raises(ValueError, match="profile must be"):
        read_verbs(text, profile="real")


def test_without_verbs_the_call_goes_on() -> None:
    assert write_verbs() == "[]"
    assert read_verbs("[]") == []


def test_a_relative_url_is_on_the_server_of_the_webhook() -> None:
    (verb,) = read_verbs(write_verbs(LISTEN))
    assert isinstance(verb, ListenVerb)
    resolved = verb.resolve("https://app.example:8443/call?a=b")
    assert resolved.websocket_url == "wss://app.example:8443/listen"


def test_a_verb_may_be_named_by_its_key() -> None:
    body = '[{"say": {"text": "Hi"}}, {"stream": {"url": "/a"}}]'
    assert read_verbs(body) == [
        {"verb": "say", "text": "Hi"},
        ListenVerb(verb="stream", url="/a"),
    ]


others = st.builds(
    lambda name, options: {**options, "verb": name},
    st.sampled_from(["say", "play", "pause", "hangup", "dial", "someday"]),
    json_objects(),
)


@given(st.lists(listen_verbs() | others, max_size=4))
def test_what_is_written_is_read_back(verbs: list[ListenVerb | dict[str, JSON]]) -> None:
    text = write_verbs(*verbs)
    assert read_verbs(text) == verbs
    assert write_verbs(*read_verbs(text)) == text


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        ({"verb": "hangup"}, "body must be a JSON array of verbs; it is {'verb': 'hangup'}"),
        (None, "body must be a JSON array of verbs; it is missing or null"),
        (["hangup"], "body[0] must be a JSON object; it is 'hangup'"),
        ([SAY, None], "body[1] must be a JSON object; it is missing or null"),
        ([{}], "body[0].verb must be the name of a verb; it is missing or null"),
        ([{"say": 5}], "body[0].verb must be the name of a verb; it is missing or null"),
        ([SAY, {"verb": 5}], "body[1].verb must be the name of a verb; it is 5"),
    ],
)
def test_what_is_no_array_of_verbs(array: JSON, sentence: str) -> None:
    with pytest.raises(WebhookError) as caught:
        read_verbs(json.dumps(array))
    assert str(caught.value) == sentence
    if isinstance(array, list):
        with pytest.raises(WebhookError) as caught:
            write_verbs(*array)
        assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "verb",
    [
        {"verb": "pause", "length": math.nan},
        {"verb": "pause", "length": 10**70},
        {"verb": "say", "x": 10**5000},
        {"verb": "say", "text": "\ud800"},
        {"verb": "say", "text": b"Hi"},
        {"verb": "play", "url": {"/a", "/b"}},
        {"verb": "dial", "target": 10_001 * [0]},
    ],
    ids=range(7),
)
def test_what_is_no_json_is_not_written(verb: dict[str, Any]) -> None:
    with pytest.raises(
        WebhookError, match=r"^body must be a JSON array of verbs; it is not valid JSON: "
    ):
        write_verbs(SAY, verb)


def test_what_is_frozen_or_a_listen_is_written_wherever_it_stands() -> None:
    hook = CallHook.from_json({"call_sid": "x", "a": [1]})
    verb = {"verb": "tag", "data": {"call": hook.attributes, "calls": [hook.attributes, (LISTEN,)]}}
    call: JSON = {"call_sid": "x", "a": [1]}
    listen = {"verb": "listen", "url": "/listen", "actionHook": "/done"}
    (tag,) = json.loads(write_verbs(verb))
    assert tag == {"verb": "tag", "data": {"call": call, "calls": [call, [listen]]}}


def test_what_is_in_itself_is_not_written() -> None:
    verb: dict[str, Any] = {"verb": "dial"}
    verb["confirm"] = verb
    with pytest.raises(WebhookError, match=r"; it is not valid JSON: Circular reference detected$"):
        write_verbs(verb)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"url": "app.example"},
        {"url": "/a", "bdirectionalAudio": {"enabled": True}},
        {"url": "/a", "wsAuth": {"username": "alice:secret", "password": "secret"}},
    ],
)
@pytest.mark.parametrize("name", ["listen", "stream"])
def test_a_listen_has_to_be_one(name: str, options: dict[str, JSON]) -> None:
    verb = {"verb": name, **options}
    with pytest.raises(VerbError) as reading:
        read_verbs(json.dumps([SAY, verb]))
    with pytest.raises(VerbError) as writing:
        write_verbs(SAY, verb)
    assert str(reading.value) == str(writing.value)
    assert "secret" not in str(reading.value)
