"""Sound files as people have them: whatever libsndfile reads is heard as it was written."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from listenproto import Mode, PlayAudio
from listenproto._wav import growing_wav_header, wav_header
from listenproto_trio.cli import sound
from listenproto_trio.cli.echo import Files
from tests.cli_support import line_with, listenproto, serving

NOWHERE = "ws://127.0.0.1:1/"
RATE = 8000
Wave = npt.NDArray[np.floating[Any]]
TONE: Wave = np.rint(2**14 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)) / 2**15
"""A second of 440 Hz at half the loudest, in steps of 16 bits."""


def written(
    samples: Wave = TONE, form: str = "WAV", codec: str | None = None, *, rate: int = RATE
) -> bytes:
    """A sound file; of two dimensions, each column is a channel."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=codec)
    return file.getvalue()


def read(content: bytes, folder: Path, *, rate: int = RATE) -> tuple[Wave, list[str]]:
    """What is heard of a file, from -1 to 1, and what is told of it."""
    path, notes = folder / "sound", []
    path.write_bytes(content)
    pcm = sound.read_sound(path, rate, option="--audio", tell=notes.append)
    return np.frombuffer(pcm, "<i2") / 2**15, [note.removeprefix(f"{path} ") for note in notes]


def refusal(content: bytes, folder: Path) -> str:
    """Why a file cannot be played."""
    with pytest.raises(click.BadParameter) as caught:
        read(content, folder)
    assert caught.value.param_hint == "--audio"
    path, _, why = caught.value.message.partition(" cannot be played: ")
    assert path == str(folder / "sound")
    return why


