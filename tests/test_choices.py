"""Values of a fixed set: each can be given by its name, and anything else is refused at once."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given, settings

import listenproto
import listenproto.testing
import listenproto_trio
from listenproto import (
    DEPLOYED,
    AppSession,
    Audio,
    CallNote,
    Close,
    Ending,
    EndKind,
    KillAudio,
    ListenEnd,
    ListenResult,
    ListenTask,
    ListenVerb,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Mode,
    Observer,
    Outcome,
    Peer,
    PlatformSession,
    PlayAudio,
    PlaybackDone,
    Playout,
    PlayoutEnd,
    PlayoutFate,
    PlayoutMark,
    Profile,
    Sent,
    Trace,
    TraceHeader,
    TraceLine,
    TraceNote,
    Violation,
    judge_trace,
)
from listenproto._choices import listed
from listenproto._profile import PROFILES
from listenproto.testing import (
    app_messages,
    broken_conversations,
    conversations,
    listen_verbs,
    verb_objects,
)
from listenproto_trio import Answering, Key

VERB = ListenVerb(url="ws://app.example/")
SAMPLES: tuple[Any, ...] = (
    Answering(),
    CallNote("info", "why"),
    Ending(EndKind.LOST, "why"),
    TraceHeader(vantage=Peer.APP, way=Mode.OFF),
    TraceLine(0, Peer.APP, 0, ""),
    ListenResult(end=ListenEnd.HANGUP, duration=0, attributes={}),
    VERB,
    MarkEvent("m", "playout"),
    Metadata(),
    PlayAudio(b""),
    PlaybackDone(Sent("m"), Outcome.PLAYED),
    PlayoutEnd(PlayoutMark("m"), PlayoutFate.PLAYED, 0),
    TraceNote(Peer.APP, KillAudio(), "why"),
    Violation("LP-ODD-1", Peer.APP, KillAudio(), "why"),
)
"""One of each class that has such a field."""


def public_values() -> Iterator[type[Any]]:
    for module in (listenproto, listenproto_trio, listenproto.testing):
        for name in module.__all__:
            kind = getattr(module, name)
            if isinstance(kind, type) and attrs.has(kind):
                yield kind


def parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type that it is."""
    if get_origin(hint) not in (Union, UnionType):
        return (hint,)
    return tuple(part for member in get_args(hint) for part in parts(member))


