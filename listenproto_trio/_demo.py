"""Two complete calls on loopback, both ends in this process, with recordings and traces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import trio

from listenproto._answering import MOST_CLIPS, Answering
from listenproto._app_session import AppSession
from listenproto._heard import Heard
from listenproto._l16 import FLICKS, SAMPLE_BYTES, samples_in
from listenproto._link import Tap
from listenproto._listen_result import ListenResult
from listenproto._messages import Audio, Dtmf, Mode, Payload, Peer, PlayAudio
from listenproto._playback import Playback
from listenproto._review import judge_trace
from listenproto._sent import Outcome
from listenproto._task import ListenTask
from listenproto._trace import Trace, TraceHeader, TraceMoment
from listenproto._verb import BidirectionalAudio, ListenVerb
from listenproto._violation import Violation
from listenproto._wav import GROWING_HEADER, wav_header
from listenproto.recording import HeardWav, TraceFile, WavFile, read_trace_file
from listenproto_trio._call import Call
from listenproto_trio._caller import Key, talk
from listenproto_trio._client import open_call
from listenproto_trio._failures import first
from listenproto_trio._server import serve
from listenproto_trio.speech import speech

__all__ = ["CALLS", "DemoCall", "Played", "play_call"]

RATE: Final = 8000
MARK_EVERY: Final = 2 * RATE
CLIP: Final = RATE * 2 // 5

Outcomes: TypeAlias = dict[str, Outcome]
"""How each clip and mark ended, as the app was told."""

Script: TypeAlias = Callable[[Call, WavFile, Outcomes], Awaitable[None]]


async def _note(playback: Playback, outcomes: Outcomes) -> None:
    outcomes[str(playback.name)] = await playback.wait()


async def streaming_app(call: Call, recording: WavFile, outcomes: Outcomes) -> None:
    """Echo the speech with marks, send it again all at once, stop at a key, disconnect at ``#``."""
    heard = 0
    spoken = speech()
    async with trio.open_nursery() as nursery:
        async for event in call:
            if isinstance(event, Audio):
                recording.write(event.pcm)
                before, heard = heard, heard + len(event.pcm) // SAMPLE_BYTES
                if before * SAMPLE_BYTES >= len(spoken):
                    continue
                await call.send_audio(event.pcm)
                if heard // MARK_EVERY > before // MARK_EVERY:
                    mark = await call.mark(f"echo-{heard // RATE}s")
                    nursery.start_soon(_note, mark, outcomes)
                if heard * SAMPLE_BYTES >= len(spoken):
                    for quarter in range(4):
                        size = len(spoken) // 4
                        await call.send_audio(spoken[quarter * size : (quarter + 1) * size])
                        mark = await call.mark(f"again-{quarter + 1}/4")
                        nursery.start_soon(_note, mark, outcomes)
            elif isinstance(event, Dtmf) and event.digit == "#":
                await call.disconnect()
            elif isinstance(event, Dtmf):
                await call.kill_audio()


async def clips_app(call: Call, recording: WavFile, outcomes: Outcomes) -> None:
    """Queue as many clips as may be outstanding and one more; disconnect when all are done."""
    spoken = speech()

    async def play_clips() -> None:
        playbacks = []
        for number in range(MOST_CLIPS + 1):
            pcm = spoken[number * CLIP * SAMPLE_BYTES :][: CLIP * SAMPLE_BYTES]
            if number % 2:
                clip = PlayAudio(wav_header(len(pcm), RATE) + pcm, "wav", id=f"clip-{number + 1}")
            else:
                clip = PlayAudio(pcm, sample_rate=RATE, id=f"clip-{number + 1}")
            playbacks.append(await call.play(clip))
        for playback in playbacks:
            await _note(playback, outcomes)
        await call.disconnect()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play_clips)
        async for event in call:
            if isinstance(event, Audio):
                recording.write(event.pcm)


@attrs.frozen(kw_only=True)
class DemoCall:
    """A call to run: what the app does, what the caller does, and which outcomes it must have."""

    name: str
    mode: Mode
    app: Script
    keys: tuple[Key, ...] = ()
    seconds: float
    """When the caller hangs up, if the app has not ended the call by then."""
    expected: Outcomes


CALLS: Final = (
    DemoCall(
        name="streaming",
        mode=Mode.STREAMING,
        app=streaming_app,
        keys=(Key("5", at=14.5, duration=1200), Key("#", at=16.0)),
        seconds=17.0,
        expected={f"echo-{s}s": Outcome.PLAYED for s in (2, 4, 6, 8, 10)}
        | {"again-1/4": Outcome.PLAYED}
        | {f"again-{q}/4": Outcome.CLEARED for q in (2, 3, 4)},
    ),
    DemoCall(
        name="clips",
        mode=Mode.CLIPS,
        app=clips_app,
        seconds=6.0,
        expected={f"clip-{n}": Outcome.PLAYED for n in range(1, MOST_CLIPS + 1)}
        | {f"clip-{MOST_CLIPS + 1}": Outcome.REFUSED},
    ),
)


