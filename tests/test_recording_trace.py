"""Trace files: whole lines whatever the disk does, and files that are no traces."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from listenproto import Mode, Peer, TraceError, TraceHeader, TraceLine
from listenproto._trace import MAX_LINE
from listenproto.recording import TraceFile, read_trace_file
from tests.disk_support import files_up_to, small_disk


def write_until_full(file: TraceFile) -> OSError:
    """Write until nothing more goes; what is in the file are whole lines."""

    def write(lines: int) -> None:
        for _ in range(lines):
            file(Peer.PLATFORM, bytes(320))

    with pytest.raises(OSError, match="the trace ends here") as full:
        write(1000)
    with pytest.raises(OSError, match="the trace ends here") as still_full:
        write(1)
    assert still_full.value is full.value is file.error
    assert full.value.filename == str(file.path)
    file.close()
    lines = read_trace_file(file.path).lines
    assert len(lines) > 100
    assert all((line.payload, line.position) == (bytes(320), 0) for line in lines)
    return full.value


def test_a_trace_on_a_full_disk_ends_with_a_whole_line(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        file = TraceFile(disk / "trace.jsonl", TraceHeader(vantage=Peer.APP, way=Mode.OFF))
        error = write_until_full(file)
    assert error.strerror == "No space left on device: the trace ends here"


def test_a_line_that_goes_half_way_is_taken_back(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "trace.jsonl", TraceHeader(vantage=Peer.APP, way=Mode.OFF))
    with files_up_to(65_000):
        error = write_until_full(file)
    assert error.errno == errno.EFBIG


def test_a_trace_that_ends_early_is_closed(tmp_path: Path) -> None:
    """So a server that goes on for years keeps no file open for it."""
    file = TraceFile(tmp_path / "trace.jsonl", TraceHeader(vantage=Peer.APP, way=Mode.OFF))
    open_files = len(os.listdir("/dev/fd"))
    with files_up_to(100), pytest.raises(OSError, match="the trace ends here"):
        file(Peer.PLATFORM, bytes(320))
    assert len(os.listdir("/dev/fd")) == open_files - 1


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_trace_that_cannot_start_leaves_no_file(tmp_path: Path, room: int) -> None:
    header = TraceHeader(vantage=Peer.APP, way=Mode.OFF)
    with files_up_to(room), pytest.raises(OSError, match=r"trace\.jsonl") as error:
        TraceFile(tmp_path / "trace.jsonl", header)
    assert error.value.errno == errno.EFBIG
    assert [*tmp_path.iterdir()] == []


# Traces that are none.


def lines_of_a_trace(tmp_path: Path, *more: bytes) -> Path:
    path = tmp_path / "trace.jsonl"
    head = TraceHeader(vantage=Peer.APP, way=Mode.OFF).to_json().encode()
    path.write_bytes(b"\n".join([head, *more]))
    return path


def test_a_device_without_an_end_is_no_trace() -> None:
    with pytest.raises(TraceError) as caught:
        read_trace_file(Path("/dev/zero"))
    assert str(caught.value) == f"not a trace file (line 1: longer than {MAX_LINE} bytes)"


@pytest.mark.parametrize("octets", [b"\xff\xfe\0", b"\xed\xa0\x80\n", b'{"text":"\xe9"}'])
def test_a_line_that_is_no_text_is_named(tmp_path: Path, octets: bytes) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace_file(lines_of_a_trace(tmp_path, octets))
    assert str(caught.value) == "line 2: not UTF-8 text"


@pytest.mark.parametrize(
    ("last", "cut_short"), [(b'{"at":', True), (b'{"at":\n', False), (b"\xff", True)]
)
def test_a_trace_that_ends_within_a_line_is_cut_short(
    tmp_path: Path, last: bytes, cut_short: bool
) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace_file(lines_of_a_trace(tmp_path, last))
    assert caught.value.cut_short is cut_short


def test_a_line_that_is_too_long_is_not_cut_short() -> None:
    with pytest.raises(TraceError) as caught:
        read_trace_file("/dev/zero")
    assert caught.value.cut_short is False


def test_a_wrong_line_is_named_before_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"^line 2: not valid JSON: "):
        read_trace_file(lines_of_a_trace(tmp_path, b"hello", b"\xff"))


@pytest.mark.parametrize("payload", [16 * 2**20 * b"\xff", 16 * 2**20 * "\0"])
def test_the_longest_message_is_read_back(tmp_path: Path, payload: bytes | str) -> None:
    line = TraceLine(2**60, Peer.PLATFORM, 2**60, payload)
    octets = line.to_json().encode()
    if isinstance(payload, str):
        octets = octets.ljust(MAX_LINE - 1)  # the line break counts
    assert read_trace_file(lines_of_a_trace(tmp_path, octets, b"")).lines == (line,)


def test_a_trace_may_come_through_a_pipe_with_any_ends_of_lines(tmp_path: Path) -> None:
    line = TraceLine(0, Peer.APP, 0, b"\1\2")
    octets = lines_of_a_trace(tmp_path, line.to_json().encode() + b"\r\n").read_bytes()
    reading, writing = os.pipe()
    os.write(writing, octets)
    os.close(writing)
    try:
        assert read_trace_file(Path(f"/dev/fd/{reading}")).lines == (line,)
    finally:
        os.close(reading)
