"""The actionHook: what a platform POSTs when a listen is over."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import urljoin

import attrs
import httpx

from listenproto.messages import JSON
from listenproto.verb import ListenVerb

__all__ = ["Hooked", "call_hook"]

PATIENCE = 10.0
"""Seconds that the application may take to answer."""


@attrs.frozen
class Hooked:
    """What came of an actionHook: the status of the answer, or what failed."""

    url: str
    status: int | None = None
    failure: str | None = None

    def __str__(self) -> str:
        return f"actionHook {self.url}: {self.failure or self.status}"


async def call_hook(
    verb: ListenVerb, payload: Mapping[str, JSON], context: ssl.SSLContext
) -> Hooked | None:
    """POST a listen's result to the verb's actionHook; None where it has none.

    A relative hook is on the server of the verb's URL. A hook that is an object has its own
    ``url``, ``method``, ``username`` and ``password``.
    """
    hook = verb.action_hook
    if hook is None:
        return None
    options: Mapping[str, JSON] = {"url": hook} if isinstance(hook, str) else hook
    base = "http" + verb.websocket_url.removeprefix("ws")
    method = str(options.get("method") or "POST").upper()
    auth = None
    if options.get("username") and options.get("password"):
        auth = str(options["username"]), str(options["password"])
    shown = str(options.get("url"))
    try:
        url = httpx.URL(urljoin(base, shown))
        shown = str(url.copy_with(username=None, password=None, query=None))
        async with httpx.AsyncClient(verify=context, timeout=PATIENCE, auth=auth) as client:
            if method == "GET":
                response = await client.get(url, params={k: str(v) for k, v in payload.items()})
            else:
                response = await client.request(method, url, json=dict(payload))
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return Hooked(shown, failure=str(exc) or type(exc).__name__)
    if response.is_success:
        return Hooked(shown, response.status_code)
    said = f"answered {response.status_code} {response.reason_phrase}; 2xx was expected"
    return Hooked(shown, response.status_code, said)
