"""What the app's end says became of a clip or a mark, against what the platform did with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    Answering,
    HandlerCall,
    ListenVerb,
    MarkEvent,
    Mode,
    Outcome,
    Playback,
    PlaybackDone,
    PlayoutEnd,
    PlayoutFate,
    PlayoutMark,
    Profile,
)
from tests import runtime_support
from tests.call_support import CLIPS, RATE, STREAM, audio, clip
from tests.depth import FEW
from tests.recorded_playout import RecordedPlayout
from tests.runtime_support import Scripted, current_time, over, virtual

pytestmark = pytest.mark.usefixtures("each_runtime")

WITH_IDS = attrs.evolve(DOCUMENTED, name="with ids", play_done_data=True)
FAR: Final = 0.2
"""Seconds that everything is on its way, in either direction."""


def far_away(
    verb: ListenVerb, profile: Profile, *, there: float = FAR, back: float = FAR
) -> AbstractAsyncContextManager[tuple[HandlerCall, RecordedPlayout]]:
    """A call whose caller listens in silence, with the two ends far from each other."""
    return runtime_support.far_away(verb, profile, there=there, back=back)


async def played(call: HandlerCall, *seconds: float) -> list[Playback]:
    return [await call.play(clip(length)) for length in seconds]


def outcomes(playbacks: Sequence[Playback]) -> list[Outcome | None]:
    return [playback.outcome for playback in playbacks]


P, F, C = Outcome.PLAYED, Outcome.FLUSHED, Outcome.CLEARED


@virtual
async def test_a_clip_that_is_killed_far_from_its_end_is_flushed_at_once() -> None:
    async with far_away(CLIPS, WITH_IDS) as (call, _):
        clips = await played(call, 5, 1)
        await anyio.sleep(1)
        await call.kill_audio()
        assert outcomes(clips) == [F, F]
        assert call.ahead == 0
        await call.drain()
        assert await clips[0].wait() is F


@virtual
async def test_a_clip_that_is_killed_near_its_end_is_waited_for() -> None:
    """LP-CLIP-30: its playDone may be on its way, or never come."""
    async with far_away(CLIPS, WITH_IDS) as (call, _):
        done, cut = await played(call, 1, 0.5)
        await anyio.sleep(1 + 2 * FAR - 0.1)
        await call.kill_audio()
        assert outcomes([done, cut]) == [None, None]
        start = current_time()
        assert await done.wait() is P
        assert current_time() < start + 0.2
        assert await cut.wait() is F
        assert current_time() == start + 1


@virtual
async def test_clips_behind_a_killed_one_play_on_where_platforms_have_it_so() -> None:
    async with far_away(CLIPS, DEPLOYED) as (call, playout):
        clips = await played(call, 1, 2, 3)
        await anyio.sleep(0.5)
        await call.kill_audio()
        assert outcomes(clips) == [None, None, None]
        assert call.ahead == 5
        await call.drain()
        assert outcomes(clips) == [F, P, P]
        assert [over.fate for over in playout.overs] == [
            PlayoutFate.KILLED,
            PlayoutFate.PLAYED,
            PlayoutFate.PLAYED,
        ]


@virtual
async def test_a_kill_that_comes_too_late_for_one_clip_stops_the_next() -> None:
    async with far_away(CLIPS, DEPLOYED) as (call, playout):
        clips = await played(call, 1, 2, 3)
        await anyio.sleep(1 + FAR - 0.1)
        await call.kill_audio()
        assert await clips[0].wait() is P
        assert call.ahead == pytest.approx(3)
        await call.drain()
        assert outcomes(clips) == [P, F, P]
        assert [over.fate for over in playout.overs] == [
            PlayoutFate.PLAYED,
            PlayoutFate.KILLED,
            PlayoutFate.PLAYED,
        ]


@virtual
async def test_a_kill_that_comes_too_late_for_several_clips_stops_the_next() -> None:
    async with far_away(CLIPS, DEPLOYED) as (call, _):
        clips = await played(call, 0, 0, 1, 2)
        await call.kill_audio()
        await call.drain()
        assert outcomes(clips) == [P, P, F, P]


@virtual
async def test_a_kill_of_each_of_two_clips_that_are_told_of_late() -> None:
    async with far_away(CLIPS, DEPLOYED, there=0) as (call, _):
        clips = await played(call, 0, 0.1)
        await call.kill_audio(guard=0.1)
        clips += await played(call, 0.1)
        await call.kill_audio()
        await call.drain()
        assert outcomes(clips) == [P, F, F]


@virtual
async def test_two_kills_within_a_frame_stop_one_clip() -> None:
    async with far_away(CLIPS, DEPLOYED) as (call, _):
        clips = await played(call, 0.1, 1.5)
        await call.kill_audio()
        await call.kill_audio()
        await call.drain()
        assert outcomes(clips) == [F, P]


@pytest.mark.parametrize(
    ("figures", "after", "outcome"),
    [
        ({}, 0.99, F),
        ({}, 1.0, P),
        ({"playbackMilliseconds": "979"}, 1.0, F),
        ({"playbackMilliseconds": "980"}, 0.1, P),
        ({"playbackMilliseconds": 979}, 1.0, F),
        ({"playbackLastOffsetPos": "1920", "playbackMilliseconds": "1000"}, 0.24, F),
        ({"playbackLastOffsetPos": "8000", "playbackMilliseconds": "1000"}, 0.24, P),
        ({"playbackMilliseconds": 1000.0}, 0.1, P),
        ({"playbackMilliseconds": "all"}, 0.99, F),
        ({"playbackMilliseconds": "9" * 400}, 0.1, P),
        ({"playbackMilliseconds": None}, 0.99, F),
    ],
)
@virtual
async def test_figures_tell_of_a_killed_clip_or_the_time_does(
    figures: dict[str, object], after: float, outcome: Outcome
) -> None:
    platform = Scripted()
    async with over(platform, answering=Answering(profile=DEPLOYED)) as call:
        clips = await played(call, 1, 1, 1)
        await anyio.sleep(after)
        await call.kill_audio()
        await platform.done("clip-1", **figures)
        assert clips[0].outcome is outcome
        stopped = clips[1 if outcome is P else 0]
        await platform.done("clip-2")
        assert clips[1].outcome is (F if stopped is clips[1] else P)
        await platform.done("clip-3", playbackMilliseconds="5")
        assert clips[2].outcome is F


@virtual
async def test_what_has_been_told_stays_told() -> None:
    platform = Scripted()
    async with over(platform, answering=Answering(mode=Mode.STREAMING)) as call:
        await call.send_audio(audio(3))
        mark = await call.mark("m")
        await call.clear_marks()
        assert await mark.wait() is F
        await platform.came("m")
        told, late = [await anext(call) for _ in range(2)]
        assert told == PlaybackDone(mark.sent, F)
        assert late == PlaybackDone(mark.sent, F, MarkEvent("m", "playout"))
        assert mark.outcome is F


@virtual
async def test_a_clip_that_nobody_stopped_was_played_whatever_the_figures() -> None:
    platform = Scripted()
    async with over(platform, answering=Answering(profile=DEPLOYED)) as call:
        (one,) = await played(call, 1)
        await platform.done("clip-1", playbackMilliseconds="5")
        assert one.outcome is P


@virtual
async def test_a_clip_that_does_not_wait_suspends_one_and_drops_the_others() -> None:
    async with far_away(CLIPS, DEPLOYED) as (call, _):
        clips = await played(call, 10, 2)
        await anyio.sleep(0.5)
        clips.append(await call.play(attrs.evolve(clip(3), queue_play=False)))
        assert call.ahead == pytest.approx(12.5)
        await call.drain()
        assert outcomes(clips) == [P, F, P]


@virtual
async def test_nothing_waits_behind_a_clip_that_did_not_wait() -> None:
    """LP-CLIP-13: the next one is asked to wait, and starts over it even so."""
    async with far_away(CLIPS, DEPLOYED) as (call, _):
        first = await call.play(attrs.evolve(clip(10), queue_play=False))
        await anyio.sleep(1)
        second = await call.play(clip(3))
        assert call.ahead == pytest.approx(12)
        await call.drain()
        assert outcomes([first, second]) == [P, P]
        assert [first.heard, second.heard] == [10, 3]


@virtual
async def test_marks_that_are_skipped_are_not_waited_for_and_forgotten() -> None:
    platform = Scripted()
    async with over(platform, answering=Answering(mode=Mode.STREAMING)) as call:
        start = current_time()
        for number in range(1000):
            skipped, reached = await call.mark(f"a{number}"), await call.mark(f"b{number}")
            await platform.came(f"b{number}")
            assert await reached.wait() is P
            assert await skipped.wait() is Outcome.SKIPPED
        assert current_time() == start
        assert call.session.under_way == []


@virtual
async def test_marks_that_are_forgotten_as_their_events_come() -> None:
    """LP-MARK-16."""
    async with far_away(STREAM, DOCUMENTED) as (call, _):
        await call.send_audio(audio(1))
        near = await call.mark("near")
        await call.send_audio(audio(1))
        later = await call.mark("later")
        await call.send_audio(audio(1))
        far = await call.mark("far")
        await anyio.sleep(1 + FAR)
        await call.clear_marks()
        assert outcomes([near, later, far]) == [None, None, F]
        assert [await near.wait(), await later.wait()] == [P, F]


@virtual
async def test_a_mark_that_was_killed_and_then_forgotten_may_still_be_cleared() -> None:
    async with far_away(STREAM, DOCUMENTED) as (call, _):
        await call.send_audio(audio(60))
        first = await call.mark("m")
        await call.kill_audio()
        await anyio.sleep(FAR)
        await call.clear_marks()
        await call.send_audio(audio(2))
        second = await call.mark("m")
        assert await first.wait() is C
        assert await second.wait() is P


@virtual
async def test_an_event_on_its_way_for_a_forgotten_mark_is_not_its_namesakes() -> None:
    async with far_away(STREAM, DOCUMENTED) as (call, _):
        await call.send_audio(audio(1))
        first = await call.mark("m")
        await anyio.sleep(1 + FAR)
        await call.clear_marks()
        await call.send_audio(audio(20))
        second = await call.mark("m")
        assert await first.wait() is P
        start = current_time()
        assert await second.wait() is P
        assert current_time() > start + 19


@virtual
async def test_a_forgotten_mark_leaves_its_name_to_the_next() -> None:
    async with far_away(STREAM, DOCUMENTED) as (call, _):
        await call.send_audio(audio(0.5))
        first = await call.mark("m")
        await call.clear_marks()
        await call.send_audio(audio(0.1))
        second = await call.mark("m")
        assert await second.wait() is P
        assert await first.wait() is F
        await call.send_audio(audio(0.5))
        killed = await call.mark("m")
        await call.clear_marks()
        again = await call.mark("m")
        await call.kill_audio()
        assert await again.wait() is C
        assert await killed.wait() is F


@virtual
async def test_what_was_flushed_stays_so_when_the_call_is_lost() -> None:
    async with far_away(CLIPS, WITH_IDS) as (call, _):
        killed = await call.play(clip(1))
        await call.kill_audio()
        lost = await call.play(clip(1))
        assert outcomes([killed, lost]) == [None, None]
        await call.close()
        assert outcomes([killed, lost]) == [F, Outcome.LOST]


delays = st.sampled_from([0.0, 0.05, 0.2, 0.47])
short = st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.5])
pauses = st.tuples(st.just("wait"), short | st.floats(0, 2))
kills = st.tuples(st.just("kill"), st.just(0.1))


def known(over: PlayoutEnd, script: list[tuple[str, float]]) -> tuple[object, Outcome]:
    """What the app can know of it: a frame more or less is nothing."""
    if isinstance(over.item, PlayoutMark):
        marks = {PlayoutFate.PLAYED: P, PlayoutFate.KILLED: C, PlayoutFate.FORGOTTEN: F}
        return over.item.name, marks[over.fate]
    _, seconds = script[int(over.item.id)]
    at_its_end = over.fate is PlayoutFate.KILLED and over.samples >= (seconds - 0.02) * RATE
    return over.item.id, P if over.fate is PlayoutFate.PLAYED or at_its_end else F


async def carry_out(call: HandlerCall, script: list[tuple[str, float]]) -> dict[object, Playback]:
    """What is to be played of a script, by its name."""
    playbacks: dict[object, Playback] = {}
    for number, (what, seconds) in enumerate(script):
        if what == "wait":
            await anyio.sleep(seconds)
        elif what == "kill":
            await call.kill_audio(guard=seconds)
        elif what == "clear":
            await call.clear_marks()
        elif what == "play":
            playback = await call.play(clip(seconds, id=str(number)))
            playbacks[playback.name] = playback
        else:
            await call.send_audio(audio(seconds))
            playbacks[str(number)] = await call.mark(str(number))
    return playbacks


def agree(
    verb: ListenVerb, profile: Profile, script: list[tuple[str, float]], there: float, back: float
) -> None:
    """Both ends know the same of everything once all is over, and the pace is as reckoned."""

    @virtual
    async def run() -> None:
        async with far_away(verb, profile, there=there, back=back) as (call, playout):
            playbacks = await carry_out(call, script)
            await call.drain()
            await anyio.sleep(2)
            told = {name: playback.outcome for name, playback in playbacks.items()}
            fates = dict(known(over, script) for over in playout.overs)
            assert {n: o for n, o in told.items() if o is not Outcome.REFUSED} == fates

    with warnings_of_the_log() as warnings:
        run()
    assert [warning for warning in warnings if "a clearMarks" not in warning] == []


@contextmanager
def warnings_of_the_log() -> Iterator[list[str]]:
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("listenproto")
    log.addHandler(handler)
    try:
        yield warnings
    finally:
        log.removeHandler(handler)


@pytest.mark.parametrize("profile", [WITH_IDS, DEPLOYED], ids=lambda profile: profile.name)
@FEW
@given(
    st.lists(st.tuples(st.just("play"), short) | pauses | kills, max_size=12),
    delays,
    delays,
)
def test_both_ends_know_the_same_of_a_clip(
    profile: Profile, script: list[tuple[str, float]], there: float, back: float
) -> None:
    agree(CLIPS, profile, script, there, back)


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
@FEW
@given(
    st.lists(
        st.tuples(st.just("mark"), short) | pauses | kills | st.just(("clear", 0.0)), max_size=12
    ),
    delays,
    delays,
)
def test_both_ends_know_the_same_of_a_mark(
    profile: Profile, script: list[tuple[str, float]], there: float, back: float
) -> None:
    agree(STREAM, profile, script, there, back)
