"""What an app knows of the markers in a platform's stream, without a call."""

from __future__ import annotations

import math

import pytest

from listenproto import DEPLOYED, Outcome, Sent
from listenproto._markers import Markers

GUARD = DEPLOYED.kill_guard
RESET = 0.16375
"""How long 30 samples and 160 ms play at 8000 Hz."""


def known(*, resets: bool = True, holds: bool = False) -> Markers:
    return Markers(DEPLOYED, 8000, resets=resets, holds=holds)


def mark(markers: Markers, due: float = 1.0, *, inside: bool = False) -> Sent:
    """A mark that was sent, perhaps with audio behind it."""
    sent = Sent("m", due=due)
    markers.sent(sent)
    if inside:
        markers.streamed()
    return sent


def stuck(markers: Markers) -> Markers:
    mark(markers, inside=True)
    markers.killed(0.0)
    return markers


def test_nothing_is_due_before_anything_was_sent() -> None:
    markers = known()
    assert (markers.in_doubt, markers.reset_due, markers.held_until) == (False, math.inf, -math.inf)
    assert markers.in_doubt is False
    markers.streamed()
    markers.killed(0.0)
    markers.cleared()
    assert (markers.in_doubt, markers.reset_due, markers.sticks()) == (False, math.inf, 0)


@pytest.mark.parametrize("inside", [True, False])
def test_a_mark_is_lost_once_its_event_is_overdue_by_a_second(inside: bool) -> None:
    markers = known()
    sent = mark(markers, 5.0, inside=inside)
    assert (markers.in_doubt, markers.reset_due) == (True, 6.0)
    sent.outcome = Outcome.TIMED_OUT
    assert markers.reset_due == 6.0
    sent.outcome = Outcome.PLAYED
    assert markers.reset_due == math.inf
    assert not markers.in_doubt


def test_all_marks_must_be_overdue() -> None:
    markers = known()
    mark(markers, 5.0, inside=True)
    mark(markers, 7.0)
    assert markers.reset_due == 8.0


@pytest.mark.parametrize(
    ("inside", "answered", "kills"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_a_kill_leaves_marks_inside_stuck_that_are_not_answered(
    inside: bool, answered: bool, kills: bool
) -> None:
    markers = known()
    sent = mark(markers, inside=inside)
    if answered:
        sent.outcome = Outcome.PLAYED
    markers.killed(3.0)
    assert markers.in_doubt is kills
    assert markers.reset_due == (3.0 + GUARD if kills else math.inf)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("answered", [True, False])
def test_a_clear_may_leave_any_mark_stuck_that_is_not_answered(
    inside: bool, answered: bool
) -> None:
    markers = known()
    sent = mark(markers, inside=inside)
    if answered:
        sent.outcome = Outcome.PLAYED
    markers.cleared()
    assert markers.reset_due == (math.inf if answered else -math.inf)


@pytest.mark.parametrize(("inside", "answered"), [(True, False), (False, True), (True, True)])
def test_a_clear_sticks_no_mark_with_audio_behind_it_or_an_event(
    inside: bool, answered: bool
) -> None:
    markers = known()
    mark(markers)
    sent = mark(markers, inside=inside)
    mark(markers)
    if answered:
        sent.outcome = Outcome.PLAYED
    assert markers.sticks() == (1 if inside else 2)


def test_at_a_higher_rate_so_many_more_samples_are_a_marker() -> None:
    markers = Markers(DEPLOYED, 24000, resets=True, holds=False)
    assert markers.reset(0.0) == b"\xff\xff" * 90 + bytes(2 * 3840)
    assert markers.reset_seconds == pytest.approx(RESET)


def test_what_is_stuck_stays_so_until_the_reset() -> None:
    markers = stuck(known())
    markers.killed(1.0)
    markers.cleared()
    mark(markers).outcome = Outcome.PLAYED
    assert markers.reset_due == 1.0 + GUARD
    mark(markers, 9.0)
    assert markers.reset_due == 10.0
    markers.reset(10.0)
    assert (markers.in_doubt, markers.reset_due) == (False, math.inf)


def test_a_mark_behind_a_kill_that_is_cleared_with_audio_behind_it_is_stuck() -> None:
    markers = known()
    markers.killed(0.0)
    sent = mark(markers, inside=True)
    sent.outcome = Outcome.CLEARED
    assert markers.reset_due == GUARD
    markers = known()
    markers.killed(0.0)
    mark(markers).outcome = Outcome.CLEARED
    assert markers.reset_due == math.inf


def test_a_reset_is_killed_while_it_plays() -> None:
    for at, again in ((RESET - 0.001, True), (RESET, False)):
        markers = stuck(known())
        markers.reset(0.0)
        assert markers.reset_until == pytest.approx(RESET)
        markers.killed(at if again else markers.reset_until)
        assert markers.in_doubt is again


def test_a_reset_ends_the_wait_for_all_marks() -> None:
    markers = known(holds=True)
    sent = mark(markers, 1.0)
    assert markers.held_until == 2.0
    assert markers.reset(2.0).count(b"\xff\xff") == 30
    assert sent.was_reset
    assert (markers.reset_due, markers.held_until) == (math.inf, -math.inf)


def test_audio_is_held_while_a_mark_has_nothing_behind_it_and_no_event() -> None:
    markers = known(resets=False, holds=True)
    first, second = mark(markers, 1.0), mark(markers, 3.0)
    assert markers.held_until == 4.0
    second.outcome = Outcome.PLAYED
    assert markers.held_until == 2.0
    first.outcome = Outcome.PLAYED
    assert markers.held_until == -math.inf
    mark(markers, 5.0, inside=True)
    assert markers.held_until == -math.inf
    markers = known()
    mark(markers)
    assert markers.held_until == -math.inf


def test_without_resets_and_behind_the_end_none_is_due() -> None:
    ended = stuck(known())
    ended.end()
    for markers in (stuck(known(resets=False)), ended):
        mark(markers)
        assert markers.sticks() == 1
        assert (markers.in_doubt, markers.reset_due) == (False, math.inf)


def test_no_more_marks_are_kept_than_the_platform_can_have() -> None:
    markers = known()
    for due in range(40):
        mark(markers, float(due), inside=True)
    assert markers.reset_due == 40.0
    assert len(markers._marked) == DEPLOYED.pending_marks
