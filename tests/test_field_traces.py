"""Recorded calls with a real platform: what the observer says of them (tests/field_traces)."""

from __future__ import annotations

from pathlib import Path

import pytest

from listenproto import Peer, TraceNote, review_trace
from listenproto.recording import read_trace_file

TRACES = Path(__file__).parent / "field_traces"

APP, PLATFORM = Peer.APP, Peer.PLATFORM

BREACHES = {
    "17-fourteen-clips": [(21, APP, "LP-CLIP-2"), (22, APP, "LP-CLIP-2")],
    "20-bad-base64": [(9, APP, "LP-CLIP-6")],
}
"""Line, sender and clause of each breach; in every other recording there is none."""


EARLY = "was answered before the audio in front of it can have been heard"
LATE = "s after it was due"
NOTES = {
    "03-sentences-minus-one": [(15, "the mark 's1'", EARLY), (16, "the mark 's2'", EARLY)],
    "04-kill-pending-marks": [(283, f"the mark 'm{n}'", LATE) for n in (5, 6, 7)],
    "06-short-utterance": [(11, "the mark 'short'", EARLY)],
    "07-stream-24000": [(16, "the mark 's1'", EARLY)]
    + [(220, f"the mark 's{n}'", LATE) for n in (2, 3)],
    "17-fourteen-clips": [(238, f"the clip 'q{n}'", LATE) for n in (13, 14)],
    "18-raw-rates": [
        (11, "the platform plays raw clips of 24000 Hz as noise", "send a WAV"),
        (12, "the platform plays no raw clips of 48000 Hz", "send a WAV"),
        (169, "the clip 'r48000'", LATE),
    ],
    "21-error": [(21, "'error' ends the verb", "send a disconnect instead")],
}
"""Line, beginning and end of each note; in every other recording there is none."""


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_what_is_wrong_in_a_recorded_call_is_what_is_known(path: Path) -> None:
    trace = read_trace_file(path)
    assert trace.finished
    found = review_trace(trace)
    notes = [(line, str(one)) for line, one in found if isinstance(one, TraceNote)]
    breaches = [
        (line, one.sender, one.clause) for line, one in found if not isinstance(one, TraceNote)
    ]
    assert breaches == BREACHES.get(path.stem, [])
    known = NOTES.get(path.stem, [])
    assert [line for line, _ in notes] == [line for line, *_ in known]
    for (_, text), (_, begins, ends) in zip(notes, known, strict=True):
        assert text.startswith(begins)
        assert text.endswith(ends)


def test_each_recording_is_described() -> None:
    rows = (TRACES / "README.md").read_text().splitlines()
    described = [row.split()[1] for row in rows if row.startswith(("| 0", "| 1", "| 2", "| 3"))]
    assert described == sorted(path.name[:2] for path in TRACES.glob("*.jsonl"))
