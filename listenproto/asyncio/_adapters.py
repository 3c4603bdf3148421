"""The WebSockets of other libraries, each as a call needs it.

A library is recognised by the modules of its types. None is imported: whoever passes its WebSocket
has done that.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Protocol
from urllib.parse import quote

import attrs

from listenproto._handshake import Reject
from listenproto._message_connection import checked
from listenproto._messages import Close, Payload
from listenproto._session import ABNORMAL
from listenproto._upgrade import HttpHeaders, Request
from listenproto.asyncio._driver import Interruption

__all__ = ["Adapter", "WebSocket", "adapted", "content_of", "head_of"]

NO_CODE: Final = 1005
"""The code that stands for a close without a code (RFC 6455, 7.1.5)."""


class WebSocket(Protocol):
    """A WebSocket that has been accepted: the methods that :func:`answer` needs.

    Each is called by one task at a time, but the three may run at the same time. Each raises
    ConnectionError, or another OSError, if the connection is lost.
    """

    async def receive(self) -> str | bytes | Close:
        """Return the next message, or a ``Close``; code 1006 stands for a lost connection.

        It is cancelled only when the connection is given up.
        """

    async def send(self, payload: str | bytes) -> None:
        """Send a message. It is cancelled only when the connection is given up."""

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait for the answer. Called once; nothing is sent after it.

        If cancelled, it must drop the connection at once, even in the middle of a message.
        """


class Adapter:
    """What a call needs of any WebSocket; this one takes a :class:`WebSocket` as it is."""

    accepted = True
    """Whether the library has accepted it already."""
    request: Request | None = None
    """The upgrade request, if the library tells."""
    peer: str | None = None
    """The address of the other end."""
    tells_who_closed = True
    """Whether a close that is received is known to be the other end's own."""
    own_close: Close | None = None
    """The close that the library has sent by itself; None if it has not."""
    why_closed = ""
    """Why it has, in words; empty if that is not known."""

    def __init__(self, websocket: Any, transport: Any = None) -> None:
        self._websocket = websocket
        self._transport = transport
        """What can be aborted; None if the library does not tell."""
        self._closing = self._over = False

    @property
    def upgrade(self) -> Request:
        """The upgrade request as it is to be judged."""
        assert self.request is not None
        return self.request

    async def accept(self, subprotocol: str | None) -> None:
        """Accept it."""
        try:
            await self._accept(subprotocol)
        except OSError:
            self._over = True
            raise

    async def refuse(self, reject: Reject) -> None:
        """Refuse it. An exception is the library's own way to do that."""
        raise NotImplementedError

    async def receive(self) -> Payload:
        try:
            payload = await self._receive()
        except OSError:
            self._over = True
            raise
        self._over = self._over or isinstance(payload, Close)
        return payload

    def send_now(self, payload: str | bytes) -> bool:
        """Send a message without waiting; returns whether that was done."""
        return False

    async def send(self, payload: str | bytes) -> None:
        await self._websocket.send(payload)

    async def close(self, code: int, reason: str) -> None:
        self._closing = True
        await self._close(code, reason)
        self._over = True

    def abort(self) -> None:
        """Give up the connection at once, if it is not over and the library has a way to do it."""
        if self._transport is not None and not self._over:
            self._over = True
            self._transport.abort()

    async def drop(self) -> None:
        """Give up the connection if it is not over. By now nothing else uses it."""
        if not (self._over or self._closing):  # a close that was cancelled has dropped it
            await self._drop()

    async def _accept(self, subprotocol: str | None) -> None:
        raise NotImplementedError

    async def _receive(self) -> Payload:
        return checked(await self._websocket.receive(), self._websocket)

    async def _close(self, code: int, reason: str) -> None:
        await self._websocket.close(code, reason)

    async def _drop(self) -> None:
        self._closing = True
        closing = asyncio.ensure_future(self._close(1001, ""))
        await asyncio.sleep(0)  # cancelled before it has begun, it would not drop anything
        closing.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await closing


def _is_a(thing: object, module: str, name: str) -> bool:
    """Whether a thing is of the class of this name, or of one derived from it."""
    return any(one.__name__ == name and one.__module__ == module for one in type(thing).__mro__)


