"""A call at the application's end on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from listenproto._account import how_it_ended, why_not_ready
from listenproto._answering import Answering
from listenproto._app_call import AppCall
from listenproto._ends import CallEnded
from listenproto._handling import HandledCall
from listenproto._handshake import Accept, Reject
from listenproto._messages import Close, Payload
from listenproto._session import ABNORMAL
from listenproto.asyncio._adapters import Adapter, adapted
from listenproto.asyncio._admission import counted, judged
from listenproto.asyncio._driver import Driver, in_words

__all__ = ["Call", "answer"]


@asynccontextmanager
async def answer(
    websocket: object,
    *,
    answering: Answering | None = None,
    request: object = None,
    peer: str | None = None,
) -> AsyncIterator[Call]:
    """Run a call on a WebSocket; the block is the handler.

    ``websocket`` is what the framework passes to your code: a ``WebSocket`` of FastAPI or
    Starlette, a connection of ``websockets``, aiohttp's ``WebSocketResponse`` with its request as
    ``request``; or any object with the methods of :class:`WebSocket`.

    One of Starlette or aiohttp that has not been accepted yet is accepted with the right
    subprotocol (make a ``WebSocketResponse`` with ``protocols=SUBPROTOCOLS``), or refused as
    :func:`~listenproto.judge_request` decides by the policy of ``answering``. Its limit of open
    calls counts the calls in this process whose policies are equal. ``websockets`` accepts before
    your code runs: pass :func:`websockets_options` to its ``serve``. On any other WebSocket that
    has been accepted, the policy is not used.

    The block starts once the metadata has been read. At its end the WebSocket is closed with 1000,
    or with 1011 if the block raises. If the block is cancelled, the connection is dropped without a
    close; on Starlette, which cannot do that, it is closed with 1001. Exceptions propagate
    unchanged, except that a group of only :class:`~listenproto.CallEnded` becomes one. What a mode
    function or reading the WebSocket raises propagates too, and closes with 1011.

    Raises :class:`~listenproto.CallEnded` if there is no call: it was refused, or no usable
    metadata came. Sending raises it once the call is over. So put ``suppress(CallEnded)`` around
    the block. On aiohttp a refusal raises ``aiohttp.web.HTTPException``, with which aiohttp
    answers. An ASGI server that cannot refuse with a text answers 403, some do not tell a lost
    connection from a close, and none tells which end closed.

    Each connection leaves one line in the log ``listenproto``, as with ``serve`` on trio, and
    another one if the WebSocket fails after that; see ``on_lost`` of :class:`Answering` for calls
    without metadata.

    ``request`` is the upgrade request, a :class:`~listenproto.Request`, of a WebSocket that does
    not have it; ``peer`` is the address of the other end, if the one of the connection is only that
    of a proxy. It is up to the framework to limit the size of heads and messages, and to check that
    the other end is alive.

    Raises TypeError for what is not a WebSocket, and RuntimeError outside of asyncio.
    """
    _check_asyncio()
    answering = answering or Answering()
    adapter = adapted(websocket, request)
    verdict = None if adapter.accepted else judged(adapter.upgrade, answering.policy)
    with counted(answering.policy):
        call = await _opened(adapter, answering, verdict, peer or adapter.peer)
        try:
            call._driver.start()
            async with call._ending(), call._handling():
                yield call
        finally:
            try:
                await call._driver.stop()
            finally:
                call._conclude()


def _check_asyncio() -> None:
    """Raise RuntimeError outside of asyncio, as under trio."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise RuntimeError("answer() runs on asyncio; start it with asyncio.run()")


async def _opened(
    adapter: Adapter, answering: Answering, verdict: Accept | Reject | None, peer: str | None
) -> Call:
    """The call, once its WebSocket has been accepted; CallEnded if that was refused."""
    now = asyncio.get_running_loop().time()
    core = AppCall(answering, now=now, over_messages=True, request=adapter.request, verdict=verdict)
    core.link.tells_who_closed = adapter.tells_who_closed
    call = Call(core, adapter, peer=peer)
    if verdict is not None and core.link.failure is not None:
        call._log_end(None, "")
        failure = core.link.failure
        call._forget_frames()
        try:
            raise failure  # the framework answers 500
        finally:
            del failure  # its traceback leads here
    try:
        if isinstance(verdict, Reject):
            call._log_end(None, "")
            await adapter.refuse(verdict)
        elif verdict is not None:
            await adapter.accept(verdict.subprotocol)
    except OSError as exc:
        core.link.broken(in_words(exc), now)
        core.receive([Close(ABNORMAL)], now)
    if isinstance(verdict, Reject):
        raise CallEnded(why_not_ready(core))
    return call


class Call(HandledCall):
    """A call as the block of :func:`answer` gets it."""

    def __init__(self, core: AppCall[list[Payload]], adapter: Adapter, *, peer: str | None) -> None:
        self._driver: Final = Driver(core, adapter, after=self._after)
        super().__init__(core, self._driver, peer=peer)
        self._watched: Any = None
        """The task that reads, while its end is to be noticed."""

    async def _until_ready(self) -> None:
        await self._driver.begin(lambda: self.core.is_ready)

    def _stop_reading(self) -> None:
        if self._watched is not None:
            self._watched.remove_done_callback(self._reader_done)
            self._watched = None
        super()._stop_reading()

    def how_it_ended(self) -> str:
        """How the call ended, in one sentence.

        In the ``finally`` of a handler that is cancelled it says that this end was cancelled.
        """
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        return how_it_ended(self.core, self._driver.now(), cancelled=cancelled)

    def _after(self) -> None:
        """After each step: log, and learn of the end of the task that reads while it must read."""
        if self.core.notes:
            self._log_notes()
        reader: Any = self._reader
        if self.core.is_held and reader not in (None, self._watched) and not reader.done():
            self._watched = reader
            reader.add_done_callback(self._reader_done)

    def _reader_done(self, task: object) -> None:
        self._watched = None
        self._driver.changed()
