"""Ctrl-C, SIGTERM, SIGHUP: the first asks for an end, Ctrl-C behind it has it at once."""

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
    """Call ``ask`` at the first of them, ``at_once`` at an interrupt behind it."""
    asked = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if not asked:
                asked = True
                ask()
            elif number == signal.SIGINT:
                at_once()
