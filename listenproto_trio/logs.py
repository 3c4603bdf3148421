"""The log of calls: the logger ``listenproto``, and the same fields on every record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from listenproto.messages import Metadata

__all__ = ["CallLog", "about", "log"]

log: Final = logging.getLogger("listenproto")


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """Logs to ``listenproto``; each record has ``call_sid``, ``call_id``, ``peer``, ``path``.

    What is not known is None. An ``extra`` of one's own is kept beside these.
    """

    def __init__(self, fields: Callable[[], Mapping[str, object]]) -> None:
        super().__init__(log, {})
        self._fields = fields

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **self._fields()}}


def about(metadata: Metadata | None, path: str | None, peer: str | None) -> dict[str, str | None]:
    """The fields. The path is to be without its query, where tokens are put."""
    call_id = metadata.attributes.get("callId") if metadata else None
    return {
        "call_sid": metadata.call_sid if metadata else None,
        "call_id": call_id if isinstance(call_id, str) else None,
        "peer": peer,
        "path": path,
    }
