"""A call as ``listenproto call`` places it, and what became of it."""

from __future__ import annotations

import ssl
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs
import trio

from listenproto.l16 import FLICKS, SAMPLE_BYTES, samples_in
from listenproto.messages import JSON, Peer
from listenproto.observer import Violation
from listenproto.playout import Heard
from listenproto.profile import Profile
from listenproto.task import End, ListenResult, ListenTask
from listenproto.trace import Header
from listenproto.verb import ListenVerb
from listenproto_trio.caller import Hear, Key, hear_beep, talk
from listenproto_trio.cli.files import Beside, reason
from listenproto_trio.cli.hook import Hooked, call_hook
from listenproto_trio.cli.screen import Screen, tell_all
from listenproto_trio.cli.sound import HeardFile
from listenproto_trio.client import AppMessage, CallRejected, open_call
from listenproto_trio.recording import TraceFile
from listenproto_trio.statistics import Statistics
from listenproto_trio.transport import Tap

__all__ = ["COLUMNS", "Line", "Placed", "place"]


@attrs.frozen(kw_only=True)
class Line:
    """What all calls of a run have in common. ``audio`` is L16 as the verb has it."""

    verb: ListenVerb
    audio: bytes
    keys: tuple[Key, ...]
    hang_up_after: float | None
    profile: Profile
    nested_in_dial: bool
    bidirectional_in_dial: bool
    speed: float
    ssl_context: ssl.SSLContext

    @property
    def seconds(self) -> float:
        """How long a call lasts at most."""
        if self.hang_up_after is not None:
            return self.hang_up_after
        return len(self.audio) / SAMPLE_BYTES / self.verb.channels / self.verb.sample_rate

    def task(self, *, keep_passed: bool) -> ListenTask:
        """The verb, being carried out for a call of its own."""
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


COLUMNS: Final = ("call", "ended by", "said s", "heard s", "clips", "marks", "late s", "breaches")
FAILED: Final = {End.NOT_CONNECTED, End.LOST, End.ERROR}


@attrs.define(kw_only=True)
class Placed:
    """One call: what came, how it ended, and all that was wrong."""

    number: int
    prefix: str
    task: ListenTask | None = None
    result: ListenResult | None = None
    hooked: Hooked | None = None
    statistics: Statistics = attrs.field(factory=Statistics)
    came: Counter[str] = attrs.field(factory=Counter)
    """How many messages of each kind the app sent."""
    heard: int = 0
    """Flicks of audio that the caller heard."""
    breaches: list[Violation] = attrs.field(factory=list)
    files: list[str] = attrs.field(factory=list)
    """What was written."""
    failures: list[str] = attrs.field(factory=list)
    hang_up: Callable[[], None] = lambda: None

    def take(self, message: AppMessage) -> None:
        """The app has sent this."""
        if isinstance(message, Violation):
            self.breaches.append(message)
            return
        self.came[type(message).__name__] += 1

    def hear(self, heard: list[Heard]) -> None:
        """The caller has heard this."""
        self.heard += sum(piece.end - piece.start for piece in heard)

    @property
    def said(self) -> float:
        """Seconds of audio that the call has had."""
        return 0.0 if self.task is None else self.task.clock / self.task.verb.sample_rate

    @property
    def connected(self) -> bool:
        """Whether there was a call at all."""
        return self.result is not None and self.result.duration is not None

    @property
    def end(self) -> str:
        """How it ended, in a word or two."""
        if self.result is None:
            return "failed"
        digits = f" {self.result.digits}" if self.result.digits else ""
        return self.result.end.value + digits

    def row(self) -> tuple[object, ...]:
        """The figures, for people: see COLUMNS."""
        return (
            self.number,
            self.end,
            self.said,
            self.heard / FLICKS,
            self.came["PlayAudio"],
            self.came["Mark"],
            self.statistics.worst_lateness,
            len(self.breaches),
        )

    def figures(self) -> dict[str, JSON]:
        """The figures, for programs."""
        result, hooked = self.result, self.hooked
        return {
            "call": self.number,
            "call_sid": result.attributes["callSid"] if result else None,
            "end": result.end.value if result else None,
            "duration": result.duration if result else None,
            "digits": result.digits if result else None,
            "seconds_said": round(self.said, 3),
            "seconds_heard": round(self.heard / FLICKS, 3),
            **self.statistics.to_json(),
            "app_messages": dict(self.came),
            "breaches": [
                {"clause": one.clause, "sender": one.sender.value, "reason": one.reason}
                for one in self.breaches
            ],
            "action_hook": hooked and {"url": hooked.url, "status": hooked.status},
            "files": [*self.files],
            "failures": [*self.failures],
        }


