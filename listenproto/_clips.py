"""The clips of a conversation in their order, and which of them a playDone is for (D8 to D11).

At the platform's end, which is here, every playDone is certain. What the app's end knows of them is
in :mod:`listenproto._app_clips`.
"""

from __future__ import annotations

import math
from collections import deque

import attrs

from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import ClipId, PlayAudio, PlayDone
from listenproto._profile import Profile
from listenproto._sent import MAX_REMEMBERED, Sent

__all__ = ["ClipMatch", "ClipSent", "Clips", "PlatformClips", "bits_read", "starts_at_once"]


def starts_at_once(profile: Profile, *, queued: bool, front_queued: bool) -> bool:
    """Whether a clip starts over the one that plays, instead of waiting behind it (D8).

    ``queued``: it has ``queuePlay: true``; ``front_queued``: the clip that plays has it, too.
    """
    return not (profile.clips_wait_unasked or (queued and front_queued))


def bits_read(clip: PlayAudio, profile: Profile) -> int:
    """For samples of how many bits a platform takes the content of a clip; 0: it plays none."""
    if clip.content_type != "raw" or clip.sample_rate in profile.raw_clip_rates:
        return 8 * SAMPLE_BYTES
    return {24000: 24, 32000: 32}.get(clip.sample_rate or 0, 0)


@attrs.define(eq=False)
class ClipSent(Sent):
    """A clip, and when its playDone can come."""

    queued: bool = attrs.field(kw_only=True, repr=False)
    """Whether it has ``queuePlay: true``."""
    ends_at: int = attrs.field(default=0, repr=False)
    """The media time at which it has played to its end, if messages take no time and nothing stops
    it."""
    number: int = attrs.field(default=0, repr=False)
    """How many clips were sent before it."""
    under: ClipSent | None = attrs.field(default=None, repr=False)
    """The clip that started over it: of those under the same one, the first that was not done yet
    is suspended, and the others were dropped."""
    is_dropped: bool = attrs.field(default=False, repr=False)
    """Whether it was dropped so, as far as this end can compute."""
    is_stopped_first: bool = attrs.field(default=False, repr=False)
    """Whether a killAudio stopped it before the clip over it had started."""
    over_at: int | None = attrs.field(default=None, repr=False)
    """None while outstanding; after a killAudio, the media time until which a playDone may come."""
    is_killed: bool = attrs.field(default=False, repr=False)
    """Whether its playDone can be due to a killAudio."""

    @property
    def is_stopped(self) -> bool:
        """Whether a killAudio should have stopped it, or a clip that started have dropped it."""
        return self.cut_at < math.inf


@attrs.frozen
class ClipMatch:
    """The clip that a playDone is for. ``guessed``: it may be for another one (LP-CLIP-27).

    ``in_order`` is false if the playDone of a later clip came first.
    """

    clip: ClipSent
    guessed: bool
    in_order: bool = True


class Clips:
    """The clips whose playDone has not passed, in the order in which they play or resume.

    That is what both ends have in common.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._line: list[ClipSent] = []
        self._number = 0
        self._passed_over: list[ClipSent] = []
        """Those without a playDone before one that had its own."""

    def starts_at_once(self, message: PlayAudio) -> bool:
        """Whether a clip would start over those that are there (D8)."""
        # No clip ever waits behind one that was not queued, nor behind one that resumed.
        playing = self._playing()
        front_queued = playing[-1].queued if playing else not self._line
        queued = message.queue_play is True
        return starts_at_once(self._profile, queued=queued, front_queued=front_queued)

    def _playing(self) -> list[ClipSent]:
        """The clip that plays and those that wait behind it, but for what was suspended."""
        return [clip for clip in self._line if clip.under is None]

    @property
    def outstanding(self) -> int:
        """How many clips count against the limit (LP-CLIP-2)."""
        return sum(map(self._counts, self._line))

    def counted(self, message: PlayAudio) -> int:
        """How many clips count against the limit when that one comes."""
        if not self.starts_at_once(message):
            return self.outstanding
        suspended = sum(self._counts(clip) for clip in self._line if clip.under is not None)
        return suspended + any(map(self._counts, self._playing()))

    def _counts(self, clip: ClipSent) -> bool:
        return True

    def _add(self, clip: ClipSent, *, at_once: bool) -> None:
        """Put a clip into the line, over those that are there or behind those that wait."""
        clip.number = self._number
        self._number += 1
        playing = self._playing()
        if at_once:
            for under in playing:
                under.under = clip
        self._line.insert(0 if at_once else len(playing), clip)

    def _is_over(self, clip: ClipSent) -> bool:
        """Whether its playDone cannot come any more."""
        return False

    def holds(self, clip_id: ClipId) -> bool:
        """Whether a clip of that id is outstanding or maybe done (LP-CLIP-15)."""
        return any(clip.name == clip_id and not self._is_over(clip) for clip in self._line)

    def match(self, clip_id: ClipId | None) -> ClipMatch | None:
        """The clip that a playDone with ``clip_id`` is for; None if it matches none."""
        if clip_id is None:
            return self._oldest()
        # An id that was used again belongs to the newer clip once the older one is over.
        named = [clip for clip in self._line if clip.name == clip_id]
        if named:
            return ClipMatch(min(named, key=self._is_over), guessed=False)
        for clip in self._passed_over:
            if clip.name == clip_id:
                return ClipMatch(clip, guessed=False, in_order=False)
        return None

    def _oldest(self) -> ClipMatch | None:
        raise NotImplementedError

    def _strike(self, match: ClipMatch) -> list[ClipSent]:
        """Remove the clip, and if the match is certain also older ones before it; returns these.

        They were killed, or the platform had no room for them (LP-STRM-5).
        """
        if not match.in_order:
            self._passed_over.remove(match.clip)
            return []
        index, number = self._line.index(match.clip), match.clip.number
        ahead = [] if match.guessed else self._line[:index]
        before = [clip for clip in ahead if clip.number < number]
        self._line = [clip for clip in self._line if clip not in (match.clip, *before)]
        self._passed_over += [clip for clip in before if clip.over_at is None]
        del self._passed_over[:-MAX_REMEMBERED]
        return before


class PlatformClips(Clips):
    """The clips as the platform's end sees them."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self._killed: deque[ClipSent] = deque(maxlen=MAX_REMEMBERED)

    def sent(self, message: PlayAudio) -> Sent:
        """A clip has come."""
        at_once = self.starts_at_once(message)
        clip = ClipSent(message.id, queued=message.queue_play is True)
        if at_once:
            dropped = self._playing()[1:]
            self._line = [one for one in self._line if one not in dropped]
        self._add(clip, at_once=at_once)
        return clip

    def killed(self) -> None:
        """A killAudio has come."""
        if not self._profile.kill_spares_waiting_clips:
            self._killed += self._line
            self._line.clear()

    def _oldest(self) -> ClipMatch | None:
        return ClipMatch(self._line[0], guessed=False) if self._line else None

    def was_killed(self, clip_id: ClipId | None) -> bool:
        """Whether a playDone that matches no clip is for one that a killAudio took."""
        return any(clip_id in (None, clip.name) for clip in self._killed)

    def done(self, message: PlayDone, match: ClipMatch) -> Sent:
        """A playDone goes out."""
        self._strike(match)
        return match.clip
