"""Speech without a call: how it is cut into pieces, when each may be sent, how much is heard."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto._speech import Speech
from tests.app_call_support import RATE, pcm

LEAD = 0.2


def speech(seconds: float = 0.0, *, lead: float = LEAD, rate: int = RATE) -> Speech:
    """Speech that is fed and finished, if it has a length."""
    said = Speech(rate=rate, lead=lead)
    if seconds:
        said.feed(bytes(2 * round(seconds * rate)))
        said.finish()
    return said


def seconds_of(pcm: bytes) -> float:
    return len(pcm) / 2 / RATE


@pytest.mark.parametrize("lead", [0.0399, 0.0, -1.0, math.nan])
def test_a_lead_must_have_room_for_two_pieces(lead: float) -> None:
    with pytest.raises(ValueError, match=rf"^lead must be at least 0.04 s; it is {lead:g}$"):
        Speech(rate=RATE, lead=lead)


def test_the_first_piece_is_as_long_as_the_lead_and_the_others_a_quarter() -> None:
    said = speech(1.0)
    now, until, pieces = 0.0, 0.0, []
    while not said.over:
        ahead = max(0.0, until - now)
        wait = said.due_in(ahead)
        if wait:
            now += wait
            continue
        pieces.append((now, seconds_of(said.take(now, ahead))))
        until = max(now, until) + pieces[-1][1]
    assert pieces[0] == (0.0, 0.2)
    assert [at for at, _ in pieces[1:]] == pytest.approx([0.05 * n for n in range(1, 17)])
    assert {seconds for _, seconds in pieces[1:]} == {0.05}
    assert said.seconds == 1.0


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 32000, 48000, 64000])
@pytest.mark.parametrize("start", [0.0, 1.0 / 3, 1e6 / 7, 1.7e9])
def test_a_piece_is_exact_to_the_sample_wherever_the_clock_starts(rate: int, start: float) -> None:
    said = speech(1.0, rate=rate)
    now, until, sizes = start, start, []
    while not said.over:
        ahead = max(0.0, until - now)
        if wait := said.due_in(ahead):
            assert wait < LEAD
            now += wait
        else:
            sizes.append(len(said.take(now, ahead)) // 2)
            until = max(now, until) + sizes[-1] / rate
    assert sizes == [rate // 5] + 16 * [rate // 20]


def test_who_comes_late_gets_all_that_there_is_room_for() -> None:
    said = speech(1.0)
    said.take(0.0, 0.0)
    assert said.due_in(0.08) == 0
    assert seconds_of(said.take(0.12, 0.08)) == pytest.approx(0.12)
    assert said.due_in(0.2) == pytest.approx(0.05)
    assert said.due_in(5.0) == pytest.approx(4.85)
    assert seconds_of(said.take(60.0, 0.0)) == 0.2


def test_the_last_piece_waits_only_for_its_own_length() -> None:
    said = speech(0.21)
    said.take(0.0, 0.0)
    assert said.due_in(0.2) == pytest.approx(0.01)
    assert not said.over
    assert seconds_of(said.take(0.01, 0.19)) == 0.01
    assert said.over
    assert said.due_in(0.0) == math.inf


def test_a_piece_is_of_20_ms_at_least_until_the_end() -> None:
    said = Speech(rate=RATE, lead=0.04)
    assert said.due_in(0.0) == math.inf
    said.feed(bytes(2 * 159))
    assert (said.wants_more, said.due_in(0.0)) == (True, math.inf)
    said.feed(bytes(2))
    assert (said.wants_more, said.due_in(0.0)) == (False, 0)
    said.feed(bytes(1000))
    assert said.due_in(0.04) == pytest.approx(0.02)
    assert len(said.take(0.0, 0.0)) == 2 * 320
    assert len(said.take(0.04, 0.0)) == 2 * 320
    assert said.wants_more
    assert (said.over, said.due_in(0.0)) == (False, math.inf)
    said.finish()
    assert (said.over, said.due_in(0.0)) == (False, 0)
    assert len(said.take(0.08, 0.0)) == 2 * (660 - 640)
    assert said.over


def test_without_a_limit_everything_is_sent_as_it_comes() -> None:
    """In messages of a second, as larger ones might be refused."""
    said = Speech(rate=RATE, lead=math.inf)
    said.feed(pcm(10.5))
    sizes = []
    while not said.wants_more:
        assert said.due_in(1e6) == 0
        sizes.append(len(said.take(0.0, 1e6)))
    assert sizes == 10 * [2 * RATE] + [RATE]


def test_an_incomplete_sample_is_left_over_once_nothing_more_comes() -> None:
    said = Speech(rate=RATE, lead=LEAD)
    said.feed(b"\1\2\3")
    assert said.left_over == 0
    said.finish()
    said.feed(b"\4")
    assert (said.left_over, said.over) == (1, False)
    assert said.take(0.0, 0.0) == b"\1\2"
    assert (said.left_over, said.over, said.wants_more) == (1, True, True)
    said.interrupt()
    said.cut_off(0.0)
    assert (said.left_over, said.interrupted) == (1, False)


def test_nothing_is_over_before_it_is_finished() -> None:
    said = speech()
    assert (said.over, said.wants_more, said.seconds, said.interrupted) == (False, True, 0, False)
    assert said.is_heard(0.0)
    said.finish()
    assert said.over


def test_what_is_sent_is_heard_as_time_passes() -> None:
    said = speech(0.3)
    assert said.heard_by(100.0) == 0
    assert len(said.take(10.0, 0.1)) == len(pcm(0.1))
    assert [said.heard_by(now) for now in (0, 10.1, 10.15, 10.2, 50)] == pytest.approx(
        [0, 0, 0.05, 0.1, 0.1]
    )
    assert [said.is_heard(now) for now in (10.19, 10.2)] == [False, True]
    assert len(said.take(10.15, 0.05)) == len(pcm(0.15))
    assert said.heard_by(10.25) == pytest.approx(0.15)
    assert len(said.take(10.35, 0.0)) == len(pcm(0.05))
    assert [said.heard_by(now) for now in (10.35, 10.38, 99)] == pytest.approx([0.25, 0.28, 0.3])
    assert [said.is_heard(now) for now in (10.39, 10.4)] == [False, True]


def test_a_pause_is_not_heard() -> None:
    said = speech(lead=math.inf)
    said.feed(pcm(0.1))
    said.take(0.0, 0.0)
    assert [said.heard_by(now) for now in (0.05, 4)] == pytest.approx([0.05, 0.1])
    said.feed(pcm(0.1))
    said.take(5.0, 0.0)
    assert [said.heard_by(now) for now in (5, 5.04, 6)] == pytest.approx([0.1, 0.14, 0.2])
    said.feed(pcm(0.1))
    said.take(5.05, 2.0)  # something else plays in between
    heard = [said.heard_by(now) for now in (5.05, 5.1, 7, 7.1, 8)]
    assert heard == pytest.approx([0.15, 0.2, 0.2, 0.25, 0.3])


def test_between_pauses_all_is_counted() -> None:
    said = Speech(rate=RATE, lead=math.inf)
    for now in (1.0, 5.0, 7.0, 9.0):
        said.feed(pcm(0.1))
        said.take(now, 0.0)
    assert said.heard_by(9.02) == pytest.approx(0.32)


def test_half_a_sample_takes_no_room() -> None:
    said = Speech(rate=RATE, lead=LEAD)
    said.feed(b"\1\2\3")
    said.finish()
    assert said.due_in(LEAD - 1.2 / RATE) == 0


def test_a_piece_that_just_fits_is_sent() -> None:
    """The numbers are such that the room is exactly as long as the piece, without rounding."""
    said = speech(1.0, lead=0.25)
    assert said.due_in(0.187501) == 0
    assert said.due_in(0.187502) == pytest.approx(2e-6)


def test_what_something_else_follows_is_not_heard_before_its_time() -> None:
    said = Speech(rate=RATE, lead=math.inf)
    said.feed(pcm(1))
    said.take(0.0, 0.0)
    said.feed(pcm(1))
    said.take(0.0, 11.0)
    assert said.heard_by(0.5) == 0.5
    said.cut_off(0.5)
    assert said.heard_by(99.0) == 0.5


def test_an_interruption_leaves_what_was_sent_ahead_to_be_heard() -> None:
    said = speech(1.0)
    said.take(0.0, 0.0)
    said.interrupt()
    assert (said.interrupted, said.over, said.due_in(0.0)) == (True, True, math.inf)
    assert (said.heard_by(0.1), said.heard_by(9.0)) == (pytest.approx(0.1), 0.2)
    assert not said.is_heard(0.1)
    said.feed(pcm(1))
    assert (said.left_over, said.due_in(0.0)) == (0, math.inf)


def test_what_is_cut_off_is_not_heard_any_more() -> None:
    said = speech(1.0)
    said.take(0.0, 0.0)
    said.cut_off(0.15)
    assert said.heard_by(0.15) == said.heard_by(9.0) == pytest.approx(0.15)
    assert said.is_heard(0.15)
    assert not said.interrupted  # it may go on
    said.take(1.0, 0.0)
    assert said.heard_by(1.1) == pytest.approx(0.25)
    said.cut_off(0.9)
    assert said.heard_by(9.0) == pytest.approx(0.15)


@given(
    steps=st.lists(
        st.one_of(
            st.binary(max_size=3),
            st.integers(0, 4000).map(bytes),
            st.floats(0, 1),
            st.sampled_from(["finish", "interrupt", "cut off"]),
        ),
        max_size=40,
    ),
    lead=st.one_of(st.floats(0.04, 2), st.just(math.inf)),
    rate=st.sampled_from([8000, 24000, 64000]),
    start=st.sampled_from([0.0, -1e3, 1e5 / 3]),
)
def test_whatever_happens_no_more_is_ahead_than_the_lead_and_all_is_in_order(
    steps: list[bytes | float | str], lead: float, rate: int, start: float
) -> None:
    said = Speech(rate=rate, lead=lead)
    now, until = start, start
    fed, sent = b"", b""
    heard, finished = 0.0, False
    for step in steps:
        if isinstance(step, bytes):
            if not (said.interrupted or finished):
                fed += step
            said.feed(step)
        elif isinstance(step, float):
            now += step
        elif step == "finish":
            said.finish()
            finished = True
        elif step == "interrupt":
            said.interrupt()
        else:
            said.cut_off(now)
            until = now
        while said.due_in(ahead := max(0.0, until - now)) == 0:
            piece = said.take(now, ahead)
            assert piece
            assert len(piece) % 2 == 0
            sent += piece
            until = now + ahead + len(piece) / 2 / rate
            assert until - now <= lead + 1e-5
        assert fed.startswith(sent)
        assert said.seconds == len(sent) / 2 / rate
        assert heard <= said.heard_by(now) <= said.seconds
        assert said.is_heard(now) or until > now
        heard = said.heard_by(now)
        wait = said.due_in(max(0.0, until - now))
        assert wait > 0
        assert wait == math.inf or said.due_in(max(0.0, until - (now + wait))) == 0
    if not said.interrupted:
        assert said.over or len(fed) - len(sent) < 2 * round(0.02 * rate) or until > now
