"""Hostile texts, message by message: what a session makes of them, before and after the metadata.

``receive`` raises RemoteProtocolError where there is no metadata to go on with, the same for ever,
and nothing else anywhere; what is good among the bad is taken for what it is; and whatever was said
of it can be logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    AppSession,
    Mode,
    Peer,
    Profile,
    RemoteProtocolError,
    UnknownMessage,
    Violation,
)
from listenproto._jsontext import MAX_DEPTH, MAX_NUMBER, MAX_VALUES
from listenproto.codec import encode
from listenproto.testing import (
    app_messages,
    json_values,
    metadata,
    nearly_legal_texts,
    platform_messages,
)
from tests.hostile_support import STEP, a_task

TYPES = st.sampled_from(
    [
        {"type": "playAudio"},
        {"type": "playDone"},
        {"type": "mark"},
        {"type": "killAudio"},
        {"type": "clearMarks"},
        {"type": "disconnect"},
        {"type": "error"},
        {"event": "dtmf"},
        {"type": "dtmf", "event": "mark"},
        {"callSid": None},
        {"mixType": []},
        {},
    ]
)
MEMBERS = st.sampled_from(
    [
        "data",
        "dtmf",
        "duration",
        "name",
        "event",
        "id",
        "audioContent",
        "audioContentType",
        "sampleRate",
        "queuePlay",
        "mixType",
    ]
)
EXCESS = st.sampled_from(
    [
        "[" * MAX_DEPTH * 1000,
        '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
        "[" + "1," * MAX_VALUES + "1]",
        "{}" * (MAX_VALUES + 1),
        "1 " * (MAX_VALUES + 1),
        "9" * (MAX_NUMBER + 1),
        "-" + "9" * 5000,
        "1e" + "9" * 60,
        "NaN",
        "",
        " ",
        "\0",
        "\ufeff{}",
        '"\\ud800"',
        "\udcff",
        '{"type":"mark","data":{"name":"\\udc80"}}',
        '{"type":"mark","data":{"name":"\udc80"}}',
        '{"a":1,"a":2}',
    ]
)


@st.composite
def wrong_bodies(draw: st.DrawFn) -> str:
    """A message of a known kind with members of any kind, its data being one of them."""
    value = json_values() | st.sampled_from(
        ["playout", "raw", "wav", "AAAA", "A===", 8000, 1e15, -1, 10**63, "8000", "stereo"]
    )
    inner = st.dictionaries(MEMBERS, value, max_size=5)
    body = draw(TYPES) | draw(st.dictionaries(MEMBERS, value | inner, max_size=4))
    return json.dumps(body, ensure_ascii=draw(st.booleans()))


HOSTILE = st.one_of(
    nearly_legal_texts(),
    wrong_bodies(),
    EXCESS,
    st.text(max_size=30),
    st.builds(str.__add__, wrong_bodies(), EXCESS | wrong_bodies()),
)
"""Texts, of which a few are legal."""


def sayable(events: Iterable[object]) -> None:
    for event in events:
        repr(event).encode()
        if isinstance(event, Violation):
            str(event).encode()


OPENING = metadata().map(lambda message: encode(message, Peer.PLATFORM))
FROM_PLATFORM = platform_messages().map(lambda message: encode(message, Peer.PLATFORM))
FROM_APP = app_messages().map(lambda message: encode(message, Peer.APP))


@pytest.mark.parametrize("salvage", [False, True])
@given(st.lists(HOSTILE | FROM_PLATFORM, max_size=3), st.sampled_from(Mode))
def test_an_app_before_the_metadata(salvage: bool, said: list[str | bytes], mode: Mode) -> None:
    app = AppSession(mode=mode, salvage_metadata=salvage, keep_passed=True)
    error: RemoteProtocolError | None = None
    for payload in said:
        try:
            events = app.receive(payload)
        except RemoteProtocolError as caught:
            error = error or caught
            assert caught is error
            assert caught.close_code in (1002, 1007)
            str(caught).encode()
        else:
            assert error is None
            sayable(events)
        assert (app.metadata is None) is (error is not None)
    if error is not None:
        app.close(error.close_code, str(error))
        assert app.ended
    sayable(app.passed())
    sayable(app.closed())


@given(
    OPENING,
    st.lists(HOSTILE | FROM_PLATFORM, max_size=6),
    st.sampled_from(Mode),
    st.sampled_from([DOCUMENTED, DEPLOYED]),
)
def test_an_app_behind_the_metadata(
    opening: str, said: list[str | bytes], mode: Mode, profile: Profile
) -> None:
    app = AppSession(mode=mode, profile=profile)
    app.receive(opening)
    for payload in said:
        sayable(app.receive(payload))
        assert app.receive('{"type":"hello"}') == [UnknownMessage({"type": "hello"})]
    assert not app.ended
    app.close()
    sayable(app.closed())


@given(
    st.lists(HOSTILE | FROM_APP, max_size=6),
    st.sampled_from(Mode),
    st.sampled_from([DOCUMENTED, DEPLOYED]),
    st.booleans(),
)
def test_a_platform(said: list[str | bytes], mode: Mode, profile: Profile, connected: bool) -> None:
    """Also one whose metadata has not gone out; playing goes on all the time."""
    task = a_task(mode, profile, max_seconds=0.1, keep_passed=True)
    if connected:
        task.connected()
    for payload in said:
        sayable(task.receive(payload))
        if connected and not task.ended:
            assert task.receive('{"type":"hello"}') == [UnknownMessage({"type": "hello"})]
        sayable(task.play(STEP))
        sayable(task.session.data_to_send())
    task.hang_up()
    assert task.receive("[") == []
    sayable(task.passed())
    sayable(task.closed())
    assert task.result is not None
    json.dumps(task.result.action_hook()).encode()
