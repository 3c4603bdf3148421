"""The log of calls: the logger ``listenproto``, and the same fields on every record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from listenproto.messages import Metadata

__all__ = ["CallLog", "about", "log"]

log: Final = logging.getLogger("listenproto")


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """Logs to ``listenproto``; each record has ``is_call`` and what is known of the call.

    ``is_call`` tells a call from a connection that is none, or none yet: a scanner, a question for
    the health path, who was refused or gave no metadata. ``call_sid``, ``call_id``, ``peer`` and
    ``path`` are None where not known, as the first two are in a call that has none. An ``extra`` of
    one's own is kept beside these.
    """

    def __init__(self, fields: Callable[[], Mapping[str, object]]) -> None:
        super().__init__(log, {})
        self._fields = fields

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **self._fields()}}


def about(
    metadata: Metadata | None, path: str | None, peer: str | None, *, is_call: bool
) -> dict[str, str | bool | None]:
    """The fields. The path is to be without its query, where tokens are put."""
    call_id = metadata.attributes.get("callId") if metadata else None
    return {
        "is_call": is_call,
        "call_sid": metadata.call_sid if metadata else None,
        "call_id": call_id if isinstance(call_id, str) else None,
        "peer": peer,
        "path": path,
    }
