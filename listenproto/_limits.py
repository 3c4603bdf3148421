"""Limits on the time and memory that a call may take."""

from __future__ import annotations

import attrs

from listenproto._checks import a_size, a_time, a_while
from listenproto._wire import DEFAULT_MAX_HEAD, DEFAULT_MAX_MESSAGE

__all__ = ["Limits"]


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of one connection: times in seconds, sizes in bytes.

    A time may be infinite, for no limit. Raises ValueError for any other wrong value.
    """

    handshake_time: float = attrs.field(default=10.0, validator=a_time)
    """How long it may take from the connection to the metadata."""
    head_size: int = attrs.field(default=DEFAULT_MAX_HEAD, validator=a_size)
    """The largest head of an HTTP request or answer."""
    message_size: int = attrs.field(default=DEFAULT_MAX_MESSAGE, validator=a_size)
    """The largest WebSocket message."""
    outbox_size: int = attrs.field(default=2**20, validator=a_size)
    """How much may wait to be sent. Beyond that, an app's sending waits, and audio of a simulated
    caller in real time is dropped."""
    unread_seconds: float = attrs.field(default=30.0, validator=a_time)
    """How much of the platform's audio may wait to be read."""
    unread_events: int = attrs.field(default=1000, validator=a_size)
    """How many other events may wait to be read; together they hold at most ``message_size``."""
    ping_interval: float = attrs.field(default=20.0, validator=a_while)
    """How long no message may come before a ping is sent."""
    ping_time: float = attrs.field(default=20.0, validator=a_while)
    """How long the answer to a ping may take before the connection counts as lost. Also how long a
    simulated caller faster than real time waits for room."""
    write_time: float = attrs.field(default=60.0, validator=a_time)
    """How long a platform may read nothing while something waits to be sent to it, before the
    connection counts as lost. An app may: it is up to it when it reads."""
    close_time: float = attrs.field(default=5.0, validator=a_time)
    """How long the other end may take to answer a close or a disconnect."""
