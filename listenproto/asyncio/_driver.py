"""Drives a call on asyncio: a task that reads, one that writes, and a timer.

Both tasks belong to the block of :func:`~listenproto.asyncio.answer` and end with it. They pass
messages on and decide nothing. Sending never waits for the network: a message is queued without an
await, so a task that is cancelled has sent it whole or not at all.

Cancelling is asyncio's: :class:`Interruption` leaves a block as ``asyncio.timeout`` does, and
counts with ``Task.uncancel``, so that other people's cancelling and ours are told apart.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol

import attrs

from listenproto._app_call import AppCall
from listenproto._link import CallNote
from listenproto._messages import Close, Payload
from listenproto._session import ABNORMAL

__all__ = ["Carrier", "Driver", "Interruption", "in_words"]

TURNS: Final = 4
"""How often a task goes on at once before others have their turn."""


class Carrier(Protocol):
    """The WebSocket that a call runs on."""

    @property
    def own_close(self) -> Close | None:
        """The close that its library has sent by itself; None if it has not."""

    @property
    def why_closed(self) -> str:
        """Why it has, in words; empty if that is not known."""

    async def receive(self) -> Payload:
        """Wait for a message, or for the end: a Close, or an OSError if it was lost."""

    def send_now(self, payload: str | bytes) -> bool:
        """Send without waiting; returns whether that was done."""

    async def send(self, payload: str | bytes) -> None:
        """Raises OSError if it cannot be sent."""

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait for the answer. Raises OSError if the connection is lost."""

    def abort(self) -> None:
        """Give up the connection at once, if it is not over and there is a way to do it."""

    async def drop(self) -> None:
        """Give up the connection if it is not over. By now nothing else uses it."""


def in_words(error: OSError) -> str:
    """What broke a connection, in words; empty if the error does not say."""
    return error.strerror or str(error)


class Interruption:
    """A block of the task that enters it, left as soon as :meth:`interrupt` has been called.

    :attr:`happened` says then that this was why.
    """

    def __init__(self) -> None:
        self.happened = False
        self._task: asyncio.Task[Any] | None = None
        self._before = 0

    def __enter__(self) -> Interruption:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._before = self._task.cancelling()
        return self

    def interrupt(self) -> None:
        """Leave the block; what it waits for is cancelled."""
        # Not at once: the task itself may be the one that runs now. It would meet the cancellation
        # only at its next await, which may be behind the block.
        asyncio.get_running_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and not self.happened:
            self.happened = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        task, self._task = self._task, None
        assert task is not None
        if not self.happened:
            return False
        return task.uncancel() <= self._before and kind is asyncio.CancelledError


def _nothing() -> None:
    """What follows a step when all is over."""