@attrs.frozen(kw_only=True)
class Played:
    """A finished call: its files, its end, and all that was wrong with it."""

    call: DemoCall
    result: ListenResult
    outcomes: Outcomes
    trace: Trace
    files: tuple[Path, ...]
    faults: tuple[str, ...]


async def play_call(
    demo: DemoCall, folder: Path, *, speed: float = 1.0, progress: Callable[[float], None]
) -> Played:
    """Run one call with its files in ``folder``; ``progress`` gets the seconds of the call so far.

    Raises OSError if a file cannot be written: the call ends there, and nothing is logged.
    """
    folder.mkdir(parents=True)
    failures: list[BaseException] = []
    outcomes: Outcomes = {}
    attributes = {
        "callSid": f"demo-{demo.name}",
        "direction": "inbound",
        "from": "+15550100",
        "to": "+15550199",
    }
    app_header = TraceHeader(vantage=Peer.APP, way=demo.mode, attributes=attributes)
    with ExitStack() as opened:
        recording = opened.enter_context(WavFile(folder / "recording.wav", RATE))
        heard = opened.enter_context(HeardWav(folder / "heard.wav", RATE))
        app_trace = TraceFile(folder / "trace-app.jsonl", app_header)
        opened.enter_context(closing(app_trace))
        handled = trio.Event()

        async def handler(call: Call) -> None:
            try:
                await demo.app(call, recording, outcomes)
            except* OSError as group:
                give_up(first(group))
            finally:
                handled.set()

        def give_up(failure: BaseException) -> None:
            failures.append(failure)
            nursery.cancel_scope.cancel()

        def tapped(trace: TraceFile) -> Tap:
            def tap(sender: Peer, payload: Payload | TraceMoment) -> None:
                try:
                    trace(sender, payload)
                except OSError as exc:
                    give_up(exc)

            return tap

        def tap(session: AppSession) -> Tap:
            app_trace.position = lambda: session.samples_received
            return tapped(app_trace)

        def hear(pieces: list[Heard]) -> None:
            heard.hear(pieces)
            progress(task.session.playout.now / FLICKS)

        async with trio.open_nursery() as nursery:
            streaming = demo.mode is Mode.STREAMING
            verb = ListenVerb(
                url=f"/{demo.name}",
                pass_dtmf=True,
                bidirectional_audio=BidirectionalAudio(
                    streaming=streaming, sample_rate=RATE if streaming else None
                ),
            )
            answering = Answering(verb=verb, tap=tap)
            start = partial(serve, handler, port=0, host="127.0.0.1", answering=answering)
            (listener,) = await nursery.start(start)
            host, port = listener.socket.getsockname()[:2]
            verb = verb.resolve(f"ws://{host}:{port}/")
            task = ListenTask(verb, attributes, keep_passed=True)
            header = TraceHeader(vantage=Peer.PLATFORM, way=verb, attributes=attributes)
            trace = TraceFile(folder / "trace.jsonl", header)
            opened.enter_context(closing(trace))
            trace.position = lambda: samples_in(task.session.playout.now, RATE)
            async with open_call(task, tap=tapped(trace)) as call:
                result = await talk(
                    call,
                    speech(),
                    keys=demo.keys,
                    hang_up_after=demo.seconds,
                    hear=hear,
                    speed=speed,
                )
            await handled.wait()
            nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]
        heard.fill(task.session.playout.now)
    files = (recording.path, heard.path, trace.path, app_trace.path)
    faults = tuple(_faults(demo, outcomes, (trace.path, app_trace.path), recording))
    return Played(
        call=demo,
        result=result,
        outcomes=outcomes,
        trace=read_trace_file(trace.path),
        files=files,
        faults=faults,
    )


def _faults(
    demo: DemoCall, outcomes: Outcomes, traces: tuple[Path, ...], recording: WavFile
) -> list[str]:
    """All that went wrong."""
    faults = []
    for path in traces:
        found: list[tuple[int, Violation]] = judge_trace(read_trace_file(path))
        faults += [f"{path.name}, line {number}: {violation}" for number, violation in found]
    for name, expected in demo.expected.items():
        if outcomes.get(name) is not expected:
            came = outcomes[name].value if name in outcomes else "not reported"
            faults.append(f"{name} should have been {expected.value}, it was {came}")
    recorded = recording.path.read_bytes()[GROWING_HEADER:]
    spoken = speech()[: len(recorded)]
    if not recorded.startswith(spoken):
        faults.append("recording.wav differs from the speech")
    return faults
