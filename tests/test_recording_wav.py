"""WAV files: whole whatever becomes of the process or the disk, and mended where they are not."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from listenproto import FLICKS, Heard, Mode, Peer, TraceHeader
from listenproto._wav import growing_wav_header
from listenproto.recording import HeardWav, TraceFile, WavFile, recover_wav
from listenproto.recording._files import beginning, create
from tests.call_support import RATE, audio
from tests.differing import first_difference
from tests.disk_support import files_up_to, small_disk
from tests.recording_support import COUNTED, GIB, HEADER, heard_in, rf64_lengths, state_of


def test_a_wav_is_whole_to_its_last_second_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    said = b"".join(audio(0.02, number) for number in range(200))
    file = WavFile(path, RATE)
    for written in range(0, len(said), 320):
        copied = heard_in(path)
        assert said.startswith(copied)
        assert written - len(copied) < 16000
        file.write(said[written : written + 320])
    file.close()
    assert heard_in(path) == said
    file.close()
    assert file.samples == len(said) // 2


def test_a_stereo_wav_is_whole(tmp_path: Path) -> None:
    with WavFile(tmp_path / "stereo.wav", RATE, 2) as file:
        file.write(struct.pack("<4h", 1, 2, 3, 4))
        assert file.samples == 2
    assert heard_in(file.path, 2) == struct.pack("<4h", 1, 2, 3, 4)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.write_text("precious")
    header = TraceHeader(vantage=Peer.APP, way=Mode.CLIPS)
    with pytest.raises(FileExistsError):
        WavFile(path, RATE)
    with pytest.raises(FileExistsError):
        HeardWav(path, RATE)
    with pytest.raises(FileExistsError):
        TraceFile(path, header)
    assert path.read_text() == "precious"


def test_nobody_else_may_read_what_was_said(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with WavFile(tmp_path / "recording.wav", RATE), HeardWav(tmp_path / "heard.wav", RATE):
            TraceFile(tmp_path / "trace", TraceHeader(vantage=Peer.APP, way=Mode.OFF)).close()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["recording.wav", "heard.wav", "trace"], 0o600)


def test_what_was_heard_stands_where_it_was_heard(tmp_path: Path) -> None:
    step = FLICKS // RATE
    with HeardWav(tmp_path / "heard.wav", RATE) as file:
        file.hear([Heard(audio(0.01, 1), RATE, 0), Heard(audio(0.01, 2), RATE, 80 * step)])
        file.hear([])
        file.hear([Heard(audio(0.01, 3), RATE, 400 * step)])
        file.fill(1000 * step + step - 1)
        file.fill(5 * step)
        with pytest.raises(ValueError, match="sample rate of 8000 Hz"):
            file.hear([Heard(b"\1\0", 16000, 1000 * step)])
    expected = audio(0.01, 1) + audio(0.01, 2) + audio(0.03, 0) + audio(0.01, 3) + audio(0.065, 0)
    assert heard_in(file.path) == expected


def test_hours_of_silence_take_no_memory(tmp_path: Path) -> None:
    hours = 3600 * FLICKS
    tracemalloc.start()
    try:
        with HeardWav(tmp_path / "heard.wav", RATE) as file:
            file.write(audio(0.1, 1))
            file.fill(10 * hours)
            file.hear([Heard(audio(0.1, 2), RATE, 80 * hours)])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    samples = 80 * 3600 * RATE + RATE // 10
    assert file.samples == samples
    assert rf64_lengths(file.path) == (72 + 2 * samples, 2 * samples, samples)
    assert file.path.stat().st_blocks * 512 < 2**20  # a hole, where the file system has them
    with open(file.path, "rb") as heard:
        assert heard.read(HEADER + 16000)[HEADER:] == audio(0.1, 1) + audio(0.9, 0)
        heard.seek(-16000, os.SEEK_END)
        assert heard.read() == audio(0.9, 0) + audio(0.1, 2)


def test_silence_counts_at_once(tmp_path: Path) -> None:
    file = HeardWav(tmp_path / "heard.wav", RATE, 2)
    file.fill(5 * FLICKS)
    assert not first_difference(heard_in(file.path, 2), bytes(5 * RATE * 4))
    file.fill(5 * FLICKS + FLICKS // 2)
    assert not first_difference(heard_in(file.path, 2), bytes(5 * RATE * 4))
    file.close()
    assert not first_difference(heard_in(file.path, 2), bytes(11 * RATE * 2))


def test_silence_that_a_disk_has_no_room_for_ends_a_recording(tmp_path: Path) -> None:
    file = HeardWav(tmp_path / "heard.wav", RATE)
    file.write(audio(0.5))
    with files_up_to(10_000), pytest.raises(OSError, match=re.escape("ends after 0.50 s")) as full:
        file.fill(FLICKS)
    with pytest.raises(OSError, match=re.escape("ends after 0.50 s")) as still_full:
        file.fill(FLICKS)
    assert still_full.value is full.value is file.error
    file.close()
    assert heard_in(file.path) == audio(0.5)


@pytest.mark.parametrize(("channels", "pcm"), [(1, b"\0"), (1, b"\0\0\0"), (2, b"\0\0")])
def test_half_a_frame_is_not_taken(tmp_path: Path, channels: int, pcm: bytes) -> None:
    with WavFile(tmp_path / "recording.wav", RATE, channels) as file:
        file.write(bytes(4))
        with pytest.raises(
            ValueError, match=f"{len(pcm)} bytes are not a whole number of sample frames"
        ):
            file.write(pcm)
        file.write(bytes(4))
    assert heard_in(file.path, channels) == bytes(8)


# A process that is killed.

RECORDS = """
import sys
from pathlib import Path
from listenproto.recording import WavFile

