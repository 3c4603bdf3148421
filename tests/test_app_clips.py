"""Clips that start over others on deployed platforms, as the app's end computes them.

All audio of the platform comes at once, and times are seconds after the start of the call.
"""

from __future__ import annotations

import pytest

from listenproto import DEPLOYED, FLICKS, KillAudio, Outcome, PlaybackDone, Sent
from listenproto._clips import ClipSent
from tests.sent_support import audio, clip, done, ends, opened

P, F = Outcome.PLAYED, Outcome.FLUSHED
START = 100.0


class Deployed:
    """A call with a deployed platform, and its time."""

    def __init__(self, start: float = START) -> None:
        self.app = opened(profile=DEPLOYED)
        self.start = start
        self.now = 0.0

    @property
    def clock(self) -> float:
        return self.start + self.now

    def at(self, now: float) -> None:
        """The audio of the platform up to then has come."""
        self.app.receive(audio(now - self.now), self.start + now)
        self.now = now

    def play(self, seconds: float, name: str, *, queue: bool = True) -> Sent:
        sent = self.app.send(clip(seconds, name, queue), self.clock)
        assert sent is not None
        return sent

    def done(self, name: str, **figures: object) -> list[tuple[Sent, Outcome]]:
        """A playDone comes; nothing is said of the pace of the platform."""
        events = self.app.receive(done(name, **figures), self.clock)
        assert not [one for one in events if isinstance(one, PlaybackDone) and one.wrong_pace]
        return ends(events)

    def expire(self) -> list[tuple[Sent, Outcome]]:
        return ends(self.app.handle_timeout(self.clock))

    def ends(self, *clips: Sent) -> list[float]:
        """When clips have been played to their end, which is the same on both clocks."""
        found = []
        for sent in clips:
            assert isinstance(sent, ClipSent)
            assert sent.due - self.start == pytest.approx(sent.ends_at / FLICKS)
            found.append(round(sent.due - self.start, 3))
        return found

    @property
    def ahead(self) -> float:
        return round(self.app.ahead(self.clock), 3)

    @property
    def next_timeout(self) -> float:
        return round(self.app.next_timeout() - self.start, 3)


def test_a_clip_suspends_the_one_that_plays_and_drops_those_behind_it() -> None:
    call = Deployed()
    a, b = call.play(5, "a"), call.play(3, "b")
    call.at(1)
    c = call.play(2, "c", queue=False)
    assert (call.ends(c, a), call.ahead) == ([3, 7], 6)
    assert call.next_timeout == 2
    call.at(2)
    assert call.expire() == [(b, F)]
    assert (b.heard, call.next_timeout) == (0, 13)
    call.at(3)
    assert call.done("c") == [(c, P)]
    assert (call.ahead, call.next_timeout) == (4, 17)
    call.at(7)
    assert call.done("a") == [(a, P)]
    assert (a.heard, call.ahead, call.app.under_way) == (5, 0, [])


def test_the_id_of_a_dropped_clip_is_taken_until_its_play_done_can_have_come() -> None:
    """LP-CLIP-15: it would have ended at 8 s."""
    call = Deployed()
    call.play(5, "a")
    call.play(3, "b")
    call.at(1)
    call.play(2, "c", queue=False)
    call.at(8.9)
    assert call.app.observer.holds_clip("b")
    call.at(9)
    assert not call.app.observer.holds_clip("b")


