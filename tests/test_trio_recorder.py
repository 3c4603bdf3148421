"""Recordings of calls in a folder: what stands beside the audio, and how calls end."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair

from listenproto import Audio, Dtmf, ListenVerb, MixType, Mode, Payload
from listenproto.recording._sidecar import BYTES_A_SECOND, LISTED, SECONDS_AHEAD
from listenproto_trio import (
    Answering,
    Call,
    CallEnded,
    Dropped,
    Key,
    Limits,
    Recorder,
    recover_wav,
    serve_stream,
    talk,
)
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
    Pipe,
    asking,
    audio,
    bare_platform,
    calling,
    virtual,
)

# What stands beside the audio.


@virtual
async def test_a_call_is_recorded_with_what_there_is_to_know_of_it(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    keys = [Key("5", at=0.12, duration=1600), Key("#", at=0.52)]  # in front of that message
    async with calling(recording_to(Recorder(str(tmp_path))), CLIPS, answering=OFF) as platform:
        await talk(platform, audio(1, 7), keys=keys)
    assert names_in(tmp_path) == FILES
    assert heard_in(tmp_path / f"{CALL_SID}.wav") == audio(1, 7)
    about = sidecar_of(tmp_path)
    times = [about.pop("startedAt"), about["end"].pop("endedAt")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)
    started, ended = map(datetime.fromisoformat, times)
    assert before <= started <= ended <= datetime.now(UTC)
    assert about == {
        "recording": 1,
        "wav": f"{CALL_SID}.wav",
        "sampleRate": RATE,
        "channels": 1,
        "parties": ["caller"],
        "mixType": "mono",
        "gapsFilled": False,
        "metadata": ATTRIBUTES,
        "truncated": False,
        "keys": [
            {"digit": "5", "duration": 1600, "at": RATE // 10},
            {"digit": "#", "duration": 800, "at": RATE // 2},
        ],
        "end": {
            "how": "closed",
            "code": 1000,
            "reason": "",
            "error": None,
            "clause": None,
            "samples": RATE,
            "seconds": 1.0,
            "gaps": [],
            "unlisted": 0,
            "samplesDropped": 0,
            "recordingError": None,
        },
    }


@virtual
async def test_stereo_is_recorded_as_sent(tmp_path: Path) -> None:
    both = b"\1\0\2\0" * 8000
    verb = ListenVerb(url="ws://app.example/", sample_rate=16000, mix_type=MixType.STEREO)
    async with calling(recording_to(Recorder(tmp_path)), verb, answering=OFF) as platform:
        await platform.capture(both)
    about = sidecar_of(tmp_path)
    assert (about["sampleRate"], about["channels"], about["mixType"]) == (16000, 2, "stereo")
    assert (about["end"]["samples"], about["end"]["seconds"]) == (8000, 0.5)
    assert recover_wav(tmp_path / f"{CALL_SID}.wav").samples == 8000


@virtual
async def test_the_sidecar_is_there_from_the_start(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with Recorder(tmp_path / "not" / "there").record(call) as recording:
            assert recording.path == tmp_path / "not" / "there" / f"{CALL_SID}.wav"
            assert recording.sidecar == recording.path.with_suffix(".json")
            first = json.loads(recording.sidecar.read_text())
            assert first["end"] is None
            assert first["metadata"] == ATTRIBUTES
            async for event in call:
                recording.take(event)
        last = json.loads(recording.sidecar.read_text())
        assert last.pop("end")["samples"] == recording.samples == 160
        assert last == {key: value for key, value in first.items() if key != "end"}
        seen.append(names_in(recording.path.parent))

    seen: list[list[str]] = []
    async with calling(record, CLIPS, answering=OFF) as platform:
        await platform.capture(audio(0.02))
    assert seen == [FILES]


@virtual
async def test_metadata_that_was_cut_is_on_record_as_such(tmp_path: Path) -> None:
    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        record = recording_to(Recorder(tmp_path))
        salvaging = Answering(mode=Mode.OFF, salvage_metadata=True)
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=salvaging))
        platform = await bare_platform(platform_stream)
        await platform.say('{"sampleRate":8000,"callSid":"call-1","note":"cut he')
        await platform_stream.aclose()
    about = sidecar_of(tmp_path)
    assert about["truncated"] is True
    assert about["metadata"] == {"callSid": CALL_SID}


@virtual
async def test_what_was_not_read_in_time_is_on_record(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            recording.take(await anext(call))
            await trio.sleep(10)
            async for event in call:
                recording.take(event)

    late = Answering(mode=Mode.OFF, limits=Limits(unread_seconds=1))
    async with calling(record, CLIPS, answering=late) as platform:
        await talk(platform, audio(5))
    end = end_of(tmp_path)
    (gap,) = end["gaps"]
    assert gap["at"] == 160
    assert gap["samples"] == end["samplesDropped"] > 0
    assert end["samples"] + gap["samples"] == 5 * RATE


@virtual
async def test_of_endless_keys_and_gaps_not_all_are_listed(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            for _ in range(LISTED + 3):
                recording.take(Dtmf("1"))
                recording.take(Dropped(samples=5))
                recording.take(Dropped(events=5))

    async with calling(record, CLIPS, answering=OFF):
        pass
    end = end_of(tmp_path)
    assert sidecar_of(tmp_path)["keys"] == LISTED * [{"digit": "1", "duration": None, "at": 0}]
    gap = {"at": 0, "samples": 5, "seconds": 5 / RATE, "why": "not read"}
    assert end["gaps"] == LISTED * [gap]
    assert end["unlisted"] == 6


def keys_of(folder: Path) -> str:
    return "".join(key["digit"] for key in sidecar_of(folder)["keys"])


@virtual
async def test_a_key_is_on_record_once_it_is_pressed(tmp_path: Path) -> None:
    """So it is not lost where the process is killed."""

    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            for key, so_far in (("5", "5"), ("#", "5#")):
                await trio.sleep(1)
                recording.take(Dtmf(key))
                assert keys_of(tmp_path) == so_far
                assert sidecar_of(tmp_path)["end"] is None
                assert names_in(tmp_path) == FILES

    async with calling(record, CLIPS, answering=OFF):
        pass
    assert (keys_of(tmp_path), end_of(tmp_path)["error"]) == ("5#", None)


@virtual
async def test_keys_in_a_row_are_on_record_at_once_in_a_pause(tmp_path: Path) -> None:
    """However large the metadata: no event may come behind the last of them."""

    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            for key in card:
                recording.take(Dtmf(key))
                on_record.append(keys_of(tmp_path))
                await trio.sleep(0.1)

    card = "4111111111111111#1225#123#"
    on_record: list[str] = []
    verb = attrs.evolve(CLIPS, metadata={"padding": "y" * 7800})
    async with calling(record, verb, answering=OFF):
        pass
    assert len(json.dumps(sidecar_of(tmp_path)["metadata"])) > 7800
    assert on_record == [card[:count] for count in range(1, len(card) + 1)]


@virtual
async def test_a_flood_of_keys_is_written_at_its_pace_and_told_in_whole(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        sidecar = tmp_path / f"{CALL_SID}.json"
        with started(Recorder(tmp_path, clock=trio.current_time), call) as recording:
            size = written = sidecar.stat().st_size
            start = trio.current_time()
            for number in range(3 * LISTED):
                recording.take(Dtmf(str(number % 10)))
                if size != sidecar.stat().st_size:
                    size = sidecar.stat().st_size
                    written += size
                if number % 100 == 0:
                    await trio.sleep(0.3)
            seconds = trio.current_time() - start + SECONDS_AHEAD
            assert size < written < BYTES_A_SECOND * seconds + size
            await trio.sleep(10)
            recording.take(Audio(audio(0.02)))
            assert keys_of(tmp_path) == LISTED // 10 * "0123456789"

    async with calling(record, CLIPS, answering=OFF):
        pass
    assert end_of(tmp_path)["error"] is None


# How calls end.


@virtual
async def test_a_call_ends_lost(tmp_path: Path) -> None:
    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        record = recording_to(Recorder(tmp_path))
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=OFF))
        platform = await bare_platform(platform_stream)
        await platform.say(json.dumps(ATTRIBUTES), audio(0.1))
        await platform_stream.aclose()
    end = end_of(tmp_path)
    assert (end["how"], end["code"], end["samples"]) == ("lost", None, 800)


@virtual
async def test_a_call_ends_by_a_protocol_error(tmp_path: Path) -> None:
    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        record = recording_to(Recorder(tmp_path))
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=OFF))
        platform = await bare_platform(platform_stream)
        await platform.say(json.dumps(ATTRIBUTES), audio(0.1))
        await platform_stream.send_all(b"\x82\x01\0")  # a frame without a mask
        await platform.closing()
        await platform_stream.aclose()
    end = end_of(tmp_path)
    assert (end["how"], end["code"], end["samples"]) == ("protocol error", None, 800)
    assert end["clause"].startswith("RFC 6455")
    assert end["error"].endswith(f"[{end['clause']}]")


@virtual
async def test_a_call_ends_by_a_disconnect(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path), call) as recording:
            recording.take(await anext(call))
            await call.disconnect()
            async for event in call:
                recording.take(event)

    async with calling(record, CLIPS) as platform:
        await platform.capture(audio(0.1))
        await platform.over()
    end = end_of(tmp_path)
    assert (end["how"], end["code"], end["samples"]) == ("disconnected", 1000, 800)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("the password is wordpass"), "ValueError"),
        (ExceptionGroup("", [CallEnded(), ExceptionGroup("", [KeyError("it")])]), "KeyError"),
    ],
)
@virtual
async def test_a_call_ends_as_its_handler_fails(
    tmp_path: Path, error: Exception, name: str
) -> None:
    async def record(call: Call) -> None:
        try:
            with started(Recorder(tmp_path), call) as recording:
                recording.take(Audio(audio(0.1)))
                raise error
        except type(error) as raised:
            assert raised is error

    async with calling(record, CLIPS):
        pass
    end = end_of(tmp_path)
    assert (end["how"], end["error"], end["samples"]) == ("failed", name, 800)
    assert "wordpass" not in (tmp_path / f"{CALL_SID}.json").read_text()


@virtual
async def test_a_call_ends_as_this_end_fails_while_it_reads(tmp_path: Path) -> None:
    class Broken(Pipe):
        async def receive(self) -> Payload:
            if (payload := await super().receive()) == "":
                raise LookupError("a library's own")
            return payload

    pipe = Broken(json.dumps(ATTRIBUTES), audio(0.1), "")
    with pytest.raises(LookupError):
        async with Call.over(pipe, answering=OFF) as call:
            await recording_to(Recorder(tmp_path))(call)
    end = end_of(tmp_path)
    assert (end["how"], end["error"], end["samples"]) == ("failed", "LookupError", 800)


@virtual
async def test_a_handler_leaves_or_is_cancelled_before_the_call_ends(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path / "left"), call):
            pass
        with trio.CancelScope() as scope, started(Recorder(tmp_path / "cancelled"), call):
            scope.cancel()
            await trio.lowlevel.checkpoint()
        with (
            trio.CancelScope() as scope,
            started(Recorder(tmp_path / "cancelled" / "deep"), call),
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
        done.set()

    done = trio.Event()
    async with calling(record, CLIPS):
        await done.wait()
    assert end_of(tmp_path / "left")["how"] == "left"
    assert end_of(tmp_path / "cancelled")["how"] == "cancelled"
    assert end_of(tmp_path / "cancelled" / "deep")["how"] == "cancelled"


@virtual
async def test_a_sender_meets_the_end_before_the_reader(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with suppress(CallEnded), started(Recorder(tmp_path / "lost"), call):
            raise CallEnded("the connection is lost")
        with started(Recorder(tmp_path / "closed"), call):
            await call.close(4000, "enough")
            with pytest.raises(CallEnded):
                await call.send_audio(audio(0.1))
            raise CallEnded

    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        streams = Answering(mode=Mode.STREAMING, limits=Limits(close_time=1))
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=streams))
        platform = await bare_platform(platform_stream)
        await platform.say(json.dumps(ATTRIBUTES))
        await trio.sleep(5)  # it answers nothing
        await platform_stream.aclose()
    assert end_of(tmp_path / "lost")["how"] == "lost"
    assert end_of(tmp_path / "closed")["how"] in ("left", "lost")


@virtual
async def test_no_credentials_are_on_record(tmp_path: Path) -> None:
    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        record = recording_to(Recorder(tmp_path))
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=OFF))
        platform = asking(platform_stream, "/secret?token=secret", Authorization="Basic secret")
        await platform.flush()
        await platform.hear()
        await platform.say(json.dumps(ATTRIBUTES))
        await platform_stream.aclose()
    assert names_in(tmp_path) == FILES
    assert "secret" not in (tmp_path / FILES[0]).read_text()
