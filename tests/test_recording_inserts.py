"""WAV files into which silence is put later, and over which audio is written again."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from listenproto.recording import WavFile, recover_wav
from listenproto.recording._wav_file import CHUNK
from tests.call_support import RATE, audio
from tests.disk_support import files_up_to, small_disk
from tests.recording_support import COUNTED, HEADER, heard_in

FRAMES = CHUNK // 4
"""Of two channels, in what is moved at a time."""


def frames_in(pcm: bytes) -> set[int]:
    return {number for (number,) in struct.iter_unpack("<I", pcm)}


@pytest.mark.parametrize(
    ("length", "at", "samples"),
    [
        (100, 0, 1),
        (100, 99, 1),
        (100, 50, 60),
        (100, 50, 20),
        (RATE, 10, 5 * RATE),
        (3 * FRAMES, 1, FRAMES),
        (3 * FRAMES + 7, FRAMES, FRAMES + 5),
        (3 * FRAMES, FRAMES, 2 * FRAMES),
        (2 * FRAMES, 5, 100),
    ],
)
def test_silence_is_put_in_front_of_a_sample(
    tmp_path: Path, length: int, at: int, samples: int
) -> None:
    said = COUNTED[: 4 * length]
    with WavFile(tmp_path / "recording.wav", RATE, 2) as file:
        file.write(said)
        file.insert(at, samples)
        assert file.samples == length + samples
        file.write(b"\1\2\3\4")
        assert file.read(at, samples) == bytes(4 * samples)
    expected = said[: 4 * at] + bytes(4 * samples) + said[4 * at :] + b"\1\2\3\4"
    assert heard_in(file.path, 2) == expected


def test_hours_of_silence_take_no_room(tmp_path: Path) -> None:
    hours = 10 * 3600 * RATE
    with WavFile(tmp_path / "recording.wav", RATE) as file:
        file.write(audio(1, 1) + audio(1, 2))
        file.insert(RATE, hours)
    assert file.path.stat().st_size == HEADER + 2 * (hours + 2 * RATE)
    assert file.path.stat().st_blocks * 512 < 2**20  # a hole, where the file system has them
    with open(file.path, "rb") as heard:
        assert heard.read(HEADER + 32000)[HEADER:] == audio(1, 1) + audio(1, 0)
        heard.seek(-32000, 2)
        assert heard.read() == audio(1, 0) + audio(1, 2)


def test_audio_is_written_over_what_is_there(tmp_path: Path) -> None:
    with WavFile(tmp_path / "recording.wav", RATE) as file:
        file.write(audio(1, 1))
        file.write(audio(0.25, 2), RATE // 2)
        assert file.samples == RATE
        file.write(audio(2, 3), RATE * 3 // 4)
        assert file.samples == RATE * 11 // 4
        assert heard_in(file.path) == audio(0.5, 1) + audio(0.25, 2) + audio(2, 3)


def test_silence_that_a_disk_has_no_room_for_takes_nothing_away(tmp_path: Path) -> None:
    file = WavFile(tmp_path / "recording.wav", RATE)
    file.write(audio(0.5, 1))
    ended = re.escape("File too large: the recording ends after 0.50 s")
    with files_up_to(10_000), pytest.raises(OSError, match=ended) as full:
        file.insert(2000, 2000)
    for again in (lambda: file.insert(0, 1), lambda: file.read(0, 1)):
        with pytest.raises(OSError, match=ended) as still_full:
            again()
        assert still_full.value is full.value is file.error
    file.close()
    assert heard_in(file.path) == audio(0.5, 1)
    assert file.path.stat().st_size == HEADER + 8000


def test_a_disk_without_room_for_what_is_moved_keeps_it_where_it_was(tmp_path: Path) -> None:
    said = COUNTED[:40_000]
    with small_disk(tmp_path) as disk:
        file = WavFile(disk / "recording.wav", RATE, 2)
        file.write(said)
        with pytest.raises(OSError, match=r"No space left on device: .* ends after 1\.25 s"):
            file.insert(100, 9000)
        assert file.path.stat().st_size == HEADER + len(said)
        assert heard_in(file.path, 2) == said


INSERTS = """
import os, signal, sys
from pathlib import Path
from listenproto.recording import WavFile

folder, at, samples = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
said = sys.stdin.buffer.read()

def dying(change, moments):
    def changes(*arguments):
        moments[0] -= 1
        if moments[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments)
    return changes

for moment in range(100):
    child = os.fork()
    if not child:
        file = WavFile(folder / f"{moment:02}.wav", 8000, 2)
        file.write(said[:-30000])
        file.write(said[-30000:])  # less than a second, which the header does not tell of yet
        moments = [moment]
        os.pwrite, os.ftruncate = dying(os.pwrite, moments), dying(os.ftruncate, moments)
        file.insert(at, samples)
        os._exit(0)
    if not os.waitpid(child, 0)[1]:
        break
"""
"""It has a process of its own be killed at each moment in which a file is changed."""


@pytest.mark.parametrize("samples", [RATE // 2, FRAMES, 3 * FRAMES])
def test_nothing_is_lost_where_the_process_is_killed_in_between(
    tmp_path: Path, samples: int
) -> None:
    said = COUNTED[: 4 * (2 * FRAMES + 100)]
    words = [sys.executable, "-c", INSERTS, tmp_path, "50", str(samples)]
    subprocess.run(words, input=said, check=True)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) > 4
    for path in paths:
        with wave.open(str(path)) as file:
            seen = file.readframes(file.getnframes())
        assert len(frames_in(said) - frames_in(seen)) <= RATE
        recover_wav(path)
        assert frames_in(said) <= frames_in(heard_in(path, 2))
    whole = said[:200] + bytes(4 * samples) + said[200:]
    assert heard_in(paths[-1], 2) == whole
