"""Connects to the host of a verb's URL, over TCP and TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import trio

from listenproto._limits import Limits
from listenproto._task import ListenTask
from listenproto_trio._failures import first, in_words, is_untrusted
from listenproto_trio._rejection import UNTRUSTED, CallRejected, host_of

__all__ = ["connected"]


async def connected(
    task: ListenTask, limits: Limits, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Connect to the host of the verb's URL, with TLS if the URL asks for it."""
    url = urlsplit(task.verb.websocket_url)
    secure, there = url.scheme == "wss", host_of(task)
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    lack = f"no connection to {there}", "check the address, and firewalls on the way"
    with trio.move_on_after(limits.handshake_time):
        try:
            # As bytes: Python would encode text as IDNA, and raise UnicodeError for some.
            stream: trio.abc.Stream = await trio.open_tcp_stream(host.encode(), port)
        except OSError as exc:
            attempt = first(exc.__cause__ or exc)  # of several, the first
            cause = attempt if isinstance(attempt, OSError) else exc
            raise type(cause)(f"no connection to {there}: {_plainly(cause)}") from exc
        if not secure:
            return stream
        lack = f"TLS with {there} failed: no answer", "check that it is a wss server"
        return await _secured(stream, host, there, context or ssl.create_default_context())
    raise CallRejected(f"{lack[0]} within {limits.handshake_time:g} s; {lack[1]}")


def _plainly(error: OSError) -> str:
    """Why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens there ({in_words(error)})"
    if isinstance(error, socket.gaierror):
        return f"host not found ({in_words(error)})"
    return in_words(error)


async def _secured(
    stream: trio.abc.Stream, host: str, there: str, context: ssl.SSLContext
) -> trio.abc.Stream:
    """The stream with TLS, its handshake done."""
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    async with AsyncExitStack() as failing:
        failing.push_async_callback(trio.aclose_forcefully, secured)
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as exc:
            why = in_words(exc) or "the server closed the connection during the handshake"
            kind = UNTRUSTED if is_untrusted(exc) else None
            raise CallRejected(f"TLS with {there} failed: {why}", kind=kind) from exc
        failing.pop_all()
    return secured
