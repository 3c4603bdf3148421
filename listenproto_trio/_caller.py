"""A simulated call in real time: what a platform does with a caller on the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from listenproto._choices import one_of
from listenproto._heard import Heard
from listenproto._l16 import FLICKS, SAMPLE_BYTES
from listenproto._listen_result import ListenResult
from listenproto._statistics import Lateness
from listenproto._task import MESSAGES_PER_SECOND, ListenTask
from listenproto._terms import DIGITS
from listenproto_trio._client import PlatformCall

__all__ = ["STEP_TIME", "Caller", "Hear", "Key", "hear_beep", "talk"]

STEP: Final = FLICKS // MESSAGES_PER_SECOND
"""20 ms of media time, in flicks."""
STEP_TIME: Final = 1 / MESSAGES_PER_SECOND
"""The same in seconds."""

Hear = Callable[[list[Heard]], None]


@attrs.frozen
class Key:
    """A key pressed ``at`` seconds into the call, for ``duration`` timestamp units of 1/8000 s."""

    digit: str = attrs.field(validator=one_of(DIGITS))
    """One of ``0-9 * # A-D``."""
    at: float
    duration: int = 800


class _Pace:
    """Steps of media time, each due at a time counted from the start, so no drift adds up."""

    def __init__(self, speed: float, lateness: Lateness) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be more than 0; it is {speed:g}")
        self._start = trio.current_time()
        self._step = STEP_TIME / speed
        self._steps = 0
        self._lateness = lateness

    async def step(self) -> int:
        """Wait for the next step; gives its number, from 1."""
        self._steps += 1
        due = self._start + self._steps * self._step
        await trio.sleep_until(due)
        self._lateness.note(trio.current_time() - due)
        return self._steps


async def hear_beep(
    task: ListenTask, *, hear: Hear = lambda heard: None, speed: float = 1.0
) -> None:
    """Play the verb's beep to the caller, if it has one; call this before :func:`open_call`.

    ``hear`` and ``speed`` as for :func:`talk`.
    """
    pace = _Pace(speed, Lateness())
    while task.buffered:
        await pace.step()
        hear(task.play(STEP))


async def talk(
    call: PlatformCall,
    audio: bytes,
    *,
    keys: Iterable[Key] = (),
    hang_up_after: float | None = None,
    hear: Hear = lambda heard: None,
    speed: float = 1.0,
) -> ListenResult:
    """Be the caller until the listen ends: say ``audio``, press keys, hear what the app plays.

    ``audio`` is L16 at the verb's rate and channels; silence follows it. The caller hangs up
    ``hang_up_after`` seconds into the call, or when the audio ends. ``speed`` is how many times
    faster than real time the call runs. ``hear`` is called with what the caller hears, every 20 ms
    of the call. Returns how the listen ended.

    The caller does not wait for the app. If the app reads so slowly that ``outbox_size`` of the
    :class:`~listenproto_trio.Limits` is full, audio is dropped and counted in
    :attr:`PlatformCall.samples_dropped`. Only a call faster than real time waits for room, so that
    an app that is slower loses nothing. After ``ping_time`` seconds without room it waits no more,
    until there is room again.

    Raises ValueError if ``speed`` is 0, negative or NaN.
    """
    caller = Caller(call, audio, keys=keys, hang_up_after=hang_up_after, hear=hear)
    pace = _Pace(speed, call.lateness)
    patience = most = call.link.limits.ping_time if speed > 1 else 0.0
    while call.task.result is None:
        pcm = caller.step(await pace.step())
        patience = most if await call.capture(pcm, patience=patience) else 0.0
        caller.leave()
    await call.over()
    return call.task.result


class Caller:
    """What the caller of one call does, step by step of 20 ms; arguments as for :func:`talk`.

    In each step call :meth:`step`, have the call capture what it returns, then :meth:`leave`.
    """

    def __init__(
        self,
        call: PlatformCall,
        audio: bytes,
        *,
        keys: Iterable[Key],
        hang_up_after: float | None,
        hear: Hear,
    ) -> None:
        self._call = call
        self._audio = audio
        self._hear = hear
        verb = call.task.verb
        frame = SAMPLE_BYTES * verb.channels
        self._step_bytes = verb.sample_rate // MESSAGES_PER_SECOND * frame
        if hang_up_after is None:
            hang_up_after = len(audio) / frame / verb.sample_rate
        self._hang_up_after = hang_up_after
        self._keys = deque(sorted(keys, key=lambda key: key.at))
        self._now = 0.0

    def step(self, number: int) -> bytes:
        """Hear and press what is due in this step, from 1; returns what the caller says in it."""
        self._now = number / MESSAGES_PER_SECOND
        self._hear(self._call.play(STEP))
        while self._keys and self._keys[0].at <= self._now:
            key = self._keys.popleft()
            self._call.key(key.digit, duration=key.duration)
        start = (number - 1) * self._step_bytes
        return self._audio[start : start + self._step_bytes].ljust(self._step_bytes, b"\0")

    def leave(self) -> None:
        """Hang up, if that is due."""
        if self._now >= self._hang_up_after:
            self._call.hang_up()
