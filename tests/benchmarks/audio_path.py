"""What a 20 ms message of audio costs: python -m tests.benchmarks.audio_path

Each figure is the median of several rounds. The rounds of all figures alternate, so that a change
in the machine's speed affects all alike. Compare only figures of the same run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import trio
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage

from listenproto import (
    FLICKS,
    AppConnection,
    AppSession,
    Audio,
    BidirectionalAudio,
    HandshakePolicy,
    ListenTask,
    ListenVerb,
    Metadata,
    Mode,
    PlatformConnection,
    PlatformSession,
    Request,
    judge_request,
)
from listenproto_trio import Answering, Call, open_call_on, serve_stream

PCM = bytes(320)
MESSAGES = 5000
ROUNDS = 7


def bare_wsproto() -> Callable[[], object]:
    """The floor: the WebSocket library alone receives a masked message."""
    client, server = Connection(ConnectionType.CLIENT), Connection(ConnectionType.SERVER)
    data = bytes(client.send(BytesMessage(PCM)))

    def step() -> None:
        server.receive_data(data)
        for _ in server.events():
            pass

    return step


def verb() -> ListenVerb:
    way = BidirectionalAudio(streaming=True, sample_rate=8000)
    return ListenVerb(url="ws://app.example/", bidirectional_audio=way)


def app_session() -> Callable[[], object]:
    """A message received by the app's session."""
    app = AppSession(mode=Mode.STREAMING)
    app.receive("{}")
    return lambda: app.receive(PCM)


def platform_session() -> Callable[[], object]:
    """A message received by the platform's session, and played to the caller."""
    platform = PlatformSession(Mode.STREAMING)
    platform.send(Metadata())
    list(platform.outgoing())

    def step() -> None:
        platform.receive(PCM)
        platform.play(FLICKS // 50)

    return step


def connections() -> Callable[[], object]:
    """A message captured at the platform, carried as bytes, received by the app."""
    task = ListenTask(verb(), {})
    platform = PlatformConnection(task)
    app = AppConnection(AppSession(mode=Mode.STREAMING))

    def to_app() -> None:
        app.feed(platform.data_to_send())
        for event in app.events():
            if isinstance(event, Request):
                app.answer(judge_request(event, HandshakePolicy()))

    def step() -> None:
        task.capture(PCM)
        to_app()

    to_app()
    platform.feed(app.data_to_send())
    list(platform.events())
    to_app()
    return step


async def over_tcp() -> float:
    """Seconds a message, from one trio task to another over loopback, as fast as it goes."""
    received = trio.Event()
    heard = 0

    async def handler(call: Call) -> None:
        nonlocal heard
        async for event in call:
            if isinstance(event, Audio):
                heard += len(event.pcm)
                if heard >= MESSAGES * len(PCM):
                    received.set()

    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    async with trio.open_nursery() as nursery:
        answering = Answering(mode=Mode.STREAMING, unread="hold")
        client = await trio.open_tcp_stream(*listener.socket.getsockname()[:2])
        server = await listener.accept()
        nursery.start_soon(lambda: serve_stream(handler, server, answering=answering))
        async with open_call_on(client, ListenTask(verb(), {})) as call:
            start = time.perf_counter()
            for _ in range(MESSAGES):
                await call.capture(PCM)
            await received.wait()
            return (time.perf_counter() - start) / MESSAGES


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(MESSAGES):
        step()
    return (time.perf_counter() - start) / MESSAGES


def main() -> None:
    makers = [bare_wsproto, app_session, platform_session, connections]
    names = [*(maker.__name__ for maker in makers), "over_tcp"]
    rounds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for maker in makers:
            rounds[maker.__name__].append(timed(maker()))
        rounds["over_tcp"].append(trio.run(over_tcp))
    floor = statistics.median(rounds["bare_wsproto"])
    for name, figures in rounds.items():
        median = statistics.median(figures)
        print(f"{name:18} {median * 1e6:7.1f} us a message, {median / floor:5.2f} x bare wsproto")


if __name__ == "__main__":
    main()
