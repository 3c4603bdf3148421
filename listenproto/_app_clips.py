"""The clips as the app's end sees them: which of them are over, and how they ended (D8 to D11).

A playDone may be on its way while a killAudio is. So the clips that the killAudio concerns are only
*maybe done*, for as long as a playDone may take, in media time of the platform's audio
(LP-CLIP-30).
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

from listenproto._clip_audio import clip_flicks
from listenproto._clips import ClipMatch, Clips, ClipSent
from listenproto._l16 import FLICKS
from listenproto._messages import ClipId, PlayAudio, PlayDone
from listenproto._profile import Profile
from listenproto._sent import MAX_REMEMBERED, PATIENCE, ROUND_TRIP, Outcome, Record, Sent

__all__ = ["AppClips"]

GRACE: Final = int(ROUND_TRIP * FLICKS)
"""How long a playDone may be on its way, in flicks (LP-CLIP-30)."""

MAX_CLIPS: Final = 1000
"""How many clips are remembered of an app that keeps to no limit."""

FRAME: Final = 0.02
"""Seconds that platforms play at a time."""


class AppClips(Clips):
    """The clips as the app's end sees them; puts into a record how they end."""

    def __init__(self, profile: Profile, record: Record) -> None:
        super().__init__(profile)
        self._record = record
        self._started_over: tuple[float, ClipSent] | None = None
        """When a clip was sent that starts over others, and the one that plays until then."""
        self._in_doubt = False
        """Whether a guess leaves open which of the clips after it have finished."""

    def _counts(self, clip: ClipSent) -> bool:
        """LP-CLIP-29."""
        counts_killed = self._profile.kill_spares_waiting_clips
        return clip.over_at is None or (counts_killed and not self._is_over(clip))

    def _is_over(self, clip: ClipSent) -> bool:
        return clip.over_at is not None and clip.over_at <= self._record.media_time

    def was_killed(self, clip_id: ClipId | None) -> bool:
        """Never, as seen from here: the clip may have finished before the killAudio was read."""
        return False

    def sent(self, message: PlayAudio) -> Sent:
        """A clip goes out."""
        flicks = clip_flicks(message)
        clip = ClipSent(message.id, flicks, message=message, queued=message.queue_play is True)
        at_once = self.starts_at_once(message)
        if at_once:
            self._suspend()
        ahead = [] if at_once else self._playing()
        ends_at = (before.ends_at for before in ahead if self._may_play(before))
        clip.ends_at = max([self._record.media_time, *ends_at]) + flicks
        self._record.lasts(clip.seconds)
        self._record.enter(clip)
        self._add(clip, at_once=at_once)
        self._delay(clip, max([self._record.now, *(before.due for before in ahead)]))
        self._remember(MAX_CLIPS)
        return clip

    def _may_play(self, clip: ClipSent) -> bool:
        """Whether a clip in the line still plays, or waits to; deployed, also a killed one."""
        return clip.over_at is None or self._profile.kill_spares_waiting_clips

    def _suspend(self) -> None:
        """A clip starts over those that play: the first is suspended, those behind it dropped."""
        now = self._record.now
        playing = [clip for clip in self._playing() if clip.is_open and clip.due > now]
        for clip in playing[1:]:
            self._drop(clip)
        if playing and (self._started_over is None or now - self._started_over[0] >= FRAME):
            self._started_over = now, playing[0]

    def _drop(self, clip: ClipSent) -> None:
        """A clip is dropped, unless the one before it is done when the new one is read."""
        now = self._record.now
        clip.is_dropped = True
        clip.cut_at = min(clip.cut_at, now)
        clip.over_at = max(clip.ends_at, self._record.media_time) + GRACE
        self._record.cut(clip.seconds)
        self._move(self._line[self._line.index(clip) + 1 :], -1, clip)
        self._record.flush(clip, now + ROUND_TRIP)

    def _delay(self, clip: ClipSent, starts: float) -> None:
        """A new clip plays before those that are suspended, and not after all others."""
        behind = self._line[self._line.index(clip) + 1 :]
        if behind:
            clip.due = starts + clip.seconds
            clip.expires_at = clip.due + PATIENCE
            self._record.stopping()
            self._move(behind, 1, clip)

    def _move(self, clips: list[ClipSent], sign: int, by: ClipSent) -> None:
        """Those that are still to play do so later, or sooner, by the length of another clip."""
        for clip in clips:
            if clip.is_open and not clip.is_dropped:
                clip.due += sign * by.seconds
                clip.ends_at += sign * by.flicks
                if clip.over_at is not None:
                    clip.over_at += sign * by.flicks
                if clip.expires_as is Outcome.TIMED_OUT:
                    clip.expires_at = clip.due + PATIENCE

    def _revive(self, clip: ClipSent) -> None:
        """A clip that seemed to be dropped was suspended, as the one before it was done by then."""
        if not (clip.is_dropped and clip.outcome is None):
            return
        index = self._line.index(clip)
        ahead = [one for one in self._line[:index] if one.is_open and not one.is_dropped]
        clip.is_dropped, clip.cut_at, clip.over_at = False, math.inf, None
        clip.due = max([self._record.now, *(one.due for one in ahead)]) + clip.seconds
        clip.ends_at = max([self._record.media_time, *(one.ends_at for one in ahead)]) + clip.flicks
        clip.expires_at, clip.expires_as = clip.due + PATIENCE, Outcome.TIMED_OUT
        self._record.lasts(clip.seconds)
        self._move(self._line[index + 1 :], 1, clip)

    def killed(self) -> None:
        """A killAudio goes out: it takes all clips, or the first of them (LP-KILL-2)."""
        now = self._record.now
        spares = self._profile.kill_spares_waiting_clips
        awaited = [clip for clip in self._line if clip.is_open]
        waiting = [clip for clip in awaited if not clip.is_stopped]
        self._record.stopping()
        if not (spares and awaited):
            self._record.stopped()
        if spares:
            for clip in waiting:
                clip.is_killed = True
            if front := self._just_suspended(waiting):
                ahead = waiting[: waiting.index(front)]
                front.is_stopped_first = True
                self._cut_short(front, now, after=max(one.due for one in ahead))
            elif waiting:
                self._cut_short(waiting[0], now)
        else:
            for clip in waiting:
                clip.cut_at, clip.is_silenced = now, True
                may_be_done = clip.due <= now + ROUND_TRIP
                self._record.flush(clip, now + ROUND_TRIP if may_be_done else now)
        self._maybe_done()

    def _stop(self, clip: ClipSent, at: float, *, answered_by: float) -> None:
        """The platform should stop a clip, and say so; if it does not, it has dropped the clip."""
        clip.is_killed = True
        clip.cut_at = min(clip.cut_at, at)
        self._record.flush(clip, answered_by)

    def _just_suspended(self, waiting: list[ClipSent]) -> ClipSent | None:
        """The clip that a killAudio stops, as one that was just sent has not started over it."""
        if self._started_over is None:
            return None
        at, front = self._started_over
        return front if self._record.now - at < FRAME and front in waiting else None

    def _cut_short(self, clip: ClipSent, at: float, *, after: float = -math.inf) -> None:
        """A killAudio sent at that time stops a clip, and the next one plays from now on.

        ``after`` is when those before it have been heard, if it does not play first. It may play on
        all the same: of two killAudios within a frame, one does nothing.
        """
        now = self._record.now
        self._stop(clip, at, answered_by=max(clip.due, now) + ROUND_TRIP)
        spared = max(0.0, clip.due - max(now, after))
        self._record.cut(spared)
        for behind in self._line[self._line.index(clip) + 1 :]:
            behind.due -= spared

    def _maybe_done(self) -> None:
        """What is outstanding may be done; deployed, killed clips may also play on."""
        plays_on = self._profile.kill_spares_waiting_clips
        now = self._record.media_time
        for clip in self._line:
            if clip.over_at is not None:
                continue
            if plays_on:
                clip.over_at = max(clip.ends_at, now) + GRACE
            elif clip.ends_at <= now + GRACE:
                clip.over_at = now + GRACE
            else:
                clip.over_at = now
        self._remember(MAX_REMEMBERED)

    def _remember(self, number: int) -> None:
        """Forget all but the newest."""
        if len(self._line) > number:
            for clip in sorted(self._line, key=lambda clip: clip.number)[:-number]:
                self._record.give_up(clip, Outcome.TIMED_OUT)
                self._line.remove(clip)

    def _oldest(self) -> ClipMatch | None:
        """The oldest that is maybe done, or else outstanding, or else killed (LP-CLIP-27).

        After a wrong guess the playDone is for a newer one, if there is any.
        """
        if not self._line:
            return None
        clip = min(self._line, key=lambda clip: (self._is_over(clip), clip.over_at is None))
        in_doubt = self._in_doubt and self._has_newer(clip)
        in_doubt = in_doubt or any(clip.under is not None for clip in self._line)
        return ClipMatch(clip, guessed=clip.over_at is not None or in_doubt)

    def _has_newer(self, clip: ClipSent) -> bool:
        """Whether a playDone can be for a clip after that one."""
        behind = self._line[self._line.index(clip) + 1 :]
        return not all(self._is_over(newer) for newer in behind)

    def done(self, message: PlayDone, match: ClipMatch) -> Sent:
        """A playDone has come."""
        clip = match.clip
        behind: list[ClipSent] = []
        if match.in_order:
            self._in_doubt = match.guessed and (self._in_doubt or self._has_newer(clip))
            behind = self._line[self._line.index(clip) + 1 :]
        for before in self._strike(match):
            self._record.give_up(before, Outcome.SKIPPED, heard=0.0)
        # A clip that started over it, but came too late for it, plays before the next.
        next_starts = match.in_order and not match.guessed and self._line == behind
        self._end(clip, _seconds_played(message, self._profile.channel_rate), behind)
        if not match.guessed:
            self._resume(clip)
            self._record.check_clip(clip)
        if next_starts:
            self._has_started(behind)
        return clip

    def _resume(self, done: ClipSent) -> None:
        """A clip is done: what it started over resumes, and the rest of that was dropped.

        If it was done before the one that should have suspended it, that one suspended the next.
        """
        under = [clip for clip in self._line if clip.under is done and clip.is_open]
        for clip in under[1:]:
            if not clip.is_dropped:
                self._drop(clip)
            self._record.flush(clip, self._record.now)
        self._line = [clip for clip in self._line if clip not in under[1:]]
        over = done.under
        if over not in self._line or done.is_stopped_first:
            pass
        elif done.is_killed and not done.is_stopped and done.outcome is Outcome.FLUSHED:
            self._spare(over, done)
        else:
            under = [clip for clip in self._line if clip.under is over and clip.is_open]
        for clip in under[:1]:
            self._revive(clip)

    def _spare(self, clip: ClipSent, killed: ClipSent) -> None:
        """A killAudio stopped another clip, as this one had not yet started over it."""
        left = max(0.0, clip.due - self._record.now)
        clip.cut_at, clip.expires_as = math.inf, Outcome.TIMED_OUT
        clip.expires_at = clip.due + PATIENCE
        self._record.cut(killed.seconds - killed.heard - left)

    def _end(self, clip: ClipSent, played: float | None, behind: list[ClipSent]) -> None:
        """Say how a clip ended whose playDone came, after ``played`` seconds if that is known.

        A killed clip may have come to its end, give or take a frame. Then the killAudio came too
        late for it, and stopped the next one.
        """
        if played is not None:
            cut_short = played < clip.seconds - FRAME
        else:
            cut_short = clip.is_stopped and self._record.now < clip.due
        heard = None if played is None else min(max(0.0, played), clip.seconds)
        if clip.is_killed and cut_short:
            self._record.answered(clip, Outcome.FLUSHED, heard)
            return
        self._record.answered(clip, Outcome.PLAYED, heard)
        if clip.is_stopped:
            for next_one in behind:
                if next_one.is_killed and not next_one.is_stopped:
                    self._cut_short(next_one, clip.cut_at)
                    break

    def _has_started(self, behind: list[ClipSent]) -> None:
        """The next clip started now at the latest."""
        ends_at = self._record.media_time
        for clip in behind:
            if clip.over_at is None:
                ends_at += clip.flicks
                clip.ends_at = min(clip.ends_at, ends_at)


def _seconds_played(done: PlayDone, channel_rate: int) -> float | None:
    """How many seconds of a clip were played, if the platform says so.

    The offset is what was heard of it. The milliseconds may be what was read ahead.
    """
    for key, unit in (("playbackLastOffsetPos", channel_rate), ("playbackMilliseconds", 1000)):
        figure = done.playback.get(key)
        if isinstance(figure, str | int | float):
            with suppress(ValueError, OverflowError):
                seconds = float(figure) / unit
                if not math.isnan(seconds):
                    return seconds
    return None
