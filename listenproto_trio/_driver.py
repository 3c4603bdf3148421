"""Drives a connection on trio: whoever waits for something reads the network meanwhile.

So a message reaches the task that waits for it without passing through another one, and what is
sent goes to the socket at once. One task stands by for everything else. It calls
:meth:`~listenproto.Link.handle_timeout` in time, and reads while no task of the handler waits
for anything: from some hundredths of a second after the last one did, so that in the steady state
the socket changes no hands.

Messages are queued, and handed to the socket, without awaiting anything. So cancelling a task that
sends, at any await, never leaves half a message on the wire. Only a socket
is read like that, as cancelling its ``receive_some`` loses nothing. TLS, other streams and other
libraries' WebSockets have a task that reads and one that writes, cancelled when the connection is
given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final, Protocol

import attrs
import trio

from listenproto._link import CallNote, Link
from listenproto_trio._carriers import Carrier

__all__ = ["Driven", "Driver", "check_trio"]

IDLE: Final = 0.05
"""Seconds without a task that waits, after which the one that stands by reads, or half of that."""

TURNS: Final = 4
"""How often a task that has waited goes on at once: more than once for each event."""

READING_TURNS: Final = 2
"""After how many turns a task that reads has read what had come: over TLS it may be at another
checkpoint first."""


def check_trio(function: str) -> None:
    """Raise RuntimeError outside of trio, as under asyncio, where trio's own would be no help."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError as exc:
        raise RuntimeError(f"{function} runs on trio; start it with trio.run()") from exc


class Driven(Protocol):
    """What is driven: a link, or what holds one."""

    @property
    def is_held(self) -> bool: ...
    def receive(self, data: Any, now: float) -> None: ...
    def data_to_send(self, now: float) -> Any: ...
    def next_timeout(self) -> float: ...
    def handle_timeout(self, now: float) -> None: ...
    def fail(self, error: Exception, now: float) -> None: ...
    def cancelled(self, now: float) -> None: ...


def _nothing() -> None:
    """What follows a step when all is over."""


@attrs.define(eq=False)
class _Waiter:
    """A task that waits, or a block that is left, once ``ready()`` is true."""

    ready: Callable[[], bool]
    wake: Callable[[], None]


