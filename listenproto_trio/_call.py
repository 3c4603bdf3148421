"""A call at the application's end on trio."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from listenproto._account import how_it_ended
from listenproto._answering import Answering
from listenproto._app_call import AppCall
from listenproto._handling import HandledCall
from listenproto._upgrade import Request
from listenproto_trio._carriers import Carrier, peer_of
from listenproto_trio._driver import Driver, check_trio
from listenproto_trio._websocket import MessageCarrier, WebSocket

__all__ = ["Call"]


class Call(HandledCall):
    """A call as a handler gets it: :func:`~listenproto_trio.serve` passes one, or :meth:`over`."""

    def __init__(
        self,
        core: AppCall[Any],
        carrier: Carrier[Any],
        *,
        stream: trio.abc.Stream | None = None,
        peer: str | None = None,
    ) -> None:
        self._driver: Final = Driver(core, core.link, carrier, after=self._after)
        super().__init__(core, self._driver, peer=peer or peer_of(stream))
        self.stream: Final[trio.abc.Stream | None] = stream
        """The stream of the call; None on another library's WebSocket."""
        self.stopping: trio.Event = trio.Event()
        """Set once the server is stopping; the call then has the server's ``grace`` to end."""
        self._watch: _Watch | None = None

    @staticmethod
    @asynccontextmanager
    async def over(
        websocket: WebSocket,
        *,
        request: Request | None = None,
        peer: str | None = None,
        answering: Answering | None = None,
    ) -> AsyncIterator[Call]:
        """Run a call on a WebSocket that another library has accepted; the block is the handler.

        The block starts once the metadata has been read. At its end the WebSocket is closed with
        1000, or with 1011 if the block raises. If the block is cancelled, the connection is dropped
        without a close. Exceptions propagate unchanged, except that a group of only
        :class:`CallEnded` becomes one. Raises :class:`CallEnded` if no usable metadata came. What a
        mode function or reading the WebSocket raises propagates too, and closes with 1011.

        ``request`` is the upgrade request, for :attr:`request` and a mode function; ``peer`` is the
        address of the other end. The policy of ``answering`` is not used. It is up to the other
        library to limit the size of heads and messages, and to check that the other end is alive.
        """
        check_trio("Call.over()")
        carrier, now = MessageCarrier(websocket), trio.current_time()
        core = AppCall(answering, now=now, over_messages=True, request=request)
        call = Call(core, carrier, peer=peer)
        error: Exception | None = None  # kept out of the nursery, which would wrap it in a group
        try:
            async with trio.open_nursery() as nursery:
                call._driver.start(nursery)
                try:
                    async with call._ending(), call._handling():
                        yield call
                except Exception as exc:
                    error = exc
                nursery.cancel_scope.cancel()
            if error is not None:
                raise error
        finally:
            del error  # its traceback leads here
            try:
                await call._driver.drop()
            finally:
                call._let_go()

    def _let_go(self) -> None:
        """The connection is over."""
        self._driver.let_go()
        self._watch_reader(False)  # reading may still be held back
        self._conclude()

    async def _until_ready(self) -> None:
        await self._driver.begin(lambda: self.core.is_ready)

    @property
    def tls(self) -> bool:
        """Whether this end's own connection has TLS; the TLS of a proxy in front does not count."""
        return isinstance(self.stream, trio.SSLStream)

    def how_it_ended(self) -> str:
        """How the call ended, in one sentence.

        In the ``finally`` of a handler that is cancelled it also says why: a server's shutdown, or
        this end was cancelled.
        """
        cancelled = trio.current_effective_deadline() == -math.inf
        return how_it_ended(self.core, trio.current_time(), cancelled=cancelled)

    def _after(self) -> None:
        """After each step: log, and learn of the end of the task that reads while it must read."""
        if self.core.notes:
            self._log_notes()
        self._watch_reader(self.core.is_held)

    def _watch_reader(self, watch: bool) -> None:
        if watch and self._watch is None:
            self._watch = _Watch(self)
            trio.lowlevel.add_instrument(self._watch)
        elif self._watch is not None and not watch:
            trio.lowlevel.remove_instrument(self._watch)
            self._watch = None


@attrs.frozen
class _Watch(trio.abc.Instrument):
    """Has a call look again as its reader ends; trio has no other way to learn of that."""

    call: Call

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if task is self.call._reader:
            self.call._driver.changed()
