"""Our platform end, answered by apps written with jambonz-python-sdk, as it is published.

The tests say what the SDK sends: where it follows the protocol, where it does not, and that the
call goes on all the same.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from jambonz_sdk.validator import JambonzValidator
from jambonz_sdk.webhook import WebhookResponse
from jambonz_sdk.websocket import create_endpoint
from jambonz_sdk.websocket.audio_stream import AudioStream

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    SUBPROTOCOLS,
    ClearMarks,
    Close,
    Disconnect,
    KillAudio,
    ListenEnd,
    ListenVerb,
    Mode,
    PlayAudio,
    Profile,
    Violation,
)
from listenproto._wav import wav_header
from listenproto_trio import CallRejected, Key
from tests.interop import HOST, RATE, Placed, noise, place_call, trio_test, verb

SAID = noise(RATE * 24 // 25)
"""As much as deployed platforms play: whole batches of 80 ms."""
EVENTS = ("audio", "dtmf", "playDone", "mark", "close", "error")

Told = list[tuple[Any, ...]]
"""What an AudioStream told its handlers: the event's name, and what came with it."""

profiles = pytest.mark.parametrize(
    "profile", [DOCUMENTED, DEPLOYED], ids=[DOCUMENTED.name, DEPLOYED.name]
)


@asynccontextmanager
async def sdk_app(on_connection: Callable[[AudioStream], Any]) -> AsyncIterator[str]:
    """An endpoint of the SDK with an audio service at /call; at the end all it does is done."""

    async def endpoint(task_status: trio.TaskStatus[tuple[int, Callable[[], object]]]) -> None:
        make_service, runner = await create_endpoint(host=HOST, port=0)
        make_service.audio(path="/call").on("connection", on_connection)
        stopped = asyncio.Event()
        stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        trio.from_thread.run_sync(task_status.started, (runner.addresses[0][1], stop))
        await stopped.wait()
        await runner.cleanup()

    async def run(*, task_status: trio.TaskStatus[tuple[int, Callable[[], object]]]) -> None:
        await trio.to_thread.run_sync(lambda: asyncio.run(endpoint(task_status)))

    async with trio.open_nursery() as nursery:
        port, stop = await nursery.start(run)
        try:
            yield f"ws://{HOST}:{port}/call"
        finally:
            stop()


def keep(stream: AudioStream, told: Told) -> None:
    """Have all that the stream tells its handlers kept."""
    for name in EVENTS:
        stream.on(name, lambda *args, name=name: told.append((name, *args)))


place = partial(place_call, subprotocols=SUBPROTOCOLS)


# The handshake.


@trio_test
async def test_it_answers_the_media_servers_subprotocol_only() -> None:
    async with sdk_app(lambda stream: None) as url:
        with pytest.raises(CallRejected, match="the server chose no subprotocol"):
            await place_call(verb(url, Mode.OFF))
        # Where a platform goes on all the same, the SDK takes it for its control connection.
        placed = await place_call(verb(url, Mode.OFF), allow_no_subprotocol=True)
    assert placed.record.lines[-1].payload == Close(4004, "No service for path")


@trio_test
async def test_an_unknown_path_is_closed_behind_the_handshake() -> None:
    async with sdk_app(lambda stream: None) as url:
        placed = await place(verb(f"{url}/other", Mode.OFF), SAID)
    assert placed.record.lines[-1].payload == Close(4004, "No audio service for path")
    assert placed.result.end is ListenEnd.APP_CLOSED


@pytest.mark.parametrize("name", ["listen", "stream"])
@pytest.mark.parametrize("options", [{}, {"sampleRate": 16000}, {"channel": 2}], ids=str)
@trio_test
async def test_the_verb_that_it_writes_can_be_carried_out(
    name: str, options: dict[str, int]
) -> None:
    """It writes every number with a fraction: 16000.0."""
    streams: list[AudioStream] = []
    response = WebhookResponse()
    async with sdk_app(streams.append) as url:
        way_back = {"enabled": True, "streaming": True, "sampleRate": 8000}
        getattr(response, name)(url=url, bidirectionalAudio=way_back, maxLength=0.1, **options)
        (written,) = json.loads(response.to_json_string())
        placed = await place(ListenVerb.from_json(written))
    assert placed.result.end is ListenEnd.MAX_LENGTH
    assert len(streams) == 1


