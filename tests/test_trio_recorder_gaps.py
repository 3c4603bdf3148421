"""Recordings of calls with audio that never came, that came late, or that was not read in time."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import attrs
import pytest
import trio

from listenproto import MixType, Mode
from listenproto.recording._arrivals import Arrivals
from listenproto_trio import Answering, Call, Limits, Recorder, recover_wav
from tests.both_support import (
    AFTER,
    Stall,
    at_rate,
    check_same_sound,
    counted,
    heard_by_the_caller,
    quiet,
    recording,
    sides_of,
    talk,
    without,
)
from tests.disk_support import files_up_to, small_disk
from tests.recording_support import HEADER, end_of, heard_in, sidecar_of, started
from tests.trio_support import CALL_SID, CLIPS, RATE, STREAM, audio, calling, virtual


async def talk_a_lot(call: Call) -> None:
    """Say things before, in, across and behind the stalls of the tests, and be interrupted."""
    start = trio.current_time()
    sample = struct.Struct("<h").pack
    for level, at, seconds in (
        (1000, 1, 2.5),
        (2000, 2.5, 1),
        (3000, 5.4, 0.3),
        (4000, 6.02, 4),
        (0, 8, 0),
        (5000, 8.5, 1.5),
        (6000, 13.3, 2),
        (7000, 21.5, 1),
        (8000, 23, 9),
    ):
        await trio.sleep_until(start + at + AFTER)
        if level == 0:
            await call.kill_audio()
        await call.send_audio(sample(level) * round(seconds * call.stream_rate))


STALLS = {
    "one is lost": [Stall(2, 3, lost=True)],
    "one comes late": [Stall(2, 3, lost=False)],
    "two are lost": [Stall(2, 3, lost=True), Stall(7, 1, lost=True)],
    "one is lost, the next comes late": [Stall(2, 1, lost=True), Stall(5, 4, lost=False)],
    "one comes late, the next is lost": [Stall(2, 1, lost=False), Stall(5, 4, lost=True)],
    "a long one is lost": [Stall(3, 14, lost=True)],
    "one before the end is lost": [Stall(22, 2, lost=True)],
}


def both_ways(folder: Path, *, both: bool = True) -> tuple[Recorder, Recorder]:
    """Recorders that go on without what is missing, and that put silence there."""
    plain = Recorder(folder / "plain", both=both)
    return plain, Recorder(folder / "filled", both=both, fill_gaps=True)


@pytest.mark.no_cover
@pytest.mark.parametrize("stalls", STALLS.values(), ids=STALLS)
@virtual
async def test_both_sides_stand_together_whatever_never_came(
    tmp_path: Path, stalls: list[Stall]
) -> None:
    said = counted(26)
    handler = recording(talk_a_lot, *both_ways(tmp_path))
    heard = await heard_by_the_caller(tmp_path, handler, said, *stalls)
    assert sides_of(tmp_path / "plain") == (without(said, stalls), without(heard, stalls))
    assert sides_of(tmp_path / "filled") == (without(said, stalls, fill=bytes(2)), heard)
    lost = [stall for stall in stalls if stall.lost]
    for name, filled in (("plain", False), ("filled", True)):
        assert sidecar_of(tmp_path / name)["gapsFilled"] == filled
        gone = 0.0
        for stall, gap in zip(lost, end_of(tmp_path / name)["gaps"], strict=True):
            assert gap == {
                "at": round((stall.start - gone) * RATE),
                "samples": round(stall.seconds * RATE),
                "seconds": stall.seconds,
                "why": "not received",
            }
            gone += 0 if filled else stall.seconds


@virtual
async def test_gaps_may_be_found_before_what_is_around_them_is_read(tmp_path: Path) -> None:
    stalls, said = STALLS["two are lost"], counted(26)
    handler = recording(talk_a_lot, *both_ways(tmp_path), late=24)
    heard = await heard_by_the_caller(tmp_path, handler, said, *stalls)
    assert sides_of(tmp_path / "plain") == (without(said, stalls), without(heard, stalls))
    assert sides_of(tmp_path / "filled") == (without(said, stalls, fill=bytes(2)), heard)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["two are lost", "one is lost, the next comes late"])
@virtual
async def test_what_is_resampled_is_put_right_too(tmp_path: Path, name: str) -> None:
    stalls, said = STALLS[name], counted(26)
    handler = recording(talk_a_lot, *both_ways(tmp_path))
    heard = await heard_by_the_caller(tmp_path, handler, said, *stalls, verb=at_rate(24000))
    check_same_sound(sides_of(tmp_path / "plain")[1], without(heard, stalls))
    check_same_sound(sides_of(tmp_path / "filled")[1], heard)


@pytest.mark.parametrize("channels", [1, 2])
@virtual
async def test_gaps_are_found_in_any_recording(tmp_path: Path, channels: int) -> None:
    said = counted(14 * channels)
    verb = attrs.evolve(CLIPS, mix_type=MixType.STEREO if channels == 2 else MixType.MONO)
    async with calling(recording(quiet, *both_ways(tmp_path, both=False)), verb) as platform:
        await talk(platform, said, Stall(1, 2, lost=True), Stall(4, 1, lost=False))
    start, end = (at * RATE * 2 * channels for at in (1, 3))
    plain, filled = (
        heard_in(tmp_path / name / f"{CALL_SID}.wav", channels) for name in ("plain", "filled")
    )
    assert plain == said[:start] + said[end:]
    assert filled == said[:start] + bytes(end - start) + said[end:]
    for name, written in (("plain", plain), ("filled", filled)):
        about = sidecar_of(tmp_path / name)
        (gap,) = about["end"]["gaps"]
        assert (gap["at"], gap["seconds"], gap["why"]) == (RATE, 2.0, "not received")
        assert about["parties"] == ["caller", "callee"][:channels]
        assert about["end"]["samples"] == len(written) // 2 // channels


@virtual
async def test_keys_stay_where_they_were_pressed(tmp_path: Path) -> None:
    async with calling(recording(quiet, *both_ways(tmp_path)), CLIPS) as platform:
        await talk(platform, audio(1))
        platform.key("1")
        await talk(platform, audio(5), Stall(0, 2, lost=True), Stall(3, 1, lost=True))
        platform.key("2")
        await talk(platform, audio(14), Stall(1, 1, lost=True))
    for name, keys, gaps in (("plain", [1, 3], [1, 2, 4]), ("filled", [1, 6], [1, 4, 7])):
        about = sidecar_of(tmp_path / name)
        assert [key["at"] / RATE for key in about["keys"]] == keys
        assert [gap["at"] / RATE for gap in about["end"]["gaps"]] == gaps


@pytest.mark.parametrize("fill_gaps", [False, True], ids=["not filled", "filled"])
@virtual
async def test_what_is_not_read_in_time_is_missing_on_both_sides(
    tmp_path: Path, fill_gaps: bool
) -> None:
    async def record(call: Call) -> None:
        recorder = Recorder(tmp_path, both=True, fill_gaps=fill_gaps)
        with started(recorder, call) as recording:
            await call.send_audio(counted(8, start=100))
            for _ in range(50):
                recording.take(await anext(call))
            await trio.sleep(4)
            async for event in call:
                recording.take(event)

    late = Answering(mode=Mode.STREAMING, limits=Limits(unread_seconds=1))
    said = counted(10)
    async with calling(record, STREAM, answering=late) as platform:
        await talk(platform, said)
    (gap,) = end_of(tmp_path)["gaps"]
    assert (gap["at"], gap["why"]) == (RATE, "not read")
    assert gap["samples"] > 2 * RATE
    lost = [Stall(1, gap["seconds"], lost=True)]
    left, right = sides_of(tmp_path)
    said_by_app = counted(8, start=100) + bytes(4 * RATE)
    if fill_gaps:
        assert (left, right) == (without(said, lost, fill=bytes(2)), said_by_app)
    else:
        assert (left, right) == (without(said, lost), without(said_by_app, lost))


@virtual
async def test_gaps_of_both_kinds_are_listed_in_their_order(tmp_path: Path) -> None:
    """Though it is known later that some never came than that some was not read."""

    async def record(call: Call) -> None:
        recorders = both_ways(tmp_path)
        with started(recorders[0], call) as plain, started(recorders[1], call) as filled:
            number = 0
            async for event in call:
                plain.take(event)
                filled.take(event)
                number += 1
                if number == 150:  # of the second after the gap
                    await trio.sleep(4)

    late = Answering(mode=Mode.OFF, limits=Limits(unread_seconds=1))
    said, lost = counted(16), [Stall(1, 2, lost=True)]
    async with calling(record, CLIPS, answering=late) as platform:
        await talk(platform, said, *lost)
    for name, start in (("plain", 3.0), ("filled", 5.0)):
        first, second = end_of(tmp_path / name)["gaps"]
        assert (first["why"], first["at"], first["seconds"]) == ("not received", RATE, 2.0)
        assert (second["why"], second["at"]) == ("not read", start * RATE)
        lost[1:] = [Stall(5, second["seconds"], lost=True)]
    assert sides_of(tmp_path / "plain")[0] == without(said, lost)
    assert sides_of(tmp_path / "filled")[0] == without(said, lost, fill=bytes(2))


@virtual
async def test_of_audio_that_is_not_recorded_nothing_is_kept(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        arrivals = Arrivals(call)
        await done.wait()
        kept.append(len(arrivals._positions))
        arrivals.end()
        kept.append(len(call.watchers))

    done = trio.Event()
    kept: list[int] = []
    late = Answering(mode=Mode.OFF, limits=Limits(unread_seconds=1))
    async with calling(record, CLIPS, answering=late) as platform:
        await talk(platform, audio(20))
        done.set()
    waiting, watching = kept
    assert 0 < waiting <= 50
    assert watching == 0


# What a disk does.


def said_of(folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of the WAV."""
    path = str(folder / f"{CALL_SID}.wav")
    logged = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    return [line.partition(f"recording {path}: ")[2] for line in logged if path in line]


