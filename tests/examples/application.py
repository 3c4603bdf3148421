"""A jambonz application on one port: call webhook, listen and actionHook, on trio."""

import sys
from contextlib import suppress

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from listenproto import (
    ActionHook,
    Audio,
    BidirectionalAudio,
    CallHook,
    Close,
    HandshakePolicy,
    ListenVerb,
    Payload,
    Reject,
    Request,
    WebhookError,
    judge_request,
    write_verbs,
)
from listenproto_trio import Answering, Call, CallEnded

LISTEN = ListenVerb(
    url="/listen",
    action_hook="/done",
    finish_on_key="#",
    bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=8000),
)
ANSWERING = Answering(verb=LISTEN)


async def incoming(request: HttpRequest) -> Response:
    hook = CallHook.from_body(await request.body())
    greeting = {"verb": "say", "text": f"Hello {hook.from_ or 'there'}. Speak, and press pound."}
    return Response(write_verbs(greeting, LISTEN), media_type="application/json")


async def done(request: HttpRequest) -> Response:
    hook = ActionHook.from_body(await request.body())
    farewell = {"verb": "say", "text": f"You spoke for {hook.dial_call_duration or 0} seconds."}
    return Response(write_verbs(farewell, {"verb": "hangup"}), media_type="application/json")


async def bad_request(request: HttpRequest, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 400)


async def listen(websocket: WebSocket) -> None:
    request = Request(websocket.url.path, tuple(websocket.headers.items()))
    verdict = judge_request(request, HandshakePolicy())
    if isinstance(verdict, Reject):
        refusal = PlainTextResponse(verdict.reason, verdict.status, dict(verdict.headers))
        await websocket.send_denial_response(refusal)
        return
    await websocket.accept(verdict.subprotocol)
    with suppress(CallEnded):
        asgi = AsgiWebSocket(websocket)
        async with Call.over(asgi, request=request, answering=ANSWERING) as call:
            async for event in call:
                if isinstance(event, Audio):
                    await call.send_audio(event.pcm)


class AsgiWebSocket:
    """Starlette's WebSocket, for ``Call.over``.

    Behind hypercorn every end is a 1006: it does not tell how the platform has closed.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._receiving = trio.Lock()
        self._over: Close | None = None

    async def receive(self) -> Payload:
        async with self._receiving:
            if self._over is not None:
                return self._over
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._over = Close(message["code"], message.get("reason") or "")
                return self._over
            text = message.get("text")
            payload: str | bytes = message["bytes"] if text is None else text
            return payload

    async def send(self, payload: str | bytes) -> None:
        if isinstance(payload, str):
            await self._websocket.send_text(payload)
        else:
            await self._websocket.send_bytes(payload)

    async def close(self, code: int, reason: str) -> None:
        await self._websocket.close(code, reason)
        while self._over is None:  # hypercorn sees the answer only behind what is read
            await self.receive()


app = Starlette(
    routes=[
        Route("/call", incoming, methods=["POST"]),
        Route("/done", done, methods=["POST"]),
        WebSocketRoute("/listen", listen),
    ],
    exception_handlers={WebhookError: bad_request},
)


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.websocket_ping_interval = 20.0  # unanswered ones mean nothing to it: TCP has to give up
    trio.run(serve, app, config)  # type: ignore[arg-type]  # its types of ASGI are its own
