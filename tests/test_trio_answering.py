"""What an app says of its calls in advance: the verb, or mode and rate."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from listenproto import BidirectionalAudio, HandshakePolicy, ListenVerb, Metadata, Mode, Request
from listenproto_trio import Answering, Call, Limits

STREAM = ListenVerb(
    url="/listen", bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=16000)
)
CLIPS = ListenVerb(url="/listen")


def told(request: Request | None, metadata: Metadata) -> Mode:
    return Mode.STREAMING


class Opened:
    """A WebSocket on which nothing comes behind the metadata."""

    def __init__(self) -> None:
        self._metadata: list[str] = ['{"sampleRate": 16000}']

    async def receive(self) -> str:
        if not self._metadata:
            await trio.sleep_forever()
        return self._metadata.pop()

    async def send(self, payload: str | bytes) -> None:
        raise AssertionError("nothing is sent")

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()


def taken(answering: Answering) -> tuple[Mode | None, int]:
    """Mode and rate of a call that is answered like this."""

    async def ask() -> tuple[Mode | None, int]:
        async with Call.over(Opened(), answering=answering) as call:
            return call.mode, call.stream_rate
        raise AssertionError("the block has run")

    return trio.run(ask, clock=MockClock(autojump_threshold=0))


def test_mode_and_rate_are_those_of_the_verb() -> None:
    streaming = Answering(verb=STREAM)
    assert taken(streaming) == (Mode.STREAMING, 16000)
    assert taken(Answering(verb=CLIPS)) == (Mode.CLIPS, 8000)
    (violation, _) = attrs.evolve(streaming, drain=True).session().receive('{"sampleRate":16000}')
    assert str(violation).startswith("LP-META-7: ")


def test_without_a_verb_it_is_clips_unless_told_otherwise() -> None:
    assert taken(Answering()) == (Mode.CLIPS, 8000)
    assert Answering(mode=None, stream_rate=None) == Answering()
    agent = Answering(mode=Mode.STREAMING, stream_rate=24000)
    assert taken(agent) == (Mode.STREAMING, 24000)
    assert taken(Answering(mode=told)) == (Mode.STREAMING, 8000)
    assert not Answering(salvage_metadata=False, profile="deployed").session().salvages_metadata
    assert Answering(profile="deployed").session().salvages_metadata


def test_a_verb_may_be_given_later() -> None:
    later = attrs.evolve(Answering(drain=True), verb=STREAM)
    assert taken(later) == (Mode.STREAMING, 16000)
    assert taken(attrs.evolve(later, verb=CLIPS)) == (Mode.CLIPS, 8000)
    with pytest.raises(ValueError, match=r"^the verb's mode is clips, but mode is 'streaming'; "):
        attrs.evolve(Answering(mode=Mode.STREAMING), verb=CLIPS)


def test_what_says_the_same_as_the_verb_may_stand_beside_it() -> None:
    same = Answering(verb=STREAM, mode=Mode.STREAMING, stream_rate=16000)
    assert taken(same) == taken(Answering(verb=STREAM))
    nested = Answering(verb=STREAM, mode=Mode.OFF)
    assert nested.session().mode is Mode.OFF


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"verb": STREAM, "mode": Mode.CLIPS},
            r"^the verb's mode is streaming, but mode is 'clips'; leave mode out \(or ",
        ),
        ({"verb": STREAM, "mode": told}, "^the verb's mode is streaming, but mode is a function; "),
        (
            {"verb": STREAM, "stream_rate": 8000},
            "^the verb's stream rate is 16000, but stream_rate is 8000; leave stream_rate out",
        ),
        (
            {"verb": CLIPS, "stream_rate": 16000},
            "^the verb's mode is clips, but stream_rate is 16000; leave stream_rate out",
        ),
    ],
)
def test_what_contradicts_the_verb_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Answering(**options)


def test_what_is_no_verb_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"ListenVerb\.from_json"):
        Answering(verb=STREAM.to_json())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("policy", [None, "open", HandshakePolicy], "a HandshakePolicy"),
        ("limits", [None, 10.0, Limits], "a Limits"),
        ("max_clips", [-1, "a", 1.5, True], "a whole number of 0 or more, or None"),
        ("max_marks", [-1, "a", 1.5, True], "a whole number of 0 or more, or None"),
        ("drain", ["yes", 1, None], "True or False"),
        ("salvage_metadata", ["no", 0], "True or False"),
        ("raw_as_wav", ["no", 0], "True or False"),
        ("tap", ["tap", 1], "a function, or None"),
        ("on_lost", ["log", 1], "a function, or None"),
    ],
)
def test_a_wrong_value_is_refused_before_the_first_call(
    field: str, wrong: list[Any], said: str
) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{field} must be {said}; it is ") as refused:
            Answering(**{field: value})
        assert str(refused.value).endswith(f"it is {value!r}")


@pytest.mark.parametrize("wrong", [16000, Metadata({}, 44100)])
def test_only_what_a_platform_could_send_can_be_assumed(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^assume(\.sample_rate)? must be "):
        Answering(assume=wrong)


def test_none_leaves_open_what_may_be_left_open() -> None:
    Answering(max_clips=None, max_marks=None, salvage_metadata=None, tap=None, on_lost=None)
    Answering(max_clips=0, max_marks=0, salvage_metadata=False, drain=True)


@pytest.mark.parametrize("rate", [22050, 0, 8000.0, "8000", True])
def test_a_rate_that_no_verb_can_say_is_refused(rate: Any) -> None:
    for beside in ({}, {"verb": STREAM}):
        with pytest.raises(ValueError, match="stream_rate must be one of 8000"):
            Answering(stream_rate=rate, **beside)
