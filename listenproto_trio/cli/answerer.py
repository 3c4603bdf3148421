"""How ``listenproto serve`` handles a call: record it, echo it, play files, keep the figures."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio
from rich.status import Status

from listenproto._app_session import AppSession
from listenproto._ends import CallEnded
from listenproto._l16 import SAMPLE_BYTES
from listenproto._link import Tap
from listenproto._messages import JSON, Audio, Close, Metadata, Mode, Payload, Peer
from listenproto._profile import Profile
from listenproto._statistics import Lateness, Statistics
from listenproto._trace import TraceHeader, TraceMoment
from listenproto._violation import Violation
from listenproto.recording import Recorder, Recording, TraceFile
from listenproto.recording._names import file_stem, stems
from listenproto_trio._call import Call
from listenproto_trio._failures import with_file
from listenproto_trio.cli.breaches import Breaches
from listenproto_trio.cli.closes import GOOD_CLOSES
from listenproto_trio.cli.echo import ClipEcho, Files, StreamEcho
from listenproto_trio.cli.files import Beside
from listenproto_trio.cli.screen import Screen, of_call, tell_all

if TYPE_CHECKING:
    from listenproto_trio.cli.metrics import Metrics  # needs an extra

__all__ = ["Answerer"]

SHOWN: Final = 20
"""How many of the newest calls are shown at the end."""


@attrs.define(kw_only=True)
class Answerer:
    """Handles the calls of a server. ``rate`` is the sample rate of the app's stream in Hz."""

    screen: Screen
    mode: Mode
    rate: int
    profile: Profile
    echo: bool
    files: Files
    recordings: Path | None
    both: bool
    fill_gaps: bool
    traces: Path | None
    metrics: Metrics | None = None
    """The figures for operators."""
    calls: int = 0
    open_calls: int = 0
    failed: int = 0
    not_whole: int = 0
    """How many recordings and traces are incomplete, or could not be created."""
    status: Status = attrs.field(init=False)
    """On a terminal, a line that shows the number of calls."""
    _rows: deque[tuple[object, ...]] = attrs.field(init=False, factory=lambda: deque(maxlen=SHOWN))
    _count: Iterator[int] = attrs.field(init=False, factory=lambda: itertools.count(1))
    _numbers: weakref.WeakKeyDictionary[AppSession, int] = attrs.field(
        init=False, factory=weakref.WeakKeyDictionary
    )
    _unnamed: dict[int, Path] = attrs.field(init=False, factory=dict)
    """The traces that have not been reported yet, by the numbers of their connections."""

    def __attrs_post_init__(self) -> None:
        self.status = self.screen.console.status("no calls yet")

    def tap(self, session: AppSession) -> Tap:
        """The tap that gets every payload of a call."""
        number = self._number(session)
        ladder = self.screen.ladder(self.profile, self.rate, f"#{number} ")
        trace = self._trace(session, number)
        return tell_all(ladder, trace) or (lambda sender, payload: None)

    def _number(self, session: AppSession) -> int:
        if session not in self._numbers:
            self._numbers[session] = next(self._count)
        return self._numbers[session]

    def _trace(self, session: AppSession, number: int) -> Tap | None:
        """A trace of a connection, in a new file."""
        if self.traces is None:
            return None
        try:
            self.traces.mkdir(parents=True, exist_ok=True)
            trace = self._new_trace(self.traces, number)
        except OSError as exc:
            self.not_whole += 1
            self.screen.say(f"#{number} trace not written: {with_file(exc)}")
            return None
        self._unnamed[number] = trace.path
        trace.position = _received(weakref.ref(session))
        weakref.finalize(session, trace.close)  # if the end of the call does not pass
        return self._closing(trace, number)

    def _new_trace(self, folder: Path, number: int) -> TraceFile:
        header = TraceHeader(vantage=Peer.APP, way=self.mode, profile=self.profile.name)
        for stem in stems(f"call-{number}"):
            with suppress(FileExistsError):
                return TraceFile(folder / f"{stem}.trace.jsonl", header)
        raise AssertionError("stems() never ends")

    def _closing(self, trace: TraceFile, number: int) -> Tap:
        """A tap that writes the trace, and closes it with the connection."""
        over = False

        def fail(line: str) -> None:
            self.not_whole += 1
            self.screen.say(f"#{number} {line}")

        write = Beside(fail).guarded(trace.path, trace)

        def tell(sender: Peer, payload: Payload | TraceMoment) -> None:
            nonlocal over
            if over:
                return
            write(sender, payload)
            closed = isinstance(payload, Close) and sender is Peer.PLATFORM
            if closed or payload is TraceMoment.LOST:  # this end's own close, if any, was before
                over = True
                trace.close()

        return tell

    def _name(self, number: int, *files: Path | None) -> None:
        """Say which files were written."""
        for file in filter(None, files):
            self.screen.say(f"#{number} wrote {file}")

    def _opened(self, change: int) -> None:
        self.open_calls += change
        self.status.update(f"calls open: {self.open_calls}, total: {self.calls}")

    async def handle(self, call: Call) -> None:
        """Handle one call to its end."""
        number = self._number(call.session)
        of_call.set(f"#{number} ")
        self.calls += 1
        self._opened(1)
        if self.metrics is not None:
            self.metrics.began(call)
        caller = call.metadata.attributes.get("from")
        if not isinstance(caller, str):
            caller = "an unknown caller"
        self.screen.say(f"#{number} call from {caller}")
        breaches = Breaches()
        recorded = nullcontext() if self.recordings is None else self._record(call, number)
        recording: Recording | None = None
        echo: StreamEcho | ClipEcho | None = None

        async def play() -> None:
            nonlocal echo
            await self.files.play(call)
            echo = self._echo(call)

        try:
            with recorded as recording:
                async with trio.open_nursery() as nursery:
                    if self.files:
                        nursery.start_soon(play)
                    else:
                        echo = self._echo(call)
                    async for event in call:
                        if recording is not None:
                            recording.take(event)
                        if isinstance(event, Violation) and breaches.add(event):
                            self.screen.say(f"#{number} {event.sender.value}: {event}")
                        elif isinstance(event, Audio) and echo is not None:
                            with suppress(CallEnded):  # what was said before is still recorded
                                await echo.take(event.pcm)
                    nursery.cancel_scope.cancel()
        finally:
            self._opened(-1)
            self._over(number, call, breaches, recording)

    def _record(self, call: Call, number: int) -> AbstractContextManager[Recording]:
        """A recording named after the callSid, or after the call's number if that gives no name.

        So a trace and a recording with the same number are of the same call.
        """

        def name(metadata: Metadata) -> JSON:
            nameless = file_stem(metadata.call_sid) == file_stem(None)
            return f"unnamed-{number}" if nameless else metadata.call_sid

        assert self.recordings is not None
        recorder = Recorder(self.recordings, name=name, both=self.both, fill_gaps=self.fill_gaps)
        return recorder.record(call)

    def _echo(self, call: Call) -> StreamEcho | ClipEcho | None:
        if not self.echo:
            return None
        return StreamEcho(call, self.rate) if self.mode is Mode.STREAMING else ClipEcho(call)

    def lose(self, session: AppSession, why: str) -> None:
        """Count a call that ended without usable metadata as failed."""
        number = self._number(session)
        self.calls += 1
        self.failed += 1
        self._opened(0)
        if self.metrics is not None:
            self.metrics.lost()
        self.screen.say(f"#{number} failed: {why}")
        trace = self._unnamed.pop(number, None)
        self._name(number, trace)
        statistics = Statistics.of(
            session.received, session.sent, Lateness(), buffered=0.0, events_dropped=0
        )
        self._tell(number, None, "failed", why, 0.0, statistics, Breaches(), trace=trace)

    def _over(
        self, number: int, call: Call, breaches: Breaches, recording: Recording | None
    ) -> None:
        """Report a call that is over."""
        closed, link = call.closed, call.core.link
        failed = call.error is not None or link.failure is not None
        if closed is not None:
            failed = failed or not closed.clean or closed.code not in GOOD_CLOSES[Peer.PLATFORM]
        self.failed += failed
        how, ended = link.ending(trio.current_time()).why, "failed" if failed else "over"
        self.screen.say(f"#{number} {ended}: {how}")
        if closed is None and not failed:  # the server has stopped meanwhile
            ended = "cut short"
        path = recording.path if recording else None
        sidecar = recording.sidecar if recording else None
        lost = recording.errors if recording else []
        self.not_whole += len(lost)
        trace = self._unnamed.pop(number, None)
        self._name(number, path, sidecar, trace)
        metadata, statistics = call.metadata, call.statistics
        bytes_a_second = metadata.sample_rate * SAMPLE_BYTES * metadata.mix_type.channels
        came = statistics.audio_received / bytes_a_second
        self._tell(
            number,
            metadata.call_sid,
            ended,
            how,
            came,
            statistics,
            breaches,
            recording=path,
            sidecar=sidecar,
            recording_error="; ".join(map(str, lost)),
            trace=trace,
        )

    def _tell(
        self,
        number: int,
        call_sid: str | None,
        ended: str,
        how: str,
        heard: float,
        statistics: Statistics,
        breaches: Breaches,
        *,
        recording: Path | None = None,
        sidecar: Path | None = None,
        recording_error: str = "",
        trace: Path | None = None,
    ) -> None:
        """Report a call: as JSON at once, and in the table at the end."""
        late, dropped = statistics.worst_lateness, statistics.samples_dropped
        sent = statistics.messages_sent
        self._rows.append((number, ended, heard, sent, late, dropped, breaches.total))
        figures: dict[str, JSON] = {
            "call": number,
            "call_sid": call_sid,
            "end": how,
            "failed": ended == "failed",
            "seconds_heard": round(heard, 3),
            **statistics.to_json(),
            "breaches": breaches.to_json(),
            "recording": recording and str(recording),
            "sidecar": sidecar and str(sidecar),
            "recording_error": recording_error or None,
            "trace": trace and str(trace),
        }
        self.screen.figures(figures)

    def sum_up(self) -> None:
        """Print the totals, and the newest calls in a table."""
        for number, trace in self._unnamed.items():
            self._name(number, trace)
        columns = ("call", "ended", "heard (s)", "messages sent", "late (s)", "dropped", "breaches")
        if self._rows:
            self.screen.table(columns, self._rows)
        not_whole = f", incomplete files: {self.not_whole}" if self.not_whole else ""
        self.screen.say(f"calls: {self.calls}, failed: {self.failed}{not_whole}")


def _received(session: weakref.ref[AppSession]) -> Callable[[], int]:
    """A function of the samples that the app has received; it does not keep the session alive."""

    def samples() -> int:
        alive = session()
        return alive.samples_received if alive else 0

    return samples
