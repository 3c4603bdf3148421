"""Recordings of both sides: left what the platform sent, right what the caller heard of the app."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

import listenproto.recording
from listenproto import DEPLOYED, DOCUMENTED, FLICKS, Audio, MixType, Mode, PlayAudio, Profile
from listenproto._wav import wav_header
from listenproto.recording._both_sides import MOST_SECONDS, Hearing
from listenproto_trio import Answering, Call, Recorder, serve_stream
from tests.both_support import (
    AFTER,
    PIECE,
    Stall,
    at_rate,
    check_same_sound,
    counted,
    heard_by_the_caller,
    recording,
    sides_of,
    talk,
    without,
)
from tests.recording_support import HEADER, sidecar_of, started
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

# Where the app's side stands.


async def barge_in(call: Call) -> None:
    """Speak, be interrupted, go on."""
    await call.send_audio(audio(0.3, 5))
    await trio.sleep(1 + AFTER)
    await call.send_audio(audio(1, 6))
    await call.mark("in between")
    await call.send_audio(audio(3, 7))
    await trio.sleep(2)
    await call.kill_audio(guard=0.1)
    await call.send_audio(audio(0.2, 8))
    await trio.sleep(0.1)
    await call.send_audio(audio(0.4, 9) + audio(0.08, 0))  # D33
    await call.mark("over")
    await call.clear_marks()


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=["documented", "deployed"])
@virtual
async def test_a_stream_stands_where_the_caller_heard_it(tmp_path: Path, profile: Profile) -> None:
    handler = recording(barge_in, Recorder(tmp_path, both=True))
    heard = await heard_by_the_caller(tmp_path, handler, audio(6, 3), profile=profile)
    assert sides_of(tmp_path) == (audio(6, 3), heard)
    assert heard.count(audio(0.3, 5) + audio(0.7, 0) + audio(1, 6) + audio(0.01, 7)) == 1
    assert heard.rstrip(b"\0").endswith((audio(0.2, 8) + audio(0.4, 9)).rstrip(b"\0"))
    assert audio(1.1, 7) not in heard


async def queue_clips(call: Call) -> None:
    """Play clips one behind the other, stop them, play others; one at once, at deployed ones."""
    for level in (5, 6):
        await call.play(PlayAudio(audio(0.5, level), sample_rate=RATE))
    await trio.sleep(2 + AFTER)
    for level in (7, 8, 9):
        await call.play(PlayAudio(audio(1, level), sample_rate=RATE))
    await trio.sleep(1.5)
    await call.kill_audio()
    await trio.sleep(1)
    await call.play(PlayAudio(audio(1, 10), sample_rate=RATE, queue_play=False))
    await trio.sleep(0.5)
    await call.play(PlayAudio(audio(1, 11), sample_rate=RATE))


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=["documented", "deployed"])
@virtual
async def test_clips_stand_where_the_caller_heard_them(tmp_path: Path, profile: Profile) -> None:
    handler = recording(queue_clips, Recorder(tmp_path, both=True))
    heard = await heard_by_the_caller(tmp_path, handler, audio(9, 3), verb=CLIPS, profile=profile)
    assert sides_of(tmp_path) == (audio(9, 3), heard)
    assert (audio(1, 10) in heard) == profile.clips_wait_unasked


@virtual
async def test_an_echo_is_heard_behind_what_it_echoes(tmp_path: Path) -> None:
    async def echo(call: Call) -> None:
        with started(Recorder(tmp_path, both=True), call) as recording:
            async for event in call:
                recording.take(event)
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)

    said = struct.pack("<16000h", *range(16000))
    async with calling(echo, STREAM) as platform:
        await talk(platform, said)
    left, right = sides_of(tmp_path)
    assert left == said
    assert right == bytes(PIECE) + said[:-PIECE]


@virtual
async def test_what_is_not_heard_before_the_end_is_not_recorded(tmp_path: Path) -> None:
    async def app(call: Call) -> None:
        await call.send_audio(audio(10, 5))

    async with calling(recording(app, Recorder(tmp_path, both=True)), STREAM) as platform:
        await talk(platform, audio(1, 3))
    assert sides_of(tmp_path) == (audio(1, 3), audio(1, 5))


@virtual
async def test_nothing_is_heard_behind_a_disconnect(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path, both=True), call) as recording:
            await call.send_audio(audio(1, 5))
            recording.take(await anext(call))
            await call.disconnect()
            async for event in call:
                recording.take(event)

    platform_stream, app_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        streaming = Answering(mode=Mode.STREAMING)
        nursery.start_soon(partial(serve_stream, record, app_stream, answering=streaming))
        platform = await bare_platform(platform_stream)
        await platform.say(json.dumps(ATTRIBUTES))
        for level in (3, 4):  # the second is on its way then
            await trio.sleep(0.1)
            await platform.say(audio(0.1, level))
        await platform_stream.aclose()
    assert sides_of(tmp_path) == (audio(0.1, 3) + audio(0.1, 4), audio(0.1, 5) + audio(0.1, 0))


# What stands on the left, and rates.


@pytest.mark.parametrize("mix", MixType)
@virtual
async def test_on_the_left_is_all_that_the_platform_sends(tmp_path: Path, mix: MixType) -> None:
    async def app(call: Call) -> None:
        await call.send_audio(audio(0.5, 5))

    said = struct.pack("<4000h", *range(4000))
    if mix is MixType.STEREO:
        said = struct.pack("<8000h", *(x for n in range(4000) for x in (n - 1000, n + 1001)))
    verb = attrs.evolve(STREAM, mix_type=mix)
    async with calling(recording(app, Recorder(tmp_path, both=True)), verb) as platform:
        await trio.sleep(1)
        await platform.capture(said)
    assert sides_of(tmp_path) == (struct.pack("<4000h", *range(4000)), audio(0.5, 5))
    about = sidecar_of(tmp_path)
    assert (about["channels"], about["mixType"]) == (2, mix.value)
    caller = "caller" if mix is MixType.MONO else "caller and callee"
    assert about["parties"] == [caller, "app"]


def check_levels(pcm: bytes, levels: Sequence[tuple[float, int]], *, edge: int = 100) -> None:
    """That it has these levels for so many seconds each, but for a filter's ringing in between."""
    samples = memoryview(pcm).cast("h")
    start = 0
    for seconds, level in levels:
        end = start + round(seconds * RATE)
        assert {abs(sample - level) < 30 for sample in samples[start + edge : end - edge]} == {True}
        start = end
    assert start == len(samples)


