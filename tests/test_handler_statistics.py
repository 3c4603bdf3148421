"""The figures of a call at the application's end, against those of the platform."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio
import attrs
import pytest

from listenproto import (
    Answering,
    Audio,
    ClearMarks,
    Dtmf,
    EndedCall,
    KillAudio,
    Limits,
    Mark,
    MixType,
    Mode,
    Statistics,
    UnknownMessage,
)
from tests.call_support import CLIPS, STREAM, audio, clip
from tests.runtime_support import Line, all_blocked, line, virtual

pytestmark = pytest.mark.usefixtures("each_end")


@virtual
async def test_both_ends_count_the_same() -> None:
    async with line(STREAM) as both:
        await both.app.send_audio(audio(1))
        for message in (Mark("m"), UnknownMessage({"type": "news"}), ClearMarks()):
            await both.app.send(message)
        await both.hear(0.25)
        await capture(both, 5 * [0.02])
        both.platform.key("5")
        await all_blocked()
        statistics = both.app.statistics
        assert statistics.buffered == pytest.approx(0.9)
        known = {"buffered": 0.9, "lateness": 0.0, "worst_lateness": 0.0}
        assert attrs.evolve(statistics, **known) == Statistics(
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
        await anyio.sleep(2)
        await both.app.send_audio(audio(1))
        assert both.app.statistics.buffered == 2
        await anyio.sleep(5)
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
        await all_blocked()
        assert both.app.statistics.samples_dropped == both.app.samples_dropped > 8000
        assert both.app.statistics.events_dropped == 5


@virtual
async def test_what_the_platform_does_not_take_is_counted() -> None:
    async with line(CLIPS) as both:
        both.app.session.observer.mode = Mode.STREAMING  # so a broken app takes it
        await both.app.send_audio(audio(0.1))
        await both.app.send(Mark("m"))
        await both.app.send(KillAudio())
        await all_blocked()
        assert both.platform.statistics.events_dropped == 2
        assert both.platform.statistics.messages_received == 3


async def capture(both: Line, seconds: Iterable[float]) -> None:
    """Capture each 20 ms of audio so many seconds after the one before."""
    for pause in seconds:
        await anyio.sleep(pause)
        await both.platform.capture(audio(0.02))
    await all_blocked()


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
async def test_media_time_is_told_by_rate_and_channels() -> None:
    verb = attrs.evolve(STREAM, sample_rate=16000, mix_type=MixType.STEREO)
    async with line(verb) as both:
        for _ in range(10):
            await anyio.sleep(0.02)
            await both.platform.capture(bytes(320 * 4))
        await all_blocked()
        assert both.app.statistics.worst_lateness == pytest.approx(0)


@virtual
async def test_a_call_that_nothing_came_in_has_statistics_too() -> None:
    async with line(CLIPS) as both:
        await both.app.play(clip(2))
        assert both.app.statistics == Statistics(messages_received=1, messages_sent=1, buffered=2.0)
        await all_blocked()
        assert both.platform.statistics.buffered == 2.0
        both.platform.key("1")
        assert await anext(both.app) == Dtmf("1", 800)
        await both.platform.capture(audio(0.02))
        assert await anext(both.app) == Audio(audio(0.02))


@virtual
async def test_the_hook_of_the_end_has_the_figures_of_the_whole_call() -> None:
    ended: list[EndedCall] = []
    answering = Answering(mode=Mode.STREAMING, on_end=ended.append)
    async with line(STREAM, answering=answering) as both:
        await both.app.send_audio(audio(1))
        await all_blocked()
        assert ended == []
    (one,) = ended
    assert one.session is both.app.session
    assert one.end == both.app.end
    assert one.statistics.audio_sent == 16000
    assert (one.close_code, one.violations) == (1000, {})
    assert {one: "kept"}[one] == "kept"


@virtual
async def test_what_the_hook_of_the_end_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(call: EndedCall) -> None:
        raise OSError("disk full")

    async with line(STREAM, answering=Answering(mode=Mode.STREAMING, on_end=fail)):
        pass
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage().endswith(": on_end failed")
    assert record.exc_info and str(record.exc_info[1]) == "disk full"
