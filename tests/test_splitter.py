"""What a command line does to metadata, held against recordings of real platforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import DEPLOYED, ListenVerb, Metadata, PlatformSession
from listenproto._splitter import arrives_whole, damaged_metadata, split_argument
from listenproto.recording import read_trace_file
from listenproto.testing import json_objects

TRACES = Path(__file__).parent / "field_traces"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", ""),
        ("abc", "abc"),
        ("a'b", "ab'"),
        ("a'b'c", "abc"),
        ("a'b'c'd", "abcd'"),
        ("a|b", "a|b"),
        ("a'b|c", "ab"),
        ("a'b  |c", "ab"),
        ("a'b 'c |d", "ab c |d"),
        ("a'b\\|c", "ab|c'"),
        ("a'b'c|d", "abc|d"),
        ("a ", "a "),
        ("a' ", "a '"),
        ("'|", ""),
        ('a\\"b', 'a"b'),
        ("a\\'b", "a'b"),
        ("a\\\\b", "a\\b"),
        ("a\\n\\r\\t\\sb", "a\n\r\t b"),
        ("a\\u00e9\\bb", "a\\u00e9\\bb"),
    ],
)
def test_what_is_left_of_an_argument(text: str, left: str) -> None:
    assert split_argument(text) == left


@pytest.mark.parametrize(
    ("text", "left"), [("a b|c", "a b|c"), ("a'b c'd", "ab"), ("a'b|c'd e", "ab|cd e")]
)
def test_a_space_ends_an_argument_between_spaces(text: str, left: str) -> None:
    assert split_argument(text, " ") == left


@given(st.text('ab |"\n'))
def test_without_apostrophes_and_backslashes_an_argument_is_left_as_it_is(text: str) -> None:
    assert split_argument(text) == text


@given(json_objects())
def test_members_that_arrive_whole_do(members: dict[str, Any]) -> None:
    whole = {key: value for key, value in members.items() if arrives_whole(key, value)}
    assert json.loads(damaged_metadata(whole)) == whole


@pytest.mark.parametrize(
    ("key", "value", "whole"),
    [
        ("a", 'say "hi"\n', True),
        ("a", "O'Brien", False),
        ("a", ['say "hi"'], False),
        ("a", ["O'Brien"], False),
        ("a", ["b", 1, None], True),
        ('"', 1, False),
        ("'", "b", False),
    ],
)
def test_which_members_arrive_whole(key: str, value: Any, whole: bool) -> None:
    assert arrives_whole(key, value) is whole
    text = json.dumps({key: value}, separators=(",", ":"))
    assert (damaged_metadata({key: value}) == text) is whole


def recorded(stem: str) -> tuple[dict[str, Any], str]:
    """The metadata of the verb, and the text that the platform sent."""
    trace = read_trace_file(TRACES / f"{stem}.jsonl")
    assert isinstance(trace.header.way, ListenVerb)
    (text,) = (line.payload for line in trace.lines if isinstance(line.payload, str))
    return dict(trace.header.way.metadata), text


@pytest.mark.parametrize(
    "stem", ["22-metadata-apostrophe", "23-metadata-nested-quote", "24-metadata-cut"]
)
def test_a_deployed_platform_sends_metadata_as_recorded(stem: str) -> None:
    _, known = recorded("22-metadata-apostrophe")
    call = json.loads(known[:-1])
    del call["name"], call["n"]
    metadata, text = recorded(stem)
    call = {key: call[key] for key in call if key not in ("sampleRate", "mixType")} | metadata
    assert PlatformSession("off", profile=DEPLOYED).encode_metadata(Metadata(call)) == text
