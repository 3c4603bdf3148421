"""Every message of the listen protocol: one immutable class each, and who may send it.

The classes are values: compare them, print them, keep them. They have no behaviour:
:mod:`listenproto._codec` knows how a message looks on the wire, :mod:`listenproto._rules` when it
may be sent.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import attrs

from listenproto._choices import member, one_of
from listenproto._frozen import Frozen
from listenproto._wav import WavHead, read_clip_head

__all__ = [
    "JSON",
    "Audio",
    "ClearMarks",
    "ClipContentType",
    "ClipId",
    "Close",
    "Disconnect",
    "Dtmf",
    "KillAudio",
    "Malformed",
    "Mark",
    "MarkEvent",
    "MarkFate",
    "Message",
    "Metadata",
    "MixType",
    "Mode",
    "Payload",
    "Peer",
    "PlayAudio",
    "PlayDone",
    "UnknownMessage",
    "sender_of",
]

JSON: TypeAlias = Any
"""What ``json.loads`` returns: str, int, float, bool, None, list or dict of these."""

ClipId: TypeAlias = str | int | float
"""A clip's id, as in JSON; this library's app end writes strings."""

_EMPTY: Final[Mapping[str, JSON]] = MappingProxyType({})


class Peer(enum.Enum):
    """The two ends of a conversation."""

    PLATFORM = "platform"
    APP = "app"

    @property
    def other(self) -> Peer:
        return Peer.APP if self is Peer.PLATFORM else Peer.PLATFORM


class Mode(enum.Enum):
    """What the app may send back: nothing, clips, or a stream (LP-VERB-3)."""

    OFF = "off"
    CLIPS = "clips"
    STREAMING = "streaming"


class MixType(enum.Enum):
    """Which parties the platform's audio carries (LP-AUD-7)."""

    MONO = "mono"
    STEREO = "stereo"
    MIXED = "mixed"

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


def _mix_type(value: MixType | str) -> MixType:
    return member(MixType, value, "mix_type")


def _frozen_mapping(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return MappingProxyType(dict(value))


def _length(data: bytes) -> str:
    return f"<{len(data)} bytes>"


@attrs.frozen
class Audio:
    """L16: 16-bit signed little-endian samples, interleaved if there are two channels.

    The platform sends 1 or 2 channels at the verb's ``sampleRate``, the app 1 channel at
    ``bidirectionalAudio.sampleRate``.
    """

    senders: ClassVar = frozenset(Peer)

    pcm: bytes = attrs.field(repr=_length)


@attrs.frozen
class Metadata(Frozen):
    """The platform's first message: the attributes of the call (LP-META-1).

    ``attributes`` has every key except ``sampleRate`` and ``mixType``. ``sample_rate`` is that of
    the platform's audio, in Hz. ``truncated`` is true if only the beginning of the text could be
    read (LP-META-12), and ``flaw`` says why. ``size`` is how many bytes came, 0 if the metadata did
    not come over a connection.
    """

    senders: ClassVar = frozenset({Peer.PLATFORM})

    attributes: Mapping[str, JSON] = attrs.field(
        default=_EMPTY, converter=_frozen_mapping, hash=False
    )
    sample_rate: int = 8000
    mix_type: MixType = attrs.field(default=MixType.MONO, converter=_mix_type)
    truncated: bool = False
    size: int = attrs.field(default=0, eq=False, repr=False)
    flaw: str = attrs.field(default="", eq=False, repr=False)

    @property
    def call_sid(self) -> str | None:
        """The call's sid, or None if the platform sent none; several listens of a call share it."""
        sid = self.attributes.get("callSid")
        return sid if isinstance(sid, str) else None


@attrs.frozen
class Dtmf:
    """A key that the caller pressed: one of ``0-9 * # A-D``.

    ``duration`` is in RTP timestamp units of 1/8000 s; None if the platform sent none.
    """

    senders: ClassVar = frozenset({Peer.PLATFORM})

    digit: str
    duration: int | None = None


@attrs.frozen
class PlayDone:
    """A clip finished. Only deployed platforms send ``id`` and the ``playback`` figures."""

    senders: ClassVar = frozenset({Peer.PLATFORM})

    id: ClipId | None = None
    playback: Mapping[str, JSON] = attrs.field(default=_EMPTY, converter=_frozen_mapping)


@attrs.frozen
class MarkEvent:
    """Playout reached a mark, or a killAudio cleared it."""

    senders: ClassVar = frozenset({Peer.PLATFORM})

    name: str
    event: MarkFate = attrs.field(validator=one_of(get_args(MarkFate)))


@attrs.frozen
class PlayAudio:
    """A clip: a complete piece of audio to play to the caller.

    ``content`` is raw L16 mono at ``sample_rate`` Hz, or a whole WAV file, whose header gives the
    rate. ``queue_play`` tells deployed platforms to play the clip after those before it.
    """

    senders: ClassVar = frozenset({Peer.APP})

    content: bytes = attrs.field(repr=_length)
    content_type: ClipContentType = attrs.field(
        default="raw", validator=one_of(get_args(ClipContentType))
    )
    sample_rate: int | None = None
    id: ClipId | None = None
    queue_play: bool | None = None

    @cached_property
    def head(self) -> WavHead:
        """The header of a WAV; raises :class:`WavError` if it cannot be played (LP-CLIP-10)."""
        return read_clip_head(self.content)


@attrs.frozen
class KillAudio:
    """Stop what plays and drop what waits (LP-KILL-2)."""

    senders: ClassVar = frozenset({Peer.APP})


@attrs.frozen
class Mark:
    """Ask for an event when playout gets here: after the last whole sample sent before it."""

    senders: ClassVar = frozenset({Peer.APP})

    name: str


@attrs.frozen
class ClearMarks:
    """Remove the pending marks; no event will come for them."""

    senders: ClassVar = frozenset({Peer.APP})


@attrs.frozen
class Disconnect:
    """End the listen; the platform closes the WebSocket."""

    senders: ClassVar = frozenset({Peer.APP})


@attrs.frozen
class UnknownMessage:
    """A JSON object that is not a message of the protocol; deployed peers send some.

    ``type`` is its ``type`` or ``event``, if that is a string, else None.
    """

    senders: ClassVar = frozenset(Peer)

    body: Mapping[str, JSON] = attrs.field(converter=_frozen_mapping)

    @property
    def type(self) -> str | None:
        for key in ("type", "event"):
            value = self.body.get(key)
            if isinstance(value, str):
                return value
        return None


@attrs.frozen
class Malformed:
    """A text that is not a valid message, what is wrong with it, and the clause that it breaks."""

    senders: ClassVar[frozenset[Peer]] = frozenset()

    text: str
    reason: str
    clause: str


@attrs.frozen
class Close:
    """The close of the WebSocket, as a payload in an outbox or on a wire (RFC 6455, 7.4)."""

    senders: ClassVar = frozenset(Peer)

    code: int = 1000
    reason: str = ""


Message: TypeAlias = (
    Audio
    | Metadata
    | Dtmf
    | PlayDone
    | MarkEvent
    | PlayAudio
    | KillAudio
    | Mark
    | ClearMarks
    | Disconnect
    | UnknownMessage
    | Malformed
    | Close
)

Payload: TypeAlias = str | bytes | Close
"""One WebSocket message, text or binary, or the close."""
