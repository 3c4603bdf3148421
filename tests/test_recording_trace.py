"""Trace files: whole lines whatever the disk does, and files that are no traces."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from listenproto import Mode, Peer, TraceError, TraceHeader, TraceLine
from listenproto._trace import MAX_LINE
from listenproto.recording import TraceFile, read_trace_file
from tests.disk_support import files_up_to, small_disk


def test_a_trace_on_a_full_disk_ends_with_a_whole_line(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        file = TraceFile(disk / "trace.jsonl", TraceHeader(vantage=Peer.APP, way=Mode.OFF))
        with suppress(OSError):
            while True:
                file(Peer.PLATFORM, bytes(320))
        with pytest.raises(OSError, match="No space left on device: the trace ends here") as full:
            file(Peer.PLATFORM, bytes(320))
        file.close()
        assert full.value is file.error
        assert full.value.filename == str(file.path)
        lines = read_trace_file(file.path).lines
        assert len(lines) > 100
        assert all((line.payload, line.position) == (bytes(320), 0) for line in lines)


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


def test_a_wrong_line_is_named_before_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"^line 2: not valid JSON: "):
        read_trace_file(lines_of_a_trace(tmp_path, b"hello", b"\xff"))


@pytest.mark.parametrize("payload", [16 * 2**20 * b"\xff", 16 * 2**20 * "\0"])
def test_the_longest_message_is_read_back(tmp_path: Path, payload: bytes | str) -> None:
    line = TraceLine(2**60, Peer.PLATFORM, 2**60, payload)
    trace = read_trace_file(lines_of_a_trace(tmp_path, line.to_json().encode(), b""))
    assert trace.lines == (line,)


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
