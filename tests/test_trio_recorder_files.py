"""Recordings of calls: their names, whatever a platform sends, and what a disk does to them."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from listenproto import Audio, Dtmf
from listenproto.recording._names import file_stem
from listenproto_trio import (
    Call,
    CallEnded,
    Key,
    Recorder,
    recover_wav,
    serve_stream,
    talk,
)
from tests.disk_support import files_up_to, make_read_only, small_disk
from tests.recording_support import (
    FILES,
    OFF,
    end_of,
    heard_in,
    names_in,
    recording_to,
    sidecar_of,
    started,
)
from tests.trio_support import (
    ATTRIBUTES,
    CALL_SID,
    CLIPS,
    RATE,
    STREAM,
    audio,
    bare_platform,
    calling,
    virtual,
)

# Names.

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\boot.ini",
    "C:evil",
    "",
    ".",
    "..",
    "\0",
    "a\0b",
    "a" * 5000,
    "\u00e9" * 5000,
    "CON",
    "nul",
    "Com1",
    "lpt9.txt",
    "-rf",
    "--",
    ".hidden",
    "trailing.",
    "trailing ",
    "two\nlines",
    "\u202egnp.exe",
    "\ud800",
    "~root",
    "$(reboot)",
    "a;b|c&d",
    "%2e%2e%2f",
    17,
    1e300,
    True,
    None,
    [],
    {"callSid": "x"},
]


@given(st.text() | st.sampled_from(HOSTILE) | st.text("./\\-_ aCONnul19\0"))
@example("CON")
def test_any_name_is_portable(wanted: object) -> None:
    stem = file_stem(wanted)
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,103}[A-Za-z0-9])?", stem)
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)", stem)
    assert file_stem(stem) == stem or stem.startswith("call-")


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,60}[A-Za-z0-9])?", fullmatch=True))
@example("3d5bd3a1-6e1c-123b-4abf-0a8a5b1c9a4e")
@example("X-ray-X")
def test_a_good_name_is_kept(wanted: str) -> None:
    stem = file_stem(wanted)
    assert stem == wanted or stem == f"call-{wanted}"


def test_a_long_name_is_cut() -> None:
    assert file_stem("a" * 5000) == "a" * 100


async def record_once(folder: Path, attributes: Mapping[str, Any], **options: Any) -> None:
    """Record a call that is over at once, of a platform that is not ours: it may say anything."""
    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        record = recording_to(Recorder(folder, **options))
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=OFF))
        platform = await bare_platform(platform_stream)
        await platform.say(json.dumps(attributes), audio(0.02))
        await platform_stream.aclose()


@virtual
async def test_hostile_calls_leave_sane_files_in_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    sids = [sid for sid in HOSTILE if sid != "\ud800"]  # which is no JSON
    for sid in sids:
        await record_once(folder, {"callSid": sid, "token": "kept"})
    await record_once(folder, {})
    assert names_in(tmp_path) == ["calls"]
    names = names_in(folder)
    assert len(names) == 2 * (len(sids) + 1)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{,120}\.(wav|json)", name) for name in names)
    noted = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
    assert all(heard_in(folder / one["wav"]) == audio(0.02) for one in noted)
    assert all((folder / one["wav"]).with_suffix(".json").exists() for one in noted)
    kept = sorted(repr(one["metadata"].get("callSid", "absent")) for one in noted)
    assert kept == sorted(map(repr, [*sids, "absent"]))


@virtual
async def test_a_name_can_be_chosen_and_is_as_safe(tmp_path: Path) -> None:
    def caller(metadata: Any) -> object:
        return metadata.attributes["from"]

    await record_once(tmp_path, {"from": "+15550100"}, name=caller)
    await record_once(tmp_path, {"from": "../up"}, name=caller)
    await record_once(tmp_path, {"from": 5}, name=caller)
    stems = ["15550100", "call", "up"]
    assert names_in(tmp_path) == [f"{stem}.{end}" for stem in stems for end in ("json", "wav")]


@virtual
async def test_nobody_else_may_read_a_recording(tmp_path: Path) -> None:
    def modes() -> dict[str, int]:
        return {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call):
            assert modes() == dict.fromkeys(FILES, 0o600)

    before = os.umask(0)
    try:
        async with calling(record, CLIPS):
            pass
    finally:
        os.umask(before)
    assert modes() == dict.fromkeys(FILES, 0o600)


@virtual
async def test_two_listens_of_one_call_are_two_recordings(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        recorders = Recorder(tmp_path), Recorder(tmp_path)
        with started(recorders[0], call) as first, started(recorders[1], call) as second:
            first.take(Audio(audio(0.1, 1)))
            second.take(Audio(audio(0.1, 2)))

    async with calling(record, CLIPS):
        pass
    assert names_in(tmp_path) == [
        f"{CALL_SID}-2.json",
        f"{CALL_SID}-2.wav",
        f"{CALL_SID}.json",
        f"{CALL_SID}.wav",
    ]
    assert heard_in(tmp_path / f"{CALL_SID}.wav") == audio(0.1, 1)
    assert heard_in(tmp_path / sidecar_of(tmp_path, f"{CALL_SID}-2")["wav"]) == audio(0.1, 2)


@virtual
async def test_from_the_tenth_on_names_are_random(tmp_path: Path) -> None:
    for _ in range(12):
        await record_once(tmp_path, ATTRIBUTES)
    stems = {path.stem.removeprefix(CALL_SID) for path in tmp_path.iterdir()}
    counted = {"", *(f"-{number}" for number in range(2, 10))}
    assert counted < stems
    assert all(re.fullmatch("-[0-9a-f]{8}", stem) for stem in stems - counted)
    assert len(stems) == 12


@pytest.mark.parametrize("suffix", [".wav", ".json", ".trace.jsonl", ".new"])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
@virtual
async def test_nothing_is_overwritten(tmp_path: Path, suffix: str, kind: str) -> None:
    taken = tmp_path / f"{CALL_SID}{suffix}"
    if kind == "file":
        taken.write_text("precious")
    elif kind == "link":
        taken.symlink_to(tmp_path / "nowhere")
    else:
        taken.mkdir()
    before = taken.lstat()
    await record_once(tmp_path, ATTRIBUTES)
    assert taken.lstat()[:8] == before[:8]
    assert kind != "file" or taken.read_text() == "precious"
    stems = [f"{CALL_SID}-2.json", f"{CALL_SID}-2.wav"]
    assert names_in(tmp_path) == sorted([*stems, taken.name])


@virtual
async def test_what_is_no_text_is_replaced_in_a_sidecar(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            recording.take(Dtmf("x\ud800"))

    async with calling(record, CLIPS):
        pass
    assert sidecar_of(tmp_path)["keys"][0]["digit"] == "x\ufffd"


# What a disk does.


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, all of it on one call."""
    logged = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert all(one.name == "listenproto" for one in logged)
    assert all(one.call_sid == CALL_SID for one in logged)  # type: ignore[attr-defined]
    said = [one.getMessage() for one in logged]
    assert "\n" not in "".join(said)
    return said


