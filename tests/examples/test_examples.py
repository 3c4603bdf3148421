"""Each example, with our platform end and with WebSockets that are not ours."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from listenproto import SUBPROTOCOL, Close, End, ListenResult, ListenVerb, Mode, Peer, read_verbs
from listenproto.l16 import GROWING_HEADER, parse_wav
from listenproto.wire import DEFAULT_MAX_MESSAGE
from listenproto_trio import Answering, Call, Handler, Key, Recorder, recover_wav, serve, talk
from listenproto_trio.speech import speech
from tests.examples import caller_trio, ivr, recorder, server_trio, talker
from tests.interop import (
    DIALS,
    HOST,
    PATIENCE,
    Dial,
    Record,
    Refused,
    Socket,
    dial_websockets,
    noise,
    place_call,
    trio_test,
    verb,
)
from tests.trio_support import CLIPS, STREAM, audio, calling, virtual

ROOT = Path(__file__).parents[2]
COMPLAINTS = re.compile(r"Traceback|Warning|Exception|never (awaited|retrieved)")


@contextmanager
def program(name: str, *arguments: str, stop: int = signal.SIGTERM) -> Iterator[int]:
    """Run an example on a free port; gives the port, which it prints. It must not complain."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", f"tests.examples.{name}", "0", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        said = ""
        try:
            while not (port := re.search(r"(?:port |http://127\.0\.0\.1:)(\d+)", said)):
                line = process.stdout.readline()
                assert line, f"{name} has ended: {said}"
                said += line
            yield int(port[1])
        finally:
            process.send_signal(stop)
            said += process.stdout.read()
    assert not COMPLAINTS.search(said), said


AIOHTTP = ("server_aiohttp", "/")
WEBSOCKETS = ("server_websockets", "/")


