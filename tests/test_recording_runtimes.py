"""Recordings and traces on each runtime: the same files, and without trio installed as well."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
import trio

from listenproto import (
    FLICKS,
    Answering,
    Audio,
    CallEnded,
    Ending,
    EndKind,
    KillAudio,
    Mark,
    Message,
    Mode,
    Peer,
    TraceHeader,
    judge_trace,
)
from listenproto.asyncio import Call as AsyncioCall
from listenproto.recording import (
    HeardWav,
    Recorder,
    Recording,
    TraceFile,
    read_trace_file,
    recover_wav,
)
from listenproto.recording._call import how_it_ended
from listenproto_trio import Call
from tests import asyncio_support, both_support, trio_support
from tests.asyncio_support import MemoryPlatform
from tests.both_support import AFTER, Stall, counted, sides_of, without
from tests.call_support import ATTRIBUTES, RATE, STREAM, audio
from tests.recording_support import FILES, end_of, heard_in, names_in, sidecar_of

# One call on each.

SAID = counted(16)
STALL = Stall(3, 1.5, lost=True)
SCRIPT: list[tuple[float, Message]] = [
    (0.0, Audio(audio(0.3, 5))),
    (1.0, Audio(audio(1, 6))),
    (1.0, Mark("in between")),
    (1.0, Audio(audio(3, 7))),
    (3.5, KillAudio()),
    (3.6, Audio(audio(2, 8))),
    (15.5, Audio(audio(9, 9))),
]
"""What the app sends, and when: some of it while the platform's audio stays away."""
KEY = 15 * RATE * 2
"""Bytes of what is said before a key is pressed."""
ROOT = Path(__file__).parent.parent
HEADER = TraceHeader(vantage=Peer.APP, way=Mode.STREAMING)


@contextmanager
def recordings(folder: Path, call: Any, **options: Any) -> Iterator[list[Recording]]:
    recorders = [
        Recorder(folder / "both", both=True, fill_gaps=True, **options),
        Recorder(folder / "plain", **options),
    ]
    with ExitStack() as stack:
        yield [stack.enter_context(recorder.record(call)) for recorder in recorders]


@trio_support.virtual
async def on_trio(folder: Path) -> None:
    async def send(call: Call) -> None:
        start = trio.current_time()
        for at, message in SCRIPT:
            await trio.sleep_until(start + at + AFTER)
            await call.send(message)

    async def handler(call: Call) -> None:
        trace.position = lambda: call.session.samples_received
        with recordings(folder, call, clock=trio.current_time) as files:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, call)
                async for event in call:
                    for recording in files:
                        recording.take(event)

    trace = TraceFile(folder / "trace.jsonl", HEADER, clock=trio.current_time)
    answering = Answering(verb=STREAM, unread="hold", tap=lambda session: trace)
    with HeardWav(folder / "heard.wav", RATE) as heard:
        async with trio_support.calling(handler, STREAM, answering=answering) as platform:
            await both_support.talk(platform, SAID[:KEY], STALL, hear=heard.hear)
            platform.key("5")
            await both_support.talk(platform, SAID[KEY:], hear=heard.hear)
        heard.fill(16 * FLICKS)
    trace.close()


@asyncio_support.virtual
async def on_asyncio(folder: Path) -> None:
    async def send(call: AsyncioCall) -> None:
        start = clock()
        for at, message in SCRIPT:
            await asyncio_support.sleep_until(start + at + AFTER)
            await call.send(message)

    async def handler(call: AsyncioCall) -> None:
        trace.position = lambda: call.session.samples_received
        with recordings(folder, call, clock=clock) as files:
            async with asyncio.TaskGroup() as group:
                group.create_task(send(call))
                async for event in call:
                    for recording in files:
                        recording.take(event)

    def lost(at: float) -> bool:
        return STALL.start <= at < STALL.start + STALL.seconds

    clock = asyncio.get_running_loop().time
    trace = TraceFile(folder / "trace.jsonl", HEADER, clock=clock)
    answering = Answering(verb=STREAM, unread="hold", tap=lambda session: trace)
    with HeardWav(folder / "heard.wav", RATE) as heard:
        async with asyncio_support.calling(handler, STREAM, answering=answering) as platform:
            await asyncio_support.talk(platform, SAID[:KEY], lost=lost, hear=heard.hear)
            platform.key("5")
            await asyncio_support.talk(platform, SAID[KEY:], hear=heard.hear)
        heard.fill(16 * FLICKS)
    trace.close()


