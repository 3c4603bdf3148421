"""The handlers on trio: those of servers, and the caller."""

from __future__ import annotations

import inspect
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    BidirectionalAudio,
    ListenEnd,
    ListenResult,
    ListenVerb,
    Mode,
    Peer,
    Profile,
)
from listenproto._l16 import converted, without_minus_one
from listenproto._wav import GROWING_HEADER, parse_wav
from listenproto_trio import (
    Answering,
    Call,
    Handler,
    Key,
    Recorder,
    recover_wav,
    serve,
    talk,
)
from listenproto_trio.speech import speech
from tests import runtime_support
from tests.example_support import check_echo, program
from tests.examples import caller_trio, ivr, recorder, server_trio, talker, talker_asyncio
from tests.interop import (
    HOST,
    Record,
    dial_websockets,
    noise,
    place_call,
    trio_test,
    verb,
)
from tests.trio_support import CALL_SID, CLIPS, STREAM, audio, calling, virtual


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
    assert placed.result.end is ListenEnd.KEY
    assert placed.breaches() == record.breaches(Mode.OFF) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3a1.json", "c3a1.wav"]
    said = parse_wav((tmp_path / "c3a1.wav").read_bytes()).pcm
    assert speech().startswith(said)
    about = json.loads((tmp_path / "c3a1.json").read_text("utf-8"))
    assert about["metadata"]["callSid"] == "c3a1"
    assert about["end"]["how"] == "closed"
    assert about["end"]["samples"] == len(said) // 2
    assert [key["digit"] for key in about["keys"]] == ["5", "#"]


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
    assert printed.startswith("ListenResult(end=<ListenEnd.HANGUP: 'hangup'>")
    assert f"duration={seconds}," in printed
    assert record.breaches(Mode.STREAMING) == []
    said = recording(tmp_path)
    assert said.startswith(speech())
    assert len(said) - len(speech()) < 320  # silence up to a whole message
    assert not any(said[len(speech()) :])


async def conversation(
    handler: Callable[[Any], Awaitable[None]],
    verb: ListenVerb,
    said: bytes,
    keys: Sequence[Key] = (),
    *,
    profile: Profile = DOCUMENTED,
) -> tuple[ListenResult, bytes, list[str]]:
    """A call in virtual time: its end, what the caller heard, the texts that the app sent."""
    heard, record = bytearray(), Record(Peer.PLATFORM)
    answering = Answering(verb=verb, profile=profile)
    async with runtime_support.calling(
        handler, verb, tap=record, profile=profile, answering=answering
    ) as platform:
        result = await runtime_support.talk(
            platform,
            said,
            keys=keys,
            hang_up_after=120,
            hear=lambda pieces: heard.extend(b"".join(piece.pcm for piece in pieces)),
        )
    assert record.breaches(verb, profile) == []
    texts = [line.payload for line in record.lines if line.sender is Peer.APP]
    kinds = [json.loads(text)["type"] for text in texts if isinstance(text, str)]
    return result, bytes(heard), kinds


@pytest.mark.parametrize("interruption", ["a voice", "a key", None])
@pytest.mark.parametrize(
    ("end", "agent"),
    [("our transport", talker.talk), ("asyncio", talker_asyncio.talk)],
    ids=["trio", "asyncio"],
)
def test_talker(
    end: str,
    agent: Callable[[Any], Awaitable[None]],
    interruption: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It stops within a moment, and says all of it again."""
    caplog.set_level(logging.INFO, "listenproto")
    loud = audio(0.5, 9000 if interruption == "a voice" else 0)
    keys = [Key("1", at=3.0)] if interruption == "a key" else []

    @runtime_support.virtual
    async def run() -> None:
        result, heard, kinds = await conversation(
            agent, STREAM, audio(3, 0) + loud + audio(60, 0), keys
        )
        assert result.end is ListenEnd.APP_CLOSED
        if interruption is None:
            assert kinds == ["mark"]
            assert heard == speech()
        else:
            assert kinds == ["killAudio", "mark"]
            before = heard[: len(heard) - len(speech())]
            assert speech().startswith(before)
            assert len(before) / 16000 == pytest.approx(3.0, abs=0.05)
            assert heard.endswith(speech())

    with runtime_support.on_end(end):
        run()
    said = [
        record.getMessage() for record in caplog.records if vars(record)["call_sid"] == CALL_SID
    ]
    assert said[:-1] == [
        "a caller, at /",
        *["interrupted"] * (interruption is not None),
        "0.0 s late at the worst",
    ]


@pytest.mark.parametrize("rate", [8000, 24000])
@virtual
async def test_the_talker_is_heard_whole_on_deployed_platforms(rate: int) -> None:
    """Its mark comes, and so it says nothing twice."""
    way = BidirectionalAudio(streaming=True, sample_rate=rate)
    verb = attrs.evolve(STREAM, bidirectional_audio=way)
    result, heard, kinds = await conversation(talker.talk, verb, audio(60, 0), profile=DEPLOYED)
    assert (result.end, kinds) == (ListenEnd.APP_CLOSED, ["mark"])
    said = converted(without_minus_one(speech()), rate, 8000)
    assert len(said) <= len(heard) <= len(said) + len(audio(0.16))
    # The samples at the ends of the pieces that are converted by themselves are not the same.
    same = map(eq, memoryview(said).cast("h"), memoryview(heard).cast("h"))
    assert sum(same) > 0.98 * len(said) / 2


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
    assert result.end is ListenEnd.DISCONNECT
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
        assert (await talk(platform, audio(1, 0))).end is ListenEnd.HANGUP
    assert caplog.records[-1].levelno == logging.INFO


@pytest.mark.parametrize(
    ("name", "mode"),
    [("talker", Mode.STREAMING), ("talker_asyncio", Mode.STREAMING), ("ivr", Mode.CLIPS)],
)
@trio_test
async def test_the_programs_take_calls(name: str, mode: Mode) -> None:
    with program(name) as port:
        placed = await place_call(
            verb(f"ws://{HOST}:{port}", mode), until=lambda placed: len(placed.audio) >= 1600
        )
    assert placed.result.end is ListenEnd.HANGUP
    assert placed.breaches() == []


def test_the_talkers_differ_in_imports_and_start_up_only() -> None:
    """From the first constant to the function that starts their tasks."""
    agents = []
    for module in (talker, talker_asyncio):
        source = inspect.getsource(module)
        agents.append(source[source.index("\nLOUD =") : source.index("\nasync def talk(")])
    assert agents[0] == agents[1]
    assert agents[0].count("async def ") == 3
