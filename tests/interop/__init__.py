"""Both ends of the library against implementations that are not ours.

This module has what these tests share. The other peer is a script: a coroutine that sends and
receives through a :class:`Socket`, so that one script runs on every WebSocket library.
"""

from __future__ import annotations

import functools
import json
import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import attrs
import trio
import trio_websocket
from trio_websocket import ConnectionRejected as Rejected
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync import client, server
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from listenproto import (
    DOCUMENTED,
    SUBPROTOCOL,
    AppSession,
    BidirectionalAudio,
    Close,
    Heard,
    ListenResult,
    ListenTask,
    ListenVerb,
    Mode,
    Payload,
    Peer,
    Profile,
    Trace,
    TraceHeader,
    TraceMoment,
    judge_trace,
)
from listenproto._trace import TraceLine
from listenproto_trio import (
    Answering,
    AppMessage,
    Call,
    Handler,
    Key,
    PlatformCall,
    open_call,
    talk,
)
from listenproto_trio import serve as serve_calls

HOST = "127.0.0.1"
PATIENCE = 60.0  # seconds after which a test that hangs fails
SPEED = 20.0
RATE = 8000

Said = bytes | dict[str, Any] | Close
"""What a peer said: audio, a JSON object, or its close."""


def trio_test(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test; one that hangs fails."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            with trio.fail_after(PATIENCE):
                await test(*args, **kwargs)

        trio.run(bounded)

    return run


def noise(samples: int, seed: int = 0) -> bytes:
    """L16 in which any sample lost, doubled or displaced shows."""
    return random.Random(seed).randbytes(2 * samples)


# Sockets: what a script needs of a WebSocket library.


class Refused(Exception):
    """The server refused the upgrade."""

    def __init__(self, status: int, headers: Mapping[str, str], body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.headers = headers
        self.body = body


class Socket(ABC):
    """One end of a WebSocket of somebody else's library."""

    subprotocol: str | None

    def __init__(self) -> None:
        self._said: deque[dict[str, Any]] = deque()

    @abstractmethod
    async def send(self, payload: str | bytes) -> None: ...

    @abstractmethod
    async def receive(self) -> Payload:
        """The next message, or the close, for ever."""

    @abstractmethod
    async def ping(self, data: bytes) -> None:
        """Send a ping; returns when its pong has come."""

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None: ...

    async def say(self, **message: Any) -> None:
        """Send a JSON object."""
        await self.send(json.dumps(message))

    async def hear(self) -> Said:
        """The next message, a text as its JSON. Deployed platforms put two into one text."""
        while not self._said:
            payload = await self.receive()
            if not isinstance(payload, str):
                return payload
            while payload:
                value, end = json.JSONDecoder().raw_decode(payload)
                self._said.append(value)
                payload = payload[end:]
        return self._said.popleft()

    async def hear_audio(self) -> bytes:
        """The next message, which is audio."""
        said = await self.hear()
        assert isinstance(said, bytes), said
        return said

    async def hear_out(self) -> list[Said]:
        """All messages up to the close, and that."""
        heard = [await self.hear()]
        while not isinstance(heard[-1], Close):
            heard.append(await self.hear())
        return heard


class WebsocketsSocket(Socket):
    """A connection of websockets' threading implementation."""

    def __init__(self, ws: Connection) -> None:
        super().__init__()
        self.ws = ws
        self.subprotocol = ws.subprotocol

    async def send(self, payload: str | bytes) -> None:
        await trio.to_thread.run_sync(self.ws.send, payload, abandon_on_cancel=True)

    async def receive(self) -> Payload:
        try:
            return await trio.to_thread.run_sync(self.ws.recv, abandon_on_cancel=True)
        except ConnectionClosed as over:
            close = over.rcvd
            return Close(close.code, close.reason) if close else Close(1006)

    async def ping(self, data: bytes) -> None:
        pong = await trio.to_thread.run_sync(self.ws.ping, data)
        await trio.to_thread.run_sync(pong.wait, abandon_on_cancel=True)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await trio.to_thread.run_sync(self.ws.close, code, reason)


class TrioSocket(Socket):
    """A connection of trio-websocket."""

    def __init__(self, ws: trio_websocket.WebSocketConnection) -> None:
        super().__init__()
        self.ws = ws
        self.subprotocol = ws.subprotocol

    async def send(self, payload: str | bytes) -> None:
        await self.ws.send_message(payload)

    async def receive(self) -> Payload:
        try:
            return await self.ws.get_message()
        except trio_websocket.ConnectionClosed as over:
            close = over.reason
            return Close(close.code, close.reason or "") if close else Close(1006)

    async def ping(self, data: bytes) -> None:
        await self.ws.ping(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.ws.aclose(code, reason)


Script = Callable[[Socket], Awaitable[None]]
Dial = Callable[..., AbstractAsyncContextManager[Socket]]
Answer = Callable[..., AbstractAsyncContextManager[str]]


@asynccontextmanager
async def dial_websockets(
    url: str,
    *,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[WebsocketsSocket]:
    """Open a WebSocket with websockets, which offers to compress as it does by default."""
    opening = partial(
        client.connect,
        url,
        subprotocols=list(subprotocols) or None,
        additional_headers=headers,
        proxy=None,
        close_timeout=2,
        max_queue=None,
        **options,
    )
    try:
        connection = await trio.to_thread.run_sync(opening)
    except InvalidStatus as refused:
        response = refused.response
        body = (response.body or b"").decode()
        raise Refused(response.status_code, response.headers, body) from None
    ws = connection.__enter__()
    try:
        yield WebsocketsSocket(ws)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(ws.__exit__, None, None, None)


@asynccontextmanager
async def dial_trio_websocket(
    url: str,
    *,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[TrioSocket]:
    """Open a WebSocket with trio-websocket, on a stream that is closed also if it is refused."""
    server_at = urlsplit(url)
    assert server_at.port is not None
    refused: list[Rejected] = []
    try:
        async with (
            await trio.open_tcp_stream(HOST, server_at.port) as stream,
            trio.open_nursery() as nursery,
        ):
            ws = await trio_websocket.wrap_client_stream(
                nursery,
                stream,
                server_at.netloc,
                server_at._replace(scheme="", netloc="").geturl() or "/",
                subprotocols=subprotocols,
                extra_headers=[(k.encode(), v.encode()) for k, v in (headers or {}).items()],
                message_queue_size=1000,
            )
            yield TrioSocket(ws)
            await ws.aclose()
    except* Rejected as group:
        refused += [one for one in group.exceptions if isinstance(one, Rejected)]
    for answer in refused:
        given = {name.decode().title(): value.decode() for name, value in answer.headers}
        raise Refused(answer.status_code, given, (answer.body or b"").decode())


@asynccontextmanager
async def answer_websockets(
    script: Script,
    *,
    subprotocol: str | None = SUBPROTOCOL,
    max_queue: int | None = None,
    **options: Any,
) -> AsyncIterator[str]:
    """Answer calls with websockets, which would compress if it were offered; gives the URL.

    ``max_queue`` is how many messages it reads ahead. Where that is bounded, it does not see the
    answer to its close behind messages that nobody takes.
    """
    token = trio.lowlevel.current_trio_token()

    async def converse(socket: Socket) -> None:
        over = trio.Event()

        async def to_the_end() -> None:
            try:
                await script(socket)
            finally:
                over.set()

        nursery.start_soon(to_the_end)  # there its failures are the test's
        await over.wait()

    def handler(ws: server.ServerConnection) -> None:
        trio.from_thread.run(converse, WebsocketsSocket(ws), trio_token=token)

    offered = None if subprotocol is None else [Subprotocol(subprotocol)]
    listening = server.serve(
        handler,
        HOST,
        0,
        subprotocols=offered,
        close_timeout=2,
        max_size=None,
        max_queue=max_queue,
        **options,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, listening.serve_forever)
        try:
            yield f"ws://{HOST}:{listening.socket.getsockname()[1]}"
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(listening.shutdown)


@asynccontextmanager
async def answer_trio_websocket(
    script: Script, *, subprotocol: str | None = SUBPROTOCOL
) -> AsyncIterator[str]:
    """Answer calls with trio-websocket; gives the URL."""

    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        await script(TrioSocket(await request.accept(subprotocol=subprotocol)))

    async with trio.open_nursery() as nursery:
        serving = partial(
            trio_websocket.serve_websocket, handler, HOST, 0, None, message_queue_size=1000
        )
        listening = await nursery.start(serving)
        yield f"ws://{HOST}:{listening.port}"
        nursery.cancel_scope.cancel()


DIALS: Mapping[str, Dial] = {
    "websockets": dial_websockets,
    "trio-websocket": dial_trio_websocket,
}
ANSWERS: Mapping[str, Answer] = {
    "websockets": answer_websockets,
    "trio-websocket": answer_trio_websocket,
}


# Our own ends, with everything on record.


class Record:
    """A tap: keeps what passes at one end of a call, to be judged afterwards."""

    def __init__(self, vantage: Peer) -> None:
        self._vantage = vantage
        self._started_at = anyio.current_time()
        self.lines: list[TraceLine] = []

    def __call__(self, sender: Peer, payload: Payload | TraceMoment) -> None:
        at = round((anyio.current_time() - self._started_at) * 1_000_000)
        self.lines.append(TraceLine(at, sender, 0, payload))

    def breaches(self, way: ListenVerb | Mode, profile: Profile = DOCUMENTED) -> list[str]:
        """What the observer has to say against it."""
        header = TraceHeader(vantage=self._vantage, way=way, profile=profile.name)
        found = judge_trace(Trace(header, tuple(self.lines)))
        return [f"{violation.sender.value}: {violation}" for _, violation in found]


@attrs.define
class Served:
    """Our app end while it takes calls."""

    url: str
    records: list[Record] = attrs.field(factory=list)
    calls: list[Call] = attrs.field(factory=list)
    handled: trio.Event = attrs.field(factory=trio.Event)
    """Set once a handler has come to its end."""

    async def call(self) -> Call:
        """The one call that was taken, after its handler has ended."""
        await self.handled.wait()
        (call,) = self.calls
        return call


@asynccontextmanager
async def app_end(handler: Handler, **answering: Any) -> AsyncIterator[Served]:
    """Take calls with our app end. The handler collects; asserting is the test's part."""
    served = Served(url="")

    def tap(session: AppSession) -> Record:
        served.records.append(Record(Peer.APP))
        return served.records[-1]

    async def handle(call: Call) -> None:
        served.calls.append(call)
        try:
            await handler(call)
        finally:
            served.handled.set()

    async with trio.open_nursery() as nursery:
        answers = Answering(tap=tap, **answering)
        listeners = await nursery.start(
            partial(serve_calls, handle, port=0, host=HOST, answering=answers)
        )
        served.url = f"ws://{HOST}:{listeners[0].socket.getsockname()[1]}"
        yield served
        nursery.cancel_scope.cancel()


def verb(url: str, mode: Mode, **options: Any) -> ListenVerb:
    """A listen verb whose way back is ``mode``, at 8000 samples a second where it streams."""
    streaming = mode is Mode.STREAMING
    way_back = BidirectionalAudio(
        enabled=mode is not Mode.OFF, streaming=streaming, sample_rate=RATE if streaming else None
    )
    return ListenVerb(url=url, bidirectional_audio=way_back, **options)


@attrs.define
class Placed:
    """A call that our platform end placed, and what came of it."""

    task: ListenTask
    record: Record
    heard: list[Heard] = attrs.field(factory=list)
    """What the caller heard."""
    seen: list[AppMessage] = attrs.field(factory=list)
    """What the platform took from the app."""
    result: ListenResult = attrs.field(init=False)

    @property
    def audio(self) -> bytes:
        return b"".join(piece.pcm for piece in self.heard)

    def breaches(self, profile: Profile = DOCUMENTED) -> list[str]:
        return self.record.breaches(self.task.verb, profile)


ATTRIBUTES = {
    "callSid": "c3a1",
    "direction": "inbound",
    "from": "+15550100",
    "to": "+15550199",
    "callerId": "Zoë",
}


async def place_call(
    verb: ListenVerb,
    says: bytes = b"",
    *,
    keys: Iterable[Key] = (),
    until: Callable[[Placed], bool] = lambda placed: False,
    profile: Profile = DOCUMENTED,
    speed: float = SPEED,
    **options: Any,
) -> Placed:
    """Place a call with our platform end; the caller hangs up when ``until`` says so."""
    task = ListenTask(verb, ATTRIBUTES, profile=profile, keep_passed=True)
    placed = Placed(task, Record(Peer.PLATFORM))

    def hear(pieces: list[Heard]) -> None:
        placed.heard += pieces
        if until(placed):
            call.hang_up()

    call: PlatformCall
    async with open_call(task, on_message=placed.seen.append, tap=placed.record, **options) as call:
        placed.result = await talk(
            call, says, keys=keys, hang_up_after=math.inf, hear=hear, speed=speed
        )
    return placed