@pytest.mark.parametrize("rate", [16000, 24000, 48000, 64000])
@virtual
async def test_a_stream_of_another_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    async def app(call: Call) -> None:
        await trio.sleep(0.5 + AFTER)
        await call.speak(struct.pack("<h", 3000) * rate)
        await trio.sleep(1)
        await call.send_audio(struct.pack("<h", 5000) * rate * 3)
        await trio.sleep(1)
        await call.kill_audio()

    handler = recording(app, Recorder(tmp_path, both=True))
    heard = await heard_by_the_caller(tmp_path, handler, audio(4, 3), verb=at_rate(rate))
    left, right = sides_of(tmp_path)
    assert left == audio(4, 3)
    check_levels(right, [(0.5, 0), (1, 3000), (0.8, 0), (1, 5000), (0.7, 0)])
    check_same_sound(right, heard)


@virtual
async def test_clips_of_any_form_are_resampled(tmp_path: Path) -> None:
    def raw(level: int, rate: int) -> PlayAudio:
        return PlayAudio(struct.pack("<h", level) * rate, sample_rate=rate)

    def wav(level: int, rate: int) -> PlayAudio:
        pcm = struct.pack("<2h", level + 500, level - 500) * rate
        return PlayAudio(wav_header(len(pcm), rate, 2) + pcm, "wav")

    async def app(call: Call) -> None:
        await trio.sleep(0.5 + AFTER)
        for clip in clips:
            await call.play(clip)

    clips = [raw(1000, 16000), raw(2000, 8000), raw(3000, 24000), wav(4000, 44100), wav(5000, 8000)]
    handler = recording(app, Recorder(tmp_path, both=True))
    heard = await heard_by_the_caller(tmp_path, handler, audio(6, 3), verb=CLIPS)
    left, right = sides_of(tmp_path)
    assert left == audio(6, 3)
    check_levels(right, [(0.5, 0), *((1, 1000 * level) for level in range(1, 6)), (0.5, 0)])
    check_same_sound(right, heard)


