"""What an app says of its calls in advance: the verb, or mode and rate."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from listenproto import BidirectionalAudio, ListenVerb, Metadata, Mode, Request
from listenproto_trio import Answering

STREAM = ListenVerb(
    url="/listen", bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=16000)
)
CLIPS = ListenVerb(url="/listen")


def told(request: Request | None, metadata: Metadata) -> Mode:
    return Mode.STREAMING


def test_mode_and_rate_are_those_of_the_verb() -> None:
    streaming, clips = Answering(verb=STREAM), Answering(verb=CLIPS)
    assert (streaming.mode, streaming.stream_rate) == (Mode.STREAMING, 16000)
    assert (clips.mode, clips.stream_rate) == (Mode.CLIPS, 8000)
    assert streaming.session().mode is Mode.STREAMING
    (violation, _) = attrs.evolve(streaming, drain=True).session().receive('{"sampleRate":16000}')
    assert str(violation).startswith("LP-META-7: ")


def test_without_a_verb_it_is_clips_unless_told_otherwise() -> None:
    assert (Answering().mode, Answering().stream_rate) == (Mode.CLIPS, 8000)
    agent = Answering(mode=Mode.STREAMING, stream_rate=24000)
    assert (agent.mode, agent.stream_rate) == (Mode.STREAMING, 24000)
    assert Answering(mode=told).session().mode is None
    assert not Answering(salvage_metadata=False, profile="deployed").session().salvages_metadata
    assert Answering(profile="deployed").session().salvages_metadata


def test_what_says_the_same_as_the_verb_may_stand_beside_it() -> None:
    same = Answering(verb=STREAM, mode=Mode.STREAMING, stream_rate=16000)
    assert same == Answering(verb=STREAM)
    nested = Answering(verb=STREAM, mode=Mode.OFF)
    assert nested.session().mode is Mode.OFF


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"verb": STREAM, "mode": Mode.CLIPS},
            "mode=Mode.CLIPS contradicts the verb, whose mode is s",
        ),
        ({"verb": STREAM, "mode": told}, "contradicts the verb, whose mode is streaming"),
        (
            {"verb": STREAM, "stream_rate": 8000},
            "stream_rate=8000 contradicts the verb, whose stream rate is 16000",
        ),
        (
            {"verb": CLIPS, "stream_rate": 16000},
            "stream_rate=16000 contradicts the verb, whose mode is clips",
        ),
    ],
)
def test_what_contradicts_the_verb_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Answering(**options)


def test_what_is_no_verb_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"ListenVerb\.from_json"):
        Answering(verb=STREAM.to_json())  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [22050, 0, 8000.0, "8000", True, None])
def test_a_rate_that_no_verb_can_say_is_refused(rate: Any) -> None:
    for beside in ({}, {"verb": STREAM}):
        with pytest.raises(ValueError, match="stream_rate must be one of 8000"):
            Answering(stream_rate=rate, **beside)
