"""What the app says in a stream, at the pace of playout, and what interrupts it.

One utterance is said at a time; the next one, a killAudio and a disconnect interrupt it. Pieces go
out as playout makes room, unless the outbox is full or the guard of a killAudio keeps them back.
What the caller has heard of each is computed until a killAudio, or the end of the call, cuts it
off. Platforms that play a stream in batches keep what does not fill one, so silence is sent behind
speech and before a killAudio. What marks leave behind in a stream is reset while nothing is said,
see :mod:`listenproto._markers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from listenproto._answering import Answering
from listenproto._app_session import AppSession
from listenproto._errors import LocalProtocolError
from listenproto._l16 import FLICKS, PLAY_RATES, SAMPLE_BYTES, flicks_of
from listenproto._link import CallNote, Link
from listenproto._markers import Markers
from listenproto._messages import (
    Audio,
    ClearMarks,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    Mode,
    PlayAudio,
)
from listenproto._sent import Sent
from listenproto._speech import Speech

__all__ = ["Talking", "check_guard"]

PLAYED: Final = Audio | PlayAudio | Mark
"""What a killAudio would take with it, and what its guard keeps back."""

Send: TypeAlias = Callable[[Message, float], object]

Fill: TypeAlias = Callable[[Audio, float], object]


class Talking:
    """What one end says in a call.

    ``fill`` sends audio that this end adds to what is said, and the ``send`` that some methods get
    sends a message, for the call and all who watch it.
    """

    def __init__(
        self,
        answering: Answering,
        session: AppSession,
        link: Link[Any],
        fill: Fill,
        *,
        rate: int,
    ) -> None:
        self.speech: Speech | None = None
        """What is being said; None if nothing is."""
        self.utterances: list[Speech] = []
        """That, and what the caller may still hear of what was said before; while there are none,
        nothing is to be done."""
        self.quiet_until: float = -math.inf
        """Until when (as ``now``) the guard of a killAudio keeps back audio, clips and marks."""
        self._profile: Final = answering.profile
        self._session = session
        self._link = link
        self._fill = fill
        self._rate = rate
        profile, pads = answering.profile, answering.pad_speech
        self._pads = profile.stream_batch > 0 if pads is None else pads
        self._silent = 0
        """How many bytes of silence the stream ends with."""
        self._added = 0.0
        """How many seconds of a reset the stream ends with."""
        inside = profile.plays_in_frames
        resets, holds = answering.reset_marks, answering.hold_behind_marks
        self._resets = inside if resets is None else resets
        holds = inside and rate != profile.channel_rate if holds is None else holds
        self.markers: Final = Markers(profile, rate, resets=self._resets, holds=holds)
        """What this end's marks may have left in the stream."""
        self.follows: Final[bool] = self._pads or inside or self._resets or holds
        """Whether it matters what the stream consists of: :meth:`prepare` and :meth:`follow`."""
        self._refuses_clear_marks = inside and answering.refuse_clear_marks
        self._tells_of_clear_marks = inside

    @property
    def _streams(self) -> bool:
        return self._session.mode is Mode.STREAMING

    def new_speech(self, lead: float) -> Speech:
        """A new utterance, padded if the platforms need that to play it to its end."""
        if not self._pads:
            return Speech(rate=self._rate, lead=lead)
        batch, least = self._profile.stream_batch, self._profile.prebuffer
        least = 0.0 if self._session.sent.audio else least
        return Speech(rate=self._rate, lead=lead, padding=batch, least=least)

    def check_streams(self) -> None:
        """Raise LocalProtocolError if this end must not stream."""
        self._session.check(Audio(bytes(SAMPLE_BYTES)))

    def begin(self, speech: Speech, now: float) -> None:
        """Say this from now on, and nothing else."""
        self.check_streams()
        if self.speech is not None:
            self.speech.interrupt()
        self.speech = speech
        self._forget_heard(now)
        self.utterances.append(speech)

    def _forget_heard(self, now: float) -> None:
        self.utterances = [one for one in self.utterances if not one.is_heard(now)]

    def go_on(self, now: float, send: Send) -> None:
        """Send what may be sent of the speech by now, or what resets the stream."""
        if self._link.ended:
            self._silence(now)
        elif self.markers.in_doubt and self._reset_due(now) <= now and self._link.has_room:
            self._reset(now)
        while (speech := self.speech) is not None:
            if speech.over:
                self.speech = None
            elif now < self._audio_from(now) or not self._link.has_room:
                return
            elif speech.due_in(ahead := self._session.ahead(now)) == 0:
                send(Audio(speech.take(now, ahead)), now)
            else:
                return
        self._forget_heard(now)

    def due(self, now: float) -> float:
        """When there is more to send; infinite for never, or if nobody knows when."""
        if self._link.ended or not self._link.has_room:
            return math.inf
        due = self._reset_due(now)
        if self.speech is None:
            return due
        wait = self.speech.due_in(self._session.ahead(now))
        return min(due, max(now + wait, self._audio_from(now)))

    def ready_at(self, message: Message, now: float) -> float:
        """From when this message may be sent, as :meth:`AppCall.ready_at`; the outbox has room."""
        if isinstance(message, Audio):
            return max(now, self._audio_from(now))
        if isinstance(message, Mark):
            return max(now, self._mark_from(now))
        return max(now, self.quiet_until) if isinstance(message, PLAYED) else now

    def _audio_from(self, now: float) -> float:
        """From when more of the stream may be sent."""
        at = max(self.quiet_until, self.markers.held_until)
        # What has begun to be said is not torn apart by a reset.
        begun = self.speech is not None and self.speech.seconds > 0
        if not begun and self.markers.reset_due <= now:
            at = max(at, self._session.plays_until(now))
        return at

    def _mark_from(self, now: float) -> float:
        """From when a mark may be sent, as far as is known."""
        at = max(self.quiet_until, self.markers.reset_until)
        if self.markers.reset_due <= now:
            at = max(at, self._session.plays_until(now) + self.markers.reset_seconds)
        return at

    def _reset_due(self, now: float) -> float:
        """When markers are reset: once nothing is heard any more."""
        due = self.markers.reset_due
        if due == math.inf:
            return due
        return max(due, self.quiet_until, self._session.plays_until(now))

    def _reset(self, now: float) -> None:
        self._add(self.markers.reset(now), now)
        self._added = self.markers.reset_seconds

    def _add(self, pcm: bytes, now: float) -> None:
        """Send audio that does not belong to the app's speech."""
        self._fill(audio := Audio(pcm), now)
        self.follow(audio, None, now)

    def ahead(self, now: float) -> float:
        """Seconds of audio that the caller is still to hear, without a reset at the end."""
        return max(0.0, self._session.ahead(now) - self._added)

    def prepare(self, message: Message, now: float) -> None:
        """A message is about to be sent: send what must stand before it.

        Raises :class:`LocalProtocolError` for a clearMarks that would leave markers stuck, if these
        are refused.
        """
        if isinstance(message, KillAudio):
            self._fill_batch(now)
        elif isinstance(message, Audio):
            if self.markers.in_doubt and self._reset_due(now) <= now:
                self._reset(now)
        elif isinstance(message, ClearMarks) and (stuck := self.markers.sticks()):
            self._check_stuck(stuck)

    def _check_stuck(self, stuck: int) -> None:
        """A clearMarks would leave so many markers stuck: refuse it, or note that once."""
        marks = "a mark" if stuck == 1 else f"{stuck} marks"
        lost = "the next mark" if stuck == 1 else f"the next {stuck} marks"
        said = f"a clearMarks behind {marks} with no audio since makes platforms lose {lost}"
        otherwise = "wait for the mark event, or send a killAudio"
        if self._refuses_clear_marks:
            raise LocalProtocolError(f"{said}; {otherwise}", clause="LP-MARK-18")
        if self._tells_of_clear_marks:
            self._tells_of_clear_marks = False
            what = "160 ms of silence will be sent to prevent that" if self._resets else otherwise
            self._link.notes.append(CallNote("warning", f"{said}; {what}"))

    def follow(self, message: Message, sent: Sent | None, now: float) -> None:
        """A message has been sent, with its entry in the record."""
        if isinstance(message, Audio):
            if message.pcm:
                self._added = 0.0
                if self._profile.stream_batch:
                    self._note_silence(message.pcm)
                self.markers.streamed()
        elif isinstance(message, Mark):
            assert sent is not None  # each mark has one
            sent.silence = min(self._silent / SAMPLE_BYTES / self._rate, self._profile.stream_batch)
            self.markers.sent(sent)
        elif isinstance(message, KillAudio):
            self.markers.killed(now)
        elif isinstance(message, Disconnect):
            self.markers.end()
        elif isinstance(message, ClearMarks):
            self.markers.cleared()

    def _note_silence(self, pcm: bytes) -> None:
        sounds = len(pcm.rstrip(b"\0"))
        self._silent = len(pcm) - sounds + (0 if sounds else self._silent)

    def stop(self, speech: Speech) -> None:
        """Send no more of it. What was sent ahead is heard all the same, unless it is killed."""
        if self.speech is speech:
            speech.interrupt()
            self.speech = None

    def interrupt(self, now: float) -> None:
        """What is being said is interrupted, and what was sent of it is not heard to its end."""
        if self.speech is not None:
            self.speech.interrupt()
        self._silence(now)

    def _silence(self, now: float) -> None:
        """The caller hears no more of what was said."""
        self.speech = None
        for speech in self.utterances:
            speech.cut_off(now)
        self.utterances.clear()

    def kill_audio(self, now: float, guard: float | None, send: Send) -> None:
        """Send a killAudio, and keep quiet for ``guard`` seconds; None is as the profile says."""
        if guard is None:
            guard = self._profile.kill_guard if self._streams else 0.0
        send(KillAudio(), now)
        self.quiet_until = max(self.quiet_until, now + guard)

    def _fill_batch(self, now: float) -> None:
        """Have nothing of a stream stay behind a killAudio, to open what is said next.

        The platform plays a stream in batches, and keeps what does not fill one. Where that is
        silence anyway, no more is sent: a killAudio takes a mark best that has no audio behind it.
        """
        sent = self._session.sent.audio
        if not (self._pads and self._streams and sent):
            return
        batch, least = (
            round(seconds * self._rate) * SAMPLE_BYTES
            for seconds in (self._profile.stream_batch, self._profile.prebuffer)
        )
        if self._silent < batch or sent < least:
            self._add(bytes(max(batch, least - sent)), now)

    def stop_clips(self, now: float, send: Send) -> None:
        """Send a killAudio, behind a silent clip if the killAudio would spare clips that wait."""
        if self._profile.kill_spares_waiting_clips and not self._streams:
            silence = bytes(FLICKS // 50 // flicks_of(1, PLAY_RATES[0]) * SAMPLE_BYTES)
            send(PlayAudio(silence, sample_rate=PLAY_RATES[0], queue_play=False), now)
        self.kill_audio(now, None, send)


def check_guard(guard: float | None) -> None:
    """Raise ValueError for a guard that is negative, infinite or NaN."""
    if guard is not None and not 0 <= guard < math.inf:
        raise ValueError(f"guard must be 0 or more seconds; it is {guard:g}")
