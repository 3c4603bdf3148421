"""How calls end."""

from __future__ import annotations

__all__ = ["CallEnded"]


class CallEnded(Exception):
    """The call is over; nothing more can be sent. After a hang-up this is no fault of the app."""
