"""What one message costs without a network: python -m tests.benchmarks.core [--quick]

Each message goes through the codec, a session, a connection and a call, sent and received, beside
what nobody can do without: ``json`` for its text, ``wsproto`` for its frame. Time is what this
process has computed. All are measured in turn, several rounds, so that a change in the machine's
speed affects all alike; a figure is the median of its rounds. Compare only figures of the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
from wsproto import ConnectionType
from wsproto.connection import Connection as BareConnection
from wsproto.events import BytesMessage, TextMessage

from listenproto import (
    Answering,
    AppCall,
    AppConnection,
    AppSession,
    Audio,
    BidirectionalAudio,
    ClearMarks,
    Close,
    Disconnect,
    Dtmf,
    HandshakePolicy,
    KillAudio,
    ListenTask,
    ListenVerb,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Peer,
    PlatformConnection,
    PlatformSession,
    PlayAudio,
    PlayDone,
    Request,
    UnknownMessage,
    judge_request,
)
from listenproto.codec import decode, decode_opening, encode
from tests.benchmarks.report import Cell, Report

ROUNDS: Final = 7
MESSAGES: Final = 2000
"""How many of a message are timed in a round, if one call may have that many."""
CALLS: Final = 100
"""The most calls that are prepared for a round, where a call may have few of a message."""

PCM: Final = bytes(range(256)) + bytes(64)
"""20 ms of 8000 Hz mono."""

ATTRIBUTES: Final = {
    "callSid": "c3020cf2-b941-47bc-a266-9187e56851f5",
    "direction": "inbound",
    "from": "+15550100",
    "to": "+15550199",
    "callId": "5a1b7d0e-6c1f-123d-1a8b-0a58a9feac02",
    "sbcCallid": "17f1d0a2-6c1f-123d-8a93-02f6b1f1d0a2",
    "accountSid": "9351f46a-678c-43f5-b8a6-d4eb58d131af",
    "applicationSid": "0e0681b0-d49f-4fb8-b973-b5a3c6758de1",
    "callStatus": "in-progress",
    "sipStatus": 200,
    "sipReason": "OK",
    "callerId": "+15550100",
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
}

Work: TypeAlias = tuple[Callable[[Any], object], Sequence[Any]]
"""What is timed: the function, and what it is called with, one after the other."""


@attrs.frozen
class Case:
    """A message, ``times`` of it in one call, each for what the other peer sent ``before``."""

    name: str
    sender: Peer
    message: Message
    mode: Mode = Mode.STREAMING
    times: int = MESSAGES
    before: tuple[Message, ...] = ()

    @property
    def opens(self) -> bool:
        """Whether it is the first message of a call."""
        return isinstance(self.message, Metadata)

    @property
    def is_text(self) -> bool:
        return not isinstance(self.message, Audio)


PLATFORM, APP = Peer.PLATFORM, Peer.APP
CLIP: Final = PlayAudio(PCM * 50, sample_rate=8000)
CASES: Final = (
    Case("audio, 20 ms", PLATFORM, Audio(PCM)),
    Case("audio, 20 ms", APP, Audio(PCM)),
    Case("metadata", PLATFORM, Metadata(ATTRIBUTES), times=1),
    Case("dtmf", PLATFORM, Dtmf("5", 1600)),
    Case("playDone", PLATFORM, PlayDone(), Mode.CLIPS, times=10, before=(CLIP,)),
    Case(
        "mark event", PLATFORM, MarkEvent("m", "playout"), times=30, before=(Audio(PCM), Mark("m"))
    ),
    Case("playAudio, 1 s", APP, CLIP, Mode.CLIPS, times=10),
    Case("killAudio", APP, KillAudio()),
    Case("mark", APP, Mark("m"), times=30),
    Case("clearMarks", APP, ClearMarks()),
    Case("disconnect", APP, Disconnect(), times=1),
    Case("unknown", APP, UnknownMessage({"type": "transcription", "text": "hello"})),
)


def bare_json(case: Case, sending: bool) -> Work | None:
    """The text alone, written and read by the standard library."""
    if not case.is_text:
        return None
    text = encode(case.message, case.sender)
    assert isinstance(text, str)
    if not sending:
        return json.loads, [text] * case.times
    return json.dumps, [json.loads(text)] * case.times


def bare_wsproto(case: Case, sending: bool) -> Work:
    """The frame alone, written and read by wsproto; no other message is ever in between."""
    roles = {PLATFORM: ConnectionType.CLIENT, APP: ConnectionType.SERVER}
    sender = BareConnection(roles[case.sender])
    receiver = BareConnection(roles[case.sender.other])
    payload = encode(case.message, case.sender)
    event = TextMessage(payload) if isinstance(payload, str) else BytesMessage(_bytes(payload))
    if sending:
        return sender.send, [event] * case.times

    def receive(data: bytes) -> None:
        receiver.receive_data(data)
        for _ in receiver.events():
            pass

    return receive, [bytes(sender.send(event)) for _ in range(case.times)]


def _bytes(payload: object) -> bytes:
    assert isinstance(payload, bytes)
    return payload


def codec(case: Case, sending: bool) -> Work:
    """Message to payload and back, judged by nobody."""
    if sending:
        return lambda message: encode(message, case.sender), [case.message] * case.times
    payload = encode(case.message, case.sender)
    assert isinstance(payload, str | bytes)
    if case.opens:
        return decode_opening, [payload] * case.times
    return lambda payload: decode(payload, case.sender), [payload] * case.times


def session(case: Case, sending: bool) -> Work:
    """Message to payload and back, judged and recorded."""
    app, platform = AppSession(mode=case.mode), PlatformSession(case.mode)

    def carry() -> None:
        for payload in platform.data_to_send():
            assert not isinstance(payload, Close)
            app.receive(payload)
        for payload in app.data_to_send():
            assert not isinstance(payload, Close)
            platform.receive(payload)

    if not case.opens:
        platform.send(Metadata())
    ends: dict[Peer, AppSession | PlatformSession] = {PLATFORM: platform, APP: app}
    sender, receiver = ends[case.sender], ends[case.sender.other]
    carry()
    for message in case.before * case.times:
        receiver.send(message)
        carry()

    def send(message: Message) -> object:
        sender.send(message)
        return [*sender.data_to_send()]

    if sending:
        return send, [case.message] * case.times
    payloads: list[Any] = []
    for _ in range(case.times):
        sender.send(case.message)
        payloads += sender.data_to_send()
    return receiver.receive, payloads


@attrs.frozen
class _End:
    """One end over bytes: how it takes them, sends a message, and gives bytes to write."""

    receive: Callable[[bytes], object]
    send: Callable[[Message], object]
    data_to_send: Callable[[], bytes]


def connection(case: Case, sending: bool) -> Work | None:
    """Message to bytes and back: everything but time and the socket."""
    app = AppConnection(AppSession(mode=case.mode))

    def accept(data: bytes) -> None:
        (request,) = app.receive(data)
        assert isinstance(request, Request)
        app.answer(judge_request(request, HandshakePolicy()))

    end = _End(lambda data: [*app.receive(data)], app.send, app.data_to_send)
    return _over_bytes(case, sending, end, accept)


def call(case: Case, sending: bool) -> Work | None:
    """The same at the app's end, with all that a handler has: everything but the socket."""
    if sending is not (case.sender is APP):
        return None
    app = AppCall(Answering(mode=case.mode), now=0.0)

    def receive(data: bytes) -> None:
        app.receive(data, 0.0)
        while app.next_event(0.0) is not None:
            pass

    end = _End(receive, lambda message: app.send(message, 0.0), lambda: app.data_to_send(0.0))
    return _over_bytes(case, sending, end, receive)


