"""What comes out of a playout: what the caller hears, and how clips and marks end."""

from __future__ import annotations

import enum

import attrs

from listenproto._choices import member
from listenproto._l16 import FLICKS, SAMPLE_BYTES, flicks_of
from listenproto._messages import ClipId

__all__ = ["Heard", "PlayoutClip", "PlayoutEnd", "PlayoutFate", "PlayoutGaps", "PlayoutMark"]


class PlayoutFate(enum.Enum):
    """How a clip or a mark ended."""

    PLAYED = "played"
    """Played to its end; a mark was reached."""
    KILLED = "killed"
    """Stopped by a killAudio, and the app is told: a mark is cleared, a deployed clip is done."""
    FLUSHED = "flushed"
    """Dropped without telling the app: a clip by a killAudio, anything by the end of the listen."""
    FORGOTTEN = "forgotten"
    """A mark that was removed by a clearMarks."""


def _fate(value: PlayoutFate | str) -> PlayoutFate:
    return member(PlayoutFate, value, "fate")


@attrs.frozen
class Heard:
    """What the caller heard: L16 of one channel at ``rate``, from ``start`` (in flicks) on."""

    pcm: bytes = attrs.field(repr=lambda pcm: f"<{len(pcm)} bytes>")
    """The samples, as bytes of L16."""
    rate: int
    start: int

    @property
    def end(self) -> int:
        """Where it ends, in flicks."""
        return self.start + flicks_of(len(self.pcm) // SAMPLE_BYTES, self.rate)


@attrs.define
class PlayoutGaps:
    """How often playout ran out of audio while the app was speaking, and for how long in all.

    A gap is a silence of at most a second of media time between two sounds. A longer silence
    counts as a pause in speech, and silence after a killAudio is what the app asked for. So is
    silence after a playDone or a mark event told the app that everything was played: therefore only
    a stream has gaps, and pauses after a mark at the end of a sentence do not count.
    """

    count: int = 0
    """How many gaps there were."""
    flicks: int = 0
    """The length of all gaps together, in flicks."""

    @property
    def seconds(self) -> float:
        """The length of all gaps together."""
        return self.flicks / FLICKS


@attrs.frozen
class PlayoutEnd:
    """A clip or a mark is over, ``at`` flicks; ``samples`` of a clip were heard."""

    item: PlayoutClip | PlayoutMark
    """What is over."""
    fate: PlayoutFate = attrs.field(converter=_fate)
    """How it ended."""
    at: int
    samples: int = 0


@attrs.frozen
class PlayoutClip:
    """A clip in the line; two clips may have the same id."""

    id: ClipId | None
    """The id that the app gave it; None if it gave none."""
    rate: int
    """Its sample rate in Hz."""
    length: int
    """How many samples it has."""


@attrs.frozen
class PlayoutMark:
    """A mark in the line; two marks may have the same name."""

    name: str
    """The name that the app gave it."""
