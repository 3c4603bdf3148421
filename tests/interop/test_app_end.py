"""Our app end, called by platforms that are not ours."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from listenproto import (
    SUBPROTOCOLS,
    Audio,
    Close,
    Closed,
    Dtmf,
    HandshakePolicy,
    MarkEvent,
    MixType,
    Mode,
    PlayAudio,
    PlaybackDone,
    basic_credentials,
)
from listenproto._wav import wav_header
from listenproto_trio import Call, CallEvent, Limits, Outcome
from tests.interop import (
    DIALS,
    PATIENCE,
    Dial,
    Refused,
    app_end,
    dial_websockets,
    noise,
    trio_test,
)

# The branches that it takes are counted elsewhere, and counting takes time.
pytestmark = pytest.mark.no_cover

METADATA = {
    "callSid": "c3a1",
    "direction": "inbound",
    "from": "+15550100",
    "to": "+15550199",
    "callerId": "Zoë",
    "customerData": {"tier": [1, 2]},
    "sampleRate": 16000,
    "mixType": "mono",
}

platforms = pytest.mark.parametrize("dial", DIALS.values(), ids=DIALS.keys())


def text(**message: Any) -> str:
    return json.dumps(message)


def listener(events: list[CallEvent]) -> Callable[[Call], Awaitable[None]]:
    """A handler that keeps what it is told, to the end of the call."""

    async def listen(call: Call) -> None:
        async for event in call:
            events.append(event)

    return listen


def pcm(events: list[CallEvent]) -> bytes:
    return b"".join(event.pcm for event in events if isinstance(event, Audio))


# The handshake.


@platforms
@pytest.mark.parametrize("offer", [*itertools.permutations(SUBPROTOCOLS, 2), *zip(SUBPROTOCOLS)])
@trio_test
async def test_the_first_subprotocol_offered_is_taken(dial: Dial, offer: tuple[str, ...]) -> None:
    async with (
        app_end(listener([]), policy=HandshakePolicy(paths={"/call"})) as app,
        dial(f"{app.url}/call?id=7", subprotocols=offer, headers={"X-Trunk": "north"}) as platform,
    ):
        assert platform.subprotocol == offer[0]
        await platform.say(**METADATA)
        await platform.close()
        call = await app.call()
    assert call.request.target == "/call?id=7"
    assert call.request.header("x-trunk") == "north"
    assert call.metadata.sample_rate == 16000
    assert call.metadata.mix_type is MixType.MONO
    assert dict(call.metadata.attributes) == {
        key: METADATA[key] for key in METADATA if key not in ("sampleRate", "mixType")
    }


@platforms
@trio_test
async def test_credentials_let_in(dial: Dial) -> None:
    async with app_end(
        listener([]), policy=HandshakePolicy(credentials=("jambonz", "pässword"))
    ) as app:
        headers = {"Authorization": basic_credentials("jambonz", "pässword")}
        async with dial(app.url, headers=headers) as platform:
            await platform.say(**METADATA)
            await platform.close()
            assert (await app.call()).closed == Closed(1000, "", clean=True)


@platforms
@pytest.mark.parametrize(
    ("path", "offer", "password", "status"),
    [
        ("/call", ["audio.jambonz.org"], "wrong", 401),
        ("/other", ["audio.jambonz.org"], "right", 404),
        ("/call", ["ws.jambonz.org"], "right", 400),
        ("/call", [], "right", 400),
    ],
)
@trio_test
async def test_refusals_say_why(
    dial: Dial, path: str, offer: list[str], password: str, status: int
) -> None:
    policy = HandshakePolicy(paths={"/call"}, credentials=("jambonz", "right"))
    headers = {"Authorization": basic_credentials("jambonz", password)}
    async with app_end(listener([]), policy=policy) as app:
        with pytest.raises(Refused) as caught:
            async with dial(app.url + path, subprotocols=offer, headers=headers):
                pass
    assert caught.value.status == status
    assert caught.value.body.strip()
    assert ("Www-Authenticate" in caught.value.headers) == (status == 401)
    assert app.calls == []


@platforms
@trio_test
async def test_one_call_more_than_may_be_open_is_refused_until_one_ends(dial: Dial) -> None:
    async with app_end(listener([]), policy=HandshakePolicy(max_calls=1)) as app:
        async with dial(app.url) as platform:
            with pytest.raises(Refused, match="503"):
                async with dial(app.url):
                    pass
            await platform.say(**METADATA)
            await platform.close()
        async with dial(app.url) as platform:
            assert platform.subprotocol == "audio.jambonz.org"


@trio_test
async def test_an_offer_to_compress_is_declined() -> None:
    events: list[CallEvent] = []
    async with app_end(listener(events)) as app, dial_websockets(app.url) as platform:
        assert "permessage-deflate" in platform.ws.request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in platform.ws.response.headers
        await platform.say(**METADATA)
        await platform.send(bytes(32000))  # would compress well
        await platform.close()
        await app.call()
    assert pcm(events) == bytes(32000)


# What the platform says.


@platforms
@pytest.mark.parametrize("mix_type", MixType)
@trio_test
async def test_audio_comes_whole_however_it_is_cut(dial: Dial, mix_type: MixType) -> None:
    said = noise(8000)
    events: list[CallEvent] = []
    async with app_end(listener(events)) as app, dial(app.url) as platform:
        await platform.say(sampleRate=8000, mixType=mix_type.value)
        start = 0
        for size in itertools.cycle([320, 1, 0, 333, 2, 3000, 5]):
            await platform.send(said[start : start + size])
            start += size
            if start >= len(said):
                break
        await platform.close()
        call = await app.call()
    assert {type(event) for event in events} == {Audio}
    assert all(len(event.pcm) % (2 * mix_type.channels) == 0 for event in events)
    assert pcm(events) == said
    assert call.session.samples_received == 8000 // mix_type.channels
    assert app.records[0].breaches(Mode.CLIPS) == []


@platforms
@trio_test
async def test_keys(dial: Dial) -> None:
    events: list[CallEvent] = []
    async with app_end(listener(events)) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        await platform.say(event="dtmf", dtmf="2", duration="1600")
        await platform.say(event="dtmf", dtmf="#", duration=800)
        await platform.close()
        await app.call()
    assert events == [Dtmf("2", 1600), Dtmf("#", 800)]


@platforms
@trio_test
async def test_what_nobody_knows_is_told_and_does_no_harm(dial: Dial) -> None:
    events: list[CallEvent] = []
    async with app_end(listener(events)) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        await platform.say(type="newThing", data=[1])
        await platform.send("not JSON")
        await platform.send(b"\1\0")
        await platform.close()
        await app.call()
    unknown, malformed, audio = events
    assert unknown.body == {"type": "newThing", "data": [1]}
    assert malformed.clause == "LP-ODD-2"
    assert audio == Audio(b"\1\0")


@trio_test
async def test_fragments_with_a_ping_between_them() -> None:
    said = noise(1000)
    metadata = json.dumps(METADATA, ensure_ascii=False).encode()
    inside_a_character = metadata.index("ë".encode()) + 1
    events: list[CallEvent] = []
    async with app_end(listener(events)) as app, dial_websockets(app.url) as platform:

        def send() -> None:
            pongs = []

            def pieces(*parts: bytes):
                for part in parts:
                    yield part
                    pongs.append(platform.ws.ping())

            cut = metadata[:inside_a_character], metadata[inside_a_character:]
            platform.ws.send(pieces(*cut), text=True)
            platform.ws.send(pieces(said[:1], b"", said[1:1501], said[1501:]))
            platform.ws.send(json.dumps({"event": "dtmf", "dtmf": "1"}))
            assert all(pong.wait(PATIENCE) for pong in pongs)

        await trio.to_thread.run_sync(send)
        await platform.close()
        call = await app.call()
    assert call.metadata.attributes["callerId"] == "Zoë"
    assert events == [Audio(said), Dtmf("1")]


# What the app says.


@platforms
@trio_test
async def test_an_echo(dial: Dial) -> None:
    async def echo(call: Call) -> None:
        async for event in call:
            if isinstance(event, Audio):
                await call.send_audio(event.pcm)

    said = noise(8000)
    async with app_end(echo, mode=Mode.STREAMING) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        for start in range(0, len(said), 640):
            await platform.send(said[start : start + 640])
        back = b""
        while len(back) < len(said):
            back += await platform.hear()
        await platform.close()
        await app.call()
    assert back == said
    assert app.records[0].breaches(Mode.STREAMING) == []


@platforms
@trio_test
async def test_marks_are_played_and_cleared(dial: Dial) -> None:
    outcomes: dict[str, Outcome] = {}

    async def speak(call: Call) -> None:
        await call.send_audio(bytes(2))
        first = await call.mark("first")
        await call.send_audio(bytes(4))
        second = await call.mark("second")
        outcomes["first"] = await first.wait()
        await call.kill_audio()
        outcomes["second"] = await second.wait()
        await call.disconnect()

    heard = []
    async with app_end(speak, mode=Mode.STREAMING) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        heard += [await platform.hear() for _ in range(4)]
        await platform.say(type="mark", data={"name": "first", "event": "playout"})
        heard += [await platform.hear()]
        await platform.say(type="mark", data={"name": "second", "event": "cleared"})
        heard += [await platform.hear()]
        await platform.close()
        await app.call()
    assert heard == [
        bytes(2),
        {"type": "mark", "data": {"name": "first"}},
        bytes(4),
        {"type": "mark", "data": {"name": "second"}},
        {"type": "killAudio"},
        {"type": "disconnect"},
    ]
    assert outcomes == {"first": Outcome.PLAYED, "second": Outcome.CLEARED}
    assert app.records[0].breaches(Mode.STREAMING) == []


@platforms
@trio_test
async def test_forgotten_marks(dial: Dial) -> None:
    outcomes: list[Outcome] = []
    events: list[CallEvent] = []

    async def speak(call: Call) -> None:
        mark = await call.mark("gone")
        await call.clear_marks()
        outcomes.append(await mark.wait())
        async for event in call:
            events.append(event)

    async with app_end(speak, mode=Mode.STREAMING) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        heard = [await platform.hear(), await platform.hear()]
        await platform.say(type="mark", data={"name": "gone", "event": "playout"})  # it had crossed
        await platform.close()
        await app.call()
    assert heard == [{"type": "mark", "data": {"name": "gone"}}, {"type": "clearMarks"}]
    assert outcomes == [Outcome.PLAYED]
    (done,) = events
    assert isinstance(done, PlaybackDone)
    assert (done.name, done.message) == ("gone", MarkEvent("gone", "playout"))
    assert app.records[0].breaches(Mode.STREAMING) == []


@platforms
@pytest.mark.parametrize("ids", [False, True], ids=["documented", "with ids"])
@trio_test
async def test_clips(dial: Dial, ids: bool) -> None:
    raw, wav = noise(800), wav_header(320, 8000) + noise(160)
    outcomes: list[Outcome] = []
    events: list[CallEvent] = []

    async def speak(call: Call) -> None:
        playbacks = [
            await call.play(PlayAudio(raw, sample_rate=24000)),
            await call.play(PlayAudio(wav, "wav")),
        ]
        for playback in playbacks:
            outcomes.append(await playback.wait())
        await call.disconnect()
        async for event in call:
            events.append(event)

    async with app_end(speak) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        clips = [(await platform.hear())["data"] for _ in range(2)]
        for clip in clips:
            await platform.say(type="playDone", **({"data": {"id": clip["id"]}} if ids else {}))
        assert await platform.hear() == {"type": "disconnect"}
        await platform.close()
        await app.call()
    assert len({clip.pop("id") for clip in clips}) == 2
    assert clips == [
        {
            "audioContent": base64.b64encode(raw).decode(),
            "audioContentType": "raw",
            "sampleRate": 24000,
            "queuePlay": True,
        },
        {
            "audioContent": base64.b64encode(wav).decode(),
            "audioContentType": "wav",
            "queuePlay": True,
        },
    ]
    assert outcomes == [Outcome.PLAYED] * 2
    done = [event.name for event in events if isinstance(event, PlaybackDone)]
    assert done == ["clip-1", "clip-2"]
    assert app.records[0].breaches(Mode.CLIPS) == []


@platforms
@trio_test
async def test_a_killed_clip_is_flushed_and_the_next_one_plays(dial: Dial) -> None:
    outcomes: list[Outcome] = []

    async def speak(call: Call) -> None:
        first = await call.play(PlayAudio(bytes(16000), sample_rate=8000))
        await call.kill_audio()
        second = await call.play(PlayAudio(bytes(160), sample_rate=8000))
        outcomes.extend([await first.wait(), await second.wait()])

    async with app_end(speak) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        said = [await platform.hear() for _ in range(3)]
        await platform.say(type="playDone", data={"id": said[2]["data"]["id"]})
        assert await platform.hear() == Close(1000)
        await app.call()
    assert [message["type"] for message in said] == ["playAudio", "killAudio", "playAudio"]
    assert outcomes == [Outcome.FLUSHED, Outcome.PLAYED]
    assert app.records[0].breaches(Mode.CLIPS) == []


# Ends.


@platforms
@trio_test
async def test_what_is_on_its_way_at_a_disconnect_still_arrives(dial: Dial) -> None:
    events: list[CallEvent] = []

    async def leave(call: Call) -> None:
        await call.disconnect()
        async for event in call:
            events.append(event)

    async with app_end(leave, mode=Mode.OFF) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        assert await platform.hear() == {"type": "disconnect"}
        await platform.send(b"\1\0")
        await platform.close()
        call = await app.call()
    assert events == [Audio(b"\1\0")]
    assert call.closed == Closed(1000, "", clean=True)
    assert app.records[0].breaches(Mode.OFF) == []


@platforms
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going away"), (1011, ""), (4321, "Zoë hung up")]
)
@trio_test
async def test_the_platform_closes(dial: Dial, code: int, reason: str) -> None:
    async with app_end(listener([])) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        await platform.close(code, reason)
        assert (await app.call()).closed == Closed(code, reason, clean=True)


@trio_test
async def test_the_platform_vanishes() -> None:
    async with app_end(listener([])) as app, dial_websockets(app.url) as platform:
        await platform.say(**METADATA)
        await trio.to_thread.run_sync(platform.ws.close_socket)
        assert (await app.call()).closed == Closed(1006, "", clean=False)


@platforms
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going away"), (4321, "Zoë is not here")]
)
@trio_test
async def test_the_app_closes(dial: Dial, code: int, reason: str) -> None:
    async def leave(call: Call) -> None:
        await call.close(code, reason)

    async with app_end(leave) as app, dial(app.url) as platform:
        await platform.say(**METADATA)
        assert await platform.hear() == Close(code, reason)
        # both libraries send the reason back along with the code
        assert (await app.call()).closed == Closed(code, reason, clean=True)


@platforms
@trio_test
async def test_a_handler_that_returns_and_one_that_fails(dial: Dial) -> None:
    async def handler(call: Call) -> None:
        if call.request.path == "/fails":
            raise ZeroDivisionError

    async with app_end(handler) as app:
        for path, close in [("/", Close(1000)), ("/fails", Close(1011, "the handler failed"))]:
            async with dial(app.url + path) as platform:
                await platform.say(**METADATA)
                assert await platform.hear() == close


@platforms
@pytest.mark.parametrize(
    ("first", "code"),
    [
        (b"\0\0", 1002),
        ("[]", 1002),
        (text(sampleRate=11025), 1002),
        (text(mixType="quadro"), 1002),
        ("{", 1007),
        (text(padding="x" * 70000), 1009),
    ],
)
@trio_test
async def test_what_is_no_metadata_is_answered_by_a_close(
    dial: Dial, first: str | bytes, code: int
) -> None:
    limits = Limits(message_size=65536)
    async with app_end(listener([]), limits=limits) as app, dial(app.url) as platform:
        await platform.send(first)
        close = await platform.hear()
        assert isinstance(close, Close)
        assert close.code == code
        assert close.reason
    assert app.calls == []


@platforms
@trio_test
async def test_a_listen_that_breaks_off_leaves_others_of_the_same_call_alone(dial: Dial) -> None:
    heard: dict[str, bytes] = {}

    async def listen(call: Call) -> None:
        heard[call.request.path] = b"".join(
            [event.pcm async for event in call if isinstance(event, Audio)]
        )

    async with app_end(listen) as app, dial(f"{app.url}/record") as recording:
        async with dial(f"{app.url}/talk") as talking:
            for platform in (recording, talking):
                await platform.say(**METADATA)
                await platform.send(b"\1\0")
            await talking.close()
            await app.handled.wait()
        assert heard == {"/talk": b"\1\0"}
        await recording.send(b"\2\0")
        app.handled = trio.Event()
        await recording.close()
        await app.handled.wait()
    assert heard["/record"] == b"\1\0\2\0"


# Signs of life.


@platforms
@trio_test
async def test_the_app_answers_a_ping(dial: Dial) -> None:
    async with app_end(listener([])) as app, dial(app.url) as platform:
        await platform.ping(b"before the metadata")
        await platform.say(**METADATA)
        await platform.ping(b"x" * 125)


@trio_test
async def test_the_app_pings_a_platform_that_is_silent() -> None:
    pinged = threading.Event()

    class Watched(ClientConnection):
        def process_event(self, event: Any) -> None:
            if isinstance(event, Frame) and event.opcode is Opcode.PING:
                pinged.set()
            super().process_event(event)

    limits = Limits(ping_interval=0.01)
    async with (
        app_end(listener([]), limits=limits) as app,
        dial_websockets(app.url, create_connection=Watched) as platform,
    ):
        await platform.say(**METADATA)
        await trio.to_thread.run_sync(pinged.wait, abandon_on_cancel=True)
        await platform.close(1001)
        assert (await app.call()).closed == Closed(1001, "", clean=True)