def adapted(websocket: Any, request: Any = None) -> Adapter:
    """The adapter for a WebSocket. Raises TypeError for what is none."""
    if _is_a(websocket, "starlette.websockets", "WebSocket"):
        adapter: Adapter = _Starlette(websocket)
    elif _is_a(websocket, "aiohttp.web_ws", "WebSocketResponse"):
        asked = _is_a(request, "aiohttp.web_request", "BaseRequest")
        adapter = _Aiohttp(websocket, request if asked else None)
        request = None if asked else request
    elif _is_a(websocket, "websockets.asyncio.connection", "Connection"):
        adapter = _Websockets(websocket, websocket.request.path, websocket.request.headers)
    elif _is_a(websocket, "websockets.legacy.protocol", "WebSocketCommonProtocol"):
        adapter = _Websockets(websocket, websocket.path, websocket.request_headers)
    elif all(callable(getattr(websocket, name, None)) for name in ("receive", "send", "close")):
        adapter = Adapter(websocket)
    else:
        kind = type(websocket).__name__
        raise TypeError(
            f"this is no WebSocket that answer() knows: {kind}; pass one of FastAPI, Starlette,"
            " aiohttp or websockets, or an object with receive, send and close"
        )
    if request is not None and not isinstance(request, Request):
        kind = type(request).__name__
        raise TypeError(f"request must be a listenproto.Request, not a {kind}")
    adapter.request = request or adapter.request
    return adapter


def _address(address: Any) -> str | None:
    """An address as host:port; None for what is no internet address."""
    if not isinstance(address, tuple | list) or len(address) < 2:
        return None
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> HttpHeaders:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs)


def content_of(reject: Reject) -> bytes:
    """The text of the response that refuses a request."""
    return f"{reject.reason}\n".encode(errors="replace")


_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


