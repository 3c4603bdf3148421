"""A WAV of both sides: whatever comes, never came, or is known late, each sample has its two."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from listenproto import DOCUMENTED, FLICKS, Audio, Metadata, UnknownMessage
from listenproto._l16 import flicks_of
from listenproto.recording import WavFile
from listenproto.recording._both_sides import BothSides, Hearing
from tests.call_support import RATE
from tests.recording_support import heard_in

LENGTH = 20_000
"""Samples of the app's side, each of which shows where it belongs."""


@attrs.frozen
class Write:
    """So many samples come, behind others that are not recorded; None: nobody knows where from."""

    samples: int
    skipped: int | None


@attrs.frozen
class Gap:
    """So many samples never came, at that part of what may still change."""

    where: float
    samples: int


@attrs.frozen
class Dropped:
    samples: int


@attrs.frozen
class Keep:
    """What is in front of that part of what may still change stays as it is."""

    where: float


@attrs.frozen
class Reach:
    """The caller has heard so much more."""

    samples: int


Event: TypeAlias = Write | Gap | Dropped | Keep | Reach

counts = st.integers(1, 60)
parts = st.floats(0, 1, exclude_max=True)
events = (
    st.builds(Write, counts, st.just(0) | st.integers(0, 60) | st.none())
    | st.builds(Gap, parts, counts)
    | st.builds(Dropped, counts)
    | st.builds(Keep, parts)
    | st.builds(Reach, counts)
)


Sample: TypeAlias = tuple[int, int | None]
"""The left one, and where in the call it belongs, if that is known."""


@attrs.define
class Model:
    """What is to be in the WAV."""

    fills_gaps: bool
    samples: list[Sample] = attrs.field(factory=list)
    place: int = 0
    """Where in the call the next sample belongs, if none is skipped."""
    kept: int = 0

    def index(self, where: float) -> int:
        return self.kept + int(where * (len(self.samples) - self.kept))

    def write(self, left: Sequence[int], place: int | None) -> None:
        places = [None] * len(left) if place is None else range(place, place + len(left))
        self.samples += zip(left, places, strict=True)
        self.place = self.place if place is None else place + len(left)

    def dropped(self, samples: int) -> None:
        last = self.samples[-1][1] if self.samples else None
        if self.fills_gaps:
            self.samples += silence(samples, None if last is None else last + 1)
        self.place += samples

    def gap(self, at: int, samples: int) -> None:
        before, behind = self.samples[:at], self.samples[at:]
        shifted = [(left, place if place is None else place + samples) for left, place in behind]
        filled = silence(samples, behind[0][1]) if self.fills_gaps else []
        self.samples = before + filled + shifted
        self.place += samples


def silence(samples: int, place: int | None) -> list[Sample]:
    return [(0, None if place is None else place + more) for more in range(samples)]


def apply(event: Event, model: Model, tape: BothSides, hearing: Hearing) -> None:
    """Have it happen to the WAV, and to the model of it."""
    match event:
        case Write(samples, skipped):
            place = None if skipped is None else model.place + skipped
            left = range(len(model.samples), len(model.samples) + samples)
            tape.write(struct.pack(f"<{samples}h", *left), place)
            model.write(left, place)
        case Dropped(samples):
            tape.dropped(samples)
            model.dropped(samples)
        case Gap(where, samples):
            if model.kept < len(model.samples):
                at = model.index(where)
                tape.gap(at, samples)
                model.gap(at, samples)
        case Keep(where):
            model.kept = model.index(where)
            tape.keep(model.kept)
        case Reach(samples):
            hearing.reach(hearing.known * FLICKS // RATE + flicks_of(samples, RATE))


@given(st.lists(events, max_size=40), st.booleans())
@example([Reach(40), Write(20, 0), Gap(0, 30), Keep(0.5), Gap(0, 30)], True)
@example([Reach(60), Write(60, 0), Gap(0, 30)], False)
@example([Write(20, None), Write(20, 5), Reach(60), Gap(0.5, 9), Gap(0.9, 9)], False)
def test_each_sample_has_both_its_sides(happening: list[Event], fills_gaps: bool) -> None:
    hearing = Hearing(rate=RATE, stream_rate=RATE, profile=DOCUMENTED)
    hearing.sent(Audio(struct.pack(f"<{LENGTH}h", *range(1, LENGTH + 1))))
    model = Model(fills_gaps)
    with tempfile.TemporaryDirectory() as folder:
        wav = WavFile(Path(folder) / "both.wav", RATE, 2)
        tape = BothSides(wav, Metadata(), hearing, fills_gaps=fills_gaps)
        for event in happening:
            apply(event, model, tape, hearing)
            assert wav.samples == len(model.samples)
        hearing.reach(flicks_of(LENGTH, RATE))
        tape.close()
        written = heard_in(wav.path, 2)
    pairs = list(struct.iter_unpack("<2h", written))
    assert pairs == [(left, 0 if place is None else place + 1) for left, place in model.samples]


def test_of_what_a_platform_does_not_know_the_caller_hears_nothing() -> None:
    hearing = Hearing(rate=RATE, stream_rate=RATE, profile=DOCUMENTED)
    pcm = struct.pack("<4h", 1, 2, 3, 4)
    hearing.sent(Audio(pcm[:4]))
    hearing.sent(UnknownMessage({"type": "json"}))
    hearing.sent(Audio(pcm[4:]))
    hearing.reach(flicks_of(4, RATE))
    assert b"".join(piece for _, piece in hearing.pieces(0, 4)) == pcm
