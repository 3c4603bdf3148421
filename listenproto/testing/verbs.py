"""Hypothesis strategies for the listen verb and for profiles."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from listenproto._choices import member
from listenproto._l16 import LISTEN_RATES, PLAY_RATES
from listenproto._messages import JSON, MixType, Mode
from listenproto._profile import DEPLOYED, DOCUMENTED, Profile
from listenproto._terms import DIGITS
from listenproto._verb import ListenVerb
from listenproto.testing.messages import json_objects

__all__ = ["invalid_verb_objects", "listen_verbs", "profiles", "verb_objects"]

_TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=12)
_SECONDS: Final = st.integers(1, 3600) | st.floats(0.001, 3600)
_PATHS: Final = st.sampled_from(["/", "/listen", "/a/b.c?d=e&f=%20", "/~x;y"])
_HOSTS: Final = st.sampled_from(["app.example", "app.example:8443", "127.0.0.1:3000", "[::1]:80"])
_SCHEMES: Final = st.sampled_from(["ws", "wss", "http", "https", "WSS"])
_URLS: Final = st.builds("{}://{}{}".format, _SCHEMES, _HOSTS, _PATHS | st.just(""))


def _rates(rates: tuple[int, ...]) -> SearchStrategy[JSON]:
    """A sample rate as in a verb: a number, or a string of digits."""
    return st.sampled_from([*rates, *map(str, rates), *map(float, rates)])


def _maybe(strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.none() | strategy


_USERS: Final = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=":"), max_size=8
)
_OPTIONS: Final[dict[str, SearchStrategy[JSON]]] = {
    "verb": st.sampled_from(["listen", "stream"]),
    "actionHook": _maybe(st.just("/done") | json_objects()),
    "finishOnKey": st.text(st.sampled_from(DIGITS), max_size=4),
    "maxLength": st.sampled_from([None, 0]) | _SECONDS,
    "metadata": _maybe(json_objects()),
    "mixType": st.sampled_from([mix.value for mix in MixType]),
    "passDtmf": st.booleans(),
    "playBeep": st.booleans(),
    "sampleRate": _rates(LISTEN_RATES),
    "timeout": st.sampled_from([None, 0]) | _SECONDS,
    "transcribe": _maybe(json_objects()),
    "wsAuth": _maybe(st.fixed_dictionaries({"username": _USERS, "password": _USERS})),
    "auth": _maybe(json_objects()),
    "earlyMedia": _maybe(st.booleans()),
    "channel": _maybe(st.integers(1, 2**53 - 1)),
    "id": _maybe(_TEXT),
    "_": st.sampled_from([None, 1, {"a": []}]),
}


@st.composite
def _ways_back(draw: st.DrawFn, mode: Mode) -> dict[str, JSON]:
    """The members of a verb that ask for that mode, in one of their spellings."""
    way: dict[str, JSON] = {}
    verb: dict[str, JSON] = {}
    if mode is Mode.OFF:
        if draw(st.booleans()):
            verb["disableBidirectionalAudio"] = True
            if draw(st.booleans()):
                way["enabled"] = None
        else:
            way["enabled"] = False
            if draw(st.booleans()):
                verb["disableBidirectionalAudio"] = draw(st.booleans())
    else:
        way |= draw(st.sampled_from([{}, {"enabled": True}, {"enabled": None}]))
        old: list[dict[str, JSON]]
        old = [{}, {"disableBidirectionalAudio": False}, {"disableBidirectionalAudio": None}]
        if way.get("enabled"):
            old.append({"disableBidirectionalAudio": True})
        verb |= draw(st.sampled_from(old))
    streaming = mode is Mode.STREAMING or (mode is Mode.OFF and draw(st.booleans()))
    if streaming or draw(st.booleans()):
        way["streaming"] = streaming
    if streaming or draw(st.booleans()):
        way["sampleRate"] = draw(_rates(PLAY_RATES))
    if draw(st.booleans()) or way:
        verb["bidirectionalAudio"] = way
    return verb


def verb_objects(mode: Mode | str | None = None) -> SearchStrategy[dict[str, JSON]]:
    """Valid listen verbs as JSON, with any of their options; of one mode, if it is given."""
    modes = st.sampled_from(Mode) if mode is None else st.just(member(Mode, mode, "mode"))
    urls = st.fixed_dictionaries({"url": _URLS | _PATHS}, optional=_OPTIONS)
    return st.builds(lambda options, way: options | way, urls, modes.flatmap(_ways_back))


_LASTING: Final[dict[str, JSON]] = {
    "finishOnKey": "",
    "maxLength": None,
    "timeout": None,
}


_OVERLAYS: Final = st.sampled_from(
    [*[_LASTING | {"passDtmf": True}] * 3, _LASTING | {"passDtmf": False}, {}]
)


@st.composite
def _lasting_objects(draw: st.DrawFn, verbs: SearchStrategy[dict[str, JSON]]) -> dict[str, JSON]:
    verb: dict[str, JSON] = draw(verbs) | draw(_OVERLAYS)
    return verb


def listen_verbs(mode: Mode | str | None = None) -> SearchStrategy[ListenVerb]:
    """Listen verbs with any of their options; of one mode, if it is given.

    Most pass keys to the app and let only the peers end the call: a call that ends by itself, or
    in which the app receives nothing, tests little.
    """
    return _lasting_objects(verb_objects(mode)).map(ListenVerb.from_json)


_NOTHING_VALID: Final[dict[str, SearchStrategy[JSON]]] = {
    "verb": st.sampled_from(["Listen", "dial", None, 1]),
    "url": st.sampled_from(
        [None, 1, "", "app.example", "ftp://app.example/", "ws://", "ws://u@app.example/", "//a"]
    )
    | st.sampled_from(["ws://app.example/#f", "ws://app.example:0/", "ws://app.example/ö", "/a b"]),
    "actionHook": st.sampled_from([1, True, ["/done"]]),
    "bidirectionalAudio": st.sampled_from(
        [True, [], {"enable": True}, {"enabled": 1}, {"streaming": "true"}]
    )
    | st.sampled_from([{"streaming": None}, {"sampleRate": 44100}, {"sampleRate": " 8000"}]),
    "disableBidirectionalAudio": st.sampled_from([0, "true", {}]),
    "finishOnKey": st.sampled_from([None, "E", "a", " ", 5, ["5"]]),
    "maxLength": st.sampled_from([-1, "10", True, 10**60]),
    "metadata": st.sampled_from([[], "{}", {"sampleRate": 8000}, {"mixType": "mono"}]),
    "mixType": st.sampled_from([None, "Mono", "quad", 1]),
    "passDtmf": st.sampled_from([None, 1, "true"]),
    "playBeep": st.sampled_from([None, 0, "false"]),
    "sampleRate": st.sampled_from([None, 32000, 44100, 8000.5, "8 000", True]),
    "timeout": st.sampled_from([-0.5, "5", False]),
    "transcribe": st.sampled_from([True, "on", [{}]]),
    "wsAuth": st.sampled_from([{}, {"username": "u"}, {"username": "u:v", "password": ""}, "u:p"])
    | st.sampled_from(
        [{"username": "u", "password": "\n"}, {"username": "u", "password": "p", "realm": "r"}]
    ),
    "auth": st.sampled_from(["u:p", True, [{}]]),
    "earlyMedia": st.sampled_from([1, "yes"]),
    "channel": st.sampled_from([0, -1, 1.5, "1", True, 2**53]),
    "id": st.sampled_from([1, ["a"], "\ud800"]),
    "sampelRate": st.just(8000),
    "sample_rate": st.just(8000),
}


def invalid_verb_objects() -> SearchStrategy[JSON]:
    """Almost a listen verb, as JSON: valid except for one thing."""
    return _invalid_verb_objects()


@st.composite
def _invalid_verb_objects(draw: st.DrawFn) -> JSON:
    verb = draw(verb_objects())
    fault = draw(st.sampled_from(["option", "url", "rate", "object"]))
    if fault == "object":
        return draw(st.sampled_from([None, [verb], "listen"]))
    if fault == "url":
        del verb["url"]
    elif fault == "rate":
        verb["bidirectionalAudio"] = {"enabled": True, "streaming": True}
    else:
        option = draw(st.sampled_from(sorted(_NOTHING_VALID)))
        verb[option] = draw(_NOTHING_VALID[option])
    return verb


_TOGETHER: Final = (
    ("plays_in_frames", "kill_spares_waiting_clips"),
    ("clips_wait_unasked", "play_done_data"),
    ("cuts_metadata", "splits_metadata", "salvages_metadata"),
)
"""Fields that belong together. A deployed killAudio takes effect at a frame, for clips and streams,
and marks in these get lost. Without ids, nothing tells which of several suspended clips is done. An
app that does not read damaged metadata ends the call."""


def profiles(*, mixed: bool = False) -> SearchStrategy[Profile]:
    """The two profiles; with ``mixed``, also ones that take each field from either of them.

    The fields about killAudio and streams are taken from the same one; so are those about clips in
    line, and those about damaged metadata.
    """
    both = st.sampled_from([DOCUMENTED, DEPLOYED])
    if not mixed:
        return both
    names = [field.name for field in attrs.fields(Profile) if field.name != "name"]
    alone = [(name,) for name in names if name not in chain(*_TOGETHER)]
    groups = (*_TOGETHER, *alone)

    def mixture(profiles: tuple[Profile, ...]) -> Profile:
        fields = {
            name: getattr(profile, name)
            for group, profile in zip(groups, profiles, strict=True)
            for name in group
        }
        return Profile(name="mixed", **fields)

    return both | st.tuples(*(both for _ in groups)).map(mixture)
