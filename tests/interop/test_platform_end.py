"""Our platform end, answered by apps that are not ours."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    SUBPROTOCOL,
    Audio,
    ClearMarks,
    Close,
    Disconnect,
    KillAudio,
    ListenEnd,
    ListenTask,
    MixType,
    Mode,
    PlayAudio,
    Profile,
    UnknownMessage,
    Violation,
    WsAuth,
    basic_credentials,
)
from listenproto._l16 import flicks_of
from listenproto._wav import wav_header
from listenproto_trio import CallRejected, Key, open_call
from tests.interop import (
    ANSWERS,
    ATTRIBUTES,
    HOST,
    RATE,
    Answer,
    Placed,
    Said,
    Socket,
    WebsocketsSocket,
    answer_websockets,
    noise,
    place_call,
    trio_test,
    verb,
)

# The branches that it takes are counted elsewhere, and counting takes time.
pytestmark = pytest.mark.no_cover

SAID = noise(RATE)
MESSAGE = RATE // 50 * 2  # bytes of 20 ms

apps = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
profiles = pytest.mark.parametrize(
    "profile", [DOCUMENTED, DEPLOYED], ids=[DOCUMENTED.name, DEPLOYED.name]
)


def audio(said: list[Said]) -> bytes:
    return b"".join(payload for payload in said if isinstance(payload, bytes))


def texts(said: list[Said]) -> list[dict[str, Any]]:
    return [payload for payload in said if isinstance(payload, dict)]


def violations(placed: Placed) -> list[str]:
    return [seen.clause for seen in placed.seen if isinstance(seen, Violation)]


async def wait_for(app: Socket, message: dict[str, Any], said: list[Said]) -> None:
    """Hear until that message comes."""
    while not said or said[-1] != message:
        said.append(await app.hear())
        assert not isinstance(said[-1], Close), f"closed before {message}"


# What the platform says.


@apps
@profiles
@pytest.mark.parametrize("mode", Mode)
@trio_test
async def test_the_caller_is_heard(answer: Answer, profile: Profile, mode: Mode) -> None:
    said: list[Said] = []

    async def listen(app: Socket) -> None:
        said.extend(await app.hear_out())

    async with answer(listen) as url:
        placed = await place_call(
            verb(
                url, mode, pass_dtmf=True, finish_on_key="#", metadata={"tier": 1}, sample_rate=8000
            ),
            SAID,
            keys=[Key("2", 0.5, duration=1600), Key("#", 1.0)],
            profile=profile,
        )
    metadata, *rest = said
    assert metadata == ATTRIBUTES | {"tier": 1, "sampleRate": 8000, "mixType": "mono"}
    assert audio(rest) == SAID[: len(audio(rest))]
    # the key comes first within its step of 20 ms
    assert len(audio(rest)) == len(SAID) - MESSAGE
    assert texts(rest) == [
        {"event": "dtmf", "dtmf": "2", "duration": "1600"},
        {"event": "dtmf", "dtmf": "#", "duration": "800"},
    ]
    assert rest[-1] == Close(1000)
    assert (placed.result.end, placed.result.digits) == (ListenEnd.KEY, "#")
    assert placed.breaches(profile) == []


@apps
@trio_test
async def test_stereo_to_the_last_sample_of_max_length(answer: Answer) -> None:
    said: list[Said] = []

    async def listen(app: Socket) -> None:
        said.extend(await app.hear_out())

    stereo = noise(2 * 16000)
    async with answer(listen) as url:
        listening = verb(
            url, Mode.CLIPS, mix_type=MixType.STEREO, sample_rate=16000, max_length=0.5005
        )
        placed = await place_call(listening, stereo)
    assert audio(said) == stereo[: 8008 * 4]
    assert placed.result.end is ListenEnd.MAX_LENGTH


# What the app says.


@apps
@trio_test
async def test_an_echo_with_marks(answer: Answer) -> None:
    said: list[Said] = []
    marks = [f"after {fifth}/5" for fifth in range(1, 6)]

    async def echo(app: Socket) -> None:
        echoed = 0
        await app.hear()
        while echoed < len(SAID):
            said.append(await app.hear())
            if isinstance(said[-1], bytes):
                await app.send(said[-1])
                echoed += len(said[-1])
                if echoed % (len(SAID) // 5) == 0:
                    await app.say(type="mark", data={"name": marks[echoed * 5 // len(SAID) - 1]})
        await wait_for(app, {"type": "mark", "data": {"name": marks[-1], "event": "playout"}}, said)
        await app.say(type="disconnect")
        await app.hear_out()

    async with answer(echo) as url:
        placed = await place_call(verb(url, Mode.STREAMING), SAID)
    assert placed.audio == SAID
    assert texts(said) == [
        {"type": "mark", "data": {"name": name, "event": "playout"}} for name in marks
    ]
    assert placed.result.end is ListenEnd.DISCONNECT
    assert violations(placed) == []
    assert placed.breaches() == []


@apps
@trio_test
async def test_a_stream_that_is_killed(answer: Answer) -> None:
    said: list[Said] = []
    cleared = [{"type": "mark", "data": {"name": name, "event": "cleared"}} for name in "ab"]

    async def speak(app: Socket) -> None:
        await app.hear()
        await app.send(noise(60 * RATE))
        await app.say(type="mark", data={"name": "a"})
        await app.say(type="mark", data={"name": "b"})
        await app.say(type="killAudio")
        await wait_for(app, cleared[-1], said)
        await app.send(SAID)
        await app.say(type="mark", data={"name": "end"})
        await wait_for(app, {"type": "mark", "data": {"name": "end", "event": "playout"}}, said)
        await app.say(type="disconnect")
        await app.hear_out()

    async with answer(speak) as url:
        placed = await place_call(verb(url, Mode.STREAMING))
    assert texts(said)[:2] == cleared
    heard = placed.audio
    assert heard.endswith(SAID)
    assert heard[: -len(SAID)] == noise(60 * RATE)[: len(heard) - len(SAID)]
    assert len(heard) < 60 * RATE * 2
    assert violations(placed) == []
    assert placed.breaches() == []


@apps
@trio_test
async def test_forgotten_marks_do_not_come_back(answer: Answer) -> None:
    said: list[Said] = []

    async def speak(app: Socket) -> None:
        await app.hear()
        await app.send(noise(60 * RATE))
        await app.say(type="mark", data={"name": "forgotten"})
        await app.say(type="clearMarks")
        await app.say(type="killAudio")
        await app.say(type="mark", data={"name": "end"})
        await wait_for(app, {"type": "mark", "data": {"name": "end", "event": "playout"}}, said)
        await app.say(type="disconnect")
        said.extend(await app.hear_out())

    async with answer(speak) as url:
        placed = await place_call(verb(url, Mode.STREAMING))
    assert [text["data"]["name"] for text in texts(said)] == ["end"]
    assert ClearMarks() in placed.seen
    assert placed.breaches() == []


@apps
@profiles
@trio_test
async def test_clips_play_one_behind_the_other(answer: Answer, profile: Profile) -> None:
    raw, wav = noise(1600, seed=1), noise(2400, seed=2)
    said: list[Said] = []

    async def play(app: Socket) -> None:
        await app.hear()
        contents = [
            {"audioContent": raw, "audioContentType": "raw", "sampleRate": 16000},
            {"audioContent": wav_header(4800, 24000) + wav, "audioContentType": "wave"},
            {"audioContent": b"", "audioContentType": "raw", "sampleRate": 8000},
        ]
        for number, content in enumerate(contents):
            content["audioContent"] = base64.b64encode(content["audioContent"]).decode()
            await app.say(
                type="playAudio", data=content | {"id": f"clip {number}", "queuePlay": True}
            )
        while len(texts(said)) < 3:
            said.append(await app.hear())
        await app.say(type="disconnect")
        said.extend(await app.hear_out())

    async with answer(play) as url:
        placed = await place_call(verb(url, Mode.CLIPS), profile=profile)
    rates = {16000: b"", 24000: b""}
    for piece in placed.heard:
        rates[piece.rate] += piece.pcm
    assert rates == {16000: raw, 24000: wav}
    second = next(piece for piece in placed.heard if piece.rate == 24000)
    assert second.start >= placed.heard[0].start + flicks_of(1600, 16000)
    if profile is DOCUMENTED:
        assert texts(said) == [{"type": "playDone"}] * 3
    else:
        assert [done["type"] for done in texts(said)] == ["playDone"] * 3
        assert [done["data"]["id"] for done in texts(said)] == ["clip 0", "clip 1", "clip 2"]
        lengths = [done["data"]["playbackMilliseconds"] for done in texts(said)]
        assert lengths == ["100", "100", "0"]
    assert placed.result.end is ListenEnd.DISCONNECT
    assert violations(placed) == []
    assert placed.breaches(profile) == []


@apps
@profiles
@trio_test
async def test_a_clip_that_is_killed(answer: Answer, profile: Profile) -> None:
    said: list[Said] = []
    minute = base64.b64encode(noise(60 * RATE)).decode()
    short = base64.b64encode(SAID).decode()

    def clip(name: str, content: str) -> dict[str, Any]:
        kind = {"audioContentType": "raw", "sampleRate": RATE, "id": name, "queuePlay": True}
        return {"audioContent": content, **kind}

    async def play(app: Socket) -> None:
        await app.hear()
        await app.say(type="playAudio", data=clip("long", minute))
        await app.say(type="killAudio")
        if profile is DEPLOYED:  # until its next frame it would kill the next clip instead
            while not texts(said):
                said.append(await app.hear())
        await app.say(type="playAudio", data=clip("short", short))
        expected = len(texts(said)) + 1
        while len(texts(said)) < expected:
            said.append(await app.hear())
        await app.say(type="disconnect")
        said.extend(await app.hear_out())

    async with answer(play) as url:
        placed = await place_call(verb(url, Mode.CLIPS), profile=profile)
    assert placed.audio.endswith(SAID)
    assert len(placed.audio) < 60 * RATE * 2
    if profile is DOCUMENTED:
        assert texts(said) == [{"type": "playDone"}]  # the killed one is not done
    else:
        assert [done["data"]["id"] for done in texts(said)] == ["long", "short"]
    assert violations(placed) == []
    assert placed.breaches(profile) == []


@apps
@pytest.mark.parametrize(
    ("mode", "clauses"),
    [
        (Mode.OFF, ["LP-STRM-1", "LP-CLIP-1", "LP-KILL-1", "LP-MARK-1", "LP-MARK-1"]),
        (Mode.CLIPS, ["LP-STRM-1", "LP-MARK-1", "LP-MARK-1"]),
        (Mode.STREAMING, ["LP-CLIP-1"]),
    ],
)
@trio_test
async def test_what_is_out_of_place_is_reported_and_the_call_goes_on(
    answer: Answer, mode: Mode, clauses: list[str]
) -> None:
    clip = {
        "audioContent": base64.b64encode(SAID).decode(),
        "audioContentType": "raw",
        "sampleRate": RATE,
    }

    async def speak(app: Socket) -> None:
        await app.hear()
        await app.send(SAID)
        await app.say(type="playAudio", data=clip)
        await app.say(type="killAudio")
        await app.say(type="mark", data={"name": "m"})
        await app.say(type="clearMarks")
        await app.say(type="transcription", text="hello")
        await app.say(type="disconnect")
        await app.hear_out()

    async with answer(speak) as url:
        placed = await place_call(verb(url, mode))
    taken = {
        Mode.OFF: set(),
        Mode.CLIPS: {PlayAudio, KillAudio},
        Mode.STREAMING: {Audio, KillAudio, ClearMarks},
    }[mode]
    assert violations(placed) == clauses
    assert taken <= {type(seen) for seen in placed.seen}
    assert placed.seen[-2:] == [
        UnknownMessage({"type": "transcription", "text": "hello"}),
        Disconnect(),
    ]
    assert placed.result.end is ListenEnd.DISCONNECT
    if mode is Mode.OFF:
        assert placed.heard == []


@trio_test
async def test_fragments_are_one_message() -> None:
    async def speak(app: Socket) -> None:
        assert isinstance(app, WebsocketsSocket)
        await app.hear()

        def send() -> None:
            app.ws.send([SAID[:1], b"", SAID[1:1001], SAID[1001:]])
            mark = json.dumps({"type": "mark", "data": {"name": "Zoë"}}, ensure_ascii=False)
            cut = mark.encode().index("ë".encode()) + 1
            app.ws.send([mark.encode()[:cut], mark.encode()[cut:]], text=True)

        await trio.to_thread.run_sync(send)
        await wait_for(app, {"type": "mark", "data": {"name": "Zoë", "event": "playout"}}, [])
        await app.say(type="disconnect")
        await app.hear_out()

    async with answer_websockets(speak) as url:
        placed = await place_call(verb(url, Mode.STREAMING))
    assert [type(seen).__name__ for seen in placed.seen] == ["Audio", "Mark", "Disconnect"]
    assert placed.audio == SAID
    assert placed.breaches() == []


@apps
@trio_test
async def test_a_ping_of_the_app_is_answered(answer: Answer) -> None:
    async def ping(app: Socket) -> None:
        await app.ping(b"x" * 125)
        await app.close()

    async with answer(ping) as url:
        placed = await place_call(verb(url, Mode.OFF))
    assert placed.result.end is ListenEnd.APP_CLOSED


# Ends.


@apps
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "away"), (4321, "Zoë left")])
@trio_test
async def test_the_app_closes(answer: Answer, code: int, reason: str) -> None:
    async def leave(app: Socket) -> None:
        await app.hear()
        await app.close(code, reason)

    async with answer(leave) as url:
        placed = await place_call(verb(url, Mode.STREAMING), SAID)
    assert placed.record.lines[-1].payload == Close(code, reason)
    assert placed.result.end is ListenEnd.APP_CLOSED
    assert placed.breaches() == []


@trio_test
async def test_an_app_that_disconnects_without_listening() -> None:
    """The platform waits for room to send when the disconnect comes: that is no error."""
    speaking = trio.Event()

    async def leave(app: Socket) -> None:
        await app.hear()
        await speaking.wait()
        await app.say(type="disconnect")
        await app.hear_out()

    async with answer_websockets(leave, max_queue=1) as url, trio.open_nursery() as nursery:
        loud = verb(url, Mode.OFF, sample_rate=64000, mix_type=MixType.STEREO)
        task = ListenTask(loud, ATTRIBUTES)

        async def speak() -> None:
            await call.capture(bytes(2**24))  # more than a network holds
            await call.capture(bytes(4))

        async with open_call(task) as call:
            nursery.start_soon(speak)
            await trio.testing.wait_all_tasks_blocked()
            speaking.set()
            await call.over()
    assert task.result.end is ListenEnd.DISCONNECT


@pytest.mark.parametrize("farewell", ["close", "disconnect"])
@trio_test
async def test_an_app_that_says_farewell_along_with_its_answer(farewell: str) -> None:
    """The answer to the handshake and the end come in one piece: it was a call all the same."""

    async def answer(stream: trio.SocketStream) -> None:
        protocol = ServerProtocol(subprotocols=[SUBPROTOCOL])
        while not (requests := protocol.events_received()):
            protocol.receive_data(await stream.receive_some())
        protocol.send_response(protocol.accept(requests[0]))
        if farewell == "close":
            protocol.send_close(1001)
        else:
            protocol.send_text(b'{"type": "disconnect"}')
        await stream.send_all(b"".join(protocol.data_to_send()))
        while not protocol.close_expected() and (data := await stream.receive_some()):
            protocol.receive_data(data)
            await stream.send_all(b"".join(protocol.data_to_send()))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        port = listener.socket.getsockname()[1]
        placed = await place_call(verb(f"ws://{HOST}:{port}", Mode.OFF), SAID)
        nursery.cancel_scope.cancel()
    ends = {"close": ListenEnd.APP_CLOSED, "disconnect": ListenEnd.DISCONNECT}
    assert placed.result.end is ends[farewell]


@trio_test
async def test_the_app_vanishes() -> None:
    async def vanish(app: Socket) -> None:
        assert isinstance(app, WebsocketsSocket)
        await app.hear()
        await trio.to_thread.run_sync(app.ws.close_socket)

    async with answer_websockets(vanish) as url:
        placed = await place_call(verb(url, Mode.STREAMING), SAID)
    assert placed.result.end is ListenEnd.LOST


# The handshake.


@apps
@pytest.mark.parametrize("allowed", [False, True])
@trio_test
async def test_an_app_that_names_no_subprotocol(answer: Answer, allowed: bool) -> None:
    said: list[Said] = []

    async def leave(app: Socket) -> None:
        said.append(await app.hear())
        await app.close()

    async with answer(leave, subprotocol=None) as url:
        listening = verb(url, Mode.OFF)
        if allowed:
            placed = await place_call(listening, allow_no_subprotocol=True)
            assert placed.result.end is ListenEnd.APP_CLOSED
            assert said[0]["callSid"] == ATTRIBUTES["callSid"]
        else:
            with pytest.raises(CallRejected, match="the server chose no subprotocol"):
                await place_call(listening)


@apps
@trio_test
async def test_the_deployed_platform_takes_an_app_that_names_no_subprotocol(answer: Answer) -> None:
    async def leave(app: Socket) -> None:
        await app.hear()
        await app.close()

    async with answer(leave, subprotocol=None) as url:
        placed = await place_call(verb(url, Mode.OFF), profile=DEPLOYED)
    assert placed.result.end is ListenEnd.APP_CLOSED


@apps
@trio_test
async def test_the_app_chooses_one_of_the_subprotocols_offered(answer: Answer) -> None:
    async def leave(app: Socket) -> None:
        assert app.subprotocol == "audio.drachtio.org"
        await app.close()

    async with answer(leave, subprotocol="audio.drachtio.org") as url:
        offer = ["audio.jambonz.org", "audio.drachtio.org"]
        placed = await place_call(verb(url, Mode.OFF), subprotocols=offer)
    assert placed.result.end is ListenEnd.APP_CLOSED


@trio_test
async def test_a_subprotocol_that_was_not_offered() -> None:
    def choose(ws: ServerConnection, request: Request, response: Response) -> Response:
        response.headers["Sec-WebSocket-Protocol"] = "ws.jambonz.org"
        return response

    async def leave(app: Socket) -> None:
        await app.hear_out()

    async with answer_websockets(leave, subprotocol=None, process_response=choose) as url:
        with pytest.raises(CallRejected, match=r"ws\.jambonz\.org"):
            await place_call(verb(url, Mode.OFF))


@trio_test
async def test_an_app_that_refuses() -> None:
    def refuse(ws: ServerConnection, request: Request) -> Response:
        return Response(403, "Forbidden", Headers({"Content-Length": "8"}), b"not you\n")

    async def unreached(app: Socket) -> None:
        raise AssertionError

    async with answer_websockets(unreached, process_request=refuse) as url:
        with pytest.raises(CallRejected, match="403: not you") as caught:
            await place_call(verb(url, Mode.OFF))
    assert caught.value.rejected.status == 403


@trio_test
async def test_what_the_request_says() -> None:
    requests: list[Request] = []

    def keep(ws: ServerConnection, request: Request) -> None:
        requests.append(request)

    async def leave(app: Socket) -> None:
        await app.close()

    async with answer_websockets(leave, process_request=keep) as url:
        auth = WsAuth(username="jambonz", password="pässword")
        path = "/call/7?tier=gold&x=%20"
        await place_call(verb(url.replace("ws:", "http:") + path, Mode.OFF, ws_auth=auth))
    (request,) = requests
    assert request.path == path
    assert request.headers["Host"] == url.removeprefix("ws://")
    assert request.headers["Authorization"] == basic_credentials("jambonz", "pässword")
    assert "Sec-WebSocket-Extensions" not in request.headers
