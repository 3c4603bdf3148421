"""Damaged metadata: what is read of it was in it, and what stands whole in it is read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from listenproto._jsontext import MAX_VALUES
from listenproto._salvage import whole_members
from listenproto._splitter import damaged_metadata
from listenproto.testing import json_objects, nearly_legal_texts

SPACE = st.text(" \t\r\n", max_size=3)


@given(st.text() | nearly_legal_texts())
@example("[" * 100_000 + "\\" * 100_000)
@example('"' * 100_001)
@example('{"a":' * 100_000)
@example('{"a":"' + '"}' * 100_000)
@example('{"a":"' + '",' * 100_000)
@example('{"a":"' + '","' * 100_000)
@example('{"a":"' + '" ' * 100_000)
@example('{"a":"' + '",,' * 100_000)
@example('{"":"",' * 100_000)
@example("{ " * 100_000 + '{"sampleRate":1}')
@example('{"a":"' + "{" * 100_000 + '","b":1}')
def test_nothing_raises_and_nothing_takes_long(text: str) -> None:
    assert isinstance(whole_members(text), dict)


@given(json_objects(), SPACE, SPACE, st.data())
def test_members_in_front_of_a_cut(
    obj: dict[str, Any], front: str, space: str, data: st.DataObject
) -> None:
    text = front + "{" + space
    whole_at = []  # where each member's comma or bracket has passed
    for number, (key, value) in enumerate(obj.items(), 1):
        end = "}" if number == len(obj) else "," + space
        text += f"{json.dumps(key)}{space}:{space}{json.dumps(value)}{space}{end}"
        whole_at.append(len(text) if end == "}" else len(text) - len(space))
    at = data.draw(st.integers(0, len(text)))
    whole = sum(end <= at for end in whole_at)
    found = whole_members(text[:at])
    assert found == dict(list(obj.items())[:whole])


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ('{"a":1', {}),
        ('{"a":1 ', {}),
        ('{"a":1,', {"a": 1}),
        ('{"a":1}', {"a": 1}),
        ('{"a":80,"b":8000', {"a": 80}),
        ('{"a":true,"b":tru', {"a": True}),
        ('{"a":"x","b":"half', {"a": "x"}),
        ('{"a":"x","b":"\udce2\udc82', {"a": "x"}),
        ('{"a":"x","b":"\udce2",', {"a": "x"}),
        ('{"a":"x","b":"\\ud800",', {"a": "x"}),
        ('{"a":"x","\\ud800":1,', {"a": "x"}),
        ('{"a":[1,2],"b":[1,2', {"a": [1, 2]}),
        ('{"a":["x","y"],"b":["x","y', {"a": ["x", "y"]}),
        ('{"a":1,"b":NaN,"c":2}', {"a": 1, "c": 2}),
        ('{"a":1,"b":{"c":2,', {"a": 1}),
        ('{"a":1 "b":2}', {}),
        ('{"a":1,2:3,"c":4}', {"a": 1}),
        ('{"a":1,"b" 2,"c":3}', {"a": 1}),
        ('{"a":1,"b":x"y","c":3}', {"a": 1}),
        ('{"a":1,"b":x[],"c":3}', {"a": 1}),
        ('{"a":1,"b":"x"[],"c":3}', {"a": 1}),
        ('{"a":1,[2],"c":3}', {"a": 1}),
        ('{"a":1,"b":[1},"c":3}', {"a": 1}),
        ('{"a":1,"b":[]"c","d":3}', {"a": 1}),
        (',"a":1,', {}),
        ('["a",1,', {}),
        ('"a":1,', {}),
        ("", {}),
        ("{", {}),
        ("{}", {}),
    ],
)
def test_members_that_stand_whole(text: str, members: dict[str, Any]) -> None:
    assert whole_members(text) == members


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ('"x":"say "hi"","y":1}', {"y": 1}),
        ('"x":"say "hi", then", "y":1}', {"y": 1}),
        ('"x":""Front desk" <sip:a@b>","y":1}', {"y": 1}),
        ('"x":""a", "b"","y":1}', {"y": 1}),
        ('"x":""","y":1}', {"y": 1}),
        ('"x":"a\nb","y":1}', {"x": "a\nb", "y": 1}),
        ('"x":"C:\\dir","y":1}', {"y": 1}),
        ('"x":{"k":["say "hi"","a"]},"y":1}', {"y": 1}),
        ('"x":{"say "hi"":2},"y":1}', {"y": 1}),
        ('"x":"{"a":"b","c":"d","e":"f"}","y":1}', {"y": 1}),
        ('"x":"{"a":["b","c"],"y":"f"}","y":1}', {"y": 1}),
        ('"w":"{","x":"say "hi"","y":1}', {"w": "{", "y": 1}),
        ('"x":"say "hi"","w":"{","y":1}', {}),
        ('"x":"a"} b","y":1}', {}),
        ('"x":"say "hi"","y":1,"z":80', {"y": 1}),
        ('"x":"say "hi"","y":"v","z', {"y": "v"}),
        ('"x":"say "hi"","y":1}\'', {"y": 1}),
        ('"x":"v"}\'', {"x": "v"}),
        ('"x":"v"}{"type":"playDone"}\'', {"x": "v"}),
        ('"x":"v","x":"w"}\'', {"x": "v"}),
    ],
)
def test_what_is_damaged_is_left_out(text: str, members: dict[str, Any]) -> None:
    front = {"sampleRate": 8000, "mixType": "mono"}
    whole = json.dumps(front)[:-1] + "," + text
    assert whole_members(whole) == front | members
    assert whole_members("metadata: " + whole) == front | members


