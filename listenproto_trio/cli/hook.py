"""The actionHook: what a platform POSTs when a listen is over."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin

import attrs
import httpx
import trio

from listenproto._messages import JSON
from listenproto._verb import ListenVerb
from listenproto._verb_options import VerbError
from listenproto_trio._failures import first, in_words
from listenproto_trio._rejection import redirect_from

__all__ = ["Hook", "Hooked", "read_hook"]

HOOK_SECONDS: Final = 10.0
"""How long the application may take for its whole answer."""


@attrs.frozen
class Hooked:
    """The outcome of an actionHook: the status of the answer, or what failed."""

    url: str
    status: int | None = None
    failure: str | None = None

    def __str__(self) -> str:
        return f"actionHook {self.url}: {self.failure or self.status}"


@attrs.frozen
class Hook:
    """Where and how a result is sent. The password is not shown."""

    url: httpx.URL
    method: str
    auth: tuple[str, str] | None = attrs.field(repr=False)

    async def call(self, payload: Mapping[str, JSON], context: ssl.SSLContext) -> Hooked:
        """Send a listen's result; waits for the answer for ten seconds at most."""
        shown = str(self.url.copy_with(username=None, password=None, query=None))
        with trio.move_on_after(HOOK_SECONDS):
            try:
                return await self._send(payload, context, shown)
            except (httpx.HTTPError, httpx.InvalidURL) as exc:  # such as one that became too long
                return Hooked(shown, failure=_why(exc))
        return Hooked(shown, failure=f"no answer within {HOOK_SECONDS:g} s")

    async def _send(
        self, payload: Mapping[str, JSON], context: ssl.SSLContext, shown: str
    ) -> Hooked:
        # The WebSocket goes through no proxy, so neither does this.
        client = httpx.AsyncClient(
            verify=context, timeout=HOOK_SECONDS, auth=self.auth, trust_env=False
        )
        url = self.url
        body: dict[str, JSON] | None = dict(payload)
        if self.method == "GET":  # what its own query has stays in it
            told = {k: v if isinstance(v, str) else str(v) for k, v in payload.items()}
            url, body = url.copy_merge_params(told), None
        async with client, client.stream(self.method, url, json=body) as response:
            status = response.status_code
            if response.is_success:
                return Hooked(shown, status)
            said = f"answered {status} {response.reason_phrase}".rstrip()
            where = redirect_from(shown, response.headers.get("location"))
            if response.has_redirect_location and where is not None:
                return Hooked(shown, status, f"{said}, a redirect: use {where} instead")
            return Hooked(shown, status, f"{said}; 2xx was expected")


def read_hook(verb: ListenVerb) -> Hook | None:
    """The verb's actionHook; None if it has none.

    A path is resolved against the verb's URL. An object has its own ``url``, ``method``,
    ``username`` and ``password``. Raises :class:`~listenproto.VerbError`.
    """
    hook = verb.action_hook
    if hook is None:
        return None
    options: Mapping[str, JSON] = {"url": hook} if isinstance(hook, str) else hook
    asked, method = options.get("url"), options.get("method", "POST")
    if method not in ("GET", "POST"):
        raise VerbError("actionHook.method", method, "'GET' or 'POST'")
    base = "http" + verb.websocket_url.removeprefix("ws")
    url = _absolute(base, asked) if isinstance(asked, str) else None
    if url is None:
        raise VerbError("actionHook.url", asked, "an http or https URL, or a path")
    user, password = options.get("username"), options.get("password")
    both = isinstance(user, str) and isinstance(password, str) and user and password
    return Hook(url, str(method), (str(user), str(password)) if both else None)


def _absolute(base: str, asked: str) -> httpx.URL | None:
    """An http or https URL, resolved against ``base``; None if its host cannot be looked up."""
    try:
        url = httpx.URL(urljoin(base, asked))
        url.raw_host.decode().encode("idna")  # as the look-up does: UnicodeError is a ValueError
        port = 1 if url.port is None else url.port
        fits = url.scheme in ("http", "https") and url.host and 0 < port < 2**16
    except (ValueError, httpx.InvalidURL):
        return None
    return url if fits else None


def _why(error: BaseException) -> str:
    """What broke an exchange; httpx hides it behind its own errors."""
    why, cause = str(error) or type(error).__name__, error.__cause__ or error.__context__
    while cause is not None:
        cause = first(cause)
        if isinstance(cause, ssl.SSLError) or (isinstance(cause, OSError) and cause.errno):
            why = in_words(cause)
        cause = cause.__cause__ or cause.__context__
    return why
