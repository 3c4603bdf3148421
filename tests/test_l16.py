"""Audio: exact media time, whole samples over any chunking, loudness."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, find, given
from hypothesis import strategies as st

from listenproto._l16 import (
    FLICKS,
    LISTEN_RATES,
    PLAY_RATES,
    Aligner,
    beep,
    flicks_of,
    mixed_down,
    peak,
    samples_in,
)
from listenproto.testing import chunkings

RATES = sorted({*LISTEN_RATES, *PLAY_RATES, 11025, 22050, 44100})
SAMPLES = st.lists(st.integers(-32768, 32767), max_size=50)


def l16(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def numbers(audio: bytes) -> list[int]:
    return [sample for (sample,) in struct.iter_unpack("<h", audio)]


# Media time.


@pytest.mark.parametrize("rate", RATES)
def test_a_second_is_a_second_at_every_rate(rate: int) -> None:
    assert flicks_of(rate, rate) == FLICKS
    assert samples_in(FLICKS, rate) == rate
    assert Fraction(flicks_of(1, rate), FLICKS) == Fraction(1, rate)


@given(st.sampled_from(RATES), st.integers(0, 10**12))
def test_time_of_samples_is_exact(rate: int, samples: int) -> None:
    flicks = flicks_of(samples, rate)
    assert Fraction(flicks, FLICKS) == Fraction(samples, rate)
    assert samples_in(flicks, rate) == samples


@given(st.sampled_from(RATES), st.integers(0, 10**18))
def test_only_whole_samples_fit_into_a_time(rate: int, flicks: int) -> None:
    samples = samples_in(flicks, rate)
    assert flicks_of(samples, rate) <= flicks < flicks_of(samples + 1, rate)


# Whole samples.


@given(st.binary(max_size=40).flatmap(lambda data: st.tuples(st.just(data), chunkings(data))))
def test_chunks_join_to_what_was_cut(cut: tuple[bytes, list[bytes]]) -> None:
    data, chunks = cut
    assert b"".join(chunks) == data
    assert b"" not in chunks


@pytest.mark.parametrize(
    "chunks", [[b"abcd"], [b"a", b"b", b"c", b"d"], [b"abc", b"d"], [b"a", b"bcd"]]
)
def test_every_cutting_is_among_the_chunkings(chunks: list[bytes]) -> None:
    assert find(chunkings(b"abcd"), lambda found: found == chunks) == chunks


@given(
    st.sampled_from([2, 4]),
    st.binary(max_size=40).flatmap(lambda data: st.tuples(st.just(data), chunkings(data))),
    st.integers(0, 40),
)
def test_an_aligner_gives_every_whole_frame_as_soon_as_it_is_there(
    unit: int, cut: tuple[bytes, list[bytes]], pause: int
) -> None:
    data, chunks = cut
    chunks.insert(min(pause, len(chunks)), b"")  # an empty message means nothing
    aligner = Aligner(unit)
    out = came = b""
    for chunk in chunks:
        came += chunk
        whole = aligner.whole(chunk)
        assert len(whole) % unit == 0
        out += whole
        assert out == came[: len(came) // unit * unit]
    assert out == data[: len(data) // unit * unit]


def test_whole_frames_pass_an_aligner_uncopied() -> None:
    aligner, audio = Aligner(2), bytes(320)
    assert aligner.whole(audio) is audio
    assert aligner.whole(audio + b"\x01") == audio
    assert aligner.whole(b"\x02") == b"\x01\x02"
    assert aligner.whole(audio) is audio


def test_what_an_aligner_carries_comes_in_front_of_whole_frames() -> None:
    aligner = Aligner(4)
    assert aligner.whole(b"a") == b""
    assert aligner.whole(b"bcde") == b"abcd"
    assert aligner.whole(b"") == b""
    assert aligner.whole(b"fgh") == b"efgh"


# Loudness.


@given(SAMPLES)
def test_the_peak_is_the_loudest_sample(samples: list[int]) -> None:
    assert peak(l16(*samples)) == max(map(abs, samples), default=0)


@pytest.mark.parametrize(
    ("samples", "loudest"),
    [((), 0), ((0,), 0), ((3, 1), 3), ((-5, -9), 9), ((-7, 6), 7), ((-32768, 32767), 32768)],
)
def test_peaks_by_example(samples: tuple[int, ...], loudest: int) -> None:
    assert peak(l16(*samples)) == loudest


def test_a_machine_of_the_other_byte_order_swaps_on_the_way_in_and_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixed, tone = mixed_down(l16(256, 512)), numbers(beep(8000))
    monkeypatch.setattr("listenproto._l16._SWAPPED", True)
    swapped = struct.pack(">2h", 256, 512)
    assert peak(swapped) == 512
    assert mixed_down(swapped) == mixed[::-1]
    assert [*struct.unpack(f">{len(tone)}h", beep(8000))] == tone


# The beep.


@pytest.mark.parametrize("rate", LISTEN_RATES)
def test_the_beep_is_half_a_second_of_1500_hz(rate: int) -> None:
    samples = numbers(beep(rate))
    assert len(samples) == rate // 2
    signs = [math.copysign(1, sample) for sample in samples if sample]
    crossings = sum(left != right for left, right in pairwise(signs))
    assert crossings == 2 * 1500 // 2 - 1  # two a cycle, but for the one it starts from
    assert 0.15 < peak(beep(rate)) / 32768 <= 0.25
    assert abs(sum(samples)) < rate / 100


@pytest.mark.parametrize("rate", LISTEN_RATES)
def test_the_beep_is_a_pure_tone(rate: int) -> None:
    samples = numbers(beep(rate))
    turns = [2 * math.pi * 1500 * n / rate for n in range(len(samples))]
    loud = sum(s * math.sin(t) for s, t in zip(samples, turns, strict=True)) * 2 / len(samples)
    for sample, turn in zip(samples, turns, strict=True):
        assert abs(sample - loud * math.sin(turn)) < 1


# Two channels.


@given(st.lists(st.tuples(st.integers(-32768, 32767), st.integers(-32768, 32767)), max_size=30))
@example([(32767, 32767), (-32768, -32768), (32767, -32768)])
def test_two_channels_are_mixed_down_to_their_mean(frames: list[tuple[int, int]]) -> None:
    both = l16(*(sample for frame in frames for sample in frame))
    mixed = numbers(mixed_down(both))
    assert len(mixed) == len(frames)
    for (left, right), sample in zip(frames, mixed, strict=True):
        assert abs(sample - (left + right) / 2) <= 0.5


def test_half_a_frame_is_not_mixed_down() -> None:
    with pytest.raises(ValueError, match="shorter"):
        mixed_down(l16(1, 2, 3))