def test_an_object_behind_other_text_counts_only_if_it_has_a_sample_rate() -> None:
    assert whole_members('x {"callSid":"c"}') == {}
    assert whole_members('x {"sampleRate":8000}') == {"sampleRate": 8000}


def test_members_in_front_of_nesting_that_is_too_deep_stand_whole() -> None:
    text = '{"sampleRate":16000,"mixType":"stereo","customerData":' + "[" * 100
    assert whole_members(text) == {"sampleRate": 16000, "mixType": "stereo"}
    assert whole_members('{"a":1,"b":2}' + "[" * 100) == {"a": 1, "b": 2}


def test_members_in_front_of_too_many_values_stand_whole() -> None:
    many = "[1" + ",1" * MAX_VALUES + "]"
    assert whole_members(f'{{"a":1,"b":{many},"c":2}}') == {"a": 1}
    assert whole_members('{"a":1,"b":2}' + many) == {"a": 1, "b": 2}


# What a command line does to metadata (tests/test_splitter.py).

LOOKS_LIKE_JSON = re.compile(r'"\s*[]:,}]')
"""Where a string's own quotes cannot be told from those around strings."""


def strings(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(alphabet, max_size=8).filter(lambda text: not LOOKS_LIKE_JSON.search(text))


def attributes(alphabet: str) -> st.SearchStrategy[dict[str, Any]]:
    """What callers, carriers and applications write, nested or not."""
    scalars = strings(alphabet) | st.integers(-99, 99) | st.booleans() | st.none()
    values = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
        ),
        max_leaves=6,
    )
    return st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=5)


def without_apostrophes(value: Any) -> Any:
    return json.loads(json.dumps(value).replace("'", ""))


@given(attributes("ab \"'\n|,:{}[]<"), st.data())
def test_nothing_is_read_that_was_not_there(more: dict[str, Any], data: st.DataObject) -> None:
    """Whatever the command line does, and wherever the text is cut."""
    members = {"sampleRate": 16000, "mixType": "stereo"} | more
    raw = damaged_metadata(members).encode()
    cut = data.draw(st.integers(0, len(raw)))
    found = whole_members(raw[:cut].decode(errors="surrogateescape"))
    expected = without_apostrophes(members)
    assert found == {key: expected[key] for key in found}


@given(attributes("ab \"'\n<"))
def test_all_that_the_command_line_leaves_whole_is_read(more: dict[str, Any]) -> None:
    members = {"sampleRate": 16000, "mixType": "stereo"} | more
    text = damaged_metadata(members)
    assume(not text.endswith(" "))
    expected = without_apostrophes(members)
    whole = {
        key: expected[key]
        for key, value in members.items()
        if isinstance(value, str) or '\\"' not in json.dumps(value)
    }
    assert whole_members(text) == whole


@given(attributes("ab \"'\n|,<"))
def test_what_stands_in_front_is_read_whatever_follows(more: dict[str, Any]) -> None:
    text = damaged_metadata({"sampleRate": 16000, "mixType": "stereo", "callSid": "c"} | more)
    found = whole_members(text)
    assert (found["sampleRate"], found["mixType"]) == (16000, "stereo")
