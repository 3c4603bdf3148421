"""What ``listenproto serve`` does with a call: record it, echo, play files, keep the figures."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

import attrs
import trio
from rich.status import Status

from listenproto.app_session import AppSession
from listenproto.l16 import SAMPLE_BYTES, WavError, parse_wav
from listenproto.messages import JSON, Audio, Mode, Peer, PlayAudio
from listenproto.observer import Violation
from listenproto.profile import Profile
from listenproto.trace import Header
from listenproto_trio.call import Call
from listenproto_trio.cli.files import Beside
from listenproto_trio.cli.screen import Screen, tell_all
from listenproto_trio.cli.sound import Resampler, mono, read_sound
from listenproto_trio.playback import Playback
from listenproto_trio.recorder import Recorder, stems
from listenproto_trio.recording import TraceFile
from listenproto_trio.transport import CallEnded, Tap

__all__ = ["Answerer"]

SHOWN: Final = 20
"""How many calls, the newest, are shown at the end."""
CLIP_RATE: Final = 16000
"""Of clips made from files that cannot be played as they are."""
CLIP_SECONDS: Final = 2
"""How long the clips of an echo are."""
MOST_CLIPS: Final = 10
MOST_BREACHES: Final = 20
"""How many breaches of a call are shown; all are counted."""


@attrs.define(kw_only=True)
class Answerer:
    """Handles the calls of a server. ``rate`` is that of the stream back."""

    screen: Screen
    mode: Mode
    rate: int
    profile: Profile
    echo: bool
    files: Sequence[Path]
    recorder: Recorder | None
    traces: Path | None
    calls: int = 0
    open_calls: int = 0
    failed: int = 0
    status: Status = attrs.field(init=False)
    """A line that shows, on a terminal, how many calls there are."""
    _clips: list[PlayAudio] = attrs.field(init=False, factory=list)
    _streams: list[bytes] = attrs.field(init=False, factory=list)
    _rows: deque[tuple[object, ...]] = attrs.field(init=False, factory=lambda: deque(maxlen=SHOWN))
    _numbers: weakref.WeakKeyDictionary[AppSession, int] = attrs.field(
        init=False, factory=weakref.WeakKeyDictionary
    )

    def __attrs_post_init__(self) -> None:
        self.status = self.screen.console.status("no calls yet")
        for path in self.files:
            if self.mode is Mode.CLIPS:
                self._clips.append(_clip(path))
            else:
                self._streams.append(read_sound(path, self.rate))

    def tap(self, session: AppSession) -> Tap:
        """What is told of all that passes in a call."""
        number = self._number(session)
        ladder = self.screen.ladder(self.profile, self.rate, f"#{number} ")
        return tell_all(ladder, self._trace(session)) or (lambda sender, payload: None)

    def _number(self, session: AppSession) -> int:
        if session not in self._numbers:
            self.calls += 1
            self._numbers[session] = self.calls
        return self._numbers[session]

    def _trace(self, session: AppSession) -> Tap | None:
        """A trace of a call, in a file that was not there; closed with the session."""
        if self.traces is None:
            return None
        header = Header(vantage=Peer.APP, way=self.mode, profile=self.profile.name)
        traces: list[TraceFile] = []

        def start() -> None:
            assert self.traces is not None
            self.traces.mkdir(parents=True, exist_ok=True)
            for stem in stems(f"call-{self._number(session)}"):
                with suppress(FileExistsError):
                    traces.append(TraceFile(self.traces / f"{stem}.trace.jsonl", header))
                    return

        beside = Beside(self.screen)
        beside.guarded(self.traces, start)()
        if not traces:
            return None
        (trace,) = traces
        trace.position = _received(weakref.ref(session))
        weakref.finalize(session, trace.close)
        return beside.guarded(trace.path, trace)

    def _count(self, change: int) -> None:
        self.open_calls += change
        self.status.update(f"calls open: {self.open_calls}, in all: {self.calls}")

    async def handle(self, call: Call) -> None:
        """Handle one call to its end."""
        number = self._number(call.session)
        self._count(1)
        caller = str(call.metadata.attributes.get("from", "nobody"))
        self.screen.say(f"#{number} call from {caller[:40]}")
        breaches = 0
        recorded = nullcontext() if self.recorder is None else self.recorder.record(call)
        try:
            with recorded as recording:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._play, call)
                    echo = self._echo(call)
                    async for event in call:
                        if recording is not None:
                            recording.take(event)
                        if isinstance(event, Violation):
                            breaches += 1
                            if breaches <= MOST_BREACHES:
                                self.screen.say(f"#{number} {event.sender.value}: {event}")
                        elif isinstance(event, Audio) and echo is not None:
                            with suppress(CallEnded):  # what was said before is still recorded
                                await echo.take(event.pcm)
                    nursery.cancel_scope.cancel()
        finally:
            self._count(-1)
            self._over(number, call, breaches, recording.path if recording else None)

    async def _play(self, call: Call) -> None:
        """Play the files: the next clips wait in the queue, as many as may be."""
        with suppress(CallEnded):
            for number, pcm in enumerate(self._streams, 1):
                await call.speak(pcm)
                await call.mark(f"file-{number}")
            playing: deque[Playback] = deque()
            for clip in self._clips:
                if len(playing) == MOST_CLIPS:
                    await playing.popleft().wait()
                playing.append(await call.play(clip))

    def _echo(self, call: Call) -> StreamEcho | ClipEcho | None:
        if not self.echo:
            return None
        return StreamEcho(call, self.rate) if self.mode is Mode.STREAMING else ClipEcho(call)

    def _over(self, number: int, call: Call, breaches: int, recording: Path | None) -> None:
        """A call is over: tell of it."""
        clean = call.closed is None or call.closed.clean
        failed = not clean or call.error is not None
        self.failed += failed
        how, ended = call.transport.ending(), "failed" if failed else "over"
        self.screen.say(f"#{number} {ended}: {how}")
        if recording is not None:
            self.screen.say(f"#{number} wrote {recording}")
        metadata, statistics = call.metadata, call.statistics
        bytes_a_second = metadata.sample_rate * SAMPLE_BYTES * metadata.mix_type.channels
        came = statistics.audio_received / bytes_a_second
        late = statistics.worst_lateness
        dropped = statistics.samples_dropped
        self._rows.append((number, ended, came, statistics.messages_sent, late, dropped, breaches))
        figures: dict[str, JSON] = {
            "call": number,
            "call_sid": metadata.call_sid,
            "end": how,
            "failed": failed,
            "seconds_heard": round(came, 3),
            **statistics.to_json(),
            "breaches": breaches,
            "recording": None if recording is None else str(recording),
        }
        self.screen.figures(figures)

    def sum_up(self) -> None:
        """What there was, the newest calls in a table."""
        columns = ("call", "ended", "heard s", "messages sent", "late s", "dropped", "breaches")
        if self._rows:
            self.screen.table(columns, self._rows)
        self.screen.say(f"calls: {self.calls}, failed: {self.failed}")


class StreamEcho:
    """Says back what is said, as a stream."""

    def __init__(self, call: Call, rate: int) -> None:
        self._call = call
        self._channels = call.metadata.mix_type.channels
        self._resampler = Resampler(call.metadata.sample_rate, rate)

    async def take(self, pcm: bytes) -> None:
        """Send back a piece of what came."""
        if back := self._resampler.take(mono(pcm, self._channels).tobytes()):
            await self._call.send_audio(back)


class ClipEcho:
    """Says back what is said, two seconds at a time, as clips."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rate = call.metadata.sample_rate
        self._channels = call.metadata.mix_type.channels
        self._said = bytearray()

    async def take(self, pcm: bytes) -> None:
        """Send back what came, once there is enough."""
        self._said += mono(pcm, self._channels).tobytes()
        if len(self._said) >= CLIP_SECONDS * self._rate * SAMPLE_BYTES:
            clip = PlayAudio(bytes(self._said), sample_rate=self._rate)
            self._said.clear()
            await self._call.play(clip)


def _clip(path: Path) -> PlayAudio:
    """A file as a clip: as it is where a platform can play it."""
    with suppress(WavError, OSError):
        content = path.read_bytes()
        if parse_wav(content).pcm:
            return PlayAudio(content, "wav")
    return PlayAudio(read_sound(path, CLIP_RATE), sample_rate=CLIP_RATE)


def _received(session: weakref.ref[AppSession]) -> Callable[[], int]:
    """How many samples the app has received, without holding on to its session."""

    def samples() -> int:
        alive = session()
        return alive.samples_received if alive else 0

    return samples
