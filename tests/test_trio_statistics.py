"""The figures of a call, at both its ends."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from listenproto import (
    Audio,
    ClearMarks,
    Dtmf,
    Heard,
    KillAudio,
    Mark,
    MixType,
    Mode,
    UnknownMessage,
)
from listenproto._statistics import Lateness
from listenproto_trio import Answering, Call, Limits, Statistics, talk
from tests.trio_support import CLIPS, STREAM, Line, audio, calling, clip, line, virtual


@pytest.mark.usefixtures("each_app_end")
@virtual
async def test_both_ends_count_the_same() -> None:
    async with line(STREAM) as both:
        await both.app.send_audio(audio(1))
        for message in (Mark("m"), UnknownMessage({"type": "news"}), ClearMarks()):
            await both.app.send(message)
        await both.hear(0.25)
        await capture(both, 5 * [0.02])
        both.platform.key("5")
        await wait_all_tasks_blocked()
        assert attrs.evolve(both.app.statistics, lateness=0.0, worst_lateness=0.0) == Statistics(
            messages_received=7,  # metadata, audio, a key
            messages_sent=4,
            audio_received=1600,
            audio_sent=16000,
            buffered=0.9,
        )
        assert both.platform.statistics == Statistics(
            messages_received=4,
            messages_sent=7,
            audio_received=16000,
            audio_sent=1600,
            buffered=0.75,
        )
    assert both.app.statistics.messages_received == 7


@virtual
async def test_what_is_buffered_plays_as_time_goes_by() -> None:
    async with line(STREAM) as both:
        assert both.app.statistics.buffered == 0
        await both.app.send_audio(audio(3))
        await trio.sleep(2)
        await both.app.send_audio(audio(1))
        assert both.app.statistics.buffered == 2
        await trio.sleep(5)
        assert both.app.statistics.buffered == 0
        await both.app.send_audio(audio(3))
        await both.app.send(KillAudio())
        assert both.app.statistics.buffered == 0


@virtual
async def test_what_was_not_read_in_time_is_counted() -> None:
    limits = Limits(unread_seconds=0.5, unread_events=10)
    answering = Answering(mode=STREAM.mode(), limits=limits)
    async with line(STREAM, answering=answering) as both:
        await both.platform.capture(audio(2))
        for _ in range(15):
            both.platform.key("7")
        await wait_all_tasks_blocked()
        assert both.app.statistics.samples_dropped == both.app.samples_dropped > 8000
        assert both.app.statistics.events_dropped == 5


@virtual
async def test_what_the_platform_does_not_take_is_counted() -> None:
    async with line(CLIPS) as both:
        both.app.session.observer.mode = Mode.STREAMING  # so a broken app takes it
        await both.app.send_audio(audio(0.1))
        await both.app.send(Mark("m"))
        await both.app.send(KillAudio())
        await wait_all_tasks_blocked()
        assert both.platform.statistics.events_dropped == 2
        assert both.platform.statistics.messages_received == 3


async def capture(both: Line, seconds: Iterable[float]) -> None:
    """Capture each 20 ms of audio so many seconds after the one before."""
    for pause in seconds:
        await trio.sleep(pause)
        await both.platform.capture(audio(0.02))
    await wait_all_tasks_blocked()


@virtual
async def test_audio_that_comes_in_time_is_not_late() -> None:
    async with line(STREAM) as both:
        await capture(both, [3.0] + 50 * [0.02])
        assert both.app.statistics.lateness == pytest.approx(0)
        assert both.app.statistics.worst_lateness == pytest.approx(0)


@virtual
async def test_congestion_is_lateness_that_passes() -> None:
    async with line(STREAM) as both:
        await capture(both, [0.02, 0.02, 0.52, 0.0])
        assert both.app.statistics.lateness == pytest.approx(0.48)
        await capture(both, 24 * [0.0])
        assert both.app.statistics.lateness == pytest.approx(0)
        assert both.app.statistics.worst_lateness == pytest.approx(0.5)


@virtual
async def test_lateness_is_told_against_what_came_soonest_until_then() -> None:
    async with line(STREAM) as both:
        await capture(both, [0.0, 1.0])
        assert both.app.statistics.lateness == pytest.approx(0.98)
        await capture(both, 100 * [0.0])
        assert both.app.statistics.lateness == 0
        assert both.app.statistics.worst_lateness == pytest.approx(0.98)
        await capture(both, [0.12])
        assert both.app.statistics.lateness == pytest.approx(0.1)


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
async def test_media_time_is_told_by_rate_and_channels() -> None:
    verb = attrs.evolve(STREAM, sample_rate=16000, mix_type=MixType.STEREO)
    async with line(verb) as both:
        for _ in range(10):
            await trio.sleep(0.02)
            await both.platform.capture(bytes(320 * 4))
        await wait_all_tasks_blocked()
        assert both.app.statistics.worst_lateness == pytest.approx(0)


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


@virtual
async def test_a_call_that_nothing_came_in_has_statistics_too() -> None:
    async with line(CLIPS) as both:
        await both.app.play(clip(2))
        assert both.app.statistics == Statistics(messages_received=1, messages_sent=1, buffered=2.0)
        await wait_all_tasks_blocked()
        assert both.platform.statistics.buffered == 2.0
        both.platform.key("1")
        assert await anext(both.app) == Dtmf("1", 800)
        await both.platform.capture(audio(0.02))
        assert await anext(both.app) == Audio(audio(0.02))