def test_what_was_suspended_before_resumes_sooner_by_what_is_dropped() -> None:
    call = Deployed()
    s = call.play(4, "s", queue=False)
    call.at(1)
    p, q, r = call.play(3, "p"), call.play(20, "q"), call.play(1, "r")
    assert (call.ends(p, q, r, s), call.ahead) == ([4, 24, 25, 28], 27)
    assert call.next_timeout == 14
    call.at(2)
    c = call.play(5, "c", queue=False)
    assert (call.ends(c, p, s), call.ahead) == ([7, 9, 12], 10)
    call.at(7)
    assert call.done("c") == [(q, F), (r, F), (c, P)]
    assert call.ahead == 5
    assert not any(call.app.observer.holds_clip(name) for name in "qr")
    for name, sent, now in (("p", p, 9), ("s", s, 12)):
        call.at(now)
        assert call.done(name) == [(sent, P)]
    assert (p.heard, s.heard, call.ahead) == (3, 4, 0)


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_clip_that_must_be_done_is_not_the_one_that_is_suspended(late: float) -> None:
    """Its playDone may be on its way."""
    call = Deployed()
    a, b = call.play(1, "a"), call.play(5, "b")
    call.at(1 + late)
    c = call.play(2, "c", queue=False)
    assert (call.ends(c, b), call.ahead, call.next_timeout) == ([3 + late, 8], 7 - late, 13)
    assert call.done("a") == [(a, P)]
    call.at(3 + late)
    assert call.done("c") == [(c, P)]
    call.at(8)
    assert call.done("b") == [(b, P)]


def test_a_clip_that_was_suspended_at_its_very_end_had_those_behind_it_dropped() -> None:
    call = Deployed()
    call.play(1, "a")
    b = call.play(5, "b")
    call.at(1)
    c = call.play(2, "c", queue=False)
    call.at(3)
    assert call.done("c") == [(b, F), (c, P)]
    assert (b.heard, call.ahead) == (0, 0)


def test_a_clip_that_comes_too_late_for_one_suspends_the_next() -> None:
    call = Deployed()
    s = call.play(6, "s", queue=False)
    a, b = call.play(1, "a"), call.play(3, "b")
    call.at(0.875)
    c = call.play(2, "c", queue=False)
    assert (call.ends(c, s), call.ahead) == ([2.875, 9], 8.125)
    call.at(1)
    assert call.done("a") == [(a, P)]
    assert (call.ends(c, b, s), call.ahead) == ([2.875, 5.875, 12], 11)
    assert call.next_timeout == 12.875
    d = call.play(1, "d", queue=False)
    assert (call.ends(d, c, b, s), call.next_timeout) == ([2, 3.875, 6.875, 13], 12)
    for name, sent, now in (("d", d, 2), ("c", c, 3.875), ("b", b, 6.875), ("s", s, 12.875)):
        call.at(now)
        assert call.done(name) == [(sent, P)]
    assert (b.heard, s.heard) == (3, 6)


def test_only_the_next_is_suspended_then_and_those_behind_it_stay_dropped() -> None:
    call = Deployed()
    s = call.play(6, "s", queue=False)
    call.play(1, "a")
    b, e = call.play(3, "b"), call.play(4, "e")
    call.at(0.875)
    c = call.play(2, "c", queue=False)
    call.at(1)
    call.done("a")
    assert (call.ends(c, b, s), call.ahead, call.next_timeout) == ([2.875, 5.875, 12], 11, 1.875)
    call.at(1.875)
    assert call.expire() == [(e, F)]


def test_it_resumes_behind_all_that_started_over_it_but_for_what_was_dropped() -> None:
    call = Deployed()
    call.play(1, "a")
    b = call.play(3, "b")
    call.at(0.75)
    c = call.play(2, "c", queue=False)
    p, _ = call.play(1, "p"), call.play(50, "q")
    d = call.play(1, "d", queue=False)
    call.at(1)
    call.done("a")
    assert call.ends(d, p, c, b) == [1.75, 2.75, 4.75, 7.75]


def test_it_resumes_now_if_the_one_over_it_must_be_done() -> None:
    call = Deployed()
    call.play(1, "a")
    b = call.play(3, "b")
    call.at(0.875)
    call.play(0.125, "c", queue=False)
    call.at(1.5)
    call.done("a")
    assert call.ends(b) == [4.5]


def test_it_is_not_waited_for_any_more_if_that_is_known_too_late() -> None:
    call = Deployed()
    a, b = call.play(1, "a"), call.play(3, "b")
    call.at(0.875)
    call.play(2, "c", queue=False)
    call.at(2)
    assert call.expire() == [(b, F)]
    assert call.done("a") == [(a, P)]
    assert (b.outcome, call.ahead, call.next_timeout) == (F, 1, 12.875)