def choices(kind: type[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field that takes values of a fixed set, with these by their names."""
    hints = get_type_hints(kind)
    for field in filter(lambda field: field.init, attrs.fields(kind)):
        found = parts(hints[field.name])
        for part in found if str not in found else ():  # any text is a value there, and no name
            if isinstance(part, type) and issubclass(part, enum.Enum):
                yield field.name, {choice.value: choice for choice in part}
            elif get_origin(part) is Literal:
                yield field.name, {choice: choice for choice in get_args(part)}
            elif part is Profile:
                yield field.name, dict(PROFILES)
    if kind is TraceHeader:
        yield "profile", {name: name for name in PROFILES}  # as text, as it stands in a trace


FIELDS = [
    pytest.param(sample, name, allowed, id=f"{type(sample).__name__}.{name}")
    for sample in SAMPLES
    for name, allowed in choices(type(sample))
]


def test_there_is_a_sample_of_each_public_class_that_has_such_a_field() -> None:
    assert {kind for kind in public_values() if [*choices(kind)]} == {*map(type, SAMPLES)}
    assert len(FIELDS) == 20


@pytest.mark.parametrize(("sample", "name", "allowed"), FIELDS)
def test_a_value_can_be_given_by_its_name(sample: Any, name: str, allowed: dict[str, Any]) -> None:
    for text, choice in allowed.items():
        given = attrs.evolve(sample, **{name: text})
        assert getattr(given, name) is choice
        assert given == attrs.evolve(sample, **{name: choice})


class Another(enum.Enum):
    PLATFORM = "platform"
    MONO = "mono"


@pytest.mark.parametrize("wrong", ["nonsense", "", "MONO", 5, True, [], b"mono", Another.MONO])
@pytest.mark.parametrize(("sample", "name", "allowed"), FIELDS)
def test_anything_else_is_refused_at_once(
    sample: Any, name: str, allowed: dict[str, Any], wrong: object
) -> None:
    with pytest.raises(ValueError, match=" must be ") as refused:
        attrs.evolve(sample, **{name: wrong})
    said = str(refused.value)
    assert said.startswith((f"{name} must be ", "mixType must be "))
    assert all(repr(text) in said for text in allowed)
    assert said.endswith(f"; it is {wrong!r}")


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda wrong: Metadata(mix_type=wrong), "mix_type must be 'mono', 'stereo' or 'mixed'"),
        (
            lambda wrong: ListenVerb(url="/", mix_type=wrong),
            "mixType must be 'mono', 'stereo' or 'mixed'",
        ),
        (lambda wrong: PlayAudio(b"", wrong), "content_type must be 'raw' or 'wav'"),
        (lambda wrong: Answering(unread=wrong), "unread must be 'hold' or 'drop_oldest'"),
        (
            lambda wrong: Answering(mode=wrong),
            "mode must be 'off', 'clips', 'streaming' or a function that returns one of these",
        ),
        (
            lambda wrong: AppSession(mode=wrong),
            "mode must be 'off', 'clips', 'streaming' or a function that returns one of these",
        ),
        (
            lambda wrong: AppSession(verb=VERB, mode=wrong),
            "mode must be 'off', 'clips', 'streaming' or a function that returns one of these",
        ),
        (
            lambda wrong: Answering(profile=wrong),
            "profile must be 'documented', 'deployed' or a Profile",
        ),
        (
            lambda wrong: ListenTask(VERB, {}, profile=wrong),
            "profile must be 'documented', 'deployed' or a Profile",
        ),
        (
            lambda wrong: Playout(profile=wrong),
            "profile must be 'documented', 'deployed' or a Profile",
        ),
        (
            lambda wrong: PlatformSession(VERB, profile=wrong),
            "profile must be 'documented', 'deployed' or a Profile",
        ),
        (
            lambda wrong: Observer(None, vantage="app", profile=wrong),
            "profile must be 'documented', 'deployed' or a Profile",
        ),
        (
            lambda wrong: Observer(wrong, vantage="app"),
            "way must be 'off', 'clips', 'streaming' or a ListenVerb",
        ),
        (
            lambda wrong: PlatformSession(wrong),
            "way must be 'off', 'clips', 'streaming' or a ListenVerb",
        ),
        (
            lambda wrong: TraceHeader(vantage="app", way=wrong),
            "way must be 'off', 'clips', 'streaming' or a ListenVerb",
        ),
        (
            lambda wrong: Observer(VERB, mode=wrong, vantage="app"),
            "mode must be 'off', 'clips' or 'streaming'",
        ),
        (lambda wrong: Observer(VERB, vantage=wrong), "vantage must be 'platform' or 'app'"),
        (listen_verbs, "mode must be 'off', 'clips' or 'streaming'"),
        (app_messages, "mode must be 'off', 'clips' or 'streaming'"),
        (verb_objects, "mode must be 'off', 'clips' or 'streaming'"),
    ],
)
def test_what_is_said_of_it(give: Callable[[Any], object], said: str) -> None:
    for wrong in ("fast", 7):
        with pytest.raises(ValueError, match=f"^{re.escape(f'{said}; it is {wrong!r}')}$"):
            give(wrong)


def test_sessions_and_observers_take_names() -> None:
    assert AppSession(mode="streaming").mode is Mode.STREAMING
    assert AppSession(verb=VERB, mode="off").mode is Mode.OFF
    assert AppSession(mode="clips", profile="deployed").observer.mode is Mode.CLIPS
    assert Answering(mode="streaming", profile="deployed").session().mode is Mode.STREAMING
    platform = PlatformSession("streaming", mode="off", profile="deployed")
    assert platform.observer.mode is Mode.OFF
    assert ListenTask(VERB, {}, profile="deployed").profile is DEPLOYED
    observer = Observer("clips", vantage="app", profile="deployed")
    assert observer.mode is Mode.CLIPS
    observer.see(Peer.PLATFORM, Metadata())
    (refused,) = observer.see(Peer.APP, Audio(b"\0\0"))
    assert refused.clause == "LP-STRM-1"
    trace = Trace(
        TraceHeader(vantage="platform", way="clips"), (TraceLine(0, "app", 0, Close(1000)),)
    )
    assert judge_trace(trace, vantage="app") == judge_trace(trace) == []
    for strategy in (app_messages, listen_verbs, verb_objects):
        assert repr(strategy("off")) == repr(strategy(Mode.OFF))


@settings(max_examples=5)
@given(conversations(VERB, vantage="app", profile="deployed"))
def test_conversations_take_names(passed: list[tuple[Peer, Message]]) -> None:
    judged = Observer(VERB, vantage="app", profile="deployed")
    assert [judged.see(sender, message) for sender, message in passed] == [[]] * len(passed)


@pytest.mark.parametrize("strategy", [conversations, broken_conversations])
def test_strategies_of_conversations_refuse_unknown_names_at_once(strategy: Any) -> None:
    with pytest.raises(ValueError, match=r"^vantage must be 'platform' or 'app'; it is 'caller'"):
        strategy(VERB, vantage="caller")
    with pytest.raises(ValueError, match=r"^profile must be .*; it is 'new'"):
        strategy(VERB, vantage="app", profile="new")


def test_a_function_may_tell_the_mode_by_its_name() -> None:
    app = AppSession(mode=lambda request, metadata: "streaming")
    app.receive("{}")
    assert app.mode is Mode.STREAMING
    silent = AppSession(mode=lambda request, metadata: None)  # type: ignore[arg-type,return-value]
    for _ in range(2):
        said = "^the mode function's result must be 'off', 'clips' or 'streaming'; it is None"
        with pytest.raises(ValueError, match=said):
            silent.receive("{}")
    assert (silent.mode, silent.metadata) == (None, None)


def test_the_verb_is_no_json() -> None:
    for give in (lambda verb: AppSession(verb=verb), lambda verb: ListenTask(verb, {})):
        with pytest.raises(TypeError, match=r"verb must be a ListenVerb \(ListenVerb.from_json"):
            give({"url": "/"})


def test_a_key_is_one_of_a_telephone() -> None:
    assert Key("#", 1.0).digit == "#"
    for wrong in ("55", "x", "", 5):
        with pytest.raises(ValueError, match=r"^digit must be '0', '1', .* 'C' or 'D'; it is "):
            Key(wrong, 1.0)  # type: ignore[arg-type]


def test_audio_is_checked_nowhere() -> None:
    """It is the one message that comes fifty times a second."""
    (pcm,) = attrs.fields(Audio)
    assert (pcm.converter, pcm.validator) == (None, None)


def test_values_in_words() -> None:
    assert listed(["a"]) == "'a'"
    assert listed(["a"], or_else="more") == "'a' or more"
    assert listed(["a", "b"]) == "'a' or 'b'"
    assert listed(["a", "b"], or_else="more") == "'a', 'b' or more"


@pytest.mark.parametrize("mix", MixType)
def test_a_verb_is_built_in_python_as_it_is_read_from_json(mix: MixType) -> None:
    way = {"streaming": True, "sampleRate": "16000"}
    auth = {"username": "u", "password": "p"}
    options: dict[str, Any] = {"sample_rate": "16000", "mix_type": mix.value, "channel": 2.0}
    built = ListenVerb(url="/", bidirectional_audio=way, ws_auth=auth, **options)
    assert built == ListenVerb.from_json(
        {
            "url": "/",
            "bidirectionalAudio": way,
            "wsAuth": auth,
            "sampleRate": 16000,
            "mixType": mix.value,
            "channel": 2,
        }
    )
