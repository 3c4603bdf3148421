"""An app is told that the platform plays at another pace than it reckons, and a caller hears it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import attrs
import pytest

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    Answering,
    Audio,
    BidirectionalAudio,
    HandlerCall,
    Limits,
    ListenVerb,
    Outcome,
    PlayoutGaps,
    Profile,
    UnreadPolicy,
)
from tests import runtime_support
from tests.call_support import CLIPS, clip
from tests.runtime_support import calling, current_time, over, talk, virtual

# The branches that it takes are counted elsewhere, and counting takes time.
pytestmark = [pytest.mark.no_cover, pytest.mark.usefixtures("each_runtime")]

Script = Callable[[HandlerCall], Awaitable[None]]


def stream(rate: int) -> ListenVerb:
    way = BidirectionalAudio(streaming=True, sample_rate=rate)
    return ListenVerb(url="ws://app.example/", pass_dtmf=True, bidirectional_audio=way)


def said(seconds: float, rate: int = 8000) -> bytes:
    return b"\1\0" * round(seconds * rate)


async def heard(
    script: Script,
    verb: ListenVerb,
    *,
    app: ListenVerb | None = None,
    profile: Profile = DOCUMENTED,
    speed: float = 1.0,
) -> PlayoutGaps:
    """Have a caller listen in silence to an app that takes the verb to be ``app``."""

    async def handler(call: HandlerCall) -> None:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(read, call)
            await script(call)
            await call.drain()
            nursery.cancel_scope.cancel()

    async def read(call: HandlerCall) -> None:
        async for _ in call:
            pass

    answering = Answering(verb=app or verb, profile=profile)
    async with calling(handler, verb, profile=profile, answering=answering) as call:
        await talk(call, b"", hang_up_after=math.inf, speed=speed)
        return call.task.gaps


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


CHECK = "is the verb's bidirectionalAudio.sampleRate really {}, this app's stream_rate?"
SCRIPTS: dict[str, Script] = {}


def speaking(
    rate: int, *, times: int = 1, pause: float = 2.0, lead: float = 0.2, seconds: float = 3.0
) -> Script:
    """An app that says something at that rate and waits until it was heard, so many times."""

    async def script(call: HandlerCall) -> None:
        for _ in range(times):
            assert await call.speak(said(seconds, rate), lead=lead)
            mark = await call.mark("said")
            assert await mark.wait() in (Outcome.PLAYED, Outcome.EARLY)
            await anyio.sleep(pause)

    return script


@virtual
async def test_speech_at_half_the_rate_of_the_verb_is_chopped_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gaps = await heard(speaking(8000, times=3), stream(16000), app=stream(8000))
    assert gaps.count >= 3 * 50
    assert 1.3 <= gaps.seconds / 3 <= 1.5
    (sentence,) = told(caplog)
    assert sentence.startswith("call call-1: mark 'said' was due after 0.20 s and came ")
    assert " after 0.0" in sentence
    assert " s: the platform plays this app's audio too fast, drops some of it or " in sentence
    assert sentence.endswith(CHECK.format(8000))


@pytest.mark.parametrize("speed", [1, 20])
@virtual
async def test_a_stream_that_is_sent_at_once_tells_at_any_speed_of_the_call(
    speed: float, caplog: pytest.LogCaptureFixture
) -> None:
    script = speaking(8000, lead=math.inf)
    gaps = await heard(script, stream(16000), app=stream(8000), speed=speed)
    assert gaps == PlayoutGaps()
    (sentence,) = told(caplog)
    assert re.search(r"'said' was due after 3\.00 s and came after 1\.(48|50) s: ", sentence)
    assert sentence.endswith(CHECK.format(8000))


@virtual
async def test_speech_at_twice_the_rate_of_the_verb_comes_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gaps = await heard(speaking(16000, times=2), stream(8000), app=stream(16000))
    assert gaps == PlayoutGaps()
    (sentence,) = told(caplog)
    assert re.search(r"after 0\.2\d s and came after 3\.\d\d s: .* audio too slowly, ", sentence)
    assert sentence.endswith(CHECK.format(16000))


async def clips_in_line(call: HandlerCall) -> None:
    """Keep several clips in line, twice, with a pause between."""
    for _ in range(2):
        playbacks = [await call.play(clip(seconds)) for seconds in (0.5, 0.0, 3, 1, 0.02)]
        for one in playbacks:
            await one.wait()
        await anyio.sleep(1.5)


async def interrupted(call: HandlerCall) -> None:
    """Be interrupted in the middle of speech, over and over, and go on behind a guard."""
    async with anyio.create_task_group() as nursery:
        for seconds in (0.1, 1.0, 0.5):
            nursery.start_soon(partial(call.speak, said(10)))
            await anyio.sleep(seconds)
            mark = await call.mark("ahead")
            await call.kill_audio(guard=0.1)
            await mark.wait()
        await call.speak(said(3))
        mark = await call.mark("said")
        await mark.wait()


async def killed_clips(call: HandlerCall) -> None:
    for seconds in (0.3, 2.2):
        for _ in range(4):
            await call.play(clip(1))
        await anyio.sleep(seconds)
        await call.kill_audio(guard=0.1)
        await call.play(clip(0.5))
        await call.drain()
        await anyio.sleep(3)


async def marks_all_along(call: HandlerCall) -> None:
    """Send faster than it plays, with marks inside and none behind."""
    for number in range(20):
        await call.send_audio(said(0.3))
        await call.mark(f"m{number}")
        await anyio.sleep(0.1)


RIGHT = {
    "speech": (stream(8000), speaking(8000, times=2)),
    "speech with a large lead": (stream(24000), speaking(24000, lead=1.0, times=2)),
    "all at once": (stream(16000), speaking(16000, lead=math.inf, times=2)),
    "short words": (stream(8000), speaking(8000, seconds=0.1, times=4)),
    "interruptions": (stream(8000), interrupted),
    "marks": (stream(8000), marks_all_along),
    "clips": (CLIPS, clips_in_line),
    "killed clips": (CLIPS, killed_clips),
}


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", RIGHT)
@virtual
async def test_an_app_that_has_it_right_is_told_nothing(
    name: str, profile: Profile, caplog: pytest.LogCaptureFixture
) -> None:
    verb, script = RIGHT[name]
    assert await heard(script, verb, profile=profile) == PlayoutGaps()
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("name", "speed"), [*((name, 2) for name in RIGHT), ("all at once", 0.3), ("clips", 0.3)]
)
@virtual
async def test_nor_is_one_whose_caller_runs_faster_or_slower_than_the_clock(
    name: str, speed: float, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be that its own clock makes gaps there."""
    verb, script = RIGHT[name]
    await heard(script, verb, speed=speed)
    assert told(caplog) == []