@pytest.mark.parametrize("both", [False, True])
@virtual
async def test_a_gap_that_a_disk_has_no_room_for_takes_nothing_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, both: bool
) -> None:
    async def app(call: Call) -> None:
        watching.append(len(call.watchers))
        await talk_a_lot(call)
        watching.append(len(call.watchers))

    watching: list[int] = []
    handler = recording(app, Recorder(tmp_path, both=both, fill_gaps=True))
    stall = Stall(3, 8, lost=True)
    channels = 2 if both else 1
    with files_up_to(HEADER + 16 * RATE * 2 * channels):
        async with calling(handler, STREAM) as platform:
            await talk(platform, counted(24), stall)
    assert said_of(tmp_path, caplog) == ["File too large: the recording ends after 13.02 s"]
    written = heard_in(tmp_path / f"{CALL_SID}.wav", channels)
    left = memoryview(written).cast("h")[::channels].tobytes()
    assert left == without(counted(24), [stall])[: len(left)]
    end = end_of(tmp_path)
    assert (end["samples"], end["gaps"]) == (len(left) // 2, [])
    assert watching == [1, 0]  # nothing is kept for it any more


@virtual
async def test_what_the_caller_heard_in_a_gap_may_find_no_room_on_a_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(call: Call) -> None:
        await call.send_audio(audio(20, 5))

    stall = Stall(0.5, 12, lost=True)
    with small_disk(tmp_path) as disk:
        recorder = Recorder(disk, both=True, fill_gaps=True)
        async with calling(recording(app, recorder), STREAM) as platform:
            await talk(platform, counted(13), stall)
        said = "No space left on device: the recording ends after 13.00 s"
        assert said_of(disk, caplog) == [said]
        assert recover_wav(disk / f"{CALL_SID}.wav").samples == 13 * RATE
        left, right = sides_of(disk)
    assert left == without(counted(13), [stall], fill=bytes(2))
    assert right[:RATE] == audio(0.5, 5)
