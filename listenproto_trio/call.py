"""What a handler holds: one call, at the application's end."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Final

import attrs
import trio

from listenproto.app_session import AppSession, ClipDone
from listenproto.codec import clip_flicks
from listenproto.connection import AppConnection, ConnectionEvent
from listenproto.errors import LocalProtocolError, ProtocolError
from listenproto.handshake import Reject, Verdict
from listenproto.l16 import FLICKS, SAMPLE_BYTES
from listenproto.messages import (
    Audio,
    ClearMarks,
    ClipId,
    Disconnect,
    Dtmf,
    KillAudio,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    PlayAudio,
    UnknownMessage,
)
from listenproto.observer import Violation
from listenproto.rules import REFUSALS
from listenproto.upgrade import Request
from listenproto.wire import Closed
from listenproto_trio.limits import Limits
from listenproto_trio.playback import Outcome, Playback, Playbacks
from listenproto_trio.transport import CallEnded, Transport
from listenproto_trio.unread import CallEvent, Unread, UnreadPolicy

__all__ = ["Call", "Statistics"]

PATIENCE: Final = 10.0
"""Seconds that an answer may take beyond the time that playing takes."""

TOO_MANY: Final = REFUSALS | {"LP-CLIP-5", "LP-MARK-3"}
"""What a clip or a mark breaks for which there is no room now."""


@attrs.define
class Statistics:
    """What passed so far: messages, and bytes of audio, in both directions."""

    messages_received: int = 0
    messages_sent: int = 0
    audio_received: int = 0
    audio_sent: int = 0


class Call:
    """One call at the application's end; :func:`~listenproto_trio.serve` gives it to a handler.

    Any task may send; one iterates over the events. Sending waits while the outbox is full. It
    raises :class:`~listenproto_trio.CallEnded` once the call is over, and
    :class:`~listenproto.LocalProtocolError` for what the protocol forbids; nothing was sent then,
    nor where it was cancelled.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        session: AppSession,
        limits: Limits,
        *,
        judge: Callable[[Request], Verdict],
        stream_rate: int = 8000,
        unread: UnreadPolicy = "drop_oldest",
    ) -> None:
        self.session = session
        self.stream = stream
        self.statistics = Statistics()
        self.ready = trio.Event()
        """Set once the metadata has come, or never will."""
        self.refused: Reject | None = None
        """The answer to the upgrade request, if it was a refusal."""
        self._judge = judge
        self._stream_rate = stream_rate
        self._playbacks = Playbacks()
        self._unread = Unread(unread, limits, on_hold=self._playbacks.recheck)
        self.transport: Transport[AppConnection] = Transport(
            stream,
            AppConnection(session, max_head=limits.head_size, max_message=limits.message_size),
            limits,
            dispatch=self._dispatch,
            may_read=self._unread.may_read,
        )
        self._plays_until = -math.inf
        self._quiet_until = -math.inf
        self._disconnected = trio.Event()

    def __repr__(self) -> str:
        metadata = self.session.metadata
        return f"<Call {metadata.call_sid if metadata else 'without metadata'}>"

    @property
    def request(self) -> Request:
        """The upgrade request: target, path, headers."""
        assert self.session.request is not None  # a handler starts behind it
        return self.session.request

    @property
    def metadata(self) -> Metadata:
        """The attributes of the call; the rate and the channels of its audio."""
        assert self.session.metadata is not None  # a handler starts behind it
        return self.session.metadata

    @property
    def call_sid(self) -> str | None:
        """The call's sid; several listens of one call share it."""
        return self.metadata.call_sid

    @property
    def mode(self) -> Mode | None:
        """What this end may send back."""
        return self.session.mode

    @property
    def closed(self) -> Closed | None:
        """How the platform ended the call; None while it has not. Not ``clean``: it vanished."""
        return self.transport.closed

    @property
    def error(self) -> ProtocolError | None:
        """What the platform did wrong, if the call ended by that."""
        return self.transport.error

    @property
    def samples_dropped(self) -> int:
        """How many samples of each channel were dropped because nobody read them in time."""
        return self._unread.samples_dropped

    def _dispatch(self, event: ConnectionEvent) -> None:
        if isinstance(event, Audio):
            self.statistics.messages_received += 1
            self.statistics.audio_received += len(event.pcm)
            self._unread.put(event)
        elif isinstance(event, Request):
            verdict = self._judge(event)
            self.refused = verdict if isinstance(verdict, Reject) else None
            self.transport.connection.answer(verdict)
        elif isinstance(event, Metadata):
            self._unread.open(event)
            self.ready.set()
        elif isinstance(event, Dtmf | ClipDone | MarkEvent | UnknownMessage | Violation):
            acted_on = isinstance(event, Violation) and not event.dropped
            self.statistics.messages_received += not acted_on  # its message comes behind it
            if isinstance(event, ClipDone | MarkEvent):
                self._playbacks.answered(event)
            self._unread.put(event)

    async def read(self) -> None:
        """Read until the connection is over; a task of whoever runs the call."""
        try:
            await self.transport.read()
        finally:
            self._playbacks.lost()
            self._unread.end()
            self.ready.set()

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        return self

    async def __anext__(self) -> CallEvent:
        """The next event; the iteration ends with the call, however that ends.

        Raises trio.BusyResourceError where another task iterates already.
        """
        event = await self._unread.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def stop_reading(self) -> None:
        """Nobody will iterate any more: what comes is thrown away, and nothing is held back."""
        self._unread.abandon()

    async def send(self, message: Message) -> Message:
        """Send a message; gives it as it went out, a clip with its id."""
        await self.transport.room()
        if isinstance(message, Audio | PlayAudio | Mark):
            while trio.current_time() < self._quiet_until:
                await trio.sleep_until(self._quiet_until)
                await self.transport.room()
        if self._disconnected.is_set():
            raise CallEnded("the call is over: this end has disconnected")
        message = self.session.send(message)
        self._sent(message)
        self.transport.wake()
        return message

    def _sent(self, message: Message) -> None:
        """Remember what is under way by a message."""
        self.statistics.messages_sent += 1
        if isinstance(message, Audio):
            self.statistics.audio_sent += len(message.pcm)
            self._lasts(len(message.pcm) / SAMPLE_BYTES / self._stream_rate)
        elif isinstance(message, PlayAudio):
            assert message.id is not None  # the session gives it one
            patience = self._lasts(clip_flicks(message) / FLICKS) + PATIENCE
            self._playbacks.add_clip(self._playbacks.make(message.id, patience, self._unread))
        elif isinstance(message, Mark):
            patience = self._lasts(0.0) + PATIENCE
            self._playbacks.add_mark(self._playbacks.make(message.name, patience, self._unread))
        elif isinstance(message, KillAudio):
            self._plays_until = -math.inf
            self._playbacks.killed()
        elif isinstance(message, ClearMarks):
            self._playbacks.marks_cleared()
        elif isinstance(message, Disconnect):
            self._disconnected.set()

    def _lasts(self, seconds: float) -> float:
        """So much more is to be played; gives how long all of it takes at most, in seconds."""
        now = trio.current_time()
        self._plays_until = max(self._plays_until, now) + seconds
        return self._plays_until - now

    async def send_audio(self, pcm: bytes) -> None:
        """Send a piece of the stream: L16 of one channel in whole samples, at the verb's rate.

        A handler that also records what it iterates over goes on past a hang-up only if it
        takes :class:`CallEnded` here.
        """
        await self.send(Audio(pcm))

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
        playback = self._playbacks.make(name, 0.0, self._unread)
        playback.outcome = Outcome.REFUSED
        return playback

    async def kill_audio(self, *, guard: float = 0.0) -> None:
        """Stop what plays and flush what waits: clips are FLUSHED, marks come back CLEARED.

        For ``guard`` seconds no audio, clip or mark is sent then: deployed platforms flush what
        comes close behind a killAudio, 0.1 avoids it (LP-KILL-3).
        """
        await self.send(KillAudio())
        self._quiet_until = trio.current_time() + guard

    async def clear_marks(self) -> None:
        """Have the pending marks forgotten: they are FLUSHED."""
        await self.send(ClearMarks())

    async def disconnect(self) -> None:
        """End the listen. The platform flushes playout and closes; iterate on for what comes."""
        await self.send(Disconnect())

    async def drain(self) -> None:
        """Wait until all clips and marks under way are over."""
        for playback in self._playbacks.under_way():
            await playback.wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, behind what was sent; waits for the platform's answer."""
        await self.transport.close(code, reason)

    async def close_after_disconnect(self) -> None:
        """Close where a disconnect goes unanswered (LP-END-2); a task of whoever runs the call."""
        await self._disconnected.wait()
        await trio.sleep(self.transport.limits.close_time)
        await self.close()