def pitch(samples: Wave) -> float:
    """The loudest frequency, in Hz at RATE, to within one."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), RATE * 2))
    return float(np.argmax(spectrum) / 2)


EXACT = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AIFF", "FLOAT"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_24"),
]


@pytest.mark.parametrize(("form", "codec"), EXACT)
def test_what_keeps_16_bits_is_heard_sample_for_sample(
    form: str, codec: str, tmp_path: Path
) -> None:
    samples, notes = read(written(TONE, form, codec), tmp_path)
    assert np.array_equal(samples, TONE)
    assert notes == []


@pytest.mark.parametrize(
    ("form", "codec", "off"),
    [
        ("WAV", "PCM_U8", 1 / 128),
        ("WAV", "ULAW", 1 / 64),
        ("WAV", "ALAW", 1 / 64),
        ("AU", "ULAW", 1 / 64),
        ("AIFF", "PCM_S8", 1 / 128),
    ],
)
def test_what_has_fewer_bits_is_heard_about_as_it_was(
    form: str, codec: str, off: float, tmp_path: Path
) -> None:
    samples, notes = read(written(TONE, form, codec), tmp_path)
    assert len(samples) == RATE
    assert np.max(np.abs(samples - TONE)) <= off
    assert notes == []


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
        ("WAV", "GSM610"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
    ],
)
def test_what_is_compressed_is_heard_at_its_pitch_and_length(
    form: str, codec: str | None, tmp_path: Path
) -> None:
    samples, notes = read(written(TONE, form, codec), tmp_path)
    assert abs(len(samples) - RATE) <= RATE / 10
    assert abs(pitch(samples) - 440) <= 1
    assert notes == []


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000, 96000])
def test_every_rate_becomes_that_of_the_call(rate: int, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    samples, _ = read(written(tone, "FLAC", rate=rate), tmp_path)
    assert abs(len(samples) - RATE) <= 1
    assert abs(pitch(samples) - 440) <= 1


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_mixed_down_to_their_mean(channels: int, tmp_path: Path) -> None:
    parts = np.column_stack([TONE, *[np.zeros(RATE)] * (channels - 1)])
    samples, _ = read(written(parts, "WAV", "FLOAT"), tmp_path)
    assert np.max(np.abs(samples - TONE / channels)) <= 1 / 2**15


def test_a_file_longer_than_what_is_read_at_a_time_is_whole(tmp_path: Path) -> None:
    long = np.column_stack([np.tile(TONE, 4)] * 3)
    samples, _ = read(written(long, "FLAC"), tmp_path)
    assert len(long) > 3 * sound.BLOCK
    assert np.array_equal(samples, long[:, 0])


@pytest.mark.parametrize("codec", ["FLOAT", "DOUBLE"])
def test_what_is_too_loud_is_clipped_and_what_is_no_number_is_silent(
    codec: str, tmp_path: Path
) -> None:
    loud = np.array([0.5, 1.0, 2.0, 1e38, np.inf, -1.0, -1.5, -np.inf, np.nan])
    samples, _ = read(written(loud, "WAV", codec), tmp_path)
    top = 1 - 1 / 2**15
    assert samples.tolist() == [0.5, top, top, top, top, -1.0, -1.0, -1.0, 0.0]


def claiming(content: bytes, length: int, *, whole: int) -> bytes:
    """A WAV file with other lengths in its header; its data chunk is the last."""
    at = content.rindex(b"data") + 4
    front = content[:4] + whole.to_bytes(4, "little") + content[8:at]
    return front + length.to_bytes(4, "little") + content[at + 4 :]


LENGTHS = [
    (0x7FFFFFFF, 0x7FFFFFFF),
    (0x7FFFF000, 0x7FFFF024),
    (2_000_000_000, 2_000_000_036),
    (0x80000000, 0x80000024),
    (0, 0),
    (0, 36),
]


@pytest.mark.parametrize("codec", ["PCM_16", "PCM_24", "ULAW", "FLOAT"])
@pytest.mark.parametrize(("length", "whole"), LENGTHS)
def test_a_wav_whose_length_nobody_filled_in_is_heard_whole(
    codec: str, length: int, whole: int, tmp_path: Path
) -> None:
    content = written(TONE, "WAV", codec)
    there = len(content) - content.rindex(b"data") - 8
    samples, notes = read(claiming(content, length, whole=whole), tmp_path)
    assert len(samples) == RATE
    assert np.max(np.abs(samples - TONE)) <= 1 / 64
    claims = f"its data chunk claims {length} bytes but has {there}"
    assert notes == [f"has a wrong header: {claims}; playing what is there"]


def test_a_wav_that_leaves_its_length_open_has_nothing_wrong(tmp_path: Path) -> None:
    content = claiming(written(), 0xFFFFFFFF, whole=0xFFFFFFFF)
    samples, notes = read(content, tmp_path)
    assert (len(samples), notes) == (RATE, [])


def test_a_wav_that_is_cut_short_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    samples, notes = read(written()[:-1], tmp_path)
    assert np.array_equal(samples, TONE[:-1])
    claims = "its data chunk claims 16000 bytes but has 15999"
    assert notes == [f"has a wrong header: {claims}; playing what is there"]


def test_a_flac_that_leaves_its_length_open_is_heard_whole(tmp_path: Path) -> None:
    content = bytearray(written(TONE, "FLAC"))
    content[21] &= 0xF0  # the upper 4 of the 36 bits of its STREAMINFO that count samples
    content[22:26] = bytes(4)
    samples, notes = read(bytes(content), tmp_path)
    assert np.array_equal(samples, TONE)
    assert notes == []


@pytest.mark.parametrize(("form", "why"), [("FLAC", r" \(.*lost sync\)"), ("MP3", "")])
def test_what_is_compressed_and_cut_short_is_heard_as_far_as_it_goes(
    form: str, why: str, tmp_path: Path
) -> None:
    content = written(np.tile(TONE, 4), form)
    samples, (note,) = read(content[: len(content) // 2], tmp_path)
    assert RATE < len(samples) < 3 * RATE
    assert abs(pitch(samples) - 440) <= 1
    seconds = f"{len(samples) / RATE:.2f}"
    assert re.fullmatch(rf"is cut off or damaged{why}; playing the {seconds} s that it has", note)


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "SVX"])
def test_a_file_whose_length_is_corrected_is_told_to_be_cut_off(form: str, tmp_path: Path) -> None:
    content = written(TONE, form, "PCM_16")
    samples, notes = read(content[: len(content) // 2], tmp_path)
    assert RATE / 2 - 100 < len(samples) < RATE / 2
    assert np.array_equal(samples, TONE[: len(samples)])
    seconds = f"{len(samples) / RATE:.2f}"
    assert notes == [f"is cut off or damaged; playing the {seconds} s that it has"]


@pytest.mark.parametrize("form", ["AIFF", "AU"])
def test_what_stands_behind_the_audio_of_a_file_is_no_cut(form: str, tmp_path: Path) -> None:
    samples, notes = read(written(TONE, form, "PCM_16") + bytes(10), tmp_path)
    assert np.array_equal(samples[:RATE], TONE)
    assert notes == []


def pages(content: bytes) -> list[int]:
    """Where the pages of an Ogg file start."""
    return [found.start() for found in re.finditer(b"OggS", content)]


@pytest.mark.parametrize("left", [-1, 0, 20, 30])
def test_an_ogg_that_is_cut_off_is_heard_as_far_as_it_goes(left: int, tmp_path: Path) -> None:
    content = written(np.tile(TONE, 4), "OGG", "OPUS")
    end = len(content) - 1 if left < 0 else pages(content)[-1] + left
    samples, (note,) = read(content[:end], tmp_path)
    assert 2 * RATE < len(samples) < 4 * RATE
    assert re.fullmatch(r"is cut off or damaged; playing the \d\.\d\d s that it has", note)


def test_an_ogg_that_is_cut_before_its_audio_is_refused(tmp_path: Path) -> None:
    content = written(TONE, "OGG", "VORBIS")
    assert refusal(content[: pages(content)[-1] + 100], tmp_path) == (
        "it is cut off before its audio starts"
    )


def test_a_compressed_file_that_is_cut_in_front_of_its_audio_is_refused(tmp_path: Path) -> None:
    assert refusal(written(TONE, "FLAC")[:200], tmp_path) == (
        "libsndfile cannot read this FLAC file (Error : flac decoder lost sync); convert it to "
        "WAV, FLAC, Ogg or MP3"
    )


def test_a_small_file_of_much_audio_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "MOST_SOUND", 2**20)
    most = 2**20 // 2
    samples, _ = read(written(np.zeros(most), "FLAC"), tmp_path)
    assert len(samples) == most
    too_long = "it has more than 1 MiB of audio; use a shorter file"
    assert refusal(written(np.zeros(most + 1), "FLAC"), tmp_path) == too_long
    assert refusal(written(np.zeros((most // 2 + 1, 2)), "FLAC"), tmp_path) == too_long


def test_a_file_that_the_rate_of_the_call_makes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "MOST_SOUND", 2**20)
    assert refusal(written(np.zeros(66), rate=1), tmp_path) == (
        "it has more than 1 MiB of audio; use a shorter file"
    )


@pytest.mark.parametrize("content", [wav_header(0, RATE), wav_header(2, 2**31 - 1) + bytes(2)])
def test_a_file_of_less_than_a_sample_holds_no_audio(content: bytes, tmp_path: Path) -> None:
    assert refusal(content, tmp_path) == "it has no audio"


PCM = (TONE * 2**15).astype("<i2").tobytes()
RIGHT = wav_header(len(PCM), RATE) + PCM


def clips_of(content: bytes, folder: Path) -> tuple[list[PlayAudio], list[str]]:
    """What ``serve --play`` sends of a file as clips, and what it tells of it."""
    (folder / "sound").write_bytes(content)
    files = Files([folder / "sound"], Mode.CLIPS, RATE)
    return files.clips, files.notes


@pytest.mark.parametrize(
    "content", [RIGHT, claiming(RIGHT, 0xFFFFFFFF, whole=0), RIGHT + b"LIST\4\0\0\0more"]
)
def test_a_wav_that_a_platform_can_play_is_a_clip_as_it_is(content: bytes, tmp_path: Path) -> None:
    assert clips_of(content, tmp_path) == ([PlayAudio(content, "wav")], [])


def test_a_wav_with_a_wrong_header_is_a_clip_with_a_right_one(tmp_path: Path) -> None:
    clips, (note,) = clips_of(claiming(RIGHT, 0x7FFFFFFF, whole=0), tmp_path)
    assert clips == [PlayAudio(RIGHT, "wav")]
    assert note.endswith(
        "sound has a wrong header: its data chunk claims 2147483647 bytes but has 16000; "
        "playing what is there"
    )


RF64 = growing_wav_header(2**32, RATE)
RF64 = RF64[:28] + len(PCM).to_bytes(8, "little") + RF64[36:] + PCM


@pytest.mark.parametrize("content", [RF64, written(TONE, "WAV", "ULAW"), written(TONE, "MP3")])
def test_what_a_platform_cannot_play_is_a_raw_clip(content: bytes, tmp_path: Path) -> None:
    (clip,), notes = clips_of(content, tmp_path)
    assert (clip.content_type, clip.sample_rate, notes) == ("raw", 16000, [])
    assert abs(len(clip.content) - 2 * 16000) <= 1600 * 2
    assert abs(pitch(np.frombuffer(clip.content, "<i2") / 2**15) - 220) <= 1  # at half the rate


def test_a_call_says_that_the_header_of_its_audio_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "said.wav").write_bytes(claiming(RIGHT, 0x7FFFFFFF, whole=0))
    run = listenproto("call", NOWHERE, "--audio", "said.wav", cwd=tmp_path)
    assert run.status == 1
    assert " ".join(run.out.split()) == (
        "said.wav has a wrong header: its data chunk claims 2147483647 bytes but has 16000; "
        "playing what is there"
    )


def test_serve_says_so_once_it_listens(tmp_path: Path) -> None:
    (tmp_path / "said.wav").write_bytes(claiming(RIGHT, 0x7FFFFFFF, whole=0))
    with serving("--play", "said.wav", cwd=tmp_path) as (_, process):
        assert line_with(process, "said.wav").startswith("said.wav has a wrong header: ")