class _Starlette(Adapter):
    """Starlette's WebSocket, which is FastAPI's: ASGI."""

    tells_who_closed = False
    _CHECKED: Final = (
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    )
    """Headers that an ASGI server has checked; not each passes them on as they came."""

    def __init__(self, websocket: Any) -> None:
        super().__init__(websocket)
        scope = websocket.scope
        self.accepted = websocket.application_state.name != "CONNECTING"
        path = scope.get("raw_path") or quote(scope["path"]).encode()
        query = scope.get("query_string", b"")
        target = (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
        self.request = Request(target, _headers(scope["headers"]))
        self.peer = _address(scope.get("client"))
        extensions = scope.get("extensions") or {}
        can_refuse = hasattr(websocket, "send_denial_response")  # old ones of Starlette cannot
        self._refuses = can_refuse and "websocket.http.response" in extensions

    @property
    def upgrade(self) -> Request:
        assert self.request is not None
        checked = {name for name, _ in self._CHECKED}
        headers = [one for one in self.request.headers if one[0] not in checked]
        offered = ", ".join(self._websocket.scope.get("subprotocols") or ())
        if offered and self.request.header("sec-websocket-protocol") is None:
            headers.append(("sec-websocket-protocol", offered))
        return attrs.evolve(self.request, headers=(*headers, *self._CHECKED))

    async def _accept(self, subprotocol: str | None) -> None:
        await self._websocket.accept(subprotocol)

    async def refuse(self, reject: Reject) -> None:
        if not self._refuses:
            await self._websocket.close(1008, reject.reason[:120])
            return
        pairs = (*reject.headers, _TEXT)
        headers = [(name.lower().encode(), value.encode()) for name, value in pairs]
        start = {"type": "websocket.http.response.start", "status": reject.status}
        await self._websocket.send({**start, "headers": headers})
        body = {"type": "websocket.http.response.body", "body": content_of(reject)}
        await self._websocket.send(body)

    async def _receive(self) -> Payload:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return Close(message.get("code") or NO_CODE, message.get("reason") or "")
        text = message.get("text")
        payload: str | bytes = message["bytes"] if text is None else text
        return payload

    async def send(self, payload: str | bytes) -> None:
        kind = "text" if isinstance(payload, str) else "bytes"
        await self._pass({"type": "websocket.send", kind: payload})

    async def _close(self, code: int, reason: str) -> None:
        await self._pass({"type": "websocket.close", "code": code, "reason": reason})

    async def _pass(self, message: dict[str, Any]) -> None:
        try:
            await self._websocket.send(message)
        except Exception as exc:
            if self._websocket.application_state.name != "DISCONNECTED":
                raise
            raise ConnectionResetError from exc


class _Aiohttp(Adapter):
    """aiohttp's WebSocketResponse, with the request that it answers."""

    def __init__(self, websocket: Any, request: Any) -> None:
        super().__init__(websocket, None if request is None else request.transport)
        self.accepted = websocket.prepared
        self._request = request
        if request is not None:
            headers = _headers(request.raw_headers)
            self.request = Request(request.raw_path, headers, request.method)
        elif not self.accepted:
            raise TypeError("pass request=…, the request that aiohttp has given to its handler")
        if self._transport is not None:
            self.peer = _address(self._transport.get_extra_info("peername"))
        self._receiving: Interruption | None = None
        self._left = asyncio.Event()
        """Set once nobody receives any more, as this end closes."""
        self._answered = asyncio.Event()
        """Set once this end's close has been answered, or was not in time."""

    async def _accept(self, subprotocol: str | None) -> None:
        if self._websocket.can_prepare(self._request).protocol != subprotocol:
            raise ValueError(
                f"the WebSocketResponse does not select {subprotocol}; make it with"
                " protocols=SUBPROTOCOLS"
            )
        await self._websocket.prepare(self._request)

    async def refuse(self, reject: Reject) -> None:
        # aiohttp answers with what is raised. It has a class for each status, but no function.
        base = sys.modules["aiohttp.web_exceptions"].HTTPException
        refusal = type("Refused", (base,), {"status_code": reject.status})
        raise refusal(text=content_of(reject).decode(), headers=dict(reject.headers))

    async def _receive(self) -> Payload:
        message: Any = None
        if not self._closing:
            try:
                with Interruption() as self._receiving:
                    message = await self._websocket.receive()
            finally:
                self._receiving = None
                self._left.set()
        if message is None:
            await self._answered.wait()
            return Close(int(self._websocket.close_code or ABNORMAL))
        if message.type.name in ("TEXT", "BINARY"):
            payload: str | bytes = message.data
            return payload
        if message.type.name == "ERROR":
            return self._failed(message.data)
        if message.type.name == "CLOSING":
            raise ConnectionAbortedError("the WebSocketResponse was closed at this end")
        if message.type.name != "CLOSE":
            return Close(ABNORMAL)
        await self._websocket.close(code=message.data or 1000)  # if aiohttp has not done so
        return Close(message.data or NO_CODE, message.extra or "")

    def _failed(self, error: Exception) -> Close:
        """The end of what aiohttp gave up by itself; raises what broke the connection."""
        if _is_a(error, "aiohttp._websocket.models", "WebSocketError"):
            fault: Any = error
            self.own_close, self.why_closed = Close(int(fault.code)), str(fault)
            return Close(int(self._websocket.close_code or ABNORMAL))
        raise ConnectionResetError(str(error)) from error

    async def send(self, payload: str | bytes) -> None:
        if isinstance(payload, str):
            await self._websocket.send_str(payload)
        else:
            await self._websocket.send_bytes(payload)

    async def _close(self, code: int, reason: str) -> None:
        if self._receiving is not None:  # aiohttp waits for no answer while another task receives
            self._left.clear()
            self._receiving.interrupt()
            await self._left.wait()
        try:
            await self._websocket.close(code=code, message=reason.encode())
        finally:
            self._answered.set()


class _Websockets(Adapter):
    """A connection of websockets, of its new asyncio server or of the legacy one."""

    def __init__(self, websocket: Any, path: str, headers: Any) -> None:
        super().__init__(websocket, websocket.transport)
        new = "websockets.asyncio.connection"
        is_new = _is_a(websocket, new, "Connection")
        self._broadcast: Any = sys.modules[new].broadcast if is_new else None
        """The function of websockets that sends without waiting, to any number of connections."""
        self.request = head_of(path, headers)
        self.peer = _address(websocket.remote_address)

    async def _receive(self) -> Payload:
        try:
            payload: str | bytes = await self._websocket.recv()
        except Exception as exc:
            close = _closed_by(exc)
            sent: Any = getattr(exc, "sent", None)
            if sent is not None and not getattr(exc, "rcvd_then_sent", None):
                self.own_close, self.why_closed = Close(sent.code, sent.reason), sent.reason
            return close
        return payload

    def send_now(self, payload: str | bytes) -> bool:
        is_open = self._broadcast is not None and self._websocket.state.name == "OPEN"
        if not is_open or self._transport.get_write_buffer_size():
            return False
        try:
            self._broadcast((self._websocket,), payload, raise_exceptions=True)
        except ExceptionGroup:  # in the middle of a message that someone else sends
            return False
        return True

    async def send(self, payload: str | bytes) -> None:
        try:
            await self._websocket.send(payload)
        except Exception as exc:
            _closed_by(exc)
            raise ConnectionResetError from exc


def _closed_by(error: Exception) -> Close:
    """The close that an error of websockets tells of; raises the error if it is another one."""
    if not _is_a(error, "websockets.exceptions", "ConnectionClosed"):
        raise error
    close: Any = getattr(error, "rcvd", None)
    return Close(ABNORMAL) if close is None else Close(close.code, close.reason)


def head_of(path: str, headers: Any) -> Request:
    """A request as websockets has it: old versions decode bytes beyond ASCII to surrogates."""
    pairs = headers.raw_items()
    return Request(path, _headers((name.encode(), _bytes(value)) for name, value in pairs))


def _bytes(value: str) -> bytes:
    return value.encode("latin-1", "surrogateescape")
