"""How a listen ended, and what its actionHook is told (LP-END)."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping

import attrs

from listenproto._choices import member
from listenproto._messages import JSON

__all__ = ["ListenEnd", "ListenResult"]


class ListenEnd(enum.Enum):
    """Why a listen ended (LP-END-14)."""

    HANGUP = "hangup"
    """The caller hung up (LP-END-9)."""
    KEY = "key"
    """The caller pressed a key of ``finishOnKey``."""
    MAX_LENGTH = "maxLength"
    """``maxLength`` seconds of audio were captured."""
    TIMEOUT = "timeout"
    """The caller was silent for ``timeout`` seconds."""
    DISCONNECT = "disconnect"
    """The app sent a disconnect."""
    APP_CLOSED = "app closed"
    """The app closed the WebSocket."""
    ERROR = "error"
    """The app broke the WebSocket protocol, or sent ``error`` to a deployed platform, where the
    verb ends and the connection goes on until something else ends it."""
    LOST = "connection lost"
    """The connection was lost without a close (LP-END-8)."""
    NOT_CONNECTED = "not connected"
    """The WebSocket could not be opened."""


def _end(value: ListenEnd | str) -> ListenEnd:
    return member(ListenEnd, value, "end")


@attrs.frozen(kw_only=True)
class ListenResult:
    """How a listen ended. ``duration`` is in whole seconds; None if it never connected, and after
    an ``error`` of the app (LP-END-17)."""

    end: ListenEnd = attrs.field(converter=_end)
    """Why it ended."""
    duration: int | None
    digits: str | None = None
    """The key that ended it; None if none did."""
    attributes: Mapping[str, JSON] = attrs.field(repr=False)
    """The attributes of the call, as they were given to the task."""

    def action_hook(self) -> dict[str, JSON]:
        """The JSON that is sent to the verb's actionHook (LP-END-16)."""
        payload = {_snake_case(key): value for key, value in self.attributes.items()}
        for told in ("dial_call_duration", "digits"):  # only the listen itself sets these
            payload.pop(told, None)
        if self.duration is not None:
            payload["dial_call_duration"] = self.duration
        if self.digits is not None:
            payload["digits"] = self.digits
        return payload


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
