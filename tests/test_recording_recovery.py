"""WAV files whose header does not say what there is: ours, those of others, and what is neither."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import WavError
from listenproto._wav import growing_wav_header, parse_wav, read_wav_head, wav_header
from listenproto.recording import WavFile, recover_wav
from listenproto.recording._files import lock
from tests.call_support import RATE, audio
from tests.disk_support import make_read_only, small_disk
from tests.recording_support import COUNTED, GIB, HEADER, heard_in, rf64_lengths, state_of


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def fmt(codec: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", codec, channels, rate, 0, 0, bits))


def wav(
    said: bytes,
    *,
    claims: int,
    whole: int,
    front: bytes = b"",
    form: bytes | None = None,
) -> bytes:
    """A WAV file whose header claims what it likes."""
    header = b"WAVE" + front + (fmt() if form is None else form) + b"data"
    return b"RIFF" + struct.pack("<I", whole) + header + struct.pack("<I", claims) + said


@pytest.mark.parametrize(
    ("whole", "claims"),
    [
        pytest.param(0, 0, id="never filled in"),
        pytest.param(36, 0, id="filled in when there was nothing"),
        pytest.param(2**32 - 1, 2**32 - 1, id="left open"),
        pytest.param(2**32 - 1, 2**32 - 37, id="as much as can be"),
        pytest.param(2**31 + 36, 2**31, id="2 GiB"),
        pytest.param(36 + 3201, 0, id="only the whole filled in"),
        pytest.param(0, 3200, id="only the length filled in"),
        pytest.param(36 + 100, 100, id="less"),
        pytest.param(36 + 101, 101, id="less, and half a sample"),
        pytest.param(36 + 3201, 3201, id="half a sample"),
        pytest.param(36 + 3202, 3202, id="more"),
    ],
)
def test_any_wav_is_mended(tmp_path: Path, whole: int, claims: int) -> None:
    path = tmp_path / "any.wav"
    said = audio(0.2, 77)
    path.write_bytes(wav(said + b"\7", whole=whole, claims=claims))
    recovered = recover_wav(path)
    assert recovered.mended
    assert recovered.claimed == (None if claims == 2**32 - 1 else claims // 2)
    assert (recovered.samples, recovered.seconds, recovered.cut) == (1600, 0.2, 1)
    assert path.read_bytes() == wav_header(3200, RATE)[:28] + path.read_bytes()[28:44] + said
    assert heard_in(path) == said
    assert not recover_wav(path).mended


def test_padding_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(wav(b"\1\0\2\0\3" + b"\0", whole=42, claims=5))
    assert recover_wav(path).samples == 2
    assert heard_in(path) == b"\1\0\2\0"


def test_channels_and_rates_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "six.wav"
    path.write_bytes(wav(bytes(12 * 5 + 7), whole=0, claims=0, form=fmt(channels=6, rate=12345)))
    recovered = recover_wav(path)
    assert (recovered.channels, recovered.rate) == (6, 12345)
    assert (recovered.samples, recovered.cut) == (5, 7)


FRONTS = st.lists(
    st.builds(chunk, st.sampled_from([b"JUNK", b"LIST", b"bext"]), st.binary(max_size=40)),
    max_size=3,
).map(b"".join)
CLAIMS = st.sampled_from([0, 36, 2**31, 2**32 - 1]) | st.integers(0, 400)


@given(st.binary(max_size=200), FRONTS, CLAIMS, CLAIMS, st.integers(1, 3))
def test_no_audio_is_ever_taken_away(
    said: bytes, front: bytes, whole: int, claims: int, channels: int
) -> None:
    form = fmt(channels=channels)
    before = wav(said, whole=whole, claims=claims, front=front, form=form)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.wav"
        path.write_bytes(before)
        try:
            recovered = recover_wav(path)
        except WavError as refused:
            assert "follows the audio" in str(refused)
            assert path.read_bytes() == before
            return
        after = path.read_bytes()
        assert len(before) - len(after) in range(2 * channels + 1)
        start = len(before) - len(said)
        assert after[start:] == before[start : len(after)]
        assert read_wav_head(after).start == start
        assert recovered.mended == (before != after)
        assert not recover_wav(path).mended
        assert path.read_bytes() == after
        with wave.open(str(path)) as file:
            assert file.getnframes() == recovered.samples


@pytest.mark.parametrize("channels", [1, 2])
def test_wherever_a_recording_is_cut_the_rest_is_mended(tmp_path: Path, channels: int) -> None:
    with WavFile(tmp_path / "whole.wav", RATE, channels) as file:
        file.write(COUNTED[:40])
    whole = file.path.read_bytes()
    for cut in range(len(whole)):
        path = tmp_path / f"{cut}.wav"
        path.write_bytes(whole[:cut])
        if cut < HEADER:
            with pytest.raises(WavError):
                recover_wav(path)
            assert path.read_bytes() == whole[:cut]
        else:
            assert recover_wav(path).samples == (cut - HEADER) // (2 * channels)
            assert COUNTED.startswith(heard_in(path, channels))


LIST = chunk(b"LIST", b"INFOodd")


@pytest.mark.parametrize("padded", [True, False])
def test_chunks_behind_the_audio_are_let_be(tmp_path: Path, padded: bool) -> None:
    path = tmp_path / "tagged.wav"
    said = audio(0.01) + LIST + (LIST if padded else LIST[:-1])
    path.write_bytes(wav(said, whole=36 + len(said), claims=160))
    before = state_of(path)
    recovered = recover_wav(path)
    assert (recovered.claimed, recovered.samples, recovered.mended) == (80, 80, False)
    assert state_of(path) == before


TAGS = [
    LIST,
    LIST[:-1],
    chunk(b"id3 ", bytes(10)) + LIST,
    chunk(b"bext", bytes(602)) + chunk(b"cue ", bytes(4)),
]


@pytest.mark.parametrize("tags", TAGS)
def test_chunks_that_the_header_does_not_tell_of_are_no_audio(tmp_path: Path, tags: bytes) -> None:
    path = tmp_path / "tagged.wav"
    for whole in (
        wav(audio(0.01), whole=36 + 160, claims=160),
        wav_header(160, RATE) + audio(0.01),
    ):
        path.write_bytes(whole + tags)
        before = state_of(path)
        recovered = recover_wav(path)
        assert (recovered.claimed, recovered.samples, recovered.mended) == (80, 80, False)
        assert (recovered.cut, state_of(path)) == (0, before)


KINDS = (
    "LIST INFO id3  ID3  ID32 bext cue  plst labl note smpl inst "
    "fact PEAK JUNK junk PAD  FLLR iXML axml _PMX cart DISP"
)
"""Names of four letters each."""


@pytest.mark.parametrize("kind", [KINDS[at : at + 4] for at in range(0, len(KINDS), 5)])
def test_what_programs_append_is_known_by_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tagged.wav"
    path.write_bytes(wav_header(160, RATE) + audio(0.01) + chunk(kind.encode(), b"any text"))
    recovered = recover_wav(path)
    assert (recovered.samples, recovered.mended) == (80, False)


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("claims", [0, 160])
def test_audio_of_ours_that_looks_like_chunks_is_audio(
    tmp_path: Path, tags: bytes, claims: int
) -> None:
    path = tmp_path / "killed.wav"
    said = audio(0.01)[:claims] + tags[: len(tags) // 2 * 2]
    path.write_bytes(growing_wav_header(claims, RATE) + said)
    recovered = recover_wav(path)
    assert (recovered.claimed, recovered.mended) == (claims // 2, True)
    assert heard_in(path) == said


@pytest.mark.parametrize(
    "behind",
    [
        LIST + bytes(2),
        bytes(2) + LIST,
        LIST[:-4],
        chunk(b"\1\0\2\0", bytes(4)),
        chunk(b"abcd", b""),
    ],
)
def test_what_only_begins_like_chunks_is_audio(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "killed.wav"
    path.write_bytes(wav_header(160, RATE) + audio(0.01) + behind)
    assert recover_wav(path).samples == 80 + len(behind) // 2
    assert heard_in(path) == audio(0.01) + behind


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_let_be(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe" if kind == "pipe" else Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(WavError, match=r"^it is not a regular file$"):
        recover_wav(path)


GOOD = wav(audio(0.01), whole=36 + 160, claims=160)


def tagged(form: bytes) -> bytes:
    """A file without audio, with tags that its header does not count."""
    return wav(LIST, whole=36, claims=0, form=form)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"RIFF", "no RIFF/WAVE header"),
        (b"OggS" + bytes(100), "this is Ogg; it must be 16-bit PCM WAV"),
        (GOOD[:40], "it has no data chunk"),
        (wav(b"", whole=0, claims=0, form=b""), "data chunk comes before a fmt chunk"),
        (wav(bytes(9), whole=0, claims=0, form=fmt(bits=24)), "this is 24-bit PCM WAV"),
        (wav(bytes(9), whole=0, claims=0, form=fmt(codec=7, bits=8)), "this is mu-law WAV"),
        (wav(bytes(9), whole=0, claims=0, form=fmt(channels=0)), "its header says 0 channels"),
        (wav(bytes(9), whole=0, claims=0, form=fmt(rate=0)), "at 0 Hz"),
        (tagged(fmt(rate=2**31)), "says 1 channel at 2147483648 Hz; no recording has that many"),
        (tagged(fmt(rate=2**32 - 1)), "at 4294967295 Hz"),
        (tagged(fmt(channels=1025)), "says 1025 channels at 8000 Hz; no recording has that many"),
        (tagged(fmt(channels=65535)), "says 65535 channels"),
        (wav(bytes(9), whole=0, claims=0, form=fmt(channels=65535)), "says 65535 channels"),
        (wav(audio(0.01) + LIST, whole=0, claims=160), "a 'LIST' chunk follows"),
        (wav(audio(0.01) + LIST, whole=2**32 - 1, claims=160), "a 'LIST' chunk follows"),
        (GOOD[:4] + struct.pack("<I", 196 + 16) + GOOD[8:] + LIST[:12], "a 'LIST' chunk follows"),
        (GOOD[:4] + struct.pack("<I", 196 + 16) + GOOD[8:] + LIST + b"more", "a 'LIST' chunk"),
    ],
)
def test_what_cannot_be_mended_is_let_be(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "other.wav"
    path.write_bytes(content)
    before = state_of(path)
    with pytest.raises(WavError, match=words) as refused:
        recover_wav(path)
    assert "\n" not in str(refused.value)
    assert state_of(path) == before


@pytest.mark.parametrize(("channels", "rate"), [(1, 2**31 - 1), (1024, 2**21 - 1)])
def test_the_most_channels_and_the_highest_rate_are_mended(
    tmp_path: Path, channels: int, rate: int
) -> None:
    path = tmp_path / "most.wav"
    path.write_bytes(wav(bytes(4096), whole=0, claims=0, form=fmt(channels=channels, rate=rate)))
    recovered = recover_wav(path)
    assert (recovered.samples, recovered.cut) == (2048 // channels, 0)
    assert not recover_wav(path).mended


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recover_wav(str(tmp_path / "none.wav"))
    with pytest.raises(IsADirectoryError):
        recover_wav(tmp_path)


def test_a_file_that_is_being_recorded_is_let_be(tmp_path: Path) -> None:
    with WavFile(str(tmp_path / "recording.wav"), RATE) as file:
        file.write(audio(0.1))
        with pytest.raises(OSError, match="still being recorded") as busy:
            recover_wav(file.path)
        assert busy.value.errno == errno.EBUSY
        assert heard_in(file.path) == b""
    recovered = recover_wav(str(file.path))
    assert (recovered.path, recovered.mended) == (tmp_path / "recording.wav", False)


def test_where_files_cannot_be_locked_none_counts_as_being_recorded(tmp_path: Path) -> None:
    path = tmp_path / "good.wav"
    path.write_bytes(GOOD)
    with open(path, "rb", buffering=0, opener=lambda name, _: os.open(name, os.O_PATH)) as file:
        assert lock(file)


def test_only_a_file_that_is_to_be_mended_must_be_writable(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        (disk / "good.wav").write_bytes(GOOD)
        (disk / "bad.wav").write_bytes(GOOD + bytes(2))
        make_read_only(disk)
        assert not recover_wav(disk / "good.wav").mended
        with pytest.raises(OSError, match=r"bad\.wav") as error:
            recover_wav(disk / "bad.wav")
        assert error.value.errno == errno.EROFS


def test_a_recording_past_4_gib_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with WavFile(path, RATE) as file:
        file.write(audio(1))
    os.truncate(path, HEADER + 4 * GIB + 3)
    recovered = recover_wav(path)
    assert recovered.mended
    assert (recovered.claimed, recovered.samples, recovered.cut) == (RATE, 2 * GIB + 1, 1)
    assert rf64_lengths(path) == (4 * GIB + 74, 4 * GIB + 2, 2 * GIB + 1)
    assert not recover_wav(path).mended
    os.truncate(path, HEADER + 1000)
    assert recover_wav(path).claimed == 2 * GIB + 1
    assert rf64_lengths(path) == (1072, 1000, 500)
    assert parse_wav(path.read_bytes()).pcm == audio(1)[:1000]


def test_where_a_header_has_no_room_for_64_bits_nothing_is_done(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav_header(0, RATE))
    os.truncate(path, 5 * GIB)
    before = state_of(path)
    with pytest.raises(WavError, match=f"no room for a length of {5 * GIB - 44} bytes"):
        recover_wav(path)
    assert state_of(path) == before
