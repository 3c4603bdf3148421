"""The demo, run as a user would, and what it leaves behind."""

from __future__ import annotations

import array
import base64
import json
import os
import re
import shutil
import signal
import wave
from pathlib import Path

import attrs
import pytest
import trio

from listenproto import Peer, Trace, judge_trace, read_trace
from listenproto.recording import WavFile
from listenproto_trio import _demo as demo_module
from listenproto_trio import cli
from listenproto_trio.speech import speech
from tests.cli_support import Ran, line_with, listenproto, started
from tests.disk_support import make_read_only, small_disk


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    folder = tmp_path_factory.mktemp("demo")
    return listenproto("demo", "--speed", "8", "--out", "out", cwd=folder), folder / "out"


def samples(path: Path) -> array.array[int]:
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (8000, 1, 2)
        return array.array("h", wav.readframes(wav.getnframes()))


def trace(path: Path) -> Trace:
    with open(path, encoding="utf-8") as file:
        return read_trace(file)


def test_the_demo_succeeds_and_names_its_files(
    demo: tuple[Ran, Path],
) -> None:
    run, folder = demo
    assert (run.status, run.err) == (0, "")
    assert "Every message obeyed the protocol" in run.out
    for call in ("streaming", "clips"):
        for name in ("recording.wav", "heard.wav", "trace.jsonl", "trace-app.jsonl"):
            assert f"wrote out/{call}/{name}" in run.out
            assert (folder / call / name).stat().st_size > 0
    assert all(len(line) <= 80 for line in run.out.splitlines())
    assert "◀── playAudio clip-10 wav 6444 B\n" in run.out


def test_the_recording_holds_the_speech_sample_for_sample(
    demo: tuple[Ran, Path],
) -> None:
    spoken = array.array("h", speech())
    recorded = samples(demo[1] / "streaming" / "recording.wav")
    assert recorded[: len(spoken)] == spoken
    assert set(recorded[len(spoken) :]) == {0}


@pytest.mark.parametrize("call", ["streaming", "clips"])
def test_the_caller_heard_what_the_trace_says_where_it_says(
    demo: tuple[Ran, Path], call: str
) -> None:
    heard = samples(demo[1] / call / "heard.wav")
    line = array.array("h")
    for entry in trace(demo[1] / call / "trace.jsonl").lines:
        if entry.sender is Peer.PLATFORM:
            continue
        pcm = b""
        if isinstance(entry.payload, bytes):
            pcm = entry.payload
        elif isinstance(entry.payload, str):
            message = json.loads(entry.payload)
            if message["type"] in ("killAudio", "disconnect"):
                del line[entry.position :]
            elif message["type"] == "playAudio":
                wav = message["data"]["audioContentType"] == "wav"
                pcm = base64.b64decode(message["data"]["audioContent"])[44 if wav else 0 :]
        if pcm:
            line.extend([0] * (entry.position - len(line)))
            line.frombytes(pcm)
    line.extend([0] * (len(heard) - len(line)))
    assert any(line)
    assert heard == line


@pytest.mark.parametrize("call", ["streaming", "clips"])
def test_both_ends_saw_every_message_obey(demo: tuple[Ran, Path], call: str) -> None:
    for name, vantage in (("trace.jsonl", Peer.PLATFORM), ("trace-app.jsonl", Peer.APP)):
        recorded = trace(demo[1] / call / name)
        assert recorded.header.vantage is vantage
        assert judge_trace(recorded) == []
        assert len(recorded.lines) > 100


def texts(recorded: Trace, sender: Peer) -> list[str]:
    return [
        line.payload
        for line in recorded.lines
        if line.sender is sender and isinstance(line.payload, str)
    ]


def test_the_calls_show_what_they_are_to_show(
    demo: tuple[Ran, Path],
) -> None:
    streaming = trace(demo[1] / "streaming" / "trace.jsonl")
    from_platform = "".join(texts(streaming, Peer.PLATFORM))
    assert from_platform.count('"playout"') == 6
    assert from_platform.count('"cleared"') == 3
    assert from_platform.count('"dtmf":"') == 2
    assert "killAudio" in "".join(texts(streaming, Peer.APP))
    clips = trace(demo[1] / "clips" / "trace.jsonl")
    assert sum("playAudio" in text for text in texts(clips, Peer.APP)) == 10
    assert sum("playDone" in text for text in texts(clips, Peer.PLATFORM)) == 10


def test_the_demo_overwrites_nothing(
    demo: tuple[Ran, Path],
) -> None:
    run = listenproto("demo", "--out", str(demo[1]), cwd=demo[1].parent)
    assert run.status == 2
    assert "is not empty" in run.err


def test_the_demo_finds_a_new_folder_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (streaming, _) = demo_module.CALLS
    monkeypatch.setattr(cli.demo, "CALLS", [attrs.evolve(streaming, keys=(), seconds=0.1)])
    for folder in ("listenproto-demo", "listenproto-demo-2"):
        run = listenproto("demo", cwd=tmp_path)
        assert run.out.startswith(f"writing to {folder}\n")
        assert (tmp_path / folder / "streaming" / "heard.wav").exists()