# What it hears of ours.


@profiles
@trio_test
async def test_it_hears_audio_and_nothing_else(profile: Profile) -> None:
    told: Told = []
    streams: list[AudioStream] = []

    def on_connection(stream: AudioStream) -> None:
        streams.append(stream)
        keep(stream, told)

    async with sdk_app(on_connection) as url:
        listening = verb(
            url, Mode.OFF, sample_rate=16000, pass_dtmf=True, max_length=1, metadata={"tier": 1}
        )
        placed = await place(listening, noise(16000), keys=[Key("5", 0.5)], profile=profile)
    texts = [line.payload for line in placed.record.lines if isinstance(line.payload, str)]
    assert [json.loads(text).get("event") for text in texts] == [None, "dtmf"]
    assert b"".join(pcm for name, pcm in told if name == "audio") == noise(16000)
    # It waits for a "type": "setup", and for a "type": "dtmf" where jambonz sends an event.
    (stream,) = streams
    assert (stream.call_sid, stream.sample_rate, stream.metadata) == ("", 8000, {})
    # Nor does it tell of the close.
    assert {name for name, *_ in told} == {"audio"}
    assert placed.breaches(profile) == []


# What it says.


@profiles
@trio_test
async def test_its_stream_is_heard_exactly(profile: Profile) -> None:
    def on_connection(stream: AudioStream) -> None:
        stream.on("audio", stream.send_audio)

    async with sdk_app(on_connection) as url:
        placed = await place(
            verb(url, Mode.STREAMING),
            SAID,
            until=lambda placed: len(placed.audio) >= len(SAID),
            profile=profile,
        )
    assert placed.audio[: len(SAID)] == SAID
    assert placed.result.end is ListenEnd.HANGUP
    assert placed.breaches(profile) == []


@profiles
@trio_test
async def test_its_clips_play_to_the_end_and_it_hears_so(profile: Profile) -> None:
    told: Told = []
    wav = noise(1200, seed=1)

    def on_connection(stream: AudioStream) -> None:
        keep(stream, told)

        async def on_play_done(message: dict[str, Any]) -> None:
            if [name for name, *_ in told].count("playDone") == 2:
                await stream.disconnect()

        stream.on("playDone", on_play_done)

        async def play() -> None:
            await stream.play_audio(
                base64.b64encode(SAID).decode(), sample_rate=16000, id="raw", queue_play=True
            )
            await stream.play_audio(
                base64.b64encode(wav_header(2400, 24000) + wav).decode(),
                audio_content_type="wav",
                id="wav",
                queue_play=True,
            )

        return play()

    async with sdk_app(on_connection) as url:
        placed = await place(verb(url, Mode.CLIPS), profile=profile)
    heard = {16000: b"", 24000: b""}
    for piece in placed.heard:
        heard[piece.rate] += piece.pcm
    assert heard == {16000: SAID, 24000: wav}
    done = [message for name, message in told if name == "playDone"]
    if profile is DOCUMENTED:
        assert done == [{"type": "playDone"}] * 2
    else:
        assert [message["data"]["id"] for message in done] == ["raw", "wav"]
    assert placed.result.end is ListenEnd.DISCONNECT
    assert placed.breaches(profile) == []


@profiles
@trio_test
async def test_a_clip_that_it_does_not_ask_to_queue(profile: Profile) -> None:
    told: Told = []
    long, short = noise(10 * RATE, seed=1), noise(RATE, seed=2)

    async def on_connection(stream: AudioStream) -> None:
        keep(stream, told)

        async def on_play_done(message: dict[str, Any]) -> None:
            if [name for name, *_ in told].count("playDone") == 2:
                await stream.disconnect()

        stream.on("playDone", on_play_done)
        await stream.play_audio(base64.b64encode(long).decode())
        await stream.play_audio(base64.b64encode(short).decode())

    async with sdk_app(on_connection) as url:
        placed = await place(verb(url, Mode.CLIPS), profile=profile)
    clips = [seen for seen in placed.seen if isinstance(seen, PlayAudio)]
    assert [clip.queue_play for clip in clips] == [False, False]
    # the second waits where clips do so unasked, else it suspends the first
    before, after = placed.audio.split(short)
    assert before + after == long
    assert (after == b"") is (profile is DOCUMENTED)
    assert placed.breaches(profile) == []