def test_a_kill_right_behind_a_clip_stops_the_one_that_plays_and_spares_the_clip() -> None:
    call = Deployed()
    a, b = call.play(5, "a"), call.play(3, "b")
    call.at(1)
    c = call.play(2, "c", queue=False)
    call.app.send(KillAudio(), call.clock)
    assert call.ahead == 2
    call.at(1.1)
    assert call.done("a", playbackMilliseconds=1000) == [(a, F)]
    assert (call.ahead, call.next_timeout) == (1.9, 2)
    call.at(2)
    assert call.expire() == [(b, F)]
    call.at(3)
    assert call.done("c", playbackMilliseconds=2000) == [(c, P)]
    assert call.app.under_way == []


@pytest.mark.parametrize(
    ("start", "clips", "killed", "stopped"),
    [
        (0.0, [0.0], 0.019, "a"),
        (0.0, [0.0], 0.02, "0.0"),
        (0.0, [0.0, 0.01], 0.01, "a"),
        (START, [0.0, 0.01], 0.01, "a"),
        (0.0, [0.0, 0.02], 0.02, "0.0"),
    ],
)
def test_a_kill_within_a_frame_of_clips_stops_the_one_before_them(
    start: float, clips: list[float], killed: float, stopped: str
) -> None:
    """Platforms play a frame of 20 ms at a time."""
    call = Deployed(start)
    call.now = -1.0
    sent = [call.play(5, "a")]
    for call.now in clips:
        sent.append(call.play(2, str(call.now), queue=False))
    call.app.send(KillAudio(), start + killed)
    assert [one.name for one in sent if one.cut_at == start + killed] == [stopped]


def test_a_clip_that_was_killed_too_late_had_its_turn_before_the_one_over_it() -> None:
    call = Deployed()
    a, b = call.play(1, "a"), call.play(3, "b")
    call.at(0.875)
    c = call.play(2, "c", queue=False)
    call.at(0.95)
    call.app.send(KillAudio(), call.clock)
    call.at(1)
    assert call.done("a", playbackMilliseconds=1000) == [(a, P)]
    assert call.ahead == 3.075
    assert call.done("c", playbackMilliseconds=75) == [(c, F)]
    call.at(4)
    assert call.done("b", playbackMilliseconds=3000) == [(b, P)]


def test_a_clip_that_was_stopped_is_not_the_one_that_is_suspended() -> None:
    call = Deployed()
    a, b = call.play(5, "a"), call.play(3, "b")
    call.at(1)
    call.app.send(KillAudio(), call.clock)
    assert call.ahead == 3
    call.at(1.1)
    c = call.play(2, "c", queue=False)
    call.at(1.2)
    assert call.done("a", playbackMilliseconds=1000) == [(a, F)]
    assert (call.ahead, call.ends(c, b)) == (4.9, [3.1, 6.1])


def test_a_clip_that_a_kill_spared_is_waited_for_as_before() -> None:
    call = Deployed()
    a = call.play(5, "a")
    call.at(1)
    call.play(0.5, "c", queue=False)
    call.at(1.1)
    call.app.send(KillAudio(), call.clock)
    call.at(1.2)
    assert call.done("a", playbackMilliseconds=1100) == [(a, F)]
    assert (call.ahead, call.next_timeout) == (0.3, 11.5)


@pytest.mark.parametrize(("seconds", "outcome"), [(0.02, P), (0.04, F)])
def test_a_frame_more_or_less_is_nothing(seconds: float, outcome: Outcome) -> None:
    call = Deployed()
    sent = call.play(seconds, "a")
    call.app.send(KillAudio(), call.clock)
    assert call.done("a", playbackMilliseconds=0) == [(sent, outcome)]


def test_a_clip_that_plays_on_behind_a_late_one_keeps_its_time() -> None:
    """LP-CLIP-15: what started over it too late plays before the next one."""
    call = Deployed()
    call.play(1, "a")
    b = call.play(1, "b")
    call.at(0.875)
    call.play(60, "c", queue=False)
    call.at(1)
    call.done("a")
    assert call.ends(b) == [61.875]
