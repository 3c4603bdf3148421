"""Recorded calls with a real platform: what the observer says of them (tests/field_traces)."""

from __future__ import annotations

from pathlib import Path

import pytest

from listenproto import Peer, judge_trace
from listenproto.recording import read_trace_file

TRACES = Path(__file__).parent / "field_traces"

APP, PLATFORM = Peer.APP, Peer.PLATFORM

BREACHES = {
    "17-fourteen-clips": [(21, APP, "LP-CLIP-2"), (22, APP, "LP-CLIP-2")],
    "20-bad-base64": [(9, APP, "LP-CLIP-6")],
}
"""Line, sender and clause of each breach; in every other recording there is none."""


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_recorded_call_breaks_what_is_known_and_nothing_else(path: Path) -> None:
    trace = read_trace_file(path)
    assert trace.finished
    found = [(line, one.sender, one.clause) for line, one in judge_trace(trace)]
    assert found == BREACHES.get(path.stem, [])


def test_each_recording_is_described() -> None:
    rows = (TRACES / "README.md").read_text().splitlines()
    described = [row.split()[1] for row in rows if row.startswith(("| 0", "| 1", "| 2", "| 3"))]
    assert described == sorted(path.name[:2] for path in TRACES.glob("*.jsonl"))
