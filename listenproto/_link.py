"""A connection with a clock: how it is kept alive, and how it ends.

Time goes in as ``now``, in seconds on any clock; :meth:`Link.next_timeout` says when
:meth:`Link.handle_timeout` is due. Called late or never, it only notices late that the other end is
gone. What drives a link reads data and passes it to :meth:`Link.receive`, and writes what
:meth:`Link.data_to_send` returns. To call that again means that the data before has been written,
so a link knows if the other end reads nothing.

A paused call is legally silent, so only pings can tell whether the other end is alive. Whatever
gives an event counts as a sign of life, such as a whole message and the answer to a ping; a byte
does not. While reading is held back, no answer can be read, so none is due.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args

import attrs

from listenproto._choices import one_of
from listenproto._connection import ConnectionEvent
from listenproto._ends import CallEnded, Ending, EndKind, without_frames
from listenproto._errors import ProtocolError, RemoteProtocolError
from listenproto._limits import Limits
from listenproto._messages import Close, Payload, Peer
from listenproto._trace import TraceMoment
from listenproto._upgrade import Accepted, Rejected, Request
from listenproto._wire import Closed

__all__ = ["CallNote", "Link", "Linked", "Tap"]

Tap: TypeAlias = Callable[[Peer, Payload | TraceMoment], None]
"""Called with each payload as it passes, in order, and with what happens to the connection.

