"""A call as a handler holds it: what can be awaited, for any runtime.

The :class:`~listenproto.AppCall` inside decides everything. What is here only waits until
it says so, by the few means that a :class:`~listenproto.Runtime` gives: it looks again whenever
something has happened in the call, and when a time is up.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Final

from listenproto._answering import Answering
from listenproto._app_call import AppCall
from listenproto._app_session import AppSession
from listenproto._ends import CallEnded, Ending
from listenproto._errors import ProtocolError
from listenproto._messages import (
    Audio,
    ClearMarks,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    Metadata,
    Mode,
    PlayAudio,
)
from listenproto._playback import Playback
from listenproto._profile import Profile
from listenproto._runtime import Runtime
from listenproto._sent import Sent
from listenproto._speech import Speech, Spoken, check_speech, chunks_of
from listenproto._statistics import Statistics
from listenproto._talking import check_guard
from listenproto._unread import CallEvent
from listenproto._upgrade import Request
from listenproto._watcher import Watcher
from listenproto._wire import Closed

__all__ = ["HandlerCall", "UnreadAudioError"]


class UnreadAudioError(Exception):
    """Waiting would never end: the answer comes after audio that no other task reads."""


class HandlerCall:
    """One call at the application's end; each runtime has its own subclass.

    Any task may send; one task iterates over the events. Sending waits while the outbox is full. It
    raises :class:`~listenproto.CallEnded` once the call is over, and
    :class:`~listenproto.LocalProtocolError` for what the protocol forbids. If it raises or is
    cancelled, nothing was sent.
    """

    def __init__(self, core: AppCall[Any], runtime: Runtime, *, peer: str | None) -> None:
        self.core: Final[AppCall[Any]] = core
        """The call without IO."""
        self.runtime: Final[Runtime] = runtime
        """The clock of the call, and its ways to wait."""
        self.peer: Final[str | None] = peer
        """The address of the other end, as host:port; None if it is not known."""
        self._reader: object = None
        """The task that read events last."""
        self._iterating = False
        self._speaking: Speech | None = None
        self.spoken: Spoken | None = None
        """What was said last, or is being said; None if nothing was."""

    def __repr__(self) -> str:
        return f"<Call {self._sid()}>"

    def __str__(self) -> str:
        """Its name in logs."""
        what = "call" if self._is_call else "connection"
        if self.core.metadata is not None:
            what += f" {self._sid()}"
        return what + (f" from {self.peer}" if self.peer else "")

    @property
    def _is_call(self) -> bool:
        return self.core.metadata is not None or self.core.is_lost

    def _sid(self) -> str:
        metadata = self.core.metadata
        if metadata is None:
            return "without metadata"
        sid = metadata.call_sid or "without a sid"
        return sid if sid.isprintable() else ascii(sid)  # one line of the log stays one line

    @property
    def session(self) -> AppSession:
        """The session of the call."""
        return self.core.session

    @property
    def answering(self) -> Answering:
        """The options with which the call is answered."""
        return self.core.answering

    @property
    def profile(self) -> Profile:
        """How the platform behaves."""
        return self.core.answering.profile

    @property
    def stream_rate(self) -> int:
        """The sample rate of this end's stream in Hz."""
        return self.core.stream_rate

    @property
    def watchers(self) -> list[Watcher]:
        """What is told of each message as it passes; add your own."""
        return self.core.watchers

    @property
    def request(self) -> Request:
        """The upgrade request: target, path, headers.

        Raises LookupError for a call on another library's WebSocket that was not given the request.
        """
        if self.session.request is None:
            raise LookupError("the call was not given its upgrade request: pass request=…")
        return self.session.request

    @property
    def path(self) -> str | None:
        """The path of the upgrade request; None if the call was not given the request."""
        return self.session.request.path if self.session.request else None

    @property
    def metadata(self) -> Metadata:
        """The attributes of the call, and the sample rate and channels of its audio."""
        assert self.core.metadata is not None  # a handler starts after it
        return self.core.metadata

    @property
    def call_sid(self) -> str | None:
        """The call's sid; several listens of one call share it."""
        return self.metadata.call_sid

    @property
    def mode(self) -> Mode | None:
        """What this end may send."""
        return self.session.mode

    @property
    def closed(self) -> Closed | None:
        """How the platform ended the connection; None until then.

        ``clean`` is false if it did so without a close.
        """
        return self.core.link.closed

    @property
    def end(self) -> Ending | None:
        """How the call ended; None until nothing more can be sent."""
        return self.core.end

    def how_it_ended(self) -> str:
        """How the call ended, in one sentence."""
        raise NotImplementedError

    @property
    def disconnected(self) -> bool:
        """Whether this end has sent a disconnect."""
        return self.core.disconnected

    @property
    def error(self) -> ProtocolError | None:
        """What the platform did wrong, if that ended the call."""
        return self.core.link.error

    @property
    def samples_dropped(self) -> int:
        """Samples of each channel that were dropped because they were not read in time."""
        return self.core.samples_dropped

    @property
    def statistics(self) -> Statistics:
        """What passed so far, what was dropped, and how late audio came."""
        return self.core.statistics(self.runtime.now())

    @property
    def ahead(self) -> float:
        """Seconds of audio that the caller is still to hear, as far as this end can compute."""
        return self.core.ahead(self.runtime.now())

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        return self

    async def __anext__(self) -> CallEvent:
        """The next event; the iteration ends with the call, however that ends.

        Raises trio.BusyResourceError, or RuntimeError on asyncio, if another task is iterating.
        """
        if self._iterating:
            raise self.runtime.busy("another task iterates over this call")
        core, self._reader = self.core, self.runtime.task()
        self._iterating = True
        try:
            await self.runtime.checkpoint()
            if not core.has_event:
                await self.runtime.until(self._has_news)
        finally:
            self._iterating = False
        was_held = core.is_held
        event = core.next_event(self.runtime.now())
        if was_held:
            self.runtime.changed()
        if event is None:
            raise StopAsyncIteration
        return event

    def _has_news(self) -> bool:
        return self.core.has_event or not self.core.link.reads

    async def send(self, message: Message) -> Playback | None:
        """Send a message; returns a :class:`Playback` for a clip or a mark, else None.

        A WAV clip is sent with the right length in its header; a wrong one is logged, once per
        call.
        """
        now = await self._until_ready_for(message)
        sent = self.core.send(message, now)
        self.runtime.changed()
        return None if sent is None else self._playback(sent)

    async def _until_ready_for(self, message: Message) -> float:
        """Wait for room, and for the end of a guard; returns the time."""
        core, runtime = self.core, self.runtime
        await runtime.checkpoint()
        while (at := core.ready_at(message, now := runtime.now())) > now:
            await runtime.until(
                lambda: core.link.ended or core.ready_at(message, runtime.now()) != at, at
            )
        return now

    def _playback(self, sent: Sent) -> Playback:
        return Playback(sent, self.core.link, self.runtime, self._until_answered)

    async def send_audio(self, pcm: bytes) -> None:
        """Send a piece of the stream: L16 of one channel, in whole samples, at the verb's rate.

        After a hang-up this raises :class:`CallEnded`, while events may still wait to be read: a
        handler that records them must catch it and go on reading.
        """
        await self.send(Audio(pcm))

    async def speak(self, speech: bytes | AsyncIterable[bytes], *, lead: float = 0.2) -> Spoken:
        """Send speech at the pace of playout, at most ``lead`` seconds ahead of it.

        ``speech`` is L16 as for :meth:`send_audio`, or chunks of it from a speech synthesizer, cut
        anywhere; a generator is closed at the end. How far playout is, is computed from what was
        sent and the ``stream_rate`` of :class:`Answering`. With a lead of ``math.inf`` everything
        is sent as it comes. An incomplete sample at the end is left out, and logged.

        Returns once all is sent; the caller hears the end ``lead`` seconds later. To know when,
        send a mark. The result is true, and :attr:`Spoken.heard` says how much of it the caller has
        heard. If any task sends a killAudio, speak() stops, and the result is false. So this is a
        barge-in, in the task that iterates::

            if call.ahead and loud(event):
                await call.kill_audio(guard=0.1)

        If you cancel speak() instead, send a killAudio as well: some audio has been sent ahead.
        :attr:`spoken` says how much was heard, unless it was still waiting for room in the outbox.

        Raises :class:`~listenproto.LocalProtocolError` at once if the call does not stream,
        TypeError if the speech is neither bytes nor an async iterable, ValueError if the lead is
        under 0.04 or NaN; trio.BusyResourceError, or RuntimeError on asyncio, if another task
        speaks.
        """
        check_speech(speech)
        core, said = self.core, self.core.speech(lead)
        spoken = Spoken(said, self.runtime.now)
        now = await self._until_ready_for(KillAudio())
        if self._speaking is not None and not self._speaking.interrupted:
            core.check_streams()
            raise self.runtime.busy("another task is speaking in this call")
        core.say(said, now)
        self._speaking, self.spoken = said, spoken
        try:
            async with chunks_of(speech) as chunks:
                with self.runtime.stopping(lambda: said.interrupted):
                    async for chunk in chunks:
                        if not isinstance(chunk, bytes):
                            kind = type(chunk).__name__
                            raise TypeError(f"speech must come in bytes of L16, not {kind}")
                        said.feed(chunk)
                        await self._say(said)
                    said.finish()
                    await self._say(said)
        finally:
            core.stop_speaking(said)
            if self._speaking is said:  # else another task speaks already
                self._speaking = None
        if said.left_over:
            self._log_warning("the speech ended with an incomplete sample, which was left out")
        return spoken

    async def _say(self, said: Speech) -> None:
        """Wait until all of it is sent but what is too short."""
        core, runtime = self.core, self.runtime
        core.say(said, runtime.now())
        runtime.changed()
        await runtime.until(lambda: said.wants_more or said.interrupted or core.link.ended)
        if not said.wants_more and not said.interrupted:
            raise CallEnded(self.how_it_ended())

    async def play(self, clip: PlayAudio) -> Playback:
        """Send a clip; the result tells how it ends.

        It is REFUSED at once if the maximum number of clips is outstanding (LP-CLIP-5).
        """
        return await self._send_if_room(clip)

    async def mark(self, name: str) -> Playback:
        """Send a mark after the audio sent so far; the result tells when playout reaches it.

        On deployed platforms, it may first wait until what was said has been heard, and audio that
        is sent next may wait for its event: see ``reset_marks`` and ``hold_behind_marks`` of
        :class:`Answering`.

        It is REFUSED at once if the maximum number of marks is pending (LP-MARK-3).
        """
        return await self._send_if_room(Mark(name))

    async def _send_if_room(self, message: PlayAudio | Mark) -> Playback:
        now = await self._until_ready_for(message)
        sent = self.core.send_if_room(message, now)
        self.runtime.changed()
        return self._playback(sent)

    async def kill_audio(self, *, guard: float | None = None) -> None:
        """Stop what plays and drop what waits: clips end as FLUSHED, marks as CLEARED.

        Clips and marks that ended before the platform read this are PLAYED all the same. A deployed
        platform stops only the clip that plays; the next one starts. A :meth:`speak` in another
        task stops.

        Deployed platforms drop a stream that comes right after a killAudio (LP-KILL-3). So for
        ``guard`` seconds, sending audio, clips and marks waits; by default for as long as the
        profile says, for clips and documented platforms not at all. Raises ValueError for a guard
        that is negative, infinite or NaN; nothing is sent then.
        """
        check_guard(guard)
        now = await self._until_ready_for(KillAudio())
        self.core.kill_audio(now, guard=guard)
        self.runtime.changed()

    async def stop_clips(self) -> None:
        """Stop the clip that plays and drop all that wait, also on deployed platforms.

        There a :meth:`kill_audio` stops only the clip that plays, so a short silent clip is sent
        before it. The clips end as with :meth:`kill_audio`.
        """
        silence = PlayAudio(b"")
        now = await self._until_ready_for(silence)
        self.core.stop_clips(now)
        self.runtime.changed()

    async def clear_marks(self) -> None:
        """Remove the pending marks: they end as FLUSHED, unless their event is on its way.

        Deployed platforms lose a later mark for each one behind which no audio was sent. The log
        says so, or this raises :class:`~listenproto.LocalProtocolError`, as
        ``refuse_clear_marks`` of :class:`Answering` says.
        """
        await self.send(ClearMarks())

    async def disconnect(self) -> None:
        """End the listen. The platform stops playout and closes; keep iterating until then."""
        await self.send(Disconnect())

    def _stop_reading(self) -> None:
        """The handler is done: keep no more events, and hold nothing back."""
        self.core.stop_reading(self.runtime.now())
        self.runtime.changed()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what still waits, close the connection, and wait for the platform's answer."""
        self.core.close(code, reason, self.runtime.now())
        self.runtime.changed()
        await self.runtime.over()

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
        core, runtime = self.core, self.runtime
        await runtime.checkpoint()
        while (until := core.all_heard_by(now := runtime.now())) > now:
            awaited = [sent for sent in self.session.under_way if not sent.is_silenced]

            def is_sooner(until: float = until) -> bool:
                return core.all_heard_by(runtime.now()) < until

            if awaited:
                await self._until_answered(is_sooner, awaited[0], until)
            else:
                await self._until(is_sooner, until)

    async def _until(self, ready: Callable[[], bool], until: float) -> None:
        """Wait as :meth:`Runtime.until`, and do what is due at that time."""
        await self.runtime.until(ready, until)
        if self.core.next_timeout() <= (now := self.runtime.now()):
            self.core.handle_timeout(now)
            self.runtime.changed()

    async def _until_answered(self, ready: Callable[[], bool], sent: Sent, until: float) -> None:
        """Wait as :meth:`Runtime.until` for the answer to ``sent``.

        Raises :class:`UnreadAudioError` once that waits for this task to read.
        """
        me = self.runtime.task()

        def is_stuck() -> bool:
            if not self.core.is_held:
                return False
            reader = self._reader
            return reader in (None, me) or not self.runtime.is_running(reader)

        if not is_stuck():
            await self._until(lambda: ready() or is_stuck(), until)
        if is_stuck() and not ready():
            raise UnreadAudioError(
                f"the answer to {sent.name!r} comes after unread audio that no other task reads; "
                "iterate over the call in another task, or pass Answering(unread='drop_oldest')"
            )

    def _log_warning(self, said: str) -> None:
        """Log a warning with the fields of the call."""
        raise NotImplementedError
