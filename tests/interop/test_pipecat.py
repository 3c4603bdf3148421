"""Our platform end, answered by a bot of Pipecat, as it is published, through our serializer."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial

import pytest

from listenproto import (
    BidirectionalAudio,
    Close,
    Disconnect,
    KillAudio,
    ListenEnd,
    ListenVerb,
    Peer,
)
from listenproto_trio import Key
from tests.example_support import program
from tests.interop import HOST, Refused, dial_websockets, noise, place_call, trio_test

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pipecat") is None,
    reason="pipecat-ai is not installed; it comes with the extra interop",
)

RATE = 16000
SAID = noise(RATE)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with program("server_pipecat", warnings="ignore::DeprecationWarning") as port:
        yield f"ws://{HOST}:{port}/"


both_ways = BidirectionalAudio(streaming=True, sample_rate=RATE)
verb = partial(ListenVerb, sample_rate=RATE, pass_dtmf=True, bidirectional_audio=both_ways)


@trio_test
async def test_a_bot_hears_and_speaks(url: str) -> None:
    placed = await place_call(
        verb(url=url), SAID, until=lambda placed: len(placed.audio) >= len(SAID)
    )
    assert placed.audio[: len(SAID)] == SAID
    assert placed.result.end is ListenEnd.HANGUP
    assert placed.breaches() == []


@trio_test
async def test_an_interruption_is_a_kill_audio(url: str) -> None:
    placed = await place_call(
        verb(url=url), SAID, keys=[Key("5", 0.5)], until=lambda placed: KillAudio() in placed.seen
    )
    assert placed.breaches() == []


@trio_test
async def test_a_bot_that_ends_is_heard_out_and_disconnects(url: str) -> None:
    placed = await place_call(verb(url=url), SAID, keys=[Key("#", 0.3)], speed=1)
    sent = [line.payload for line in placed.record.lines if line.sender is Peer.APP]
    assert placed.audio == b"".join(pcm for pcm in sent if isinstance(pcm, bytes)) != b""
    assert placed.result.end is ListenEnd.DISCONNECT
    assert Disconnect() in placed.seen
    assert placed.breaches() == []


@pytest.mark.parametrize(
    ("first", "code"), [(b"\0\0", 1002), ("{", 1007), ('{"sampleRate": 11025}', 1002)]
)
@trio_test
async def test_what_is_no_metadata_closes(url: str, first: str | bytes, code: int) -> None:
    async with dial_websockets(url) as platform:
        await platform.send(first)
        close = await platform.receive()
    assert isinstance(close, Close)
    assert close.code == code


@trio_test
async def test_an_unknown_subprotocol_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="403"):
        async with dial_websockets(url, subprotocols=["ws.jambonz.org"]):
            pass
