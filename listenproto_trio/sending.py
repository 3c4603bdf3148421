"""What an app may send in a call, and how it learns what became of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable
from typing import Final, Protocol

import trio

from listenproto.app_session import AppSession
from listenproto.codec import clip_head
from listenproto.errors import LocalProtocolError
from listenproto.l16 import SAMPLE_BYTES
from listenproto.messages import (
    Audio,
    ClearMarks,
    ClipId,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    Peer,
    PlayAudio,
)
from listenproto.rules import REFUSALS
from listenproto_trio.logs import CallLog
from listenproto_trio.playback import Playback, Playbacks
from listenproto_trio.speaking import Speech, chunks_of
from listenproto_trio.transport import CallEnded, Transport
from listenproto_trio.unread import Unread

__all__ = ["Sending", "Watcher"]

TOO_MANY: Final = REFUSALS | {"LP-CLIP-5", "LP-MARK-3"}
"""What a clip or a mark breaks for which there is no room now."""


class Watcher(Protocol):
    """Is told what passes in a call as it happens; must not raise."""

    def received(self, audio: Audio) -> None:
        """Audio came from the platform; nobody has read it yet."""

    def sent(self, message: Message) -> None:
        """A message of the app goes out."""


class Sending:
    """The sending half of a :class:`~listenproto_trio.Call`."""

    def __init__(
        self,
        session: AppSession,
        transport: Transport,
        playbacks: Playbacks,
        unread: Unread,
        *,
        stream_rate: int,
        log: CallLog,
    ) -> None:
        self.session = session
        self.transport = transport
        self.log = log
        """For the handler's own lines: their records say which call they are about."""
        self._playbacks = playbacks
        self._unread = unread
        self._stream_rate = stream_rate
        self._watchers: list[Watcher] = []
        self._quiet_until = -math.inf
        self._told_of_mending = False
        self._speaking: trio.CancelScope | None = None
        self._disconnected = trio.Event()

    async def send(self, message: Message) -> Message:
        """Send a message; gives it as it went out, a clip with its id.

        A WAV clip goes out with the right length in its header; that it had another is logged,
        once a call.
        """
        await self.transport.room()
        if isinstance(message, Audio | PlayAudio | Mark):
            while trio.current_time() < self._quiet_until:
                await self._playbacks.news(self._quiet_until)
                await self.transport.room()
        if self._disconnected.is_set():
            raise CallEnded("the call is over: this end has disconnected")
        given, message = message, self.session.send(message)
        if isinstance(given, PlayAudio):
            self._tell_if_mended(given, message)
        self._playbacks.sent(message, self._unread)
        for watcher in self._watchers:
            watcher.sent(message)
        if isinstance(message, KillAudio) and self._speaking is not None:
            self._speaking.cancel()
        elif isinstance(message, Disconnect):
            self._disconnected.set()
        self.transport.wake()
        return message

    def _tell_if_mended(self, given: PlayAudio, sent: Message) -> None:
        """Log, once a call, that a WAV claims a length that is not that of its audio."""
        assert isinstance(sent, PlayAudio)
        if sent.content is not given.content and not self._told_of_mending:
            self._told_of_mending = True
            flaw = clip_head(given.content).flaw
            self.log.warning("a WAV clip was sent with its header corrected: %s", flaw)

    async def send_audio(self, pcm: bytes) -> None:
        """Send a piece of the stream: L16 of one channel in whole samples, at the verb's rate.

        A handler that also records what it iterates over goes on past a hang-up only if it
        takes :class:`CallEnded` here.
        """
        await self.send(Audio(pcm))

    @property
    def ahead(self) -> float:
        """How many seconds the caller is still to hear, as far as this end can reckon."""
        return self._playbacks.ahead

    async def speak(self, speech: bytes | AsyncIterable[bytes], *, lead: float = 0.2) -> bool:
        """Send a stream at the pace of playout, never more than ``lead`` seconds ahead of it.

        ``speech`` is L16 as :meth:`send_audio` takes it, or chunks of it as a speech synthesizer
        gives them, cut anywhere; a generator is closed at the end. How far playout is, this end
        reckons from what it sent, at the ``stream_rate`` of its :class:`Answering`. Returns once
        the last of it is sent, which the caller hears ``lead`` later: a mark behind it tells. A
        byte that is half a sample is left out at the end, and logged.

        A killAudio that any task sends meanwhile ends it: then it gives False, and True where all
        was sent. So this is a barge-in, in the task that iterates::

            if call.ahead and loud(event):
                await call.kill_audio(guard=0.1)

        Whoever cancels it instead sends that killAudio too, for what is ahead. Raises
        :class:`~listenproto.LocalProtocolError` at once where the call does not stream, ValueError
        for a lead under 0.04 or NaN, trio.BusyResourceError while another task speaks. With a lead
        of ``math.inf`` it does not wait for playout at all.
        """
        saying = Speech(self.send_audio, self._playbacks, rate=self._stream_rate, lead=lead)
        await self.transport.room()
        for violation in self.session.observer.judge(Peer.APP, Audio(bytes(SAMPLE_BYTES))):
            raise LocalProtocolError(violation.reason, clause=violation.clause)
        if self._speaking is not None and not self._speaking.cancel_called:
            raise trio.BusyResourceError("another task speaks in this call")
        left_over, self._speaking = 0, (scope := trio.CancelScope())
        try:
            async with chunks_of(speech) as chunks:
                with scope:
                    async for chunk in chunks:
                        await saying.say(chunk)
                    left_over = await saying.finish()
        finally:
            if self._speaking is scope:  # else another speaks, while this one closed its generator
                self._speaking = None
        if left_over:
            self.log.warning("the speech ended inside a sample, which was left out")
        return not scope.cancel_called

    async def play(self, clip: PlayAudio) -> Playback:
        """Send a clip; what comes back tells how it ends.

        It is REFUSED at once where as many clips as may be are outstanding (LP-CLIP-5).
        """
        try:
            sent = await self.send(clip)
        except LocalProtocolError as exc:
            return self._refused(exc, clip.id or "a clip")
        assert isinstance(sent, PlayAudio) and sent.id is not None
        return self._playbacks.clip(sent.id)

    async def mark(self, name: str) -> Playback:
        """Send a mark behind the audio sent so far; what comes back tells when playout is there.

        It is REFUSED at once where as many marks as may be are pending (LP-MARK-3).
        """
        try:
            await self.send(Mark(name))
        except LocalProtocolError as exc:
            return self._refused(exc, name)
        return self._playbacks.newest_mark(name)

    def _refused(self, error: LocalProtocolError, name: ClipId) -> Playback:
        if error.clause not in TOO_MANY:
            raise error
        return self._playbacks.refused(name, self._unread)

    async def kill_audio(self, *, guard: float = 0.0) -> None:
        """Stop what plays and flush what waits: clips are FLUSHED, marks come back CLEARED.

        Those that had come to their end before it was read there are PLAYED even so. Deployed, it
        stops the clip that plays, and those behind it go on. What :meth:`speak` says in another
        task ends with it.

        For ``guard`` seconds no audio, clip or mark is sent then: deployed platforms flush what
        comes close behind a killAudio, 0.1 avoids it (LP-KILL-3). Raises ValueError, and sends
        nothing, for a guard that is negative or NaN.
        """
        if not guard >= 0:
            raise ValueError(f"a guard of {guard:g} s is no time to wait, it takes 0 or more")
        await self.send(KillAudio())
        self._quiet_until = max(self._quiet_until, trio.current_time() + guard)

    async def clear_marks(self) -> None:
        """Have the pending marks forgotten: FLUSHED, but for one whose event is on its way."""
        await self.send(ClearMarks())

    async def disconnect(self) -> None:
        """End the listen. The platform flushes playout and closes; iterate on for what comes."""
        await self.send(Disconnect())

    async def drain(self) -> None:
        """Wait until the caller has heard all that was sent, including what is sent meanwhile.

        Clips have been heard when their playDone comes, a stream when the event of a mark behind it
        comes. Without such a mark, a stream counts as heard half a second after the time computed
        from ``stream_rate``: if the network delays it by more, closing the call then cuts off its
        end. drain() sends no mark itself: marks are limited in number, their events go to the app,
        and some deployed platforms lose them.

        A killAudio, a disconnect and the end of the call end the wait at once. For answers that
        never come it waits as long as :meth:`Playback.wait`, and raises
        :class:`UnreadAudioError` where that does.
        """
        await self._playbacks.all_heard()
