"""The command as a whole: its help, its complaints, ``lint`` and ``recover``."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

import pytest

from listenproto._wav import wav_header
from listenproto_trio import WavFile
from tests.cli_support import line_with, listenproto, started
from tests.differing import first_difference

COMMANDS = ["demo", "serve", "call", "lint", "recover"]

GOOD = [
    '{"trace":1,"vantage":"app","profile":"documented","mode":"clips","attributes":{}}',
    '{"at":0,"from":"app","position":0,"open":true}',
    '{"at":0,"from":"platform","position":0,"text":"{\\"callSid\\":\\"c\\",\\"sampleRate\\":8000}"}',
    '{"at":20000,"from":"platform","position":160,"bytes":320}',
    '{"at":40000,"from":"platform","position":160,"close":1000,"reason":""}',
    '{"at":40000,"from":"app","position":160,"close":1000,"reason":""}',
]
DTMF = (
    '{"at":30000,"from":"platform","position":160,'
    '"text":"{\\"event\\":\\"dtmf\\",\\"dtmf\\":\\"5\\"}"}'
)
FULL = "No space left on device\n"
TWICE = [*GOOD[:3], *GOOD[2:]]


def test_the_command_alone_shows_its_help(tmp_path: Path) -> None:
    run = listenproto(cwd=tmp_path)
    assert run.status == 2
    assert "Usage: listenproto" in run.err


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_every_help_shows_an_example_within_80_columns(words: list[str], tmp_path: Path) -> None:
    run = listenproto(*words, "--help", cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert "Example" in run.out
    assert all(len(line) <= 80 for line in run.out.splitlines())


@pytest.mark.parametrize("name", ["demo", "serve", "call"])
def test_every_help_tells_defaults_in_one_way(name: str, tmp_path: Path) -> None:
    said = " ".join(listenproto(name, "--help", cwd=tmp_path).out.split())
    assert len(re.findall("default:", said, re.IGNORECASE)) == said.count(" [default: ") > 0


def test_the_version_is_told(tmp_path: Path) -> None:
    run = listenproto("--version", cwd=tmp_path)
    assert run.status == 0
    assert "version" in run.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "--speed", "0"], "--speed"),
        (["demo", "--speed", "fast"], "fast"),
        (["demo", "--loud"], "--loud"),
        (["sing"], "sing"),
        (["lint"], "TRACE"),
        (["lint", "nowhere.jsonl"], "nowhere.jsonl"),
        (["recover"], "FILE"),
        (["recover", "nowhere.wav"], "nowhere.wav"),
        *(
            ([*words, ""], f"Invalid value for {option}: it is empty; name a {kind}")
            for words, option, kind in (
                (["lint"], "TRACE...", "file"),
                (["recover"], "FILE...", "file"),
                (["demo", "--out"], "--out", "folder"),
                (["serve", "--record"], "--record", "folder"),
                (["serve", "--trace"], "--trace", "folder"),
                (["serve", "--play"], "--play", "file"),
                (["call", "ws://app.example", "--trace"], "--trace", "file"),
                (["call", "ws://app.example", "--heard"], "--heard", "file"),
            )
        ),
    ],
)
def test_misuse_is_told_in_words_and_ends_with_2(
    words: list[str], says: str, tmp_path: Path
) -> None:
    run = listenproto(*words, cwd=tmp_path)
    assert run.status == 2
    assert says in run.complaint
    assert list(tmp_path.iterdir()) == []


def trace(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_lint_finds_nothing_in_a_good_trace(tmp_path: Path) -> None:
    run = listenproto("lint", trace(tmp_path, "good.jsonl", GOOD).name, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert run.out == "good.jsonl: 4 messages, seen by the app: no breaches\n"


def test_lint_names_line_clause_and_sentence(tmp_path: Path) -> None:
    trace(tmp_path, "twice.jsonl", TWICE)
    run = listenproto("lint", "twice.jsonl", cwd=tmp_path)
    assert (run.status, run.err) == (1, "")
    assert run.out.startswith("twice.jsonl:4: platform: LP-META-4: ")
    assert run.out.endswith(": 1 breach\n")


def test_lint_tells_what_went_wrong_without_a_breach(tmp_path: Path) -> None:
    error = '{"at":30000,"from":"app","position":160,"text":"{\\"type\\":\\"error\\"}"}'
    header = GOOD[0].replace("documented", "deployed")
    trace(tmp_path, "error.jsonl", [header, *GOOD[1:4], error, *GOOD[4:]])
    run = listenproto("lint", "error.jsonl", cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    told, count = run.out.splitlines()
    reason = "'error' ends the verb, but not the connection; send a disconnect instead"
    assert told == f"error.jsonl:5: app: note: {reason}"
    assert count.endswith(": no breaches, 1 note")
    (note,) = json.loads(listenproto("lint", "--json", "error.jsonl", cwd=tmp_path).out)["notes"]
    assert note == {"line": 5, "sender": "app", "reason": reason}


def test_lint_shows_the_ladder_of_a_call(tmp_path: Path) -> None:
    trace(tmp_path, "good.jsonl", GOOD)
    run = listenproto("lint", "-v", "good.jsonl", cwd=tmp_path)
    assert "   0.000  metadata 8000 Hz               ──▶\n" in run.out
    assert run.out.endswith("no breaches\n")


def test_lint_tells_programs_the_same(tmp_path: Path) -> None:
    for name, lines in (("good.jsonl", GOOD), ("twice.jsonl", TWICE), ("empty.jsonl", [])):
        trace(tmp_path, name, lines)
    run = listenproto("lint", "--json", "good.jsonl", "twice.jsonl", "empty.jsonl", cwd=tmp_path)
    assert run.status == 1
    good, twice, empty = map(json.loads, run.out.splitlines())
    assert good == {
        "trace": "good.jsonl",
        "vantage": "app",
        "messages": 4,
        "unfinished": False,
        "breaches": [],
        "notes": [],
    }
    (breach,) = twice["breaches"]
    assert (breach["line"], breach["sender"], breach["clause"]) == (4, "platform", "LP-META-4")
    assert "line 1: the header is missing" in empty["error"]


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_lint_calls_a_trace_without_an_end_unfinished(kept: int, tmp_path: Path) -> None:
    lines = [line for line in GOOD if '"close"' not in line][:kept]
    path = trace(tmp_path, "left.jsonl", lines)
    run = listenproto("lint", path.name, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert run.out.endswith(", seen by the app: no breaches; unfinished: no close\n")
    run = listenproto("lint", "--json", path.name, cwd=tmp_path)
    assert (run.status, json.loads(run.out)["unfinished"]) == (0, True)
    lost = '{"at":50000,"from":"platform","position":0,"lost":true}'
    trace(tmp_path, "lost.jsonl", [*lines, lost])
    run = listenproto("lint", "lost.jsonl", cwd=tmp_path)
    assert (run.status, run.out.endswith(": no breaches\n")) == (0, True)


def test_lint_calls_a_breach_a_breach_in_an_unfinished_trace(tmp_path: Path) -> None:
    trace(tmp_path, "twice.jsonl", TWICE[:4])
    run = listenproto("lint", "twice.jsonl", cwd=tmp_path)
    assert (run.status, run.err) == (1, "")
    assert run.out.endswith(": 1 breach; unfinished: no close\n")


def test_lint_says_what_is_no_trace_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "text.jsonl").write_text("hello\n")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\0")
    good = trace(tmp_path, "good.jsonl", GOOD).name
    names = ["empty.jsonl", "text.jsonl", "binary.jsonl"]
    run = listenproto("lint", *names, good, cwd=tmp_path)
    assert run.status == 1
    assert [error.split(": ")[:2] for error in run.err.splitlines()] == [
        ["listenproto", name] for name in names
    ]
    assert run.out.endswith("no breaches\n")


@pytest.mark.parametrize("left", [1, 20, -1])
def test_lint_judges_a_trace_up_to_where_it_was_cut(left: int, tmp_path: Path) -> None:
    cut = trace(tmp_path, "cut.jsonl", [*TWICE[:-1], TWICE[-1][:left]])
    cut.write_bytes(cut.read_bytes().rstrip(b"\n"))
    good = trace(tmp_path, "good.jsonl", GOOD).name
    run = listenproto("lint", "-v", "cut.jsonl", good, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.startswith("cut.jsonl: cut off at line 7: not valid JSON: ")
    assert (
        "   0.040  close 1000                     ──▶\ncut.jsonl:4: platform: LP-META-4: "
        in run.out
    )
    judged = "4 messages, seen by the app, judged up to line 6: 1 breach"
    assert f"\ncut.jsonl: {judged}\n" in run.out
    assert run.out.endswith("good.jsonl: 4 messages, seen by the app: no breaches\n")
    run = listenproto("lint", "--json", "cut.jsonl", cwd=tmp_path)
    told = json.loads(run.out)
    assert (run.status, told["messages"], len(told["breaches"])) == (1, 4, 1)
    assert not told["unfinished"]  # the end of the connection comes before the cut
    assert run.err.endswith(f"\nlistenproto: cut.jsonl: {told['error']}\n")


def test_lint_fails_a_cut_trace_without_breaches(tmp_path: Path) -> None:
    path = trace(tmp_path, "cut.jsonl", [*GOOD[:-1], GOOD[-1][:20]])
    path.write_bytes(path.read_bytes().rstrip())
    run = listenproto("lint", path.name, cwd=tmp_path)
    judged = "3 messages, seen by the app, judged up to line 5: no breaches"
    assert (run.status, run.out) == (1, f"cut.jsonl: {judged}\n")
    said = "not valid JSON: Unterminated string at character 20"
    assert run.complaint == f"cut.jsonl: cut off at line 6: {said}"


def test_lint_calls_a_trace_unfinished_that_was_cut_before_its_end(tmp_path: Path) -> None:
    path = trace(tmp_path, "cut.jsonl", [*GOOD[:3], GOOD[3][:20]])
    path.write_bytes(path.read_bytes().rstrip())
    run = listenproto("lint", "--json", path.name, cwd=tmp_path)
    told = json.loads(run.out)
    assert (run.status, told["unfinished"]) == (1, True)
    assert told["error"].startswith("cut off at line 4: ")


@pytest.mark.parametrize("more", [GOOD[4:], []], ids=["in the middle", "at the end"])
def test_lint_names_a_line_that_is_wrong_and_whole(more: list[str], tmp_path: Path) -> None:
    trace(tmp_path, "odd.jsonl", [*GOOD[:3], GOOD[3].replace("platform", "nobody"), *more])
    run = listenproto("lint", "odd.jsonl", cwd=tmp_path)
    judged = "1 message, seen by the app, judged up to line 3"
    assert (run.status, run.out) == (1, f"odd.jsonl: {judged}: no breaches\n")
    said = "line 4: 'from' must be 'platform' or 'app'; it is 'nobody'"
    assert run.complaint == f"odd.jsonl: {said}"


def test_recover_mends_what_was_cut_short(tmp_path: Path) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes(wav_header(0, 8000) + bytes(16001))
    with WavFile(tmp_path / "whole.wav", 8000) as whole:
        whole.write(bytes(8000))
    (tmp_path / "short.wav").write_bytes(wav_header(16000, 8000) + bytes(4000))
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "half.wav").write_bytes(wav_header(16000, 8000) + bytes(16001))
    names = ["cut.wav", "whole.wav", "short.wav", "half.wav", "text.wav"]
    run = listenproto("recover", *names, cwd=tmp_path)
    assert run.status == 1
    assert run.out.splitlines() == [
        "cut.wav: 1.00 s of audio: repaired: the header was 8000 samples short; "
        "removed 1 byte of an incomplete sample",
        "whole.wav: 0.50 s of audio: nothing to repair",
        "short.wav: 0.25 s of audio: repaired: the header was 6000 samples too long",
        "half.wav: 1.00 s of audio: repaired; removed 1 byte of an incomplete sample",
    ]
    assert run.complaint.startswith("text.wav cannot be repaired: this is not a WAV file")
    assert not first_difference(cut.read_bytes(), wav_header(16000, 8000) + bytes(16000))
    again = listenproto("recover", "--json", "cut.wav", "text.wav", cwd=tmp_path)
    mended, failed = map(json.loads, again.out.splitlines())
    assert (mended["mended"], mended["samples"], mended["claimed"]) == (False, 8000, 8000)
    assert failed["file"] == "text.wav"
    assert "RIFF" in failed["error"]


def test_recover_goes_on_behind_a_header_that_is_nonsense(tmp_path: Path) -> None:
    for name, rate, channels in (("rate.wav", 2**31, 1), ("channels.wav", 8000, 65535)):
        form = struct.pack("<HHIIHH", 1, channels, rate, 0, 0, 16)
        (tmp_path / name).write_bytes(wav_header(0, 8000)[:20] + form + b"data" + bytes(4000))
    (tmp_path / "cut.wav").write_bytes(wav_header(0, 8000) + bytes(16000))
    run = listenproto("recover", "rate.wav", "channels.wav", "cut.wav", cwd=tmp_path)
    assert run.status == 1
    assert run.err.splitlines() == [
        f"listenproto: {name}.wav cannot be repaired: its header says {said}; "
        "no recording has that many"
        for name, said in (
            ("rate", "1 channel at 2147483648 Hz"),
            ("channels", "65535 channels at 8000 Hz"),
        )
    ]
    assert run.out.startswith("cut.wav: 1.00 s of audio: repaired")
    assert {(tmp_path / name).stat().st_size for name in ("rate.wav", "channels.wav")} == {4040}


def test_an_interrupt_of_lint_is_told_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.jsonl")
    with started("lint", "endless.jsonl", cwd=tmp_path) as process:
        with open(tmp_path / "endless.jsonl", "w") as endless:
            endless.write("x" * 2**20)  # more than a pipe holds: until it is being read
            endless.flush()
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (130, "", "listenproto: interrupted")


def test_an_interrupt_of_recover_leaves_each_file_mended_or_as_it_was(tmp_path: Path) -> None:
    """Here it has more to say than a pipe holds, so that it cannot end before."""
    cut = wav_header(0, 8000) + bytes(160)
    names = [f"{number}.wav" for number in range(2000)]
    for name in names:
        (tmp_path / name).write_bytes(cut)
    with started("recover", *names, cwd=tmp_path) as process:
        line_with(process, "0.wav: ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err.strip()) == (130, "listenproto: interrupted")
    mended = wav_header(160, 8000) + bytes(160)
    found = [(tmp_path / name).read_bytes() for name in names]
    number = found.count(mended)
    assert 0 < number < len(names)
    assert found == [mended] * number + [cut] * (len(names) - number)


@contextmanager
def full_disk() -> Iterator[IO[str]]:
    with open("/dev/full", "w") as out:
        yield out


@contextmanager
def who_reads_a_line() -> Iterator[IO[str]]:
    with Popen(["head", "-n", "1"], stdin=PIPE, stdout=DEVNULL, text=True) as head:
        yield head.stdin


@pytest.mark.parametrize(
    ("takes", "status", "says"), [(who_reads_a_line, 0, ""), (full_disk, 1, FULL)]
)
@pytest.mark.parametrize(
    "words", ["lint -v long.jsonl", "lint --json long.jsonl", "recover whole.wav", "--help"]
)
def test_output_that_nobody_takes(
    words: str,
    takes: Callable[[], AbstractContextManager[IO[str]]],
    status: int,
    says: str,
    tmp_path: Path,
) -> None:
    long = [line for text in ("5", "6") for line in (DTMF.replace("5", text),)] * 1000
    trace(tmp_path, "long.jsonl", [*GOOD[:3], *long, *GOOD[4:]])
    WavFile(tmp_path / "whole.wav", 8000).close()
    with takes() as out, started(*words.split(), cwd=tmp_path, out=out) as command:
        out.close()
        _, complaints = command.communicate()
    assert command.returncode == status
    assert says in complaints
    assert "Traceback" not in complaints
