"""What a runtime gives a call, so that a handler can wait: see :class:`Runtime`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["Runtime"]


class Runtime(Protocol):
    """What a runtime gives a call: a clock, and ways to wait."""

    def now(self) -> float:
        """The time in seconds."""

    async def checkpoint(self) -> None:
        """Let other tasks run; if this task is cancelled, raise that."""

    async def until(self, ready: Callable[[], bool], deadline: float = math.inf) -> None:
        """Wait until ``ready()`` is true, or until that time; if cancelled, raise that.

        ``ready`` is called again after each change of the call, in any task, and must not raise.
        """

    async def over(self) -> None:
        """Wait for the end of the connection, close handshake and last write included."""

    def stopping(self, ready: Callable[[], bool]) -> AbstractContextManager[None]:
        """Leave the block as soon as ``ready()`` is true, whatever it waits for."""

    def changed(self) -> None:
        """Something was done to the call: write what is to be sent, wake who waits for it."""

    def task(self) -> object:
        """The task that runs now."""

    def is_running(self, task: Any) -> bool:
        """Whether that task has not ended."""

    def busy(self, why: str) -> Exception:
        """What is raised if two tasks do what only one can."""