@virtual
async def test_the_left_side_waits_for_no_resampling(tmp_path: Path) -> None:
    """So where the process dies, no more of it is lost than of any recording."""

    async def app(call: Call) -> None:
        await call.send_audio(struct.pack("<h", 3000) * 16000)

    verb = at_rate(16000)
    async with calling(
        recording(app, Recorder(tmp_path, both=True)), verb, answering=Answering(verb=verb)
    ) as platform:
        await wait_all_tasks_blocked()
        for number in range(1, 51):
            await platform.capture(audio(0.02, 3))
            await wait_all_tasks_blocked()
            written = memoryview((tmp_path / f"{CALL_SID}.wav").read_bytes()[HEADER:]).cast("h")
            assert written[::2].tobytes() == audio(number * 0.02, 3)
            known = max(0, number * 160 - RATE // 4)
            assert all(abs(sample - 3000) < 30 for sample in written[201 : 2 * known : 2])
    check_levels(sides_of(tmp_path)[1], [(1, 3000)])


@virtual
async def test_what_is_not_given_to_it_is_on_neither_side(tmp_path: Path) -> None:
    async def record(call: Call) -> None:
        with started(Recorder(tmp_path, both=True), call) as recording:
            await call.send_audio(counted(3, start=100))
            number = 0
            async for event in call:
                number += 1
                if not 50 < number <= 100:  # it says its card's number
                    recording.take(event)

    async with calling(record, STREAM) as platform:
        await talk(platform, counted(3))
    secret = [Stall(1, 1, lost=True)]
    said = (without(counted(3, start), secret) for start in (0, 100))
    assert sides_of(tmp_path) == tuple(said)


@virtual
async def test_of_what_was_before_the_recording_the_right_side_knows_nothing(
    tmp_path: Path,
) -> None:
    async def record(call: Call) -> None:
        await call.send_audio(audio(9, 5))
        await trio.sleep(0.99)
        await anext(call)
        await call.kill_audio()
        await call.send_audio(audio(0.5, 6))
        with started(Recorder(tmp_path, both=True), call) as recording:
            await call.send_audio(audio(1, 7))
            async for event in call:
                recording.take(event)
            recording.take(Audio(audio(0.5, 8)))  # of nobody's call

    async with calling(record, STREAM) as platform:
        await talk(platform, audio(3, 3))
    early = 49 * 0.02
    left, right = sides_of(tmp_path)
    assert left == audio(2.98, 3) + audio(0.5, 8)
    assert right == audio(early - 0.02, 0) + audio(1, 7) + audio(2 - early + 0.5, 0)


def test_how_much_is_kept_in_memory_is_bounded() -> None:
    hearing = Hearing(rate=RATE, stream_rate=RATE, profile=DOCUMENTED)
    hour = bytes(2 * RATE * round(MOST_SECONDS))
    hearing.sent(Audio(hour))
    hearing.sent(Audio(audio(1, 5)))  # refused, as it would be by a platform of ours
    hearing.reach(10 * FLICKS)
    hearing.sent(Audio(audio(5, 6)))
    for number in range(20, 3700, 10):
        hearing.reach(number * FLICKS)
    assert hearing.known == 3690 * RATE
    pieces = list(hearing.pieces(0, hearing.known))
    held = sum(len(pcm) for _, pcm in pieces)
    assert len(hour) - 2 * 10 * RATE < held <= len(hour)
    where, last = pieces[-1]
    assert (where + len(last) // 2, last[-2:]) == (3605 * RATE, audio(0.1, 6)[:2])


def test_clips_beyond_an_hour_are_not_recorded() -> None:
    hearing = Hearing(rate=RATE, stream_rate=RATE, profile=DOCUMENTED)
    for pcm in (bytes(2 * RATE * round(MOST_SECONDS)), audio(1, 5)):
        hearing.sent(PlayAudio(pcm, sample_rate=RATE))
    hearing.reach(3700 * FLICKS)
    where, last = [*hearing.pieces(0, hearing.known)][-1]
    assert where + len(last) // 2 == 3600 * RATE


@pytest.mark.parametrize("missing", ["numpy", "soxr"])
def test_what_it_needs_is_said_at_once(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_both_sides", "_resampling"):
        monkeypatch.delitem(sys.modules, f"listenproto.recording.{name}")
        monkeypatch.delattr(listenproto.recording, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as failed:
        Recorder(tmp_path, both=True)
    said = "recording both sides needs numpy and soxr: pip install 'listenproto[recording]'"
    assert str(failed.value) == said
    Recorder(tmp_path, fill_gaps=True)