If it raises, that is logged, it is not called again, and the call goes on.
"""

_Data = TypeVar("_Data")


class Linked(Protocol[_Data]):
    """A connection as a link needs it: of bytes, or of another library's messages."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will be received."""

    @property
    def ended(self) -> bool:
        """Whether no more messages can be sent."""

    @property
    def left(self) -> bool:
        """Whether this end has closed, and the other end had not closed before."""

    @property
    def waiting(self) -> int:
        """About how many bytes wait to be sent."""

    @property
    def no_data(self) -> _Data:
        """What :meth:`data_to_send` gives if there is none: something empty."""

    def receive(self, data: _Data, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """Take data from the network, and say what it meant.

        The iterator raises :class:`RemoteProtocolError` at a fault.
        """

    def connection_lost(self, now: float = 0.0) -> Iterator[ConnectionEvent]:
        """The connection is gone, without a close."""

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """What passed since the last call, sender and payload."""

    def data_to_send(self) -> _Data:
        """The data to write next; empty if there is none."""

    def ping(self) -> None:
        """Send a ping."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what has been sent."""

    def fail(self, error: ProtocolError) -> None:
        """Close with the error's code after what has been sent; nothing more is received."""


LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
"""How bad it is."""


@attrs.frozen
class CallNote:
    """Something for the log."""

    level: LogLevel = attrs.field(validator=one_of(get_args(LogLevel)))
    """How bad it is."""
    text: str
    """One sentence."""
    error: BaseException | None = None
    """The exception that it is about, to be logged with its traceback; None if there is none."""


class Link(Generic[_Data]):
    """One connection to the ``peer``.

    ``dispatch`` is called with each event, in the order of the wire. What it raises ends the call.
    If nothing can be written for ``write_time`` seconds, the connection counts as lost.
    """

    def __init__(
        self,
        connection: Linked[_Data],
        limits: Limits,
        *,
        peer: Peer,
        dispatch: Callable[[ConnectionEvent], None],
        write_time: float = math.inf,
    ) -> None:
        self.connection: Final[Linked[_Data]] = connection
        """The connection without a clock."""
        self.limits: Final[Limits] = limits
        """The limits of this connection."""
        self.closed: Closed | None = None
        """How the other end ended the connection; None until then."""
        self.error: ProtocolError | None = None
        """What the other end did wrong, if that ended the connection."""
        self.failure: Exception | None = None
        """What made this end fail; it ends the call."""
        self.tells_who_closed: bool = True
        """Whether a close that comes is known to be the other end's own."""
        self.cut_at: float = math.inf
        """When a shutdown cuts the call short."""
        self.tap: Tap | None = None
        """What gets each payload as it passes; None if nothing does."""
        self.notes: list[CallNote] = []
        """What is to be logged; whoever logs it removes it from here."""
        self.given_up: bool = False
        """Whether the connection is to be dropped at once, in the middle of whatever it does."""
        self._peer = peer
        self._write_time = write_time
        self._dispatch = dispatch
        self.reads: bool = True
        """Whether there may be more to read."""
        self._writes = True
        self._heard_out = False
        """Whether the other end has said its last."""
        self._over_at = math.inf
        self._end: Ending | None = None
        """How it ended, once nothing more can be read."""
        self._is_lost = False
        """Whether the connection broke, or the other end no longer answers."""
        self._broken_by = self._unanswered = self._left_by = ""
        self._cancelled = False
        self._keeps_alive = self._held = False
        self._alive_at = self._pinged_at = -math.inf
        self._writing_since = self._ended_at = math.inf

    @property
    def is_held(self) -> bool:
        """Whether reading is held back."""
        return self._held

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read or written."""
        return not (self.reads or self._writes)

    @property
    def may_lose_its_end(self) -> bool:
        """Whether the other end may be sending still, as it was not heard out before this closed.

        If its connection is closed while it does, what was written last can be lost on the way.
        """
        return not (self._heard_out or self._is_lost)

    @property
    def ended(self) -> bool:
        """Whether no more messages can be sent."""
        return self.connection.ended or not (self.reads and self._writes)

    @property
    def has_room(self) -> bool:
        """Whether the outbox has room. Raises :class:`CallEnded` once the call is over."""
        if self.ended:
            raise CallEnded(str(self.ending()))
        return self.connection.waiting < self.limits.outbox_size

    def keep_alive(self, now: float) -> None:
        """Send pings from now on: the handshake, which has a limit of its own, is over."""
        self._keeps_alive = True
        self._alive_at = now

    def hold(self, held: bool, now: float) -> None:
        """Tell that reading is held back, or no longer is."""
        if self._held and not held:
            self._alive_at = now
            if self._pinged_at > -math.inf:  # its answer may wait behind what was not read
                self._pinged_at = now
        self._held = held

    def receive(self, data: _Data, now: float) -> None:
        """Take data from the network; events before a fault are dispatched.

        Raises nothing but TypeError, for data of another type.
        """
        if self.reads:
            self._take(self.connection.receive(data, now), now)

    def _take(self, events: Iterator[ConnectionEvent], now: float) -> None:
        event: ConnectionEvent | None = None
        try:
            for event in events:
                self._alive_at, self._pinged_at = now, -math.inf
                if isinstance(event, Accepted):
                    self.tell(Peer.APP, TraceMoment.OPEN)
                if self.tap is not None:
                    self.tell_passed()
                if isinstance(event, Closed):
                    self.closed = event
                    if not event.clean:
                        self._is_lost = True
                        self.tell(self._peer, TraceMoment.LOST)
                self._dispatch(event)
                if isinstance(event, Request) and not self.connection.ended:
                    self.tell(Peer.APP, TraceMoment.OPEN)
        except RemoteProtocolError as exc:
            _forget_frames(exc)
            self.error = exc
            self.connection.fail(exc)
        except Exception as exc:
            self.fail(exc, now)
        if self.error is not None or self.connection.finished:
            self.reads = False
            self._heard_out = self.error is None and isinstance(event, Closed | Rejected)
        self.settle(now)

    def fail(self, error: Exception, now: float) -> None:
        """This end failed with ``error``: read no more, and close with 1011.

        Does nothing if there is nothing more to read anyway.
        """
        if self.reads:
            self.failure = error
            self.reads = False
            self.connection.close(1011, f"the {self._peer.other.value} failed")
        self.settle(now)

    def forget_frames(self) -> None:
        """All is over, and what failed was told: from now on hold it without its frames."""
        if self.failure is not None:
            self.failure = without_frames(self.failure)
            assert self._end is not None
            self._end = attrs.evolve(self._end, error=self.failure)

    def settle(self, now: float) -> None:
        """Take note of what was done to the connection: a close may have begun."""
        if self.tap is not None:
            self.tell_passed()
        if self._ended_at == math.inf and self.ended:
            self._ended_at = now
        if not self.reads and self._end is None:
            self._over_at = now
            self._end = self.ending(now)
            self._dispatch = _to_nobody  # no more events come, and it belongs to what holds this

    def data_to_send(self, now: float) -> _Data:
        """The data to write next; empty if there is none. All data before has been written."""
        if self.tap is not None:
            self.tell_passed()
        data = self.connection.data_to_send() if self._writes else self.connection.no_data
        if data:
            self._writing_since = now
            if self._ended_at < math.inf:  # the close is still to go out, behind what waits
                self._ended_at = now
        else:
            self._writing_since = math.inf
            self._writes = self._writes and self.reads
        return data

    def broken(self, why: str, now: float, *, writing: bool = False) -> None:
        """The connection broke, by ``why`` in words if that is known.

        If it broke while ``writing``, what the other end has sent before may still be read.
        """
        self._broken_by = self._broken_by or why
        if writing:
            self._is_lost, self._writes = True, False
            self.settle(now)

    def closed_here(self, sent: Close, why: str, now: float) -> None:
        """What carries the messages has sent this close without being told to, and ``why``.

        Does nothing if either end had closed before.
        """
        if not self.connection.ended:
            self._left_by = f"this end closed with {_close_in_words(sent.code, why)}"
            self.close(sent.code, sent.reason, now)

    @property
    def closed_by_itself(self) -> bool:
        """Whether what carries the messages has closed without being told to."""
        return bool(self._left_by)

    def cancelled(self, now: float) -> None:
        """This end was cancelled: nothing more is read or written."""
        self._cancelled = True
        self.reads = self._writes = False
        self.settle(now)
        self._end = self._end or self.ending()

    def close(self, code: int, reason: str, now: float) -> None:
        """Close after what is in the outbox; the other end has ``close_time`` to answer."""
        self.connection.close(code, reason)
        self.settle(now)

    def _give_up(self, why: str, now: float) -> None:
        """Wait for the other end no more."""
        self._unanswered = self._unanswered or why
        self._is_lost = self.given_up = True
        if self.reads:
            self._take(self.connection.connection_lost(now), now)
        self._writes = False

    def next_timeout(self) -> float:
        """When :meth:`handle_timeout` is due; infinite for never."""
        if not (self.reads or self._writes):
            return math.inf
        due = min(self._ended_at + self.limits.close_time, self._writing_since + self._write_time)
        if self._keeps_alive and self._ended_at == math.inf:
            due = min(due, self._ping_due)
        return due

    @property
    def _ping_due(self) -> float:
        """When a ping is due, or the answer to the last one."""
        if self._pinged_at == -math.inf:
            return self._alive_at + self.limits.ping_interval
        # While no answer can be read, pings go on: they show the other end that this one is alive.
        limits = self.limits
        return self._pinged_at + (limits.ping_interval if self._held else limits.ping_time)

    def handle_timeout(self, now: float) -> None:
        """Send a ping if one is due; give up another end that does not answer."""
        if self.over:
            return
        limits = self.limits
        if self._ended_at + limits.close_time <= now:
            why = f"no answer to the close within {limits.close_time:g} s"
            self._give_up(why if self._writes else "", now)
        elif self._writing_since + self._write_time <= now:
            self._give_up(f"nothing could be written for {self._write_time:g} s", now)
        elif self._keeps_alive and self._ended_at == math.inf and self._ping_due <= now:
            if self._pinged_at > -math.inf and not self._held:
                self._give_up(f"no answer to a ping within {limits.ping_time:g} s", now)
            else:
                self.connection.ping()
                self._pinged_at = now

    def was_cut(self, now: float) -> bool:
        """Whether a server's shutdown came before the end of the connection."""
        return self.cut_at <= min(now, self._over_at)

    def ending(self, now: float = -math.inf) -> Ending:
        """How it ended, or is about to end if this end stops now.

        This is final once nothing more can be read. ``now`` is only needed to tell whether the call
        was cut short.
        """
        if self._end is not None:
            return self._end
        if self.error is not None:
            return Ending(EndKind.PROTOCOL_ERROR, str(self.error), error=self.error)
        if self.failure is not None:
            # not its message, which may have a password in it
            why = f"this end failed ({type(self.failure).__name__})"
            return Ending(EndKind.FAILED, why, error=self.failure)
        if self.was_cut(now):
            return Ending(EndKind.CUT, "cut short by the shutdown of the server")
        closed = self.closed
        if closed is not None and closed.clean and not self.connection.left:
            who = "the other end closed" if self.tells_who_closed else "the connection was closed"
            why = f"{who} with {_close_in_words(closed.code, closed.reason)}"
            return Ending(EndKind.CLOSED, why, closed.code, closed.reason)
        if self._left_by:
            return Ending(EndKind.LEFT, self._left_by)
        why = self._unanswered or self._broken_by
        if self._cancelled and not why:
            return Ending(EndKind.CANCELLED, "this end was cancelled")
        if self._is_lost:
            return Ending(EndKind.LOST, f"connection lost{why and ': '}{why}")
        if self.connection.ended:
            return Ending(EndKind.LEFT, "this end closed it")
        return Ending(EndKind.CANCELLED, "this end was cancelled")

    def tell_passed(self) -> None:
        """Pass what is new to the tap."""
        for sender, payload in self.connection.passed():
            self.tell(sender, payload)

    def tell(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        """Pass a payload, or what happened to the connection, to the tap."""
        if self.tap is not None:
            try:
                self.tap(sender, payload)
            except Exception as exc:
                self.tap = _failed_tap
                self.notes.append(CallNote("error", "the tap failed and is not called again", exc))


def _close_in_words(code: int, reason: str) -> str:
    return f"{code} ({reason})" if reason else str(code)


def _forget_frames(error: BaseException) -> None:
    """Take an error for a value: where it and its causes were raised leads to all of the call."""
    one: BaseException | None = error
    while one is not None:
        one.__traceback__ = None
        one = one.__context__


def _to_nobody(event: ConnectionEvent) -> None:
    """Replaces what gets the events once all have come."""


def _failed_tap(sender: Peer, payload: Payload | TraceMoment) -> None:
    """Replaces a tap that has failed: what passes must still be taken out of the session."""
