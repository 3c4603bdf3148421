"""Limits on the time and memory that a call may take."""

from __future__ import annotations

import attrs

from listenproto._wire import DEFAULT_MAX_HEAD, DEFAULT_MAX_MESSAGE

__all__ = ["Limits"]


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of one connection: times in seconds, sizes in bytes."""

    handshake_time: float = 10.0
    """How long it may take from the connection to the metadata."""
    head_size: int = DEFAULT_MAX_HEAD
    """The largest head of an HTTP request or answer."""
    message_size: int = DEFAULT_MAX_MESSAGE
    """The largest WebSocket message."""
    outbox_size: int = 2**20
    """How much may wait to be sent. Beyond that, an app's sending waits, and audio of a simulated
    caller in real time is dropped."""
    unread_seconds: float = 30.0
    """How much of the platform's audio may wait to be read."""
    unread_events: int = 1000
    """How many other events may wait to be read; together they hold at most ``message_size``."""
    ping_interval: float = 20.0
    """How long no message may come before a ping is sent."""
    ping_time: float = 20.0
    """How long the answer to a ping may take before the connection counts as lost. Also how long a
    simulated caller faster than real time waits for room."""
    write_time: float = 60.0
    """How long a platform may read nothing while something waits to be sent to it, before the
    connection counts as lost. An app may: it is up to it when it reads."""
    close_time: float = 5.0
    """How long the other end may take to answer a close or a disconnect."""
