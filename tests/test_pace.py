"""When answers come, compared with when they are due, on two clocks that started at other times."""

from __future__ import annotations

import pytest

from listenproto._pace import Clocks, Expected, Pace

START = 1000.0


def at(own: float, audio: float | None = None) -> Clocks:
    """So many seconds after the start; the same on both clocks unless they differ."""
    return START + own, own if audio is None else audio


def sent(pace: Pace, seconds: float, now: Clocks) -> Expected:
    """Send audio, and a mark or the end of a clip behind it."""
    pace.plays(now, seconds)
    return pace.expect(now)


def marked(pace: Pace, expected: Expected, now: Clocks) -> str | None:
    return pace.mark_came("m", expected, now)


@pytest.mark.parametrize(
    ("seconds", "after", "how"),
    [
        (0.125, 0.0, "too fast"),
        (10.0, 8.9, "too fast"),
        (10.0, 9.0, None),
        (1.0, 2.0, None),
        (1.0, 2.1, "too slowly"),
        (20.0, 22.0, None),
        (20.0, 22.1, "too slowly"),
    ],
)
def test_how_early_and_how_late_is_too_much(seconds: float, after: float, how: str | None) -> None:
    pace = Pace(8000)
    said = marked(pace, sent(pace, seconds, at(0)), at(after))
    assert (said is not None) == (how is not None)
    assert how is None or f"the platform plays this app's audio {how}, " in (said or "")


@pytest.mark.parametrize(("after", "early"), [(0.6, True), (0.7, False), (0.8, False)])
def test_silence_in_front_of_a_mark_need_not_have_been_played(after: float, early: bool) -> None:
    """A tenth of the audio is nothing, as ever."""
    pace = Pace(8000)
    expected = sent(pace, 1.0, at(0))
    assert pace.is_early(expected, at(after), 0.25) is early
    assert pace.is_early(expected, at(after))
    said = pace.mark_came("m", expected, at(after), 0.25)
    assert (said is not None) is early


@pytest.mark.parametrize("clocks", [(0.5, 1.0), (1.0, 0.5), (3.0, 1.0), (1.0, 3.0), (0.5, 3.0)])
def test_only_what_both_clocks_show_counts(clocks: Clocks) -> None:
    pace = Pace(8000)
    expected = sent(pace, 1.0, at(0))
    assert marked(pace, expected, at(*clocks)) is None
    assert not pace.is_early(expected, at(*clocks))


@pytest.mark.parametrize(
    ("clocks", "after"), [((3.0, 6.0), "3.00"), ((6.0, 3.0), "3.00"), ((0.2, 0.1), "0.20")]
)
def test_the_clock_on_which_it_is_nearer_is_the_one_that_is_told(
    clocks: Clocks, after: str
) -> None:
    pace = Pace(8000)
    said = marked(pace, sent(pace, 1.0, at(0)), at(*clocks)) or ""
    assert said.startswith(f"mark 'm' was due after 1.00 s and came after {after} s: ")


def test_audio_that_follows_without_a_pause_plays_behind_what_is_there() -> None:
    pace = Pace(8000)
    sent(pace, 20.0, at(0))
    expected = sent(pace, 10.0, at(0.5))
    assert marked(pace, expected, at(33.0)) is None  # 3 s late, of 30 s
    assert marked(pace, expected, at(33.1)) is not None


def test_audio_begins_anew_when_all_before_it_has_been_heard() -> None:
    pace = Pace(8000)
    sent(pace, 20.0, at(0))
    expected = sent(pace, 1.0, at(20.0))
    assert marked(pace, expected, at(22.5)) is not None  # 1.5 s late, of one


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_with_nothing_to_be_heard_an_answer_is_due_at_once(seconds: float) -> None:
    pace = Pace(8000)
    sent(pace, 20.0, at(0))
    now = at(20.0 + seconds)
    expected = pace.expect(now)
    assert marked(pace, expected, (now[0] + 1.0, now[1] + 1.0)) is None
    assert marked(pace, expected, (now[0] + 1.5, now[1] + 1.5)) is not None


@pytest.mark.parametrize(("until", "told"), [(START, True), (START + 0.5, False)])
@pytest.mark.parametrize("after", [0.5, 5.0])
def test_what_may_have_been_stopped_is_not_checked(until: float, told: bool, after: float) -> None:
    """The time of the stop is on this end's clock."""
    pace = Pace(8000)
    pace.stopped(until)
    pace.stopped(0.0)
    expected = sent(pace, 1.0, at(0))
    assert pace.is_early(expected, at(0.5)) is told
    assert (marked(pace, expected, at(after)) is not None) is told


@pytest.mark.parametrize(("after", "told"), [(0.0, False), (5.0, True)])
def test_what_is_sent_before_all_is_read_is_not_late(after: float, told: bool) -> None:
    """Nor is that on the clock of the platform's audio, which stands still meanwhile."""
    pace = Pace(8000)
    pace.held_back(START)
    expected = sent(pace, 1.0, at(after, 0.0))
    assert (marked(pace, expected, at(after + 4.0, 4.0)) is not None) is told


def test_what_was_held_back_may_still_be_too_early() -> None:
    pace = Pace(8000)
    pace.held_back(START)
    assert marked(pace, sent(pace, 1.0, at(0)), at(0.5)) is not None


CLIP = "; can the platform play clips of that sample rate?"


@pytest.mark.parametrize("late", [(5.8, 5.8), (5.8, 7.0), (7.0, 5.8)])
def test_a_gap_behind_each_clip_does_not_make_the_next_one_late(late: Clocks) -> None:
    pace = Pace(8000)
    first, second = sent(pace, 2.0, at(0)), sent(pace, 2.0, at(0))
    assert pace.clip_done("a", 2.0, first, at(2.9)) is None
    assert pace.clip_done("b", 2.0, second, at(*late)) is None


def test_a_clip_that_takes_too_long_itself_is_late_whenever_it_began() -> None:
    pace = Pace(8000)
    first, second = sent(pace, 2.0, at(0)), sent(pace, 2.0, at(0))
    assert pace.clip_done("a", 2.0, first, at(2.9)) is None
    said = pace.clip_done("b", 2.0, second, at(6.0)) or ""
    assert said.startswith("the playDone of clip 'b' was due after 4.00 s and came after 6.00 s: ")
    assert said.endswith(CLIP)


def test_a_clip_that_is_done_too_early_is_told() -> None:
    pace = Pace(8000)
    said = pace.clip_done("a", 1.0, sent(pace, 1.0, at(0)), at(0.5)) or ""
    assert said.startswith("the playDone of clip 'a' was due after 1.00 s and came after 0.50 s: ")


def test_it_is_told_once_with_what_to_check() -> None:
    pace = Pace(16000)
    expected = sent(pace, 1.0, at(0))
    said = marked(pace, expected, at(0.5)) or ""
    check = "is the verb's bidirectionalAudio.sampleRate really 16000, this app's stream_rate?"
    assert said.endswith(f"; {check}")
    assert marked(pace, expected, at(0.5)) is None
    assert pace.clip_done("c", 1.0, expected, at(0.5)) is None
    assert pace.is_early(expected, at(0.5))