def _over_bytes(
    case: Case, sending: bool, app: _End, accept: Callable[[bytes], None]
) -> Work | None:
    """The work of an end of a call with a platform's connection.

    How metadata is sent is not shown: that connection does it by itself when it opens.
    """
    streaming = case.mode is Mode.STREAMING
    way = BidirectionalAudio(streaming=streaming, sample_rate=8000 if streaming else None)
    verb = ListenVerb(url="ws://app.example/", pass_dtmf=True, bidirectional_audio=way)
    task = ListenTask(verb, ATTRIBUTES)
    opening = PlatformConnection(task)
    platform = _End(lambda data: [*opening.receive(data)], task.session.send, opening.data_to_send)
    ends = {PLATFORM: platform, APP: app}
    sender, receiver = ends[case.sender], ends[case.sender.other]
    accept(platform.data_to_send())
    platform.receive(app.data_to_send())
    if case.opens:
        return None if sending else (receiver.receive, [platform.data_to_send()])
    app.receive(platform.data_to_send())
    for message in case.before * case.times:
        receiver.send(message)
        sender.receive(receiver.data_to_send())

    def to_bytes(message: Message) -> bytes:
        sender.send(message)
        return sender.data_to_send()

    if sending:
        return to_bytes, [case.message] * case.times
    return receiver.receive, [to_bytes(case.message) for _ in range(case.times)]


LEVELS: Final[tuple[Callable[[Case, bool], Work | None], ...]] = (
    bare_json,
    bare_wsproto,
    codec,
    session,
    connection,
    call,
)


def seconds(works: Iterable[Work]) -> float:
    """What one call of the function takes of the processor, over all that it is called with."""
    took = calls = 0.0
    gc.disable()  # the time of a collection would count for whoever it interrupts
    try:
        for function, inputs in works:
            start = time.process_time()
            for one in inputs:
                function(one)
            took += time.process_time() - start
            calls += len(inputs)
    finally:
        gc.enable()
    return took / calls


def measured(rounds: int, messages: int) -> list[list[Cell]]:
    """A row for each message and direction, times in microseconds."""
    ways = [(case, sending) for case in CASES for sending in (True, False)]
    figures: dict[tuple[int, int], list[float]] = {}
    for _ in range(rounds):
        for row, (case, sending) in enumerate(ways):
            case = attrs.evolve(case, times=min(case.times, messages))
            calls = min(CALLS, -(-messages // case.times))
            for column, level in enumerate(LEVELS):
                works = [work for _ in range(calls) if (work := level(case, sending))]
                if works:
                    figures.setdefault((row, column), []).append(seconds(works) * 1e6)
    rows: list[list[Cell]] = []
    for row, (case, sending) in enumerate(ways):
        times = [
            statistics.median(figures[row, column]) if (row, column) in figures else None
            for column in range(len(LEVELS))
        ]
        floor = times[LEVELS.index(bare_wsproto)]
        assert floor is not None
        shares = [None if one is None else one / floor for one in times[-3:]]
        way = _way(case.sender, sending)
        rows.append([case.name, way, *times, *shares])
    return rows


def _way(sender: Peer, sending: bool) -> str:
    return f"{sender.value} sends" if sending else f"{sender.other.value} receives"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.core", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="some seconds, rough figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    rounds, messages = (3, MESSAGES // 10) if options.quick else (options.rounds, MESSAGES)
    names = [level.__name__.replace("_", " ") for level in LEVELS]
    report = Report.here(
        "One message without a network, in microseconds",
        ["message", "direction", *names, *(f"{name} / wsproto" for name in names[-3:])],
        measured(rounds, messages),
        packages=["wsproto", "h11", "attrs"],
        rounds=str(rounds),
    )
    print(report)
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
