"""Our app and our platform over real sockets: every mode, both profiles, seen from both ends."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    AppSession,
    Audio,
    BidirectionalAudio,
    Dtmf,
    Heard,
    ListenEnd,
    ListenTask,
    ListenVerb,
    Mode,
    Payload,
    Peer,
    PlayAudio,
    Profile,
    Trace,
    TraceHeader,
    TraceLine,
    TraceMoment,
    judge_trace,
)
from listenproto._l16 import without_minus_one
from listenproto_trio import Answering, Call, Key, Outcome, open_call, serve, talk
from listenproto_trio.speech import speech

SPOKEN = speech()[: 2 * 8000]


class Record:
    """A tap that keeps the lines of a trace."""

    def __init__(self) -> None:
        self.lines: list[TraceLine] = []

    def __call__(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        self.lines.append(TraceLine(len(self.lines), sender, 0, payload))


async def converse(call: Call, heard: list[bytes], outcomes: list[Outcome]) -> None:
    """Say something as the mode of the call has it, and go at a key."""
    async with trio.open_nursery() as nursery:

        async def say() -> None:
            if call.mode is Mode.STREAMING:
                await call.send_audio(SPOKEN[:3200] + bytes(1280))  # D33
                mark = await call.mark("said")
                outcomes.append(await mark.wait())
            elif call.mode is Mode.CLIPS:
                clip = await call.play(PlayAudio(SPOKEN[:3200], sample_rate=8000))
                outcomes.append(await clip.wait())

        nursery.start_soon(say)
        async for event in call:
            if isinstance(event, Audio):
                heard.append(event.pcm)
            elif isinstance(event, Dtmf):
                await call.disconnect()


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
@pytest.mark.parametrize("mode", Mode)
def test_a_call_over_loopback(mode: Mode, profile: Profile) -> None:
    heard_by_app: list[bytes] = []
    heard_by_caller: list[Heard] = []
    outcomes: list[Outcome] = []
    at_app, at_platform = Record(), Record()

    def tap(session: AppSession) -> Record:
        return at_app

    async def main() -> Any:
        answering = Answering(mode=mode, profile=profile, tap=tap)
        handler = partial(converse, heard=heard_by_app, outcomes=outcomes)
        async with trio.open_nursery() as nursery:
            start = partial(serve, handler, port=0, host="127.0.0.1", answering=answering)
            (listener,) = await nursery.start(start)
            way = BidirectionalAudio(
                enabled=mode is not Mode.OFF, streaming=mode is Mode.STREAMING, sample_rate=8000
            )
            port = listener.socket.getsockname()[1]
            verb = ListenVerb(
                url=f"http://127.0.0.1:{port}/", pass_dtmf=True, bidirectional_audio=way
            )
            task = ListenTask(verb, {"callSid": "c"}, profile=profile, keep_passed=True)
            async with open_call(task, tap=at_platform) as call:
                hear = heard_by_caller.extend
                result = await talk(
                    call, SPOKEN, keys=[Key("5", at=1.0)], hang_up_after=9, hear=hear, speed=20
                )
            nursery.cancel_scope.cancel()
            return verb, result

    verb, result = trio.run(main)
    assert result.end is ListenEnd.DISCONNECT
    assert b"".join(heard_by_app).startswith(SPOKEN[:15_000])
    said = b"".join(piece.pcm for piece in heard_by_caller).rstrip(b"\0")
    sent = SPOKEN[:3200]
    if mode is Mode.STREAMING and profile is DEPLOYED:
        sent = without_minus_one(sent)  # D35
    assert said == (b"" if mode is Mode.OFF else sent.rstrip(b"\0"))
    assert outcomes == ([] if mode is Mode.OFF else [Outcome.PLAYED])
    for vantage, record in ((Peer.APP, at_app), (Peer.PLATFORM, at_platform)):
        header = TraceHeader(vantage=vantage, way=verb, profile=profile.name)
        assert judge_trace(Trace(header, tuple(record.lines))) == []
        assert len(record.lines) > 40
