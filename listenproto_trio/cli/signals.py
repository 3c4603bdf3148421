"""Ctrl-C, SIGTERM, SIGHUP: what they ask for."""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

__all__ = ["watch_signals"]


async def watch_signals(
    ask: Callable[[], None],
    at_once: Callable[[], None],
    reload: Callable[[], None] | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``ask`` at the first signal, ``at_once`` at each Ctrl-C after it.

    If there is something to ``reload``, SIGHUP asks for that, and for nothing else.
    """
    asked = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP and reload is not None:
                reload()
            elif not asked:
                asked = True
                ask()
            elif number == signal.SIGINT:
                at_once()