@pytest.fixture(
    scope="module",
    params=[
        ("server_trio_websocket", "/"),
        ("server_asyncio", "/"),
        ("server_fastapi", "/echo"),
        AIOHTTP,
        WEBSOCKETS,
        ("application", "/listen"),
    ],
    ids=lambda param: param[0],
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a server runs that all tests share: what one does to it the next would feel."""
    name, path = request.param
    with program(name) as port:
        yield f"ws://{HOST}:{port}{path}"


@pytest.fixture(scope="module")
def asyncio_port() -> Iterator[int]:
    with program("server_asyncio") as port:
        yield port


@pytest.fixture(scope="module")
def application_port() -> Iterator[int]:
    with program("application") as port:
        yield port


platforms = pytest.mark.parametrize("dial", DIALS.values(), ids=DIALS.keys())


async def check_echo(url: str) -> None:
    """The speech comes back sample for sample, and every message obeys the protocol."""
    placed = await place_call(
        verb(url, Mode.STREAMING),
        speech(),
        until=lambda placed: len(placed.audio) >= len(speech()),
    )
    assert placed.audio[: len(speech())] == speech()
    assert placed.result.end is End.HANGUP
    assert placed.breaches() == []


@asynccontextmanager
async def trio_server(
    handle: Handler = server_trio.echo, mode: Mode = Mode.STREAMING
) -> AsyncIterator[tuple[str, Record, trio.Event]]:
    """A server on trio; gives its URL, its record of a call, and the end of that."""
    record, handled = Record(Peer.APP), trio.Event()

    async def handler(call: Call) -> None:
        try:
            await handle(call)
        finally:
            handled.set()

    answering = Answering(mode=mode, tap=lambda session: record)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(serve, handler, port=0, host=HOST, answering=answering)
        )
        yield f"ws://{HOST}:{listener.socket.getsockname()[1]}", record, handled
        nursery.cancel_scope.cancel()


def recording(folder: Path) -> bytes:
    (path,) = folder.iterdir()
    return parse_wav(path.read_bytes()).pcm


@trio_test
async def test_server_trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with trio_server() as (url, record, handled):
        await check_echo(url)
        await handled.wait()
    assert record.breaches(Mode.STREAMING) == []
    assert recording(tmp_path).startswith(speech())


@trio_test
async def test_recorder(tmp_path: Path) -> None:
    handle = partial(recorder.record, recorder=Recorder(tmp_path))
    async with trio_server(handle, Mode.OFF) as (url, record, handled):
        placed = await place_call(
            verb(url, Mode.OFF, pass_dtmf=True, finish_on_key="#"),
            speech(),
            keys=[Key("5", at=1.0), Key("#", at=2.0)],
        )
        await handled.wait()
    assert placed.result.end is End.KEY
    assert placed.breaches() == record.breaches(Mode.OFF) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3a1.json", "c3a1.wav"]
    said = parse_wav((tmp_path / "c3a1.wav").read_bytes()).pcm
    assert speech().startswith(said)
    about = json.loads((tmp_path / "c3a1.json").read_text("utf-8"))
    assert about["metadata"]["callSid"] == "c3a1"
    assert about["end"]["how"] == "closed"
    assert about["end"]["samples"] == len(said) // 2
    assert [key["digit"] for key in about["end"]["keys"]] == ["5", "#"]


def size_of(recording: Path) -> int:
    """How many bytes of audio are in a file, whatever its header says."""
    return recording.stat().st_size - GROWING_HEADER


@trio_test
async def test_recorders_that_are_killed_keep_all_there_was(tmp_path: Path) -> None:
    """Two programs record into one folder, three listens of one call each, and are killed."""
    said = speech() + noise(480)
    async with AsyncExitStack() as calls:
        with (
            program("recorder", str(tmp_path), stop=signal.SIGKILL) as one,
            program("recorder", str(tmp_path), stop=signal.SIGKILL) as other,
        ):
            for port in 3 * (one, other):
                dial = dial_websockets(f"ws://{HOST}:{port}/")
                platform = await calls.enter_async_context(dial)
                await platform.say(callSid="../c3a1")
                await platform.send(speech())
                await platform.send(noise(480))
            while [size_of(path) for path in tmp_path.glob("*.wav")] != 6 * [len(said)]:
                await trio.lowlevel.checkpoint()
    assert len({path.stem for path in tmp_path.iterdir()}) == 6
    for path in tmp_path.glob("*.wav"):
        assert json.loads(path.with_suffix(".json").read_text("utf-8"))["end"] is None
        assert parse_wav(path.read_bytes()).pcm == speech()
        assert recover_wav(path).samples == len(said) // 2
        assert parse_wav(path.read_bytes()).pcm == said


@trio_test
async def test_caller_trio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with trio_server() as (url, record, handled):
        await caller_trio.main(url, speed=50)
        await handled.wait()
    printed = capsys.readouterr().out
    seconds = len(speech()) // 16000
    assert printed.startswith("ListenResult(end=<End.HANGUP: 'hangup'>")
    assert f"duration={seconds}," in printed
    assert record.breaches(Mode.STREAMING) == []
    said = recording(tmp_path)
    assert said.startswith(speech())
    assert len(said) - len(speech()) < 320  # silence up to a whole message
    assert not any(said[len(speech()) :])


async def conversation(
    handler: Handler, verb: ListenVerb, said: bytes, keys: Sequence[Key] = ()
) -> tuple[ListenResult, bytes, list[str]]:
    """A call in virtual time: its end, what the caller heard, the texts that the app sent."""
    heard, record = bytearray(), Record(Peer.PLATFORM)
    async with calling(handler, verb, tap=record) as platform:
        result = await talk(
            platform,
            said,
            keys=keys,
            hang_up_after=120,
            hear=lambda pieces: heard.extend(b"".join(piece.pcm for piece in pieces)),
        )
    assert record.breaches(verb) == []
    texts = [line.payload for line in record.lines if line.sender is Peer.APP]
    kinds = [json.loads(text)["type"] for text in texts if isinstance(text, str)]
    return result, bytes(heard), kinds


@pytest.mark.parametrize("interruption", ["a voice", "a key", None])
@virtual
async def test_talker(interruption: str | None) -> None:
    """It stops within a moment, and says all of it again."""
    loud = audio(0.5, 9000 if interruption == "a voice" else 0)
    keys = [Key("1", at=3.0)] if interruption == "a key" else []
    result, heard, kinds = await conversation(
        talker.talk, STREAM, audio(3, 0) + loud + audio(60, 0), keys
    )
    assert result.end is End.APP_CLOSED
    if interruption is None:
        assert kinds == ["mark"]
        assert heard == speech()
    else:
        assert kinds == ["killAudio", "mark"]
        before = heard[: len(heard) - len(speech())]
        assert speech().startswith(before)
        assert len(before) / 16000 == pytest.approx(3.0, abs=0.05)
        assert heard.endswith(speech())


MENU: dict[str, tuple[list[Key], list[str], bytes]] = {
    "a key in the prompt": (
        [Key("2", at=1.0)],
        ["playAudio", "killAudio", "playAudio", "playAudio", "disconnect"],
        ivr.ANSWERS["2"] + ivr.GOODBYE,
    ),
    "a key behind it": (
        [Key("1", at=4.0)],
        ["playAudio", "playAudio", "playAudio", "disconnect"],
        ivr.PROMPT + ivr.ANSWERS["1"] + ivr.GOODBYE,
    ),
    "a key that it does not know": (
        [Key("9", at=4.0), Key("1", at=8.0)],
        ["playAudio", "playAudio", "playAudio", "playAudio", "disconnect"],
        2 * ivr.PROMPT + ivr.ANSWERS["1"] + ivr.GOODBYE,
    ),
    "no key": (
        [],
        ["playAudio", "playAudio", "playAudio", "playAudio", "disconnect"],
        3 * ivr.PROMPT + ivr.GOODBYE,
    ),
}


@pytest.mark.parametrize(("keys", "said", "heard"), MENU.values(), ids=MENU.keys())
@virtual
async def test_ivr(keys: list[Key], said: list[str], heard: bytes) -> None:
    result, really_heard, kinds = await conversation(ivr.menu, CLIPS, audio(1, 0), keys)
    assert result.end is End.DISCONNECT
    assert kinds == said
    assert really_heard.endswith(heard)
    assert ivr.PROMPT.startswith(really_heard.removesuffix(heard))


@pytest.mark.parametrize("handler", [talker.talk, ivr.menu])
@virtual
async def test_a_caller_who_hangs_up_is_no_failure(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "listenproto")
    verb = STREAM if handler is talker.talk else CLIPS
    async with calling(handler, verb) as platform:
        assert (await talk(platform, audio(1, 0))).end is End.HANGUP
    assert caplog.records[-1].levelno == logging.INFO


@pytest.mark.parametrize(("name", "mode"), [("talker", Mode.STREAMING), ("ivr", Mode.CLIPS)])
@trio_test
async def test_the_programs_take_calls(name: str, mode: Mode) -> None:
    with program(name) as port:
        placed = await place_call(
            verb(f"ws://{HOST}:{port}", mode), until=lambda placed: len(placed.audio) >= 1600
        )
    assert placed.result.end is End.HANGUP
    assert placed.breaches() == []


@trio_test
async def test_a_server_echoes(url: str) -> None:
    await check_echo(url)


@platforms
@pytest.mark.parametrize("offer", [[], ["ws.jambonz.org"]])
@trio_test
async def test_a_server_refuses(url: str, dial: Dial, offer: list[str]) -> None:
    with pytest.raises(Refused, match="400: Subprotocols offered: "):
        async with dial(url, subprotocols=offer):
            pass


@platforms
@pytest.mark.parametrize(
    ("first", "code"), [(b"\0\0", 1002), ("{", 1007), ('{"sampleRate": 11025}', 1002)]
)
@trio_test
async def test_a_server_closes_on_what_is_no_metadata(
    url: str, dial: Dial, first: str | bytes, code: int
) -> None:
    async with dial(url) as platform:
        await platform.send(first)
        close = await platform.receive()
    assert isinstance(close, Close)
    assert (close.code, bool(close.reason)) == (code, True)


async def converse(platform: Socket) -> None:
    """A short call."""
    await platform.say(callSid="c3a1")
    await platform.send(b"")
    await platform.send(b"\1\0\2")
    await platform.send(b"\0")
    assert await platform.hear() + await platform.hear() == b"\1\0\2\0"


@trio_test
async def test_a_server_answers_a_close(url: str) -> None:
    async with dial_websockets(url) as platform:
        await converse(platform)
        await platform.close(1001)
        assert await platform.receive() == Close(1001)


@trio_test
async def test_a_server_answers_a_close_that_meets_it_in_mid_flight(url: str) -> None:
    async with dial_websockets(url) as platform:
        await platform.say(callSid="c3a1")
        for _ in range(500):
            await platform.send(noise(160))
        await platform.close(1001)
        *said, close = await platform.hear_out()
    assert close == Close(1001)
    assert (500 * noise(160)).startswith(b"".join(said))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([], id="at once"),
        pytest.param(["{}"], id="after the metadata"),
        pytest.param(["{}", *500 * [noise(4000)]], id="while it is spoken to"),
    ],
)
@trio_test
async def test_a_server_survives_a_platform_that_vanishes(
    url: str, said: list[str | bytes]
) -> None:
    async with dial_websockets(url) as platform:
        for payload in said:
            await platform.send(payload)
        await trio.to_thread.run_sync(platform.ws.close_socket)
    async with dial_websockets(url) as platform:
        await converse(platform)


@contextmanager
def raw_dial(url: str) -> Iterator[tuple[ClientProtocol, socket.socket]]:
    """A WebSocket of which nothing is read and written but by the test."""
    server_at = urlsplit(url)
    protocol = ClientProtocol(parse_uri(url), subprotocols=[SUBPROTOCOL])
    protocol.send_request(protocol.connect())
    address = server_at.hostname, server_at.port
    with socket.create_connection(address, timeout=PATIENCE) as platform:
        platform.sendall(b"".join(protocol.data_to_send()))
        while not protocol.events_received():
            protocol.receive_data(platform.recv(65536))
        yield protocol, platform


@trio_test
async def test_a_server_ends_what_it_has_closed(url: str) -> None:
    """Also where it was spoken to meanwhile, and sees the answer to its close behind that."""
    with raw_dial(url) as (protocol, platform):
        protocol.send_text(b"{")
        for _ in range(100):
            protocol.send_binary(noise(160))
        platform.sendall(b"".join(protocol.data_to_send()))
        while not protocol.close_expected():
            protocol.receive_data(platform.recv(65536))
        with suppress(ConnectionResetError):  # an end as well
            platform.sendall(b"".join(protocol.data_to_send()))
            while platform.recv(65536):
                pass
        assert protocol.close_rcvd.code == 1007


@trio_test
async def test_a_server_survives_a_platform_that_listens_to_nothing(url: str) -> None:
    with raw_dial(url) as (protocol, deaf):
        protocol.send_text(b"{}")
        deaf.setblocking(False)
        message = noise(4000)
        with suppress(BlockingIOError):
            for _ in range(10_000):  # more than the network holds
                protocol.send_binary(message)
                deaf.sendall(b"".join(protocol.data_to_send()))
    async with dial_websockets(url) as platform:
        await converse(platform)


@trio_test
async def test_a_server_keeps_up_with_a_burst(url: str) -> None:
    burst = noise(1_000_000)

    async def send(platform: Socket) -> None:
        for start in range(0, len(burst), 65536):
            await platform.send(burst[start : start + 65536])

    async with dial_websockets(url) as platform:
        await platform.say(callSid="c3a1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, platform)
            back = bytearray()
            while len(back) < len(burst):
                back += await platform.hear()
    assert back == burst


@pytest.mark.parametrize("url", [AIOHTTP, WEBSOCKETS], ids=["aiohttp", "websockets"], indirect=True)
@trio_test
async def test_a_server_takes_messages_as_large_as_ours_do(url: str) -> None:
    large = noise(DEFAULT_MAX_MESSAGE // 2 - 1)
    async with dial_websockets(url, max_size=None) as platform:
        await platform.say(callSid="c3a1")
        await platform.send(large)
        assert await platform.hear() == large


@pytest.mark.parametrize("keys", [[], [Key("#", at=0.5)]], ids=["hang-up", "key"])
@trio_test
async def test_application(application_port: int, keys: list[Key]) -> None:
    """A whole call: its webhook, the listen, its actionHook."""
    server = f"http://{HOST}:{application_port}"
    async with httpx.AsyncClient(base_url=server) as http:
        answer = await http.post("/call", json={"call_sid": "c3a1", "from": "+15550100"})
        assert answer.headers["content-type"] == "application/json"
        say, listen = read_verbs(answer.content)
        assert say["verb"] == "say"
        assert "+15550100" in say["text"]
        placed = await place_call(
            listen.resolve(str(answer.url)),
            speech(),
            keys=keys,
            until=lambda placed: len(placed.audio) >= len(speech()),
        )
        assert placed.result.end is (End.KEY if keys else End.HANGUP)
        assert speech().startswith(placed.audio[: len(speech())])
        assert placed.breaches() == []
        answer = await http.post(listen.action_hook, json=placed.result.action_hook())
        say, hangup = read_verbs(answer.content)
        assert f" {placed.result.duration} " in say["text"]
        assert hangup == {"verb": "hangup"}


@pytest.mark.parametrize("hook", ["/call", "/done"])
@trio_test
async def test_application_refuses_what_is_no_webhook(application_port: int, hook: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{application_port}") as http:
        answer = await http.post(hook, content=b"{")
        assert answer.status_code == 400
        assert answer.text.startswith("body must be a JSON object; it is no JSON: ")
        assert (await http.get(hook)).status_code == 405


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n", b"HTTP/1.1 426 "),
        (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b"HTTP/1.1 400 "),
        (b"", b""),
    ],
)
@trio_test
async def test_server_asyncio_answers_who_speaks_no_websocket(
    asyncio_port: int, said: bytes, answer: bytes
) -> None:
    async with await trio.open_tcp_stream(HOST, asyncio_port) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        heard = b"".join([piece async for piece in stream])
    assert heard.startswith(answer)
    assert bool(heard) == bool(answer)
