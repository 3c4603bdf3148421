"""What an app reads of a call."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from listenproto._app_session import PlaybackDone
from listenproto._messages import Audio, Dtmf, UnknownMessage
from listenproto._observer import Violation

__all__ = ["CallEvent", "Dropped"]


@attrs.frozen
class Dropped:
    """Events not read in time: ``samples`` of audio (of each channel), other ``events``."""

    samples: int = 0
    events: int = 0


CallEvent: TypeAlias = Audio | Dropped | Dtmf | PlaybackDone | UnknownMessage | Violation
"""What iterating over a call gives."""
