"""The figures of a call, at both its ends."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from listenproto import Heard
from listenproto._statistics import Lateness
from listenproto_trio import Call, Statistics, talk
from tests.trio_support import STREAM, audio, calling, virtual


@virtual
async def test_who_speaks_faster_than_real_time_is_late_at_neither_end() -> None:
    async def read_on(call: Call) -> None:
        async for _ in call:
            pass
        ended.append(call.statistics)

    ended: list[Statistics] = []
    async with calling(read_on, STREAM) as platform:
        await talk(platform, audio(3), speed=20)
    (at_the_app,) = ended
    assert at_the_app.audio_received == len(audio(3))
    for statistics in (at_the_app, platform.statistics):
        assert statistics.worst_lateness == pytest.approx(0)


@virtual
async def test_a_caller_knows_how_late_its_steps_ran() -> None:
    def hear(pieces: list[Heard]) -> None:
        steps.append(pieces)
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        if len(steps) == 5:
            clock.jump(0.05)

    async def read_on(call: Call) -> None:
        async for _ in call:
            pass

    steps: list[list[Heard]] = []
    async with calling(read_on, STREAM) as platform:
        assert platform.statistics.worst_lateness == 0
        await talk(platform, audio(0.14), hear=hear)
        assert platform.statistics.lateness == pytest.approx(0.01)
        assert platform.statistics.worst_lateness == pytest.approx(0.03)


@virtual
async def test_statistics_are_json_and_a_line() -> None:
    statistics = Statistics(
        messages_received=5, audio_received=320, buffered=1 / 3, worst_lateness=0.25
    )
    figures = statistics.to_json()
    assert json.loads(json.dumps(figures)) == figures
    assert figures == {
        "messages_received": 5,
        "messages_sent": 0,
        "audio_received": 320,
        "audio_sent": 0,
        "samples_dropped": 0,
        "events_dropped": 0,
        "buffered": 0.333,
        "lateness": 0.0,
        "worst_lateness": 0.25,
    }
    assert str(statistics) == (
        "received 5 messages, 320 bytes of audio, up to 0.250 s late; "
        "sent 0 messages, 0 bytes of audio"
    )
    dropping = Statistics(samples_dropped=8000, events_dropped=2)
    assert str(dropping).endswith("; dropped 8000 samples, 2 events")


def test_nothing_is_late_before_it_came() -> None:
    assert (Lateness().now, Lateness().worst) == (0.0, 0.0)


MILLISECONDS = st.lists(st.integers(-10_000, 10_000), max_size=30)
ENDS = pytest.mark.parametrize("soonest", [math.inf, 0.0], ids=["app", "platform"])
"""An app has no clock but what came; a caller knows the moment of each step."""


@ENDS
@given(MILLISECONDS)
def test_the_worst_lateness_is_that_behind_anything_before(
    soonest: float, offsets: list[int]
) -> None:
    lateness = Lateness(soonest=soonest)
    for offset in offsets:
        lateness.note(offset)
    pairs = itertools.combinations_with_replacement([min(soonest, 1e9), *offsets], 2)
    assert lateness.worst == max(later - before for before, later in pairs)
    assert 0 <= lateness.now <= lateness.worst


@ENDS
@given(MILLISECONDS)
def test_what_comes_ever_sooner_is_not_late(soonest: float, offsets: list[int]) -> None:
    lateness = Lateness(soonest=soonest)
    for offset in sorted(offsets, reverse=True):
        lateness.note(min(offset, soonest))
        assert lateness.now == lateness.worst == 0
