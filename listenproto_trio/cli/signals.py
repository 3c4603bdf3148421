"""Ctrl-C, SIGTERM, SIGHUP: the first asks to stop, a Ctrl-C after it stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

__all__ = ["watch_signals"]


async def watch_signals(
    ask: Callable[[], None],
    at_once: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``ask`` at the first signal, ``at_once`` at each Ctrl-C after it."""
    asked = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if not asked:
                asked = True
                ask()
            elif number == signal.SIGINT:
                at_once()
