"""What an app may send in a call, and how it learns the outcome."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable
from typing import Final

import trio

from listenproto._app_session import AppSession
from listenproto._errors import LocalProtocolError
from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import (
    Audio,
    ClearMarks,
    ClipId,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    PlayAudio,
)
from listenproto._rules import REFUSALS
from listenproto._sent import Sent
from listenproto._watcher import Watcher
from listenproto_trio.logs import CallLog
from listenproto_trio.playback import Playback, Timekeeper
from listenproto_trio.speaking import Speech, check_speech, chunks_of
from listenproto_trio.transport import CallEnded, Transport
from listenproto_trio.unread import Unread

__all__ = ["Sending"]

TOO_MANY: Final = REFUSALS | {"LP-CLIP-5", "LP-MARK-3"}
"""The clauses that a clip or a mark breaks if there is no room for it now."""


class Sending:
    """The sending half of a :class:`~listenproto_trio.Call`."""

    def __init__(
        self,
        session: AppSession,
        transport: Transport,
        timekeeper: Timekeeper,
        unread: Unread,
        *,
        stream_rate: int,
        log: CallLog,
    ) -> None:
        self.session = session
        self.transport = transport
        self.log = log
        """A log for the handler's own lines; their records have the fields of the call."""
        self._timekeeper = timekeeper
        self._unread = unread
        self.stream_rate = stream_rate
        """The sample rate of this end's stream in Hz."""
        self.watchers: list[Watcher] = []
        """Who is told what passes, as it happens."""
        self._quiet_until = -math.inf
        self._told_of_mending = False
        self._speaking: trio.CancelScope | None = None
        self._disconnected = trio.Event()

    async def send(self, message: Message) -> Playback | None:
        """Send a message; returns a :class:`Playback` for a clip or a mark, else None.

        A WAV clip is sent with the right length in its header; a wrong one is logged, once per
        call.
        """
        await self.transport.room()
        if isinstance(message, Audio | PlayAudio | Mark):
            while trio.current_time() < self._quiet_until:
                await self._timekeeper.news(self._quiet_until)
                await self.transport.room()
        if self._disconnected.is_set():
            raise CallEnded("the call is over: this end has disconnected")
        now = trio.current_time()
        sent = self.session.send(message, now)
        if sent is not None and sent.message is not None:
            self._tell_if_mended(message, sent.message)
            message = sent.message
        for watcher in self.watchers:
            watcher.sent(message, now)
        if not isinstance(message, Audio):
            self._timekeeper.changed()
        if isinstance(message, KillAudio) and self._speaking is not None:
            self._speaking.cancel()
        elif isinstance(message, Disconnect):
            self._disconnected.set()
        self.transport.wake()
        return None if sent is None else self._timekeeper.playback(sent, self._unread)

    def _tell_if_mended(self, given: Message, sent: Message) -> None:
        """Log, once per call, that a WAV had a wrong length in its header."""
        if not (isinstance(given, PlayAudio) and isinstance(sent, PlayAudio)):
            return
        if sent.content is not given.content and not self._told_of_mending:
            self._told_of_mending = True
            flaw = given.head.flaw
            self.log.warning("%s: a WAV clip was sent with its header corrected: %s", self, flaw)

    async def send_audio(self, pcm: bytes) -> None:
        """Send a piece of the stream: L16 of one channel, in whole samples, at the verb's rate.

        After a hang-up this raises :class:`CallEnded`, while events may still wait to be read: a
        handler that records them must catch it and go on reading.
        """
        await self.send(Audio(pcm))

    @property
    def ahead(self) -> float:
        """Seconds of audio that the caller is still to hear, as far as this end can compute."""
        return self._timekeeper.ahead

    async def speak(self, speech: bytes | AsyncIterable[bytes], *, lead: float = 0.2) -> bool:
        """Send speech at the pace of playout, at most ``lead`` seconds ahead of it.

        ``speech`` is L16 as for :meth:`send_audio`, or chunks of it from a speech synthesizer, cut
        anywhere; a generator is closed at the end. How far playout is, is computed from what was
        sent and the ``stream_rate`` of :class:`Answering`. With a lead of ``math.inf`` everything
        is sent as it comes. An incomplete sample at the end is left out, and logged.

        Returns True once all is sent; the caller hears the end ``lead`` seconds later. To know
        when, send a mark. If any task sends a killAudio, speak() stops and returns False. So this
        is a barge-in, in the task that iterates::

            if call.ahead and loud(event):
                await call.kill_audio(guard=0.1)

        If you cancel speak() instead, send a killAudio as well: some audio has been sent ahead.

        Raises :class:`~listenproto.LocalProtocolError` at once if the call does not stream,
        TypeError if the speech is neither bytes nor an async iterable, ValueError if the lead is
        under 0.04 or NaN, trio.BusyResourceError if another task speaks.
        """
        check_speech(speech)
        saying = Speech(self.send_audio, self._timekeeper, rate=self.stream_rate, lead=lead)
        await self.transport.room()
        self.session.check(Audio(bytes(SAMPLE_BYTES)))
        if self._speaking is not None and not self._speaking.cancel_called:
            raise trio.BusyResourceError("another task is speaking in this call")
        left_over, self._speaking = 0, (scope := trio.CancelScope())
        try:
            async with chunks_of(speech) as chunks:
                with scope:
                    async for chunk in chunks:
                        await saying.say(chunk)
                    left_over = await saying.finish()
        finally:
            if self._speaking is scope:  # else another task speaks already
                self._speaking = None
        if left_over:
            self.log.warning(
                "%s: the speech ended with an incomplete sample, which was left out", self
            )
        return not scope.cancel_called

    async def play(self, clip: PlayAudio) -> Playback:
        """Send a clip; the result tells how it ends.

        It is REFUSED at once if the maximum number of clips is outstanding (LP-CLIP-5).
        """
        return await self._send_if_room(clip, clip.id or "a clip")

    async def mark(self, name: str) -> Playback:
        """Send a mark after the audio sent so far; the result tells when playout reaches it.

        It is REFUSED at once if the maximum number of marks is pending (LP-MARK-3).
        """
        return await self._send_if_room(Mark(name), name)

    async def _send_if_room(self, message: PlayAudio | Mark, name: ClipId) -> Playback:
        try:
            playback = await self.send(message)
        except LocalProtocolError as exc:
            if exc.clause not in TOO_MANY:
                raise
            return Playback(Sent.refused(name), self._unread)
        assert playback is not None
        return playback

    async def kill_audio(self, *, guard: float = 0.0) -> None:
        """Stop what plays and drop what waits: clips end as FLUSHED, marks as CLEARED.

        Clips and marks that ended before the platform read this are PLAYED all the same. A deployed
        platform stops only the clip that plays; the next one starts. A :meth:`speak` in another
        task stops.

        Deployed platforms drop audio that comes right after a killAudio (LP-KILL-3): ``guard=0.1``
        avoids that. For so many seconds, sending audio, clips and marks waits. Raises ValueError
        for a guard that is negative or NaN; nothing is sent then.
        """
        if not guard >= 0:
            raise ValueError(f"guard must be 0 or more seconds; it is {guard:g}")
        await self.send(KillAudio())
        self._quiet_until = max(self._quiet_until, trio.current_time() + guard)

    async def clear_marks(self) -> None:
        """Remove the pending marks: they end as FLUSHED, unless their event is on its way."""
        await self.send(ClearMarks())

    async def disconnect(self) -> None:
        """End the listen. The platform stops playout and closes; keep iterating until then."""
        await self.send(Disconnect())

    async def drain(self) -> None:
        """Wait until the caller has heard all that was sent, including what is sent meanwhile.

        A clip has been heard when its playDone comes, a stream when the event of a mark after it
        comes. Without such a mark, a stream counts as heard half a second after the time computed
        from ``stream_rate``; if the network delays it by more, closing the call cuts off its end.
        drain() sends no mark itself: marks are limited in number, their events go to the app, and
        some deployed platforms lose them.

        A killAudio, a disconnect and the end of the call end the wait at once. If an answer never
        comes, it waits as long as :meth:`Playback.wait` and then goes on. Raises
        :class:`UnreadAudioError` when that does.
        """
        await trio.lowlevel.checkpoint()
        while (until := self.session.all_heard_by(now := trio.current_time())) > now:
            for sent in self.session.under_way:
                if not sent.is_silenced:
                    self._timekeeper.playback(sent, self._unread).check_reader()
            await self._timekeeper.news(until)
