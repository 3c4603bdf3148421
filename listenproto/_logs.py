"""The log of calls: the logger ``listenproto``, with the same fields on every record.

For adapters; nothing else in the package logs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from listenproto._messages import Metadata

__all__ = ["CallLog", "about", "log"]

log: Final = logging.getLogger("listenproto")


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """Logs to ``listenproto``; each record has ``is_call`` and what is known of the call.

    ``is_call`` is false for a connection that is not a call, or not yet: a scanner, a health check,
    a refused request. A request that was accepted and ended without usable metadata is a call, and
    lost. ``call_sid``, ``call_id``, ``peer`` and ``path`` are None if they are not known; a call
    may also come without the first two. ``is_end`` is true on the one record that says how a call
    ended, which also has the figures of its :class:`Statistics` by their names, and absent on all
    others; ``refused_by``, the clause by which a request was refused, is
    only on the record of that. Your own ``extra`` is kept.
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
    """The fields of a record. ``path`` must be without its query, which may hold tokens."""
    call_id = metadata.attributes.get("callId") if metadata else None
    return {
        "is_call": is_call,
        "call_sid": metadata.call_sid if metadata else None,
        "call_id": call_id if isinstance(call_id, str) else None,
        "peer": peer,
        "path": path,
    }
