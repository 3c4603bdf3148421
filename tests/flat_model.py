"""What the caller hears, played one sample at a time from a flat list.

A second implementation of the playout decisions (D8, D10, D12, D13, D14), slow and simple, without
streams on deployed platforms. listenproto._playout is compared with it; they share no code.
"""

from __future__ import annotations

from typing import Any, TypeAlias

FLICKS = 705_600_000
FRAME = FLICKS // 50

Entry: TypeAlias = tuple[Any, ...]
"""What kind of thing is pending or over, and all there is to know of it."""


class FlatModel:
    """The list of pending entries, and the record of what came out of it; times are flicks.

    An entry is ("sample", value, rate), ("clip_end", clip_id, queue_play, length) or
    ("mark", name). `heard` collects (value, start, rate) for every whole sample. `over` collects
    what the app is told of: ("clip", clip_id, "played" or "killed", at, samples heard of it) and
    ("mark", name, "playout" or "cleared", at). `gaps` are the silences of up to a second between
    two samples, but where since the first something was stopped, or the app was told that nothing
    is left to be heard.
    """

    def __init__(self, *, deployed: bool, max_waiting: float | None = None) -> None:
        self.deployed = deployed
        self.max_waiting = (11 if deployed else 10) if max_waiting is None else max_waiting
        self.pending: list[Entry] = []
        self.suspended: list[list[Entry]] = []  # what other clips started over
        self.started_over: tuple[int, Entry] | None = None  # first in which frame, and the clip
        self.now = 0
        self.head_start = 0  # where the first pending sample started
        self.kill_at: int | None = None
        self.carry = b""
        self.heard: list[tuple[int, int, int]] = []
        self.over: list[Entry] = []
        self.gaps: list[int] = []
        self.sound_end = 0  # where the last sample that was heard had its end
        self.excused = True  # silence since the last sample that was heard is no gap

    def clip(self, pcm: bytes, rate: int, clip_id: object, *, queue_play: bool) -> bool:
        """Add a clip; False when too many wait already."""
        ends = self._all("clip_end")
        playing = [entry for entry in self.pending if entry[0] == "clip_end"]
        if self.deployed and playing and not (queue_play and playing[0][2]):
            if len(self.suspended) >= self.max_waiting:
                return False
            front = self.pending[: self.pending.index(playing[0])]
            end: Entry = ("clip_end", playing[0][1], False, playing[0][3])
            self.suspended.append([*front, end])
            if self.started_over is None or self.started_over[0] != self.now // FRAME:
                self.started_over = (self.now // FRAME, end)
            self.pending = []
        elif len(ends) > self.max_waiting:  # the first of them plays, the others wait
            return False
        values = whole_samples(pcm)
        for value in values:
            self._append(("sample", value, rate))
        self._append(("clip_end", clip_id, queue_play, len(values)))
        return True

    def stream(self, data: bytes, rate: int) -> None:
        """Add streamed audio, cut at any byte."""
        data = self.carry + data
        self.carry = data[len(data) // 2 * 2 :]
        for value in whole_samples(data):
            self._append(("sample", value, rate))

    def mark(self, name: str) -> None:
        """Add a mark behind what is pending."""
        self._append(("mark", name))

    def clear_marks(self) -> None:
        """Forget the pending marks."""
        self.pending = [entry for entry in self.pending if entry[0] != "mark"]

    def kill(self) -> None:
        """Stop what plays: now, or as deployed at the next frame."""
        if self.deployed:
            self.kill_at = (self.now // FRAME + 1) * FRAME
        else:
            self._kill_now(self.now)

    def flush(self) -> None:
        """Drop everything without a word."""
        self.pending, self.suspended = [], []
        self.kill_at = None
        self.excused = True

    def play(self, flicks: int) -> None:
        """Let time pass."""
        end = self.now + flicks
        if self.kill_at is not None and self.kill_at <= end:
            self._walk(self.kill_at)
            self._kill_now(self.kill_at)
            self.kill_at = None
        self._walk(end)

    def left(self) -> int:
        """Flicks of the samples that have not been heard to their end."""
        return sum(FLICKS // rate for _, _, rate in self._all("sample"))

    def until_sample_end(self) -> int:
        """Flicks until the sample that plays now has been heard; 0 if none does."""
        samples = self._all("sample")
        return self.head_start + FLICKS // samples[0][2] - self.now if samples else 0

    def until_end(self) -> int:
        """Flicks until all that is pending has been heard."""
        return self.head_start + self.left() - self.now if self.left() else 0

    def _all(self, kind: str) -> list[Entry]:
        everything = sum(self.suspended, self.pending)
        return [entry for entry in everything if entry[0] == kind]

    def _append(self, entry: Entry) -> None:
        if not self.pending:
            self.head_start = self.now
        self.pending.append(entry)
        self._walk(self.now)

    def _walk(self, end: int) -> None:
        while self.pending or self.suspended:
            if not self.pending:
                self.pending = self.suspended.pop()
            kind = self.pending[0][0]
            if kind == "sample":
                _, value, rate = self.pending[0]
                sample_end = self.head_start + FLICKS // rate
                if sample_end > end:
                    break
                if not self.excused and 0 < self.head_start - self.sound_end <= FLICKS:
                    self.gaps.append(self.head_start - self.sound_end)
                self.heard.append((value, self.head_start, rate))
                self.head_start = self.sound_end = sample_end
                self.excused = False
            else:
                self.excused = self.excused or not self._all("sample")
                if kind == "clip_end":
                    self._end_clip("played", self.head_start)
                else:
                    self.over.append(("mark", self.pending[0][1], "playout", self.head_start))
            del self.pending[0]
        self.now = end

    def _end_clip(self, how: str, at: int) -> None:
        end = next(i for i, entry in enumerate(self.pending) if entry[0] == "clip_end")
        _, clip_id, _, length = self.pending[end]
        unheard = end  # nothing but its own samples stands in front of its end
        self.over.append(("clip", clip_id, how, at, length - unheard))

    def _kill_now(self, at: int) -> None:
        self.excused = True
        if self.started_over is not None and self.started_over[0] == at // FRAME - 1:
            for entries in self.suspended:
                if entries[-1] is self.started_over[1]:  # it stops, and what started over it plays
                    _, name, _, length = entries[-1]
                    self.over.append(("clip", name, "killed", at, length - len(entries) + 1))
                    self.suspended.remove(entries)
                    return
        if self.deployed and self._all("clip_end"):
            self._end_clip("killed", at)
            while self.pending.pop(0)[0] != "clip_end":
                pass
            self.head_start = at
            self._walk(at)
            return
        for _, name in self._all("mark"):
            self.over.append(("mark", name, "cleared", at))
        self.pending = []


def whole_samples(pcm: bytes) -> list[int]:
    """The little-endian samples of `pcm`; an odd byte at the end is left out."""
    pairs = [pcm[i : i + 2] for i in range(0, len(pcm) - 1, 2)]
    return [int.from_bytes(pair, "little", signed=True) for pair in pairs]