path, channels, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
said = sys.stdin.buffer.read()
file = WavFile(path, 8000, channels)
for start in range(0, len(said), size):
    file.write(said[start : start + size])
    print(start + size, flush=True)
raise SystemExit("it was to be killed before the end")
"""


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("size", "writes"),
    [(4, 1), (320, 1), (320, 49), (320, 51), (320, 333), (8000, 9), (500_000, 1), (1_000_000, 2)],
)
def test_all_that_was_written_outlives_the_process(
    tmp_path: Path, channels: int, size: int, writes: int
) -> None:
    path = tmp_path / "recording.wav"
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDS, str(path), str(channels), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        process.stdin.write(COUNTED)
        process.stdin.close()
        for _ in range(writes):
            process.stdout.readline()
        process.kill()
        said = process.stdout.read()
    assert process.returncode == -9
    written = max([writes * size, *map(int, re.findall(rb"(\d+)\n", said))])
    frame = 2 * channels
    there = path.read_bytes()[HEADER:]
    assert len(there) >= written
    assert COUNTED.startswith(there)

    as_it_lies = heard_in(path, channels)
    assert there.startswith(as_it_lies)
    assert len(as_it_lies) > written - RATE * frame

    recovered = recover_wav(path)
    assert recovered.claimed == len(as_it_lies) // frame
    assert recovered.samples == len(there) // frame
    assert recovered.seconds == recovered.samples / RATE
    assert (recovered.rate, recovered.channels) == (RATE, channels)
    assert recovered.cut == len(there) % frame
    assert recovered.mended == (len(there) > len(as_it_lies))
    assert heard_in(path, channels) == there[: recovered.samples * frame]

    before = state_of(path)
    again = recover_wav(path)
    assert (again.claimed, again.samples, again.mended) == (recovered.samples,) * 2 + (False,)
    assert state_of(path) == before


# A disk that is full.


def write_in_pieces(file: WavFile, said: bytes) -> None:
    for start in range(0, len(said), 320):
        file.write(said[start : start + 320])


def write_until_full(file: WavFile, channels: int) -> OSError:
    """Write until nothing more goes; what is in the file is all but the last piece of it."""
    said = COUNTED[: 4 * 320 * 1000]
    with pytest.raises(OSError, match="the recording ends after") as full:
        write_in_pieces(file, said)
    lying = file.path.read_bytes()
    assert said.startswith(lying[HEADER:])
    assert not first_difference(heard_in(file.path, channels), lying[HEADER:])
    assert file.samples == len(lying[HEADER:]) // (2 * channels)
    with pytest.raises(OSError, match="the recording ends after") as still_full:
        file.write(bytes(320))
    assert still_full.value is full.value is file.error
    file.close()
    assert not first_difference(file.path.read_bytes(), lying)
    assert not recover_wav(file.path).mended
    return full.value


@pytest.mark.parametrize("channels", [1, 2])
def test_a_full_disk_ends_a_recording_and_takes_nothing_away(tmp_path: Path, channels: int) -> None:
    with small_disk(tmp_path) as disk:
        file = WavFile(disk / "recording.wav", RATE, channels)
        error = write_until_full(file, channels)
        assert file.path.stat().st_size == 65536
        seconds = file.samples / RATE
        assert str(error) == (
            f"[Errno {errno.ENOSPC}] No space left on device: "
            f"the recording ends after {seconds:.2f} s: {str(file.path)!r}"
        )
        with pytest.raises(OSError, match=r"No space left on device: '.*another\.wav'"):
            WavFile(disk / "another.wav", RATE)
        assert [path.name for path in disk.iterdir()] == ["recording.wav"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("room", [0, 1, 2, 3, 4, 319, 321, 16000 + 321])
def test_a_write_that_goes_half_way_ends_with_a_whole_frame(
    tmp_path: Path, channels: int, room: int
) -> None:
    file = WavFile(tmp_path / "recording.wav", RATE, channels)
    with files_up_to(HEADER + room):
        error = write_until_full(file, channels)
    assert file.samples == room // (2 * channels)
    assert (error.errno, error.filename) == (errno.EFBIG, str(file.path))


@pytest.mark.parametrize("room", [0, 1, HEADER - 1])
def test_a_recording_that_cannot_start_leaves_no_file(tmp_path: Path, room: int) -> None:
    path = tmp_path / "recording.wav"
    with files_up_to(room), pytest.raises(OSError, match=r"recording\.wav") as error:
        WavFile(path, RATE)
    assert error.value.errno == errno.EFBIG
    assert not path.exists()


def test_a_file_that_somebody_deletes_meanwhile_fails_for_its_own_reason(tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    file = create(path)
    path.unlink()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    said = r"No space left on device: .*recording\.wav"
    with pytest.raises(OSError, match=said), beginning(file, path):
        raise full


def test_a_header_that_cannot_be_written_any_more_costs_no_audio(tmp_path: Path) -> None:
    file = WavFile(tmp_path / "recording.wav", RATE)
    file.write(audio(0.5))
    with files_up_to(0), pytest.raises(OSError, match=re.escape("ends after 0.50 s")):
        file.close()
    file.close()
    assert heard_in(file.path) == b""
    assert recover_wav(file.path).mended
    assert heard_in(file.path) == audio(0.5)


# More than 32 bits can tell of.


def test_a_recording_grows_past_4_gib(tmp_path: Path) -> None:
    file = WavFile(tmp_path / "long.wav", RATE)
    file.write(audio(1))
    file.samples = (4 * GIB - 72) // 2 - 2 * RATE  # so long a hole costs nothing
    os.truncate(file.path, HEADER + 2 * file.samples)
    file.write(audio(1, 1))
    with open(file.path, "rb") as lying:
        assert lying.read(HEADER) == growing_wav_header(4 * GIB - 72 - 2 * RATE, RATE)
    file.write(audio(1, 2))
    samples = (4 * GIB - 72) // 2
    assert rf64_lengths(file.path) == (4 * GIB, 2 * samples, samples)
    file.write(audio(0.5, 3))
    file.close()
    samples += RATE // 2
    assert rf64_lengths(file.path) == (4 * GIB + RATE, 2 * samples, samples)
    assert not recover_wav(file.path).mended
    with open(file.path, "rb") as lying:
        assert lying.read(HEADER + 2 * RATE)[HEADER:] == audio(1)
        lying.seek(-2 * RATE * 5 // 2, os.SEEK_END)
        assert lying.read() == audio(1, 1) + audio(1, 2) + audio(0.5, 3)