def one_line(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged, which must be one line."""
    (said,) = lines(caplog)
    return said


@virtual
async def test_a_full_disk_costs_that_recording_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = audio(10, 3)
    ended: list[OSError | None] = []

    async def record(call: Call) -> None:
        good, bad = Recorder(tmp_path / "good"), Recorder(disk)
        with good.record(call) as kept, bad.record(call) as recording:
            async for event in call:
                kept.take(event)
                recording.take(event)
                if isinstance(event, Audio):
                    with suppress(CallEnded):
                        await call.send_audio(event.pcm)
            assert not call.error
        ended.append(recording.error)

    with small_disk(tmp_path) as disk:
        async with calling(record, STREAM) as platform:
            await talk(platform, said, keys=[Key("1", at=9)])
        (error,) = ended
        path = disk / f"{CALL_SID}.wav"
        assert names_in(disk) == FILES
        assert isinstance(error, OSError)
        kept = heard_in(path)
        assert said.startswith(kept)
        assert len(kept) > 48 * 1024
        seconds = len(kept) / 2 / RATE
        full = "No space left on device"
        assert lines(caplog) == [
            f"recording {path}: {full}: the recording ends after {seconds:.2f} s",
            f"recording {disk / FILES[0]}: {full}: call summary not written",
        ]
        assert sidecar_of(disk)["end"] is None
        assert not recover_wav(path).mended
        assert sidecar_of(disk)["wav"] == path.name
    assert heard_in(tmp_path / "good" / path.name) == said
    assert sidecar_of(tmp_path / "good")["keys"][0]["at"] == 9 * RATE - 160


@virtual
async def test_a_recording_that_ends_before_the_call_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            recording.take(Audio(audio(0.5)))
            with files_up_to(10_000):
                recording.take(Audio(audio(0.5)))
            recording.take(Audio(audio(0.5)))
            recording.take(Dtmf("1"))
            assert recording.error is not None

    async with calling(record, CLIPS):
        pass
    end = end_of(tmp_path)
    assert end["samples"] == (10_000 - 80) // 2
    assert end["recordingError"] == "File too large: the recording ends after 0.62 s"
    keys = [{"digit": "1", "duration": None, "at": end["samples"]}]
    assert sidecar_of(tmp_path)["keys"] == keys
    assert one_line(caplog).endswith(end["recordingError"])


@pytest.mark.parametrize(("room", "left"), [(0, "wav"), (200, "json")])
@virtual
async def test_a_recording_that_cannot_start_leaves_no_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int, left: str
) -> None:
    async def record(call: Call) -> None:
        recorder = Recorder(tmp_path)
        with files_up_to(room), recorder.record(call) as recording:
            recording.take(Audio(audio(0.5)))
            recording.take(Dtmf("1"))
        assert recording.error is not None
        assert (recording.path, recording.sidecar, recording.samples) == (None, None, 0)
        assert isinstance(await anext(call), Audio)

    async with calling(record, CLIPS) as platform:
        await platform.capture(audio(0.1))
    assert names_in(tmp_path) == []
    path = tmp_path / f"{CALL_SID}.{left}"
    assert one_line(caplog) == f"recording {path}: File too large"


@virtual
async def test_where_no_last_sidecar_can_be_written_the_first_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def record(call: Call) -> None:
        with files_up_to(10_000), started(Recorder(tmp_path), call) as recording:
            recording.take(Audio(audio(0.5)))
            for _ in range(300):  # of fifty bytes each in the sidecar
                recording.take(Dtmf("1"))
        assert recording.error is not None

    async with calling(record, CLIPS):
        pass
    assert names_in(tmp_path) == FILES
    assert sidecar_of(tmp_path)["end"] is None
    assert heard_in(tmp_path / FILES[1]) == audio(0.5)
    assert one_line(caplog) == (
        f"recording {tmp_path / FILES[0]}: File too large: call summary not written"
    )


@virtual
async def test_a_sidecar_that_cannot_be_replaced_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = tmp_path / FILES[0]
    seen: list[list[str]] = []

    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            sidecar.unlink()
            sidecar.mkdir()
            recording.take(Dtmf("1"))
            seen.append(names_in(tmp_path))
            sidecar.rmdir()
            recording.take(Dtmf("2"))
            seen.append([key["digit"] for key in sidecar_of(tmp_path)["keys"]])

    async with calling(record, CLIPS):
        pass
    assert seen == [FILES, ["1", "2"]]
    assert end_of(tmp_path)["error"] is None
    assert names_in(tmp_path) == FILES
    assert lines(caplog) == []


@virtual
async def test_a_header_that_cannot_be_written_at_the_end_costs_no_audio(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack = ExitStack()

    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            recording.take(Audio(audio(0.5)))
            stack.enter_context(files_up_to(0))
        stack.close()
        assert recording.error is not None

    async with calling(record, CLIPS):
        pass
    path = tmp_path / FILES[1]
    said, of_the_sidecar = lines(caplog)
    assert said.endswith("File too large: the recording ends after 0.50 s")
    assert of_the_sidecar.startswith(f"recording {tmp_path / FILES[0]}: File too large: ")
    assert recover_wav(path).samples == RATE // 2


@virtual
async def test_a_folder_that_is_a_file_costs_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "file"
    folder.write_text("precious")
    async with calling(recording_to(Recorder(folder)), CLIPS, answering=OFF) as platform:
        await talk(platform, audio(1))
    assert platform.closed is not None
    assert platform.closed.code == 1000
    assert folder.read_text() == "precious"
    assert one_line(caplog) == f"recording {folder / CALL_SID}.wav: Not a directory"


@virtual
async def test_a_folder_that_cannot_be_written_costs_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path) as disk:
        make_read_only(disk)
        folder = disk / "calls"
        async with calling(recording_to(Recorder(folder)), CLIPS, answering=OFF) as platform:
            await talk(platform, audio(1))
    assert platform.closed is not None
    assert platform.closed.code == 1000
    assert one_line(caplog) == f"recording {folder}: Read-only file system"
