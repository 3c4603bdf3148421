"""asyncio with a clock that jumps, and WebSockets of which a test is the other end."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from listenproto import Close, Payload


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the clock of the loop jumps to what is due next."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for another")
        if timeout > 0:
            self.loop.jump(timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps as soon as all tasks wait."""

    def __init__(self) -> None:
        selector = _Jumping()
        self._virtual_now = 0.0
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Go to the next timer, or on by so much if that is sooner."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._virtual_now = min(self._virtual_now + seconds, timers[0].when())


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio with a clock that jumps as soon as all tasks wait.

    A test in which everything is stuck fails at once. No task may be left at its end.
    """

    @wraps(test)
    def run(**fixtures: object) -> None:
        async def checked() -> None:
            async with asyncio.timeout(86400):
                await test(**fixtures)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())

    return run


async def settled() -> None:
    """Wait until no task can do anything more at this time."""
    loop = asyncio.get_running_loop()
    while True:
        ready: int = len(loop._ready)  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        if ready == 0:
            return


DROPPED = "dropped"


class Pipe:
    """A WebSocket of which a test is the other end."""

    def __init__(self, *coming: Payload | OSError, answers: bool = True) -> None:
        self.coming: asyncio.Queue[Payload | Exception] = asyncio.Queue()
        self.sent: list[Payload] = []
        self.broken = False
        self._answers = answers
        self._busy = False
        for payload in coming:
            self.coming.put_nowait(payload)

    async def receive(self) -> Payload:
        payload = await self.coming.get()
        if isinstance(payload, Exception):
            raise payload
        return payload

    async def send(self, payload: str | bytes) -> None:
        await self._write(payload)

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._write(Close(code, reason))
            if not self._answers:
                await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.sent.append(DROPPED)
            raise
        self.coming.put_nowait(Close(code))

    async def _write(self, payload: Payload) -> None:
        assert not self._busy, "one writer owns the WebSocket"
        self._busy = True
        try:
            await asyncio.sleep(0.1)
        finally:
            self._busy = False
        if self.broken:
            raise ConnectionResetError
        self.sent.append(payload)
