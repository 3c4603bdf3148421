"""How ``listenproto call`` places a call."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from listenproto._heard import Heard
from listenproto._l16 import SAMPLE_BYTES, samples_in
from listenproto._link import Tap
from listenproto._listen_result import ListenEnd
from listenproto._messages import JSON, Mode, Peer
from listenproto._profile import Profile
from listenproto._rules import MODES
from listenproto._task import ListenTask
from listenproto._trace import TraceHeader
from listenproto._verb import ListenVerb
from listenproto.recording import TraceFile
from listenproto_trio._caller import Hear, Key, hear_beep, talk
from listenproto_trio._client import open_call
from listenproto_trio._failures import with_file
from listenproto_trio._rejection import UNTRUSTED, CallRejected
from listenproto_trio._stage import Stage
from listenproto_trio.cli.files import Beside
from listenproto_trio.cli.hook import Hook
from listenproto_trio.cli.placed import Placed
from listenproto_trio.cli.screen import Screen, tell_all
from listenproto_trio.cli.sound import HeardFile

__all__ = ["CallPlan", "place"]

REMEDIES: Final = {
    "LP-HS-5": "offer one that it knows with --subprotocol NAME (jambonz's SDK knows "
    "audio.drachtio.org), or accept none with --allow-no-subprotocol",
    "LP-HS-18": "offer the server's choice with --subprotocol NAME",
    "LP-HS-8": "offer one that it knows with --subprotocol NAME",
    "LP-HS-13": "pass the app's user name and password with --auth USER:PASSWORD",
    UNTRUSTED: "pass its CA with --cafile FILE",
}
"""Which options help, by the kind of a rejection."""

FAILED: Final = {ListenEnd.NOT_CONNECTED, ListenEnd.LOST, ListenEnd.ERROR}


@attrs.frozen(kw_only=True)
class CallPlan:
    """What all calls of a run have in common. ``audio`` is L16 at the verb's rate and channels."""

    verb: ListenVerb
    audio: bytes
    keys: tuple[Key, ...]
    hang_up_after: float | None
    profile: Profile
    nested_in_dial: bool
    bidirectional_in_dial: bool
    subprotocols: tuple[str, ...]
    allow_no_subprotocol: bool
    """Accept an app that names no subprotocol, whatever the profile says."""
    speed: float
    hook: Hook | None
    hook_context: ssl.SSLContext | None
    """The TLS context of all requests to the hook, as their library changes it; None without."""
    calls: int
    """How many calls there are."""
    ramp: float
    """Seconds over which they are started."""
    context: ssl.SSLContext
    """The TLS context of all calls. To make one takes a tenth of a second."""

    @property
    def seconds(self) -> float:
        """How long a call lasts at most, in seconds."""
        if self.hang_up_after is not None:
            return self.hang_up_after
        return len(self.audio) / SAMPLE_BYTES / self.verb.channels / self.verb.sample_rate

    @property
    def mode_remedies(self) -> dict[str, str]:
        """Which options help if the call's mode does not allow what the app sends, by clause."""
        remedies = {}
        for modes, clause in MODES.values():
            if self.verb.mode() in modes:
                remedies[clause] = "if the platform plays the app's audio in a dial, pass "
                remedies[clause] += "--bidirectional-in-dial"
            else:
                such = " or ".join(f"--mode {mode.value}" for mode in Mode if mode in modes)
                remedies[clause] = f"place the call with {such}, or with such a verb in --verb"
        return remedies

    def task(self, *, keep_passed: bool) -> ListenTask:
        """The task of a new call, with its own attributes."""
        attributes: dict[str, JSON] = {
            "callSid": str(uuid.uuid4()),
            "direction": "inbound",
            "from": "+15550100",
            "to": "+15550199",
            "callId": str(uuid.uuid4()),
            "callStatus": "in-progress",
        }
        return ListenTask(
            self.verb,
            attributes,
            profile=self.profile,
            nested_in_dial=self.nested_in_dial,
            bidirectional_in_dial=self.bidirectional_in_dial,
            keep_passed=keep_passed,
        )