RUNTIMES = {"trio": on_trio, "asyncio": on_asyncio}
Folders: TypeAlias = dict[str, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The files of the call on each runtime."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RUNTIMES}
    for name, record in RUNTIMES.items():
        record(folder=folders[name])
    return folders


each_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


@each_runtime
def test_a_call_is_recorded(folders: Folders, runtime: str) -> None:
    assert heard_in(folders[runtime] / "plain" / FILES[1]) == without(SAID, [STALL])
    about = sidecar_of(folders[runtime] / "plain")
    assert about["metadata"] == ATTRIBUTES
    lost = round(STALL.seconds * RATE)
    assert about["keys"] == [{"digit": "5", "duration": 800, "at": KEY // 2 - lost}]
    end = about["end"]
    assert (end["how"], end["code"], end["samples"]) == ("closed", 1000, 16 * RATE - lost)


@each_runtime
def test_both_sides_stand_together(folders: Folders, runtime: str) -> None:
    heard = heard_in(folders[runtime] / "heard.wav")
    recorded = sides_of(folders[runtime] / "both")
    assert recorded == (without(SAID, [STALL], fill=bytes(2)), heard)
    assert heard.count(audio(1, 6) + audio(1.5, 7)) == 1
    (gap,) = end_of(folders[runtime] / "both")["gaps"]
    assert (gap["at"], gap["seconds"], gap["why"]) == (3 * RATE, 1.5, "not received")


@each_runtime
def test_a_trace_obeys_the_protocol(folders: Folders, runtime: str) -> None:
    trace = read_trace_file(folders[runtime] / "trace.jsonl")
    assert judge_trace(trace) == []
    (spoken,) = [line for line in trace.lines if line.payload == audio(1, 6)]
    assert (spoken.at, spoken.position) == (1_000_001, RATE)


def test_the_files_are_the_same_on_each_runtime(folders: Folders) -> None:
    def found(runtime: str) -> dict[str, object]:
        files: dict[str, object] = {}
        for path in folders[runtime].rglob("*.*"):
            name = str(path.relative_to(folders[runtime]))
            files[name] = path.read_bytes()
            if path.suffix == ".json":
                files[name] = about = json.loads(path.read_text("utf-8"))
                del about["startedAt"], about["end"]["endedAt"]
        return files

    first, second = map(found, RUNTIMES)
    assert len(first) == 6
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# How calls end on asyncio; how they end on trio is in test_trio_recorder.

Handler: TypeAlias = Callable[[AsyncioCall, Recording], Awaitable[None]]


async def read(call: AsyncioCall, recording: Recording) -> None:
    async for event in call:
        recording.take(event)


async def disconnect(call: AsyncioCall, recording: Recording) -> None:
    await call.disconnect()
    await read(call, recording)


async def fail(call: AsyncioCall, recording: Recording) -> None:
    recording.take(await anext(call))
    raise ValueError("the password is wordpass")


async def leave(call: AsyncioCall, recording: Recording) -> None:
    recording.take(await anext(call))


async def send_only(call: AsyncioCall, recording: Recording) -> None:
    recording.take(await anext(call))
    await asyncio.sleep(1)
    await call.send_audio(audio(1))


def recording_with(folder: Path, handle: Handler) -> Callable[[AsyncioCall], Awaitable[None]]:
    async def record(call: AsyncioCall) -> None:
        with suppress(ValueError, CallEnded), Recorder(folder).record(call) as recording:
            await handle(call, recording)

    return record


@pytest.mark.parametrize(
    ("handler", "end", "how", "error"),
    [
        (read, MemoryPlatform.hang_up, "closed", None),
        (read, MemoryPlatform.lose, "lost", None),
        (disconnect, MemoryPlatform.changed, "disconnected", None),
        (fail, MemoryPlatform.changed, "failed", "ValueError"),
        (leave, MemoryPlatform.changed, "left", None),
        (send_only, MemoryPlatform.lose, "lost", None),
    ],
)
def test_a_call_ends(
    tmp_path: Path,
    handler: Handler,
    end: Callable[[MemoryPlatform], None],
    how: str,
    error: str | None,
) -> None:
    @asyncio_support.virtual
    async def run() -> None:
        record = recording_with(tmp_path, handler)
        async with asyncio_support.calling(record, STREAM) as platform:
            await asyncio_support.talk(platform, audio(0.1))
            end(platform)

    run()
    assert names_in(tmp_path) == FILES
    noted = end_of(tmp_path)
    assert (noted["how"], noted["error"]) == (how, error)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (EndKind.CLOSED, "closed"),
        (EndKind.LEFT, "left"),
        (EndKind.LOST, "lost"),
        (EndKind.PROTOCOL_ERROR, "protocol error"),
        (EndKind.FAILED, "failed"),
        (EndKind.CUT, "cancelled"),
        (EndKind.CANCELLED, "cancelled"),
    ],
)
def test_each_end_of_a_call_has_its_word(kind: EndKind, how: str) -> None:
    call = SimpleNamespace(end=Ending(kind, "for a reason"), disconnected=False)
    assert how_it_ended(call, CallEnded())["how"] == how


def test_a_disconnect_counts_before_its_answer() -> None:
    call = SimpleNamespace(end=None, disconnected=True)
    assert how_it_ended(call, None)["how"] == "disconnected"


@asyncio_support.virtual
async def test_a_cancelled_handler_is_on_record(tmp_path: Path) -> None:
    calls: list[AsyncioCall] = []

    async def handle(call: AsyncioCall, recording: Recording) -> None:
        calls.append(call)
        await read(call, recording)

    platform = MemoryPlatform(STREAM)
    record = recording_with(tmp_path, handle)
    answering = Answering(mode=STREAM.mode())
    handling = asyncio.create_task(
        asyncio_support.serve(record, platform.socket, answering=answering)
    )
    await asyncio_support.talk(platform, audio(0.1))
    await asyncio.sleep(1)
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    end = end_of(tmp_path)
    assert (end["how"], end["samples"], calls[0].watchers) == ("cancelled", RATE // 10, [])


@asyncio_support.virtual
async def test_audio_from_before_the_recording_has_nothing_beside_it(tmp_path: Path) -> None:
    said = asyncio.Event()

    async def record(call: AsyncioCall) -> None:
        await said.wait()
        with Recorder(tmp_path, both=True).record(call) as recording:
            await call.send_audio(audio(0.2, 7))
            for _ in range(10):
                recording.take(await anext(call))

    async with asyncio_support.calling(record, STREAM) as platform:
        await asyncio_support.talk(platform, audio(0.1, 3))
        said.set()
        await asyncio_support.talk(platform, audio(0.1, 4))
    assert sides_of(tmp_path) == (audio(0.1, 3) + audio(0.1, 4), audio(0.1, 0) + audio(0.1, 7))


# Where trio is not installed.

RECORDS = """
import asyncio, os, signal, sys
from pathlib import Path

sys.modules["trio"] = None  # importing it fails, as if it were not installed

from listenproto import Answering, Mode, Peer, TraceHeader
from listenproto.asyncio import answer
from listenproto.recording import Recorder, TraceFile
from tests.asyncio_support import MemoryPlatform
from tests.call_support import STREAM, audio

async def record(folder, both):
    trace = TraceFile(folder / "trace.jsonl", TraceHeader(vantage=Peer.APP, way=Mode.STREAMING))
    platform = MemoryPlatform(STREAM)
    answering = Answering(verb=STREAM, tap=lambda session: trace)
    async with answer(platform.socket, answering=answering) as call:
        with Recorder(folder, both=both).record(call) as recording:
            await call.send_audio(audio(2, 7))
            for number in range(75):
                platform.play(14_112_000)
                await platform.capture(audio(0.02, number))
                recording.take(await anext(call))
            platform.key("5")
            recording.take(await anext(call))
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(record(Path(sys.argv[1]), bool(sys.argv[2])))
"""


@pytest.mark.parametrize("both", [False, True])
def test_without_trio_a_call_outlives_its_process(tmp_path: Path, both: bool) -> None:
    options = [str(tmp_path), "both" if both else ""]
    python = [sys.executable, "-W", "error", "-c", RECORDS, *options]
    run = subprocess.run(python, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (-9, "")
    said = b"".join(audio(0.02, number) for number in range(75))
    recovered = recover_wav(tmp_path / FILES[1])
    assert (recovered.samples, recovered.channels) == (len(said) // 2, 2 if both else 1)
    if both:
        assert sides_of(tmp_path)[0] == said
    else:
        assert heard_in(recovered.path) == said
    about = sidecar_of(tmp_path)
    assert ([key["digit"] for key in about["keys"]], about["end"]) == (["5"], None)
    trace = read_trace_file(tmp_path / "trace.jsonl")
    assert judge_trace(trace) == []
    came = [line.payload for line in trace.lines if isinstance(line.payload, bytes)]
    assert b"".join(came[1:]) == said  # the first is what the app sent