async def place(
    line: Line,
    placed: Placed,
    heard_file: Path | None,
    trace_file: Path | None,
    screen: Screen,
    progress: Callable[[float], None],
) -> None:
    """Place one call; ``placed`` says what became of it. What fails is this call's alone."""
    ladder = screen.ladder(line.profile, line.verb.stream_rate or 8000, placed.prefix)
    task = line.task(keep_passed=ladder is not None or trace_file is not None)
    placed.task = task
    beside = Beside(screen)
    try:
        with ExitStack() as files:
            hear = _hears(line, placed, heard_file, beside, files, progress)
            trace = _traced(line, placed, trace_file, beside, files)
            await _talk(line, placed, hear, tell_all(trace, ladder))
    except OSError as exc:
        placed.failures.append(f"{exc.filename or line.verb.websocket_url}: {reason(exc)}")
    except CallRejected as exc:
        placed.failures.append(str(exc))
    placed.result = task.result
    if task.result is not None and task.result.end in FAILED and not placed.failures:
        placed.failures.append(f"the call ended by: {task.result.end.value}")
    placed.failures += [f"the app broke {breach}" for breach in placed.breaches]
    placed.failures += beside.failures.values()
    if task.result is not None:
        placed.hooked = await call_hook(line.verb, task.result.action_hook(), line.ssl_context)
    if placed.hooked is not None and placed.hooked.failure:
        placed.failures.append(str(placed.hooked))


async def _talk(line: Line, placed: Placed, hear: Hear, tap: Tap | None) -> None:
    task = placed.task
    assert task is not None
    with trio.CancelScope() as dialing:

        def give_up() -> None:
            task.hang_up()
            dialing.cancel()

        placed.hang_up = give_up
        await hear_beep(task, hear=hear, speed=line.speed)
        async with open_call(
            task, ssl_context=line.ssl_context, on_message=placed.take, tap=tap
        ) as call:
            placed.hang_up = call.hang_up
            await talk(
                call,
                line.audio,
                keys=line.keys,
                hang_up_after=line.hang_up_after,
                hear=hear,
                speed=line.speed,
            )
            placed.statistics = call.statistics


def _hears(
    line: Line,
    placed: Placed,
    path: Path | None,
    beside: Beside,
    files: ExitStack,
    progress: Callable[[float], None],
) -> Hear:
    """What is done with what the caller hears."""
    task = placed.task
    assert task is not None
    write: Hear = lambda heard: None  # noqa: E731
    if path is not None:
        file = HeardFile(path, line.verb.stream_rate or line.verb.sample_rate)
        placed.files.append(str(path))
        write = beside.guarded(path, file.hear)
        close = beside.guarded(path, file.close)
        files.callback(lambda: close(task.session.playout.now))

    def hear(heard: list[Heard]) -> None:
        placed.hear(heard)
        write(heard)
        progress(task.clock / line.verb.sample_rate)

    return hear


def _traced(
    line: Line, placed: Placed, path: Path | None, beside: Beside, files: ExitStack
) -> Tap | None:
    task = placed.task
    assert task is not None
    if path is None:
        return None
    mode = task.mode if task.mode is not line.verb.mode() else None
    header = Header(
        vantage=Peer.PLATFORM,
        way=line.verb,
        mode=mode,
        profile=line.profile.name,
        attributes=task.metadata.attributes,
    )
    trace = TraceFile(path, header)
    trace.position = lambda: samples_in(task.session.playout.now, line.verb.sample_rate)
    placed.files.append(str(path))
    files.callback(beside.guarded(path, trace.close))
    return beside.guarded(path, trace)
