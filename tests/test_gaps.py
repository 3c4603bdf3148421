"""Gaps in what the caller hears while the app speaks: what counts as one, and what does not."""

from __future__ import annotations

import pytest

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    BidirectionalAudio,
    ListenTask,
    ListenVerb,
    Playout,
    PlayoutGaps,
    Profile,
)

MS = FLICKS // 1000
FRAME = 20 * MS

in_both_profiles = pytest.mark.parametrize(
    "profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name
)


def silent(ms: int) -> bytes:
    """So many milliseconds at 8000 samples a second."""
    return bytes(16 * ms)


def test_a_stream_that_goes_on_too_late_has_a_gap() -> None:
    playout = Playout()
    for _ in range(3):
        playout.add_stream(silent(50))
        playout.play(80 * MS)
    assert playout.gaps == PlayoutGaps(2, 60 * MS)
    assert playout.gaps.seconds == 0.06


@in_both_profiles
def test_a_clip_behind_the_last_play_done_makes_no_gap(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.add_clip(silent(100), 8000, "a", queue_play=True)
    playout.add_clip(silent(100), 8000, "b", queue_play=True)
    playout.play(230 * MS)
    playout.add_clip(silent(100), 16000, "c", queue_play=True)
    playout.play(FLICKS)
    assert playout.gaps == PlayoutGaps()


@pytest.mark.parametrize("late", [True, False])
def test_a_stream_behind_a_mark_that_was_reached_makes_no_gap(late: bool) -> None:
    playout = Playout()
    playout.add_stream(silent(100))
    if late:
        playout.play(200 * MS)
        playout.add_mark("m")
    else:
        playout.add_mark("m")
        playout.play(200 * MS)
    playout.play(600 * MS)
    playout.add_stream(silent(100))
    playout.play(FLICKS)
    assert playout.gaps == PlayoutGaps()


def test_a_mark_in_the_middle_or_a_forgotten_one_tells_nothing_of_the_end() -> None:
    playout = Playout()
    playout.add_stream(silent(50))
    playout.add_mark("m")
    playout.add_stream(silent(50))
    playout.add_mark("n")
    playout.play(60 * MS)
    assert len(playout.clear_marks()) == 1
    playout.play(70 * MS)
    playout.add_stream(silent(20))
    playout.play(FLICKS)
    assert playout.gaps == PlayoutGaps(1, 30 * MS)


@in_both_profiles
def test_what_comes_in_time_has_none(profile: Profile) -> None:
    playout = Playout(profile=profile)
    for _ in range(50):
        playout.add_stream(silent(20))
        playout.play(FRAME)
    assert playout.gaps == PlayoutGaps()


@pytest.mark.parametrize(
    ("pause", "gaps"), [(FLICKS, PlayoutGaps(1, FLICKS)), (FLICKS + 1, PlayoutGaps())]
)
def test_more_than_a_second_is_a_pause(pause: int, gaps: PlayoutGaps) -> None:
    playout = Playout()
    playout.add_stream(silent(20))
    playout.play(FRAME + pause)
    playout.add_stream(silent(20))
    playout.play(FRAME)
    assert playout.gaps == gaps


def test_a_gap_ends_with_what_is_heard() -> None:
    """A sound that was killed before it began is none."""
    playout = Playout()
    playout.add_stream(silent(20))
    playout.play(2 * FRAME)
    playout.add_stream(silent(20))
    assert playout.gaps == PlayoutGaps()
    playout.play(FRAME)
    assert playout.gaps == PlayoutGaps(1, FRAME)
    playout.play(FRAME)
    playout.add_stream(silent(20))
    playout.kill()
    playout.play(FRAME)
    assert playout.gaps == PlayoutGaps(1, FRAME)


@pytest.mark.parametrize(
    ("profile", "clips"), [(DOCUMENTED, True), (DOCUMENTED, False), (DEPLOYED, True)]
)
def test_silence_behind_a_kill_is_none(profile: Profile, clips: bool) -> None:
    playout = Playout(profile=profile)

    def say() -> None:
        if clips:
            playout.add_clip(silent(100), 8000, queue_play=True)
        else:
            playout.add_stream(silent(100))

    say()
    playout.play(50 * MS)
    playout.kill()
    playout.play(FRAME)
    playout.kill()
    playout.play(100 * MS)
    say()
    playout.play(130 * MS)
    assert playout.gaps == PlayoutGaps()
    say()
    playout.play(FRAME)
    assert playout.gaps == (PlayoutGaps() if clips else PlayoutGaps(1, 30 * MS))


def test_the_silence_behind_a_beep_is_none_of_the_app() -> None:
    both_ways = BidirectionalAudio(streaming=True, sample_rate=8000)
    task = ListenTask(ListenVerb(url="/", play_beep=True, bidirectional_audio=both_ways), {})
    task.play(FLICKS)
    task.connected()
    task.play(FRAME)
    task.receive(silent(20))
    task.play(2 * FRAME)
    assert task.gaps == PlayoutGaps()
    task.receive(silent(20))
    task.play(FRAME)
    assert task.gaps == PlayoutGaps(1, FRAME)