@profiles
@pytest.mark.parametrize("mode", [Mode.CLIPS, Mode.STREAMING])
@trio_test
async def test_its_kill_audio_silences(profile: Profile, mode: Mode) -> None:
    minute = noise(60 * RATE)
    heard_by_then: list[int] = []

    async def on_connection(stream: AudioStream) -> None:
        if mode is Mode.CLIPS:
            await stream.play_audio(base64.b64encode(minute).decode())
        else:
            await stream.send_audio(minute)
        await stream.kill_audio()

    def half_a_second_later(placed: Placed) -> bool:
        if KillAudio() in placed.seen:
            heard_by_then.append(len(placed.audio))
        return len(heard_by_then) == 25

    async with sdk_app(on_connection) as url:
        placed = await place(verb(url, mode), until=half_a_second_later, profile=profile)
    assert len(set(heard_by_then)) == 1
    assert minute.startswith(placed.audio)
    assert len(placed.audio) < len(minute)
    assert placed.breaches(profile) == []


@profiles
@trio_test
async def test_its_mark_is_none_and_does_not_end_the_call(profile: Profile) -> None:
    told: Told = []

    async def on_connection(stream: AudioStream) -> None:
        keep(stream, told)
        await stream.send_mark("here")
        await stream.clear_marks()
        await stream.send_audio(SAID)

    async with sdk_app(on_connection) as url:
        placed = await place(
            verb(url, Mode.STREAMING),
            until=lambda placed: len(placed.audio) >= len(SAID),
            profile=profile,
        )
    (violation,) = [seen for seen in placed.seen if isinstance(seen, Violation)]
    assert violation.clause == "LP-MARK-5"
    assert violation.message.text == '{"type": "mark", "name": "here"}'  # no "data" around it
    assert "mark" not in [name for name, *_ in told]
    assert ClearMarks() in placed.seen
    assert placed.audio == SAID
    assert placed.result.end is ListenEnd.HANGUP
    assert placed.breaches(profile) == [f"app: {violation}"]


# Ends.


@trio_test
async def test_its_disconnect() -> None:
    async with sdk_app(AudioStream.disconnect) as url:
        placed = await place(verb(url, Mode.OFF), SAID)
    assert placed.seen == [Disconnect()]
    assert placed.result.end is ListenEnd.DISCONNECT
    assert placed.breaches() == []


@trio_test
async def test_its_close() -> None:
    async with sdk_app(AudioStream.close) as url:
        placed = await place(verb(url, Mode.OFF), SAID)
    assert placed.record.lines[-1].payload == Close(1000)
    assert placed.result.end is ListenEnd.APP_CLOSED
    assert placed.breaches() == []


@pytest.mark.parametrize("name", ["listen", "stream"])
def test_the_published_schema_takes_what_a_verb_is_written_as(name: str) -> None:
    """Also where it was read from what that schema does not take."""
    nested = {"verb": "listen", "transcriptionHook": "https://app.example/text"}
    read = ListenVerb.from_json(
        {
            name: {
                "url": "wss://app.example/calls",
                "sampleRate": "16000",
                "metadata": None,
                "timeout": None,
                "transcribe": nested,
                "bidirectionalAudio": {"enabled": None, "streaming": True, "sampleRate": "8000"},
                "wsAuth": {"username": "u", "password": "p"},
            }
        }
    )
    validator = JambonzValidator()
    assert validator.validate_verb(read.to_json()) == []
    assert validator.validate_verb({**read.to_json(), "transcribe": nested}) != []
