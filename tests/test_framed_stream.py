"""A stream that is played in frames, from buffers, with the marks inside."""

from __future__ import annotations

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    FLICKS,
    BidirectionalAudio,
    ListenTask,
    ListenVerb,
)
from listenproto._framed_stream import FRAME
from listenproto._heard import Heard, PlayoutEnd, PlayoutFate, PlayoutMark
from listenproto._playout import Playout
from tests.differing import first_difference

PLAYED, CLEARED = PlayoutFate.PLAYED, PlayoutFate.KILLED


def l16(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def audio(milliseconds: int, level: int = 5, rate: int = 8000) -> bytes:
    return l16(level) * (milliseconds * rate // 1000)


def opened(stream_rate: int = 8000, *, max_seconds: float = 60.0) -> Playout:
    playout = Playout(profile=DEPLOYED, stream_rate=stream_rate, max_seconds=max_seconds)
    assert playout.add_stream(audio(160, rate=stream_rate))  # from now on less is enough
    playout.play(10 * FRAME)
    return playout


def told(items: object) -> list[tuple[str, PlayoutFate, int]]:
    """Marks that are over: name, fate, and in which frame."""
    assert isinstance(items, list)
    found = []
    for item in items:
        if isinstance(item, PlayoutEnd):
            assert isinstance(item.item, PlayoutMark)
            found.append((item.item.name, item.fate, item.at // FRAME))
    return found


def heard(items: object) -> bytes:
    assert isinstance(items, list)
    return b"".join(item.pcm for item in items if isinstance(item, Heard))


def test_nothing_is_played_before_there_is_enough() -> None:
    playout = Playout(profile=DEPLOYED, stream_rate=8000, max_seconds=60)
    playout.add_stream(audio(150))
    playout.add_mark("m")
    items = playout.play(FLICKS)
    assert (heard(items), told(items)) == (b"", [("m", PLAYED, 1)])
    playout.add_stream(audio(10))
    assert heard(playout.play(FLICKS)) == audio(160)


def test_a_remainder_opens_the_next_utterance_also_behind_a_kill() -> None:
    playout = opened()
    playout.add_stream(audio(100, 6))
    playout.add_stream(audio(40, 7))
    playout.play(2 * FRAME)
    playout.kill()
    assert heard(playout.play(10 * FRAME)) == audio(20, 6)  # to the end of the frame
    playout.add_stream(audio(100, 8))
    assert heard(playout.play(FLICKS)) == audio(40, 7) + audio(64, 8)  # a piece of 1024 bytes


def test_a_message_is_taken_in_pieces() -> None:
    playout = Playout(profile=DEPLOYED, stream_rate=8000, max_seconds=60)
    playout.add_stream(audio(345))
    assert playout.buffered == FLICKS * 320 // 1000
    assert heard(playout.play(FLICKS)) == audio(320)


def test_a_mark_inside_is_answered_by_the_frame_that_it_opens() -> None:
    playout = opened()
    playout.add_stream(audio(100))
    playout.add_mark("inside")
    playout.add_stream(audio(100))
    playout.add_mark("behind")
    items = playout.play(FLICKS)
    assert told(items) == [("inside", PLAYED, 16), ("behind", PLAYED, 22)]


def test_marks_behind_everything_are_answered_one_a_frame() -> None:
    playout = opened()
    for name in "abc":
        playout.add_mark(name)
    assert told(playout.play(FLICKS)) == [("a", PLAYED, 11), ("b", PLAYED, 12), ("c", PLAYED, 13)]


def test_a_sample_of_the_app_answers_a_mark_that_is_inside() -> None:
    playout = opened()
    playout.add_stream(audio(80) + l16(-1) + audio(80))
    assert l16(-1) in heard(playout.play(20 * FRAME))  # it is audio while no mark is inside
    playout.add_stream(audio(100) + l16(-1) + audio(100))
    playout.add_mark("early")
    playout.add_stream(audio(100))
    items = playout.play(FLICKS)
    assert told(items)[0][:2] == ("early", PLAYED)
    assert told(items)[0][2] < 30 + 200 // 20
    assert heard(items).count(l16(-1)) == 1  # what was put in for the mark, as none is inside


def stuck(playout: Playout) -> None:
    """Have two marks inside killed."""
    for name in ("k1", "k2"):
        playout.add_stream(audio(200))
        playout.add_mark(name)
    playout.add_stream(audio(200))
    playout.add_mark("k3")
    playout.kill()
    cleared = told(playout.play(10 * FRAME))
    assert [(name, fate) for name, fate, _ in cleared] == [(f"k{n}", CLEARED) for n in (1, 2, 3)]
    assert playout.buffered == 0


def test_marks_that_were_inside_swallow_later_ones_whose_names_lag_behind() -> None:
    playout = opened()
    stuck(playout)
    for name in "abcd":
        playout.add_stream(audio(200))
        playout.add_mark(name)
    items = playout.play(2 * FLICKS)
    assert [name for name, *_ in told(items)] == ["a"]  # where c is due
    playout.add_stream(audio(200))
    assert [name for name, *_ in told(playout.play(FLICKS))] == ["b"]


def test_samples_of_minus_one_take_away_what_is_swallowed() -> None:
    playout = opened()
    stuck(playout)
    playout.add_stream(l16(*[-1] * 30) + audio(160, 0))
    playout.play(FLICKS)
    playout.add_mark("m")
    assert [name for name, *_ in told(playout.play(FRAME))] == ["m"]


def test_forgotten_marks_are_swallowed_as_well_though_they_were_behind_everything() -> None:
    playout = opened()
    playout.add_stream(audio(100))
    playout.add_mark("a")
    assert told(playout.clear_marks()) == [("a", PlayoutFate.FORGOTTEN, 10)]
    playout.add_stream(audio(100))
    playout.add_mark("b")
    assert told(playout.play(FLICKS)) == []
    playout.add_stream(audio(100))
    assert told(playout.play(FLICKS)) == []


def test_what_comes_within_the_frame_of_a_kill_is_flushed_too() -> None:
    playout = opened()
    playout.kill()
    playout.add_stream(audio(200))
    playout.add_mark("m")
    items = playout.play(FLICKS)
    assert (heard(items), told(items)) == (b"", [("m", CLEARED, 11)])


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_another_rate_loses_marks_inside_but_not_one_behind_everything(rate: int) -> None:
    playout = opened(rate)
    playout.add_mark("reliable")
    assert told(playout.play(FRAME)) == [("reliable", PLAYED, 11)]
    playout.add_stream(audio(400, rate=rate))
    playout.add_mark("lost")
    playout.add_stream(audio(400, rate=rate))
    items = playout.play(2 * FLICKS)
    assert told(items) == []
    # One sample more stands for the mark, and stays in the first buffer or not.
    assert abs(len(heard(items)) - len(audio(800))) <= len(audio(80)) + 2


def test_a_stream_of_a_lower_rate_is_converted_too() -> None:
    profile = attrs.evolve(DEPLOYED, channel_rate=16000)
    playout = Playout(profile=profile, stream_rate=8000, max_seconds=60)
    playout.add_stream(audio(160))
    (sound,) = {item.rate for item in playout.play(FLICKS) if isinstance(item, Heard)}
    assert (sound, playout.buffered) == (16000, 0)


def test_a_stream_has_a_bound() -> None:
    playout = opened(max_seconds=0.5)
    assert playout.add_stream(audio(500))
    assert not playout.add_stream(audio(200))
    playout.add_mark("m")
    over = playout.flush()
    assert told(over) == [("m", PlayoutFate.FLUSHED, 10)]
    assert playout.play(FLICKS) == []


def test_silence_for_a_mark_is_no_gap_but_running_dry_is() -> None:
    playout = opened()
    for name in "ab":
        playout.add_stream(audio(200))
        playout.add_mark(name)
    playout.add_stream(audio(200))
    playout.play(40 * FRAME)
    assert playout.gaps.count == 1  # since the audio of opened()
    playout.add_stream(audio(200))
    playout.play(20 * FRAME)
    assert playout.gaps.count == 2


operations = st.lists(
    st.one_of(
        st.tuples(st.just("audio"), st.integers(0, 4000)),
        st.tuples(st.sampled_from(["mark", "kill", "clear"]), st.just(0)),
        st.tuples(st.just("play"), st.integers(0, 3 * FRAME)),
    ),
    max_size=20,
)


@given(operations, st.sampled_from([8000, 24000]), st.data())
def test_it_makes_no_difference_in_how_many_steps_time_passes(
    script: list[tuple[str, int]], rate: int, data: st.DataObject
) -> None:
    """LP-TIME-1; and every mark is over once, or still there."""
    whole, split = (Playout(profile=DEPLOYED, stream_rate=rate, max_seconds=60) for _ in range(2))
    items: dict[Playout, list[Heard | PlayoutEnd]] = {whole: [], split: []}
    marks = 0
    for what, size in script:
        marks += what == "mark"
        for playout, found in items.items():
            if what == "audio":
                assert playout.add_stream(bytes(range(1, 255)) * (size // 254 + 1))
            elif what == "mark":
                found += playout.add_mark(str(marks))
            elif what == "kill":
                found += playout.kill()
            elif what == "clear":
                found += playout.clear_marks()
            elif playout is whole:
                found += playout.play(size)
            else:
                cut = data.draw(st.integers(0, size))
                found += playout.play(cut) + playout.play(size - cut)
    assert told(items[split]) == told(items[whole])
    assert not first_difference(heard(items[split]), heard(items[whole]))
    over = told(items[whole] + whole.flush())
    assert sorted(name for name, *_ in over) == sorted(str(n + 1) for n in range(marks))


def test_a_platform_plays_its_streams_so_if_its_profile_says_so() -> None:
    way = BidirectionalAudio(streaming=True, sample_rate=8000)
    verb = ListenVerb(url="ws://app.example/", bidirectional_audio=way, play_beep=True)
    task = ListenTask(verb, {}, profile=DEPLOYED)
    assert sum(len(piece.pcm) for piece in task.play(FLICKS // 4)) == 4000  # the beep
    task.connected()
    task.receive(audio(100))
    task.receive('{"type": "mark", "data": {"name": "m"}}')
    assert task.play(FRAME) == []
    assert list(task.data_to_send())[1] == '{"type":"mark","data":{"name":"m","event":"playout"}}'
