"""The demo and lint, run as a user would, and what the demo leaves behind."""

from __future__ import annotations

import array
import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import attrs
import pytest
import trio

from listenproto import Peer, Trace, judge_trace, read_trace
from listenproto_trio import cli
from listenproto_trio import demo as demo_module
from listenproto_trio.recording import WavFile
from listenproto_trio.speech import speech

ROOT = Path(__file__).parent.parent


def listenproto(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-W", "error", "-m", "listenproto_trio.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
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
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    run, folder = demo
    assert (run.returncode, run.stderr) == (0, "")
    assert "Every message obeyed the protocol" in run.stdout
    for call in ("streaming", "clips"):
        for name in ("recording.wav", "heard.wav", "trace.jsonl", "trace-app.jsonl"):
            assert f"wrote out/{call}/{name}" in run.stdout
            assert (folder / call / name).stat().st_size > 0
    assert all(len(line) <= 80 for line in run.stdout.splitlines())


def test_the_recording_holds_the_speech_sample_for_sample(
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    spoken = array.array("h", speech())
    recorded = samples(demo[1] / "streaming" / "recording.wav")
    assert recorded[: len(spoken)] == spoken
    assert set(recorded[len(spoken) :]) == {0}


@pytest.mark.parametrize("call", ["streaming", "clips"])
def test_the_caller_heard_what_the_trace_says_where_it_says(
    demo: tuple[subprocess.CompletedProcess[str], Path], call: str
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
def test_both_ends_saw_every_message_obey(
    demo: tuple[subprocess.CompletedProcess[str], Path], call: str
) -> None:
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
    demo: tuple[subprocess.CompletedProcess[str], Path],
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
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    run = listenproto("demo", "--out", str(demo[1]), cwd=demo[1].parent)
    assert run.returncode == 2
    assert "is not empty" in run.stderr


def test_the_demo_finds_a_new_folder_each_time(tmp_path: Path) -> None:
    for folder in ("listenproto-demo", "listenproto-demo-2"):
        run = listenproto("demo", "--speed", "20", cwd=tmp_path)
        assert run.returncode == 0
        assert run.stdout.startswith(f"writing to {folder}\n")
        assert (tmp_path / folder / "clips" / "heard.wav").exists()


def test_a_demo_that_goes_otherwise_than_it_must_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the caller hangs up at once, while the app is sending: no mark is reached."""
    (streaming, _) = demo_module.CALLS
    monkeypatch.setattr(cli, "CALLS", [attrs.evolve(streaming, keys=(), seconds=0.1)])
    monkeypatch.setattr(sys, "argv", ["listenproto", "demo", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    said, failed = capsys.readouterr()
    assert "wrong: echo-2s was to be played, it was None\n" in said
    assert failed == "listenproto: not everything went as it must, see above\n"


def test_of_several_failures_the_first_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play_call(*args: object, **options: object) -> None:
        inner = ExceptionGroup("", [OSError("the disk is full"), OSError("no route")])
        raise ExceptionGroup("", [inner, OSError("no route")])

    monkeypatch.setattr(cli, "play_call", play_call)
    monkeypatch.setattr(sys, "argv", ["listenproto", "demo", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert capsys.readouterr().err == "listenproto: call 1 of 2, streaming: the disk is full\n"


def test_a_recording_that_does_not_hold_the_speech_is_a_fault(tmp_path: Path) -> None:
    (_, clips) = demo_module.CALLS
    with WavFile(tmp_path / "recording.wav", 8000) as recording:
        recording.write(speech()[:1600])
        good = demo_module._faults(clips, clips.expected, (), recording)
        recording.write(speech()[:1600])
        bad = demo_module._faults(clips, clips.expected, (), recording)
    assert good == []
    assert bad == ["recording.wav does not hold the speech sample for sample"]


def test_the_command_alone_shows_its_help(tmp_path: Path) -> None:
    run = listenproto(cwd=tmp_path)
    assert run.returncode == 2
    assert "Usage: listenproto" in run.stderr


def test_what_the_command_says_may_go_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it cannot be told what to do with arrows."""
    monkeypatch.setattr(sys, "argv", ["listenproto", "--version"])
    with pytest.raises(SystemExit) as left, contextlib.redirect_stdout(io.StringIO()) as said:
        cli.main()
    assert left.value.code == 0
    assert "version" in said.getvalue()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "--speed", "0"], "--speed"),
        (["demo", "--speed", "fast"], "fast"),
        (["demo", "--loud"], "--loud"),
        (["sing"], "sing"),
        (["lint"], "TRACE"),
        (["lint", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_misuse_is_told_in_words_and_ends_with_2(
    words: list[str], says: str, tmp_path: Path
) -> None:
    run = listenproto(*words, cwd=tmp_path)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert line.startswith("listenproto: ")
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_told_in_one_line(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "listenproto_trio.cli", "demo", "--out", "out"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing to out\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, "listenproto: interrupted")


def test_an_interrupt_tears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it comes, it is raised where the demo waits, not in the middle of a task."""
    untorn = []

    async def interrupted(*args: object) -> None:
        signal.raise_signal(signal.SIGINT)
        untorn.append("the app goes on to where it waits")
        await trio.sleep_forever()

    (streaming, _) = demo_module.CALLS
    monkeypatch.setattr(cli, "CALLS", [attrs.evolve(streaming, app=interrupted)])
    monkeypatch.setattr(sys, "argv", ["listenproto", "demo", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130
    assert capsys.readouterr().err.strip() == "listenproto: interrupted"
    assert untorn


def test_a_folder_that_cannot_be_made_is_a_failure_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = listenproto("demo", "--out", "file/out", cwd=tmp_path)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert "Not a directory" in line


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["lint", "--help"]])
def test_every_help_shows_an_example(words: list[str], tmp_path: Path) -> None:
    run = listenproto(*words, cwd=tmp_path)
    assert run.returncode == 0
    assert "Example" in run.stdout


def test_lint_finds_nothing_in_the_demo(
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    run = listenproto("lint", "streaming/trace.jsonl", "clips/trace-app.jsonl", cwd=demo[1])
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.endswith("no breaches") for line in lines)


def test_lint_names_line_clause_and_sentence(
    demo: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    header, opened, metadata, *rest = (demo[1] / "clips" / "trace.jsonl").read_text().splitlines()
    twice = tmp_path / "twice.jsonl"
    twice.write_text("\n".join([header, opened, metadata, metadata, *rest]))
    run = listenproto("lint", "twice.jsonl", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stdout.startswith("twice.jsonl:4: platform: LP-META-4: ")
    assert run.stdout.endswith(": 1 breach\n")


def test_lint_says_what_is_no_trace_and_goes_on(
    demo: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "text.jsonl").write_text("hello\n")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\0")
    good = str(demo[1] / "clips" / "trace.jsonl")
    names = ["empty.jsonl", "text.jsonl", "binary.jsonl"]
    run = listenproto("lint", *names, good, cwd=tmp_path)
    assert run.returncode == 1
    errors = run.stderr.splitlines()
    assert [error.split(":")[0] for error in errors] == names
    assert run.stdout.endswith("no breaches\n")
