"""What the app says in a stream, at the pace of playout, and what interrupts it.

One utterance is said at a time; the next one, a killAudio and a disconnect interrupt it. Pieces go
out as playout makes room, unless the outbox is full or the guard of a killAudio keeps them back.
What the caller has heard of each is computed until a killAudio, or the end of the call, cuts it
off. Platforms that play a stream in batches keep what does not fill one, so silence is sent behind
speech and before a killAudio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from listenproto._answering import Answering
from listenproto._app_session import AppSession
from listenproto._l16 import FLICKS, PLAY_RATES, SAMPLE_BYTES, flicks_of
from listenproto._link import Link
from listenproto._messages import Audio, KillAudio, Message, Mode, PlayAudio
from listenproto._speech import Speech

__all__ = ["Talking", "check_guard"]


Send: TypeAlias = Callable[[Message, float], object]


class Talking:
    """What one end says in a call.

    The ``send`` that some methods get sends a message, for the call and all who watch it.
    """

    def __init__(
        self,
        answering: Answering,
        session: AppSession,
        link: Link[Any],
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
        self._rate = rate
        pads = answering.pad_speech
        self._pads = self._profile.stream_batch > 0 if pads is None else pads

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
        """Send what may be sent of the speech by now."""
        if self._link.ended:
            self._silence(now)
        while (speech := self.speech) is not None:
            if speech.over:
                self.speech = None
            elif now < self.quiet_until or not self._link.has_room:
                return
            elif speech.due_in(ahead := self._session.ahead(now)) == 0:
                send(Audio(speech.take(now, ahead)), now)
            else:
                return
        self._forget_heard(now)

    def due(self, now: float) -> float:
        """When there is more to send; infinite for never, or if nobody knows when."""
        if self.speech is None or self._link.ended or not self._link.has_room:
            return math.inf
        return max(now + self.speech.due_in(self._session.ahead(now)), self.quiet_until)

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

    def fill_batch(self, now: float) -> None:
        """Have nothing of a stream stay behind a killAudio, to open what is said next.

        The platform plays a stream in batches, and keeps what does not fill one.
        """
        if self._pads and self._streams and self._session.sent.audio:
            silence = round(self._profile.stream_batch * self._rate)
            self._session.send(Audio(bytes(silence * SAMPLE_BYTES)), now)

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
