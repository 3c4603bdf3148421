"""WAV files, good and bad."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Callable
from typing import Any

import pytest
import soundfile
from hypothesis import assume, example, given
from hypothesis import strategies as st

from listenproto._l16 import FLICKS, LISTEN_RATES, PLAY_RATES
from listenproto._wav import (
    GROWING_HEADER,
    MAX_CHUNKS,
    Wav,
    WavError,
    growing_wav_header,
    kind_of,
    mended_wav,
    parse_wav,
    read_wav_head,
    wav_header,
    with_length,
)
from listenproto.testing import pcm

RATES = sorted({*LISTEN_RATES, *PLAY_RATES, 11025, 22050, 44100})


def l16(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def chunk(name: bytes, body: bytes, *, size: int | None = None) -> bytes:
    """A chunk with its pad byte; ``size`` lies about its length."""
    length = len(body) if size is None else size
    return name + struct.pack("<I", length) + body + b"\0" * (len(body) % 2)


def fmt(
    *, codec: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, more: bytes = b""
) -> bytes:
    frame = channels * bits // 8
    body = struct.pack("<HHIIHH", codec, channels, rate, rate * frame & 0xFFFFFFFF, frame, bits)
    return chunk(b"fmt ", body + more)


def extension(codec: int) -> bytes:
    guid_tail = bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<HHIH", 22, 16, 4, codec) + guid_tail


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def rf64(*chunks: bytes, form: bytes = b"RF64") -> bytes:
    return form + b"\xff\xff\xff\xffWAVE" + b"".join(chunks)


def ds64(length: int, *, whole: int = 0, more: bytes = bytes(4)) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQ", whole, length, 0) + more)


AUDIO = l16(1, -2, 3, -4)
LEFT_TO_DS64 = chunk(b"data", AUDIO, size=0xFFFFFFFF)


@pytest.mark.parametrize(
    ("file", "wav"),
    [
        pytest.param(riff(fmt(), chunk(b"data", AUDIO)), Wav(AUDIO, 8000, 1), id="plain"),
        pytest.param(
            riff(fmt(channels=2, rate=44100), chunk(b"data", AUDIO)),
            Wav(AUDIO, 44100, 2),
            id="stereo",
        ),
        pytest.param(riff(fmt(), chunk(b"data", b"")), Wav(b"", 8000, 1), id="empty data"),
        pytest.param(
            riff(fmt(more=b"\0\0"), chunk(b"data", AUDIO)), Wav(AUDIO, 8000, 1), id="18 byte fmt"
        ),
        pytest.param(
            riff(fmt(codec=0xFFFE, more=extension(1)), chunk(b"data", AUDIO)),
            Wav(AUDIO, 8000, 1),
            id="extensible",
        ),
        pytest.param(
            riff(fmt(codec=0xFFFE, more=extension(1)[:10]), chunk(b"data", AUDIO)),
            Wav(AUDIO, 8000, 1),
            id="extensible, cut behind its format",
        ),
        pytest.param(
            riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"fact", b"12345"), chunk(b"data", AUDIO)),
            Wav(AUDIO, 8000, 1),
            id="odd-sized chunks in front",
        ),
        pytest.param(
            riff(chunk(b"LIST", b"data\4\0\0\0xxxx"), fmt(), chunk(b"data", AUDIO)),
            Wav(AUDIO, 8000, 1),
            id="what looks like a chunk inside another",
        ),
        pytest.param(
            riff(fmt(), chunk(b"data", AUDIO), chunk(b"LIST", b"odd"), b"rubbish"),
            Wav(AUDIO, 8000, 1),
            id="more behind the data",
        ),
        pytest.param(
            riff(fmt(), chunk(b"data", AUDIO, size=0xFFFFFFFF)),
            Wav(AUDIO, 8000, 1),
            id="unknown length",
        ),
        pytest.param(
            riff(fmt(), chunk(b"data", AUDIO, size=0xFFFFFFFF) + b"\7"),
            Wav(AUDIO, 8000, 1),
            id="unknown length, half a sample at the end",
        ),
        pytest.param(
            riff(fmt(channels=2), chunk(b"data", AUDIO, size=0xFFFFFFFF) + b"\7\7\7"),
            Wav(AUDIO, 8000, 2),
            id="unknown length, half a stereo frame at the end",
        ),
        pytest.param(
            b"RIFF\xff\xff\xff\xffWAVE" + fmt() + chunk(b"data", AUDIO),
            Wav(AUDIO, 8000, 1),
            id="unknown length of the whole",
        ),
        pytest.param(
            riff(chunk(b"JUNK", bytes(28)), fmt(), chunk(b"data", AUDIO)),
            Wav(AUDIO, 8000, 1),
            id="room for a ds64 chunk",
        ),
        pytest.param(rf64(ds64(8), fmt(), LEFT_TO_DS64), Wav(AUDIO, 8000, 1), id="RF64"),
        pytest.param(
            rf64(ds64(8, more=b""), fmt(), LEFT_TO_DS64),
            Wav(AUDIO, 8000, 1),
            id="RF64, with no room for a table",
        ),
        pytest.param(
            rf64(ds64(4, more=bytes(16)), fmt(channels=2), LEFT_TO_DS64, form=b"BW64"),
            Wav(AUDIO[:4], 8000, 2),
            id="BW64, with a table, more behind the data",
        ),
        pytest.param(
            rf64(ds64(0), fmt(), chunk(b"data", AUDIO)),
            Wav(AUDIO, 8000, 1),
            id="RF64 that did not need to be",
        ),
        pytest.param(
            riff(ds64(2), fmt(), LEFT_TO_DS64), Wav(AUDIO, 8000, 1), id="ds64 means nothing in RIFF"
        ),
    ],
)
def test_wav_files_that_can_be_played(file: bytes, wav: Wav) -> None:
    assert parse_wav(file) == wav
    assert read_wav_head(file).flaw is None


@pytest.mark.parametrize("rate", RATES)
def test_wav_files_of_every_rate(rate: int) -> None:
    assert parse_wav(riff(fmt(rate=rate), chunk(b"data", AUDIO))) == Wav(AUDIO, rate, 1)


GOOD = riff(fmt(), chunk(b"data", AUDIO))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "it is empty; it must be 16-bit PCM WAV"),
        (b"RIFF", r"this is not a WAV file \(no RIFF/WAVE header\); it must be 16-bit PCM WAV"),
        (GOOD[:8] + b"AVI " + GOOD[12:], "this is not a WAV file"),
        (GOOD[:12], "no fmt chunk"),
        (GOOD[:16], "no fmt chunk"),
        (riff(chunk(b"LIST", b"odd")), "no fmt chunk"),
        (riff(chunk(b"data", AUDIO), fmt()), "before a fmt chunk"),
        (riff(fmt()), "no data chunk"),
        (riff(fmt(), b"data\0\0"), "no data chunk"),
        (riff(fmt(), chunk(b"LIST", b"") * MAX_CHUNKS, chunk(b"data", AUDIO)), "more than 1000"),
        (GOOD[:30], "claims 16 bytes but has 10"),
        (riff(fmt(), chunk(b"LIST", b"", size=9)), "its 'LIST' chunk claims 9 bytes"),
        (riff(chunk(b"fmt ", b"\1\0\1\0")), "fmt chunk has 4 bytes"),
        (riff(fmt(bits=8), chunk(b"data", AUDIO)), "this is 8-bit PCM WAV; it must be 16-bit PCM"),
        (riff(fmt(bits=24), chunk(b"data", AUDIO)), "this is 24-bit PCM WAV"),
        (riff(fmt(bits=0), chunk(b"data", AUDIO)), "this is 0-bit PCM WAV"),
        (riff(fmt(codec=3, bits=32), chunk(b"data", AUDIO)), "this is 32-bit floating-point WAV"),
        (riff(fmt(codec=3), chunk(b"data", AUDIO)), "this is 16-bit floating-point WAV"),
        (riff(fmt(codec=2, bits=4), chunk(b"data", AUDIO)), "this is Microsoft ADPCM WAV"),
        (riff(fmt(codec=6, bits=8), chunk(b"data", AUDIO)), "this is A-law WAV"),
        (riff(fmt(codec=7, bits=8), chunk(b"data", AUDIO)), "this is mu-law WAV"),
        (riff(fmt(codec=7), chunk(b"data", AUDIO)), "this is mu-law WAV"),
        (riff(fmt(codec=17, bits=4), chunk(b"data", AUDIO)), "this is IMA ADPCM WAV"),
        (riff(fmt(codec=49, bits=0), chunk(b"data", AUDIO)), "this is GSM 6.10 WAV"),
        (riff(fmt(codec=85, bits=0), chunk(b"data", AUDIO)), "this is MP3 WAV"),
        (riff(fmt(codec=0), chunk(b"data", AUDIO)), "this is format 0 WAV"),
        (
            riff(fmt(codec=0xFFFE, more=extension(3)), chunk(b"data", AUDIO)),
            "this is 16-bit floating-point WAV",
        ),
        (riff(fmt(codec=0xFFFE), chunk(b"data", AUDIO)), "this is format 65534 WAV"),
        (rf64(fmt(), LEFT_TO_DS64), "must be in a ds64 chunk"),
        (rf64(fmt(), LEFT_TO_DS64, ds64(8)), "must be in a ds64 chunk"),
        (rf64(chunk(b"ds64", bytes(23)), fmt(), LEFT_TO_DS64), "ds64 chunk has 23 bytes"),
        (
            riff(fmt(channels=0), chunk(b"data", AUDIO)),
            "its header says 0 channels at 8000 Hz",
        ),
        (riff(fmt(rate=0), chunk(b"data", AUDIO)), "its header says 1 channels at 0 Hz"),
        (
            riff(fmt(channels=3), chunk(b"data", AUDIO)),
            "it has 3 channels; it must have one or two",
        ),
        (riff(fmt(rate=8001), chunk(b"data", AUDIO)), "its sample rate is 8001 Hz"),
        (riff(fmt(rate=0xFFFFFFFF), chunk(b"data", AUDIO)), "its sample rate is 4294967295 Hz"),
    ],
)
def test_wav_files_that_cannot_be_played(file: bytes, words: str) -> None:
    with pytest.raises(WavError, match=words):
        parse_wav(file)


class Noted(bytes):
    """Bytes that note the longest piece that was asked of them."""

    longest = 0

    def __getitem__(self, part: Any) -> Any:
        piece = super().__getitem__(part)
        self.longest = max(self.longest, len(piece))
        return piece


def test_a_head_is_read_in_small_pieces_however_long_its_chunks_are() -> None:
    long = bytes(10_000)
    wav = Noted(rf64(ds64(8, more=long), chunk(b"LIST", long), fmt(more=long), LEFT_TO_DS64))
    assert read_wav_head(wav).length == 8
    assert wav.longest <= 40  # the longest fmt chunk that means something


def test_a_wav_file_is_played_as_far_as_it_goes_wherever_it_is_cut() -> None:
    start = len(GOOD) - len(AUDIO)
    for at in range(len(GOOD)):
        if at < start:
            with pytest.raises(WavError):
                parse_wav(GOOD[:at])
        else:
            assert parse_wav(GOOD[:at]) == Wav(AUDIO[: (at - start) // 2 * 2], 8000, 1)
            flaw = f"its data chunk claims 8 bytes but has {at - start}"
            assert read_wav_head(GOOD[:at]).flaw == flaw


def claiming(length: int, *, whole: int | None = None, channels: int = 1) -> bytes:
    """A WAV file of AUDIO whose header claims other lengths."""
    file = riff(fmt(channels=channels), chunk(b"data", AUDIO, size=length))
    return file if whole is None else file[:4] + struct.pack("<I", whole) + file[8:]


@pytest.mark.parametrize("whole", [None, 0, 36, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize(
    "length", [9, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 2_000_000_000, 0xFFFFFFFE]
)
def test_a_length_beyond_the_end_goes_to_the_end(length: int, whole: int | None) -> None:
    file = claiming(length, whole=whole)
    assert parse_wav(file) == Wav(AUDIO, 8000, 1)
    assert read_wav_head(file).flaw == f"its data chunk claims {length} bytes but has 8"


@pytest.mark.parametrize("whole", [0, 8, 35, 36])
def test_no_length_goes_to_the_end_where_nobody_filled_it_in(whole: int) -> None:
    file = claiming(0, whole=whole)
    assert parse_wav(file) == Wav(AUDIO, 8000, 1)
    assert read_wav_head(file).flaw == "its data chunk claims 0 bytes but has 8"


@pytest.mark.parametrize("whole", [None, 37, 48, 0x7FFFFFFF, 0xFFFFFFFF])
def test_no_length_is_no_audio_where_the_file_goes_on_behind_it(whole: int | None) -> None:
    assert parse_wav(claiming(0, whole=whole)) == Wav(b"", 8000, 1)
    assert read_wav_head(claiming(0, whole=whole)).flaw is None


@pytest.mark.parametrize(
    ("length", "channels", "frame", "pcm"),
    [(1, 1, 2, b""), (7, 1, 2, AUDIO[:6]), (6, 2, 4, AUDIO[:4]), (7, 2, 4, AUDIO[:4])],
)
def test_a_length_inside_a_sample_frame_stops_in_front_of_it(
    length: int, channels: int, frame: int, pcm: bytes
) -> None:
    file = claiming(length, channels=channels)
    assert parse_wav(file) == Wav(pcm, 8000, channels)
    claims = f"its data chunk claims {length} bytes"
    flaw = f"{claims}, not a whole number of sample frames of {frame} bytes"
    assert read_wav_head(file).flaw == flaw


@pytest.mark.parametrize(
    ("length", "pcm"), [(10, AUDIO), (2**63, AUDIO), (0, AUDIO), (7, AUDIO[:6])]
)
def test_lengths_of_64_bits_can_be_as_wrong(length: int, pcm: bytes) -> None:
    file = rf64(ds64(length), fmt(), LEFT_TO_DS64)
    assert parse_wav(file) == Wav(pcm, 8000, 1)
    assert str(read_wav_head(file).flaw).startswith(f"its data chunk claims {length} bytes")


@pytest.mark.parametrize(
    "file",
    [
        claiming(0x7FFFFFFF),
        claiming(0, whole=0),
        claiming(7),
        claiming(6, channels=2),
        GOOD[:-1],
        riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"data", AUDIO, size=0x80000000)),
        riff(fmt(codec=0xFFFE, more=extension(1)), chunk(b"data", AUDIO, size=99)),
        rf64(ds64(10), fmt(), LEFT_TO_DS64),
        rf64(ds64(0, whole=0), fmt(), LEFT_TO_DS64),
    ],
)
def test_a_mended_file_has_the_same_audio_and_a_right_header(file: bytes) -> None:
    head, wav = read_wav_head(file), parse_wav(file)
    mended = mended_wav(file, head)
    assert parse_wav(mended) == wav
    assert read_wav_head(mended).flaw is None
    assert mended.endswith(wav.pcm)
    assert len(mended) == head.start + len(wav.pcm) == read_wav_head(mended).end
    with soundfile.SoundFile(io.BytesIO(mended)) as reader:
        assert bytes(reader.buffer_read(dtype="int16")) == wav.pcm


def test_a_length_inside_a_sample_at_the_very_end_is_not_a_whole_number() -> None:
    head = read_wav_head(riff(fmt(), b"data\7\0\0\0" + AUDIO[:7]))
    assert str(head.flaw).endswith("7 bytes, not a whole number of sample frames of 2 bytes")


LENGTHS_TO_TELL = [0, 8, 2**32 - 8 - 72, 2**32 - 4 - 72, 2**32 - 72, 2**40]


@pytest.mark.parametrize("before", LENGTHS_TO_TELL)
@pytest.mark.parametrize("length", LENGTHS_TO_TELL[2:])
def test_a_header_that_can_grow_takes_any_length(before: int, length: int) -> None:
    front = growing_wav_header(before, 8000, 2)
    told = with_length(front, read_wav_head(front), length)
    assert read_wav_head(told).length == length
    if before <= length:  # what has become RF64 stays so
        assert told == growing_wav_header(length, 8000, 2)


@pytest.mark.parametrize(
    "front",
    [
        wav_header(0, 8000),
        riff(chunk(b"LIST", bytes(28)), fmt(), chunk(b"data", b"")),
        riff(chunk(b"JUNK", b"\1" * 26), fmt(), chunk(b"data", b"")),
    ],
)
def test_other_headers_have_no_room_for_more_than_32_bits(front: bytes) -> None:
    head = read_wav_head(front)
    most = 2**32 - 2 - (head.start - 8)
    assert read_wav_head(with_length(front, head, most)).length == most
    with pytest.raises(WavError, match=f"^its header has no room for a length of {most + 1} bytes"):
        with_length(front, head, most + 1)


def test_a_right_file_is_mended_to_itself() -> None:
    assert mended_wav(GOOD, read_wav_head(GOOD)) == GOOD


def test_lengths_of_other_codecs_are_read_and_mended_to_the_byte() -> None:
    file = claiming(0, whole=0)
    file = file[:20] + b"\7\0" + file[22:34] + b"\x08" + file[35:] + b"\5"
    head = read_wav_head(file)
    assert (head.codec, head.bits, head.size) == (7, 8, 9)
    assert head.flaw == "its data chunk claims 0 bytes but has 9"
    mended = mended_wav(file, head)
    assert (read_wav_head(mended).length, read_wav_head(mended).flaw) == (9, None)
    assert mended[head.start :] == file[head.start :]


KINDS = {
    b"ID3\x04" + bytes(20): "MP3",
    b"\xff\xfb\x90\x64" + bytes(20): "MP3",
    b"\xff\xf3\x10": "MP3",
    b"\xff\xe2\xe0": "MP3",
    b"\xff\xf1\x50\x80": "AAC",
    b"\xff\xf9\x50\x80": "AAC",
    b"fLaC\0\0\0\x22": "FLAC",
    b"OggS\0\x02": "Ogg",
    b"FORM\0\0\0\x2eAIFFCOMM": "AIFF",
    b"FORM\0\0\0\x2eAIFCFVER": "AIFF",
    b"\0\0\0\x20ftypM4A ": "MP4 or M4A",
    b"caff\0\x01": "CAF",
    b".snd\0\0\0\x18": "AU",
    b"\x1aE\xdf\xa3\x9f": "WebM or Matroska",
    b"riff\x2e\x91\xcf\x11": "Wave64",
    b"RIFX" + GOOD[4:]: "big-endian WAV",
}


@pytest.mark.parametrize(("content", "kind"), KINDS.items(), ids=lambda value: repr(value)[:20])
def test_what_is_taken_for_a_wav_file_is_named(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind
    with pytest.raises(WavError, match=f"^this is {kind}; it must be 16-bit PCM WAV$"):
        parse_wav(content)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"\xff\xfb",
        b"\xff\xfb\x0f",  # no bit rate
        b"\xff\xfb\xf0",  # a bit rate that there is not
        b"\xff\xff\x90",  # layer I
        b"\xff\xfd\x90",  # layer II
        b"\xff\xeb\x90",  # a version that there is not
        b"\xff\xdb\x90",  # no sync
        b"\xfe\xfb\x90",
        b"\xff\xe1\x50",
        b"\xffX\x90",
        b"FORM\0\0\0\x2eILBMAIFF",
        b"{}",
        bytes(100),
    ],
)
def test_other_bytes_are_taken_for_nothing(content: bytes) -> None:
    assert kind_of(content) is None


LIBSNDFILE = st.sampled_from(
    [0, 1, 36, 37, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 2_000_000_000, 0xFFFFFFFE, 0xFFFFFFFF]
)


@given(
    st.binary(max_size=40),
    st.none() | LIBSNDFILE | st.integers(0, 50),
    st.none() | LIBSNDFILE | st.integers(0, 120),
    st.integers(1, 3),
    st.sampled_from([b"", chunk(b"LIST", b"INFOISFT\4\0\0\0test"), chunk(b"JUNK", bytes(28))]),
    st.sampled_from([b"", chunk(b"LIST", b"INFO")]),
)
def test_libsndfile_finds_as_many_frames(
    audio: bytes, length: int | None, whole: int | None, channels: int, front: bytes, behind: bytes
) -> None:
    """But for a length of 0 that nobody filled in, which it knows by one RIFF length alone."""
    data = b"data" + struct.pack("<I", len(audio) if length is None else length) + audio
    file = riff(front, fmt(channels=channels), data, behind)
    if whole is not None:
        file = file[:4] + struct.pack("<I", whole) + file[8:]
    head = read_wav_head(file)
    assume(head.length != 0 or head.end > head.start)
    frames, rest = divmod(head.size, head.frame)
    assert rest == 0
    with soundfile.SoundFile(io.BytesIO(file)) as reader:
        assert (reader.frames, reader.channels) == (frames, channels)
        assert bytes(reader.buffer_read(dtype="int16")) == file[head.start : head.start + head.size]


def test_libsndfile_knows_a_length_of_0_that_nobody_filled_in_by_a_riff_length_of_8() -> None:
    for whole, frames in ((8, 4), (0, 0), (36, 0)):
        with soundfile.SoundFile(io.BytesIO(claiming(0, whole=whole))) as reader:
            assert reader.frames == frames
        assert len(parse_wav(claiming(0, whole=whole)).pcm) == 8


CHUNKS = st.builds(
    chunk,
    st.sampled_from([b"fmt ", b"data", b"LIST"]) | st.binary(min_size=4, max_size=4),
    st.binary(max_size=40),
    size=st.none() | st.sampled_from([0, 0xFFFFFFFF, 0xFFFFFFFE, 2**31]) | st.integers(0, 50),
)
FORMATS = st.builds(
    fmt,
    codec=st.sampled_from([0, 1, 3, 0xFFFE]),
    channels=st.sampled_from([0, 1, 2, 3]),
    rate=st.sampled_from([0, 1, 8000, FLICKS, 2**32 - 1]),
    bits=st.sampled_from([0, 8, 16]),
    more=st.binary(max_size=24),
)


LENGTHS = st.builds(ds64, st.integers(0, 50) | st.integers(0, 2**64 - 1))


@given(
    st.binary()
    | st.lists(CHUNKS | FORMATS, max_size=5).map(lambda c: riff(*c))
    | st.lists(CHUNKS | FORMATS | LENGTHS, max_size=5).map(lambda c: rf64(*c))
)
@example(b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff")
@example(riff(fmt(channels=0), chunk(b"data", AUDIO, size=0xFFFFFFFF)))
def test_any_bytes_are_a_wav_file_or_a_wav_error(file: bytes) -> None:
    try:
        wav = parse_wav(file)
    except WavError:
        return
    assert len(wav.pcm) % (2 * wav.channels) == 0
    assert len(wav.mono()) == len(wav.pcm) // wav.channels
    assert FLICKS % wav.rate == 0


@given(pcm())
def test_one_channel_is_mixed_to_itself(audio: bytes) -> None:
    assert Wav(audio, 8000, 1).mono() == audio


@given(pcm(channels=2), st.sampled_from(RATES), st.integers(1, 2))
def test_a_header_is_read_back_by_others_and_by_us(audio: bytes, rate: int, channels: int) -> None:
    header = wav_header(len(audio), rate, channels)
    assert len(header) == 44
    assert parse_wav(header + audio) == Wav(audio, rate, channels)
    with wave.open(io.BytesIO(header + audio)) as file:
        assert file.getparams()[:4] == (channels, 2, rate, len(audio) // (2 * channels))
        assert file.getcomptype() == "NONE"
        assert file.readframes(file.getnframes()) == audio


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2)])
def test_a_header_is_that_of_the_wave_module(rate: int, channels: int) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(AUDIO)
    assert wav_header(len(AUDIO), rate, channels) + AUDIO == file.getvalue()


@given(pcm(channels=2), st.sampled_from(RATES), st.integers(1, 2))
def test_a_header_that_can_grow_is_read_back_too(audio: bytes, rate: int, channels: int) -> None:
    header = growing_wav_header(len(audio), rate, channels)
    assert len(header) == GROWING_HEADER == 80
    assert parse_wav(header + audio) == Wav(audio, rate, channels)
    with wave.open(io.BytesIO(header + audio)) as file:
        assert file.getparams()[:4] == (channels, 2, rate, len(audio) // (2 * channels))
        assert file.readframes(file.getnframes()) == audio


@pytest.mark.parametrize("channels", [1, 2])
def test_a_header_grows_past_32_bits_in_its_place(channels: int) -> None:
    most = 2**32 - 4 - 72
    for length in (most, most + 3, most + 4, 2**40):  # most + 3 would be written as unknown
        header = growing_wav_header(length, 48000, channels)
        head = read_wav_head(header)
        assert (head.start, head.length, head.end) == (80, length, 80 + length)
        assert header[48:76] == growing_wav_header(0, 48000, channels)[48:76]
        assert head.ds64 == (None if length == most else 20)
        if length == most:
            assert (header[:4], header[12:16]) == (b"RIFF", b"JUNK")
            continue
        assert header[:20] == b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0"
        samples = length // (2 * channels)
        assert struct.unpack("<QQQI", header[20:48]) == (72 + length, length, samples, 0)
        assert header[72:] == b"data\xff\xff\xff\xff"


@pytest.mark.parametrize("header", [wav_header, growing_wav_header])
def test_a_header_is_for_one_channel_unless_told_otherwise(
    header: Callable[..., bytes],
) -> None:
    assert header(8, 8000) == header(8, 8000, 1)


def test_a_header_leaves_open_a_length_that_32_bits_cannot_hold() -> None:
    most = 2**32 - 1 - 36
    for length in (most - 1, most):
        head = read_wav_head(wav_header(length, 8000))
        assert (head.length, head.end) == (length, 44 + length)
    for length in (most + 1, 2**40):
        header = wav_header(length, 8000)
        assert (header[4:8], header[40:]) == (b"\xff\xff\xff\xff",) * 2
        assert read_wav_head(header).length is None