def test_a_demo_that_goes_otherwise_than_it_must_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the caller hangs up at once, while the app is sending: no mark is reached."""
    (streaming, _) = demo_module.CALLS
    monkeypatch.setattr(cli.demo, "CALLS", [attrs.evolve(streaming, keys=(), seconds=0.1)])
    run = listenproto("demo", "--out", "out", cwd=tmp_path)
    assert (run.status, run.complaint) == (1, "something went wrong, see above")
    assert "wrong: echo-2s should have been played, it was not reported\n" in run.out


def test_of_several_failures_the_first_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play_call(*args: object, **options: object) -> None:
        inner = ExceptionGroup("", [OSError("the disk is full"), OSError("no route")])
        raise ExceptionGroup("", [inner, OSError("no route")])

    monkeypatch.setattr(cli.demo, "play_call", play_call)
    run = listenproto("demo", "--out", "out", cwd=tmp_path)
    assert (run.status, run.complaint) == (1, "call 1 of 2, streaming: the disk is full")


def test_a_recording_that_does_not_hold_the_speech_is_a_fault(tmp_path: Path) -> None:
    (_, clips) = demo_module.CALLS
    with WavFile(tmp_path / "recording.wav", 8000) as recording:
        recording.write(speech()[:1600])
        good = demo_module._faults(clips, clips.expected, (), recording)
        recording.write(speech()[:1600])
        bad = demo_module._faults(clips, clips.expected, (), recording)
    assert good == []
    assert bad == ["recording.wav differs from the speech"]


def test_an_interrupt_is_told_in_one_line(tmp_path: Path) -> None:
    with started("demo", "--out", "out", cwd=tmp_path) as process:
        assert line_with(process, "writing to") == "writing to out\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, "listenproto: interrupted")


def test_an_interrupt_loses_nothing_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "streaming"
    recording = folder / "recording.wav"
    with started("demo", "--out", "out", "--speed", "4", cwd=tmp_path) as process:
        while not recording.exists() or recording.stat().st_size < 8000:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "listenproto: interrupted\n")
    said = samples(recording)
    assert len(said) > 3000
    assert array.array("h", speech())[: len(said)] == said
    for name in ("trace.jsonl", "trace-app.jsonl"):
        recorded = trace(folder / name)
        assert judge_trace(recorded) == []
        came = [
            line.payload
            for line in recorded.lines
            if line.sender is Peer.PLATFORM and isinstance(line.payload, bytes)
        ]
        assert b"".join(came).startswith(said.tobytes())
    run = listenproto("recover", recording, folder / "heard.wav", cwd=tmp_path)
    assert run.status == 0
    assert run.out.count("nothing to repair") == 2


def test_an_interrupt_tears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes, it is raised where the demo waits, not in the middle of a task."""
    untorn = []

    async def interrupted(*args: object) -> None:
        signal.raise_signal(signal.SIGINT)
        untorn.append("the app goes on to where it waits")
        await trio.sleep_forever()

    (streaming, _) = demo_module.CALLS
    monkeypatch.setattr(cli.demo, "CALLS", [attrs.evolve(streaming, app=interrupted)])
    run = listenproto("demo", "--out", "out", cwd=tmp_path)
    assert (run.status, run.complaint) == (130, "interrupted")
    assert untorn


def test_a_folder_that_cannot_be_made_is_a_failure_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = listenproto("demo", "--out", "file/out", cwd=tmp_path)
    assert run.status == 1
    assert "Not a directory" in run.complaint


def test_a_full_disk_is_a_failure_in_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        for pages in (0, 8, 12, 15):
            (disk / "big").write_bytes(bytes(4096 * pages))
            out = f"disk/out-{pages}"
            run = listenproto("demo", "--out", out, "--speed", "20", cwd=tmp_path)
            assert (run.status, run.out) == (1, f"writing to {out}\n")
            said = f"call 1 of 2, streaming: {out}/streaming/"
            assert run.complaint.startswith(said)
            assert re.match(
                r"[a-z-]+\.(wav|jsonl): No space left on device",
                run.complaint.removeprefix(said),
            )
            shutil.rmtree(disk / f"out-{pages}")


def test_a_read_only_disk_is_a_failure_in_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        make_read_only(disk)
        run = listenproto("demo", "--out", "disk/out", cwd=tmp_path)
    assert (run.status, run.out) == (1, "writing to disk/out\n")
    assert run.complaint == "call 1 of 2, streaming: disk/out: Read-only file system"


def test_a_trace_that_is_not_whole_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one block for each file: enough for 0.2 s of audio, not for the traces of it."""
    (streaming, _) = demo_module.CALLS
    monkeypatch.setattr(cli.demo, "CALLS", [attrs.evolve(streaming, keys=(), seconds=0.2)])
    with small_disk(tmp_path) as disk:
        free = os.statvfs(disk)
        (disk / "filled").write_bytes(bytes((free.f_bavail - 4) * free.f_bsize))
        run = listenproto("demo", "--out", "disk/out", cwd=tmp_path)
        folder = disk / "out" / "streaming"
        assert samples(folder / "recording.wav")
        assert samples(folder / "heard.wav")
    assert run.status == 1
    assert run.out == "writing to disk/out\n"
    file, why = r"disk/out/streaming/trace(-app)?\.jsonl", "No space left on device: the trace ends"
    assert re.fullmatch(f"call 1 of 1, streaming: {file}: {why} here", run.complaint)