class Driver:
    """Drives one connection: run :meth:`run` as a task.

    ``after`` is called after each step, to log what there is to log. What the adapter does with
    ``driven`` it tells by :meth:`changed`.
    """

    def __init__(
        self,
        driven: Driven,
        link: Link[Any],
        carrier: Carrier[Any],
        *,
        after: Callable[[], None] = _nothing,
    ) -> None:
        self._driven = driven
        self._link = link
        self._carrier = carrier
        self._after = after
        self._waiters: dict[_Waiter, None] = {}
        """Who waits without reading."""
        self._reader: Callable[[], bool] | None = None
        """What the task that reads waits for, if that is not a message; None if none reads."""
        self._next: _Waiter | None = None
        """Who reads next, once the task that stands by has left."""
        self._woken: trio.lowlevel.Task | None = None
        """The task that has waited last."""
        self._turns = 0
        """How often it may go on at once before others have their turn."""
        self._timeout = math.inf
        """When something is due in the call."""
        self._idle_since = -math.inf
        self._unsent: Any = None
        """What could not be sent at once."""
        self._to_write = trio.Event()
        """Set if a task is needed to write it."""
        self._standing_by: trio.CancelScope | None = None
        """What wakes the task that stands by."""
        self._alarm = -math.inf
        """When it wakes; in the past if it is awake."""
        self._done = self._lent = False

    def now(self) -> float:
        """The time on trio's clock, in seconds."""
        return trio.current_time()

    async def checkpoint(self) -> None:
        """Raise trio.Cancelled if this task is cancelled; let others run, unless it just has.

        That is when it has waited, as it does for most messages: each turn costs time.
        """
        if self._turns and self._woken is trio.lowlevel.current_task():
            self._turns -= 1
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    def task(self) -> object:
        """The task that runs now."""
        return trio.lowlevel.current_task()

    def is_running(self, task: Any) -> bool:
        """Whether that task has not ended."""
        return task.parent_nursery is None or task in task.parent_nursery.child_tasks

    def busy(self, why: str) -> Exception:
        """What is raised if two tasks do what only one can."""
        return trio.BusyResourceError(why)

    def start(self, nursery: trio.Nursery) -> None:
        """Run in ``nursery``."""
        nursery.start_soon(self.run)
        self.changed()

    async def begin(self, ready: Callable[[], bool], deadline: float = math.inf) -> None:
        """Wait as :meth:`until` for the beginning; if nobody waits after it, read at once."""
        await self.until(ready, deadline)
        self._idle_since = -math.inf
        self._rest()

    async def until(self, ready: Callable[[], bool], deadline: float = math.inf) -> None:
        """Wait until ``ready()`` is true, or until that time; read the network meanwhile."""
        if deadline == math.inf:
            await self._until(ready)
        elif not ready():
            with trio.CancelScope(deadline=deadline):
                await self._until(ready)

    async def _until(self, ready: Callable[[], bool]) -> None:
        try:
            while not ready():
                if self._reader is None and self._may_read:
                    await self._read(ready)
                else:
                    await self._park(ready)
                self._woken, self._turns = trio.lowlevel.current_task(), TURNS
                # If it is woken and cancelled in the same turn, it must not go on.
                await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._rest()

    @property
    def _may_read(self) -> bool:
        """Whether a task that waits may read."""
        may = self._carrier.hands_over and self._link.reads and not self._driven.is_held
        return may and not self._lent

    async def _park(self, ready: Callable[[], bool]) -> None:
        """Wait without reading; a task that stands by is to leave the socket to this one."""
        woken = trio.Event()
        waiter = _Waiter(ready, woken.set)
        self._waiters[waiter] = None
        try:
            if self._reader == self._is_wanted and self._next is None:
                self._next = waiter
                self._carrier.wake()
            await woken.wait()
        finally:
            del self._waiters[waiter]
            if self._next is waiter:
                self._next = None

    async def _read(self, ready: Callable[[], bool]) -> None:
        """Read once, or until ``ready()`` is true."""
        self._reader = ready
        try:
            data = await self._receive()
        finally:
            self._reader = None
            self._idle_since = trio.current_time()
        if data is not None:
            self.take(data)

    async def over(self) -> None:
        """Wait for the end of the connection, close handshake and last write included."""
        await trio.lowlevel.checkpoint()
        await self.until(lambda: self._done)

    @contextmanager
    def stopping(self, ready: Callable[[], bool]) -> Iterator[None]:
        """Leave the block as soon as ``ready()`` is true, whatever it waits for."""
        with trio.CancelScope() as scope:
            waiter = _Waiter(ready, scope.cancel)
            self._waiters[waiter] = None
            try:
                yield
            finally:
                del self._waiters[waiter]

    def lend(self, lent: bool) -> None:
        """Let no task read the network until that is taken back: :meth:`take` gets what comes.

        Only if what carries the data hands over.
        """
        self._lent = lent
        if lent and self._reader is not None:
            self._carrier.wake()
        self._rest()

    def take(self, data: Any) -> None:
        """Take data from the network."""
        now = trio.current_time()
        if self._carrier.failure:
            self._link.broken(self._carrier.failure, now)
        began = perf_counter()
        self._driven.receive(data, now)
        self._carrier.took(perf_counter() - began)
        self.changed()

    def changed(self) -> None:
        """Something was done to the call: write what is to be sent, wake who waits for it."""
        now = trio.current_time()
        self._link.settle(now)
        self._flush(now)
        self._after()
        if self._reader is not None and self._reader():
            self._carrier.wake()
        for waiter in [*self._waiters]:
            if waiter.ready():
                waiter.wake()
        self._timeout = self._driven.next_timeout()
        self._rest()

    def _flush(self, now: float) -> None:
        """Hand to the carrier what it takes at once; have the rest written by a task."""
        while self._unsent is None and (data := self._driven.data_to_send(now)):
            try:
                rest = self._carrier.send_now(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._broken()
            else:
                if rest:
                    self._unsent = rest
                    self._to_write.set()

    def _broken(self) -> None:
        """Nothing more can be written; what has come may still be read."""
        self._link.broken(self._carrier.failure, trio.current_time(), writing=True)

    def _rest(self) -> None:
        """Have the task that stands by wake up in time.

        Waking it too early now and then costs less than moving its alarm with each message.
        """
        idle_until = self._idle_since + IDLE
        is_idle = not idle_until - IDLE / 2 <= self._alarm <= idle_until and self._is_idle
        if is_idle or self._timeout < self._alarm or self._is_needed:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """Wake the task that stands by when it has something to do."""
        if self._standing_by is not None:
            self._alarm = self._standing_by.deadline = self._due()

    def _due(self) -> float:
        """When the task that stands by has something to do."""
        if self._is_needed:
            return -math.inf
        if self._is_idle:
            return min(self._timeout, self._idle_since + IDLE)
        return self._timeout

    @property
    def _is_needed(self) -> bool:
        """Whether the task that stands by has something to do now, whatever the time is."""
        return self._link.given_up or self._link.over or self._needs_writer

    @property
    def _needs_writer(self) -> bool:
        return self._carrier.sends_at_once and self._to_write.is_set()

    @property
    def _is_idle(self) -> bool:
        """Whether nobody reads although somebody could, nor is about to."""
        return self._reader is None and self._next is None and self._may_read

    async def run(self) -> None:
        """Stand by until the connection is over and all is written, or it is given up."""
        try:
            async with trio.open_nursery() as nursery:
                if not self._carrier.hands_over:
                    nursery.start_soon(self._read_all)
                if not self._carrier.sends_at_once:
                    nursery.start_soon(self._write_all)
                await self._stand_by(nursery)
                if self._link.given_up:
                    await self.drop()
                nursery.cancel_scope.cancel()
            await self._finish()
        finally:
            if not self._link.over:  # cancelled
                self._driven.cancelled(trio.current_time())
            self._done = True
            self.changed()

    async def _finish(self) -> None:
        """See that what was written last arrives."""
        if self._link.may_lose_its_end:
            while self._reader is not None:
                self._carrier.wake()
                await trio.lowlevel.checkpoint()
            with trio.move_on_after(self._link.limits.close_time):
                await self._carrier.finish()

    async def drop(self) -> None:
        """Give up the connection; what fails then is logged, and hides nothing of the call."""
        try:
            await self._carrier.drop()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is gone
        except Exception as exc:
            note = CallNote("error", "the connection could not be given up", exc)
            self._link.notes.append(note)
            self.changed()

    def let_go(self) -> None:
        """Nobody uses the connection any more: call nobody back."""
        self._after = _nothing

    async def _stand_by(self, nursery: trio.Nursery) -> None:
        while not (self._link.over or self._link.given_up):
            now = trio.current_time()
            if self._timeout <= now:
                await self._catch_up()
                self._driven.handle_timeout(trio.current_time())
                self.changed()
            elif self._needs_writer:
                self._to_write = trio.Event()
                nursery.start_soon(self._write)
            elif self._is_idle and self._idle_since + IDLE <= now:
                await self._read_standing_by()
            else:
                await self._sleep()

    async def _catch_up(self) -> None:
        """Have what has come by now read before a limit is acted on.

        Another task may have kept all others waiting meanwhile, or the process was suspended.
        """
        if self._is_idle:
            await self._read_standing_by()  # as the limit is over, what is there and no more
        else:
            for _ in range(READING_TURNS):
                await trio.lowlevel.checkpoint()

    async def _sleep(self) -> None:
        with self._asleep(self._due()):
            await trio.sleep_forever()

    async def _read_standing_by(self) -> None:
        """Read once, until a task waits, or something is due."""
        data = None
        with self._asleep(self._timeout):
            self._reader = self._is_wanted
            try:
                data = await self._receive()
            finally:
                self._reader = None
        if data is not None:
            self.take(data)
        if self._next is not None:
            self._next.wake()

    @contextmanager
    def _asleep(self, until: float) -> Iterator[None]:
        """Let the task that stands by wait in the block, until its alarm."""
        with trio.CancelScope(deadline=until) as self._standing_by:
            self._alarm = until
            try:
                yield
            finally:
                self._standing_by, self._alarm = None, -math.inf

    def _is_wanted(self) -> bool:
        """Whether a task waits that is to read in place of the one that stands by."""
        return self._next is not None

    async def _receive(self) -> Any:
        """Wait for data; None if it was woken, or if what gives it failed, which ends the call."""
        try:
            return await self._carrier.receive()
        except Exception as exc:
            # As none of trio's streams does: the fault of another library.
            self._driven.fail(exc, trio.current_time())
            self.changed()
            return None

    async def _read_all(self) -> None:
        """Read what only one task may read, until the connection is over."""
        while self._link.reads:
            await trio.lowlevel.checkpoint()
            await self.until(lambda: not (self._driven.is_held and self._link.reads))
            data = await self._receive()
            if data is not None:
                self.take(data)

    async def _write_all(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write = trio.Event()
            await self._write()

    async def _write(self) -> None:
        """Write what could not be sent at once, and what comes until that is done."""
        try:
            while self._unsent:
                await self._carrier.send(self._unsent)
                self._unsent = self._driven.data_to_send(trio.current_time())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._broken()
        except Exception as exc:
            # As none of trio's streams does: the fault of another library.
            self._driven.fail(exc, trio.current_time())
            self._broken()
        self._unsent = None
        self.changed()