@attrs.define(eq=False)
class _Waiter:
    """A task that waits, or a block that is left, once ``ready()`` is true."""

    ready: Callable[[], bool]
    wake: Callable[[], None]


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Driver:
    """Drives one call from :meth:`start` to :meth:`stop`.

    ``after`` is called after each step, to log what there is to log. What the adapter does with the
    call it tells by :meth:`changed`.
    """

    def __init__(
        self, core: AppCall[list[Payload]], carrier: Carrier, *, after: Callable[[], None]
    ) -> None:
        self._core = core
        self._link = core.link
        self._carrier = carrier
        self._after = after
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[_Waiter, None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = self._done = False
        self._unsent: list[Payload] | None = None
        """What is being written."""
        self._to_write = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._woken: asyncio.Task[Any] | None = None
        """The task that has waited last."""
        self._turns = 0
        """How often it may go on at once before others have their turn."""

    def now(self) -> float:
        """The time on the loop's clock, in seconds."""
        return self._loop.time()

    async def checkpoint(self) -> None:
        """Let other tasks run, unless this one has just waited: each turn costs time."""
        if self._turns and self._woken is asyncio.current_task():
            self._turns -= 1
        else:
            await asyncio.sleep(0)

    def task(self) -> object:
        """The task that runs now."""
        return asyncio.current_task()

    def is_running(self, task: Any) -> bool:
        """Whether that task has not ended."""
        return not task.done()

    def busy(self, why: str) -> Exception:
        """What is raised if two tasks do what only one can."""
        return RuntimeError(why)

    async def begin(self, ready: Callable[[], bool]) -> None:
        """Wait as :meth:`until` for the beginning; that gives the task nothing ahead of others."""
        await self.until(ready)
        self._turns = 0

    async def until(self, ready: Callable[[], bool], deadline: float = math.inf) -> None:
        """Wait until ``ready()`` is true, or until that time."""
        while not ready() and self._loop.time() < deadline:
            future = self._loop.create_future()
            waiter = _Waiter(ready, partial(_wake, future))
            self._waiters[waiter] = None
            timer = None if deadline == math.inf else self._loop.call_at(deadline, waiter.wake)
            try:
                await future
                self._woken, self._turns = asyncio.current_task(), TURNS
            finally:
                del self._waiters[waiter]
                if timer is not None:
                    timer.cancel()

    @contextmanager
    def stopping(self, ready: Callable[[], bool]) -> Iterator[None]:
        """Leave the block as soon as ``ready()`` is true, whatever it waits for."""
        with Interruption() as interruption:
            waiter = _Waiter(ready, interruption.interrupt)
            self._waiters[waiter] = None
            try:
                yield
            finally:
                del self._waiters[waiter]

    def changed(self) -> None:
        """Something was done to the call: write what is to be sent, wake who waits for it."""
        now = self._loop.time()
        self._link.settle(now)
        while self._unsent is None and (data := self._core.data_to_send(now)):
            if rest := self._after_sent_now(data):
                self._unsent = rest
                self._to_write.set()
        self._after()
        for waiter in [*self._waiters]:
            if waiter.ready():
                waiter.wake()
        if self._link.over or self._link.given_up:
            self._end()
        else:
            self._set_timer()

    def _after_sent_now(self, data: list[Payload]) -> list[Payload]:
        """What is left of the messages after those that could be sent without waiting."""
        for place, payload in enumerate(data):
            if isinstance(payload, Close) or not self._carrier.send_now(payload):
                return data[place:]
        return []

    def _set_timer(self) -> None:
        """Be woken in time. A timer that is due too early is left, as most change often."""
        due = self._core.next_timeout()
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due < math.inf:
            self._timer = self._loop.call_at(due, self._handle_timeout)

    def _handle_timeout(self) -> None:
        self._timer = None
        now = self.now()
        if self._core.next_timeout() <= now:
            self._core.handle_timeout(now)
            self.changed()
        else:
            self._set_timer()

    def start(self) -> None:
        """Read and write from now on."""
        self._tasks = [
            self._loop.create_task(self._read_all()),
            self._loop.create_task(self._write_all()),
        ]
        self.changed()

    def _end(self) -> None:
        """Stop reading and writing; drop the connection if it has not been closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ended:
            self._ended = True
            self._carrier.abort()
            for task in self._tasks:
                task.cancel()
            self._tasks.append(self._loop.create_task(self._drop([*self._tasks])))

    async def _drop(self, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.wait(tasks)
        try:
            await self._carrier.drop()
        except Exception as exc:  # it is not to hide what ended the call
            note = CallNote("error", "the connection could not be given up", exc)
            self._link.notes.append(note)
        finally:
            self._done = True
            self.changed()

    async def over(self) -> None:
        """Wait for the end of the connection, close handshake and last write included."""
        await self.until(lambda: self._done)

    async def stop(self) -> None:
        """Stop reading and writing, and wait until that is done, whether or not it is cancelled.

        The connection is dropped if it has not been closed.
        """
        self._end()
        cancelled: asyncio.CancelledError | None = None
        while not all(task.done() for task in self._tasks):
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as exc:
                cancelled = exc
        tasks, self._tasks, self._after = self._tasks, [], _nothing
        for task in tasks:
            if not task.cancelled():
                task.result()
        try:
            if cancelled is not None:
                raise cancelled
        finally:
            del cancelled  # its traceback leads here

    def _cancelled(self) -> None:
        """One of the tasks was cancelled; if nothing had ended the call, that does."""
        if not self._link.over:
            self._core.cancelled(self.now())
            self.changed()

    async def _read_all(self) -> None:
        core, link = self._core, self._link
        try:
            while link.reads and not self._ended:  # a library may swallow the cancellation
                await asyncio.sleep(0)  # a WebSocket with much to give may never wait
                if core.is_held:
                    await self.until(lambda: not (core.is_held and link.reads))
                await self._read()
        except asyncio.CancelledError:
            self._cancelled()
            raise

    async def _read(self) -> None:
        payload: Payload = Close(ABNORMAL)
        try:
            payload = await self._carrier.receive()
            own = self._carrier.own_close
            if own is not None:
                self._link.closed_here(own, self._carrier.why_closed, self.now())
        except OSError as exc:
            self._link.broken(in_words(exc), self.now())
        except Exception as exc:
            self._core.fail(exc, self.now())
            self.changed()
            return
        self._core.receive([payload], self.now())
        self.changed()

    async def _write_all(self) -> None:
        try:
            while not self._ended:  # a library may swallow the cancellation
                await self._to_write.wait()
                self._to_write.clear()
                await self._write()
        except asyncio.CancelledError:
            self._cancelled()
            raise

    async def _write(self) -> None:
        """Write what is to be sent, and what comes until that is done."""
        try:
            while self._unsent:
                for payload in self._unsent:
                    if isinstance(payload, Close):
                        await self._carrier.close(payload.code, payload.reason)
                    else:
                        await self._carrier.send(payload)
                self._unsent = self._core.data_to_send(self.now()) or None
        except OSError as exc:
            self._link.broken(in_words(exc), self.now(), writing=True)
        except Exception as exc:
            self._core.fail(exc, self.now())
            self._link.broken("", self.now(), writing=True)
        self._unsent = None
        self.changed()
