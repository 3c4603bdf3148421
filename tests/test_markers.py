"""Marks behind speech work on a platform that has them inside its stream, whatever happened."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    Audio,
    ClearMarks,
    Disconnect,
    KillAudio,
    LocalProtocolError,
    Mark,
    Message,
    Outcome,
)
from listenproto._l16 import SAMPLE_BYTES
from tests.depth import FEW
from tests.marks_support import LineToDouble

RATES = [8000, 16000, 24000]


def burst(rate: int) -> bytes:
    """What resets the stream."""
    return b"\xff\xff" * (30 * rate // 8000) + bytes(rate * 160 // 1000 * SAMPLE_BYTES)


def sent(line: LineToDouble) -> list[object]:
    """What the app has sent since the last call, with bursts by that name."""
    return ["reset" if one == burst(line.rate) else one for one in line.take_sent()]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("delay", [0.0, 0.06])
def test_speech_with_a_mark_behind_it_works_ten_times_with_kills_in_between(
    rate: int, delay: float
) -> None:
    line = LineToDouble(rate, delay=delay)
    for round in range(10):
        whole = line.speak(0.5)
        mark = line.mark(f"whole-{round}")
        line.wait(1)
        assert (mark.outcome, line.is_heard(whole)) == (Outcome.PLAYED, True)
        said = []
        for name in "abc":  # at the rate of the call, all of it is sent at once
            said.append((line.speak(0.3, lead=math.inf), line.mark(f"{name}-{round}")))
        line.wait(0.1)
        line.kill()
        line.wait(0.02 * (round % 5) + 2 * delay)
        said.append((line.speak(0.5), line.mark(f"cut-{round}")))
        line.kill()
        line.wait(2 * delay + 0.1)
        for utterance, mark in said:
            expected = Outcome.PLAYED if line.is_heard(utterance) else Outcome.CLEARED
            assert mark.outcome is expected
        assert [line.is_heard(utterance) for utterance, _ in said[2:]] == [False, False]
    assert line.call.session.under_way == []
    assert all(mark.outcome is not None for mark, _ in line.marks)


STEPS = st.one_of(
    st.tuples(st.just("speak"), st.sampled_from([0.02, 0.1, 0.3, 0.7])),
    st.tuples(st.sampled_from(["mark", "mark", "same", "kill", "clear", "pause"]), st.just(0.0)),
    st.tuples(st.just("wait"), st.sampled_from([0.02, 0.06, 0.2, 0.5, 1.5])),
)


@pytest.mark.parametrize("holds", [None, False])
@FEW
@given(
    st.sampled_from([*RATES, 48000]),
    st.sampled_from([0.0, 0.06]),
    st.sampled_from([0.005, 0.02]),
    st.lists(STEPS, max_size=20),
)
def test_no_mark_is_played_unheard_or_waits_for_ever_or_blocks_later_ones(
    holds: bool | None, rate: int, delay: float, step: float, steps: list[tuple[str, float]]
) -> None:
    """Each step of time checks that the caller has heard what is called played."""
    line = LineToDouble(rate, delay=delay, step=step, hold_behind_marks=holds)
    for what, seconds in steps:
        if what == "speak":
            line.speak(seconds)
        elif what == "kill":
            line.kill()
        elif what == "clear":
            line.clear_marks()
        elif what == "pause":
            line.toggle_pause()
        elif what == "wait":
            line.wait(seconds)
        else:
            line.mark("same" if what == "same" else f"mark-{len(line.marks)}")
    line.wait(2)
    line.speak(0.5)
    last = line.mark("last")
    line.wait(2)
    assert last.outcome is Outcome.PLAYED
    assert line.call.session.under_way == []
    assert all("a clearMarks" in note.text for note in line.call.notes)


def test_what_a_kill_leaves_stuck_is_reset_behind_its_guard() -> None:
    line = LineToDouble(8000)
    line.speak(0.5)
    line.mark("a")
    line.speak(0.1)
    line.mark("b")
    sent(line)
    line.kill()
    assert sent(line) == ['{"type":"killAudio"}']
    killed = line.now
    line.wait(0.03)
    assert sent(line) == []
    line.wait(0.02)
    assert sent(line) == ["reset"]
    call = line.call
    assert call.ready_at(Audio(b"\1\0"), line.now) == line.now
    assert call.ready_at(Mark("c"), line.now) == pytest.approx(killed + 0.04 + 0.16375, abs=0.011)
    assert (call.ahead(line.now), call.statistics(line.now).buffered) == (0.0, 0.0)
    assert call.session.ahead(line.now) > 0.1
    assert call.all_heard_by(line.now) == line.now
    line.speak(0.3)
    mark = line.mark("c")
    assert mark.seconds == pytest.approx(0.38)
    line.wait(1)
    assert mark.outcome is Outcome.PLAYED
    assert sent(line)[-1] == '{"type":"mark","data":{"name":"c"}}'


def test_a_kill_of_a_mark_at_the_end_of_speech_leaves_nothing_stuck() -> None:
    line = LineToDouble(8000)
    line.speak(0.5)
    line.mark("a")
    line.kill()
    sent(line)
    line.wait(3)
    assert sent(line) == []


def test_audio_of_no_bytes_puts_no_marker_into_the_stream() -> None:
    line = LineToDouble(8000)
    line.speak(0.5)
    line.mark("a")
    line.call.send(Audio(b""), line.now)
    line.kill()
    line.wait(3)
    assert "reset" not in sent(line)


def test_where_streams_are_not_played_in_batches_markers_are_all_that_resets_them() -> None:
    line = LineToDouble(8000, profile=attrs.evolve(DEPLOYED, stream_batch=0.0, prebuffer=0.0))
    line.speak(0.5)
    line.mark("a")
    line.speak(0.1)
    line.kill()
    line.take_sent()
    line.wait(1)
    assert line.take_sent() == [b"\xff\xff" * 30]


def test_who_watches_a_call_is_told_of_what_is_added_to_the_stream() -> None:
    """A recording has it at its place."""

    class Watching:
        def __init__(self) -> None:
            self.audio: list[bytes] = []

        def received(self, audio: Audio, now: float) -> None:
            """Nothing of that."""

        def sent(self, message: Message, now: float) -> None:
            if isinstance(message, Audio):
                self.audio.append(message.pcm)

    line, watching = LineToDouble(8000), Watching()
    line.call.watchers.append(watching)
    line.speak(0.5)
    line.mark("a")
    line.call.send(Audio(b"\1\0"), line.now)
    line.kill()
    line.wait(1)
    assert watching.audio == [one for one in line.take_sent() if isinstance(one, bytes)]
    assert watching.audio[-2:] == [bytes(1280), burst(8000)]


def test_a_reset_that_is_killed_is_sent_again() -> None:
    line = LineToDouble(8000)
    line.speak(0.5)
    line.mark("a")
    line.speak(0.1)
    line.kill()
    line.wait(0.05)
    line.kill()
    sent(line)
    line.wait(0.5)
    assert sent(line) == ["reset"]
    line.kill()
    sent(line)
    line.wait(0.5)
    assert sent(line) == []


def test_a_reset_waits_for_the_end_of_what_is_said_and_what_is_new_waits_for_it() -> None:
    line = LineToDouble(8000, delay=0.05)
    line.speak(0.5)
    line.mark("a")
    line.clear_marks()
    sent(line)
    assert line.call.ready_at(Audio(b"\1\0"), line.now) > line.now + 0.1
    line.speak(0.3)
    (reset, *speech) = sent(line)
    assert reset == "reset"
    assert all(isinstance(piece, bytes) for piece in speech)
    mark = line.mark("b")
    line.wait(1)
    assert mark.outcome is Outcome.PLAYED


def test_audio_goes_out_behind_a_reset_that_nobody_called_in_time_for() -> None:
    line = LineToDouble(8000)
    line.speak(0.5)
    line.mark("a")
    line.speak(0.1)
    line.kill()
    sent(line)
    line.call.send(Audio(b"\1\0"), line.now + 1)
    line.wait(0.01)
    assert sent(line) == ["reset", b"\1\0"]


def test_no_reset_goes_out_behind_a_disconnect_or_if_told_not_to() -> None:
    for options in ({}, {"reset_marks": False}):
        line = LineToDouble(8000, **options)
        line.speak(0.5)
        line.mark("a")
        line.speak(0.1)
        line.kill()
        if not options:
            line.call.send(Disconnect(), line.now)
        sent(line)
        line.wait(3)
        assert "reset" not in sent(line)


def test_at_another_rate_audio_waits_for_the_event_of_the_mark_before_it() -> None:
    line = LineToDouble(24000, delay=0.05)
    line.speak(0.5)
    mark = line.mark("a")
    ready = line.call.ready_at(Audio(b"\1\0"), line.now)
    assert ready == pytest.approx(mark.due + 1)
    sent(line)
    second = line.speak(0.3)
    assert mark.outcome is Outcome.PLAYED
    assert line.is_heard(line.said[0])
    line.mark("b")
    line.wait(1)
    assert line.is_heard(second)


@pytest.mark.parametrize("holds", [True, False])
def test_whether_audio_waits_is_an_option(holds: bool) -> None:
    line = LineToDouble(24000 - 16000 * holds, hold_behind_marks=holds)
    line.speak(0.5)
    line.mark("a")
    assert (line.call.ready_at(Audio(b"\1\0"), line.now) > line.now) is holds


def test_a_mark_that_was_lost_blocks_no_later_one() -> None:
    line = LineToDouble(24000, hold_behind_marks=False)
    marks = []
    for name in "abc":
        line.speak(0.3)
        marks.append(line.mark(name))
    line.wait(1)
    assert [mark.outcome for mark in marks] == [None] * 3
    line.wait(1)
    assert [mark.outcome for mark in marks] == [Outcome.PLAYED] * 3
    assert not line.call.notes  # such as that the platform plays too slowly


def test_a_clear_marks_that_leaves_a_marker_stuck_is_told_of_or_refused() -> None:
    """LP-MARK-18."""

    def marked(**options: Any) -> LineToDouble:
        line = LineToDouble(8000, **options)
        line.call.clear_marks(line.now)
        line.speak(0.5)
        line.mark("a")
        line.mark("b")
        return line

    said = "a clearMarks behind 2 marks with no audio since makes platforms lose the next 2 marks"
    line = marked()
    for _ in range(2):
        line.clear_marks()
        line.mark("c")
    (note,) = line.call.notes
    assert note.text == f"{said}; 160 ms of silence will be sent to prevent that"
    line = marked(reset_marks=False)
    line.clear_marks()
    (note,) = line.call.notes
    assert note.text == f"{said}; wait for the mark event, or send a killAudio"
    line = marked(refuse_clear_marks=True)
    sent(line)
    with pytest.raises(LocalProtocolError, match=r"lose the next 2 marks; wait .*LP-MARK-18"):
        line.clear_marks()
    assert sent(line) == []
    line.speak(0.1)  # the marks have audio behind them now
    line.clear_marks()
    line.mark("c")
    with pytest.raises(LocalProtocolError, match="behind a mark with no audio since"):
        line.clear_marks()
    assert not line.call.notes


def test_on_a_documented_platform_nothing_is_different() -> None:
    line = LineToDouble(24000, profile="documented", refuse_clear_marks=True)
    line.speak(0.5)
    line.mark("a")
    assert line.call.ready_at(Audio(b"\1\0"), line.now) == line.now
    line.call.send(ClearMarks(), line.now)
    line.call.send(KillAudio(), line.now)
    line.wait(0.01)
    sent(line)
    line.wait(3)
    assert sent(line) == []
    assert not line.call.notes
