"""What the caller hears: each sentence of the playout decisions, then all of them against a model.

The decisions are those of D8 (clips wait), D10 (playDone), D12 (clip bodies), D13 (killAudio), D14
(marks), D17 (bounded) and D20 (the end). The model is :mod:`tests.flat_model`.
"""

from __future__ import annotations

import base64
import io
import json
import wave
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listenproto._heard import Heard, PlayoutClip, PlayoutEnd, PlayoutFate, PlayoutGaps, PlayoutMark
from listenproto._messages import Mode
from listenproto._playout import Playout
from listenproto._profile import DEPLOYED, DOCUMENTED, Profile
from listenproto._task import ListenTask
from listenproto._verb import BidirectionalAudio, ListenVerb
from listenproto._violation import Violation
from tests.depth import MANY
from tests.flat_model import FLICKS, FRAME, FlatModel, whole_samples

SECOND = FLICKS
SAMPLE = FLICKS // 8000

RAW_RATES = [8000, 16000, 24000, 32000, 48000, 64000]
WAV_RATES = [11025, 44100]

UNBUFFERED = attrs.evolve(DEPLOYED, prebuffer=0.0, stream_batch=0.0)

in_both_profiles = pytest.mark.parametrize(
    "profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name
)


def l16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "little", signed=True) for value in values)