@virtual
async def test_seconds_of_gaps_are_those_of_the_call_whatever_its_speed() -> None:
    """An app that keeps pace by its own clock sends 50 ms each second of a call at speed 20."""
    gaps = await heard(speaking(8000, seconds=1.0, pause=0.0), stream(8000), speed=20)
    assert gaps.count >= 15
    assert 0.9 * gaps.count <= gaps.seconds <= gaps.count


class Scripted(runtime_support.Scripted):
    """A platform of which a test says what it sends."""

    async def go_on(self, seconds: float, *, paused: bool = False) -> None:
        """Send audio for so long, or none."""
        await anyio.sleep(seconds)
        await self.tell(b"" if paused else said(seconds))


@asynccontextmanager
async def scripted(
    verb: ListenVerb,
    profile: Profile = DOCUMENTED,
    unread: UnreadPolicy = "drop_oldest",
    *,
    unread_seconds: float = 10.0,
) -> AsyncIterator[tuple[HandlerCall, Scripted]]:
    platform = Scripted()
    limits = Limits(unread_seconds=unread_seconds)
    answering = Answering(verb=verb, profile=profile, unread=unread, limits=limits)
    async with over(platform, answering=answering) as call:
        yield call, platform


@pytest.mark.parametrize(
    ("seconds", "after", "how"),
    [
        (0.2, 0.17, "too fast"),
        (0.2, 0.18, None),
        (10.0, 8.9, "too fast"),
        (10.0, 9.1, None),
        (0.2, 1.1, None),
        (0.2, 1.3, "too slowly"),
        (20.0, 21.9, None),
        (20.0, 22.1, "too slowly"),
    ],
)
@virtual
async def test_early_is_a_proof_and_late_is_far(
    seconds: float, after: float, how: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(stream(8000)) as (call, platform):
        await call.send_audio(said(seconds))
        await call.mark("m")
        await platform.go_on(after)
        await platform.came("m")
        assert [
            f"the platform plays this app's audio {how}, " in line for line in told(caplog)
        ] == [True] * bool(how)


@virtual
async def test_in_a_pause_an_early_answer_is_a_proof_and_a_late_one_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted(stream(8000)) as (call, platform):
        await call.send_audio(said(1))
        await call.mark("late")
        await platform.go_on(5, paused=True)
        await platform.came("late")
        assert told(caplog) == []
        await call.send_audio(said(1))
        await call.mark("early")
        await platform.go_on(0.5, paused=True)
        await platform.came("early")
        assert len(told(caplog)) == 1


@virtual
async def test_an_app_that_does_not_read_is_late_itself(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(stream(8000), unread="hold") as (call, platform):
        await platform.tell(said(60))
        await call.send_audio(said(1))
        mark = await call.mark("m")
        await platform.tell(said(1))
        await platform.came("m")
        await anyio.sleep(20)
        assert mark.outcome is Outcome.TIMED_OUT
        async for _ in call:
            if mark.outcome is Outcome.PLAYED:
                break
    assert told(caplog) == []


@virtual
async def test_an_app_that_reads_steadily_behind_is_late_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both clocks are late then; once it has caught up, what is late is the platform's."""
    behind = 4.0

    async def read(call: HandlerCall) -> None:
        await anyio.sleep(behind)
        async for event in call:
            if isinstance(event, Audio) and behind:
                await anyio.sleep(len(event.pcm) / 16000)

    async with (
        scripted(stream(8000), unread="hold", unread_seconds=0.5) as (call, platform),
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(read, call)
        for _ in range(10):
            await platform.go_on(0.5)
        await call.send_audio(said(1))
        mark = await call.mark("m")
        for _ in range(2):
            await platform.go_on(0.5)
        await platform.came("m")
        sent_at = current_time()
        assert await mark.wait() is Outcome.PLAYED
        assert current_time() - sent_at == 3
        assert told(caplog) == []
        behind = 0.0
        for _ in range(20):
            await platform.go_on(0.5)
        await call.send_audio(said(1))
        await call.mark("late")
        for _ in range(6):
            await platform.go_on(0.5)
        await platform.came("late")
        (sentence,) = told(caplog)
        assert " and came after 3.00 s" in sentence
        nursery.cancel_scope.cancel()


@virtual
async def test_what_may_have_been_stopped_says_nothing_of_the_pace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Deployed platforms also flush what comes close behind a killAudio, and tell nobody."""
    async with scripted(stream(8000)) as (call, platform):
        await call.send_audio(said(5))
        await call.mark("crosses")
        await call.kill_audio()
        await platform.came("crosses")
        await call.send_audio(said(3))
        await call.mark("behind")
        await platform.came("behind")
        assert told(caplog) == []
        await platform.go_on(10)
        await call.send_audio(said(1))
        await call.mark("later")
        await platform.came("later")
        assert len(told(caplog)) == 1


@virtual
async def test_two_marks_of_a_name_may_be_taken_for_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """LP-MARK-8: deployed, marks get lost."""
    async with scripted(stream(8000)) as (call, platform):
        for seconds in (0.1, 1, 5):
            await call.send_audio(said(seconds))
            await call.mark("m")
        await platform.go_on(5)
        await platform.came("m")
        await platform.came("m")
        assert told(caplog) == []
        await platform.came("m")
        assert len(told(caplog)) == 1


@virtual
async def test_a_clip_that_is_done_too_soon_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(CLIPS) as (call, platform):
        await call.play(clip(0.9, id="a"))
        await call.play(clip(3, id="b"))
        await platform.go_on(0.9)
        await platform.done("a")
        assert told(caplog) == []
        await platform.go_on(1)
        await platform.done("b")
        (sentence,) = told(caplog)
        assert sentence == (
            "call c: the playDone of clip 'b' was due after 3.90 s and came after 1.90 s: the "
            "platform plays this app's audio too fast, drops some of it or answers too early; can "
            "the platform play clips of that sample rate?"
        )


@virtual
async def test_small_gaps_between_clips_do_not_add_up(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(CLIPS) as (call, platform):
        for number in range(10):
            await call.play(clip(0.3, id=str(number)))
        for number in range(40):
            await platform.go_on(0.4)
            await platform.done(str(number))
            await call.play(clip(0.3, id=str(number + 10)))
        assert told(caplog) == []
        await platform.go_on(2)
        await platform.done("40")
        assert len(told(caplog)) == 1


@virtual
async def test_a_clip_that_another_took_the_place_of_says_nothing_of_the_pace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted(CLIPS, DEPLOYED) as (call, platform):
        for name in "ab":
            await call.play(attrs.evolve(clip(5), id=name, queue_play=False))
        await platform.done("a")
        await platform.done("b")
        assert told(caplog) == []
        await platform.go_on(12)
        await call.play(attrs.evolve(clip(5), id="c", queue_play=False))
        await platform.done("c")
        assert len(told(caplog)) == 1


@virtual
async def test_a_guess_says_nothing_of_the_pace(caplog: pytest.LogCaptureFixture) -> None:
    """LP-CLIP-27: without ids the playDone of b is taken for that of a, and so on."""
    play_done = '{"type": "playDone"}'
    async with scripted(CLIPS) as (call, platform):
        await call.play(clip(0.5, id="a"))
        await call.kill_audio()
        await call.play(clip(0.5, id="b"))
        await platform.go_on(0.5)
        await platform.tell(play_done)
        await platform.go_on(5)
        await call.play(clip(0.1, id="c"))
        await call.play(clip(5, id="d"))
        await platform.go_on(0.1)
        await platform.tell(play_done)
        await platform.go_on(5)
        await platform.tell(play_done)
        assert told(caplog) == []
