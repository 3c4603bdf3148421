"""A call at the application's end without IO: everything that a handler has, but waiting.

An adapter for a runtime reads data and passes it to :meth:`AppCall.receive`, writes what
:meth:`AppCall.data_to_send` returns, and calls :meth:`AppCall.handle_timeout` when
:meth:`AppCall.next_timeout` says so. Time goes in as ``now``, in seconds on any clock. Whatever was
called, the adapter then looks at three things: is there data to send, is something for the log in
``notes``, and is what its tasks wait for true by now.

Nothing depends on being called in time. With a clock that stands still nothing expires and speech
is sent up to its lead; after a jump ahead everything is due at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Generic, Literal, TypeVar, overload

from listenproto._answering import Answering
from listenproto._app_session import AppSession, PlaybackDone
from listenproto._connection import AppConnection, ConnectionEvent
from listenproto._ends import CallEnded, Ending
from listenproto._errors import LocalProtocolError
from listenproto._handshake import Accept, Reject, judge_request
from listenproto._link import CallNote, Link, Linked
from listenproto._message_connection import MessageConnection
from listenproto._messages import (
    Audio,
    ClearMarks,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    Metadata,
    Payload,
    Peer,
    PlayAudio,
)
from listenproto._rules import REFUSALS
from listenproto._sender import Sender
from listenproto._sent import Sent
from listenproto._speech import Speech
from listenproto._statistics import Lateness, Statistics
from listenproto._talking import Talking, check_guard
from listenproto._trace import TraceMoment
from listenproto._unread import CallEvent, Unread
from listenproto._upgrade import Request
from listenproto._violation import Violation
from listenproto._watcher import Watcher
from listenproto._way import stream_rate_for

__all__ = ["AppCall"]

_Data = TypeVar("_Data")

TOO_MANY: Final = REFUSALS | {"LP-CLIP-5", "LP-MARK-3"}
"""The clauses that a clip or a mark breaks if there is no room for it now."""


class AppCall(Generic[_Data]):
    """One call at the application's end, over bytes or ``over_messages``.

    Over bytes, what is received and sent is ``bytes``; ``b""`` is received at the end. The upgrade
    request is answered as ``judge_request`` says; by default the policy of ``answering`` decides.
    The answer's Date is what ``date`` returns, as for :class:`~listenproto.AppConnection`.

    Over messages, as on another library's WebSocket that has been accepted, it is a list of
    ``str``, ``bytes`` or :class:`~listenproto.Close`. ``request`` is the upgrade request, for a
    mode function; ``verdict`` is how it was answered, if an adapter had to decide that. No pings
    are sent: that is up to the other library.

    If the maker of a tap raises, the call fails: that is in :attr:`Link.failure`.

    A call is *ready* for its handler once the metadata has come. If it does not come within
    ``handshake_time``, the call closes by itself. Sending raises :class:`~listenproto.CallEnded`
    once the call is over, and :class:`~listenproto.LocalProtocolError` for what the protocol
    forbids; nothing was sent then. Receiving raises nothing but TypeError, for data of another
    type.
    """

    @overload
    def __init__(
        self: AppCall[bytes],
        answering: Answering | None = None,
        *,
        now: float,
        judge_request: Callable[[Request], Accept | Reject] | None = None,
        date: Callable[[], str] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: AppCall[list[Payload]],
        answering: Answering | None = None,
        *,
        now: float,
        over_messages: Literal[True],
        request: Request | None = None,
        verdict: Accept | Reject | None = None,
    ) -> None: ...

    def __init__(
        self,
        answering: Answering | None = None,
        *,
        now: float,
        judge_request: Callable[[Request], Accept | Reject] | None = None,
        date: Callable[[], str] | None = None,
        over_messages: bool = False,
        request: Request | None = None,
        verdict: Accept | Reject | None = None,
    ) -> None:
        self.answering: Final[Answering] = answering or Answering()
        """The options with which the call is answered."""
        limits = self.answering.limits
        self.session: Final[AppSession] = self.answering.session()
        """The session of the call."""
        self._judge_request = judge_request
        self._bytes: AppConnection | None = None
        """The connection over bytes; its upgrade request is answered through it."""
        if not over_messages:
            self._bytes = AppConnection(
                self.session,
                max_head=limits.head_size,
                max_message=limits.message_size,
                date=date,
            )
        connection: Linked[Any] = self._bytes or MessageConnection(self.session)
        self.link: Final[Link[_Data]] = Link(
            connection,
            limits,
            peer=Peer.PLATFORM,
            dispatch=self._dispatch,
            write_time=limits.write_time,
        )
        """The connection."""
        self.stream_rate: Final[int] = stream_rate_for(
            self.answering.verb, self.answering.stream_rate
        )
        """The sample rate of this end's stream in Hz."""
        self.over_messages: Final[bool] = over_messages
        """Whether another library gives and takes whole messages, not bytes."""
        self.verdict: Accept | Reject | None = verdict
        """How the upgrade request was answered; None until then."""
        self.is_late: bool = False
        """Whether the metadata did not come in time."""
        self.is_lost: bool = False
        """Whether the call was accepted, but ended before its handler could start."""
        self.disconnected: bool = False
        """Whether this end has sent a disconnect."""
        self.violations: Counter[str] = Counter()
        """How often the platform broke each clause so far; the call went on."""
        self._unread = Unread(self.answering.unread, limits, self.answering.chunk)
        self._lateness = Lateness()
        self.now: float = now
        """The time: the latest that was passed in."""
        self._metadata_by = now + limits.handshake_time
        self._close_at = math.inf
        self._sender = Sender(self.session, self.link.notes)
        self._talking = Talking(
            self.answering, self.session, self.link, self._sender.fill, rate=self.stream_rate
        )
        self._was_held = False
        self._reported = ""  # the reason of the newest violation
        if over_messages:
            self.session.request = request
        if over_messages and not isinstance(verdict, Reject):
            self._open(now)

    def _open(self, now: float) -> None:
        """Begin on a WebSocket that is accepted, or will be."""
        try:
            self._make_tap()
        except Exception as exc:
            self.fail(exc, now)
        self.link.tell(Peer.APP, TraceMoment.OPEN)

    def _make_tap(self) -> None:
        if self.answering.tap is not None:
            self.link.tap = self.answering.tap(self.session)

    @property
    def notes(self) -> list[CallNote]:
        """What is to be logged; whoever logs it removes it from here."""
        return self.link.notes

    @property
    def watchers(self) -> list[Watcher]:
        """What is told of each message as it passes; add your own."""
        return self._sender.watchers

    @property
    def quiet_until(self) -> float:
        """Until when (as ``now``) the guard of a killAudio keeps back audio, clips and marks."""
        return self._talking.quiet_until

    @property
    def metadata(self) -> Metadata | None:
        """The attributes of the call, and the sample rate and channels of its audio."""
        return self.session.metadata

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read or written: drop the connection."""
        return self.link.over

    @property
    def is_ready(self) -> bool:
        """Whether a handler can start, or never will: see :attr:`metadata`."""
        return self.session.metadata is not None or self.is_late or not self.link.reads

    @property
    def is_held(self) -> bool:
        """Whether the connection is not to be read for now, as too much is unread."""
        return self._unread.held

    def _pass_time(self, now: float) -> float:
        """The time that it is now; it does not go back, whatever the clock does.

        The session learns of it, too, as what comes next may end it.
        """
        now = self.now = max(self.now, now)
        self.session.pass_time(now)
        return now

    def receive(self, data: _Data, now: float) -> None:
        """Take data from the network; what it means is in the events.

        While :attr:`is_held`, do not read: what comes then is kept all the same.
        """
        now = self.now = max(self.now, now)
        self.link.receive(data, now)
        self._settle(now)

    def fail(self, error: Exception, now: float) -> None:
        """Reading failed with ``error``: the call ends, and is closed with 1011."""
        now = self._pass_time(now)
        self.link.fail(error, now)
        self._settle(now)

    def cancelled(self, now: float) -> None:
        """This end was cancelled: the call is over, and nothing more is read or written."""
        now = self._pass_time(now)
        if not self.link.over:
            self.link.cancelled(now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Something has changed: act on the end of the call, on holding, and speak on."""
        if not self.link.reads:
            self._close_at = self._metadata_by = math.inf
            self.session.pass_time(now)
            for event in self.session.connection_lost():
                self._dispatch(event)
            self._unread.end()
        if self._was_held:
            self.session.held_back(now)
        if self._unread.held != self._was_held:
            self._was_held = self._unread.held
            self.link.hold(self._was_held, now)
        if self._talking.utterances or self._talking.markers.in_doubt:
            self._talking.go_on(now, self.send)

    def _dispatch(self, event: ConnectionEvent) -> None:
        if isinstance(event, Audio):
            assert self.session.metadata is not None  # it comes before any audio
            media_time = self.session.samples_received / self.session.metadata.sample_rate
            self._lateness.note(self.now - media_time)
            if self._sender.watchers:
                self._sender.tell(lambda watcher: watcher.received(event, self.now))
            self._unread.put(event)
        elif isinstance(event, Request):
            self._answer(event)
        elif isinstance(event, Metadata):
            if event.flaw and event.flaw != self._reported:
                self.notes.append(CallNote("warning", event.flaw))
            self._metadata_by = math.inf
            self._unread.open(event)
            if self._bytes is not None:
                self.link.keep_alive(self.now)
        elif isinstance(event, CallEvent):
            if isinstance(event, Violation):
                self._reported = event.reason
                self.violations[event.clause] += 1
            elif isinstance(event, PlaybackDone) and event.wrong_pace is not None:
                self.notes.append(CallNote("warning", event.wrong_pace))
            self._unread.put(event)

    def _by_policy(self, request: Request) -> Accept | Reject:
        return judge_request(request, self.answering.policy)

    def _answer(self, request: Request) -> None:
        assert self._bytes is not None  # over messages no request comes
        try:
            self.verdict = self._judged(request)
            self._bytes.answer(self.verdict)
        except Exception:
            self.verdict = Reject(500, "This server failed.")
            self._bytes.answer(self.verdict)
            raise

    def _judged(self, request: Request) -> Accept | Reject:
        judge = self._judge_request or self._by_policy
        verdict = judge(request)
        if isinstance(verdict, Accept):
            self._make_tap()
        return verdict

    def next_event(self, now: float) -> CallEvent | None:
        """The next event that waits to be read; None if there is none."""
        now = self.now = max(self.now, now)
        event = self._unread.get()
        if self._was_held:
            self._settle(now)
        return event

    @property
    def has_event(self) -> bool:
        """Whether :meth:`next_event` gives one."""
        return self._unread.waiting

    def stop_reading(self, now: float) -> None:
        """Nobody will read events any more: drop what comes, and hold nothing back."""
        self._unread.abandon()
        self._settle(self._pass_time(now))

    def data_to_send(self, now: float) -> _Data:
        """The data to write next; empty if there is none.

        Calling it says that all it gave before has been written. So call it until it gives none;
        otherwise the call counts as lost after ``write_time``.
        """
        now = self.now = max(self.now, now)
        if self._talking.utterances:
            self._talking.go_on(now, self.send)
        return self.link.data_to_send(now)

    def next_timeout(self) -> float:
        """When :meth:`handle_timeout` is due; infinite for never."""
        due = min(
            self.link.next_timeout(),
            self.session.next_timeout(),
            self._close_at,
            self._metadata_by,
        )
        if self._talking.speech is not None or self._talking.markers.in_doubt:
            due = min(due, self._talking.due(self.now))
        return due

    def handle_timeout(self, now: float) -> None:
        """Do what is due: pings, speech, outcomes, limits."""
        now = self._pass_time(now)
        if self._metadata_by <= now:
            self.is_late, self._metadata_by = True, math.inf
            self.close(1002, "no metadata", now)
        if self._close_at <= now:
            self._close_at = math.inf
            self.close(1000, "", now)
        self.link.handle_timeout(now)
        for event in self.session.handle_timeout(now):
            self._dispatch(event)
        self._settle(now)

    def ready_at(self, message: Message, now: float) -> float:
        """From when this message may be sent: ``now``, later, or never (infinite) as it stands.

        A full outbox keeps everything back, the guard of a killAudio audio, clips and marks. Where
        platforms have marks in the stream, audio may have to wait for the event of a mark, or a
        mark for what was said. Raises :class:`CallEnded` once the call is over.
        """
        now = self.now = max(self.now, now)
        if not self.link.has_room:
            return math.inf
        return self._talking.ready_at(message, now)

    def send(self, message: Message, now: float) -> Sent | None:
        """Send a message; for a clip or a mark, returns what becomes of it.

        As :meth:`AppSession.send`. It is sent at once, see :meth:`ready_at`. A WAV clip is sent
        with the right length in its header; a wrong one is noted, once per call.
        """
        now = self.now = max(self.now, now)
        if self.link.ended or self.disconnected:
            raise self._why_over()
        talking = self._talking
        if talking.follows:
            talking.prepare(message, now)
        message, sent = self._sender.send(message, now)
        if talking.follows:
            talking.follow(message, sent, now)
        if isinstance(message, KillAudio | Disconnect):
            talking.interrupt(now)
        if isinstance(message, Disconnect):
            self.disconnected = True
            self._close_at = now + self.answering.limits.close_time
        return sent

    def _why_over(self) -> CallEnded:
        """Why nothing more can be sent."""
        if self.link.ended:
            return CallEnded(str(self.link.ending(self.now)))
        return CallEnded("the call is over: this end has disconnected")

    def send_if_room(self, message: PlayAudio | Mark, now: float) -> Sent:
        """As :meth:`send`; the outcome is REFUSED at once if too many are under way."""
        try:
            sent = self.send(message, now)
        except LocalProtocolError as exc:
            if exc.clause not in TOO_MANY:
                raise
            name = message.name if isinstance(message, Mark) else message.id
            return Sent.refused("a clip" if name is None else name)
        assert sent is not None
        return sent

    def kill_audio(self, now: float, *, guard: float | None = None) -> None:
        """Stop what plays and drop what waits; see :meth:`ready_at` for the ``guard``, in seconds.

        None is as long as the platforms need. Raises ValueError for a guard that is negative,
        infinite or NaN; nothing is sent then.
        """
        check_guard(guard)
        now = self.now = max(self.now, now)
        self._talking.kill_audio(now, guard, self.send)

    def stop_clips(self, now: float) -> None:
        """Stop the clip that plays and drop all that wait.

        Where a killAudio stops only the clip that plays (D10), a short silent clip first takes the
        place of them all.
        """
        now = self.now = max(self.now, now)
        self._talking.stop_clips(now, self.send)

    def clear_marks(self, now: float) -> None:
        """Remove the pending marks.

        Where that makes platforms lose later marks, it is noted once per call, or refused with
        :class:`~listenproto.LocalProtocolError`, as the options say.
        """
        self.send(ClearMarks(), now)

    def speech(self, lead: float = 0.2) -> Speech:
        """A new utterance for :meth:`say`, at most ``lead`` seconds ahead of playout.

        It is padded with silence if the platforms need that to play it to its end.
        Raises ValueError for a lead under 0.04 seconds or NaN.
        """
        return self._talking.new_speech(lead)

    def say(self, speech: Speech, now: float) -> None:
        """Begin to speak, or go on as it was fed: it is sent at the pace of playout.

        Whatever else is being said is interrupted. Does nothing if ``speech`` is over:
        interrupted, or sent to its end. Raises LocalProtocolError if the call does not stream.
        """
        now = self.now = max(self.now, now)
        if speech is not self._talking.speech and not speech.over:
            if self.link.ended or self.disconnected:
                raise self._why_over()
            self._talking.begin(speech, now)
        self._talking.go_on(now, self.send)

    def check_streams(self) -> None:
        """Raise LocalProtocolError if this end must not stream."""
        self._talking.check_streams()

    def stop_speaking(self, speech: Speech) -> None:
        """Send no more of it. What was sent ahead is heard all the same, unless it is killed."""
        self._talking.stop(speech)

    def ahead(self, now: float) -> float:
        """Seconds of audio that the caller is still to hear, as far as this end can compute."""
        return self._talking.ahead(now)

    def all_heard_by(self, now: float) -> float:
        """As :meth:`AppSession.all_heard_by`."""
        return self.session.all_heard_by(now)

    def close(self, code: int, reason: str, now: float) -> None:
        """Close after what has been sent; the platform has ``close_time`` to answer."""
        now = self._pass_time(now)
        self.link.close(code, reason, now)
        self._settle(now)

    @property
    def end(self) -> Ending | None:
        """How the call ended; None until nothing more can be sent.

        It is final once nothing more can be read, either: until then the other end may not answer
        the close, or have closed before the connection broke.
        """
        return self.link.ending(self.now) if self.link.ended else None

    def statistics(self, now: float) -> Statistics:
        """What passed so far, what was dropped, and how late audio came."""
        return Statistics.of(
            self.session.received,
            self.session.sent,
            self._lateness,
            buffered=self.ahead(now),
            events_dropped=self._unread.events_dropped,
            samples_dropped=self._unread.samples_dropped,
        )

    @property
    def samples_dropped(self) -> int:
        """Samples of each channel that were dropped because they were not read in time."""
        return self._unread.samples_dropped