def samples(items: Iterable[Heard | PlayoutEnd]) -> list[tuple[int, int, int]]:
    """What was heard, sample by sample: value, start, rate."""
    return [
        (value, item.start + index * (FLICKS // item.rate), item.rate)
        for item in items
        if isinstance(item, Heard)
        for index, value in enumerate(whole_samples(item.pcm))
    ]


def values(items: Iterable[Heard | PlayoutEnd]) -> list[int]:
    return [value for value, _, _ in samples(items)]


def told(items: Iterable[Heard | PlayoutEnd]) -> list[tuple]:
    """What the app is told of, in the words of the model."""
    events: list[tuple] = []
    for item in items:
        if isinstance(item, Heard) or item.fate not in (PlayoutFate.PLAYED, PlayoutFate.KILLED):
            continue
        if isinstance(item.item, PlayoutClip):
            how = {PlayoutFate.PLAYED: "played", PlayoutFate.KILLED: "killed"}[item.fate]
            events.append(("clip", item.item.id, how, item.at, item.samples))
        else:
            how = {PlayoutFate.PLAYED: "playout", PlayoutFate.KILLED: "cleared"}[item.fate]
            events.append(("mark", item.item.name, how, item.at))
    return events


def fates(items: Iterable[Heard | PlayoutEnd]) -> list[tuple]:
    return [
        (item.item.id if isinstance(item.item, PlayoutClip) else item.item.name, item.fate)
        for item in items
        if isinstance(item, PlayoutEnd)
    ]


@in_both_profiles
def test_a_clip_starts_at_once_when_nothing_plays(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.play(12_345)
    playout.add_clip(l16(1, 2), 8000, "a")
    items = playout.play(SECOND)
    assert samples(items) == [(1, 12_345, 8000), (2, 12_345 + SAMPLE, 8000)]
    assert told(items) == [("clip", "a", "played", 12_345 + 2 * SAMPLE, 2)]


def test_a_clip_waits_behind_the_one_that_plays() -> None:
    playout = Playout()
    playout.add_clip(l16(1, 2), 8000, "a")
    assert playout.add_clip(l16(3, 4), 16000, "b") == []
    items = playout.play(SECOND)
    assert samples(items) == [
        (1, 0, 8000),
        (2, SAMPLE, 8000),
        (3, 2 * SAMPLE, 16000),
        (4, 5 * SAMPLE // 2, 16000),
    ]
    assert told(items) == [
        ("clip", "a", "played", 2 * SAMPLE, 2),
        ("clip", "b", "played", 3 * SAMPLE, 2),
    ]


def test_deployed_a_clip_without_queue_play_starts_at_once_and_drops_what_waits() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.add_clip(l16(1, 2, 3), 8000, "a", queue_play=True)
    playout.add_clip(l16(4, 5, 6), 8000, "b", queue_play=True)
    assert values(playout.play(3 * SAMPLE // 2)) == [1]
    over = playout.add_clip(l16(7), 8000, "c")
    assert fates(over) == [("b", PlayoutFate.FLUSHED)]
    items = playout.play(SECOND)
    starts = (3 * SAMPLE // 2, 5 * SAMPLE // 2, 7 * SAMPLE // 2)
    assert samples(items) == [(n, at, 8000) for n, at in zip((7, 2, 3), starts, strict=True)]
    assert told(items) == [
        ("clip", "c", "played", 5 * SAMPLE // 2, 1),
        ("clip", "a", "played", 9 * SAMPLE // 2, 3),
    ]


def test_deployed_suspended_clips_resume_the_last_one_first() -> None:
    playout = Playout(profile=DEPLOYED)
    for name in "abc":
        playout.add_clip(l16(*name.encode() * 2), 8000, name)
        playout.play(SAMPLE)
    assert playout.buffered == 3 * SAMPLE
    playout.add_clip(l16(1), 8000, "d", queue_play=True)  # nothing waits behind one that resumed
    items = playout.play(SECOND)
    assert values(items) == [1, *b"cba"]
    assert fates(items) == [(name, PlayoutFate.PLAYED) for name in "dcba"]


def test_deployed_a_kill_stops_the_clip_that_plays_and_the_suspended_one_resumes() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.add_clip(l16(*[1] * 200), 8000, "a")
    playout.add_clip(l16(*[2] * 400), 8000, "b")
    playout.play(FRAME)
    playout.kill()
    items = playout.play(SECOND)
    assert Counter(values(items)) == {2: 160, 1: 200}
    assert fates(items) == [("b", PlayoutFate.KILLED), ("a", PlayoutFate.PLAYED)]
    playout.add_clip(l16(1), 8000, "a")
    playout.add_clip(l16(2), 8000, "b")
    assert fates(playout.flush()) == [("b", PlayoutFate.FLUSHED), ("a", PlayoutFate.FLUSHED)]
    assert (playout.buffered, playout.play(SECOND)) == (0, [])


def test_deployed_a_kill_right_behind_a_clip_stops_the_one_that_this_started_over() -> None:
    playout = Playout(profile=DEPLOYED)
    for name in "ab":
        playout.add_clip(l16(*[1] * 800), 8000, name, queue_play=True)
    playout.play(FRAME // 2)
    for name in "cd":
        playout.add_clip(l16(*[2] * 160), 8000, name)
    playout.kill()
    items = playout.play(SECOND)
    assert fates(items) == [
        ("a", PlayoutFate.KILLED),
        ("d", PlayoutFate.PLAYED),
        ("c", PlayoutFate.PLAYED),
    ]
    assert Counter(values(items)) == {2: 320}


def test_without_frames_a_kill_stops_the_clip_that_started_over_another() -> None:
    playout = Playout(profile=attrs.evolve(DEPLOYED, plays_in_frames=False))
    for name in "ab":
        playout.add_clip(l16(1) * 400, 8000, name)
    playout.play(FRAME)
    assert told(playout.kill()) == [("clip", "b", "killed", FRAME, 160)]
    assert told(playout.play(SECOND)) == [("clip", "a", "played", FRAME + 400 * SAMPLE, 400)]


def test_deployed_a_queued_clip_waits_behind_a_running_queue() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.add_clip(l16(1), 8000, "a", queue_play=True)
    assert playout.add_clip(l16(2), 8000, "b", queue_play=True) == []
    playout.play(SAMPLE)
    assert playout.add_clip(l16(3), 8000, "c", queue_play=True) == []
    assert values(playout.play(SECOND)) == [2, 3]


def test_deployed_a_queued_clip_waits_behind_no_other_clip() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.add_clip(l16(1, 2), 8000, "a", queue_play=False)
    assert playout.add_clip(l16(3, 4), 8000, "b", queue_play=True) == []
    assert playout.add_clip(l16(5), 8000, "c", queue_play=True) == []
    assert values(playout.play(SECOND)) == [3, 4, 5, 1, 2]


def test_play_done_comes_once_for_each_clip_in_order() -> None:
    playout = Playout()
    for name in "abc":
        playout.add_clip(l16(1), 8000, name)
    done = [told(playout.play(SAMPLE)) for _ in range(4)]
    assert done == [
        [("clip", "a", "played", SAMPLE, 1)],
        [("clip", "b", "played", 2 * SAMPLE, 1)],
        [("clip", "c", "played", 3 * SAMPLE, 1)],
        [],
    ]


def test_play_done_waits_for_the_last_flick() -> None:
    playout = Playout()
    playout.add_clip(l16(1), 8000, "a")
    assert playout.play(SAMPLE - 1) == []
    assert playout.buffered == SAMPLE
    assert told(playout.play(1)) == [("clip", "a", "played", SAMPLE, 1)]
    assert playout.buffered == 0


def test_no_play_done_for_a_clip_that_a_kill_stopped_or_flushed() -> None:
    playout = Playout()
    playout.add_clip(l16(1, 2), 8000, "a")
    playout.add_clip(l16(3), 8000, "b")
    playout.play(SAMPLE)
    over = playout.kill()
    assert told(over) == []
    assert fates(over) == [("a", PlayoutFate.FLUSHED), ("b", PlayoutFate.FLUSHED)]
    assert playout.play(SECOND) == []


def test_deployed_a_killed_clip_yields_its_play_done_and_those_behind_play_on() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.play(5)
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        playout.add_clip(l16(*[value] * 200), 8000, name, queue_play=True)
    assert playout.kill() == []
    items = playout.play(SECOND)
    assert told(items) == [
        ("clip", "a", "killed", FRAME, 159),
        ("clip", "b", "played", FRAME + 200 * SAMPLE, 200),
        ("clip", "c", "played", FRAME + 400 * SAMPLE, 200),
    ]
    assert Counter(values(items)) == {1: 159, 2: 200, 3: 200}


WITH_GAPS = attrs.evolve(DEPLOYED, clip_gap=0.06)
MILLISECOND = SECOND // 1000


@pytest.mark.parametrize("step", [SECOND, FRAME // 3])
def test_a_clip_that_waited_starts_after_the_gap_of_the_profile(step: int) -> None:
    playout = Playout(profile=WITH_GAPS)
    for name, length in (("a", 400), ("b", 400), ("none", 0), ("c", 400)):
        playout.add_clip(l16(1) * length, 8000, name, queue_play=True)
    items = [item for _ in range(SECOND // step) for item in playout.play(step)]
    ends = [(name, at // MILLISECOND) for _, name, _, at, _ in told(items)]
    assert ends == [("a", 50), ("b", 160), ("none", 220), ("c", 330)]
    assert playout.gaps.count == 0
    playout.add_clip(l16(2), 8000, queue_play=True)
    assert samples(playout.play(SECOND)) == [(2, SECOND, 8000)]


def test_a_gap_is_also_behind_a_killed_clip_and_before_none_that_resumes() -> None:
    playout = Playout(profile=WITH_GAPS)
    playout.add_clip(l16(1) * 400, 8000, "a", queue_play=True)
    playout.add_clip(l16(2) * 400, 8000, "b", queue_play=True)
    playout.kill()
    assert told(playout.play(40 * MILLISECOND)) == [("clip", "a", "killed", FRAME, 160)]
    playout.add_clip(l16(3) * 400, 8000, "c")  # over b, which had not started
    ends = [(name, at // MILLISECOND) for _, name, _, at, _ in told(playout.play(SECOND))]
    assert ends == [("c", 90), ("b", 140)]


@in_both_profiles
def test_an_empty_clip_is_done_at_once(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.play(777)
    assert told(playout.add_clip(b"", 8000, "a")) == [("clip", "a", "played", 777, 0)]
    assert playout.play(SECOND) == []


@in_both_profiles
def test_an_empty_clip_is_done_in_its_turn(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.add_clip(l16(1), 8000, "a", queue_play=True)
    for name in ("b", "c"):
        assert playout.add_clip(b"", 8000, name, queue_play=True) == []
    assert playout.play(SAMPLE - 1) == []
    assert told(playout.play(1)) == [
        ("clip", "a", "played", SAMPLE, 1),
        ("clip", "b", "played", SAMPLE, 0),
        ("clip", "c", "played", SAMPLE, 0),
    ]


def test_kill_stops_what_plays_inside_a_sample() -> None:
    playout = Playout()
    playout.add_stream(l16(1, 2, 3))
    assert values(playout.play(2 * SAMPLE - 1)) == [1]
    playout.kill()
    assert playout.buffered == 0
    assert playout.play(SECOND) == []


def test_kill_clears_each_pending_mark_in_order() -> None:
    playout = Playout()
    playout.add_stream(l16(1))
    playout.add_mark("reached")
    playout.add_stream(l16(2))
    for name in ("b", "a", "b"):
        playout.add_mark(name)
    assert told(playout.play(SAMPLE)) == [("mark", "reached", "playout", SAMPLE)]
    assert told(playout.kill()) == [("mark", name, "cleared", SAMPLE) for name in ("b", "a", "b")]
    assert playout.play(SECOND) == []


def test_kill_concerns_only_what_came_before_it() -> None:
    playout = Playout()
    playout.add_stream(l16(1, 2))
    playout.play(5)
    playout.kill()
    playout.add_stream(l16(3))
    playout.add_mark("m")
    items = playout.play(SECOND)
    assert samples(items) == [(3, 5, 8000)]
    assert told(items) == [("mark", "m", "playout", 5 + SAMPLE)]


def test_kill_does_nothing_when_nothing_plays() -> None:
    playout = Playout()
    assert playout.kill() == []
    assert told(playout.add_mark("m")) == [("mark", "m", "playout", 0)]
    playout.add_stream(l16(1))
    assert values(playout.play(SECOND)) == [1]


@pytest.mark.parametrize("profile", [DOCUMENTED, UNBUFFERED], ids=lambda profile: profile.name)
def test_the_carried_byte_survives_a_kill(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.add_stream(l16(1, 2)[:3])
    playout.kill()
    playout.play(FRAME)
    playout.add_stream(l16(2, 3)[1:])
    assert values(playout.play(SECOND)) == [2, 3]


@pytest.mark.parametrize(
    ("now", "effect"),
    [(0, FRAME), (1, FRAME), (FRAME - 1, FRAME), (FRAME, 2 * FRAME), (5 * FRAME + 9, 6 * FRAME)],
)
def test_deployed_kill_takes_effect_at_the_next_frame(now: int, effect: int) -> None:
    playout = Playout(profile=DEPLOYED)
    playout.play(now)
    playout.add_clip(l16(*range(400)), 8000, "a")
    assert playout.kill() == []
    items = playout.play(SECOND)
    heard = (effect - now) // SAMPLE
    assert told(items) == [("clip", "a", "killed", effect, heard)]
    assert values(items) == list(range(heard))


def test_deployed_kill_spares_the_clips_behind_a_beep() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.add_sound(l16(*[9] * 400), 8000)
    playout.add_clip(l16(1), 8000, "a", queue_play=True)
    playout.kill()
    items = playout.play(SECOND)
    assert values(items) == [9] * 160 + [1]
    assert told(items) == [("clip", "a", "played", FRAME + SAMPLE, 1)]


def test_deployed_a_second_kill_in_the_same_frame_adds_nothing() -> None:
    playout = Playout(profile=DEPLOYED)
    for name in "ab":
        playout.add_clip(l16(1) * 400, 8000, name, queue_play=True)
    playout.kill()
    playout.play(FRAME // 2)
    playout.kill()
    assert told(playout.play(SECOND)) == [
        ("clip", "a", "killed", FRAME, 160),
        ("clip", "b", "played", FRAME + 400 * SAMPLE, 400),
    ]


def test_a_mark_comes_back_when_playout_gets_there() -> None:
    playout = Playout()
    playout.add_stream(l16(1, 2))
    assert playout.add_mark("m") == []
    playout.add_stream(l16(3))
    assert told(playout.play(2 * SAMPLE - 1)) == []
    assert told(playout.play(1)) == [("mark", "m", "playout", 2 * SAMPLE)]
    assert values(playout.play(SAMPLE)) == [3]


def test_a_mark_comes_back_at_once_when_nothing_is_buffered() -> None:
    playout = Playout()
    playout.play(99)
    assert told(playout.add_mark("m")) == [("mark", "m", "playout", 99)]
    playout.add_stream(l16(1))
    playout.play(SAMPLE)
    assert told(playout.add_mark("n")) == [("mark", "n", "playout", 99 + SAMPLE)]


def test_a_mark_stands_after_the_last_whole_sample() -> None:
    playout = Playout()
    playout.add_stream(l16(1, 2)[:3])
    playout.add_mark("m")
    playout.add_stream(l16(1, 2)[3:])
    playout.add_mark("n")
    assert told(playout.play(SECOND)) == [
        ("mark", "m", "playout", SAMPLE),
        ("mark", "n", "playout", 2 * SAMPLE),
    ]


def test_half_a_sample_is_nothing_buffered() -> None:
    playout = Playout()
    playout.add_stream(b"\1")
    assert told(playout.add_mark("m")) == [("mark", "m", "playout", 0)]


def test_the_same_name_twice_is_two_marks() -> None:
    playout = Playout()
    playout.add_stream(l16(1))
    playout.add_mark("m")
    playout.add_mark("m")
    assert told(playout.play(SECOND)) == [("mark", "m", "playout", SAMPLE)] * 2


def test_clear_marks_forgets_pending_marks_and_no_event_comes() -> None:
    playout = Playout()
    playout.add_stream(l16(1))
    playout.add_mark("m")
    playout.add_stream(l16(2))
    playout.add_mark("n")
    over = playout.clear_marks()
    assert told(over) == []
    assert fates(over) == [("m", PlayoutFate.FORGOTTEN), ("n", PlayoutFate.FORGOTTEN)]
    playout.add_mark("later")
    items = playout.play(SECOND)
    assert samples(items) == [(1, 0, 8000), (2, SAMPLE, 8000)]
    assert told(items) == [("mark", "later", "playout", 2 * SAMPLE)]


def test_deployed_marks_that_wait_for_a_kill_can_be_forgotten() -> None:
    playout = Playout(profile=DEPLOYED)
    playout.add_stream(l16(1) * 1600)
    playout.kill()
    playout.add_mark("m")
    assert playout.clear_marks() == [PlayoutEnd(PlayoutMark("m"), PlayoutFate.FORGOTTEN, 0)]
    assert playout.buffered > 0
    assert told(playout.play(FRAME)) == []
    assert playout.buffered == 0


def test_what_was_heard_ends_exactly_and_is_short_to_read() -> None:
    late = 2**60 + 1
    assert Heard(l16(1, 2), 8000, late).end == late + 2 * SAMPLE
    assert "<4 bytes>" in repr(Heard(l16(1, 2), 8000, late))


def test_an_hour_may_be_buffered() -> None:
    assert Playout().has_room(3600 * SECOND)
    assert not Playout().has_room(3600 * SECOND + 1)


def test_what_is_over_says_when_and_after_how_much_of_a_clip() -> None:
    playout = Playout()
    playout.add_stream(l16(1, 2))
    playout.add_mark("m")
    playout.play(SAMPLE)
    (mark,) = playout.clear_marks()
    assert (mark.at, mark.samples) == (SAMPLE, 0)


def test_a_clip_waits_for_no_other_unless_asked_to() -> None:
    playout = Playout(profile=DEPLOYED, max_seconds=3 / 8000)
    playout.add_clip(l16(1), 8000, queue_play=True)
    playout.add_clip(l16(2), 8000, queue_play=True)
    assert not playout.has_room_for_clip(2 * SAMPLE, queue_play=True)
    assert playout.has_room_for_clip(2 * SAMPLE)
    assert fates(playout.add_clip(l16(3, 4), 8000)) == [(None, PlayoutFate.FLUSHED)]


@in_both_profiles
def test_a_forgotten_mark_is_not_cleared(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.add_stream(l16(*[1] * 400))
    playout.add_mark("m")
    playout.clear_marks()
    assert told(playout.kill()) + told(playout.play(SECOND)) == []


def test_stream_beyond_the_bound_is_refused() -> None:
    playout = Playout(max_seconds=3 / 8000)
    assert playout.add_stream(l16(1, 2))
    assert not playout.add_stream(l16(3, 4))
    assert playout.buffered == 2 * SAMPLE
    assert playout.add_stream(l16(5))
    assert not playout.add_stream(l16(6))
    assert values(playout.play(SAMPLE)) == [1]
    assert playout.add_stream(l16(7))
    assert values(playout.play(SECOND)) == [2, 5, 7]


def test_a_refused_message_leaves_the_samples_aligned() -> None:
    playout = Playout(max_seconds=1 / 8000)
    playout.add_stream(l16(1))
    assert not playout.add_stream(l16(2, 3)[:3])
    playout.play(SAMPLE)
    playout.add_stream(l16(2, 3)[3:])
    playout.play(SAMPLE)
    playout.add_stream(l16(4))
    assert values(playout.play(SECOND)) == [4]


def test_there_is_room_up_to_the_bound_to_the_flick() -> None:
    playout = Playout(max_seconds=1.0)
    playout.add_clip(l16(*[0] * 4000), 8000)
    assert playout.has_room(SECOND // 2)
    assert not playout.has_room(SECOND // 2 + 1)


@in_both_profiles
def test_flush_drops_all_and_tells_nothing(profile: Profile) -> None:
    playout = Playout(profile=profile)
    playout.add_stream(l16(1, 2))
    playout.add_mark("m")
    assert told(playout.flush()) == []
    assert playout.buffered == 0
    assert playout.play(SECOND) == []
    playout.add_clip(l16(1), 8000, "a", queue_play=True)
    playout.add_clip(l16(2), 8000, "b", queue_play=True)
    assert fates(playout.flush()) == [("a", PlayoutFate.FLUSHED), ("b", PlayoutFate.FLUSHED)]
    assert playout.play(SECOND) == []


class AddClip(NamedTuple):
    length: int
    rate: int
    queue_play: bool


class AddStream(NamedTuple):
    size: int


class AddMark(NamedTuple):
    name: str


class ClearMarks(NamedTuple):
    pass


class Kill(NamedTuple):
    pass


class Play(NamedTuple):
    """Let time pass until so many flicks after (or before) a place."""

    to: str
    offset: int


Op = AddClip | AddStream | AddMark | ClearMarks | Kill | Play

PLACES: dict[str, Callable[[FlatModel], int]] = {
    "now": lambda model: 0,
    "sample end": FlatModel.until_sample_end,
    "end": FlatModel.until_end,
    "frame": lambda model: FRAME - model.now % FRAME,
}


def flicks(op: Play, model: FlatModel) -> int:
    return max(0, PLACES[op.to](model) + op.offset)


plays = st.builds(
    Play,
    st.sampled_from(["sample end", "end", "frame"]),
    st.just(0)
    | st.sampled_from([-1, 1, SAMPLE, FRAME, SECOND, SECOND + 1])
    | st.integers(-SAMPLE, SAMPLE),
) | st.builds(
    Play,
    st.just("now"),
    st.integers(0, 3 * SAMPLE)
    | st.builds(lambda n, r: n * (FLICKS // r), st.integers(1, 60), st.sampled_from(RAW_RATES)),
)
clips = st.builds(
    AddClip, st.integers(0, 40), st.sampled_from(RAW_RATES + WAV_RATES), st.booleans()
)
queued_clips = clips.map(lambda clip: clip._replace(queue_play=True))
streams = st.builds(AddStream, st.integers(0, 80) | st.sampled_from([320, 401]))
marks = st.builds(AddMark, st.sampled_from("mmno"))
clip_talks = st.lists(clips | queued_clips | plays | st.builds(Kill), max_size=25)
stream_talks = st.lists(
    streams | streams | marks | plays | plays | st.builds(Kill) | st.builds(ClearMarks), max_size=30
)
profiles = st.sampled_from([DOCUMENTED, DEPLOYED])


def calls(
    clip_talks: st.SearchStrategy[list[Op]], stream_talks: st.SearchStrategy[list[Op]]
) -> st.SearchStrategy[tuple[Profile, list[Op]]]:
    """A profile and what is done; the model does not know how deployed platforms play a stream."""
    return st.tuples(profiles, clip_talks) | st.tuples(st.just(DOCUMENTED), stream_talks)


talks = calls(clip_talks, stream_talks)
stream_rates = st.sampled_from(RAW_RATES)


class Source:
    """Samples of which no two are alike, and how many bytes of them were sent."""

    def __init__(self) -> None:
        self._values: list[int] = []
        self._size = 0

    def take(self, size: int) -> bytes:
        while 2 * len(self._values) < self._size + size:
            value = (len(self._values) + 1) * 40_503 % 65_536
            self._values.append(value - 65_536 if value > 32_767 else value)
        taken = l16(*self._values[self._size // 2 :])[self._size % 2 :][:size]
        self._size += size
        return taken

    @property
    def sent(self) -> list[int]:
        return self._values[: self._size // 2]


class Talk:
    """A playout and the model, told the same."""

    def __init__(self, profile: Profile, stream_rate: int) -> None:
        self.playout = Playout(profile=profile, stream_rate=stream_rate)
        self.model = FlatModel(deployed=profile is DEPLOYED, max_waiting=float("inf"))
        self.stream_rate = stream_rate
        self.source = Source()
        self.steps: list[int] = []
        self.added = Counter[object]()

    def do(self, op: Op) -> list[Heard | PlayoutEnd]:
        items: list[Heard | PlayoutEnd] = []
        if isinstance(op, AddClip):
            pcm, clip_id = self.source.take(2 * op.length), sum(self.added.values())
            self.added[clip_id] += 1
            items += self.playout.add_clip(pcm, op.rate, clip_id, queue_play=op.queue_play)
            self.model.clip(pcm, op.rate, clip_id, queue_play=op.queue_play)
        elif isinstance(op, AddStream):
            pcm = self.source.take(op.size)
            assert self.playout.add_stream(pcm)
            self.model.stream(pcm, self.stream_rate)
        elif isinstance(op, AddMark):
            self.added[op.name] += 1
            items += self.playout.add_mark(op.name)
            self.model.mark(op.name)
        elif isinstance(op, ClearMarks):
            items += self.playout.clear_marks()
            self.model.clear_marks()
        elif isinstance(op, Kill):
            items += self.playout.kill()
            self.model.kill()
        else:
            self.steps.append(flicks(op, self.model))
            items += self.playout.play(self.steps[-1])
            self.model.play(self.steps[-1])
        return items


@MANY
@given(stream_rates, talks)
@example(8000, (DEPLOYED, [AddClip(160, 8000, True), AddClip(9, 8000, True), Kill()]))
def test_the_caller_hears_what_the_model_plays(
    stream_rate: int, call: tuple[Profile, list[Op]]
) -> None:
    profile, talk = call
    both = Talk(profile, stream_rate)
    playout, model = both.playout, both.model
    for op in [*talk, Play("frame", 0), Play("end", 0)]:
        items = both.do(op)
        assert samples(items) == model.heard
        assert told(items) == model.over
        assert playout.buffered == model.left()
        assert playout.now == model.now
        assert playout.gaps == PlayoutGaps(len(model.gaps), sum(model.gaps))
        model.heard.clear()
        model.over.clear()
    assert playout.buffered == 0


def merged(items: Iterable[Heard | PlayoutEnd]) -> list[Heard | PlayoutEnd]:
    """The same with adjoining pieces of sound joined."""
    joined: list[Heard | PlayoutEnd] = []
    for item in items:
        last = joined[-1] if joined else None
        if (
            isinstance(item, Heard)
            and isinstance(last, Heard)
            and (last.end, last.rate) == (item.start, item.rate)
        ):
            joined[-1] = Heard(last.pcm + item.pcm, last.rate, last.start)
        else:
            joined.append(item)
    return joined


@MANY
@given(stream_rates, talks, st.data())
def test_it_makes_no_difference_in_how_many_steps_time_passes(
    stream_rate: int, call: tuple[Profile, list[Op]], data: st.DataObject
) -> None:
    """LP-TIME-1."""
    profile, talk = call
    whole, split = Talk(profile, stream_rate), Talk(profile, stream_rate)
    for op in [*talk, Play("end", FRAME)]:
        items = whole.do(op)
        if not isinstance(op, Play):
            assert split.do(op) == items
            continue
        step = whole.steps[-1]
        cut = data.draw(st.integers(0, step) | st.just(min(step, SAMPLE)))
        pieces = split.do(Play("now", cut)) + split.do(Play("now", step - cut))
        assert merged(pieces) == merged(items)
        assert split.playout.gaps == whole.playout.gaps


@MANY
@given(
    stream_rates,
    calls(
        st.lists(queued_clips | plays, max_size=20),
        st.lists(streams | marks | plays, max_size=20),
    ),
)
def test_what_is_heard_is_the_front_of_what_was_sent(
    stream_rate: int, call: tuple[Profile, list[Op]]
) -> None:
    profile, talk = call
    both = Talk(profile, stream_rate)
    rates: list[int] = []
    heard: list[int] = []
    for op in [*talk, Play("end", 0)]:
        items = both.do(op)
        if isinstance(op, AddClip):
            rates += [op.rate] * op.length
        sent = both.source.sent
        rates += [stream_rate] * (len(sent) - len(rates))
        heard += values(items)
        assert heard == sent[: len(heard)]
        assert both.playout.buffered == sum(FLICKS // rate for rate in rates[len(heard) :])
    assert heard == both.source.sent


@MANY
@given(stream_rates, talks)
def test_nothing_is_heard_twice_and_everything_is_over_once(
    stream_rate: int, call: tuple[Profile, list[Op]]
) -> None:
    profile, talk = call
    both = Talk(profile, stream_rate)
    items: list[Heard | PlayoutEnd] = []
    for op in talk:
        items += both.do(op)
    items += both.playout.play(FRAME) + both.playout.play(both.playout.buffered)
    sent, heard = both.source.sent, values(items)
    assert len(set(heard)) == len(heard) and set(heard) <= set(sent)
    assert Counter(name for name, _ in fates(items)) == both.added
    assert both.playout.buffered == 0


def wav(pcm: bytes, rate: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


def play_audio(content: bytes, **data: object) -> str:
    data = {"audioContent": base64.b64encode(content).decode(), "audioContentType": "raw", **data}
    return json.dumps({"type": "playAudio", "data": data})


def mark(name: str) -> str:
    return json.dumps({"type": "mark", "data": {"name": name}})


KILL = '{"type": "killAudio"}'
CLEAR = '{"type": "clearMarks"}'


def open_task(
    mode: Mode, profile: Profile, *, stream_rate: int = 8000, **options: float
) -> ListenTask:
    way = BidirectionalAudio(streaming=mode is Mode.STREAMING, sample_rate=stream_rate)
    verb = ListenVerb(url="wss://example.com/", bidirectional_audio=way)
    task = ListenTask(verb, {"callSid": "c"}, profile=profile, **options)
    task.connected()
    assert len(list(task.data_to_send())) == 1
    return task


def messages(task: ListenTask) -> list[dict]:
    """The JSON objects that go out; deployed platforms put several into one text."""
    found = []
    for text in task.data_to_send():
        assert isinstance(text, str)
        end = 0
        while end < len(text):
            message, end = json.JSONDecoder().raw_decode(text, end)
            found.append(message)
    return found


def events(task: ListenTask) -> list[tuple]:
    """playDone (with the id, where it is sent) and mark events that go out."""
    return [
        ("playDone", message.get("data", {}).get("id"))
        if message["type"] == "playDone"
        else ("mark", message["data"]["name"], message["data"]["event"])
        for message in messages(task)
    ]


def clauses(received: Iterable[object]) -> list[str]:
    return [event.clause for event in received if isinstance(event, Violation)]


class TaskTalk:
    """A listen task and the model, told the same."""

    def __init__(self, mode: Mode, profile: Profile, stream_rate: int) -> None:
        self.task = open_task(mode, profile, stream_rate=stream_rate)
        self.stream_rate = stream_rate
        self.model = FlatModel(deployed=profile is DEPLOYED)
        self.source = Source()
        self.clips = 0

    def clip_id(self) -> str | int | None:
        return [f"clip {self.clips}", self.clips, None][self.clips % 3]

    def do(self, op: Op) -> list[Heard]:
        """Tells both; the answer on refusal must be the same."""
        if isinstance(op, AddClip):
            pcm = self.source.take(2 * op.length)
            data: dict[str, object] = {"id": self.clip_id(), "sampleRate": op.rate}
            self.clips += 1
            if op.queue_play:
                data["queuePlay"] = True
            content = pcm
            if op.rate not in self.task.profile.raw_clip_rates:
                data["audioContentType"] = "wave" if self.clips % 2 else "wav"
                content = wav(pcm, op.rate)
            refused = clauses(self.task.receive(play_audio(content, **data)))
            taken = self.model.clip(pcm, op.rate, data["id"], queue_play=op.queue_play)
            assert refused == ([] if taken else ["LP-CLIP-2"])
        elif isinstance(op, AddStream):
            pcm = self.source.take(op.size)
            assert clauses(self.task.receive(pcm)) == []
            self.model.stream(pcm, self.stream_rate)
        elif isinstance(op, AddMark):
            assert clauses(self.task.receive(mark(op.name))) == []
            self.model.mark(op.name)
        elif isinstance(op, ClearMarks):
            assert clauses(self.task.receive(CLEAR)) == []
            self.model.clear_marks()
        elif isinstance(op, Kill):
            assert clauses(self.task.receive(KILL)) == []
            self.model.kill()
        else:
            step = flicks(op, self.model)
            self.model.play(step)
            return self.task.play(step)
        return []


def many(one: st.SearchStrategy[list[Op]], times: int) -> st.SearchStrategy[list[Op]]:
    return st.builds(lambda ops, n: ops * n, one, st.integers(1, times))


task_calls = st.tuples(
    st.just(Mode.CLIPS),
    profiles,
    st.lists(
        many(st.tuples(clips | queued_clips).map(list), 13)
        | plays.map(lambda p: [p])
        | st.just([Kill()]),
        max_size=12,
    ),
) | st.tuples(
    st.just(Mode.STREAMING),
    st.just(DOCUMENTED),
    st.lists(
        st.tuples(marks).map(list)
        | streams.map(lambda s: [s])
        | plays.map(lambda p: [p])
        | st.sampled_from([[Kill()], [ClearMarks()]]),
        max_size=20,
    ),
)


@MANY
@given(stream_rates, task_calls)
def test_the_app_is_told_what_the_model_tells(
    stream_rate: int, call: tuple[Mode, Profile, list[list[Op]]]
) -> None:
    mode, profile, talk = call
    both = TaskTalk(mode, profile, stream_rate)
    for op in [*(op for ops in talk for op in ops), Play("frame", 0), Play("end", 0)]:
        heard = both.do(op)
        assert samples(heard) == both.model.heard
        expected: list[tuple] = [
            ("playDone", over[1] if profile is DEPLOYED else None)
            if over[0] == "clip"
            else over[:3]
            for over in both.model.over
        ]
        assert events(both.task) == expected
        both.model.heard.clear()
        both.model.over.clear()


@pytest.mark.parametrize(("profile", "may_wait"), [(DOCUMENTED, 10), (DEPLOYED, 11)])
def test_so_many_clips_may_wait_and_one_more_is_refused(profile: Profile, may_wait: int) -> None:
    task = open_task(Mode.CLIPS, profile)
    clip = {"sampleRate": 8000, "queuePlay": True}
    for value in range(1 + may_wait):
        assert clauses(task.receive(play_audio(l16(value), **clip))) == []
    assert clauses(task.receive(play_audio(l16(-1), **clip))) == ["LP-CLIP-2"]
    assert values(task.play(SAMPLE)) == [0]
    assert clauses(task.receive(play_audio(l16(100), **clip))) == []
    assert values(task.play(SECOND)) == [*range(1, 1 + may_wait), 100]
    assert events(task) == [("playDone", None)] * (2 + may_wait)


def test_a_killed_queue_leaves_room_for_a_new_one() -> None:
    task = open_task(Mode.CLIPS, DOCUMENTED)
    for value in range(11):
        task.receive(play_audio(l16(value), sampleRate=8000))
    task.receive(KILL)
    for value in range(11):
        assert clauses(task.receive(play_audio(l16(-value), sampleRate=8000))) == []
    assert values(task.play(SECOND)) == [-value for value in range(11)]
    assert events(task) == [("playDone", None)] * 11


def test_deployed_interrupting_clips_are_no_queue() -> None:
    task = open_task(Mode.CLIPS, DEPLOYED)
    for turn in range(5):
        task.receive(play_audio(l16(1, 2), sampleRate=8000, id=f"now {turn}"))
        for place in range(3):
            queued = play_audio(l16(3), sampleRate=8000, id=f"{turn}.{place}", queuePlay=True)
            assert clauses(task.receive(queued)) == []
    task.play(SECOND)
    over = [name for turn in (3, 2, 1, 0) for name in (f"{turn}.0", f"now {turn}")]
    done = ["4.0", "4.1", "4.2", "now 4", *over]  # what waited was dropped before
    assert events(task) == [("playDone", name) for name in done]


def test_deployed_so_many_clips_may_be_suspended() -> None:
    task = open_task(Mode.CLIPS, DEPLOYED)
    clip = play_audio(l16(1), sampleRate=8000)
    assert [clauses(task.receive(clip)) for _ in range(13)] == [[]] * 12 + [["LP-CLIP-2"]]


def test_deployed_a_killed_clip_comes_back_by_its_id() -> None:
    task = open_task(Mode.CLIPS, DEPLOYED)
    task.receive(play_audio(l16(*[1] * 400), sampleRate=8000, id="a"))
    task.receive(KILL)
    task.play(FRAME - 1)
    assert events(task) == []
    task.play(1)
    assert events(task) == [("playDone", "a")]


def test_marks_go_out_when_they_are_over_not_when_time_passes() -> None:
    task = open_task(Mode.STREAMING, DOCUMENTED)
    task.receive(mark("at once"))
    task.receive(l16(1, 2))
    task.receive(mark("m"))
    assert events(task) == [("mark", "at once", "playout")]
    task.receive(KILL)
    assert events(task) == [("mark", "m", "cleared")]


@in_both_profiles
def test_a_broken_clip_yields_no_play_done_and_the_next_one_starts(profile: Profile) -> None:
    task = open_task(Mode.CLIPS, profile)
    mu_law = bytearray(wav(l16(1, 2), 8000))
    mu_law[20] = 7
    broken = [
        (play_audio(b"RIFF", audioContentType="wav"), "LP-CLIP-10"),
        (play_audio(bytes(mu_law), audioContentType="wav"), "LP-CLIP-10"),
        (play_audio(wav(l16(1), 8001), audioContentType="wav"), "LP-CLIP-10"),
        (play_audio(l16(1), audioContentType="mp3"), "LP-CLIP-7"),
        ('{"type": "playAudio", "data": {"audioContentType": "raw"}}', "LP-CLIP-6"),
    ]
    for text, clause in broken:
        assert clauses(task.receive(text)) == [clause]
    task.receive(play_audio(l16(5), sampleRate=8000))
    assert samples(task.play(SECOND)) == [(5, 0, 8000)]
    assert events(task) == [("playDone", None)]


@in_both_profiles
def test_the_last_byte_of_an_odd_clip_is_dropped_and_reported(profile: Profile) -> None:
    task = open_task(Mode.CLIPS, profile)
    assert clauses(task.receive(play_audio(l16(1, 2) + b"\3", sampleRate=8000))) == ["LP-CLIP-16"]
    assert values(task.play(SECOND)) == [1, 2]
    assert events(task) == [("playDone", None)]


@in_both_profiles
def test_a_lone_byte_is_an_empty_clip(profile: Profile) -> None:
    task = open_task(Mode.CLIPS, profile)
    task.receive(play_audio(b"\3", sampleRate=8000))
    assert events(task) == [("playDone", None)]


@in_both_profiles
def test_a_wav_brings_its_own_rate_and_two_channels_become_one(profile: Profile) -> None:
    task = open_task(Mode.CLIPS, profile)
    stereo = wav(l16(100, 300, -5, -7), 44100, channels=2)
    task.receive(play_audio(stereo, audioContentType="wav", sampleRate=8000))
    assert samples(task.play(SECOND)) == [(200, 0, 44100), (-6, FLICKS // 44100, 44100)]


def test_deployed_the_31st_pending_mark_never_comes_back() -> None:
    task = open_task(Mode.STREAMING, DEPLOYED)
    task.receive(l16(1))
    for number in range(31):
        task.receive(mark(f"m{number}"))
    task.play(SECOND)
    assert events(task) == [("mark", f"m{number}", "playout") for number in range(30)]


@in_both_profiles
def test_a_clip_beyond_the_bound_is_refused_and_reported(profile: Profile) -> None:
    task = open_task(Mode.CLIPS, profile, max_seconds=3 / 8000)
    clip = {"sampleRate": 8000, "queuePlay": True}
    assert clauses(task.receive(play_audio(l16(1, 2), **clip))) == []
    assert clauses(task.receive(play_audio(l16(3, 4), **clip))) == ["LP-STRM-5"]
    assert clauses(task.receive(play_audio(l16(5), **clip))) == []
    assert values(task.play(SECOND)) == [1, 2, 5]
    assert events(task) == [("playDone", None)] * 2


def test_a_stream_message_beyond_the_bound_is_refused_and_reported() -> None:
    task = open_task(Mode.STREAMING, DOCUMENTED, max_seconds=3 / 8000)
    assert clauses(task.receive(l16(1, 2))) == []
    assert clauses(task.receive(l16(3, 4))) == ["LP-STRM-5"]
    task.receive(mark("m"))
    assert clauses(task.receive(l16(5))) == []
    assert values(task.play(SECOND)) == [1, 2, 5]
    assert events(task) == [("mark", "m", "playout")]


def test_deployed_a_clip_that_starts_at_once_needs_no_room_beside_what_it_drops() -> None:
    task = open_task(Mode.CLIPS, DEPLOYED, max_seconds=3 / 8000)
    for value, queued in ((1, True), (2, True), (3, False), (4, False)):
        clip = play_audio(l16(value), sampleRate=8000, queuePlay=queued)
        assert clauses(task.receive(clip)) == []
    clip = play_audio(l16(5), sampleRate=8000)
    assert clauses(task.receive(clip)) == ["LP-STRM-5"]  # suspended ones stay
    assert values(task.play(SECOND)) == [4, 3, 1]
    assert events(task) == [("playDone", None)] * 3


@in_both_profiles
def test_after_a_disconnect_nothing_is_heard_and_nothing_told(profile: Profile) -> None:
    task = open_task(Mode.STREAMING, profile)
    task.receive(l16(*[1] * 400))
    task.receive(mark("m"))
    task.receive('{"type": "disconnect"}')
    assert [type(payload).__name__ for payload in task.data_to_send()] == ["Close"]
    assert task.play(SECOND) == []
    assert list(task.data_to_send()) == []


@pytest.mark.parametrize(
    ("profile", "seconds", "rate", "killed_after", "figures"),
    [
        (DEPLOYED, 1, 8000, 0.24, ("1", "1000", "1920")),
        (DEPLOYED, 1, 8000, 2, ("1", "1000", "8000")),
        (DEPLOYED, 5, 16000, 0.24, ("2", "2048", "1920")),
        (DEPLOYED, 5, 8000, 2.06, ("4", "4096", "16480")),
        (DEPLOYED, 5, 8000, 4.2, ("5", "5000", "33600")),
        (attrs.evolve(DEPLOYED, clip_piece=0), 5, 8000, 2.06, ("2", "2060", "16480")),
    ],
)
def test_the_figures_of_a_killed_clip_are_what_was_read_ahead_but_for_the_offset(
    profile: Profile,
    seconds: int,
    rate: int,
    killed_after: float,
    figures: tuple[str, str, str],
) -> None:
    task = open_task(Mode.CLIPS, profile)
    task.receive(play_audio(bytes(2 * seconds * rate), sampleRate=rate))
    task.play(round(killed_after * SECOND) - 1)
    task.receive(KILL)
    task.play(1)
    (payload,) = task.data_to_send()
    assert isinstance(payload, str)
    assert (*json.loads(payload)["data"].values(),) == figures


@pytest.mark.parametrize(
    ("rate", "heard", "done"),
    [(16000, [1, 2, 3, 4, 5, 6], 1), (24000, [512, 3, 1280, 6], 1), (32000, [2, 4, 6], 1)]
    + [(rate, [], 0) for rate in (48000, 64000)],
)
def test_deployed_platforms_misread_raw_clips(rate: int, heard: list[int], done: int) -> None:
    task = open_task(Mode.CLIPS, DEPLOYED)
    assert clauses(task.receive(play_audio(l16(1, 2, 3, 4, 5, 6), sampleRate=rate))) == []
    assert values(task.play(SECOND)) == heard
    assert events(task) == [("playDone", None)] * done
    assert clauses(task.receive(play_audio(wav(l16(1, 2), rate), audioContentType="wav"))) == []
    assert values(task.play(SECOND)) == [1, 2]