async def place(
    plan: CallPlan,
    placed: Placed,
    heard_file: Path | None,
    trace_file: Path | None,
    screen: Screen,
    stage: Stage | None,
    hooking: Callable[[], None],
) -> None:
    """Place one call and note the outcome in ``placed``. A failure concerns this call only.

    It talks on the ``stage``, if there is one. ``hooking`` is called before the actionHook.
    """
    beside = Beside(screen.say)
    try:
        with ExitStack() as files:
            hear = _hears(plan, placed, heard_file, beside, files)
            trace = _traced(plan, placed, trace_file, beside, files)
            ladder = screen.ladder(plan.profile, plan.verb.stream_rate or 8000, placed.prefix)
            await _talk(plan, placed, stage, hear, tell_all(trace, ladder))
    except OSError as exc:
        placed.failures.append(("cannot write " if exc.filename else "") + with_file(exc))
    except CallRejected as exc:
        placed.failures.append(exc.advised(REMEDIES))
    _conclude(plan, placed, beside)
    for note in placed.notes:
        screen.say(f"{placed.prefix}note: {note}")
    if plan.hook is not None and placed.result is not None:
        assert plan.hook_context is not None
        hooking()
        with trio.CancelScope() as waiting:
            placed.give_up = waiting.cancel
            placed.hooked = await plan.hook.call(placed.result.action_hook(), plan.hook_context)
        if placed.hooked is None or placed.hooked.failure:
            placed.failures.append(str(placed.hooked or "the actionHook was given up"))


def _conclude(plan: CallPlan, placed: Placed, beside: Beside) -> None:
    """Note what was wrong with the call; delete its files if it was never connected."""
    ended = placed.result.end if placed.result else None
    if placed.call is None:
        for path in placed.files:
            path.unlink(missing_ok=True)
        placed.files.clear()
        if not placed.failures:
            placed.failures.append("the call was given up before it was answered")
    elif placed.task.session.observer.verb_ended:
        placed.failures.append("the app ended the verb with an 'error'")
    elif ended in FAILED:
        how = placed.call.link.ending().why
        placed.failures.append(f"the call to {placed.call.peer} failed: {how}")
    elif placed.bad_close is not None:
        placed.failures.append(placed.bad_close)
    placed.failures += placed.breaches.lines(plan.mode_remedies)
    placed.failures += beside.failures.values()


async def _talk(
    plan: CallPlan, placed: Placed, stage: Stage | None, hear: Hear, tap: Tap | None
) -> None:
    task = placed.task
    with trio.CancelScope() as dialing:

        def stop_dialing() -> None:
            task.hang_up()
            dialing.cancel()

        placed.give_up = stop_dialing
        await trio.sleep((placed.number - 1) * plan.ramp / plan.calls)
        await hear_beep(task, hear=hear, speed=plan.speed)
        async with open_call(
            task,
            subprotocols=plan.subprotocols,
            allow_no_subprotocol=plan.allow_no_subprotocol or None,
            ssl_context=plan.context,
            on_message=placed.take,
            tap=tap,
        ) as call:
            placed.call = call
            placed.give_up = call.hang_up
            await (stage.talk if stage else partial(talk, speed=plan.speed))(
                call, plan.audio, keys=plan.keys, hang_up_after=plan.hang_up_after, hear=hear
            )


def _hears(
    plan: CallPlan,
    placed: Placed,
    path: Path | None,
    beside: Beside,
    files: ExitStack,
) -> Hear:
    """What to do with the audio that the caller hears."""
    task = placed.task
    write: Hear | None = None
    if path is not None:
        file = HeardFile(path, plan.verb.stream_rate or plan.verb.sample_rate)
        placed.files.append(path)
        write = beside.guarded(path, file.hear)
        close = beside.guarded(path, file.close)
        files.callback(lambda: close(task.session.playout.now))

    def hear(heard: list[Heard]) -> None:
        placed.hear(heard)
        if write is not None:
            write(heard)

    return hear


def _traced(
    plan: CallPlan, placed: Placed, path: Path | None, beside: Beside, files: ExitStack
) -> Tap | None:
    task = placed.task
    if path is None:
        return None
    mode = task.mode if task.mode is not plan.verb.mode() else None
    header = TraceHeader(
        vantage=Peer.PLATFORM,
        way=plan.verb,
        mode=mode,
        profile=plan.profile.name,
        attributes=task.metadata.attributes,
    )
    trace = TraceFile(path, header)
    trace.position = lambda: samples_in(task.session.playout.now, plan.verb.sample_rate)
    placed.files.append(path)
    files.callback(beside.guarded(path, trace.close))
    return beside.guarded(path, trace)
