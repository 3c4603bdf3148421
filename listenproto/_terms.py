"""The words of the protocol that fields of messages are made of."""

from __future__ import annotations

import enum
from typing import Any, Final, Literal, TypeAlias

from listenproto._choices import member

__all__ = [
    "APP",
    "DIGITS",
    "JSON",
    "PLATFORM",
    "ClipContentType",
    "ClipId",
    "MarkFate",
    "MixType",
    "Mode",
    "Peer",
    "sender_of",
]

DIGITS: Final = "0123456789*#ABCD"
"""The keys of a telephone (LP-DTMF-3)."""

JSON: TypeAlias = Any
"""What ``json.loads`` returns: str, int, float, bool, None, list or dict of these."""

ClipId: TypeAlias = str | int | float
"""A clip's id, as in JSON; this library's app end writes strings."""


class Peer(enum.Enum):
    """The two ends of a conversation."""

    PLATFORM = "platform"
    """jambonz, or what plays its part: the WebSocket client."""
    APP = "app"
    """The customer's application: the WebSocket server."""

    __hash__ = object.__hash__  # that of Enum is in Python, and each message needs it many times

    @property
    def other(self) -> Peer:
        """The other end."""
        return Peer.APP if self is Peer.PLATFORM else Peer.PLATFORM


PLATFORM: Final = Peer.PLATFORM
APP: Final = Peer.APP
"""The two ends, for code that runs for each message: in Python 3.11 it is slow to look them up in
their class."""


class Mode(enum.Enum):
    """What the app may send back: nothing, clips, or a stream (LP-VERB-3)."""

    OFF = "off"
    """Nothing but a disconnect."""
    CLIPS = "clips"
    """Clips (:class:`PlayAudio`) and killAudio; the default of a listen verb."""
    STREAMING = "streaming"
    """A stream of audio, with marks and killAudio."""

    __hash__ = object.__hash__


class MixType(enum.Enum):
    """Which parties the platform's audio carries (LP-AUD-7)."""

    MONO = "mono"
    """One channel: the call's own party."""
    STEREO = "stereo"
    """Two channels: the caller left, the other party right."""
    MIXED = "mixed"
    """One channel: both parties mixed."""

    @property
    def channels(self) -> int:
        """2 for stereo (caller left, callee right), else 1."""
        return 2 if self is MixType.STEREO else 1


ClipContentType: TypeAlias = Literal["raw", "wav"]
"""The format of a clip: L16 without a header, or a WAV file."""

MarkFate: TypeAlias = Literal["playout", "cleared"]
"""What happened to a mark."""


def sender_of(value: Peer | str) -> Peer:
    """The converter of a field ``sender``."""
    return member(Peer, value, "sender")
