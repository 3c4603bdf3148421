"""The URL of an app: what it may be, and what is wrong with it, in words."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

__all__ = ["ABSOLUTE", "PATH", "as_websocket", "is_absolute", "url_fault"]

_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_URL_TEXT: Final = r'[!"$-\[\]-~]+'
_NO_URL_TEXT: Final = r'[^!"$-\[\]-~]'
# RFC 1035, 2.3.4: no other name can be looked up
_NAME: Final = r"[^\[\].:]{1,63}(\.[^\[\].:]{1,63})*\.?"
ABSOLUTE: Final = (
    "a ws, wss, http or https URL such as ws://app.example/call (no user name; 1 to 63 characters"
    " between dots of the host; printable ASCII without spaces, '#' and '\\')"
)
"""What an absolute URL of an app must be."""
PATH: Final = rf"/(?!/)({_URL_TEXT})?"
"""The pattern of a path on the application's server (LP-VERB-1)."""


def is_absolute(url: object) -> bool:
    """Whether it is what :data:`ABSOLUTE` says."""
    if not isinstance(url, str) or not re.fullmatch(_URL_TEXT, url):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port  # parsed only here: ValueError unless a number up to 65535
    except ValueError:
        return False
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
        return False
    if not re.fullmatch(rf"(\[[^\[\]]+\]|{_NAME})(:[0-9]*)?", parts.netloc):
        return False  # brackets may only be around an address
    return "@" not in parts.netloc  # RFC 6455, 3: a ws URL names no user


def url_fault(url: object) -> str | None:
    """The one thing that is wrong with a URL that no app can have: what it "must …", in words.

    None if there is more to it, such as another scheme.
    """
    if not isinstance(url, str):
        return None
    scheme, colon, rest = url.partition("://")
    absolute = bool(colon) and scheme.strip().lower() in _SCHEMES
    if not absolute and not re.match("/(?!/)", url):
        return None
    server = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if absolute and "@" in server:
        return "have no user name or password in it"
    if odd := re.search(_NO_URL_TEXT, url):
        named = {" ": "spaces", "#": "'#'", "\\": "'\\'"}.get(odd[0])
        return f"have no {named} in it" if named else "have only printable ASCII characters in it"
    if not absolute:
        return None
    parts = re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]]*?)(?::([^:]*))?", server)
    if parts is None:
        return None
    host, port = parts.groups()
    if not host:
        return "have a host in it, as in ws://app.example/call"
    if port and not (re.fullmatch("0*[1-9][0-9]{0,4}", port) and int(port[-5:]) <= 65535):
        return "have a port from 1 to 65535"
    if not host.startswith("[") and not re.fullmatch(_NAME, host):
        return "have a host with 1 to 63 characters between dots"
    return None


def as_websocket(url: str) -> str:
    """An absolute URL as ws or wss (LP-VERB-2)."""
    scheme, rest = url.split(":", 1)
    return f"{_SCHEMES[scheme.lower()]}:{rest}"
