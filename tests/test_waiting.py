"""The methods of a call that wait, on a runtime of one task whose clock jumps: no IO, no loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import pytest

from listenproto import AppCall, HandlerCall, Outcome
from tests.app_call_support import OverMessages, pcm

_Result = TypeVar("_Result")


class Alone:
    """A runtime with one task: while it waits, the time passes in which nothing comes."""

    time = 0.0

    def now(self) -> float:
        return self.time

    async def checkpoint(self) -> None:
        pass

    async def until(self, ready: Callable[[], bool], deadline: float = math.inf) -> None:
        if not ready():
            assert deadline < math.inf, "it would wait for ever"
            self.time = max(self.time, deadline)

    async def over(self) -> None:
        pass

    def stopping(self, ready: Callable[[], bool]) -> AbstractContextManager[None]:
        return nullcontext()

    def changed(self) -> None:
        pass

    def task(self) -> object:
        return self

    def is_running(self, task: Any) -> bool:
        return True

    def busy(self, why: str) -> Exception:
        return RuntimeError(why)


def done(waiting: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of what never has to wait for anybody else."""
    with pytest.raises(StopIteration) as stopped:
        waiting.send(None)
    result: _Result = stopped.value.value
    return result


def call() -> HandlerCall:
    return HandlerCall(OverMessages().call, Alone(), peer=None)


def test_what_is_due_when_a_wait_is_over_has_happened() -> None:
    """Also where nobody else calls the core in time."""
    one = call()
    done(one.send_audio(pcm(1)))
    mark = done(one.mark("m"))
    assert done(mark.wait(timeout=11)) is Outcome.TIMED_OUT
    assert (mark.outcome, one.runtime.now()) == (Outcome.TIMED_OUT, 11)
    later = done(one.mark("n"))
    done(one.drain())
    assert (later.outcome, one.runtime.now()) == (Outcome.TIMED_OUT, 21)


def test_a_guard_is_waited_for() -> None:
    one = call()
    done(one.kill_audio(guard=0.5))
    done(one.send_audio(pcm(1)))
    assert one.runtime.now() == 0.5
    assert one.ahead == 1


def test_before_the_metadata_its_name_says_so() -> None:
    one = HandlerCall(AppCall(now=0, over_messages=True), Alone(), peer="192.0.2.1:4000")
    assert (repr(one), str(one)) == ("<Call without metadata>", "connection from 192.0.2.1:4000")
