"""Gaps in what a platform sends: what never came, told apart from what was held up."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto.recording._gaps import JITTER, LATE, PATIENCE, GapFinder
from tests.call_support import RATE

PIECE = RATE // 50
"""Samples in 20 ms."""


class Line:
    """A platform that sends 20 ms at a time, on time but for what it is told."""

    def __init__(self) -> None:
        self.finder = GapFinder(RATE)
        self.found: list[tuple[float, float]] = []
        """Where the gaps are, and how long: seconds."""
        self.now = 100.0
        self.sent = 0

    def send(self, seconds: float, *, pace: float = 1.0, jitter: Iterable[float] = ()) -> None:
        """Audio comes, ``pace`` times as fast as it plays."""
        late = iter(jitter)
        for _ in range(round(seconds * 50)):
            self.now += 0.02 / pace
            gaps = self.finder.came(self.sent, PIECE, self.now + next(late, 0.0))
            self.sent += PIECE
            self.note(gaps)

    def end(self) -> None:
        self.note(self.finder.end())

    def note(self, gaps: Iterable) -> None:  # type: ignore[type-arg]
        self.found += [(gap.position / RATE, gap.samples / RATE) for gap in gaps]

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_what_never_comes_is_a_gap() -> None:
    line = Line()
    line.send(2)
    line.wait(3)
    line.send(PATIENCE)
    assert line.found == []
    line.send(0.1)
    assert line.found == [(2.0, 3.0)]
    line.send(30)
    line.end()
    assert line.found == [(2.0, 3.0)]


def test_what_catches_up_is_late_and_no_gap() -> None:
    line = Line()
    line.send(2)
    line.wait(3)
    line.send(3, pace=1000)
    line.send(30)
    line.wait(3)
    line.send(9, pace=1.5)
    line.send(30)
    line.end()
    assert line.found == []


def test_what_catches_up_in_part_is_a_gap_of_the_rest() -> None:
    line = Line()
    line.send(2)
    line.wait(5)
    line.send(3, pace=1e6)
    line.send(30)
    ((at, seconds),) = line.found
    assert (at, round(seconds, 3)) == (2.0, 2.0)


def test_what_nothing_catches_up_with_is_a_gap_at_the_end() -> None:
    line = Line()
    line.send(2)
    line.wait(3)
    line.send(1)
    line.wait(60)
    line.end()
    assert line.found == [(2.0, 3.0)]


def test_gaps_in_a_row_are_told_apart() -> None:
    line = Line()
    for seconds in (1, 2, 3, 20):
        line.send(2)
        line.wait(seconds)
    line.send(11)
    line.end()
    assert line.found == [(2.0, 1.0), (4.0, 2.0), (6.0, 3.0), (8.0, 20.0)]


def test_the_first_of_two_is_a_gap_though_the_second_catches_up() -> None:
    line = Line()
    line.send(2)
    line.wait(1)
    line.send(2)
    line.wait(4)
    line.send(4, pace=1e6)
    line.send(11)
    ((at, seconds),) = line.found
    assert (at, round(seconds, 3)) == (2.0, 1.0)


def test_one_that_catches_up_takes_those_before_it_along() -> None:
    line = Line()
    line.send(2)
    line.wait(1)
    line.send(2)
    line.wait(4)
    line.send(5, pace=1e6)
    line.send(30)
    line.end()
    assert line.found == []


def test_what_adds_up_is_a_gap() -> None:
    line = Line()
    for _ in range(6):
        line.send(1)
        line.wait(0.1)
    line.send(11)
    assert [round(seconds, 3) for _, seconds in line.found] == [0.6]


def test_as_late_as_a_line_may_be_is_no_gap() -> None:
    finder = GapFinder(RATE)
    finder.came(0, RATE, 1.0)
    finder.came(RATE, RATE, 2.0 + LATE)
    assert finder.end() == []


def test_as_late_as_any_line_is_nothing_is_overdue() -> None:
    finder = GapFinder(RATE)
    finder.came(0, 0, 0.0)
    assert finder.reached(JITTER) == 0


@given(st.lists(st.floats(0, LATE - 0.01), max_size=600))
def test_jitter_is_no_gap(jitter: list[float]) -> None:
    line = Line()
    line.send(len(jitter) / 50, jitter=jitter)
    line.end()
    assert line.found == []


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.02, 9), st.sampled_from([1, 2, 1e6]))))
def test_the_gaps_are_what_the_audio_is_behind_the_clock(
    stretches: list[tuple[float, float, float]],
) -> None:
    line = Line()
    line.send(0.02)
    waited = 0.0
    for seconds, sent, pace in stretches:
        line.wait(seconds)
        line.send(sent, pace=pace)
        waited += seconds
    line.end()
    missing = sum(seconds for _, seconds in line.found)
    rounded = (len(line.found) + 1) / RATE
    assert all(seconds > LATE - 1 / RATE for _, seconds in line.found)
    assert missing <= waited + rounded
    if all(pace == 1 for *_, pace in stretches):
        assert waited - missing <= LATE + rounded


def test_how_far_a_call_is_the_audio_says_until_it_is_overdue() -> None:
    line = Line()
    assert line.finder.reached(line.now) == 0
    line.send(2)
    assert line.finder.reached(line.now) == 2 * RATE
    assert line.finder.reached(line.now + JITTER - 0.01) == 2 * RATE
    assert line.finder.reached(line.now + 1) == 3 * RATE
    line.wait(3)
    line.send(1)
    assert line.finder.reached(line.now) == 6 * RATE
    line.send(10)
    assert line.found == [(2.0, 3.0)]
    assert line.finder.reached(line.now) == 16 * RATE
    assert line.finder.reached(line.now + 1) == 17 * RATE


@pytest.mark.parametrize("speed", [2, 20])
def test_media_time_faster_than_the_clock_has_no_gaps(speed: int) -> None:
    line = Line()
    line.send(60, pace=speed)
    assert line.finder.reached(line.now) == 60 * RATE
    line.end()
    assert line.found == []
